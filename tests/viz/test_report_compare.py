import math

import numpy as np
import pandas as pd
import pytest

from tessflow.tables import TableSchema
from tessflow.viz.report.compare import Shares, associations, marginal
from tessflow.viz.report.rows import Rows

ROWS = 400


def columns():
    """Columns, most of them with single values that come again and again."""
    rng = np.random.default_rng(0)

    def often(share, value, others):
        return np.where(rng.random(ROWS) < share, value, others)

    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, ROWS), unit="D")
    return pd.DataFrame(
        {
            "income": often(0.5, 0, rng.lognormal(3, 1, ROWS).round(2)),
            "weight": often(0.1, -999, rng.normal(50, 10, ROWS).round(1)),
            "score": rng.integers(1, 6, ROWS),
            "day": days.where(rng.random(ROWS) > 0.3, pd.Timestamp("2021-05-05")),
            "wait": pd.to_timedelta(often(0.2, 60, rng.integers(61, 3600, ROWS)), unit="s"),
            "ratio": often(0.2, np.inf, rng.normal(size=ROWS)),
            "price": often(0.1, np.nan, rng.normal(size=ROWS)),
            "share": rng.beta(0.5, 0.5, ROWS),
            "nothing": [None] * ROWS,
            "kind": rng.choice(["a", "b"], ROWS),
            "grade": pd.Categorical(rng.choice(list("cab"), ROWS), categories=list("cab"), ordered=True),
        }
    )


def marginals(real, drawn=None):
    """What columns hold, by name."""
    schema = TableSchema.infer(columns())
    one, other = (Rows.of(schema, schema.encode(frame)) for frame in (columns() if drawn is None else drawn, real))
    return {name: marginal(schema, n, one, other) for n, name in enumerate(schema.names)}


def test_numbers_are_those_of_the_table_whether_or_not_they_have_a_class():
    frame = columns()
    schema = TableSchema.infer(frame)
    numbers = pd.DataFrame(Rows.of(schema, schema.encode(frame)).numbers, columns=schema.names)
    for name in ("income", "weight", "score", "ratio", "price", "share"):
        assert numbers[name].to_numpy() == pytest.approx(frame[name].to_numpy(np.float64), nan_ok=True)
    assert numbers["day"].to_numpy() == pytest.approx((frame["day"] - pd.Timestamp(0)).dt.total_seconds().to_numpy())
    assert numbers["wait"].to_numpy() == pytest.approx(frame["wait"].dt.total_seconds().to_numpy())
    assert numbers[["nothing", "kind", "grade"]].isna().all(axis=None)


def test_shares_sum_to_one():
    schema = TableSchema.infer(columns())
    real, drawn = (Rows.of(schema, schema.encode(columns().head(rows))) for rows in (ROWS, 150))
    for n in range(len(schema.columns)):
        one = marginal(schema, n, drawn, real)
        for whose in ("drawn", "real"):
            inside = getattr(one.bins, whose).sum() if one.bins else 0
            assert getattr(one.classes, whose).sum() + inside == pytest.approx(1)
        assert 0 <= one.distance <= 1
        assert marginal(schema, n, real, real).distance == 0
        assert marginal(schema, n, drawn, None).distance == 0


def test_a_value_that_towers_over_all_others_is_marked_and_others_are_in_bins():
    frame, found = columns(), marginals(columns())
    for name, label, place in (
        ("income", "0", 0),
        ("weight", "-999", -999),
        ("day", "2021-05-05", pd.Timestamp("2021-05-05").timestamp()),
        ("wait", "0:01:00", 60),
    ):
        one = found[name]
        assert one.labels == [label]
        assert one.places.tolist() == [place]
        assert one.classes.real[0] == pytest.approx((frame[name] == frame[name].mode()[0]).mean())
        assert one.edges[0] <= one.edges[-1]
        assert one.bins.real.sum() == pytest.approx(1 - one.classes.real[0])
    assert found["weight"].edges[0] > 0
    assert found["income"].edges[0] < 0
    assert found["ratio"].labels == ["inf"]
    assert found["price"].labels == ["missing"]
    assert found["share"].labels == []


