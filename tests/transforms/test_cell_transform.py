"""The conformance suite of the cell transform: every profile, with and without a box and a mask."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import zuko
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, Transform, TransformedDistribution
from torch.testing import assert_close

from brute_force import PROFILES, BruteForce, slogdet
from cell_cases import Case, random_case
from tessflow.geometry import Tessellation
from tessflow.transforms import CellTransform, Softsign, TruncatedGaussian

MAKE = {"softsign": Softsign, "truncated_gaussian": TruncatedGaussian}
SHAPES = {
    "no variables": {"N": (), "batch": (9,)},
    "one point": {"N": (), "batch": ()},
    "variables": {"N": (3,), "batch": (7,)},
    "only variables": {"N": (3,), "batch": ()},
    "two axes of variables": {"N": (2, 3), "batch": (5,)},
    "two batch axes": {"N": (3,), "batch": (2, 5)},
    "empty batch": {"N": (3,), "batch": (0,)},
    "empty batch axis": {"N": (2, 3), "batch": (4, 0)},
}
OPTIONS = [{"box": box, "mask": mask} for box in (False, True) for mask in (False, True)]


def transform(case: Case, profile: str) -> CellTransform:
    return CellTransform(Tessellation(**case.cells()), case.index, profile=MAKE[profile](case.scale))


@pytest.fixture(params=PROFILES)
def profile(request):
    return request.param


@pytest.fixture(params=OPTIONS, ids=lambda o: "+".join(k for k, v in o.items() if v) or "plain")
def options(request):
    return request.param


class TestShapes:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
    def test_batches(self, profile, options, shape, dtype):
        case = random_case(**shape, **options, dtype=dtype)
        c = transform(case, profile)
        z, log_det = c.call_and_ladj(case.x)
        x, inverse_log_det = c.inv.call_and_ladj(z)
        assert z.shape == x.shape == case.x.shape
        assert log_det.shape == inverse_log_det.shape == case.x.shape[:-1]
        assert {t.dtype for t in (z, x, log_det, inverse_log_det)} == {dtype}
        tolerance = 1e-9 if dtype == torch.float64 else 2e-3
        assert_close(x, case.x, rtol=tolerance, atol=tolerance)
        assert_close(inverse_log_det, -log_det, rtol=tolerance, atol=tolerance)

    def test_index_and_scale_broadcast(self, profile):
        case = random_case(N=(3,), batch=(4,))
        reference = BruteForce(**case.cells())
        x = torch.randn(6, 4, 3, 3, dtype=torch.float64)
        for index in (case.index, case.index[:1], case.index[0], torch.tensor(1)):
            for scale in (case.scale, case.scale[:1], case.scale[0], case.scale[:, :1], case.scale[0, 0]):
                narrow = replace(case, index=index, scale=scale)
                expected = reference.forward(profile, x, index.expand(6, 4, 3), scale.expand(6, 4, 3))
                z, log_det = transform(narrow, profile).call_and_ladj(x)
                assert_close((z, log_det), expected)
                assert_close(transform(narrow, profile).inv(z), x, rtol=1e-7, atol=1e-7)

    def test_one_point_into_many_cells(self, profile):
        case = random_case(N=(3,), batch=(4,))
        x = case.x[0]
        expected = BruteForce(**case.cells()).forward(profile, x.expand(4, 3, 3), case.index, case.scale)
        assert_close(transform(case, profile).call_and_ladj(x), expected)


class TestMap:
    def test_values_and_gradients(self, profile, options):
        case = random_case(N=(3,), K=6, D=3, batch=(60,), **options).with_grad()
        weights = torch.randn_like(case.x), torch.randn_like(case.scale)
        reference = BruteForce(**case.cells())
        expected = reference.forward(profile, case.x, case.index, case.scale)
        _same(transform(case, profile).call_and_ladj(case.x), expected, weights, case.leaves())
        z = expected[0].detach().requires_grad_()
        leaves = {**case.leaves(), "x": z}
        expected = reference.inverse(profile, z, case.index, case.scale)
        _same(transform(case, profile).inv.call_and_ladj(z), expected, weights, leaves)

    def test_float32_gradients(self, profile, options):
        case = random_case(N=(3,), K=6, D=3, batch=(60,), **options, dtype=torch.float32)
        weights = torch.randn_like(case.x), torch.randn_like(case.scale)
        grads = []
        for dtype in (torch.float32, torch.float64):
            leaf = case.to(dtype).with_grad()
            z, log_det = transform(leaf, profile).call_and_ladj(leaf.x)
            x, inverse_log_det = transform(leaf, profile).inv.call_and_ladj(z)
            total = ((z + x) * weights[0]).sum() + ((log_det + 2 * inverse_log_det) * weights[1]).sum()
            grads.append(torch.autograd.grad(total, list(leaf.leaves().values())))
        for single, double in zip(*grads, strict=True):
            assert (single - double).abs().max() <= 1e-3 * (1 + double.abs().max())

    @pytest.mark.parametrize("D", [1, 2, 5])
    def test_log_det_is_that_of_the_jacobian(self, profile, options, D):
        case = random_case(N=(2,), K=5, D=D, batch=(20,), **options)
        c = transform(case, profile)
        z, log_det = c.call_and_ladj(case.x)
        assert_close(log_det, slogdet(c, case.x), rtol=1e-8, atol=1e-8)
        assert_close(c.inv.call_and_ladj(z)[1], slogdet(c.inv, z), rtol=1e-8, atol=1e-8)

    def test_lands_in_its_cell(self, profile, options):
        case = random_case(N=(3,), K=8, D=2, batch=(500,), **options)
        cells = Tessellation(**case.cells())
        z = transform(case, profile)(case.x)
        assert torch.equal(cells.locate(z), case.index)
        if options["box"]:
            assert ((z > case.lower) & (z < case.upper)).all()

    @pytest.mark.parametrize("offset", [0.0, 1e2])
    @pytest.mark.parametrize("box", [False, True])
    def test_float32_lands_in_its_cell(self, profile, box, offset):
        """Exactly, also from so far out that only the rounding of ``z`` decides, and in cells smaller than ``z``."""
        anchors = offset + torch.rand(300, 2)
        walls = (torch.full((2,), offset - 0.1), torch.full((2,), offset + 1.1)) if box else (None, None)
        cells = Tessellation(anchors, *walls)
        index = torch.randint(300, (5_000,))
        x = anchors[index] + 4 * torch.randn(5_000, 2)
        z = CellTransform(cells, index, profile=MAKE[profile](torch.tensor(1.0)))(x)
        assert torch.equal(cells.locate(z), index)
        if box:
            assert ((z >= walls[0]) & (z <= walls[1])).all()

    def test_inverse_covers_the_cell(self, profile, options):
        """Every point of a cell is the image of the point the inverse gives."""
        case = random_case(N=(3,), K=5, D=2, batch=(300,), **options)
        wall = 1.0 if options["box"] else 3.0
        z = wall * (2 * torch.rand(300, 3, 2, dtype=torch.float64) - 1)
        index = Tessellation(**case.cells()).locate(z)
        c = transform(replace(case, index=index), profile)
        assert_close(c(c.inv(z)), z, rtol=1e-9, atol=1e-9)

    def test_masked_anchors_have_no_influence(self, profile):
        case = random_case(N=(4,), K=6, D=2, batch=(50,), box=True, mask=True, seed=3)
        spoiled = replace(case, anchors=torch.where(case.mask[..., None], case.anchors, 1e30)).with_grad()
        z, log_det = transform(spoiled, profile).call_and_ladj(case.x)
        assert_close((z, log_det), transform(case, profile).call_and_ladj(case.x))
        (grad,) = torch.autograd.grad(z.sum() + log_det.sum(), spoiled.anchors)
        assert grad.isfinite().all()
        assert (grad[~case.mask] == 0).all()

    def test_single_cell_without_walls_is_affine(self, profile):
        case = random_case(N=(2,), K=1, D=3, batch=(9,))
        case = replace(case, x=1e3 * case.x)
        own = case.anchors[:, 0]
        z, log_det = transform(case, profile).call_and_ladj(case.x)
        assert_close(z, own + case.scale[..., None] * (case.x - own))
        assert_close(log_det, 3 * case.scale.log())

    @pytest.mark.parametrize("radius", [1e-3, 1.0, 1e2, 1e4, 1e8])
    def test_unbounded_rays_are_scaled(self, profile, radius):
        """A ray that leaves no half-space is stretched by the scale alone, however long."""
        anchors = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 2.0]], dtype=torch.float64)
        x = radius * torch.tensor([[-1.0, 0.0], [-0.8, -0.6], [0.0, -1.0]], dtype=torch.float64)
        scale = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
        c = CellTransform(Tessellation(anchors), torch.tensor(0), profile=MAKE[profile](scale))
        z, log_det = c.call_and_ladj(x)
        assert_close(z, scale[:, None] * x)
        assert_close(log_det, 2 * scale.log())
        back, log_det = c.inv.call_and_ladj(z)
        assert_close(back, x)
        assert_close(log_det, -2 * scale.log())

    @given(
        D=st.integers(1, 4),
        K=st.integers(1, 8),
        box=st.booleans(),
        mask=st.booleans(),
        seed=st.integers(0, 10**6),
        name=st.sampled_from(PROFILES),
    )
    def test_round_trip_of_random_cells(self, D, K, box, mask, seed, name):
        case = random_case(N=(2,), K=K, D=D, batch=(8,), box=box, mask=mask, seed=seed)
        c = transform(case, name)
        z, log_det = c.call_and_ladj(case.x)
        x, inverse_log_det = c.inv.call_and_ladj(z)
        assert torch.equal(Tessellation(**case.cells()).locate(z), case.index)
        assert_close(z, BruteForce(**case.cells()).forward(name, case.x, case.index, case.scale)[0])
        assert_close(c(x), z, rtol=1e-10, atol=1e-10)
        assert_close(x, case.x, rtol=1e-5, atol=1e-5)
        assert_close(inverse_log_det, -log_det, rtol=1e-5, atol=1e-5)

    @given(seed=st.integers(0, 10**6), name=st.sampled_from(PROFILES))
    def test_moves_along_rays_monotonely(self, seed, name):
        case = random_case(N=(), K=6, D=3, batch=(1,), box=True, seed=seed)
        own = case.anchors[case.index]
        steps = torch.linspace(0.01, 3, 60, dtype=torch.float64)[:, None]
        w = transform(case, name)(own + steps * (case.x - own)) - own
        assert_close(torch.nn.functional.normalize(w, dim=-1), w[:1].expand(60, 3) / w[:1].norm())
        radius = w.norm(dim=-1)
        assert (radius.diff() >= -1e-12).all()
        assert (radius[:20].diff() > 0).all()


def _same(got, expected, weights, leaves) -> None:
    """Outputs and gradients of their weighted sum agree, and no leaf is left without a gradient."""
    assert_close(got, expected, rtol=1e-9, atol=1e-9)
    got, expected = (
        torch.autograd.grad(sum((w * y).sum() for w, y in zip(weights, ys, strict=True)), list(leaves.values()))
        for ys in (got, expected)
    )
    for name, g, e in zip(leaves, got, expected, strict=True):
        assert e.abs().sum() > 0, name
        bound = 1e-6 * (1 + e.abs().max())
        assert (g - e).abs().max() <= bound, name


class TestTransformProtocol:
    def test_attributes(self, profile):
        c = transform(random_case(), profile)
        for t in (c, c.inv):
            assert isinstance(t, Transform)
            assert t.bijective
            assert t.domain.event_dim == t.codomain.event_dim == 1
        assert c.inv.inv is c
        assert c.forward_shape((7, 3, 3)) == c.inverse_shape((7, 3, 3)) == (7, 3, 3)
        assert "CellTransform" in repr(c)

    def test_both_directions_agree(self, profile):
        case = random_case()
        c = transform(case, profile)
        z, log_det = c.call_and_ladj(case.x)
        assert_close(c(case.x), z)
        assert_close(c.log_abs_det_jacobian(case.x, z), log_det)
        x, log_det = c.inv.call_and_ladj(z)
        assert_close(c.inv(z), x)
        assert_close(c.inv.log_abs_det_jacobian(z, x), log_det)

    def test_default_profile_works(self):
        case = random_case()
        c = CellTransform(Tessellation(**case.cells()), case.index)
        assert_close(c.inv(c(case.x)), case.x, rtol=1e-6, atol=1e-6)

    def test_transformed_distribution(self, profile):
        case = random_case(N=(), K=4, D=2, batch=(), seed=5)
        base = Independent(Normal(torch.zeros(2).double(), torch.ones(2).double()), 1)
        c = transform(case, profile)
        flow = TransformedDistribution(base, [c], validate_args=True)
        assert flow.event_shape == (2,)
        assert flow.batch_shape == ()
        x = base.sample((50,))
        z, log_det = c.call_and_ladj(x)
        assert_close(flow.log_prob(z), base.log_prob(x) - log_det, rtol=1e-6, atol=1e-6)
        assert flow.rsample((5,)).shape == (5, 2)

    @pytest.mark.parametrize("offset", [0.0, 1e2])
    def test_own_samples_are_in_the_support(self, profile, offset):
        """Float32 samples close to the walls too, where the rounding of ``z`` counts."""
        anchors = offset + torch.randn(6, 2)
        index = torch.randint(6, (5_000,))
        base = Independent(Normal(anchors[index], 4.0), 1)
        c = CellTransform(Tessellation(anchors), index, profile=MAKE[profile](torch.tensor(5.0)))
        flow = TransformedDistribution(base, [c], validate_args=True)
        assert flow.log_prob(flow.sample()).isfinite().all()

    def test_points_of_other_cells_are_not(self, profile):
        case = random_case(N=(), K=4, D=2, batch=(), seed=5)
        base = Independent(Normal(torch.zeros(2).double(), 1.0), 1)
        flow = TransformedDistribution(base, [transform(case, profile)], validate_args=True)
        with pytest.raises(ValueError, match="support"):
            flow.log_prob(case.anchors[(case.index + 1) % 4])

    def test_with_zuko(self, profile):
        """Composed with a zuko layer, as the last step of a zuko flow."""
        case = random_case(N=(), K=4, D=2, batch=(), seed=5)
        base = zuko.distributions.DiagNormal(torch.zeros(2).double(), torch.ones(2).double())
        rotate = zuko.transforms.RotationTransform(torch.randn(2, 2, dtype=torch.float64))
        chain = zuko.transforms.ComposedTransform(transform(case, profile).inv, rotate)
        flow = zuko.distributions.NormalizingFlow(chain, base)
        z, log_prob = flow.rsample_and_log_prob((50,))
        assert (Tessellation(**case.cells()).locate(z) == case.index).all()
        assert_close(flow.log_prob(z), log_prob, rtol=1e-6, atol=1e-6)

    def test_compiles_to_one_graph(self, profile):
        case = random_case(box=True, mask=True, dtype=torch.float32).with_grad()

        def both_ways(anchors, lower, upper, scale, x):
            cells = Tessellation(anchors, lower, upper, case.mask)
            c = CellTransform(cells, case.index, profile=MAKE[profile](scale))
            z, log_det = c.call_and_ladj(x)
            inside = 0.9 * z + 0.1 * anchors[:, 0]
            return z, log_det, cells.locate(x) * scale, *c.inv.call_and_ladj(inside)

        compiled = torch.compile(both_ways, fullgraph=True, backend="aot_eager")
        leaves = tuple(case.leaves().values())
        got, expected = compiled(*leaves), both_ways(*leaves)
        assert_close(got, expected)
        got, expected = (torch.autograd.grad(sum(y.sum() for y in ys), leaves) for ys in (got, expected))
        assert_close(got, expected, rtol=1e-4, atol=1e-4)


class TestDensity:
    """A normal base pushed through one cell is a density on that cell."""

    @pytest.mark.parametrize("index", range(4))
    def test_integrates_to_one_on_a_line(self, profile, index):
        anchors = torch.tensor([[-1.0], [0.2], [0.9], [3.0]], dtype=torch.float64)
        edges = [-60.0, *((anchors[1:] + anchors[:-1]) / 2).flatten().tolist(), 60.0]
        cells = Tessellation(anchors)
        base = Independent(Normal(anchors[index], 1.0), 1)
        scale = torch.tensor(1.3, dtype=torch.float64)
        flow = TransformedDistribution(base, [CellTransform(cells, torch.tensor(index), profile=MAKE[profile](scale))])
        z, step = _midpoints(edges[index], edges[index + 1], 100_000)
        density = flow.log_prob(z[:, None]).exp()
        assert_close(density.sum().item() * step, 1.0, rtol=1e-3, atol=0)
        cumulative = density.cumsum(0) * step
        sample = flow.sample((5_000,)).squeeze(-1).sort().values
        at = cumulative[((sample - edges[index]) / step).long().clamp(max=len(z) - 1)]
        uniform = torch.arange(1, 5_001, dtype=torch.float64) / 5_000
        assert (at - uniform).abs().max() < 1.63 / 5_000**0.5  # Kolmogorov-Smirnov, 1 %

    @pytest.mark.parametrize("box", [False, True])
    def test_integrates_to_one_on_the_plane(self, profile, box):
        anchors = torch.tensor([[0.1, -0.2], [1.4, 0.3], [-0.5, 1.2], [-1.1, -0.6], [0.6, -1.5]]).double()
        wall = torch.tensor([1.1, 0.9]).double() if box else None
        cells = Tessellation(anchors, None if wall is None else -wall, wall)
        base = Independent(Normal(anchors[0], 1.0), 1)
        scale = torch.tensor(0.8, dtype=torch.float64)
        flow = TransformedDistribution(base, [CellTransform(cells, torch.tensor(0), profile=MAKE[profile](scale))])
        z, step = _midpoints(-1.1, 1.1, 500)
        z = torch.cartesian_prod(z, z)
        inside = cells.gauge(z - anchors[0], torch.tensor(0)) < 1
        density = flow.log_prob(z[inside]).exp()
        assert_close(density.sum().item() * step**2, 1.0, rtol=3e-3, atol=0)
        sample = flow.sample((10_000,))
        mean = (density[:, None] * z[inside]).sum(0) * step**2
        square = (density[:, None] * z[inside].square()).sum(0) * step**2
        error = sample.std(0) / 100
        assert ((sample.mean(0) - mean).abs() < 4 * error).all()
        assert ((sample.square().mean(0) - square).abs() < 5 * sample.square().std(0) / 100).all()


def _midpoints(low: float, high: float, n: int) -> tuple[torch.Tensor, float]:
    step = (high - low) / n
    return low + step * (torch.arange(n, dtype=torch.float64) + 0.5), step


def test_shapes_broadcast_in_a_transformed_distribution():
    cells = Tessellation(torch.randn(3, 4, 2))
    base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1)
    into = CellTransform(cells, torch.zeros(5, 3, dtype=torch.int64))
    pushed = torch.distributions.TransformedDistribution(base, [into])
    assert pushed.batch_shape == (5, 3)
    assert pushed.sample((7,)).shape == (7, 5, 3, 2)
    assert pushed.log_prob(pushed.sample((7,))).shape == (7, 5, 3)


def test_a_wall_between_near_anchors_is_seen_from_afar():
    anchors = torch.tensor([[30.0, 0.0], [0.0, 0.0], [1e-6, 0.0], [0.0, 30.0]])
    gauge = Tessellation(anchors).gauge(torch.tensor([1e-6, 0.0]), torch.tensor(1))
    torch.testing.assert_close(gauge, torch.tensor(2.0))
