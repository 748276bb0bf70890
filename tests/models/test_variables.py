"""What variables, scales and restrictions refuse."""

import math

import pytest

from tessflow.models import Number, Restriction, Variable


@pytest.mark.parametrize(
    ("knots", "scores", "sentence"),
    [
        ((), (), "knots needs at least two numbers that strictly ascend"),
        ((0.0,), (0.0,), "knots needs at least two"),
        ((0.0, 0.0), (0.0, 1.0), "knots needs at least two numbers that strictly ascend"),
        ((0.0, math.nan), (0.0, 1.0), "knots needs"),
        ((0.0, 1.0), (1.0, 0.0), "scores needs at least two numbers that strictly ascend"),
        ((0.0, 1.0, 2.0), (0.0, 1.0), "there are 3 knots and 2 scores"),
    ],
)
def test_scales_ascend(knots, scores, sentence):
    with pytest.raises(ValueError, match=sentence):
        Number(knots=knots, scores=scores)


def test_a_variable_has_a_class():
    with pytest.raises(ValueError, match="at least one class, got 0"):
        Variable(0)


@pytest.mark.parametrize("options", [{"codes": ()}, {"codes": (0,), "low": 1.0, "high": 1.0}])
def test_a_restriction_allows_something(options):
    with pytest.raises(ValueError, match=r"at least one class|is empty"):
        Restriction(**options)


def test_without_bounds_all_numbers_are_allowed():
    assert (Restriction((0,)).low, Restriction((0,)).high) == (-math.inf, math.inf)


def test_equal_if_their_values_are():
    one, other = (Variable(2, Number((0.0, 1.0), (-1.0, 1.0))) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Variable(2, Number((0.0, 1.0), (-1.0, 1.0), whole=True))
