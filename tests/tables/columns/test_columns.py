"""What holds of columns of every kind: they come back, survive files, and what was not seen is one event."""

import math
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal

from column_cases import COLUMNS, DAY, Case
from tessflow.tables import TableSchema
from tessflow.tables.columns import KINDS, NumericColumn

CASES = pytest.mark.parametrize("case", COLUMNS.values(), ids=COLUMNS.keys())


def schema_of(case: Case, **options) -> TableSchema:
    return TableSchema.infer(pd.DataFrame({"x": case.rows}), **options)


def test_every_kind_has_cases():
    kinds = {name for kind in KINDS for name in get_args(kind.model_fields["kind"].annotation)}
    assert {case.kind for case in COLUMNS.values()} == kinds
    for kind in kinds:
        cases = [case for case in COLUMNS.values() if case.kind == kind]
        assert any(None in case.unseen for case in cases), kind
        assert any(case.alien for case in cases), kind
        assert any(case.rows.isna().any() for case in cases), kind


@pytest.mark.parametrize(
    ("values", "kind", "resolution"),
    [
        (range(3), "number", 1),
        (range(1000), "number", 1),
        ([*map(float, range(65)), math.nan], "number", 1),
        ([0.5, 1, 1.5] * 20, "number", 0.1),
        ([1 / 7, 2 / 7] * 20, "number", 0),
        ([k / 100 for k in range(100)], "number", 0.01),
        ([k / 100 for k in range(100)] * 20 + [0.995], "number", 0.01),  # one in 2001 has more decimals
        ([k / 100 for k in range(100)] * 3 + [0.995], "number", 0.001),
        ([k / 10**6 for k in range(100)], "number", 1e-6),
        ([k / 10**7 for k in range(100)], "number", 0),
        ([1.5, None, 1.5], "number", 0.1),
        ([math.inf, math.inf], "number", 1),
        ([1e300, -1e300], "number", 0),
        (range(2**60, 2**60 + 99), "number", 1),
        (pd.Series(range(2**64 - 9, 2**64), dtype="uint64"), "number", 1),
        ([DAY] * 3, "datetime", 86400),
        (pd.Series([DAY, pd.NaT]).dt.tz_localize("Europe/Berlin"), "datetime", 3600),
        (pd.to_timedelta([90, 90], unit="s"), "timedelta", 1),
        ([DAY, DAY + pd.Timedelta("1h")], "datetime", 3600),
        (pd.to_timedelta([1500, 90000], unit="ms"), "timedelta", 0.001),
        ([True, False], "boolean", None),
        ([pd.NaT, pd.NaT], "categorical", None),
        ([math.nan], "categorical", None),
        ([str(n) for n in range(200)], "categorical", None),
        (pd.Categorical([1, 2]), "categorical", None),
        (pd.Categorical([1, 2], ordered=True), "ordinal", None),
        (pd.cut([1, 2], 2), "ordinal", None),
    ],
)
def test_rules(values, kind, resolution):
    column = TableSchema.infer(pd.DataFrame({"x": values})).columns[0]
    assert column.kind == kind
    assert isinstance(column, NumericColumn) == (resolution is not None)
    assert getattr(column, "resolution", None) == resolution


@CASES
def test_a_column_is_what_it_holds(case):
    column = schema_of(case).columns[0]
    assert column.kind == case.kind
    assert getattr(column, "resolution", None) == case.resolution
    assert column.numeric == (case.resolution is not None)
    assert (column.missing is not None) == case.rows.isna().any()
    assert column.rows == len(case.rows)
    if case.atoms is not None:
        assert len(column.atoms) == case.atoms


@CASES
def test_a_column_comes_back_as_it_was(case):
    frame = pd.DataFrame({"x": case.rows, "letter": "a"})
    schema = TableSchema.infer(frame)
    loaded = TableSchema.model_validate_json(schema.model_dump_json())
    assert loaded == schema
    rows = loaded.encode(frame)
    assert rows.dtype == (torch.int64 if case.resolution is None else torch.float64)
    assert rows.shape == (len(frame), 2 + schema.columns[0].numeric)
    assert torch.equal(rows, schema.encode(frame, unseen="error"))
    decoded = loaded.decode(rows)
    assert_frame_equal(decoded, frame, check_exact=True)
    # assert_frame_equal takes None for NaN in an object column, and compares integers as floats
    assert decoded["x"].astype(object).map(repr).tolist() == frame["x"].astype(object).map(repr).tolist()
    assert TableSchema.from_yaml(schema.to_yaml()).fitted(frame) == schema
    assert TableSchema.infer([frame[:1], frame[1:]]) == schema


