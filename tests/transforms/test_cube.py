"""The cube: Gaussian space mapped onto it, and it onto cells."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Independent, Normal, Transform, TransformedDistribution, Uniform
from torch.testing import assert_close

from brute_force import BruteForce, slogdet
from cell_cases import Case, hard_cases, random_case
from tessflow.geometry import Tessellation
from tessflow.transforms import CellTransform, CubeCellTransform, GaussianToCube, Softsign

HARD = hard_cases()
OPTIONS = [{"box": box, "mask": mask} for box in (False, True) for mask in (False, True)]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=["plain", "mask", "box", "box+mask"])


def transform(case: Case) -> CubeCellTransform:
    return CubeCellTransform(Tessellation(**case.cells()), case.index, scale=case.scale)


def in_cube(case: Case) -> Case:
    """The case with its points drawn from the cube."""
    return replace(case, x=2 * torch.rand_like(case.x) - 1)


def by_formula(case: Case) -> tuple[Tensor, Tensor]:
    cells = BruteForce(**case.cells())
    gauge = cells.gauge(case.x, case.index)
    shrink = (1 - case.x.abs().amax(-1)) + case.scale * gauge
    dim = case.x.shape[-1]
    z = cells.own(case.index) + (case.scale / shrink)[..., None] * case.x
    return z, dim * case.scale.log() - (dim + 1) * shrink.log()


class TestGaussianToCube:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_round_trip(self, dtype):
        x = torch.linspace(-3, 3, 61, dtype=dtype).reshape(-1, 1).expand(-1, 2)
        tolerance = 1e-4 if dtype == torch.float32 else 1e-12
        assert_close(GaussianToCube().inv(GaussianToCube()(x)), x, rtol=tolerance, atol=tolerance)

    def test_log_det_is_that_of_the_jacobian(self):
        x = 2 * torch.randn(50, 3, dtype=torch.float64)
        cube = GaussianToCube()
        y, log_det = cube.call_and_ladj(x)
        assert_close(log_det, slogdet(cube, x))
        assert_close(cube.log_abs_det_jacobian(x, y), log_det)
        back, inverse_log_det = cube.inv.call_and_ladj(y)
        assert_close(inverse_log_det, -log_det, rtol=1e-6, atol=1e-6)
        assert_close(cube.inv.log_abs_det_jacobian(y, back), inverse_log_det)
        assert_close(slogdet(cube.inv, y), inverse_log_det, rtol=1e-6, atol=1e-6)

    def test_a_normal_becomes_uniform(self):
        x = 2 * torch.randn(50, 3, dtype=torch.float64)
        density = Normal(0.0, 1.0).log_prob(x).sum(-1) - GaussianToCube().call_and_ladj(x)[1]
        assert_close(density, torch.full_like(density, -3 * math.log(2)))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_faces_are_taken_as_just_inside(self, dtype):
        faces = torch.tensor([[-1.0, 1.0], [1.0, 0.0], [1.0, -1.0]], dtype=dtype, requires_grad=True)
        x, log_det = GaussianToCube().inv.call_and_ladj(faces)
        assert x.isfinite().all()
        assert log_det.isfinite().all()
        (grad,) = torch.autograd.grad(x.sum() + log_det.sum(), faces)
        assert grad.isfinite().all()

    def test_two_are_equal(self):
        assert GaussianToCube() == GaussianToCube()

    def test_transformed_distribution(self):
        base = Independent(Normal(torch.zeros(2), 1.0), 1)
        pushed = TransformedDistribution(base, [GaussianToCube()], validate_args=True)
        assert_close(pushed.log_prob(pushed.sample((50,))), torch.full((50,), -2 * math.log(2)), rtol=1e-4, atol=1e-4)


class TestCubeCellTransform:
    @every_option
    @pytest.mark.parametrize("D", [1, 2, 5])
    def test_values_and_gradients(self, options, D):
        case = in_cube(random_case(N=(3,), K=6, D=D, batch=(40,), **options)).with_grad()
        got, expected = transform(case).call_and_ladj(case.x), by_formula(case)
        assert_close(got, expected, rtol=1e-9, atol=1e-9)
        weights = torch.randn_like(case.x), torch.randn_like(case.scale)
        got, expected = (
            torch.autograd.grad(sum((w * y).sum() for w, y in zip(weights, ys, strict=True)), [*case.leaves().values()])
            for ys in (got, expected)
        )
        assert_close(got, expected, rtol=1e-7, atol=1e-7)

    @every_option
    @pytest.mark.parametrize("D", [1, 2, 5])
    def test_log_det_is_that_of_the_jacobian(self, options, D):
        case = in_cube(random_case(N=(2,), K=5, D=D, batch=(20,), **options))
        c = transform(case)
        z, log_det = c.call_and_ladj(case.x)
        assert_close(log_det, slogdet(c, case.x), rtol=1e-8, atol=1e-8)
        assert_close(c.inv.call_and_ladj(z)[1], slogdet(c.inv, z), rtol=1e-7, atol=1e-7)

    @given(
        D=st.integers(1, 4),
        K=st.integers(1, 8),
        box=st.booleans(),
        mask=st.booleans(),
        seed=st.integers(0, 10**6),
    )
    def test_round_trip_of_random_cells(self, D, K, box, mask, seed):
        case = random_case(N=(2,), K=K, D=D, batch=(8,), box=box, mask=mask, seed=seed)
        case = replace(case, x=0.99 * torch.tanh(case.x))
        c = transform(case)
        z, log_det = c.call_and_ladj(case.x)
        x, inverse_log_det = c.inv.call_and_ladj(z)
        assert torch.equal(Tessellation(**case.cells()).locate(z), case.index)
        assert_close(x, case.x, rtol=1e-8, atol=1e-8)
        assert_close(inverse_log_det, -log_det, rtol=1e-8, atol=1e-8)

    @given(seed=st.integers(0, 10**6), D=st.integers(1, 4))
    def test_inverse_covers_the_cell(self, seed, D):
        case = random_case(N=(2,), K=5, D=D, batch=(8,), box=True, seed=seed)
        cells = Tessellation(**case.cells())
        z = case.lower + torch.rand_like(case.x) * (case.upper - case.lower)
        c = transform(replace(case, index=cells.locate(z)))
        x = c.inv(z)
        assert (x.abs() < 1).all()
        assert_close(c(x), z, rtol=1e-9, atol=1e-9)

    @every_option
    def test_lands_in_its_cell_in_float32(self, options):
        case = in_cube(random_case(N=(3,), K=8, D=2, batch=(2_000,), dtype=torch.float32, **options))
        z = transform(case)(case.x)
        assert torch.equal(Tessellation(**case.cells()).locate(z), case.index)

    def test_faces_go_to_walls(self):
        case = in_cube(random_case(N=(), K=6, D=3, batch=(200,), box=True))
        faces = case.x / case.x.abs().amax(-1, keepdim=True)
        z = transform(case)(faces)
        own = case.anchors[case.index]
        assert_close(BruteForce(**case.cells()).gauge(z - own, case.index), torch.ones(200).double(), rtol=0, atol=1e-9)

    def test_a_square_cell_stays_uniform(self):
        square = Tessellation(torch.tensor([[0.5, 0.5]]), lower=torch.zeros(2), upper=torch.ones(2))
        pushed = TransformedDistribution(
            Independent(Uniform(-torch.ones(2), torch.ones(2), validate_args=False), 1),
            [CubeCellTransform(square, 0, scale=0.5)],
        )
        assert_close(pushed.log_prob(torch.rand(50, 2)), torch.zeros(50), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("index", range(4))
    def test_the_uniform_density_keeps_its_mass(self, index):
        """On a line cut by a box: a sum over the cell of one half times the inverse's slope."""
        anchors = torch.tensor([[-0.9], [-0.2], [0.1], [0.7]], dtype=torch.float64)
        cells = Tessellation(anchors, -torch.ones(1).double(), torch.ones(1).double())
        edges = [-1.0, *((anchors[1:] + anchors[:-1]) / 2).flatten().tolist(), 1.0]
        low, high = edges[index : index + 2]
        z = low + (high - low) * (torch.arange(10_000, dtype=torch.float64)[:, None] + 0.5) / 10_000
        log_det = CubeCellTransform(cells, index, scale=0.3).inv.call_and_ladj(z)[1]
        assert abs((log_det.exp() / 2).mean() * (high - low) - 1) < 1e-6

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("name", HARD)
    def test_hard_points(self, name, dtype):
        """At anchors, walls and vertices, with near, equal and single anchors: there and back, finite throughout."""
        case = HARD[name].to(dtype)
        z = CellTransform(Tessellation(**case.cells()), case.index, profile=Softsign(case.scale))(case.x)
        case = replace(case, x=z).with_grad()
        c = transform(case)
        v, log_det = c.inv.call_and_ladj(case.x)
        assert log_det.isfinite().all()
        assert (v.abs() <= 1).all()
        grads = torch.autograd.grad(v.sum() + log_det.sum(), [*case.leaves().values()], allow_unused=True)
        assert all(grad is None or grad.isfinite().all() for grad in grads)
        again, forward_log_det = c.call_and_ladj(v.detach())
        assert again.isfinite().all()
        assert forward_log_det.isfinite().all()
        bounded = v.abs().amax(-1) < 0.999  # a point far out on an unbounded ray is within a rounding of a face
        eps = 1e-2 if dtype == torch.float32 else 1e-6
        assert_close(again[bounded], z[bounded], rtol=eps, atol=eps)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("box", [False, True])
    def test_faces_corners_and_the_anchor_give_finite_values(self, box, dtype):
        anchors = torch.tensor([[0.0, 0.0], [0.3, 0.0], [0.3, 1e-6]], dtype=dtype)
        walls = (-torch.ones(2, dtype=dtype), torch.ones(2, dtype=dtype)) if box else (None, None)
        x = torch.tensor([[0, 0], [1, 0], [-1, 0], [-1, -1], [1, 1], [0.3, -1]], dtype=dtype)[:, None]
        leaves = x.requires_grad_(), anchors.requires_grad_()
        c = CubeCellTransform(Tessellation(anchors, *walls), torch.arange(3), scale=0.5)
        z, log_det = c.call_and_ladj(x)
        assert z.isfinite().all()
        assert log_det.isfinite().all()
        assert all(grad.isfinite().all() for grad in torch.autograd.grad(z.sum() + log_det.sum(), leaves))

    def test_single_cell_without_walls(self):
        """The softsign of the cube's gauge, undone."""
        x = 2 * torch.rand(50, 3, dtype=torch.float64) - 1
        c = CubeCellTransform(Tessellation(torch.zeros(1, 3, dtype=torch.float64)), 0, scale=2.0)
        assert_close(c(x), 2 * x / (1 - x.abs().amax(-1, keepdim=True)))

    @pytest.mark.parametrize("shape", [(), (9,), (2, 5), (0,), (4, 0)], ids=str)
    @pytest.mark.parametrize("N", [(), (3,), (2, 3)], ids=str)
    def test_shapes(self, N, shape):
        case = in_cube(random_case(N=N, batch=shape, box=True, dtype=torch.float32))
        c = transform(case)
        z, log_det = c.call_and_ladj(case.x)
        x, inverse_log_det = c.inv.call_and_ladj(z)
        assert z.shape == x.shape == case.x.shape == c.forward_shape(case.x.shape)
        assert log_det.shape == inverse_log_det.shape == case.x.shape[:-1]
        assert {t.dtype for t in (z, x, log_det, inverse_log_det)} == {torch.float32}
        assert_close(x, case.x, rtol=1e-3, atol=1e-3)

    def test_protocol(self):
        case = in_cube(random_case())
        c = transform(case)
        for t in (c, c.inv, c.with_cache()):
            assert isinstance(t, Transform)
            assert t.bijective
            assert t.domain.event_dim == t.codomain.event_dim == 1
        assert c.inv.inv is c
        z, log_det = c.call_and_ladj(case.x)
        assert_close(c(case.x), z)
        assert_close(c.log_abs_det_jacobian(case.x, z), log_det)
        assert_close(c.inv.log_abs_det_jacobian(z, case.x), -log_det)
        assert "CubeCellTransform" in repr(c)

    def test_own_samples_are_in_the_support(self):
        anchors = torch.randn(6, 2)
        index = torch.randint(6, (2_000,))
        base = Independent(Uniform(-torch.ones(2_000, 2), 1.0), 1)
        pushed = TransformedDistribution(base, [CubeCellTransform(Tessellation(anchors), index)], validate_args=True)
        assert pushed.log_prob(pushed.sample()).isfinite().all()

    def test_compiles_to_one_graph(self):
        case = in_cube(random_case(box=True, mask=True, dtype=torch.float32)).with_grad()

        def both_ways(anchors, lower, upper, scale, x):
            c = CubeCellTransform(Tessellation(anchors, lower, upper, case.mask), case.index, scale=scale)
            z, log_det = c.call_and_ladj(x)
            return z, log_det, *c.inv.call_and_ladj(0.9 * z + 0.1 * anchors[:, 0])

        compiled = torch.compile(both_ways, fullgraph=True, backend="aot_eager")
        leaves = tuple(case.leaves().values())
        got, expected = compiled(*leaves), both_ways(*leaves)
        assert_close(got, expected)
        got, expected = (torch.autograd.grad(sum(y.sum() for y in ys), leaves) for ys in (got, expected))
        assert_close(got, expected, rtol=1e-4, atol=1e-4)
