"""SetEstimator: lists of items in, lists of items out."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from tessflow import SetEstimator, TabularFlow
from tessflow.estimators.items import ItemSchema

FOOD, TOOLS = ["bread", "butter", "jam", "milk"], ["axe", "drill", "hammer", "saw"]
FAST = {"dimension": 4, "width": 16, "rank": 6, "max_steps": 60, "batch_size": 128, "random_state": 0}
MODELS = ["matched", "dpp", "independent"]


def baskets(rows=400, seed=0):
    """Three of one kind of four: eight sets, all as likely."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(FOOD if rng.random() < 0.5 else TOOLS)[:3].tolist() for _ in range(rows)]


def all_sets():
    return [list(row) for row in itertools.combinations(FOOD + TOOLS, 3)]


@pytest.fixture(scope="module")
def learned():
    options = FAST | {"max_steps": 200, "dropout": 0.0, "learning_rate": 2e-2}
    return SetEstimator(**options).fit(baskets())


@pytest.fixture(scope="module")
def fitted():
    return {model: SetEstimator(model, **FAST).fit(baskets()) for model in MODELS}


@pytest.fixture(scope="module")
def flow():
    options = FAST | {"dimension": 2, "width": 8, "max_steps": 3, "batch_size": 16}
    return SetEstimator("flow", **options).fit(baskets(60))


def test_it_learns_what_goes_together(learned):
    assert learned.score(baskets(seed=1)) == pytest.approx(-np.log(8), abs=0.1)
    assert learned.validation_score_ == pytest.approx(-np.log(8), abs=0.1)
    drawn = learned.sample(200)
    assert np.mean([set(row) <= set(FOOD) or set(row) <= set(TOOLS) for row in drawn]) > 0.95
    suggested = learned.complete(["butter", "jam"], n_suggestions=2)
    assert sorted(map(tuple, suggested["items"])) == [("bread",), ("milk",)]
    np.testing.assert_allclose(suggested["probability"], 0.5, atol=0.1)
    several = learned.complete({"saw"}, n_suggestions=3)
    pairs = set(itertools.combinations(["axe", "drill", "hammer"], 2))
    assert set(map(tuple, several["items"])) == pairs
    np.testing.assert_allclose(several["probability"], 1 / 3, atol=0.1)


@pytest.mark.parametrize("model", MODELS)
def test_probabilities_sum_to_one(fitted, model):
    estimator = fitted[model]
    assert np.exp(estimator.score_samples(all_sets())).sum() == pytest.approx(1, abs=1e-4)
    assert not estimator.lower_bound_
    assert estimator.items_.tolist() == sorted(FOOD + TOOLS)
    assert estimator.n_features_in_ == 3
    for there in (["saw", "axe"], ["saw"], []):
        suggested = estimator.complete(there, n_suggestions=1000, draws=20_000)
        assert suggested["probability"].sum() == pytest.approx(1, abs=1e-2)
        assert suggested["probability"].is_monotonic_decreasing
        assert all(not set(there) & set(row) and len(row) == 3 - len(there) for row in suggested["items"])


@pytest.mark.parametrize("model", MODELS)
def test_a_completion_is_the_conditional_of_the_joint(fitted, model):
    estimator = fitted[model]
    for there, tolerance in ((["saw", "jam"], 1e-4), (["jam"], 1e-4 if model != "matched" else 2e-2)):
        whole = [row for row in all_sets() if set(there) <= set(row)]
        marginal = np.exp(estimator.score_samples(whole)).sum()
        suggested = estimator.complete(there, n_suggestions=100)
        joint = np.exp(estimator.score_samples([[*there, *row] for row in suggested["items"]]))
        np.testing.assert_allclose(suggested["probability"], joint / marginal, rtol=tolerance)


def test_suggestions_from_few_draws_are_no_more_than_certain(fitted):
    totals = [
        fitted["matched"].complete(["axe"], n_suggestions=1000, draws=30, random_state=seed)["probability"].sum()
        for seed in range(20)
    ]
    assert 0.8 < min(totals) <= max(totals) <= 1 + 1e-5


def test_order_and_kind_of_rows_do_not_matter(fitted):
    estimator, rows = fitted["matched"], baskets(20, seed=2)
    expected = estimator.score_samples(rows)
    for same in (
        [row[::-1] for row in rows],
        [set(row) for row in rows],
        [tuple(row) for row in rows],
        np.array(rows),
        pd.DataFrame(rows),
    ):
        np.testing.assert_array_equal(estimator.score_samples(same), expected)
    shuffled = SetEstimator(**FAST).fit([row[::-1] for row in baskets()])
    np.testing.assert_array_equal(shuffled.score_samples(rows), expected)


