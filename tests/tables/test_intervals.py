"""Categories that are intervals of numbers, as `pandas.cut` makes them."""

import pandas as pd
import pytest

from tessflow.tables import TableSchema

SIZE = pd.cut(pd.Series([1, 5, 9, 1]), [0, 3, 6, 9])
COLUMN = TableSchema.infer(pd.DataFrame({"size": SIZE})).columns[0]


def test_they_are_encoded_one_by_one():
    assert COLUMN.encode(SIZE).codes.tolist() == [0, 1, 2, 0]
    assert COLUMN.encode_value(pd.Interval(3, 6)) == (1, 0.0)
    assert COLUMN.encode_value(pd.Interval(9, 12)) == (COLUMN.unseen, 0.0)


def test_they_bound_a_range():
    assert COLUMN.between(pd.Interval(3, 6), None).codes == (1, 2)
    with pytest.raises(ValueError, match="column 'size' has no category"):
        COLUMN.between(pd.Interval(9, 12), None)
