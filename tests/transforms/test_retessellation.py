"""From one tessellation to another with the same cells."""

import math

import pytest
import torch
from torch.testing import assert_close

from cell_cases import random_case
from tessflow.geometry import Intervals, Tessellation
from tessflow.transforms import CellTransform, Retessellation, Softsign

SPACES = [(1, False), (2, False), (2, True), (4, False)]


def in_space(dim, *, box=False, mask=False, dtype=torch.float64):
    """Three tessellations side by side, and a target of each point's own, whose anchors lie elsewhere in the box."""
    torch.manual_seed(1)
    case = random_case(D=dim, box=box, mask=mask, dtype=dtype)
    batch = case.x.shape[:-2]
    anchors = 2 * torch.rand(*batch, *case.anchors.shape, dtype=dtype) - 1
    shape = (*batch, 3, dim)
    walls = [None if wall is None else wall.expand(shape) for wall in (case.lower, case.upper)]
    real = None if case.mask is None else case.mask.expand(*batch, *case.mask.shape)
    return Tessellation(**case.cells()), Tessellation(anchors, *walls, mask=real), case


def on_the_line(dtype=torch.float64, spread=2.0):
    torch.manual_seed(2)
    source = Intervals(torch.randn(3, 5, dtype=torch.float64).to(dtype))
    target = Intervals((spread * torch.randn(7, 3, 5, dtype=torch.float64)).to(dtype))
    return source, target, 3 * torch.randn(7, 3, 1, dtype=torch.float64).to(dtype)


def both(dim, box, dtype=torch.float64):
    if dim == 1:
        return on_the_line(dtype)
    source, target, case = in_space(dim, box=box, mask=True, dtype=dtype)
    inside = CellTransform(source, case.index)(case.x)
    return source, target, inside


