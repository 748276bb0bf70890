"""Columns of numbers and their atoms: bounds, one value, ranges and choices, and what looks like a key."""

import math

import numpy as np
import pandas as pd
import pytest

from tessflow.models.variables import Restriction
from tessflow.tables import NumberColumn, TableSchema

RNG = np.random.default_rng(0)


def column(values, **options):
    return TableSchema.infer(pd.DataFrame({"x": values}), **options).columns[0]


def encode(of, *values):
    """Codes of values in a column."""
    return of.encode(pd.Series(values)).codes.tolist()


@pytest.mark.parametrize(
    ("values", "has_floor"),
    [
        (RNG.exponential(size=100), True),
        (RNG.exponential(size=99), False),  # fewer than 100 numbers
        ([*RNG.exponential(size=99), None], False),
        ([*RNG.exponential(size=99), math.inf], False),
        ([*RNG.exponential(size=100), None, math.inf], True),
        ([*RNG.exponential(size=500), -1e-9], False),  # one is negative
        ([*RNG.exponential(size=500), -math.inf], False),
        (RNG.normal(100, 10, 500), False),  # none is near
        (np.abs(RNG.normal(3, 2, 500)), True),
        (RNG.poisson(1.5, 500), True),
        (RNG.integers(0, 2, 500), True),
        (RNG.uniform(0.5, 900, 500).round(2), True),
        (RNG.exponential(size=500).astype("float32"), True),
        (pd.Series([*range(200), None], dtype="Int64"), True),
    ],
)
def test_zero_is_the_minimum_if_none_is_negative_and_many_would_be(values, has_floor):
    of = column(values)
    assert (of.minimum, of.maximum) == (0.0 if has_floor else None, None)
    assert of.beyond == ("unseen" if has_floor else "error")
    assert of.bounds == (-math.inf if not has_floor else -0.5 if of.whole else 0.0, math.inf)
    assert of.variable.number.low == of.bounds[0]
    codes = encode(of, -1.0, -1e-3, 0.0, 5.0)
    assert [code == of.unseen for code in codes] == [has_floor, has_floor, False, False]


def test_what_is_below_an_inferred_minimum_is_named_only_if_asked():
    schema = TableSchema.infer(pd.DataFrame({"x": RNG.exponential(size=200)}))
    frame = pd.DataFrame({"x": [0.5, -2.5]})
    assert schema.encode(frame)[:, 0].tolist() == [0, 1]
    with pytest.raises(
        ValueError, match=r"^column 'x' has in row 1 \(counted from 0\) the value -2.5, below its minimum 0$"
    ):
        schema.encode(frame, unseen="error")


@pytest.mark.parametrize(
    ("bounds", "resolution", "allowed", "refused"),
    [
        ("minimum: 0", 0, [0, 1e-300, 1e300, math.inf], [-1e-9, -math.inf]),
        ("minimum: 0, maximum: 10", 1, [0, 10, 9.9, -1e-9], [-1, -0.4, 10.4, 11, math.inf]),
        ("minimum: 0.5", 1, [1, 0.6], [0, 0.4]),
        ("maximum: 99.99", 0.01, [99.99, -5, -math.inf], [100, 99.994, 1e300]),
        ("minimum: 0.3", 0.1, [0.1 + 0.2, 0.3], [0.2, 0.29]),
        ("minimum: -1, maximum: 1", 0, [-1, 0.3, 1], [-1.0000001, 1.0000001, 1e300]),
    ],
)
def test_what_is_beyond_a_declared_bound_is_refused(bounds, resolution, allowed, refused):
    text = f"columns:\n- {{name: x, kind: number, resolution: {resolution}, {bounds}}}\n"
    rows = pd.DataFrame({"x": [1.0, 1.0, 1.0]})
    schema = TableSchema.from_yaml(text).fitted(rows)
    assert TableSchema.from_yaml(schema.to_yaml()).fitted(rows) == schema
    assert TableSchema.model_validate_json(schema.model_dump_json()) == schema
    of = schema.columns[0]
    assert of.beyond == "error"
    for value in allowed:
        code = schema.encode(pd.DataFrame({"x": [1.0, value]}))[1, 0]
        assert (code == of.unseen) == math.isinf(value)
    for value in refused:
        message = r"column 'x' has in row 1 \(counted from 0\) the value .*, (below its minimum|above its maximum) "
        for unseen in ("other", "error"):
            with pytest.raises(ValueError, match=message) as caught:
                schema.encode(pd.DataFrame({"x": [1.0, value]}), unseen=unseen)
            assert "\n" not in str(caught.value)
        with pytest.raises(ValueError, match=r"column 'x' has .* its m"):
            of.encode_value(value)
        if math.isfinite(value):
            with pytest.raises(ValueError, match=r"column 'x' has the value .* its m"):
                TableSchema.from_yaml(text).fitted(pd.DataFrame({"x": [1.0, value]}))


