import math

import numpy as np
import pytest
from scipy.stats import chi2

from tessflow.datasets import (
    quantized,
    quantized_entropy,
    quantized_independent_nats,
    quantized_names,
    quantized_pmf,
    sample_planar,
    sample_quantized,
)

NAMES = quantized_names()
SIDES = {"eight_gaussians": 91, "pinwheel": 91, "cluster3": 3, "cluster10": 10, "diagonal28": 28, "cross10": 10}


def fits(rows, pmf):
    """Whether a chi-square test finds nothing against rows being draws from a pmf; rare cells count as one."""
    seen = np.zeros_like(pmf)
    np.add.at(seen, tuple(rows.T), 1)
    seen, expected = seen.ravel(), len(rows) * pmf.ravel()
    rare = expected < 5
    seen, expected = (np.append(part[~rare], part[rare].sum()) for part in (seen, expected))
    assert len(seen) > 1
    statistic = ((seen - expected) ** 2 / expected.clip(1)).sum()
    return chi2.sf(statistic, len(seen) - 1) > 1e-3


def rounded(x):
    return np.clip(np.round(10 * x) + 45, 0, 90).astype(int)


def eight_gaussians(n):
    generator = np.random.default_rng(1)
    angle = generator.integers(8, size=n) * np.pi / 4
    return 4 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.2 * generator.standard_normal((n, 2))


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_of_the_cells_of_a_square(name):
    pmf = quantized_pmf(name)
    assert pmf.shape == (SIDES[name], SIDES[name])
    assert pmf.dtype == np.float64
    assert pmf.min() >= 0
    assert pmf.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "points"),
    [("eight_gaussians", eight_gaussians), ("pinwheel", lambda n: sample_planar("pinwheel", n, seed=1))],
)
def test_a_large_sample_of_the_density_rounded_has_the_probabilities(name, points):
    pmf = quantized_pmf(name)
    rows = rounded(points(1_000_000))
    assert fits(rows, pmf)
    assert not fits(rows, np.roll(pmf, 1, axis=0))


def test_the_sums_of_the_pinwheel_have_converged():
    fine = quantized._pinwheel(2 * quantized.NODES)
    assert np.abs(quantized_pmf("pinwheel") - fine / fine.sum()).max() < 7e-7


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("cluster3", [(0, 1), (1, 0), (1, 2), (2, 1)]),
        ("cluster10", [(x + i, y + j) for x in (2, 7) for y in (2, 7) for i, j in [(0, 1), (1, 0), (0, -1), (-1, 0)]]),
        ("diagonal28", [(i, i) for i in range(28)]),
        ("cross10", [(i, j) for i in range(10) for j in (i, 9 - i)]),
    ],
)
def test_the_small_ones_are_uniform_over_their_cells(name, cells):
    expected = np.zeros((SIDES[name], SIDES[name]))
    for cell in cells:
        expected[cell] = 1 / len(cells)
    assert quantized_pmf(name) == pytest.approx(expected, abs=1e-15)
    assert quantized_entropy(name) == pytest.approx(math.log(len(cells)))


def test_entropies():
    assert quantized_entropy("eight_gaussians") == pytest.approx(6.320, abs=1e-3)
    assert quantized_entropy("pinwheel") == pytest.approx(6.943, abs=1e-3)
    small = [round(quantized_entropy(name), 3) for name in ("cluster3", "cluster10", "diagonal28", "cross10")]
    assert small == [1.386, 2.773, 3.332, 2.996]


def test_independent_columns():
    assert quantized_independent_nats("eight_gaussians") == pytest.approx(7.352, abs=1e-3)
    assert quantized_independent_nats("pinwheel") == pytest.approx(7.860, abs=1e-3)
    assert quantized_independent_nats("diagonal28") == pytest.approx(2 * math.log(28))
    # The middle value has half of the probability, the others a quarter each.
    assert quantized_independent_nats("cluster3") == pytest.approx(2 * 1.5 * math.log(2))


@pytest.mark.parametrize("name", NAMES)
def test_samples(name):
    rows = sample_quantized(name, 20_000, seed=0)
    assert rows.shape == (20_000, 2)
    assert rows.dtype == np.int64
    assert fits(rows, quantized_pmf(name))
    assert (rows == sample_quantized(name, 20_000, seed=0)).all()
    assert (rows != sample_quantized(name, 20_000, seed=1)).any()
    assert sample_quantized(name, 0, seed=0).shape == (0, 2)


def test_what_is_returned_may_be_changed():
    quantized_pmf("cluster3")[:] = 0
    assert quantized_pmf("cluster3").sum() == 1


@pytest.mark.parametrize(
    "call",
    [
        quantized_pmf,
        quantized_entropy,
        quantized_independent_nats,
        lambda name: sample_quantized(name, 1, seed=0),
    ],
)
def test_an_unknown_name_is_answered_by_the_known_ones(call):
    with pytest.raises(ValueError, match=r"no quantized data set 'cluster5': choose one of eight_gauss.*, cross10$"):
        call("cluster5")


def test_refuses_a_negative_number_of_rows():
    with pytest.raises(ValueError, match="n is -1"):
        sample_quantized("cross10", -1, seed=0)