def test_few_values_have_a_bar_each_in_their_order():
    found = marginals(columns())
    assert found["score"].labels == ["1", "2", "3", "4", "5"]
    assert found["grade"].labels == ["c", "a", "b"]
    assert found["kind"].labels == ["a", "b"]
    assert found["nothing"].labels == ["missing"]
    assert [name for name, one in found.items() if one.bins is None] == ["score", "nothing", "kind", "grade"]
    assert [name for name, one in found.items() if one.ordered] == ["score", "grade"]
    other = marginals(columns().assign(score=[9] + [1] * (ROWS - 1)))["score"]
    assert other.labels == ["1", "2", "3", "4", "5", "other numbers"]
    assert other.classes.real.tolist() == [1 - 1 / ROWS, 0, 0, 0, 0, 1 / ROWS]
    assert marginals(columns().assign(score=range(ROWS)))["score"].bins is not None


def test_what_was_not_seen_has_a_share_only_where_real_rows_have_some():
    new = {"kind": "c", "grade": None, "share": -0.5, "nothing": "something", "score": np.nan, "ratio": -np.inf}
    frame = columns().astype({"nothing": object, "score": float})
    for name, value in new.items():
        frame.loc[:3, name] = value
    found, usual = marginals(frame), marginals(columns())
    for name in found:
        assert ("unseen" in found[name].labels) == (name in new)
        assert "unseen" not in usual[name].labels
        if name in new:
            assert found[name].labels[-1] == "unseen"
            assert found[name].classes.real[-1] == 4 / ROWS
            assert found[name].classes.drawn[-1] == 0


def test_a_frequent_value_with_a_bin_of_its_own_is_in_it():
    counts = np.random.default_rng(0).geometric(0.4, ROWS)
    schema = TableSchema.infer(pd.DataFrame({"x": np.concatenate([counts, range(30)])}))
    assert len(schema.columns[0].atoms) > 0
    one = marginal(schema, 0, Rows.of(schema, schema.encode(pd.DataFrame({"x": counts}))), None)
    assert one.labels == []
    assert one.bins.drawn[0] == pytest.approx((counts == 1).mean())


def test_bins_of_whole_numbers_hold_as_many_round_numbers_each():
    whole = np.random.default_rng(0).integers(0, 1000, ROWS)
    schema = TableSchema.infer(pd.DataFrame({"x": whole}))
    rows = Rows.of(schema, schema.encode(pd.DataFrame({"x": whole})))
    assert set(np.diff(marginal(schema, 0, rows, None).edges)) == {70.0}


def test_associations_are_those_known():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 5000)
    frame = pd.DataFrame(
        {
            "a": codes.astype(str),
            "same": codes.astype(str),
            "other": rng.integers(0, 4, 5000).astype(str),
            "level": codes,  # all of its values are atoms
            "x": rng.normal(size=5000),
            "falls": np.nan,
            "groups": codes + rng.normal(0, 0.01, 5000),
            "constant": "c",
        }
    )
    frame["falls"] = -np.exp(frame["x"])
    schema = TableSchema.infer(frame)
    table = pd.DataFrame(
        associations(schema, Rows.of(schema, schema.encode(frame)), range(8)), frame.columns, frame.columns
    )
    assert table.loc["a", "same"] == pytest.approx(1)
    assert table.loc["a", "other"] < 0.05
    assert table.loc["x", "falls"] == pytest.approx(1)
    assert table.loc["x", "groups"] < 0.05
    assert table.loc["a", "groups"] == pytest.approx(math.sqrt(8 / 9), abs=0.01)  # of ranks in three blocks
    assert table.loc["a", "x"] < 0.05
    assert table.loc["a", "level"] == pytest.approx(1)
    assert table.loc["level", "groups"] == pytest.approx(math.sqrt(8 / 9), abs=0.01)
    assert table.loc["level", "x"] < 0.05
    assert np.isnan(table.loc["a", "constant"])
    assert np.isnan(table.loc["x", "constant"])
    assert np.equal(table, table.T).to_numpy()[~table.isna()].all()


def test_distance_by_chance_is_what_two_draws_have():
    rng = np.random.default_rng(0)
    p = np.array([0.5, 0.3, 0.15, 0.05])
    draws = rng.multinomial(400, p, (2000, 2)) / 400
    distances = [Shares(drawn, real).distance for drawn, real in draws]
    assert Shares(p, p).by_chance(400) == pytest.approx(np.mean(distances), rel=0.03)
