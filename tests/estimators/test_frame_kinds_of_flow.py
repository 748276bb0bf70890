"""What a `TabularFlow` returns is of the kind that it was given, and the numbers are those of pandas."""

import datetime as dt
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tessflow import TabularFlow

SMALL = {"max_steps": 20, "hidden_features": (16,), "random_state": 0}
BIG = 2**60 + 1


def arrow(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    ids = [
        None if gone else BIG + int(n) for n, gone in zip(rng.integers(0, 3, rows), rng.random(rows) < 0.2, strict=True)
    ]
    days = [dt.date(2024, 1, 1) + dt.timedelta(int(day)) for day in rng.integers(0, 60, rows)]
    size = [None if value < -1 else value for value in rng.normal(size=rows).tolist()]
    coat = pa.array(rng.choice(["red", "blue"], rows)).dictionary_encode()
    return pa.table({"id": pa.array(ids, "int64"), "day": days, "size": size, "coat": coat})


def to_polars(table):
    return pytest.importorskip("polars").from_arrow(table)


def to_duckdb(table):
    return pytest.importorskip("duckdb").from_arrow(table)


def to_dict(table):
    return {name: column.to_pylist() for name, column in zip(table.column_names, table.columns, strict=True)}


KINDS = {"pyarrow": lambda table: table, "polars": to_polars, "duckdb": to_duckdb, "dict": to_dict}


def frame_of(table):
    """Any kind of result as a DataFrame."""
    if isinstance(table, dict):
        return pd.DataFrame(table)
    return table.df() if hasattr(table, "df") else table.to_pandas()


@pytest.fixture(scope="module")
def by_pandas():
    from tessflow.tables.parquet import from_arrow

    table, new = from_arrow(arrow()), from_arrow(arrow(seed=1))
    return TabularFlow(**SMALL).fit(table), new


@pytest.mark.parametrize("name", KINDS)
def test_results_are_of_the_kind_that_was_given(name, by_pandas, tmp_path):
    make, (reference, new) = KINDS[name], by_pandas
    flow, given = TabularFlow(**SMALL).fit(make(arrow())), make(arrow(seed=1))
    kind = type(given)
    assert list(flow.feature_names_in_) == ["id", "day", "size", "coat"]
    np.testing.assert_array_equal(flow.score_samples(given), reference.score_samples(new))
    drawn = flow.sample(20)
    assert isinstance(drawn, kind)
    expected = reference.sample(20)
    for column in ("id", "size", "coat"):
        values = pd.Series(frame_of(drawn)[column]).astype(object)
        assert values.isna().tolist() == expected[column].isna().tolist()
    assert frame_of(flow.score_columns(given)).to_numpy() == pytest.approx(reference.score_columns(new).to_numpy())
    assert isinstance(flow.score_columns(given), kind)
    assert isinstance(flow.find_unseen(given), kind)
    assert (frame_of(flow.find_unseen(given)).to_numpy() == reference.find_unseen(new).to_numpy()).all()
    assert list(frame_of(flow.find_unseen(given, columns=["coat"]))) == ["coat"]
    assert isinstance(reference.impute(given), kind)
    assert (
        reference.conditional(given, "coat").probabilities().equals(reference.conditional(new, "coat").probabilities())
    )
    again = pickle.loads(pickle.dumps(flow))
    assert isinstance(again.sample(3, given={"coat": "red"}), kind)
    flow.save(tmp_path)
    assert isinstance(TabularFlow.load(tmp_path).sample(3), pd.DataFrame)
    assert isinstance(flow.fit(arrow().to_pandas()).sample(3), pd.DataFrame)


@pytest.mark.parametrize("name", ["pyarrow", "polars", "duckdb"])
def test_imputing_changes_no_known_value(name, by_pandas):
    flow, given = by_pandas[0], arrow(seed=1)
    given = given.append_column("place", pa.array([[1, 2]] * len(given)))  # which is carried along
    filled = flow.impute(KINDS[name](given))
    filled = filled if name == "pyarrow" else filled.to_arrow() if name == "polars" else filled.to_arrow_table()
    assert filled.column_names == given.column_names
    for column in given.column_names:
        pairs = zip(given[column].to_pylist(), filled[column].to_pylist(), strict=True)
        assert all(new is not None if old is None else (type(new), new) == (type(old), old) for old, new in pairs)
    assert filled.schema.field("id").type == "int64"
    assert filled.schema.field("day").type == "date32[day]"


def test_an_enum_of_polars_is_one_in_samples():
    pl = pytest.importorskip("polars")
    table = pl.DataFrame(
        {"size": pl.Series(["S", "L", None] * 10, dtype=pl.Enum(["S", "M", "L"])), "n": [1, 2, 3] * 10}
    )
    flow = TabularFlow(**SMALL).fit(table)
    assert flow.schema_.columns[0].kind == "ordinal"
    assert flow.sample(5).schema == table.schema
    assert flow.impute(table).schema == table.schema
    assert flow.impute(table.lazy()).drop_nulls().height == 30
    assert flow.impute(table)["n"].equals(table["n"])
