"""Columns of classes: which values are classes and in what order, choices and ranges of them, and what is refused."""

import math

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from tessflow.models.variables import Restriction, Variable
from tessflow.tables import ClassColumn, TableSchema

SIZES = pd.CategoricalDtype(["S", "M", "L"], ordered=True)


def column(values, **options):
    return TableSchema.infer(pd.DataFrame({"x": values}), **options).columns[0]


def declared(text, values):
    return TableSchema.from_yaml(f"columns:\n- {{name: x, {text}}}\n").fitted(pd.DataFrame({"x": values}))


def test_values_are_in_the_order_of_their_categories_or_ascend():
    assert column(pd.Categorical(["low", "high", "low"], categories=["low", "middle", "high"])).values == (
        "low",
        "high",
    )
    assert column(["b", "a", "c"]).values == ("a", "b", "c")
    assert column([True, False, True]).values == (False, True)
    assert column(pd.Categorical([10, 9, -1], categories=[9, 10, -1])).values == (9, 10, -1)


def test_categories_without_rows_stay_in_the_dtype_but_are_no_classes():
    frame = pd.DataFrame({"size": pd.Categorical(["L", "S"], dtype=SIZES)})
    schema = TableSchema.infer(frame)
    assert schema.columns[0].labels == ("S", "L", "unseen")
    decoded = schema.decode([[0], [1]])
    assert decoded["size"].tolist() == ["S", "L"]
    assert decoded["size"].dtype == frame["size"].dtype
    middle = pd.DataFrame({"size": pd.Categorical(["M"], dtype=SIZES)})
    assert schema.encode(middle).tolist() == [[2]]
    with pytest.raises(ValueError, match=r"column 'size' has in row 0 .* 'M', which was not seen"):
        schema.encode(middle, unseen="error")


def test_what_a_column_is_to_a_model():
    assert column(["a", "b", None]).variable == Variable(4, reserve=1 / 8, rare=((3, 2.5 / 4),))
    sizes = Variable(3, reserve=1 / 6, rare=((2, 2.5 / 3),), ordered=True)
    assert column(pd.Categorical(["S", "L"], dtype=SIZES)).variable == sizes
    assert column(pd.Categorical(["S", "S"])).variable == Variable(2, reserve=1 / 6, rare=((1, 0.5 / 3),))


def test_as_much_is_expected_to_be_new_as_came_once():
    assert column(["a", "a", "b", "c"]).expected_unseen == 2.5 / 5
    assert column(["a"] * 99).expected_unseen == 0.5 / 100
    batches = [pd.DataFrame({"x": ["a", "b"]}), pd.DataFrame({"x": ["a", "c"]})]
    assert TableSchema.infer(batches).columns[0].once == 2
    assert declared("kind: categorical, values: [a, b, c, d]", ["a", "a", "b", "c"]).columns[0].once == 2


def test_an_unseen_value_is_named_with_its_row_and_the_known_ones():
    schema = TableSchema.infer(pd.DataFrame({"colour": [f"c{i:02}" for i in range(15)]}))
    frame = pd.DataFrame({"colour": ["c01", "c00", "mauve", "pink"]})
    assert schema.encode(frame).tolist() == [[1], [0], [15], [15]]
    with pytest.raises(ValueError, match=r"column 'colour' has in row 2 .* 'mauve'") as caught:
        schema.encode(frame, unseen="error")
    assert "'c00', 'c01'" in str(caught.value)
    assert str(caught.value).endswith("'c09' and 5 more")


def test_strings_and_times_are_two_types():
    days = pd.Series(pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-01"]))
    schema = declared("kind: categorical", days)
    assert schema.columns[0].values == ("2024-01-01T00:00:00", "2024-01-02T00:00:00")
    assert schema.encode(pd.DataFrame({"x": days + pd.Timedelta(days=1)}))[:, 0].tolist() == [1, 2, 1]
    assert schema.columns[0].encode_value("2024-01-02") == schema.columns[0].encode_value(days[1]) == (1, 0)
    assert_frame_equal(schema.decode(schema.encode(pd.DataFrame({"x": days}))), pd.DataFrame({"x": days}))
    with pytest.raises(ValueError, match="column 'x' holds strings, but the training data held datetimes"):
        schema.encode(pd.DataFrame({"x": ["2024-01-01"]}))
    words = TableSchema.infer(pd.DataFrame({"x": ["2024-01-01T00:00:00", "a"]}))
    with pytest.raises(ValueError, match="column 'x' holds datetimes, but the training data held strings"):
        words.encode(pd.DataFrame({"x": days}))


def test_ranges_of_classes_follow_their_order():
    eggs = declared("kind: ordinal, missing: nan", [2.0, 5, None]).columns[0]
    size = column(pd.Categorical(["S", "L", "M", None], dtype=SIZES))
    colour = column(pd.Categorical(["red", "blue", "red"]))
    word = column(["b", "a", "c"])
    assert eggs.between(3, None) == Restriction((1,))
    assert eggs.between(None, None) == Restriction((0, 1))  # neither a missing value nor something not seen
    assert size.between("M", None) == Restriction((1, 2))
    assert word.between("b", "bb") == Restriction((1,))
    for of, low, high, message in [
        (eggs, 3, 4, "has no value from 3 to 4"),
        (eggs, "a", None, "holds numbers, but was given a range"),
        (size, "XL", None, "has no category 'XL'"),
        (size, "L", "S", "has no value from 'L' to 'S'"),
        (colour, "blue", "red", "has no order"),
        (word, 1, 2, "holds strings, but was given a range"),
    ]:
        with pytest.raises(ValueError, match=f"column 'x' {message}"):
            of.between(low, high)


def test_choices_are_of_values_that_were_seen():
    of = column(["a", "b", None, "c"])
    assert of.among(["c", "a", "c"]) == Restriction((0, 2))
    assert of.among([None]) == Restriction((3,))
    for values, message in [
        (["a", "d"], "was given the value 'd', which was not seen in training; known values: 'a', 'b', 'c'"),
        ([1], "was given 1, but the training data held strings, not numbers"),
    ]:
        with pytest.raises(ValueError, match=f"column 'x' {message}"):
            of.among(values)
    with pytest.raises(ValueError, match="was given a missing value, but none was seen"):
        column(["a"]).among([math.nan])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "ordinal", "values": (1, 1)}, "distinct values of one type"),
        ({"kind": "categorical", "values": (1, "1")}, "distinct values of one type"),
        (
            {
                "kind": "categorical",
                "values": ("a",),
                "categories": {"values": ("b",), "dtype": "str", "ordered": False},
            },
            "values that are not among its categories",
        ),
        ({"kind": "integer", "values": (1, 2)}, "'categorical', 'ordinal' or 'boolean'"),
        ({"kind": "categorical", "resolution": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_column_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ClassColumn(name="x", dtype="int64", **fields)