def test_samples(fitted):
    estimator = fitted["matched"]
    drawn = estimator.sample(50)
    assert drawn == estimator.sample(50)
    assert drawn != estimator.sample(50, random_state=1)
    assert all(len(set(row)) == 3 and set(row) <= set(FOOD + TOOLS) for row in drawn)
    pd.testing.assert_frame_equal(estimator.complete(["axe"]), estimator.complete(["axe"]))


def test_a_flow(flow):
    assert flow.lower_bound_
    scores = flow.score_samples(baskets(5))
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(scores, flow.score_samples(baskets(5)))
    suggested = flow.complete(["saw", "axe"], n_suggestions=100, samples=2)
    assert suggested["probability"].sum() == pytest.approx(1, abs=1e-5)
    assert len(suggested) == 6
    assert all(len(set(row)) == 3 for row in flow.sample(5))
    with pytest.raises(ValueError, match="a flow suggests one missing item, not 2: fit with model='matched'"):
        flow.complete(["saw"])


@pytest.mark.parametrize("model", [*MODELS, "flow"])
def test_a_saved_model_is_the_same(fitted, flow, model, tmp_path):
    estimator = flow if model == "flow" else fitted[model]
    estimator.save(tmp_path)
    loaded = SetEstimator.load(tmp_path)
    np.testing.assert_array_equal(loaded.score_samples(baskets(5)), estimator.score_samples(baskets(5)))
    assert loaded.sample(3) == estimator.sample(3)
    assert loaded.get_params() == estimator.get_params()
    assert loaded.lower_bound_ == estimator.lower_bound_
    assert loaded.validation_score_ == estimator.validation_score_
    assert json.loads((tmp_path / "config.json").read_text())["estimator"] == "SetEstimator"
    with pytest.raises(ValueError, match="holds a SetEstimator, not a TabularFlow"):
        TabularFlow.load(tmp_path)


def test_items_of_any_kind(tmp_path):
    rows = [[1, "1"], ["1", 2.5], [2.5, 1]] * 10
    estimator = SetEstimator("independent", **FAST).fit(rows)
    assert set(estimator.items_) == {1, "1", 2.5}
    estimator.save(tmp_path)
    loaded = SetEstimator.load(tmp_path)
    assert loaded.sample(20) == estimator.sample(20)
    assert [type(item) for item in loaded.items_] == [type(item) for item in estimator.items_]
    numbers = SetEstimator("independent", **FAST).fit(np.array([[3, 4], [4, 5], [5, 3]]))
    assert {type(item) for row in numbers.sample(5) for item in row} == {int}
    assert np.isfinite(numbers.score_samples([[np.int64(3), 5]])).all()
    codes = torch.tensor([[3, 4], [5, 3]])
    for same in (codes, list(codes), [list(row) for row in codes], [set(row) for row in codes]):
        np.testing.assert_array_equal(numbers.score_samples(same), numbers.score_samples([[3, 4], [5, 3]]))
    pairs = SetEstimator("independent", **FAST).fit([[(1, 2), frozenset({3})], [(1, 2), None.__class__]] * 5)
    assert (1, 2) in pairs.sample(1)[0]
    with pytest.raises(TypeError, match=r"item .* is a (tuple|frozenset|type), which no file keeps"):
        pairs.save(tmp_path / "pairs")


