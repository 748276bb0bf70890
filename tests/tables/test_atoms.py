"""Which numbers have a probability of their own: few values, spikes, and heaps on a grid."""

import numpy as np
import pytest

from tessflow.tables.atoms import frequent

STEPS = np.arange(200.0)


def atoms(counts, *, values=None, missing=0, whole=True, most=64):
    """The values that are atoms, where value k comes counts[k] times."""
    counts = np.asarray(counts)
    values = np.arange(len(counts), dtype=float) if values is None else np.asarray(values, float)
    kept = counts > 0
    rows = counts.sum() + missing
    found = frequent(values[kept], counts[kept], rows, whole=whole, most=most)
    return values[kept][found].tolist()


@pytest.mark.parametrize(
    ("name", "counts", "expected"),
    [
        ("flags", [900, 100], [0, 1]),
        ("a rare flag", [1997, 3], [0, 1]),
        ("scores", [0, 40, 70, 90, 60, 40], [1, 2, 3, 4, 5]),
        ("twenty values", [10] * 20, list(range(20))),
        ("twenty-one values", [10] * 21, []),
        ("less than ten times each", [10] * 19 + [9], []),
        ("ages", [30] * 70, []),
        ("zeros", [900] + [10] * 90, [0]),
        ("heaped counts", [400] + [20] * 9 + [300] + [20] * 9 + [200] + [20] * 20, [0, 10, 20]),
        ("twice as often is no heap", [20] * 20 + [40] + [20] * 20, []),
        ("four times as often is none", [20] * 20 + [80] + [20] * 20, []),
        ("five times as often is one", [20] * 20 + [100] + [20] * 20, [20]),
        ("a far one that came once", [50, 40, 30] + [0] * 9 + [1], [0, 1, 2]),
        ("a rare flag", [50, 1], [0, 1]),
        ("nine rows are none", [1] * 20 + [9] + [1] * 20, []),
        ("ten rows are one", [1] * 20 + [10] + [1] * 20, [20]),
    ],
)
def test_whole_numbers(name, counts, expected):
    assert atoms(counts) == expected


def test_a_comb_is_all_atoms():
    tens = 10 * np.arange(50)
    assert atoms([40] * 50, values=tens) == tens.tolist()
    assert atoms([40] * 50, values=tens, whole=False) == []  # between real numbers there are no steps


def test_a_heap_has_a_share_of_all_rows():
    counts = [5] * 60 + [30] + [5] * 60
    assert atoms(counts) == [60]
    assert atoms(counts, missing=6000 - sum(counts)) == [60]
    assert atoms(counts, missing=6001 - sum(counts)) == []


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("spike", "others", "is_atom"),
    [
        (100, 1900, True),  # 5% of the rows
        (99, 1901, False),
        (10, 90, True),
        (9, 91, False),  # nine times as often as the others
    ],
)
def test_a_spike_is_an_atom(spike, others, is_atom, whole):
    values = [-1e6, *7.0 * np.arange(others)]  # far from all others
    expected = [-1e6] if is_atom or (whole and spike >= 10) else []
    assert atoms([spike] + [1] * others, values=values, whole=whole) == expected


def test_those_that_stand_out_most_are_kept():
    counts = np.full(200, 10)
    counts[[30, 90, 150]] = 200, 400, 100
    assert atoms(counts) == [30, 90, 150]
    assert atoms(counts, most=2) == [30, 90]
    assert atoms(counts, most=0) == []
    assert atoms([100, 100, 50], most=2) == []  # not all of the few, and none stands out


def test_of_no_numbers_none_is_an_atom():
    assert atoms([]) == []
    assert frequent(np.array([5.0]), np.array([3]), 3, whole=True, most=64).tolist() == [False]
