"""The heaviest tail: a density that integrates to one, and stays above -1,000 nats."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from tessflow.flows import LogCauchy

INF = math.inf


def make(loc=0.0, scale=1.0, dtype=torch.float64):
    return LogCauchy(torch.tensor(loc, dtype=dtype), torch.tensor(scale, dtype=dtype))


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 1.0), (-5.0, 3.0), (1e6, 1e-3), (0.0, 1e-300)])
def test_density_integrates_to_its_mass(loc, scale):
    tail = make(loc, scale)
    # Substituting the level, on which it is a Cauchy distribution, leaves nothing to integrate but that.
    level = torch.linspace(-30, 30, 200_001, dtype=torch.float64)
    x = tail.at_level(level)
    density = tail.log_prob(x) + (tail.scale.log() + level.abs())
    inside = torch.trapezoid(density.exp(), level).item()
    expected = 2 * math.atan(30) / math.pi
    assert inside == pytest.approx(expected, rel=1e-4 if loc else 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mass_is_the_difference_of_the_distribution_function(dtype):
    tail = make(0.5, 2.0, dtype)
    ends = torch.tensor([-INF, -1e9, -3.0, 0.0, 0.5, 0.7, 4.0, 1e6, INF], dtype=dtype)
    low, high = torch.meshgrid(ends, ends, indexing="ij")
    mass = tail.log_mass(low, high).exp()
    assert_close(mass, (tail.cdf(high) - tail.cdf(low)).clamp_min(0), atol=1e-6, rtol=1e-4)
    assert mass[0, -1] == 1
    assert (tail.log_mass(high, low)[low < high] == -INF).all()


def test_mass_of_narrow_ranges_is_density_times_width():
    tail = make(0.0, 10.0)
    x = torch.tensor([30.0, -1e3, 1e8, -1e15, 1e18, 1e300], dtype=torch.float64)
    mass = tail.log_mass(x - 0.5, x + 0.5, width=1.0)
    assert_close(mass, tail.log_prob(x), atol=2e-3, rtol=0)
    neighbours = torch.arange(1000, 1100, dtype=torch.float64)
    total = tail.log_mass(neighbours - 0.5, neighbours + 0.5, width=1.0).logsumexp(0)
    assert_close(total, tail.log_mass(torch.tensor(999.5).double(), torch.tensor(1099.5).double()))


@given(x=st.floats(allow_nan=False, allow_infinity=False), loc=st.floats(-1e308, 1e308), scale=st.floats(1e-300, 1e300))
def test_no_finite_number_is_below_a_thousand_nats_or_not_finite(x, loc, scale):
    tail = make(loc, scale)
    value = torch.tensor(x, dtype=torch.float64)
    assert -1500 < tail.log_prob(value) < 710
    if scale >= 1e-100:
        assert tail.log_prob(value) > -1000
    mass = tail.log_mass(value - 0.5, value + 0.5, width=1.0)
    assert not mass.isnan()
    assert 0 <= tail.cdf(value) <= 1


@given(level=st.floats(1e-6, 1 - 1e-6))
def test_quantiles_undo_the_distribution_function(level):
    tail = make(-3.0, 0.1)
    u = torch.tensor(level, dtype=torch.float64)
    x = tail.icdf(u)
    assert x.isfinite()
    if x.abs() < 1e300:
        assert_close(tail.cdf(x), u, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("low", "high"), [(-INF, INF), (2.0, 3.0), (-INF, -1e6), (1e8, 1e8 + 1), (1e8, 1e12)])
def test_samples_are_in_their_range_and_follow_it(low, high):
    torch.manual_seed(0)
    tail, n = make(0.0, 2.0), 4000
    x = tail.sample((n,), low=low, high=high).sort().values
    assert ((x > low) & (x <= high)).all()
    low, high = torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)
    share = (tail.log_mass(low, x) - tail.log_mass(low, high)).exp()
    assert (share - torch.arange(1, n + 1) / n).abs().max() < 1.8 / math.sqrt(n)