@pytest.mark.parametrize(("dim", "box"), SPACES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_points_keep_the_name_of_their_cell_and_come_back(dim, box, dtype):
    source, target, x = both(dim, box, dtype)
    move = Retessellation(source, target)
    z, log_det = move.call_and_ladj(x)
    assert z.dtype == log_det.dtype == dtype
    assert torch.equal(target.locate(z), source.locate(x))
    back, log_det_back = move.inv.call_and_ladj(z)
    error = (back - x).abs() / (1 + x.abs())
    assert (error < (1e-8 if dtype == torch.float64 else 0.05)).float().mean() > 0.97
    assert error.median() < (1e-12 if dtype == torch.float64 else 1e-5)
    assert ((log_det + log_det_back).abs() < 0.05).float().mean() > 0.97
    assert torch.equal(source.locate(back), source.locate(x))


@pytest.mark.parametrize(("dim", "box"), SPACES)
def test_log_determinants_are_the_jacobians_in_both_directions(dim, box):
    source, target, x = both(dim, box)
    for transform, point in ((Retessellation(source, target), x), (Retessellation(target, source), None)):
        at = x if point is not None else Retessellation(source, target)(x)
        log_det = transform.call_and_ladj(at)[1]
        jacobian = torch.autograd.functional.jacobian(lambda p, t=transform: t(p).sum((0, 1)), at)
        assert_close(jacobian.movedim(0, -2).slogdet().logabsdet, log_det, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("gamma", [0.3, 2.0])
def test_it_is_the_way_out_of_one_cell_and_into_the_other(box, gamma):
    source, target, x = both(2, box)
    index, profile = source.locate(x), Softsign(gamma)
    out, first = CellTransform(source, index, profile=profile).inv.call_and_ladj(x)
    at = index[..., None, None].expand(*index.shape, 1, 2)
    shift = target.anchors.gather(-2, at).squeeze(-2) - source.anchors.expand_as(target.anchors).gather(-2, at).squeeze(
        -2
    )
    expected, second = CellTransform(target, index, profile=profile).call_and_ladj(out + shift)
    z, log_det = Retessellation(source, target).call_and_ladj(x)
    near = source.clearance(x - source.anchors.expand_as(target.anchors).gather(-2, at).squeeze(-2), index) > 1e-6
    assert_close(z[near], expected[near])
    assert_close(log_det[near], (first + second)[near])


@pytest.mark.parametrize(("dim", "box"), SPACES)
def test_onto_itself_it_is_the_identity(dim, box):
    source, _, x = both(dim, box)
    z, log_det = Retessellation(source, source).call_and_ladj(x)
    assert_close(z, x)
    assert_close(log_det, torch.zeros_like(log_det), atol=1e-9, rtol=0)


@pytest.mark.parametrize("smallest", [1e-3, 1e-12])
def test_on_the_line_masses_are_the_targets(smallest):
    log_masses = torch.tensor([0.5, smallest, 0.3, 0.2 - 2 * smallest, smallest], dtype=torch.float64).log()
    source, target = Intervals(torch.zeros(5, dtype=torch.float64)), Intervals(log_masses)
    # The mass of the density of the target in each cell, through the position in it: trapezoids converge at once.
    e = torch.linspace(-45, 45, 2001, dtype=torch.float64)
    position = e.sigmoid()
    for k in range(5):
        x = ((k + position) / 5).logit()[:, None]
        z, log_det = Retessellation(source, target).call_and_ladj(x)
        logistic = torch.nn.functional.logsigmoid
        log_density = (logistic(z) + logistic(-z)).squeeze(-1) + log_det
        slope = position * (1 - position) / 5 / (x.squeeze(-1).sigmoid() * (1 - x.squeeze(-1).sigmoid()))
        inside = (position > 1e-9) & (position < 1 - 1e-9)  # x itself is rounded next to a wall
        mass = ((log_density.exp() * slope)[inside]).sum() * (e[1] - e[0])
        assert_close(mass.log(), log_masses[k], atol=1e-5, rtol=0)


def test_masses_of_1e_12_go_both_ways():
    target = Intervals(torch.tensor([0.5, 1e-12, 0.5 - 1e-12], dtype=torch.float64).log())
    source = Intervals(torch.zeros(3, dtype=torch.float64))
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)[:, None]
    move = Retessellation(source, target)
    z = move(x)
    assert torch.equal(target.locate(z), source.locate(x))
    tiny = source.locate(x) == 1
    assert_close(move.inv(z)[~tiny], x[~tiny])
    assert_close(move.inv(z)[tiny], x[tiny], atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_far_points_make_no_nan(dtype):
    far = torch.tensor([-1e30, -1e4, -90.0, 0.0, 90.0, 1e4, 1e30], dtype=dtype)
    source, target, _ = on_the_line(dtype)
    for transform in (Retessellation(source, target), Retessellation(target, source)):
        z, log_det = transform.call_and_ladj(far[:, None, None].expand(7, 3, 1))
        assert not z.isnan().any()
        assert not log_det.isnan().any()
    source, target, _ = in_space(2, dtype=dtype)
    for transform in (Retessellation(source, target), Retessellation(target, source)):
        z, log_det = transform.call_and_ladj(far[:, None, None].expand(7, 3, 2))
        assert not z.isnan().any()
        assert not log_det.isnan().any()


@pytest.mark.parametrize("box", [False, True])
def test_a_density_pulled_back_through_wild_cells_integrates_to_one(box):
    torch.manual_seed(3)
    walls = {"lower": torch.full((2,), -4.0).double(), "upper": torch.full((2,), 4.0).double()} if box else {}
    source = Tessellation(torch.randn(6, 2).double(), **walls)
    target = Tessellation(1.5 * torch.randn(6, 2).double().clamp(-2, 2), **walls)
    count = 900
    u = (torch.arange(count).double() + 0.5) / count * 2 - 1
    # Tails fall like a power, where a ray has a wall in the target alone: all of the plane is in a square of u.
    ticks, stretch = (4 * u, torch.full_like(u, 4.0)) if box else (2 * u / (1 - u.abs()), 2 / (1 - u.abs()) ** 2)
    x, weight = torch.cartesian_prod(ticks, ticks), torch.cartesian_prod(stretch, stretch).prod(-1)
    z, log_det = Retessellation(source, target).call_and_ladj(x)
    log_density = -z.square().sum(-1) / 2 - math.log(2 * math.pi)
    if box:
        log_density = log_density - 2 * math.log(math.erf(4 / math.sqrt(2)))
    total = ((log_density + log_det).exp() * weight).sum() * (2 / count) ** 2
    assert total.item() == pytest.approx(1, abs=4e-3)


def test_gradients_reach_the_anchors_and_masses_of_both():
    source, target, x = both(2, box=False)
    leaves = [tessellation.anchors.requires_grad_() for tessellation in (source, target)]
    z, log_det = Retessellation(source, target).call_and_ladj(x)
    (z.sum() + log_det.sum()).backward()
    logits = torch.randn(3, 5).requires_grad_()
    z, log_det = Retessellation(Intervals(torch.zeros(3, 5)), Intervals(logits)).call_and_ladj(torch.randn(7, 3, 1))
    (z.sum() + log_det.sum()).backward()
    for leaf in (*leaves, logits):
        assert leaf.grad.isfinite().all()
        assert leaf.grad.abs().sum() > 0


@pytest.mark.filterwarnings("ignore")
def test_it_can_be_compiled():
    def both_ways(x, anchors, y, logits):
        cells = Tessellation(anchors)
        plane = Retessellation(cells, Tessellation(anchors.flip(-2)))
        line = Retessellation(Intervals(logits), Intervals(logits.flip(-1)))
        return *plane.call_and_ladj(x), plane.inv(x), *line.call_and_ladj(y), line.inv(y)

    torch.manual_seed(0)
    given = torch.randn(6, 2), torch.randn(5, 2), torch.randn(6, 1), torch.randn(4)
    compiled = torch.compile(both_ways, fullgraph=True, backend="aot_eager")
    for found, expected in zip(compiled(*given), both_ways(*given), strict=True):
        assert_close(found, expected)


def test_what_does_not_fit_is_refused():
    line, plane = Intervals(torch.zeros(3)), Tessellation(torch.zeros(3, 2))
    with pytest.raises(TypeError, match="one kind"):
        Retessellation(line, plane)
    with pytest.raises(ValueError, match="as many cells"):
        Retessellation(plane, Tessellation(torch.zeros(2, 2)))
