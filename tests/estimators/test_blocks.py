"""Tables in blocks of columns."""

import numpy as np
import pandas as pd
import pytest

from tessflow import TabularFlow
from tessflow.estimators.calibration import check
from tessflow.tables import TableSchema

FAST = {"max_steps": 30, "hidden_features": (16,), "random_state": 0, "components": 3}


def table(rows=300, seed=0):
    """Columns of all kinds, with missing values, an atom, and two dates."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["oak", "elm", "fir"], rows)
    frame = pd.DataFrame({"kind": kind, "height": np.where(kind == "fir", 30, 12) + rng.normal(size=rows)})
    frame["price"] = np.where(rng.random(rows) < 0.3, 0.0, rng.gamma(2.0, 20.0, rows).round(2))
    frame["rings"] = rng.poisson(30, rows)
    frame["planted"] = pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D")
    frame["felled"] = frame["planted"] + pd.to_timedelta(rng.integers(0, 90, rows), unit="D")
    frame.loc[rng.random(rows) < 0.1, "height"] = np.nan
    return frame


SCHEMA = TableSchema.infer(table())


@pytest.fixture(scope="module", params=[1, 3])
def fitted(request):
    return TabularFlow(blocks=request.param, order="table", **FAST).fit(table(), schema=SCHEMA)


@pytest.fixture(scope="module")
def classes():
    return TabularFlow(blocks=1, **FAST).fit(table(), schema=SCHEMA)


def test_rows_are_scored_drawn_and_saved(fitted, tmp_path):
    new = table(50, seed=1)
    scores = fitted.score_samples(new)
    assert np.isfinite(scores).all()
    assert not fitted.lower_bound_
    np.testing.assert_allclose(fitted.score_columns(new).sum(axis=1), scores, rtol=1e-5)
    drawn = fitted.sample(200)
    assert drawn.dtypes.equals(table().dtypes)
    assert not fitted.find_unseen(drawn).to_numpy().any()
    fitted.save(tmp_path)
    loaded = TabularFlow.load(tmp_path)
    assert loaded.options_ == fitted.options_
    np.testing.assert_array_equal(loaded.score_samples(new), scores)
    pd.testing.assert_frame_equal(loaded.sample(20), fitted.sample(20))


def test_its_first_columns_may_be_given(fitted):
    drawn = fitted.sample(30, given={"kind": "oak"})
    assert (drawn["kind"] == "oak").all()
    drawn = fitted.sample(30, given={"kind": "oak", "height": (11.0, 13.0)})
    assert drawn["height"].between(11, 13).all()


def test_a_row_that_holds_something_not_seen_is_scored(fitted):
    new = table(8, seed=2).assign(kind="ash", rings=10**9, price=-5.0)
    assert np.isfinite(fitted.score_samples(new)).all()
    assert (fitted.score_samples(new) > -4000).all()


def test_latent_classes_answer_what_any_order_does(classes):
    new = table(40, seed=3)
    filled = classes.impute(new)
    assert filled["height"].notna().all()
    known = new["height"].notna()
    pd.testing.assert_series_equal(filled.loc[known, "height"], new.loc[known, "height"])
    assert classes.impute(new, strategy="sample")["height"].notna().all()
    assert (classes.sample(20, given={"rings": (25, 35), "felled": "2021-05-05"})["rings"].between(25, 35)).all()
    both = classes.score_samples(new, columns=["height", "rings"], given=["price"])
    chain = classes.score_samples(new, columns=["height"], given=["price"]) + classes.score_samples(
        new, columns=["rings"], given=["price", "height"]
    )
    np.testing.assert_allclose(both, chain, rtol=1e-4)
    height = classes.conditional(new, "height")
    quantiles = height.quantiles()
    assert (quantiles.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    pit = height.pit()
    assert ((pit[known] > 0) & (pit[known] < 1)).all()


def test_the_check_sums_the_probabilities_of_latent_classes(classes):
    result = check(classes, table(60, seed=4).dropna(), rows=60)
    assert result.given == "the other columns"
    sums = {column.name: column.sums for column in result.columns}
    for name in ("kind", "rings", "height"):
        assert sums[name].mean == pytest.approx(1, abs=2e-3), name


@pytest.mark.parametrize("blocks", [1, 2])
def test_columns_in_an_order_are_refused(blocks):
    ordered = TableSchema(columns=SCHEMA.columns, order=(("planted", "felled"),))
    with pytest.raises(ValueError, match=f"^blocks={blocks} has no exact conditionals of columns in an order, such as"):
        TabularFlow(max_steps=1, blocks=blocks).fit(table(), schema=ordered)


def test_as_many_blocks_as_columns_are_the_fixed_order():
    few = {"max_steps": 3, "hidden_features": (8,), "order": "table", "random_state": 0}
    fixed, blocks = (TabularFlow(**few, **more).fit(table(60), schema=SCHEMA) for more in ({}, {"blocks": 6}))
    np.testing.assert_array_equal(fixed.score_samples(table(9)), blocks.score_samples(table(9)))


def test_the_order_is_found_among_dealt_ones(monkeypatch):
    monkeypatch.setattr("tessflow.estimators.order_search.MOST_STEPS", 4)
    flow = TabularFlow(blocks=2, **FAST).fit(table(), schema=SCHEMA)
    assert set(flow.order_) == set(table())
    assert flow.model_.blocks == 2
    assert flow.model_.components == 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"blocks": 7}, "blocks=7 is more than the columns, 6"),
        ({"blocks": 2, "order": "any"}, "blocks=2 is for a model of one order, and order='any' has all"),
        ({"components": 2, "order": "any"}, "components=2 is for a model of one order"),
        ({"blocks": 2, "backbone": "coupling"}, "blocks=2 is for an autoregressive model, and a coupling flow"),
        ({"blocks": 0}, "blocks: input should be greater than or equal to 1, got 0"),
        ({"components": 0}, "components: input should be greater than or equal to 1, got 0"),
        ({"components": 1001}, "components: input should be less than or equal to 1000, got 1001"),
        ({"blocks": 2, "orders": 2}, "orders=2 is for an autoregressive model with order='any'"),
        ({"blocks": 2, "max_categories": 2}, "column 'kind' has 3 categories, more than max_categories=2"),
    ],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        TabularFlow(**{"max_steps": 2, **options}).fit(table(), schema=SCHEMA)


def test_others_are_refused_of_more_blocks_than_one():
    flow = TabularFlow(blocks=3, order="table", **FAST).fit(table(100))
    with pytest.raises(ValueError, match="fit a TabularFlow with order='any'"):
        flow.impute(table(5))
