"""Multiples of a resolution: each value has one nearest count, each count one value, however it was computed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessflow.tables.grid import Grid

DECIMALS = [10.0**-d for d in range(7)]
EPSILON = 2.0**-53


@given(st.integers(-(2**50), 2**50), st.sampled_from([*DECIMALS, 0.05, 0.25, 5.0, 86400e6]))
def test_a_count_has_one_value_and_the_value_this_count(count, resolution):
    grid = Grid(resolution)
    value = grid.value(np.array([float(count)]))
    assert grid.count(value).tolist() == [count]
    assert not grid.is_off(value, EPSILON).any()


@given(st.integers(-(10**8), 10**8), st.integers(0, 6))
def test_a_value_is_the_number_that_is_written(count, decimals):
    written = float(f"{count}e-{decimals}")
    assert Grid(10.0**-decimals).value(np.array([float(count)])).tolist() == [written]


@given(st.floats(-1e12, 1e12), st.sampled_from(DECIMALS))
def test_a_value_off_the_grid_is_counted_in_its_cell(value, resolution):
    grid = Grid(resolution)
    nearest = grid.value(grid.count(np.array([value])))[0]
    assert abs(nearest - value) <= resolution / 2 + 2 * math.ulp(value)


@pytest.mark.parametrize(
    ("resolution", "value", "is_off"),
    [
        (0.1, 0.1 + 0.2, False),
        (0.1, 1.1 * 3, False),
        (0.1, 0.3 - 0.1 - 0.2, False),
        (0.01, 19.99 * 7, False),
        (0.01, 1e9 + 0.01, False),
        (0.1, 0.15, True),
        (1, 0.5, True),
        (1, 1.000001, True),
        (1e-6, 1e-7, True),
        (1, 1e300, False),
    ],
)
def test_rounding_errors_are_on_the_grid(resolution, value, is_off):
    assert Grid(resolution).is_off(np.array([value]), EPSILON).tolist() == [is_off]


def test_float32_is_as_precise_as_it_is():
    values = (np.arange(1000) / 10).astype("float32").astype(float)
    assert not Grid(0.1).is_off(values, 2.0**-24).any()
    assert Grid(0.1).is_off(values, EPSILON).any()
    np.testing.assert_array_equal(Grid(0.1).count(values), np.arange(1000))


def test_of_large_numbers_it_is_undecided():
    values = np.array([2.0**49, 2.0**51, 1e300])
    assert Grid(1).is_undecided(values, EPSILON).tolist() == [False, True, True]
    assert Grid(0.01).is_undecided(values, EPSILON).tolist() == [True, True, True]
    assert Grid(1).is_undecided(values, 2.0**-24).all()


def test_counts_are_finite_but_for_infinities():
    largest = float(np.finfo(float).max)
    values = np.array([1e300, -largest, math.inf, -math.inf])
    counts = Grid(1e-6).count(values)
    assert counts.tolist() == [1e306, -largest, math.inf, -math.inf]
    assert Grid(5.0).value(np.array([largest])).tolist() == [math.inf]


def test_zero_has_no_sign():
    assert not np.signbit(Grid(1).count(np.array([-0.2, -0.0]))).any()


def test_without_a_resolution_all_numbers_are_themselves():
    values = np.array([0.1, -1e300, math.inf])
    for read in (Grid(0).steps, Grid(0).count, Grid(0).value):
        assert read(values) is values
