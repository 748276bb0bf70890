"""Masked arrays are tables, in which what is masked is missing; lists keep the integers that they hold."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from tessflow.tables import TableSchema
from tessflow.tables.frames import as_frame

BIG = 2**60 + 1


@pytest.mark.parametrize(
    ("values", "dtype", "masked"),
    [
        ([BIG, 2, 3], "int64", pd.array([None, BIG, 3], "Int64")),
        ([7, 2, 3], "int8", pd.array([None, 7, 3], "Int8")),
        ([7, 2, 3], "uint32", pd.array([None, 7, 3], "UInt32")),
        ([True, False, True], "bool", pd.array([None, True, True], "boolean")),
        ([0.5, 2, 3], "float64", np.array([np.nan, 0.5, 3])),
        ([0.5, 2, 3], "float32", np.array([np.nan, 0.5, 3], "float32")),
        (["a", "b", "c"], "<U1", pd.Series([None, "a", "c"], dtype=object)),
        (["a", "b", "c"], "object", pd.Series([None, "a", "c"], dtype=object)),
    ],
)
def test_masked_cells_are_missing(values, dtype, masked):
    full = np.array(values, dtype)
    array = np.ma.array(np.stack([full[[1, 0, 2]], full], axis=1), mask=[[True, False], [False, False], [False, False]])
    frame, array_dtype = as_frame(array)
    assert array_dtype == dtype
    expected = pd.Series(
        full.astype(object) if full.dtype.kind in "UO" else full, dtype=object if full.dtype.kind in "UO" else None
    )
    assert_frame_equal(frame, pd.DataFrame({0: masked, 1: expected}))


def test_an_array_of_which_nothing_is_masked_is_an_array():
    array = np.arange(6).reshape(3, 2)
    for masked in (np.ma.array(array), np.ma.array(array, mask=np.zeros((3, 2), bool))):
        assert_frame_equal(as_frame(masked)[0], as_frame(array)[0])
    with pytest.raises(ValueError, match="Expected 2D array, got 1D"):
        as_frame(np.ma.array([1, 2]))


def test_masked_cells_in_rows_and_in_a_schema():
    assert as_frame([np.ma.array([1, 2], mask=[True, False]), [3, 4]])[0].isna().to_numpy().tolist()[0] == [True, False]
    array = np.ma.array([[BIG, 1], [2, 3], [BIG, 1]], mask=[[False, True], [False, False], [False, False]])
    schema = TableSchema.infer(np.ma.concatenate([array] * 10))
    assert schema.columns[0].atoms == (2, BIG)
    assert schema.columns[1].missing == "NA"
    assert schema.encode(array)[:, :2].tolist() == [[2, 3], [1, 2], [2, 1]]
    with pytest.raises(ValueError, match=r"column 0 has in row 0 .* a missing value, but none was seen"):
        schema.encode(np.ma.array(array, mask=[[True, False]] * 3), unseen="error")


def test_a_list_keeps_integers_beside_missing_ones():
    frame, _ = as_frame([[2**60 + 1, 0.5, None], [None, None, 1e300]])
    assert frame[0].tolist() == [2**60 + 1, None]
    assert frame.dtypes.astype(str).tolist() == ["object", "float64", "float64"]