def test_one_possible_set():
    for model in MODELS:
        estimator = SetEstimator(model, **FAST).fit([["a", "b", "c"]] * 4)
        assert estimator.score_samples([["c", "b", "a"]]) == pytest.approx([0], abs=1e-4)
        assert estimator.sample(2) == [["a", "b", "c"]] * 2
    assert SetEstimator("matched", **FAST).fit([["a"], ["b"]] * 10).complete([])["probability"].sum() == pytest.approx(
        1
    )


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([["a", "b"], ["a", "b", "c"]], ValueError, r"row 1 \(counted from 0\) has 3 items, but sets here have 2"),
        ([["a", "b"], ["c", "c"]], ValueError, r"row 1 \(counted from 0\) has the item 'c' twice"),
        ([["a", "b"], ["a", None]], ValueError, r"row 1 \(counted from 0\) has a missing item, None"),
        ([["a", float("nan")]], ValueError, "row 0 .* has a missing item, nan"),
        ([["a", "b"], ["a", pd.NA]], ValueError, r"row 1 \(counted from 0\) has a missing item, <NA>"),
        ([["a", "b"], ["a", (1, ["b"])]], TypeError, r"row 1 .* has the item \(1, \['b'\]\), which is not hashable"),
        (torch.tensor([[1, 2], [3, 3]]), ValueError, "row 1 .* has the item 3 twice"),
        (torch.tensor([1, 2]), TypeError, "row 0 .* must be a list of items, got 1"),
        (torch.zeros(1, 2, 2), TypeError, r"row 0 .* has the item \[0.0, 0.0\], which is not hashable"),
        ([["a", ["b"]]], TypeError, r"row 0 .* has the item \['b'\], which is not hashable"),
        (["ab", "cd"], TypeError, "row 0 .* must be a list of items, got 'ab'"),
        ("ab", TypeError, "X must be a list of sets of items, got 'ab'"),
        ([], ValueError, "X has no sets"),
        ([[]], ValueError, "row 0 .* has no items"),
    ],
)
def test_rows_that_are_no_sets(rows, error, message):
    with pytest.raises(error, match=message):
        SetEstimator(**FAST).fit(rows)


def test_refusals(fitted):
    estimator = fitted["matched"]
    rows = baskets(3)
    with pytest.raises(
        ValueError, match=r"row 1 \(counted from 0\) has the item 'tea', which was not seen in training"
    ):
        estimator.score_samples([rows[0], ["saw", "axe", "tea"]])
    with pytest.raises(ValueError, match=r"row 1 .* has 2 items, but sets here have 3"):
        estimator.score_samples([rows[0], ["saw", "axe"]])
    with pytest.raises(ValueError, match="which was not seen in training"):
        SetEstimator(**FAST).fit(baskets(), X_validation=[["saw", "axe", "tea"]])
    with pytest.raises(ValueError, match="the set has the item 'tea', which was not seen in training"):
        estimator.complete(["saw", "tea"])
    with pytest.raises(ValueError, match="got 3: nothing is missing"):
        estimator.complete(rows[0])
    with pytest.raises(ValueError, match="has the item 'saw' twice"):
        estimator.complete(["saw", "saw"])
    with pytest.raises(TypeError, match="must be a list of items, got 'saw'"):
        estimator.complete("saw")
    for name in ("n_suggestions", "draws", "samples"):
        for wrong in (0, 1.5):
            with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1, got {wrong}"):
                estimator.complete(["saw"], **{name: wrong})
    with pytest.raises(ValueError, match="samples must be an integer of at least 1, got 0"):
        estimator.score_samples(rows, samples=0)
    with pytest.raises(ValueError, match="X has no sets to score"):
        estimator.score([])
    with pytest.raises(ValueError, match="X_validation has no sets"):
        SetEstimator(**FAST).fit(rows, X_validation=[])
    with pytest.raises(ValueError, match=r"model: input should be 'matched', 'flow', 'dpp' or 'independent'"):
        SetEstimator("forest").fit(rows)
    with pytest.raises(ValueError, match="rank must be at least the size of a set, 3, got 2"):
        SetEstimator("dpp", rank=2).fit(rows)
    with pytest.raises(NotFittedError):
        SetEstimator().sample()


def test_it_is_an_estimator(fitted):
    estimator = clone(fitted["matched"])
    assert estimator.get_params() == fitted["matched"].get_params()
    again = estimator.set_params(max_steps=20).fit(baskets(), X_validation=baskets(50, seed=3))
    assert again.history_["step"].max() == 20
    assert len(again.score_samples([])) == 0


def test_a_killed_fit_goes_on(tmp_path):
    options = {**FAST, "max_steps": 20}
    first = SetEstimator(**options).fit(baskets(), directory=tmp_path)
    second = SetEstimator(**options).fit(baskets(), directory=tmp_path)
    np.testing.assert_array_equal(first.score_samples(baskets(5)), second.score_samples(baskets(5)))
    with pytest.raises(ValueError, match="width"):
        SetEstimator(**options | {"width": 8}).fit(baskets(), directory=tmp_path)


def test_codes_are_in_ascending_order():
    schema = ItemSchema.infer([[3, 1], [2, 3]])
    assert schema.items == (1, 2, 3)
    assert schema.encode([[3, 1], {2, 3}]).tolist() == [[0, 2], [1, 2]]
    assert schema.decode(schema.encode([[3, 2]])) == [[2, 3]]
    assert ItemSchema.model_validate_json(schema.model_dump_json()) == schema
