"""The disjoint mixture on the line."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Categorical,
    MixtureSameFamily,
    SigmoidTransform,
    TransformedDistribution,
    Uniform,
)
from torch.testing import assert_close

from tessflow.flows.interval import IntervalMixture

INF = math.inf


def parameters(batch=(), cells=5, logistics=3, dtype=torch.float64) -> tuple[Tensor, ...]:
    walls = torch.linspace(-2, 2.5, cells - 1, dtype=dtype)
    walls = walls + 0.3 * walls.sin()
    shapes = ((*batch, cells), *[(*batch, logistics)] * 3)
    tilt, logits, loc, log_scale = (torch.randn(shape, dtype=dtype) for shape in shapes)
    return walls, tilt, logits, 2 * loc, log_scale - 1


def build(*args, **kwargs) -> IntervalMixture:
    return IntervalMixture(*parameters(*args, **kwargs))


def reference(mixture: IntervalMixture, low: float, high: float) -> mpmath.mpf:
    """The log-mass in 50 digits, each tail from its own side."""
    with mpmath.workdps(50):

        def base(low, high):
            total = mpmath.mpf(0)
            for logit, loc, log_scale in zip(*(p.tolist() for p in rows), strict=True):
                a, b = ((mpmath.mpf(end) - loc) / mpmath.exp(log_scale) for end in (low, high))
                a, b = (-b, -a) if a > 0 else (a, b)
                total += mpmath.exp(logit) * (1 / (1 + mpmath.exp(-b)) - 1 / (1 + mpmath.exp(-a)))
            return total

        def mass(low, high):
            parts = ((max(low, start), min(high, end), tilt) for start, end, tilt in cells)
            return sum(mpmath.exp(tilt) * base(start, end) for start, end, tilt in parts if start < end)

        rows = (mixture.logits, mixture.loc, mixture.log_scale)
        edges = [-mpmath.inf, *mixture.walls.tolist(), mpmath.inf]
        cells = list(zip(edges, edges[1:], mixture.tilt.tolist(), strict=False))
        return mpmath.log(mass(low, high) / mass(-mpmath.inf, mpmath.inf))


def kolmogorov_smirnov(sample: Tensor, cdf: Tensor) -> float:
    """The distance between the empirical and the true distribution, over its 1 % quantile."""
    n = len(sample)
    upper = torch.arange(1, n + 1, dtype=cdf.dtype) / n
    cdf = cdf[sample.argsort()]
    return max((upper - cdf).max().item(), (cdf - upper + 1 / n).max().item()) * n**0.5 / 1.63


def test_density_integrates_to_the_masses_of_cells():
    mixture = build()
    edges = torch.cat([torch.tensor([-60.0]), mixture.walls, torch.tensor([60.0])]).double()
    for k in range(5):
        middles = torch.arange(0.5, 100_000, dtype=torch.float64) / 100_000
        width = edges[k + 1] - edges[k]
        mass = mixture.log_prob(edges[k] + width * middles).exp().mean() * width
        assert_close(mass, mixture.log_weights[k].exp(), rtol=1e-6, atol=1e-7)
    assert_close(mixture.log_weights.logsumexp(-1), torch.zeros(()).double())


def test_density_is_the_derivative_of_the_cdf():
    mixture = build((4,))
    z = torch.randn(50, 4, dtype=torch.float64).mul(3).requires_grad_()
    (slope,) = torch.autograd.grad(mixture.cdf(z).sum(), z)
    assert_close(slope.log(), mixture.log_prob(z))


def test_density_jumps_by_the_tilt_at_a_wall():
    mixture = build()
    right = torch.nextafter(mixture.walls, torch.tensor(INF, dtype=torch.float64))
    assert_close(mixture.log_prob(right) - mixture.log_prob(mixture.walls), mixture.tilt.diff())


def test_without_walls_it_is_a_mixture_of_logistics():
    _, tilt, logits, loc, log_scale = parameters(cells=1)
    mixture = IntervalMixture(loc.new_zeros(0), tilt, logits, loc, log_scale)
    transforms = [SigmoidTransform().inv, AffineTransform(loc, log_scale.exp())]
    logistic = TransformedDistribution(Uniform(torch.zeros_like(loc), 1.0), transforms)
    torchs = MixtureSameFamily(Categorical(logits=logits), logistic)
    z = torch.linspace(-5, 5, 41, dtype=torch.float64)
    assert_close(mixture.log_prob(z), torchs.log_prob(z))
    assert_close(mixture.cdf(z), torchs.cdf(z))


def test_equal_tilts_do_not_matter():
    walls, tilt, *rest = parameters()
    plain = IntervalMixture(walls[:0], tilt[:1], *rest)
    z = torch.linspace(-9, 9, 41, dtype=torch.float64)
    mixture = IntervalMixture(walls, torch.full_like(tilt, 3.0), *rest)
    assert_close(mixture.log_prob(z), plain.log_prob(z))
    assert_close(mixture.log_mass(z, z + 2), plain.log_mass(z, z + 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("low", "high"),
    [
        *[(-INF, INF), (-INF, -50.0), (50.0, INF), (-50.0, 50.0), (49.5, 50.5), (-50.5, -49.5), (30.0, 30.0009765625)],
        *[
            (-0.5, 0.5),
            (-INF, 1.0),
            (1.0, INF),
            (-1.0, 2.0),
            (1.0, 1.5),
            (1.25, 2.0),
            (2.0, 2.5),
            (0.25, 0.2503662109375),
        ],
    ],
)
def test_masses_in_fifty_digits(low, high, dtype):
    """Also tiny ones, far out, and of logistics that are a step or a plain: the walls are -1, 1 and 2."""
    walls, tilt = torch.tensor([-1.0, 1.0, 2.0], dtype=dtype), torch.tensor([0.0, -9.0, 20.0, 3.0], dtype=dtype)
    zeros = torch.zeros(1, dtype=dtype)
    scales = [[-7.0], [0.0], [7.0], [-7.0, 0.0, 7.0], [-2.0, -1.0]]
    for log_scale in (torch.tensor(scale, dtype=dtype) for scale in scales):
        loc, logits = zeros + torch.arange(len(log_scale)) * 5 - 3, zeros - torch.arange(len(log_scale))
        mixture = IntervalMixture(walls, tilt, logits, loc, log_scale)
        expected, rtol = float(reference(mixture, low, high)), 1e-10 if dtype == torch.float64 else 1e-4
        # The logarithm of a mass e^-50000 is itself rounded to a relative eps.
        rounding = 4 * torch.finfo(dtype).eps * abs(expected)
        assert abs(mixture.log_mass(low, high).item() - expected) <= rtol + rounding


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_masses_of_a_partition_add_up(dtype):
    mixture = build((6,), dtype=dtype)
    cuts = torch.cat([torch.randn(40), mixture.walls, torch.tensor([-INF, INF])]).to(dtype).sort().values[:, None]
    masses = mixture.log_mass(cuts[:-1], cuts[1:])
    assert_close(masses.logsumexp(0), torch.zeros(6, dtype=dtype), rtol=0, atol=1e-5)
    assert_close(masses[7:31].logsumexp(0), mixture.log_mass(cuts[7], cuts[31]))
    grid = torch.arange(-400, 400, dtype=dtype)[:, None]
    assert_close(mixture.log_mass(grid - 0.5, grid + 0.5).exp().sum(0), torch.ones(6, dtype=dtype))


def test_masses_of_cells_are_the_weights():
    mixture = build((3,))
    edges = torch.cat([torch.tensor([-INF]), mixture.walls, torch.tensor([INF])])[:, None]
    assert_close(mixture.log_mass(edges[:-1], edges[1:]).T, mixture.log_weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_infinities(dtype):
    mixture = build((2,), dtype=dtype)
    ends = torch.tensor([[-INF], [INF]], dtype=dtype)
    assert_close(mixture.log_prob(ends), ends.new_full((2, 2), -INF))
    assert_close(mixture.cdf(ends), ends.new_tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert_close(mixture.log_mass(-INF, INF), ends.new_zeros(2))
    for low, high in [(1.0, 1.0), (2.0, -1.0), (INF, INF), (-INF, -INF), (INF, -INF)]:
        assert_close(mixture.log_mass(low, high), ends.new_full((2,), -INF))
    far = torch.tensor([[-torch.finfo(dtype).max], [-1e9], [1e9], [torch.finfo(dtype).max]], dtype=dtype)
    assert mixture.log_prob(far).isfinite().all()


def test_gradients_are_those_of_the_values():
    walls, *rest = (p.requires_grad_() for p in parameters((2,)))
    z = torch.tensor([[-30.0], [-1.1], [0.4], [0.5], [40.0]], dtype=torch.float64, requires_grad=True)
    high = (z + torch.tensor([1.0, 6.0, 0.05, 3.0, 2.0], dtype=torch.float64)[:, None]).detach().requires_grad_()

    def densities(z, *given):
        return IntervalMixture(*given).log_prob(z)

    def masses(low, high, *given):
        mixture = IntervalMixture(*given)
        return mixture.log_mass(low, high), mixture.log_mass(-INF, high), mixture.log_mass(low, INF)

    assert torch.autograd.gradcheck(densities, (z, walls, *rest))
    assert torch.autograd.gradcheck(masses, (z, high, walls, *rest))


def test_gradients_at_walls_are_densities():
    """Of the cell on the side of the range."""
    mixture = build()
    walls = mixture.walls.clone().requires_grad_()
    fixed = mixture.walls
    below, above = mixture.log_prob(fixed).exp(), mixture.log_prob(fixed + 1e-12).exp()
    cases = [(-INF, walls, below), (fixed - 0.1, walls, below), (walls, INF, -above), (walls, fixed + 0.1, -above)]
    for low, high, density in cases:
        (grad,) = torch.autograd.grad(mixture.log_mass(low, high).exp().sum(), walls)
        assert_close(grad, density)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gradients_of_the_smallest_ranges_are_finite(dtype):
    ones = torch.ones(1, dtype=dtype)
    least = torch.nextafter(0 * ones, ones)
    given = [p.requires_grad_() for p in (torch.ones(2, dtype=dtype), ones, ones.clone(), 7 * ones)]
    mixture = IntervalMixture(0 * ones, *given)
    for low, high in [(0.0, least), (-least, 0.0), (-least, least), (-least, 1.0)]:
        grads = torch.autograd.grad(mixture.log_mass(low, high).sum(), given, retain_graph=True)
        assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@given(data=st.data())
def test_gradients_are_finite(dtype, data):
    """For any parameters, and any values, empty ranges and infinities among them."""
    cells, logistics = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))

    def draw(size, bound):
        number = st.floats(-bound, bound, width=32)
        return torch.tensor(data.draw(st.lists(number, min_size=size, max_size=size)), dtype=dtype)

    walls = draw(cells - 1, 50).unique()
    given = [draw(len(walls) + 1, 100), draw(logistics, 100), draw(logistics, 1e4), draw(logistics, 7)]
    given = [p.requires_grad_() for p in given]
    value = st.floats(-1e4, 1e4, width=32) | st.sampled_from([-INF, INF, 0.0, 3e38, -3e38, *walls.tolist(), 1e-45])
    low, high = (torch.tensor(data.draw(st.lists(value, min_size=4, max_size=4)), dtype=dtype) for _ in range(2))
    mixture = IntervalMixture(walls, *given)
    densities, masses = mixture.log_prob(low), mixture.log_mass(low, high)
    assert (densities > -INF).equal(low.isfinite())
    assert (masses > -INF).equal(low.clamp(-1e30, 1e30) < high.clamp(-1e30, 1e30))
    assert (masses <= 1e-3 * (1 + masses.abs())).all()
    for output in (densities, masses):
        grads = torch.autograd.grad(output.sum(), given, retain_graph=True)
        assert all(grad.isfinite().all() for grad in grads)


def test_nothing_is_made_of_nan():
    mixture, nan = build(), torch.tensor(math.nan)
    results = (mixture.log_prob(nan), mixture.log_mass(nan, 1.0), mixture.log_mass(1.0, nan), mixture.icdf(nan))
    assert all(result.isnan() for result in results)


@pytest.mark.parametrize("logistics", [1, 4])
def test_quantiles_invert_the_cdf(logistics):
    mixture = build((3,), cells=8, logistics=logistics)
    z = torch.linspace(-12, 5, 70, dtype=torch.float64)[:, None]
    assert_close(mixture.icdf(mixture.cdf(z))[mixture.cdf(z) < 1 - 1e-6], z.expand(-1, 3)[mixture.cdf(z) < 1 - 1e-6])
    u = torch.rand(200, 3, dtype=torch.float64)
    assert_close(mixture.cdf(mixture.icdf(u)), u, rtol=1e-12, atol=1e-13)
    ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    assert_close(mixture.icdf(ends), torch.tensor([[-INF], [INF]], dtype=torch.float64).expand(2, 3))


def test_quantiles_of_probabilities_only():
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]"):
        IntervalMixture(*parameters(), validate_args=True).icdf(torch.tensor([0.5, 1.5]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("low", "high"), [(None, None), (-1.0, 2.0), (0.2, 0.3), (None, -1.0), (1.0, None), (40.0, 41.0), (-200.0, -150.0)]
)
def test_samples_have_the_distribution(low, high, dtype):
    """Also within a range, be it in one cell, in many, or so far out that its mass is 0 in floating point."""
    mixture = build((2,), dtype=dtype)
    sample = mixture.sample((10_000,), low, high)
    assert (sample.shape, sample.dtype) == ((10_000, 2), dtype)
    low, high = -INF if low is None else low, INF if high is None else high
    assert ((sample > low) & (sample <= high)).all()
    exact = IntervalMixture(*(getattr(mixture, name).double() for name in mixture.arg_constraints))
    cdf = (exact.log_mass(low, sample) - exact.log_mass(low, high)).exp()
    assert all(kolmogorov_smirnov(sample[:, i], cdf[:, i]) < 1 for i in range(2))


def test_samples_of_narrow_and_wide_logistics_in_a_range():
    mixture = IntervalMixture(
        *(torch.tensor(p, dtype=torch.float64) for p in ([0.5], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [-3.0, 1.0]))
    )
    sample = mixture.sample((10_000,), 0.0, 1.0)
    cdf = (mixture.log_mass(0.0, sample) - mixture.log_mass(0.0, 1.0)).exp()
    assert kolmogorov_smirnov(sample, cdf) < 1


def test_samples_within_a_range_of_one_number():
    """In float32 the only numbers above the lower ends and not above the upper are the upper ends."""
    mixture = build(dtype=torch.float32)
    low = torch.tensor([-3.0, -1.0, 0.0, 0.7, 300.0])
    high = torch.nextafter(low, torch.tensor(INF))
    assert_close(mixture.sample((3,), low, high), high.expand(3, 5), rtol=0, atol=0)


def test_samples_of_empty_ranges_are_refused():
    with pytest.raises(ValueError, match="low must be below high"):
        build().sample((3,), low=torch.tensor([0.0, 2.0]), high=1.0)


def test_the_same_seed_gives_the_same_sample():
    mixture = build((4,))
    with torch.random.fork_rng([]):
        one = mixture.sample((5,))
    assert_close(mixture.sample((5,)), one, rtol=0, atol=0)
    assert (mixture.sample((5,)) != one).all()


def test_shapes_broadcast():
    walls, tilt, logits, loc, log_scale = parameters((4,))
    mixture = IntervalMixture(walls, tilt, logits[:, None, None], loc[0], log_scale[:1])
    assert (mixture.batch_shape, mixture.event_shape) == ((4, 1, 4), ())
    assert mixture.log_weights.shape == (4, 1, 4, 5)
    assert mixture.sample((2,)).shape == (2, 4, 1, 4)
    assert mixture.sample((2,), torch.zeros(3, 1)).shape == (2, 4, 3, 4)
    z = torch.randn(7, 4, 3, 4, dtype=torch.float64)
    assert mixture.log_prob(z).shape == mixture.log_mass(z, 0.0).shape == mixture.icdf(z.sigmoid()).shape == z.shape
    assert mixture.log_prob(z[:0]).shape == mixture.log_mass(z[:0], 0.0).shape == (0, 4, 3, 4)
    single = IntervalMixture(walls, tilt[3], logits[2], loc[0], log_scale[0])
    assert_close(mixture.log_prob(z)[:, 2, :, 3], single.log_prob(z[:, 2, :, 3]))
    assert_close(mixture.log_mass(z, z + 1)[:, 2, :, 3], single.log_mass(z[:, 2, :, 3], z[:, 2, :, 3] + 1))
    assert_close(mixture.log_prob(z.mT.contiguous().mT), mixture.log_prob(z))


def test_expand():
    mixture = build((4,))
    wide = mixture.expand((3, 4))
    z = torch.randn(3, 4, dtype=torch.float64)
    assert isinstance(wide, IntervalMixture)
    assert (wide.batch_shape, wide.log_weights.shape) == ((3, 4), (3, 4, 5))
    assert_close(wide.log_prob(z), mixture.log_prob(z))
    assert_close(wide.log_mass(z, 1.0), mixture.log_mass(z, 1.0))
    assert wide.sample((2,)).shape == (2, 3, 4)


def test_results_have_the_dtype_of_the_parameters():
    mixture = build(dtype=torch.float32)
    z = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    results = (mixture.log_prob(z), mixture.log_mass(z, z + 1), mixture.cdf(z), mixture.icdf(z), mixture.sample())
    assert all(result.dtype == torch.float32 for result in results)


def test_wrong_parameters_are_refused():
    walls, tilt, *rest = parameters()
    with pytest.raises(ValueError, match=r"one entry more than walls, .* got \(4,\) and \(4,\)"):
        IntervalMixture(walls, tilt[1:], *rest)
    with pytest.raises(ValueError, match="walls must ascend"):
        IntervalMixture(walls.flip(0), tilt, *rest, validate_args=True)
    with pytest.raises(ValueError, match="log_scale"):
        IntervalMixture(walls, tilt, *rest[:-1], rest[-1] * math.nan, validate_args=True)
    mixture = IntervalMixture(walls, tilt, *rest, validate_args=True)
    for method in (mixture.log_prob, mixture.cdf):
        with pytest.raises(ValueError, match="support"):
            method(torch.tensor([math.nan]))
