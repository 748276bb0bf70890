"""Declared orders and bounds: what is drawn, filled in and scored keeps them, in every direction."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from tessflow import TabularFlow
from tessflow.tables import TableSchema

FAST = {"max_steps": 30, "hidden_features": (8,), "dimension": 2, "random_state": 0}
MODELS = {"any order": {}, "one order": {"order": "table"}, "coupling": {"backbone": "coupling", "layers": 1}}
ANY = {name: options for name, options in MODELS.items() if name != "coupling"}


def stays(rows=300):
    """Stays of some days, some of them of none, a few still going on; with a room whose price is bounded."""
    rng = np.random.default_rng(0)
    start = np.datetime64("2024-01-01", "s") + rng.integers(0, 60, rows).astype("m8[D]")
    end = pd.Series(start + rng.geometric(0.3, rows).astype("m8[D]") - np.timedelta64(1, "D"))
    hours = rng.integers(8, 20, rows).astype("m8[h]")
    return pd.DataFrame(
        {
            "start": start,
            "end": (end + hours).mask(rng.random(rows) < 0.1),
            "price": (40 + 110 * rng.beta(0.5, 0.5, rows)).round(2),
            "guests": rng.poisson(1.0, rows),
            "fee": rng.exponential(3.0, rows),
            "room": rng.choice(["north", "south"], rows),
        }
    )


STAYS = stays()


def schema():
    declared = TableSchema.infer(STAYS).to_yaml() + "order: [start <= end]\n"
    line = "name: price\n  kind: number"
    assert line in declared
    return TableSchema.from_yaml(declared.replace(line, f"{line}\n  minimum: 40\n  maximum: 150"))


@functools.cache
def fitted(model):
    return TabularFlow(**FAST | MODELS[model]).fit(STAYS, schema=schema())


def keeps_all(rows):
    both = rows.dropna(subset=["start", "end"])
    assert (both["start"] <= both["end"]).all()
    assert rows["price"].between(40, 150).all()
    assert (rows["guests"] >= 0).all()
    assert (rows["fee"] >= 0).all()


def test_bounds_and_resolutions_are_as_they_should():
    start, end, price, guests, fee, _ = fitted("any order").schema_.columns
    assert (start.resolution, end.resolution, price.resolution, fee.resolution) == (86400, 3600, 0.01, 0)
    assert (price.minimum, price.maximum, price.beyond) == (40, 150, "error")
    assert (fee.minimum, fee.maximum, fee.beyond) == (0, None, "unseen")  # inferred
    assert guests.minimum == 0 or guests.closed


@pytest.mark.parametrize("model", MODELS)
def test_draws_keep_order_and_bounds(model):
    drawn = fitted(model).sample(1500)
    keeps_all(drawn)
    assert drawn["end"].isna().any()
    assert (drawn["start"].dt.date == drawn["end"].dt.date).any()


@pytest.mark.parametrize(
    "given",
    [
        {"start": "2024-02-20"},
        {"end": "2024-01-03T09"},
        {"end": ("2024-01-01", "2024-01-02")},
        {"start": ("2024-03-01", None)},
        {"start": ("2024-01-20", None), "end": (None, "2024-02-20")},
        {"end": "2024-01-01T09", "price": (None, 41), "fee": (0, 0.1)},
        {"price": (149.5, None), "guests": [0, 1]},
        {"end": None},
    ],
    ids=str,
)
def test_conditions_keep_them_too(given):
    drawn = fitted("any order").sample(150, given=given)
    keeps_all(drawn)
    if given.get("end") == "2024-01-01T09":
        assert (drawn["start"] <= pd.Timestamp("2024-01-01")).all()


def test_one_order_keeps_what_comes_first():
    keeps_all(fitted("one order").sample(150, given={"start": "2024-03-20"}))


def test_conditionals_keep_the_order_in_both_directions():
    flow = fitted("any order")
    rows = STAYS.dropna()[:40]
    start = flow.conditional(rows, "start").quantiles([0.001, 0.5, 0.999])
    assert (start.to_numpy() <= rows["end"].to_numpy()[:, None]).all()
    end = flow.conditional(rows, "end").quantiles([0.001, 0.5, 0.999])
    assert (end.to_numpy() >= rows["start"].to_numpy()[:, None]).all()
    for column in ("start", "end", "price", "guests", "fee"):
        pit = flow.conditional(rows, column).pit()
        assert ((pit >= 0) & (pit <= 1)).all()
        assert np.ptp(pit) > 0.3
    price = flow.conditional(rows, "price").quantiles([0.001, 0.999])
    assert price.ge(40).all(axis=None)
    assert price.le(150).all(axis=None)
    unknown = flow.conditional(rows.assign(end=pd.NaT), "start").quantiles([0.999])
    assert (unknown[0.999] > rows["end"]).any()  # nothing to be cut off at


@pytest.mark.parametrize("strategy", ["typical", "mean", "sample"])
def test_what_is_filled_in_keeps_them(strategy):
    table = STAYS[:200]
    rng = np.random.default_rng(1)
    for holes in (rng.random(table.shape) < 0.4, np.ones(table.shape, bool), table.columns.isin(["start"])):
        filled = fitted("any order").impute(table.mask(np.broadcast_to(holes, table.shape)), strategy=strategy)
        assert filled.notna().all(axis=None) or not np.all(holes)
        keeps_all(filled)


@pytest.mark.parametrize("model", ANY)
def test_a_row_that_breaks_them_is_refused_in_one_sentence(model):
    flow = fitted(model)
    wrong = STAYS.dropna()[:2].assign(start=pd.Timestamp("2025-01-01").as_unit("s"))
    costly = STAYS[:2].assign(price=[50.0, 150.01])
    calls = [flow.score, flow.score_samples, flow.score_columns, flow.find_unseen]
    if model == "any order":
        calls += [flow.impute, lambda rows: flow.conditional(rows, "room")]
    for call in calls:
        with pytest.raises(ValueError, match="the order start <= end is broken in row 0") as caught:
            call(wrong)
        assert "\n" not in str(caught.value)
        with pytest.raises(ValueError, match=r"column 'price' has in row 1 .* 150.01, above its maximum 150"):
            call(costly)
    below = STAYS[:2].assign(fee=[-0.5, 1.0])
    assert flow.find_unseen(below)["fee"].tolist() == [True, False]
    assert np.isfinite(flow.score(below))
    with pytest.raises(ValueError, match=r"column 'fee' has in row 0 .* -0.5, below its minimum 0"):
        flow.score(below, unseen="error")


FEW_SEEN = pytest.mark.filterwarnings("ignore:column '.' holds something not seen in training")
SHIFTS = """
columns:
- {name: a, kind: number, resolution: 1, atoms: [3], minimum: 0, maximum: 9, beyond: unseen, missing: nan}
- {name: b, kind: number, resolution: 0.5, atoms: [3], minimum: 0, maximum: 9, beyond: unseen}
order: [a <= b]
"""


@functools.cache
def shifts(model):
    """A model of two columns of few values: all rows can be counted."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 9, 300)
    table = pd.DataFrame({"a": a.astype(float), "b": a + rng.integers(0, 19 - 2 * a) / 2})
    table["a"] = table["a"].mask(rng.random(300) < 0.2)
    return TabularFlow(**FAST | MODELS[model]).fit(table, schema=TableSchema.from_yaml(SHIFTS))


