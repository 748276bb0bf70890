"""Tables of numbers, times and categories with missing values: any conditional, imputation, hard tables, streams."""

import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kstest, norm

from tessflow import TabularFlow
from tessflow.tables import TableSchema, TableWarning

pytestmark = pytest.mark.filterwarnings("ignore:column .* holds something not seen")

FAST = {"max_steps": 60, "batch_size": 64, "hidden_features": (16,), "random_state": 0}


def trees(rows, seed=0):
    """Trees with a known density: p(kind) p(height | kind) p(sick | height), a date, and fruit, of many zeros."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["elm", "oak"], rows, p=[0.4, 0.6])
    height = np.where(kind == "oak", rng.normal(20, 3, rows), rng.normal(12, 1, rows))
    sick = rng.random(rows) < 1 / (1 + np.exp(height - 14))
    fruit = np.where(rng.random(rows) < 0.5, 0, rng.poisson(40 * height))
    planted = pd.Timestamp("2020-01-01", tz="Europe/Berlin") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D")
    return pd.DataFrame({"kind": kind, "height": height, "sick": sick, "fruit": fruit, "planted": planted})


def p_kind_given_height(height):
    oak, elm = 0.6 * norm.pdf(height, 20, 3), 0.4 * norm.pdf(height, 12, 1)
    return oak / (oak + elm)


@pytest.fixture(scope="module")
def fitted():
    table = trees(4000)
    table.loc[::10, "height"] = np.nan
    return TabularFlow(max_steps=500, hidden_features=(32, 32), random_state=0).fit(table)


@pytest.fixture(scope="module")
def fixed():
    return TabularFlow(order="table", **FAST).fit(trees(300))


@pytest.fixture(scope="module")
def small():
    """A table of which every row can be enumerated."""
    rng = np.random.default_rng(0)
    a, b, c = rng.integers(0, 3, 8000), rng.integers(0, 2, 8000), rng.integers(0, 3, 8000)
    table = pd.DataFrame({"a": a, "b": b, "c": np.where(rng.random(8000) < 0.5, a * b, c)})
    kinds = {name: pd.CategoricalDtype(range(5), ordered=True) for name in "abc"}
    model = TabularFlow(max_steps=900, hidden_features=(64, 64), dropout=0.0, patience=None, random_state=0)
    model.fit(table.astype(kinds))
    # Four is something not seen: whatever it is.
    every = pd.DataFrame(itertools.product([*range(3), 4], [0, 1, 4], [*range(3), 4]), columns=["a", "b", "c"])
    every = every.astype(kinds)
    return model, every, np.exp(model.score_samples(every))


def test_samples_are_of_the_kind_of_the_table(fitted):
    table, drawn = trees(10), fitted.sample(300)
    assert drawn.dtypes.equals(table.dtypes)
    assert 0.3 < (drawn["fruit"] == 0).mean() < 0.7
    assert 0.03 < drawn["height"].isna().mean() < 0.2
    assert str(drawn["planted"].dt.tz) == "Europe/Berlin"
    assert drawn["planted"].between("2019-12-01", "2020-12-31").mean() > 0.95


def test_held_out_likelihood_is_close_to_the_truth(fitted):
    table = trees(1500, seed=1)
    oak = table["kind"] == "oak"
    true = np.where(oak, math.log(0.6), math.log(0.4))
    true = true + norm.logpdf(table["height"], np.where(oak, 20, 12), np.where(oak, 3, 1)) + math.log(0.9)
    true = true - np.logaddexp(0, (table["height"] - 14) * np.where(table["sick"], 1, -1))
    columns = ["kind", "height", "sick"]
    scores = fitted.score_samples(table[columns], columns=columns)
    assert true.mean() - 0.12 < scores.mean() < true.mean() + 0.03


def test_conditionals_against_exact_ones(fitted):
    heights = np.array([11.0, 13.0, 15.0, 18.0, 22.0])
    rows = pd.DataFrame({"height": heights, "kind": "oak"})
    found = np.exp(fitted.score_samples(rows, columns=["kind"], given=["height"]))
    np.testing.assert_allclose(found, p_kind_given_height(heights), atol=0.12)

    drawn = fitted.sample(800, given={"kind": "oak"})
    assert (drawn["kind"] == "oak").all()
    assert kstest(drawn["height"].dropna(), norm(20, 3).cdf).statistic < 0.08


def test_ranges_are_exact_conditions(fitted):
    low, high = 14.0, 21.0
    drawn = fitted.sample(1000, given={"kind": "oak", "height": (low, high)})
    assert drawn["height"].between(low, high).all()
    ends = norm.cdf([low, high], 20, 3)
    assert kstest(drawn["height"], lambda x: (norm.cdf(x, 20, 3) - ends[0]) / (ends[1] - ends[0])).statistic < 0.08

    drawn = fitted.sample(200, given={"fruit": (1, 700), "planted": ("2020-03-01", None), "kind": ["oak", "elm"]})
    assert drawn["fruit"].between(1, 700).all()
    assert (drawn["planted"] >= pd.Timestamp("2020-03-01", tz="Europe/Berlin")).all()
    assert (fitted.sample(20, given={"fruit": (0, 0)})["fruit"] == 0).all()


@pytest.mark.parametrize("given", [{"height": 17.5}, {"fruit": 3, "kind": "oak"}])
def test_a_list_of_one_value_is_that_value(fitted, given):
    drawn = fitted.sample(5, given=given)
    for listed in (list, lambda values: set(values), np.array, pd.Series):
        same = fitted.sample(5, given={name: listed([value]) for name, value in given.items()})
        pd.testing.assert_frame_equal(same, drawn)


def test_several_conditions_are_exact(small):
    model, every, joint = small
    drawn = model.sample(6000, given={"a": [0, 2], "c": (1, None), "b": 1})
    allowed = every["a"].isin([0, 2]) & every["c"].isin([1, 2]) & (every["b"] == 1)
    frequency = drawn.value_counts(normalize=True).reindex(pd.MultiIndex.from_frame(every[allowed]), fill_value=0)
    # The order of the draw is another than that of the score: they agree as far as training made them.
    np.testing.assert_allclose(frequency, joint[allowed] / joint[allowed].sum(), atol=0.05)


def test_every_conditional_agrees_with_enumeration(small):
    model, every, joint = small
    assert joint.sum() == pytest.approx(1, abs=1e-5)
    table = every.assign(p=joint)
    for size in (1, 2):
        for columns in map(list, itertools.permutations(every.columns, size)):
            others = [name for name in every.columns if name not in columns]
            for given in [[], *map(list, itertools.combinations(others, 1)), others]:
                both = table.groupby(columns + given)["p"].sum()
                if given:
                    both = both / both.groupby(given).transform("sum")
                rows = both.index.to_frame(index=False)
                found = np.exp(model.score_samples(rows, columns=columns, given=given))
                np.testing.assert_allclose(found, both, atol=0.15, err_msg=f"{columns} given {given}")


def test_chain_rule_and_marginals_are_exact_along_the_order(small):
    model, every, _ = small
    joint = np.exp(model.score_samples(every, orders=1))
    first = model.score_samples(every, columns=["a", "b"], orders=1)
    rest = model.score_samples(every, columns=["c"], given=["a", "b"])
    np.testing.assert_allclose(first + rest, np.log(joint), atol=1e-5)
    sums = every.assign(p=joint).groupby(["a", "b"])["p"].transform("sum")
    np.testing.assert_allclose(np.exp(first), sums, rtol=1e-4)


def test_columns_sum_to_the_score(fitted, small):
    table = trees(20, seed=2)
    columns = fitted.score_columns(table)
    assert columns.columns.tolist() == table.columns.tolist()
    np.testing.assert_allclose(columns.sum(axis=1), fitted.score_samples(table, orders=1), rtol=1e-5)


def test_more_orders_are_refused_where_there_is_one(fixed, fitted):
    rows = trees(3)
    assert (fixed.score_samples(rows, orders=1) == fixed.score_samples(rows)).all()
    with pytest.raises(ValueError, match="orders=2 is for models of order='any'"):
        fixed.score_samples(rows, orders=2)
    for orders in (0, 2.5, True, "2"):
        with pytest.raises(ValueError, match=f"orders must be an integer of at least 1, got {orders!r}"):
            fitted.score_samples(rows, orders=orders)
    for order in ("any", "fixed", "table"):
        with pytest.raises(ValueError, match=f"order='{order}' is for an autoregressive model, and a coupling flow"):
            TabularFlow("coupling", order=order, **FAST).fit(rows)
    with pytest.raises(ValueError, match="orders=2 is for an autoregressive model with order='any'"):
        TabularFlow(order="table", orders=2, **FAST).fit(rows)
    with pytest.raises(ValueError, match="orders=2 is for an autoregressive model"):
        TabularFlow("coupling", orders=2, **FAST).fit(rows)


def test_a_fixed_order_has_the_conditionals_of_its_order(fixed):
    table = trees(30, seed=3)
    first = fixed.score_samples(table[["kind", "height"]], columns=["height"], given=["kind"])
    np.testing.assert_allclose(first, fixed.score_columns(table)["height"], rtol=1e-5)
    assert (fixed.sample(9, given={"kind": "elm"})["kind"] == "elm").all()
    for ask in (
        lambda: fixed.score_samples(table, columns=["kind"], given=["height"]),
        lambda: fixed.sample(3, given={"fruit": 3}),
        lambda: fixed.impute(table),
        lambda: fixed.conditional(table, "kind"),
    ):
        with pytest.raises(ValueError, match="order='any'"):
            ask()


def test_imputation_keeps_what_is_known_and_fills_the_rest(fitted):
    table = trees(400, seed=4).set_index(pd.RangeIndex(1000, 1400))
    hidden = np.random.default_rng(0).random(table.shape) < 0.3
    holes = table.mask(hidden)
    for strategy in ("typical", "mean", "sample"):
        filled = fitted.impute(holes, strategy=strategy)
        assert filled.notna().all(axis=None)
        assert filled.dtypes.equals(table.dtypes)
        assert filled.index.equals(table.index)
        pd.testing.assert_frame_equal(filled.mask(hidden), holes, check_dtype=False)
    again = fitted.impute(holes, strategy="sample")
    pd.testing.assert_frame_equal(filled, again)
    assert not again.equals(fitted.impute(holes, strategy="sample", random_state=1))


def test_imputation_beats_what_does_not_look_at_the_row(fitted):
    table = trees(800, seed=5)
    guess = fitted.impute(table.assign(kind=None))["kind"]
    right = (guess == table["kind"]).mean()
    best = np.maximum(p_kind_given_height(table["height"]), 1 - p_kind_given_height(table["height"])).mean()
    assert best - 0.03 < right <= 1
    error = (fitted.impute(table.assign(height=np.nan))["height"] - table["height"]).std()
    assert error < 0.75 * table["height"].std()


def test_conditional_of_a_column(fitted):
    table = trees(500, seed=6)
    height = fitted.conditional(table, "height")
    assert kstest(height.pit(), "uniform").statistic < 0.08
    quantiles = height.quantiles((0.1, 0.5, 0.9))
    assert quantiles.columns.tolist() == [0.1, 0.5, 0.9]
    inside = table["height"].between(quantiles[0.1], quantiles[0.9]).mean()
    assert 0.74 < inside < 0.86
    np.testing.assert_allclose(height.probabilities().sum(axis=1), 1, rtol=1e-5)
    assert height.probabilities().columns.tolist() == ["a number", "missing", "unseen"]

    fruit = fitted.conditional(table, "fruit")
    assert kstest(fruit.pit(), "uniform").statistic < 0.12  # zeros and all
    kinds = fitted.conditional(table[["kind", "height"]].reindex(columns=table.columns), "kind").probabilities()
    assert kinds.columns.tolist() == ["elm", "oak", "unseen"]
    with pytest.raises(ValueError, match="'kind' holds classes, not numbers"):
        fitted.conditional(table, "kind").pit()


def test_real_numbers_have_densities_in_their_own_unit():
    table = pd.DataFrame({"metres": np.random.default_rng(0).normal(size=500)})
    options = FAST | {"max_steps": 20}
    metres = TabularFlow(**options).fit(table)
    millimetres = TabularFlow(**options).fit(table * 1000)
    change = millimetres.score_samples(table * 1000) - metres.score_samples(table)
    np.testing.assert_allclose(change, -math.log(1000), atol=1e-4)


def test_whole_numbers_and_dates_have_probabilities_that_sum_to_one():
    rng = np.random.default_rng(0)
    days = pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 200, 400), unit="D")
    model = TabularFlow(**FAST).fit(pd.DataFrame({"day": days, "price": rng.integers(1000, 1120, 400) / 100}))
    one, other = (dict(columns=["day"]), dict(columns=["price"], given=["day"]))
    every = pd.DataFrame({"day": pd.date_range("2022-01-01", "2026-12-31"), "price": 10.5})
    unseen = pd.DataFrame({"day": [pd.NaT], "price": [np.inf]})
    total = np.exp(model.score_samples(every, **one)).sum() + np.exp(model.score_samples(unseen, **one)).sum()
    assert total == pytest.approx(1, abs=1e-3)  # the background reaches farther
    every = pd.DataFrame({"day": days[0], "price": np.arange(-10_000, 20_000) / 100})
    unseen = unseen.assign(day=days[0])
    total = np.exp(model.score_samples(every, **other)).sum() + np.exp(model.score_samples(unseen, **other)).sum()
    assert total == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m, t: m.sample(1, given={"shoe": 1}), "there is no column 'shoe'"),
        (lambda m, t: m.sample(1, given={"kind": ["ash"]}), "'kind' was given the value 'ash', which was not seen"),
        (lambda m, t: m.sample(1, given={"height": []}), "column 'height': give at least one value"),
        (lambda m, t: m.sample(1, given={"kind": 3}), "'kind' was given 3, but the training data held strings"),
        (lambda m, t: m.sample(1, given={"height": (3, 2)}), "'height' was given a range from 3 to 2, which is empty"),
        (lambda m, t: m.sample(1, given={"height": (1, 2, 3)}), "a range is (low, high), either of them None"),
        (lambda m, t: m.sample(1, given={"height": [1.0, 2.0]}), "column 'height' holds real numbers: give one"),
        (lambda m, t: m.sample(1, given={"kind": ("elm", 3)}), "'kind' holds strings, but was given a range"),
        (lambda m, t: m.score_samples(t, columns=["kind"], given=["kind"]), "'kind' is to be scored and is given"),
        (lambda m, t: m.score_samples(t, columns=["shoe"]), "there is no column 'shoe'"),
        (lambda m, t: m.score_samples(t[["sick"]], columns=["kind"]), "the table has no column 'kind'"),
        (lambda m, t: m.score_samples(t.assign(kind=None), columns=["kind"], unseen="error"), "'kind' has in row 0"),
        (lambda m, t: m.impute(t, strategy="mode"), "strategy must be 'typical', 'mean' or 'sample', got 'mode'"),
        (lambda m, t: m.score(t.assign(kind="ash"), unseen="error"), "column 'kind' has in row 0"),
        (lambda m, t: m.score(t.assign(kind=1)), "column 'kind' has in row 0"),
        (lambda m, t: m.score(t.assign(height=np.inf), unseen="error"), "column 'height' has in row 0"),
        (lambda m, t: m.score(t, unseen="no"), "unseen must be 'other' or 'error', got 'no'"),
        (lambda m, t: m.conditional(t, "height").quantiles([0.0]), "levels lie between 0 and 1"),
    ],
)
def test_bad_questions_get_one_sentence(fitted, call, sentence):
    with pytest.raises((ValueError, TypeError), match=re.escape(sentence)) as caught:
        call(fitted, trees(3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m, t: m.sample(1, given={"height": (np.nan, 3)}), "'height' was given a range with a missing bound"),
        (lambda m, t: m.sample(1, given={"planted": (pd.NaT, None)}), "'planted' was given a range with a missing"),
        (lambda m, t: m.score_samples(t, columns=["kind", "kind"]), "columns names a column twice"),
        (lambda m, t: m.score_samples(t, columns="kind"), "columns is a list of columns, got the string 'kind'"),
        (
            lambda m, t: m.impute(t.assign(kind=[None, "elm", "ash"]), unseen="error"),
            "column 'kind' has in row 2 (counted from 0)",
        ),
    ],
)
def test_bad_questions_are_not_answered_by_accident(fitted, call, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        call(fitted, trees(3))


def test_points_have_no_conditionals():
    model = TabularFlow(condition_on="point", **FAST).fit(trees(100))
    for ask in (
        lambda: model.sample(2, given={"kind": "oak"}),
        lambda: model.impute(trees(100)[:3]),
        lambda: model.score_columns(trees(100)[:3]),
    ):
        with pytest.raises(ValueError, match="condition_on='point' has no conditionals"):
            ask()


def test_what_the_model_does_not_know_stays_as_it_is(fitted):
    table = trees(5, seed=7)
    keyed = table.assign(key=range(5), height=np.nan)[["key", *table.columns[::-1]]]
    filled = fitted.impute(keyed)
    assert filled.columns.equals(keyed.columns)
    assert filled["key"].tolist() == list(range(5))
    assert filled["height"].notna().all()
    without = fitted.conditional(table.drop(columns="kind").set_index(pd.Index([5, 6, 7, 8, 9])), "kind")
    assert without.probabilities().index.tolist() == [5, 6, 7, 8, 9]
    assert fitted.score_columns(table.to_numpy().tolist()).shape == (5, 5)


def test_dates_far_from_the_others():
    days = [pd.Timestamp("2024-01-01").date() + pd.Timedelta(days=n % 90) for n in range(300)]
    table = pd.DataFrame(
        {"until": [pd.Timestamp("9999-12-31").date() if n % 40 == 0 else d for n, d in enumerate(days)]}
    )
    drawn = TabularFlow(**FAST).fit(table).sample(200)
    assert drawn["until"].map(type).eq(type(days[0])).all()


HARD = {
    "one row": pd.DataFrame({"a": [1.5], "b": ["x"]}),
    "one column": pd.DataFrame({"a": np.random.default_rng(0).normal(size=60)}),
    "constant": pd.DataFrame({"a": [3.25] * 60, "b": ["x"] * 60, "c": range(60)}),
    "all missing": pd.DataFrame({"a": [np.nan] * 60, "b": [None] * 60, "c": range(60)}),
    "infinities": pd.DataFrame({"a": [np.inf, -np.inf, *np.linspace(0, 1, 58)]}),
    "integer names": pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3))),
    "huge and tiny": pd.DataFrame({"a": np.geomspace(1e-300, 1e300, 60), "b": 1e15 + np.arange(60.0)}),
    "times": pd.DataFrame({"a": pd.date_range("2024-01-01", periods=60, freq="h", tz="Asia/Tokyo")}),
    "durations": pd.DataFrame({"a": pd.to_timedelta(np.arange(60) * 90, unit="s")}),
    "nullable": pd.DataFrame({"a": pd.array([None, *range(100, 159)], dtype="Int64"), "b": range(60)}),
    "float32": pd.DataFrame({"a": np.random.default_rng(0).normal(size=60).astype("float32")}),
}


@pytest.mark.parametrize("order", ["any", "fixed"])
@pytest.mark.parametrize("name", HARD)
def test_hard_tables_work(name, order):
    table = HARD[name]
    model = TabularFlow(order=order, **FAST | {"max_steps": 10}).fit(table)
    assert np.isfinite(model.score_samples(table)).all()
    drawn = model.sample(20)
    assert drawn.dtypes.equals(table.dtypes)
    assert drawn.columns.equals(table.columns)
    assert np.isfinite(model.score_samples(drawn)).all()
    if order == "any" and len(table) > 1:
        filled = model.impute(table)
        for name in table:
            known = table[name].notna()
            assert filled[name][known].tolist() == table[name][known].tolist()


def test_two_hundred_columns():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({f"c{n}": rng.normal(size=40) if n % 10 == 0 else rng.integers(0, 3, 40) for n in range(200)})
    model = TabularFlow(**FAST | {"max_steps": 3}).fit(table)
    assert not model.model_.any_order  # by default, beyond 64 columns
    assert np.isfinite(model.score_samples(table)).all()
    assert model.sample(2).shape == (2, 200)


def test_ten_thousand_categories():
    rng = np.random.default_rng(0)
    # A hundred frequent names, and thousands that come once.
    names = np.where(rng.random(12_000) < 0.5, rng.integers(0, 100, 12_000), np.arange(12_000))
    table = pd.DataFrame({"name": [f"n{value}" for value in names], "size": names % 7})
    assert table["name"].nunique() > 5000
    model = TabularFlow(**FAST | {"max_steps": 30}).fit(table)
    assert model.lower_bound_
    assert sum(parameter.numel() for parameter in model.model_.parameters()) < 200_000
    assert np.isfinite(model.score_samples(table[:50], samples=4)).all()
    assert set(model.sample(50)["name"]) <= set(table["name"])
    assert model.sample(3, given={"name": "n5"})["name"].tolist() == ["n5"] * 3
    for strategy in ("typical", "mean", "sample"):
        assert model.impute(table[:4].assign(name=None), strategy=strategy)["name"].notna().all()
    with pytest.raises(ValueError, match="column 'name' has too many values for a range or list"):
        model.sample(1, given={"name": ["n5", "n6"]})


def test_arrays_of_numbers():
    array = np.random.default_rng(0).normal(size=(80, 2))
    model = TabularFlow(**FAST).fit(array)
    assert model.sample(4).shape == (4, 2)
    assert model.sample(4).dtype == np.float64
    holes = array.copy()
    holes[:, 1] = np.nan
    filled = model.impute(holes)
    np.testing.assert_array_equal(filled[:, 0], array[:, 0])
    assert np.isfinite(filled).all()
    assert model.score_samples(array, columns=[1], given=[0]).shape == (80,)


def test_coupling_backbone_models_numbers_too():
    model = TabularFlow("coupling", layers=2, **FAST).fit(trees(200))
    assert model.lower_bound_
    assert np.isfinite(model.score_samples(trees(20), samples=3)).all()
    assert model.sample(5).dtypes.equals(trees(1).dtypes)
    with pytest.raises(ValueError, match="backbone='coupling' has no conditionals"):
        model.sample(2, given={"kind": "oak"})


def test_a_declared_schema_is_kept(tmp_path):
    table = trees(100)
    height = "- name: height\n  kind: number"
    text = TableSchema.infer(table).to_yaml().replace(height, f"{height}\n  resolution: 0.5")
    (tmp_path / "schema.yaml").write_text(text)
    with pytest.warns(TableWarning, match="column 'height' .* no multiples of its resolution 0.5"):
        TabularFlow(**FAST).fit(table, schema=tmp_path / "schema.yaml")
    rounded = table.assign(height=(2 * table["height"]).round() / 2)
    model = TabularFlow(**FAST).fit(rounded, schema=tmp_path / "schema.yaml")
    assert model.schema_.columns[1].resolution == 0.5
    assert (model.sample(20)["height"] % 0.5 == 0).all()


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_file_is_read_in_batches(tmp_path, suffix):
    table = trees(3000)
    path = tmp_path / f"trees{suffix}"
    table.to_parquet(path) if suffix == ".parquet" else table.to_csv(path, index=False)
    model = TabularFlow(**FAST).fit(path)
    names = [column.name for column in model.schema_.columns]
    assert names == table.columns.tolist()
    assert model.result_.steps == FAST["max_steps"]
    held_out = TabularFlow(**FAST).fit(path, X_validation=trees(50, seed=1))
    assert np.isfinite(held_out.validation_score_)
    again = TabularFlow(**FAST).fit(path)
    np.testing.assert_array_equal(model.score_samples(model.sample(30)), again.score_samples(again.sample(30)))


def test_saved_and_loaded_and_seeded(tmp_path, fitted):
    fitted.save(tmp_path / "model")
    loaded = TabularFlow.load(tmp_path / "model")
    table = trees(50, seed=9)
    np.testing.assert_array_equal(loaded.score_samples(table), fitted.score_samples(table))
    pd.testing.assert_frame_equal(loaded.sample(20), fitted.sample(20))
    given = {"height": (10, 15)}
    pd.testing.assert_frame_equal(loaded.sample(20, given=given), fitted.sample(20, given=given))
    assert torch.get_default_dtype() == torch.float32
