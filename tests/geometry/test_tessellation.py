"""Location, gauge and clearance against the brute-force reference, and the properties of a gauge."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from brute_force import BruteForce, Exact
from cell_cases import Case, hard_cases, random_case
from tessflow.geometry import Tessellation
from tessflow.geometry.search import SearchName

SHAPES = {
    "no variables": {"N": (), "K": 5, "D": 2, "batch": (9,)},
    "one point": {"N": (), "K": 5, "D": 2, "batch": ()},
    "variables": {"N": (3,), "K": 6, "D": 3, "batch": (7,)},
    "only variables": {"N": (3,), "K": 6, "D": 3, "batch": ()},
    "two axes of variables": {"N": (2, 3), "K": 4, "D": 2, "batch": (5,)},
    "two batch axes": {"N": (3,), "K": 4, "D": 2, "batch": (2, 5)},
    "empty batch": {"N": (3,), "K": 4, "D": 2, "batch": (0,)},
    "line": {"N": (2,), "K": 5, "D": 1, "batch": (9,)},
    "one anchor": {"N": (2,), "K": 1, "D": 3, "batch": (6,)},
    "D = 63": {"N": (), "K": 5, "D": 63, "batch": (6,)},
}
OPTIONS = [{"box": box, "mask": mask} for box in (False, True) for mask in (False, True)]


def pair(case: Case, search: str | None = None) -> tuple[Tessellation, BruteForce]:
    return Tessellation(**case.cells(), search=search), BruteForce(**case.cells())


@pytest.fixture(params=get_args(SearchName))
def search(request):
    return request.param


@pytest.fixture(params=SHAPES.values(), ids=list(SHAPES))
def shape(request):
    return request.param


@pytest.fixture(params=OPTIONS, ids=lambda o: "+".join(k for k, v in o.items() if v) or "plain")
def options(request):
    return request.param


class TestAgainstBruteForce:
    def test_locate(self, shape, options, search):
        case = random_case(**shape, **options)
        cells, reference = pair(case, search)
        index = cells.locate(case.x)
        assert index.dtype == torch.int64
        assert index.shape == case.x.shape[:-1]
        assert torch.equal(index, reference.nearest(case.x))

    def test_gauge_and_clearance(self, shape, options, search):
        case = random_case(**shape, **options)
        cells, reference = pair(case, search)
        v = case.x - reference.own(case.index)
        gauge, clearance = cells.gauge(v, case.index), cells.clearance(v, case.index)
        assert gauge.shape == clearance.shape == case.index.shape
        assert_close(gauge, reference.gauge(v, case.index), rtol=1e-12, atol=1e-12)
        assert_close(clearance, reference.clearance(v, case.index), rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("name", ["gauge", "clearance"])
    def test_gradients(self, options, name, search):
        case = random_case(N=(3,), K=6, D=3, batch=(40,), **options).with_grad()
        cells, reference = pair(case, search)
        v = case.x - reference.own(case.index).detach()
        leaves = [leaf for key, leaf in case.leaves().items() if key != "scale"]
        weight = torch.randn(case.index.shape, dtype=torch.float64)
        got, expected = (
            torch.autograd.grad((weight * getattr(t, name)(v, case.index)).sum(), leaves, retain_graph=True)
            for t in (cells, reference)
        )
        for g, e in zip(got, expected, strict=True):
            assert e.abs().sum() > 0
            assert_close(g, e, rtol=1e-9, atol=1e-9)

    def test_index_broadcasts(self, search):
        case = random_case(N=(3,), K=5, D=2, batch=(4,))
        cells, reference = pair(case, search)
        v = torch.randn(6, 4, 3, 2, dtype=torch.float64)
        for index in (case.index, case.index[:1], case.index[0], torch.tensor(1)):
            wide = index.expand(6, 4, 3)
            assert_close(cells.gauge(v, index), reference.gauge(v, wide))
            assert_close(cells.clearance(v, index), reference.clearance(v, wide))
        v = torch.randn(3, 2, dtype=torch.float64)
        assert_close(cells.gauge(v, case.index), reference.gauge(v, case.index))

    def test_one_axis_of_walls(self, search):
        """A box may be given on one side only."""
        case = random_case(N=(3,), box=True)
        for name in ("lower", "upper"):
            cells, reference = pair(replace(case, **{name: None}), search)
            v = case.x - reference.own(case.index)
            assert_close(cells.gauge(v, case.index), reference.gauge(v, case.index))
            assert_close(cells.clearance(v, case.index), reference.clearance(v, case.index))


class TestMask:
    @pytest.mark.parametrize("garbage", [0.0, 1e30, -3.0], ids=str)
    @pytest.mark.parametrize("box", [False, True])
    def test_masked_anchors_have_no_influence(self, garbage, box, search):
        case = random_case(N=(4,), K=6, D=2, batch=(50,), box=box, mask=True, seed=3)
        assert not case.mask.all()
        spoiled = replace(case, anchors=torch.where(case.mask[..., None], case.anchors, garbage)).with_grad()
        cells, other = (Tessellation(**some.cells(), search=search) for some in (case, spoiled))
        v = torch.randn_like(case.x)
        assert torch.equal(cells.locate(case.x), other.locate(spoiled.x))
        gauge = other.gauge(v, case.index)
        clearance = other.clearance(v, case.index)
        assert_close(gauge, cells.gauge(v, case.index))
        assert_close(clearance, cells.clearance(v, case.index))
        (grad,) = torch.autograd.grad((gauge + 2 * clearance).sum(), spoiled.anchors)
        assert grad.isfinite().all()
        assert (grad[~case.mask] == 0).all()

    def test_masked_anchors_are_never_located(self, search):
        case = random_case(N=(4,), K=6, D=2, batch=(), mask=True, seed=3)
        index = Tessellation(**case.cells(), search=search).locate(case.anchors.movedim(-2, 0))
        assert case.mask.gather(-1, index.mT).all()

    def test_real_anchors_locate_themselves(self, search):
        case = random_case(N=(4,), K=6, D=2, batch=(), mask=True, seed=3)
        index = Tessellation(**case.cells(), search=search).locate(case.anchors.movedim(-2, 0)).mT
        assert torch.equal(index[case.mask], torch.arange(6).expand(4, 6)[case.mask])


@st.composite
def tessellations(draw) -> Case:
    return random_case(
        N=draw(st.sampled_from([(), (2,)])),
        K=draw(st.integers(1, 9)),
        D=draw(st.integers(1, 5)),
        batch=(12,),
        box=draw(st.booleans()),
        mask=draw(st.booleans()),
        seed=draw(st.integers(0, 10**6)),
    )


class TestProperties:
    @given(tessellations(), st.floats(1e-6, 1e6))
    def test_gauge_is_sublinear(self, case, factor):
        cells = Tessellation(**case.cells())
        u, v = torch.randn_like(case.x), torch.randn_like(case.x)
        gauge = cells.gauge(v, case.index)
        assert (gauge >= 0).all()
        assert_close(cells.gauge(factor * v, case.index), factor * gauge, rtol=1e-12, atol=0)
        assert (cells.gauge(u + v, case.index) <= gauge + cells.gauge(u, case.index) + 1e-12).all()

    @given(tessellations())
    def test_clearance_is_one_minus_gauge(self, case):
        cells = Tessellation(**case.cells())
        w = torch.randn_like(case.x)
        assert_close(cells.clearance(w, case.index), 1 - cells.gauge(w, case.index), rtol=1e-12, atol=1e-12)

    @given(tessellations())
    def test_gauge_below_one_means_inside(self, case):
        cells, reference = pair(case)
        inside = cells.gauge(case.x - reference.own(case.index), case.index) < 1
        in_box = torch.ones_like(inside)
        if case.lower is not None:
            in_box = ((case.x > case.lower) & (case.x < case.upper)).all(-1)
        assert torch.equal(inside, in_box & (reference.nearest(case.x) == case.index))

    @given(tessellations())
    def test_translation_changes_nothing(self, case):
        shift = torch.randn(case.x.shape[-1], dtype=torch.float64)
        walls = {k: getattr(case, k) + shift for k in ("lower", "upper") if getattr(case, k) is not None}
        moved = Tessellation(**replace(case, anchors=case.anchors + shift, **walls).cells())
        cells = Tessellation(**case.cells())
        assert torch.equal(moved.locate(case.x + shift), cells.locate(case.x))
        assert_close(moved.gauge(case.x, case.index), cells.gauge(case.x, case.index), rtol=1e-9, atol=1e-9)


HARD = hard_cases()


@pytest.mark.parametrize("name", HARD)
class TestHardPoints:
    """Float32 against exact arithmetic on the same float32 inputs."""

    def test_gauge_and_clearance(self, name, search):
        case = HARD[name].with_grad()
        cells = Tessellation(**case.cells(), search=search)
        v = (case.x - BruteForce(case.anchors).own(case.index)).detach().requires_grad_()
        gauge, clearance = cells.gauge(v, case.index), cells.clearance(v, case.index)
        expected = BruteForce(**case.to(torch.float64).cells()).gauge(v.double(), case.index)
        assert ((gauge - expected).abs() <= 1e-5 * (1 + expected)).all()
        assert ((clearance - (1 - expected)).abs() <= 1e-5 * (1 + expected)).all()
        leaves = [case.anchors, v, *(wall for wall in (case.lower, case.upper) if wall is not None)]
        for output in (gauge, clearance):
            grads = torch.autograd.grad(output.sum(), leaves, allow_unused=True, retain_graph=True)
            assert all(grad.isfinite().all() for grad in grads if grad is not None)

    def test_locate(self, name, search):
        case = HARD[name]
        index = Tessellation(**case.cells(), search=search).locate(case.x)
        distance = (case.x.double()[..., None, :] - case.anchors.double()).norm(dim=-1)
        found = distance.gather(-1, index[..., None]).squeeze(-1)
        rounding = 4 * torch.finfo(torch.float32).eps * case.x.double().norm(dim=-1)
        assert (found <= distance.amin(-1) + rounding).all()


class TestManyCells:
    """A scan goes other ways with the number of cells, and with that of points to a cell."""

    @pytest.mark.parametrize("mask", [False, True])
    @pytest.mark.parametrize("batch", [30, 2100])
    @pytest.mark.parametrize("K", [40, 600, 1024])
    @pytest.mark.parametrize("D", [1, 5])
    def test_finds_the_wall_of_brute_force(self, K, D, batch, mask):
        case = random_case(N=(2,), K=K, D=D, batch=(batch,), mask=mask)
        cells, reference = Tessellation(**case.cells(), search="scan"), BruteForce(**case.cells())
        assert torch.equal(cells.locate(case.x), reference.nearest(case.x))
        v = case.x - reference.own(case.index)
        steepest = torch.zeros_like(case.scale)
        wall = torch.zeros_like(v)
        for k in range(K):
            d = case.anchors[:, k] - reference.own(case.index)
            slope = 2 * (d * v).sum(-1) / d.square().sum(-1)  # not a number at the own anchor
            steeper = (slope > steepest) & reference.real()[..., k]
            steepest = torch.where(steeper, slope, steepest)
            wall = torch.where(steeper[..., None], d, wall)
        assert torch.equal(cells.rays(case.index, displacement=v).normal, wall)

    @pytest.mark.parametrize("batch", [1, 2100])
    @pytest.mark.parametrize("K", [40, 1024])
    @pytest.mark.parametrize("name", HARD)
    def test_hard_points_among_anchors_said_again(self, name, K, batch):
        """Anchors that coincide change nothing."""
        case = HARD[name].to(torch.float64)
        k = case.anchors.shape[0]
        own, index = BruteForce(case.anchors).own(case.index), case.index
        again = -(-batch // len(case.x))
        v, index = (case.x - own).repeat(again, 1), index.repeat(again)
        anchors = case.anchors.repeat(-(-K // k), 1)[: max(K, k)]
        cells = Tessellation(anchors, case.lower, case.upper, search="scan")
        expected = BruteForce(case.anchors, case.lower, case.upper).gauge(v, index)
        assert_close(cells.gauge(v, index), expected, rtol=1e-9, atol=1e-9)
        assert_close(cells.clearance(v, index), 1 - expected, rtol=1e-9, atol=1e-9)
        located = Tessellation(case.anchors).locate(case.x)
        assert_close(anchors[cells.locate(case.x)], case.anchors[located], rtol=0, atol=0)

    @pytest.mark.parametrize("K", [5, 40, 600, 1024])
    @pytest.mark.parametrize("mask", [False, True])
    def test_the_first_of_the_nearest_is_located(self, K, mask):
        """Small whole numbers leave nothing to rounding."""
        anchors = torch.randint(-4, 5, (2, K, 2)).double()
        exists = torch.rand(2, K) < 0.7 if mask else torch.ones(2, K, dtype=torch.bool)
        exists[:, 3] = True
        x = torch.randint(-6, 7, (300, 2, 2)).double()
        index = Tessellation(anchors, mask=exists if mask else None, search="scan").locate(x)
        assert torch.equal(index, BruteForce(anchors, mask=exists).nearest(x))

    @pytest.mark.parametrize("mask", [False, True])
    def test_what_is_prepared_for_later_calls_changes_nothing(self, mask):
        case = random_case(N=(2,), K=600, D=5, batch=(500,), mask=mask)
        cells = Tessellation(**case.cells(), search="scan")
        first, *others = [cells.rays(case.index, point=case.x).normal for _ in range(4)]
        assert all(torch.equal(first, other) for other in others)

    def test_compiles_to_one_graph(self):
        case = random_case(N=(2,), K=600, D=1, batch=(40,), mask=True)

        def search(anchors, x):
            cells = Tessellation(anchors, mask=case.mask)
            return cells.locate(x), cells.gauge(x, case.index)

        compiled = torch.compile(search, fullgraph=True, backend="aot_eager")
        assert_close(compiled(case.anchors, case.x), search(case.anchors, case.x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_clearance_near_a_wall_does_not_cancel(dtype):
    """At ``1 - gauge`` of a few roundings the clearance keeps its digits; a subtraction would lose them."""
    anchors = torch.tensor([[0.0, 0.0], [0.7, 0.3], [-0.4, 0.9]], dtype=dtype)
    direction = torch.tensor([0.6, 0.1], dtype=dtype)
    cell = Exact(anchors.tolist(), 0)
    wall = direction / float(cell.gauge(direction.tolist()))
    w = wall * (1 - torch.finfo(dtype).eps * torch.tensor([[8.0], [1e2], [1e4]], dtype=dtype))
    expected = torch.tensor([float(1 - cell.gauge([_mp(c) for c in row])) for row in w.tolist()], dtype=dtype)
    assert (expected > 0).all()
    got = Tessellation(anchors).clearance(w, torch.tensor(0))
    assert ((got - expected).abs() <= 4 * torch.finfo(dtype).eps).all()


def _mp(value: float):
    import mpmath

    return mpmath.mpf(value)


def test_located_at_ties_is_one_of_the_nearest():
    anchors = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    cells = Tessellation(anchors)
    assert cells.locate(torch.tensor([0.1, 0.0])).item() in (0, 2)
    assert cells.locate(torch.tensor([1.0, 5.0])).item() in (0, 1, 2)
    assert cells.locate(torch.tensor([1.1, 5.0])).item() == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"anchors": torch.zeros(3)},
        {"anchors": torch.zeros(3, 2), "lower": torch.zeros(3), "upper": torch.ones(3)},
        {"anchors": torch.zeros(4, 3, 2), "mask": torch.ones(4, 2, dtype=torch.bool)},
        {"anchors": torch.zeros(3, 2), "mask": torch.ones(3)},
        {"anchors": torch.zeros(3, 2), "search": "kd"},
        {"anchors": torch.zeros(3, 2, device="meta"), "search": "tree"},
    ],
    ids=["anchors", "box", "mask", "mask dtype", "search", "tree elsewhere"],
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises((ValueError, TypeError)):
        Tessellation(**arguments)