def every():
    """Every row that keeps the order: of a, -1 was not seen, and of b 99."""
    pairs = [(a, b) for a in [-1, *range(10), None] for b in [*np.arange(19) / 2, 99] if a is None or a <= b]
    return pd.DataFrame(pairs, columns=["a", "b"], dtype=float)


@FEW_SEEN
@pytest.mark.parametrize("model", MODELS)
def test_likelihoods_of_all_rows_sum_to_one(model):
    rows = every()
    total = np.exp(shifts(model).score_samples(rows, samples=200)).sum()
    if model == "coupling":  # whose bound is not divided by the mass within
        assert 0.5 < total < 1.05
    else:
        assert total == pytest.approx(1, abs=1e-5)


@FEW_SEEN
def test_they_do_in_both_directions():
    flow, rows = shifts("any order"), every()
    for first, second in (("a", "b"), ("b", "a")):
        one = flow.score_samples(rows, columns=[first])
        given = flow.score_samples(rows, columns=[second], given=[first])
        assert np.exp(one + given).sum() == pytest.approx(1, abs=1e-5)
        sums = pd.Series(np.exp(given)).groupby(rows[first], dropna=False).sum()
        np.testing.assert_allclose(sums, 1, atol=1e-5)
        assert len(sums) == rows[first].nunique(dropna=False)