@CASES
def test_codes_are_those_of_the_labels(case):
    schema = schema_of(case)
    column, variable = schema.columns[0], schema.variables[0]
    codes = schema.encode(pd.DataFrame({"x": case.rows}))[:, 0].long()
    assert variable.classes == schema.cardinalities[0] == column.cardinality == len(column.labels)
    assert variable.unseen == column.unseen == column.cardinality - 1
    assert column.labels[-1] == "unseen"
    assert ("missing" in column.labels) == case.rows.isna().any()
    gone = torch.tensor(case.rows.isna().to_numpy())
    assert set(codes[~gone].tolist()) <= set(column.fillable)
    assert (codes[gone] == column.labels.index("missing")).all() if gone.any() else True
    if not column.numeric:
        assert set(codes.tolist()) == set(variable.seen)  # no class is invented
    assert variable.reserve == column.reserve == 1 / (2 * (len(case.rows) + 1))
    assert column.reserve <= column.expected_unseen <= 1
    assert isinstance(column.measure, str)


@CASES
def test_what_was_not_seen_has_the_last_code(case):
    schema = schema_of(case)
    column = schema.columns[0]
    for value in case.unseen:
        frame = pd.DataFrame({"x": case.cells(value)})
        codes = schema.encode(frame)
        assert codes[0, 0] == column.unseen, value
        assert (codes[:, 1:] == 0).all()
        assert column.encode_value(value) == (column.unseen, 0)
        both = case.mixed(value)
        assert schema.encode(both)[:, 0].tolist() == [schema.encode(both[:1])[0, 0].item(), column.unseen]
        with pytest.raises(ValueError, match=r"^column 'x' has in row 1 \(counted from 0\) ") as caught:
            schema.encode(both, unseen="error")
        assert "\n" not in str(caught.value)
        with pytest.raises(ValueError, match=r"^column 'x' was given .*(not|none was) seen"):
            column.among([value])


@CASES
def test_numbers_that_did_not_come_have_a_probability(case):
    schema = schema_of(case)
    for value in case.scored:
        assert schema.encode(case.mixed(value), unseen="error")[1, 0] < schema.columns[0].unseen
        assert schema.columns[0].encode_value(value)[0] in schema.columns[0].fillable


@CASES
def test_values_of_another_type_are_refused(case):
    schema = schema_of(case)
    for value in case.alien:
        for rows in ([value], [*case.rows.iloc[:1], value]):
            for unseen in ("other", "error"):
                with pytest.raises((ValueError, TypeError), match="column 'x' ") as caught:
                    schema.encode(pd.DataFrame({"x": pd.Series(rows, dtype=object).infer_objects()}), unseen=unseen)
                assert "\n" not in str(caught.value)
        is_time = case.kind in ("datetime", "timedelta")  # of which one may be a word, or in the column's zone
        if not (is_time and isinstance(value, (str, pd.Timestamp))):
            with pytest.raises((ValueError, TypeError), match="column 'x'"):
                schema.columns[0].encode_value(value)


@CASES
def test_other_dtypes_of_the_same_values_have_the_same_codes(case):
    schema = schema_of(case)
    codes = schema.encode(pd.DataFrame({"x": case.rows}))
    objects = case.rows.astype(object)
    for other in (objects, objects.astype("category") if objects.notna().any() else objects):
        assert torch.equal(schema.encode(pd.DataFrame({"x": other})), codes), other.dtype


@CASES
def test_the_last_code_and_what_is_no_code_stand_for_no_value(case):
    schema = schema_of(case)
    numbers = [0.0] * schema.columns[0].numeric
    for code in (schema.columns[0].unseen, schema.columns[0].cardinality, -1):
        with pytest.raises(ValueError, match="codes must lie between 0 and the cardinality less two"):
            schema.decode(np.array([[code, *numbers]], float if numbers else int))


@CASES
def test_no_rows_have_no_codes(case):
    schema = schema_of(case)
    frame = pd.DataFrame({"x": case.rows})
    assert schema.encode(frame.iloc[:0]).shape == (0, 1 + schema.columns[0].numeric)
    assert schema.decode(schema.encode(frame.iloc[:0])).dtypes.equals(frame.dtypes)


@CASES
def test_a_declaration_of_little_more_than_the_kind_is_enough(case):
    found = schema_of(case).columns[0]
    fields = {"name": "x", "kind": case.kind, "missing": found.missing}
    if isinstance(found, NumericColumn):
        fields |= {"resolution": found.resolution, "atoms": found.atoms}  # atoms, for infinities and ids
    frame = pd.DataFrame({"x": case.rows})
    schema = TableSchema(columns=[fields]).fitted(frame)
    assert (schema.columns[0].kind, schema.columns[0].dtype) == (case.kind, found.dtype)
    assert_frame_equal(schema.decode(schema.encode(frame, unseen="error")), frame, check_exact=True)


@CASES
def test_a_line_and_a_measure_for_a_column(case):
    schema = schema_of(case)
    (line,) = schema.summary()
    assert line.startswith(f"x  {case.kind}  {schema.columns[0].measure}")
    assert ("missing" in line) == case.rows.isna().any()
    whole = case.resolution != 0
    assert schema.columns[0].measure.startswith("probabilities of " if whole else "densities of ")
