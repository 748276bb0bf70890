"""An order of two columns: written in YAML, kept in JSON, and a row that breaks it is refused with both its values."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from tessflow.models.variables import Ascent
from tessflow.tables import NumberColumn, TableSchema

TIMES = """
columns:
- {name: start, kind: datetime, resolution: 86400, missing: nan}
- {name: end, kind: datetime, resolution: 3600, missing: nan}
- {name: bird, kind: categorical}
order: [start <= end]
"""


def days(*words):
    return pd.Series(pd.to_datetime(list(words), format="ISO8601"))


@pytest.fixture
def schema():
    frame = pd.DataFrame(
        {
            "start": days("2024-01-01", "2024-02-01", None),
            "end": days("2024-01-01", "2024-02-03 10:00", "2024-01-01"),
            "bird": ["owl", "wren", "owl"],
        }
    )
    return TableSchema.from_yaml(TIMES).fitted(frame)


def numbers(text, **columns):
    """A schema of real numbers, or of what is declared, with an order; fitted to rows."""
    lines = [f"- {{name: {name}, kind: number, resolution: {step}, missing: nan}}" for name, step in columns.items()]
    schema = TableSchema.from_yaml("\n".join(["columns:", *lines, f"order: {text}"]))
    return schema.fitted(pd.DataFrame({name: [0.0, 1.0, 2.0] for name in columns}))


def test_an_order_is_read_and_written(schema):
    assert schema.order == (("start", "end"),)
    assert schema.to_yaml().endswith("order:\n- start <= end\n")
    assert TableSchema.from_yaml(schema.to_yaml()).order == schema.order
    assert TableSchema.model_validate_json(schema.model_dump_json()) == schema


def test_columns_of_different_resolutions_are_compared_in_one_unit(schema):
    assert schema.ascents == (Ascent(0, 1, ratio=24.0),)
    assert numbers("[a <= b]", a=0.1, b=1).ascents[0].ratio == pytest.approx(0.1)
    assert numbers("[b <= a]", a=0, b=0.01).ascents == (Ascent(1, 0, ratio=0.01),)


def test_a_row_that_breaks_the_order_is_refused_with_both_values(schema):
    frame = pd.DataFrame(
        {"start": days("2024-01-01", "2024-01-05"), "end": days("2024-01-02", "2024-01-04 23:00"), "bird": "owl"}
    )
    for unseen in ("other", "error"):
        with pytest.raises(ValueError, match="the order start <= end is broken") as caught:
            schema.encode(frame, unseen=unseen)
        assert str(caught.value) == (
            "the order start <= end is broken in row 1 (counted from 0), where 'start' is 2024-01-05 00:00:00 and "
            "'end' is 2024-01-04 23:00:00: mend the row, or leave the order out of the schema"
        )


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2024-01-01", "2024-01-01"),
        (None, "2024-01-01"),
        ("2024-01-01", None),
        (None, None),
        ("0500-01-01", "2999-01-01"),
    ],
)
def test_equal_and_missing_values_break_no_order(schema, start, end):
    frame = pd.DataFrame({"start": days(start), "end": days(end), "bird": ["kite"]})
    assert schema.encode(frame).shape == (1, 5)


@pytest.mark.parametrize(
    ("steps", "first", "second", "is_broken"),
    [
        ((1, 0.1), 9, 8.9, True),
        ((1, 0.1), 9, 9.0, False),
        ((0.1, 1), 8.9, 9, False),
        ((0, 0), 1 / 3, 1 / 3, False),
        ((0, 0), 1 / 3, 0.333, True),
        ((1, 1), math.inf, 5, True),
        ((1, 1), -math.inf, 5, False),
        ((1, 1), math.nan, 5, False),
        ((1, 1), 1e300, math.inf, False),
        ((1, 1), 2.0**60, 2.0**60, False),
    ],
)
def test_numbers_are_compared_as_they_are(steps, first, second, is_broken):
    schema = numbers("[a <= b]", a=steps[0], b=steps[1])
    frame = pd.DataFrame({"a": [0.0, first], "b": [1.0, second]})
    if not is_broken:
        assert schema.encode(frame).shape == (2, 4)
        return
    with pytest.raises(ValueError, match=r"the order a <= b is broken in row 1 \(counted from 0\), where 'a' is "):
        schema.encode(frame)


def test_several_orders_share_columns():
    schema = numbers("[a <= b, b <= c, a <= c]", a=1, b=1, c=1)
    assert [(ascent.first, ascent.second) for ascent in schema.ascents] == [(0, 1), (1, 2), (0, 2)]
    with pytest.raises(ValueError, match=r"the order b <= c is broken in row 0 .* 'b' is 3 and 'c' is 2"):
        schema.encode(pd.DataFrame({"a": [1], "b": [3], "c": [2]}))


NAMES = [
    ("start", "end"),
    ("a <= b", "c"),
    ("a", "b <= c"),
    ("a <= b", "b"),
    ("<=", "b"),
    (" <= ", "x"),
    (" a", "b "),
    ("", "a"),
    ("a: b", "c # d"),
    ("x", "y\n"),
    ("'q'", '"w"'),
    (1, "1"),
    ("1", 1),
    (-1, 2),
    ("true", "~"),
]


@pytest.mark.parametrize("pair", NAMES)
def test_any_names_can_be_in_order(pair):
    schema = TableSchema(columns=tuple(NumberColumn(name=name, dtype="float64") for name in pair), order=(pair,))
    assert TableSchema.from_yaml(schema.to_yaml()) == schema
    assert TableSchema.model_validate_json(schema.model_dump_json()) == schema
    fitted = schema.fitted(pd.DataFrame([[0.25, 1 / 3], [0.5, 2 / 3]], columns=pd.Index(pair)))
    with pytest.raises(ValueError, match="is broken in row 0"):
        fitted.encode(pd.DataFrame([[2.0, 1.0]], columns=pd.Index(pair)))


def test_words_that_may_mean_two_orders_are_written_as_lists():
    names = ("a", "b <= c", "a <= b", "c")
    columns = tuple(NumberColumn(name=name, dtype="float64") for name in names)
    for order in ((("a <= b", "c"),), (("a", "b <= c"),), (("a", "c"),)):
        schema = TableSchema(columns=columns, order=order)
        assert TableSchema.from_yaml(schema.to_yaml()) == schema
    assert "- [a <= b, c]\n" in TableSchema(columns=columns, order=(("a <= b", "c"),)).to_yaml()


def test_what_is_suggested_is_a_comment(schema):
    free = schema.model_copy(update={"order": ()})
    text = free.to_yaml(suggested=[("start", "end")])
    assert text.endswith("# No row breaks this order; take the # away to make it a rule:\n# order:\n# - start <= end\n")
    assert TableSchema.from_yaml(text).order == ()
    assert TableSchema.from_yaml(text.replace("# order", "order").replace("# - ", "- ")).order == schema.order
    assert "suggested" not in schema.to_yaml(suggested=[("start", "end")])


def test_what_follows_from_an_order_holds_too():
    schema = numbers("[b <= c, a <= b, c <= d]", a=1, b=0.5, c=0, d=1)
    assert schema.order == (("b", "c"), ("a", "b"), ("c", "d"))
    assert set(schema.whole_order) == set(itertools.combinations("abcd", 2))
    assert Ascent(0, 1, ratio=2.0) in schema.ascents
    assert Ascent(0, 3, ratio=1.0) in schema.ascents
    frame = pd.DataFrame({"a": [7.0], "b": [None], "c": [None], "d": [6.0]})
    with pytest.raises(ValueError, match="the order a <= d is broken in row 0"):
        schema.encode(frame)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("[a < b]", "an order is written 'start <= end', with the names of two columns, got 'a < b'"),
        ("[a]", "an order is written 'start <= end', with the names of two columns, got 'a'"),
        ("[a <= nothing]", "with the names of two columns, got 'a <= nothing'"),
        ("[a <= 7]", "with the names of two columns, got 'a <= 7'"),
        ("[id <= a]", "with the names of two columns, got 'id <= a'"),
        ("[[a, b, c]]", "with the names of two columns, got ['a', 'b', 'c']"),
        ("[[a, nothing]]", "with the names of two columns, got ['a', 'nothing']"),
        ("a <= b", "needs a list 'order', such as [start <= end], got 'a <= b'"),
        ("3", "needs a list 'order', such as [start <= end], got 3"),
        ("{a: b}", "needs a list 'order', such as [start <= end], got {'a': 'b'}"),
        ("[a <= a]", "order a <= a needs two columns of numbers or times"),
        ("[a <= coat]", "order a <= coat needs two columns of numbers or times"),
        ("[a <= day]", "order a <= day needs two columns of one kind, not number and datetime"),
        ("[a <= b, b <= a]", "the order goes round in a circle, b <= a <= b: leave one of these out"),
        ("[a <= b, b <= c, c <= a]", "the order goes round in a circle"),
    ],
)
def test_an_order_that_is_none_is_one_sentence(order, message):
    text = "columns:\n" + "".join(f"- {{name: {name}, kind: number}}\n" for name in "abc")
    text += "- {name: coat, kind: categorical}\n- {name: day, kind: datetime, resolution: 1}\n- {name: id, kind: key}\n"
    with pytest.raises(ValueError, match=r"^the schema") as caught:
        TableSchema.from_yaml(f"{text}order: {order}\n")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", ["", "order:\n", "order: []\n"])
def test_no_order_is_none(order):
    assert TableSchema.from_yaml("columns:\n- {name: a, kind: number}\n" + order).order == ()


def test_arrays_have_an_order_by_their_numbers():
    text = "columns:\n- {name: 0, kind: number}\n- {name: 1, kind: number}\norder: [0 <= 1]\n"
    schema = TableSchema.from_yaml(text).fitted(np.array([[0.25, 1 / 3], [0.5, 1.5]]))
    assert schema.order == ((0, 1),)
    with pytest.raises(ValueError, match=r"the order 0 <= 1 is broken in row 1 .*, where 0 is 2.5 and 1 is 1.5"):
        schema.encode([[0.5, 1.5], [2.5, 1.5]])


def bounded(rows, order, *columns):
    """A schema of columns of numbers with an order, fitted to rows; and its columns by name."""
    lines = "".join(f"- {{name: {column}, kind: number}}\n" for column in columns)
    schema = TableSchema.from_yaml(f"columns:\n{lines}order: {order}\n").fitted(pd.DataFrame(rows))
    return schema, {column.name: column for column in schema.columns}


def ends(column):
    return column.minimum, column.maximum, column.beyond


def test_bounds_are_carried_along_an_order():
    rows = {"a": [1.0, 2.0], "b": [1.5, 2.5], "c": [3.0, 4.0]}
    columns = ("a, minimum: 0, beyond: unseen", "b", "c, maximum: 9")
    _, found = bounded(rows, "[b <= c, a <= b]", *columns)
    assert ends(found["a"]) == (0, 9, "unseen")  # what it had of its own
    assert ends(found["b"]) == (0, 9, "unseen")
    assert ends(found["c"]) == (0, 9, "error")
    assert [column.bounds_of for column in found.values()] == [(None, "c"), ("a", "c"), ("a", None)]


def test_a_bound_that_is_tighter_is_kept():
    _, found = bounded(
        {"a": [3.0], "b": [4.0]}, "[a <= b]", "a, minimum: 0, maximum: 5", "b, minimum: 2, maximum: 7, beyond: unseen"
    )
    assert ends(found["a"]) == (0, 5, "error")
    assert ends(found["b"]) == (2, 7, "unseen")
    assert found["b"].bounds_of == (None, None)


def test_carried_bounds_are_values_that_are_left():
    rows = {"a": [1.0, 2.0], "b": [3.0, 4.0]}
    _, found = bounded(rows, "[a <= b]", "a, minimum: 0.5", "b, resolution: 1, maximum: 9.7")
    assert found["b"].bounds == (0.5, 9.5)  # whole numbers from 1 to 9
    assert found["a"].maximum == 9
    _, found = bounded(rows, "[a <= b]", "a, resolution: 1, minimum: 0.5", "b, maximum: 9.7")
    assert found["a"].bounds == (0.5, 9.5)
    assert found["b"].minimum == 1


def test_bounds_of_times_are_carried_between_resolutions():
    text = TIMES.replace("resolution: 86400,", "resolution: 86400, minimum: 2024-01-01,")
    text = text.replace("resolution: 3600,", "resolution: 3600, maximum: 2024-03-01T10:00,")
    frame = pd.DataFrame({"start": days("2024-01-01"), "end": days("2024-01-01"), "bird": ["owl"]})
    start, end, _ = TableSchema.from_yaml(text).fitted(frame).columns
    assert start.shown_bounds == ["at least 2024-01-01T00:00:00", "at most 2024-03-01T10:00:00"]
    assert end.shown_bounds == start.shown_bounds
    assert start.bounds[1] - start.bounds[0] == 31 + 29 + 1  # whole days
    with pytest.raises(ValueError, match=r"column 'start' has in row 0 .*, above its maximum 2024-03-01T10:00:00"):
        start.encode(days("2024-03-02"))


def test_a_row_beyond_a_carried_bound_is_told_the_order():
    schema, found = bounded({"a": [1.0, 2.0], "b": [2.0, 3.0]}, "[a <= b]", "a, minimum: 0, missing: nan", "b")
    with pytest.raises(ValueError, match="'b'") as caught:
        schema.encode(pd.DataFrame({"a": [None], "b": [-1.0]}))
    assert str(caught.value) == (
        "column 'b' has in row 0 (counted from 0) the value -1, below its minimum 0 (that of 'a', by the order a <= b)"
    )
    lenient, found = bounded({"a": [1.0], "b": [2.0]}, "[a <= b]", "a, missing: nan", "b, maximum: 9, beyond: unseen")
    rows = pd.DataFrame({"a": [10.0], "b": [11.0]})
    assert lenient.encode(rows)[0, :2].tolist() == [found["a"].unseen, found["b"].unseen]
    with pytest.raises(ValueError, match=r"column 'a' .* above its maximum 9 \(that of 'b', by the order a <= b\)"):
        lenient.encode(rows, unseen="error")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("a, minimum: 5", "b, maximum: 3"), "'b' has no number between its minimum 5.0 and maximum 3.0"),
        (("a, minimum: 5", "b, atoms: [2]"), "'b' has atoms beyond its minimum 5.0 or maximum None"),
    ],
)
def test_bounds_that_leave_nothing_are_one_sentence(columns, message):
    with pytest.raises(ValueError, match="the order gives it the minimum of 'a'") as caught:
        bounded({"a": [6.0], "b": [7.0]}, "[a <= b]", *columns)
    assert str(caught.value) == f"column {message}: the order gives it the minimum of 'a'"


def test_carried_bounds_are_kept_but_not_declared():
    schema, _ = bounded({"a": [1.0], "b": [2.0]}, "[a <= b]", "a, minimum: 0", "b")
    assert TableSchema.model_validate_json(schema.model_dump_json()) == schema
    declared = TableSchema.from_yaml(schema.to_yaml())
    assert [column.minimum for column in declared.columns] == [0, None]
    again = declared.fitted(pd.DataFrame({"a": [1.0], "b": [2.0]}))
    assert again == schema == schema.fitted(pd.DataFrame({"a": [1.0], "b": [2.0]}))


@pytest.mark.parametrize(
    ("steps", "is_refused"),
    [((0, 1, 0), True), ((0.1, 1, 0.5), True), ((1, 1, 0), False), ((0, 0.5, 2), False), ((0, 0, 0), False)],
)
def test_a_column_between_two_of_finer_steps_needs_room(steps, is_refused):
    columns = [f"{{name: {name}, kind: number, resolution: {step}}}" for name, step in zip("abc", steps, strict=True)]
    declared = TableSchema.from_yaml(f"columns: [{', '.join(columns)}]\norder: [a <= b, b <= c]")
    rows = pd.DataFrame({name: [0.0, 2.0, 4.0] for name in "abc"})
    if not is_refused:
        assert declared.fitted(rows).whole_order == (("a", "b"), ("b", "c"), ("a", "c"))
        return
    with pytest.raises(ValueError, match="the order a <= b <= c leaves 'b', in steps of 1, no value between"):
        declared.fitted(rows)