@FEW_SEEN
def test_what_was_not_seen_cuts_nothing_off():
    flow = shifts("any order")
    values = pd.DataFrame({"a": np.arange(10.0)})
    for b in (99, None):  # below 99 all are, and of None nothing is known
        chances = np.exp(flow.score_samples(values.assign(b=b), columns=["a"], given=["b"]))
        assert (chances > 0).all()
    drawn = flow.sample(300, given={"b": 99})
    assert (drawn["b"] == 99).all()
    assert drawn["a"].dropna().between(0, 9).all()


@pytest.mark.parametrize("model", MODELS)
def test_orders_in_a_chain_hold_between_its_ends(model):
    rng = np.random.default_rng(0)
    steps = rng.integers(0, 9, (200, 3)).cumsum(1)
    table = pd.DataFrame(steps, columns=["low", "middle", "high"])
    text = TableSchema.infer(table).to_yaml() + "order:\n- low <= middle\n- middle <= high\n"
    flow = TabularFlow(**FAST | MODELS[model]).fit(table, schema=TableSchema.from_yaml(text))
    drawn = [flow.sample(500)]
    if model == "any order":
        drawn += [flow.sample(200, given=given) for given in ({"high": 4}, {"low": 15}, {"middle": 9})]
        drawn += [flow.impute(table.assign(**{name: np.nan}), strategy="sample") for name in table]
        drawn += [flow.impute(table.assign(middle=np.nan, **{name: np.nan})) for name in ("low", "high")]
    for rows in drawn:
        assert (rows["low"] <= rows["middle"]).all()
        assert (rows["middle"] <= rows["high"]).all()
    with pytest.raises(ValueError, match=r"the order .* is broken in row 0"):
        flow.score(pd.DataFrame({"low": [5], "middle": [None], "high": [4]}))


HALF_BOUNDED = """
columns:
- {name: first, kind: number, resolution: 1, minimum: 10}
- {name: middle, kind: number}
- {name: last, kind: number, resolution: 0.5, maximum: 14}
order: [first <= middle, middle <= last]
"""


@pytest.mark.parametrize("model", MODELS)
def test_a_bound_of_one_column_holds_for_those_in_order(model):
    rng = np.random.default_rng(0)
    first = rng.integers(10, 13, 200)
    middle = first + rng.random(200)
    table = pd.DataFrame({"first": first, "middle": middle, "last": np.ceil(middle) + rng.integers(0, 2, 200) / 2})
    flow = TabularFlow(**FAST | MODELS[model] | {"max_steps": 20})
    flow.fit(table, schema=TableSchema.from_yaml(HALF_BOUNDED))
    drawn = [flow.sample(1000)]
    if model == "any order":
        drawn += [flow.sample(300, given=given) for given in ({"last": (None, 11)}, {"first": (12, None)})]
        drawn += [flow.impute(table.assign(first=np.nan, middle=np.nan), strategy="sample")]
    for rows in drawn:
        assert (rows["first"] <= rows["middle"]).all()
        assert (rows["middle"] <= rows["last"]).all()
        assert (rows["first"] >= 10).all()
        assert (rows["last"] <= 14).all()
    if model == "any order":
        assert (drawn[1]["first"] == drawn[1]["last"]).any()  # and the middle is what is left


def test_a_real_number_with_one_value_left_is_scored_and_drawn():
    text = "columns:\n- {name: count, kind: number, resolution: 1}\n- {name: share, kind: number, minimum: 0}\n"
    rng = np.random.default_rng(0)
    share = rng.integers(0, 4, 200).astype(float)
    table = pd.DataFrame({"count": share + rng.integers(0, 4, 200), "share": share})
    assert (table["count"] == 0).any()
    schema = TableSchema.from_yaml(text + "order: [share <= count]\n")
    flow = TabularFlow(**FAST | {"max_steps": 20}).fit(table, schema=schema)
    assert np.isfinite(flow.score(table))
    drawn = flow.sample(2000)
    assert (drawn["share"] <= drawn["count"]).all()
    assert drawn["share"][drawn["count"] == 0].eq(0).sum() > 10