def test_bounds_that_count_as_unseen_can_be_declared():
    text = "columns:\n- {name: x, kind: number, resolution: 1, maximum: 5, beyond: unseen}\n"
    schema = TableSchema.from_yaml(text).fitted(pd.DataFrame({"x": [1.0, 5, 7]}))
    assert schema.encode(pd.DataFrame({"x": [5, 7]}))[:, 0].tolist() == [0, 1]
    assert TableSchema.from_yaml(schema.to_yaml()).fitted(pd.DataFrame({"x": [1.0, 5, 7]})) == schema
    with pytest.raises(ValueError, match="the value 7, above its maximum 5"):
        schema.encode(pd.DataFrame({"x": [5, 7]}), unseen="error")


# --- one value, ranges, choices


def test_one_value_is_encoded_as_in_a_table():
    x, n = (column(values) for values in ([1 / 3, math.inf, 2.25], [100, 200, 300]))
    assert x.encode_value(0.75) == (0, 0.75)
    assert x.encode_value(math.inf) == (1, 0)
    assert n.encode_value(np.int64(7)) == n.encode_value(7.4) == (0, 7)
    assert x.encode_value(math.nan) == x.encode_value(None) == x.encode_value(pd.NA) == (x.unseen, 0)
    for value in ("a", True, np.True_):
        with pytest.raises(ValueError, match=f"column 'x' was given {value!r}, but holds numbers".replace("(", r"\(")):
            x.encode_value(value)


PRICES = NumberColumn(name="price", dtype="float64", resolution=0.01, atoms=(0.0, 9.99, math.inf))
REALS = NumberColumn(name="x", dtype="float64", atoms=(0.0,))


@pytest.mark.parametrize(
    ("of", "low", "high", "expected"),
    [
        (PRICES, 0.1, 0.3, Restriction((0,), 9.5, 30.5)),
        (PRICES, 0.101, 0.299, Restriction((0,), 10.5, 29.5)),
        (PRICES, None, 1, Restriction((0, 1), -math.inf, 100.5)),
        (PRICES, 0, 1, Restriction((0, 1), -0.5, 100.5)),
        (PRICES, 5, None, Restriction((0, 2, 3), 499.5, math.inf)),
        (PRICES, 9.99, 9.99, Restriction((0, 2), 998.5, 999.5)),
        (PRICES, None, None, Restriction((0, 1, 2, 3))),
        (REALS, 0.1, None, Restriction((0,), 0.1, math.inf)),
        (REALS, 0, 0, Restriction((1,))),  # the atom alone
    ],
)
def test_ranges_cover_the_numbers_between_and_their_atoms(of, low, high, expected):
    assert of.between(low, high) == expected


HUGE = 2**60  # float64 holds multiples of 256 there
IDS = NumberColumn(name="id", dtype="int64", resolution=1, atoms=(HUGE, HUGE + 1, HUGE + 300))


@pytest.mark.parametrize(
    ("low", "high", "codes"),
    [
        (HUGE, HUGE + 1, (1, 2)),
        (HUGE + 1, None, (2, 3)),
        (HUGE + 2, None, (3,)),
        (None, HUGE, (1,)),
        (HUGE - 5, HUGE, (1,)),
        (HUGE + 1, HUGE + 299, (2,)),
        (np.int64(HUGE + 1), np.int64(HUGE + 1), (2,)),
        (float(HUGE), float(HUGE), (1,)),
        (HUGE + 2, HUGE + 200, ()),
    ],
)
def test_ends_of_ranges_are_compared_with_atoms_exactly(low, high, codes):
    if not codes:
        with pytest.raises(ValueError, match="column 'id' has no number from"):
            IDS.between(low, high)
        return
    allowed = IDS.between(low, high)
    assert tuple(code for code in allowed.codes if code) == codes
    in_range = [code for code, atom in enumerate(IDS.encoded_atoms, 1) if allowed.low < atom < allowed.high]
    assert 0 not in allowed.codes or set(in_range) <= set(codes)  # what a model counts as in the range


@pytest.mark.parametrize(
    ("of", "low", "high", "message"),
    [
        (PRICES, 2, 1, "was given a range from 2 to 1, which is empty"),
        (PRICES, 0.001, 0.002, "has no number from 0.001 to 0.002"),
        (REALS, 1, 1, "has no number"),
        (REALS, "a", None, "was given 'a', but holds numbers"),
        (REALS, math.nan, 1, "was given a range with a missing bound: give None for no bound"),
    ],
)
def test_ranges_of_nothing_are_refused(of, low, high, message):
    with pytest.raises(ValueError, match=f"column '{of.name}' {message}"):
        of.between(low, high)


def test_choices_are_numbers_of_a_grid_and_atoms():
    assert PRICES.among([0, 1.5, 9.99, 1.5]) == Restriction((0, 1, 2), points=(150.0,))
    assert REALS.among([0]) == Restriction((1,))
    missing = column([1, 2, None])
    assert missing.among([None, 7]) == Restriction((0, 1), points=(7.0,))
    for of, value, message in [
        (
            REALS,
            0.5,
            "column 'x' holds real numbers: give one, or a range .* since each of several has probability zero",
        ),
        (PRICES, -math.inf, "column 'price' was given -inf, which was not seen in training"),
        (PRICES, None, "column 'price' was given None, which was not seen in training"),
    ]:
        with pytest.raises(ValueError, match=message):
            of.among([0, value])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"atoms": (math.nan,)}, "none of them NaN"),
        ({"atoms": (1, 1)}, "distinct atoms"),
        ({"resolution": -1}, "greater than or equal to 0"),
        ({"resolution": math.inf}, "finite"),
        ({"resolution": 0.5, "atoms": (0.3,)}, "atoms that are not multiples"),
        ({"knots": (1, 0), "scores": (0, 1)}, "strictly ascend"),
        ({"knots": (0, 1), "scores": ()}, "at least two"),
        ({"minimum": 1, "maximum": 1}, "no number between its minimum 1.0 and maximum 1.0"),
        ({"resolution": 1, "minimum": 0.2, "maximum": 0.8}, "no number between its minimum 0.2"),
        ({"minimum": 0, "atoms": (-1,)}, "atoms beyond its minimum 0.0"),
        ({"maximum": 9, "atoms": (math.inf,)}, "atoms beyond its minimum None or maximum 9.0"),
        ({"minimum": math.nan}, "finite"),
        ({"beyond": "ignore"}, "'error' or 'unseen'"),
        ({"kind": "integer"}, "'number'"),
        ({"values": (1, 2)}, "Extra inputs are not permitted"),
    ],
)
def test_a_column_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        NumberColumn(**{"name": "x", **fields})


# --- keys


@pytest.mark.parametrize(
    ("values", "is_key"),
    [
        (range(100), True),
        (range(5, 205), True),
        (range(99), False),  # fewer than 100
        (np.arange(100.0)[::-1], True),
        (range(0, 200, 2), False),  # not numbered through
        ([*range(99), 0], False),
        (np.arange(200) * 12345 + 2**60, True),
        (RNG.normal(size=200), False),
        (RNG.integers(0, 10**9, 200), False),
        (pd.Series([*range(150), None], dtype="Int64"), False),
    ],
)
def test_numbers_that_look_like_a_key(values, is_key):
    schema = TableSchema.infer(pd.DataFrame({"x": values}))
    assert schema.columns[0].looks_like_key == is_key
    assert bool(schema.warnings()) == is_key
