"""The compiled cell map is torch's, to rounding, for whatever instructions it was built."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from kernel_cases import PROFILES, Case
from torch import Tensor
from torch.testing import assert_close

import tessflow.kernels
from tessflow.geometry import Tessellation
from tessflow.kernels import native, ops
from tessflow.transforms import CellTransform, Softsign, TruncatedGaussian, fused

SOURCE = Path(tessflow.kernels.__file__).with_name("kernels.cpp")
# Few cells; many, in which the search is in float32; more rows than a block has, and than vectors have lanes.
SHAPES = [(7, 3, 3, 4), (130, 2, 30, 2), (50, 2, 100, 5), (200, 1, 40, 1), (64, 2, 64, 40), (1, 5, 1, 2)]

compiled = pytest.mark.skipif(native._library is None, reason=native.status())


@pytest.fixture(params=[0, 1, 2], ids=["128-bit", "AVX2", "AVX-512"])
def level(request):
    """Use other instructions than the best."""
    best = native._library.tessflow_level()
    if not native._library.tessflow_use(request.param):
        pytest.skip("this processor has no such instructions")
    yield
    native._library.tessflow_use(best)


@compiled
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("inverse", [False, True], ids=["into", "out of"])
def test_map_and_gradients_are_torchs(level, shape, inverse):
    for profile, box, masked in itertools.product(PROFILES, [False, True], [False, True]):
        case = Case(shape, box=box, masked=masked)
        for each, other in case.beside_torchs(profile, inverse=inverse):
            size = other.abs().max().item()
            assert_close(each, other, rtol=1e-5, atol=1e-6 * max(size, 1))


@compiled
@pytest.mark.parametrize("beyond", [1.0, 1 + 1e-7, 1.5, 1e3])
def test_points_on_walls_and_beyond_are_torchs(level, beyond):
    """Out of the cell: such points are taken as just inside, and so are their gradients."""
    for profile, box in itertools.product(PROFILES, [False, True]):
        anchors = torch.tensor([[[0.0], [2.0]]])
        case = Case((9, 1, 2, 1))
        case.anchors, case.index = anchors, torch.zeros(9, 1, dtype=torch.int64)
        case.walls = (torch.tensor([[-0.5]]), torch.tensor([[1.5]])) if box else (None, None)
        found = []
        for usable in (True, False):
            x = (beyond * torch.tensor([1.0, -0.5] if box else [1.0, 1.0])).repeat(5)[:9].view(9, 1, 1)
            leaves = [t.clone().requires_grad_() for t in (x, case.scale, anchors)]
            with contextlib.nullcontext() if usable else native.disabled():
                cells = Tessellation(leaves[2], *case.walls)
                outputs = CellTransform(cells, case.index, profile=profile(leaves[1])).inv.call_and_ladj(leaves[0])
                found.append([*outputs, *torch.autograd.grad(outputs, leaves, [case.of_z, case.of_log_det])])
        for each, other in zip(*found, strict=True):
            assert_close(each, other, rtol=1e-4, atol=1e-5 * max(1, other.abs().max().item()))


@compiled
def test_a_point_held_back_where_the_box_is_nearer_has_finite_gradients():
    anchors, upper = torch.tensor([[100.0], [100.001]]).requires_grad_(), torch.tensor([100.00049])
    x = torch.tensor([200.0]).requires_grad_()
    for profile in PROFILES:
        z, log_det = CellTransform(Tessellation(anchors, None, upper), 0, profile=profile()).call_and_ladj(x)
        for gradient in torch.autograd.grad(z.sum() + log_det, [x, anchors]):
            assert gradient.isfinite().all()
            assert gradient.abs().max() < 1e5


@compiled
def test_indices_may_be_of_32_bits():
    case = Case((40, 2, 30, 3))
    for index in (case.index.int(), case.index.int().contiguous()):
        transform = CellTransform(case.cells(), index, profile=TruncatedGaussian(case.scale))
        other = CellTransform(case.cells(), case.index, profile=TruncatedGaussian(case.scale))
        assert torch.equal(transform(case.x), other(case.x))
        assert torch.equal(case.cells().gauge(case.x, index), case.cells().gauge(case.x, case.index))


@compiled
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8, 1e4, 1e8, 3e38, float("inf")])
def test_extreme_points_are_torchs(size):
    case = Case((40, 2, 30, 3), box=size >= 1e4)  # at an anchor all walls are equally far: gradients are a choice
    case.x = case.cells().anchors[torch.arange(2), case.index] + size * case.x.sign()
    for profile in PROFILES:
        for each, other in case.beside_torchs(profile, inverse=False):
            assert_close(each, other, rtol=1e-4, atol=1e-4)


@compiled
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("inverse", [False, True], ids=["into", "out of"])
def test_points_may_be_of_float64(level, shape, inverse):
    """Among anchors of float32: points, log-determinants and gradients of points have the digits of float64."""
    for profile, box, masked in itertools.product(PROFILES, [False, True], [False, True]):
        case = Case(shape, box=box, masked=masked, wide=True)
        for each, other in case.beside_torchs(profile, inverse=inverse):
            assert each.dtype == other.dtype
            rounding = 1e-9 if each.dtype == torch.float64 else 1e-5
            assert_close(each, other, rtol=rounding, atol=rounding * max(other.abs().max().item(), 1))
        found = case.cells().locate(case.x)
        with native.disabled():
            assert torch.equal(found, case.cells().locate(case.x))


@compiled
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e8, 1e30, 1e60, 1e100, 1e308, float("inf")])
def test_extreme_points_of_float64_are_torchs(size):
    case = Case((40, 2, 30, 3), box=size >= 1e4, wide=True)
    case.x = case.cells().anchors[torch.arange(2), case.index] + size * case.x.sign()
    for profile in PROFILES:
        for each, other in case.beside_torchs(profile, inverse=False):
            assert_close(each, other, rtol=1e-4, atol=1e-4)


@compiled
def test_a_scale_that_float32_does_not_have_is_left_to_torch():
    case = Case((5, 1, 4, 2), wide=True)
    cells = case.cells()
    for scale, kernels in ((0.5, True), (0.1, False)):
        assert fused.takes(cells, Softsign(scale), case.x) == kernels
        assert fused.takes(cells, Softsign(scale), case.x.float())


@compiled
@pytest.mark.parametrize("inverse", [False, True], ids=["into", "out of"])
def test_what_is_no_number_stays_none(inverse):
    case = Case((40, 2, 30, 3))
    case.x[3, 1, 2] = torch.nan
    for profile in PROFILES:
        transform = CellTransform(case.cells(), case.index, profile=profile(case.scale))
        z, log_det = transform.inv.call_and_ladj(case.x) if inverse else transform.call_and_ladj(case.x)
        assert log_det.isnan().nonzero().tolist() == [[3, 1]]
        assert z[3, 1].isnan().all()


def adversarial(seed: int) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Near copies, ties, many scales, anchors far from 0, masks; rays of twelve decades."""
    g = torch.Generator().manual_seed(seed)
    d, k = (1, 2, 3, 5, 16, 63)[seed % 6], (3, 20, 40, 333, 1024)[seed % 5]
    n, b, kind = 2, 100, seed % 4
    anchors = torch.randn(n, k, d, generator=g)
    if kind == 1:
        anchors = anchors[:, torch.randint(k, (k,), generator=g)] + 1e-6 * torch.randn(n, k, d, generator=g)
    if kind == 2:
        anchors = anchors * 10 ** (4 * torch.rand(n, k, 1, generator=g) - 2) + 100
    if kind == 3:
        anchors = (4 * anchors).round()
    mask = None
    if seed % 3 == 0:
        mask = torch.rand(n, k, generator=g) < 0.7
        mask[:, 0] = True
        anchors = torch.where(mask[..., None], anchors, 1e30)
    exists = torch.ones(n, k) if mask is None else mask.float()
    index = torch.multinomial(exists, b, replacement=True, generator=g).T
    v = torch.randn(b, n, d, generator=g) * 10 ** (12 * torch.rand(b, n, 1, generator=g) - 4)
    return anchors, mask, index, v.double()


def worst_losses(facing, locate, seeds: int, dtype: torch.dtype = torch.float32) -> tuple[float, float]:
    """How much worse walls and anchors are than those of brute force in float64, relatively, at most."""
    worst = [0.0, 0.0]
    for seed in range(seeds):
        anchors, mask, index, v = adversarial(seed)
        own = anchors.double()[torch.arange(2), index]
        walls = facing(anchors, mask, index, v)
        points = (own + 1e-3 * v).to(dtype)
        nearest = locate(anchors, mask, points)
        for n in range(2):
            exists = torch.ones(anchors.shape[1], dtype=torch.bool) if mask is None else mask[n]
            all_anchors = anchors[n].double()
            normal = all_anchors - own[:, n, None]
            square = normal.square().sum(-1)
            slope = 2 * (normal * v[:, n, None]).sum(-1) / torch.where(square > 0, square, 1)
            slope = torch.where(exists & (square > 0), slope, 0.0)
            best, found = slope.amax(-1).clamp_min(0), slope.gather(-1, walls[:, n, None])[:, 0].clamp_min(0)
            worst[0] = max(worst[0], ((best - found) / best.clamp_min(1e-300)).max().item())
            distance = (points[:, n, None].double() - all_anchors).square().sum(-1).masked_fill(~exists, torch.inf)
            found = distance.gather(-1, nearest[:, n, None])[:, 0]
            worst[1] = max(worst[1], ((found - distance.amin(-1)) / distance.amin(-1).clamp_min(1e-300)).max().item())
    return worst[0], worst[1]


@compiled
def test_no_wall_is_worse_than_brute_force_finds(level):
    facing, locate = worst_losses(native.facing, native.locate, 60)
    assert facing < 1e-12
    _, wide = worst_losses(native.facing, native.locate, 60, torch.float64)
    assert wide < 1e-9
    assert locate < 1e-9  # far out anchors are told by products, not by distances


def build(where: Path, *options: str) -> ctypes.CDLL:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    flags = ["-std=c++17", "-O2", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-shared", "-fPIC", "-pthread"]
    subprocess.run([compiler, *flags, *options, str(SOURCE), "-o", str(where)], check=True, capture_output=True)
    return native._typed(ctypes.CDLL(str(where)))


@compiled
def test_without_its_margin_the_search_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(native, "_library", build(tmp_path / "cells.so", "-DMARGIN=0"))
    for dtype in (torch.float32, torch.float64):
        facing, locate = worst_losses(native.facing, native.locate, 60, dtype)
        assert facing > 1e-9
        assert locate > 1e-9


def wrong_between_far_anchors(locate) -> int:
    """How many midpoints of two far anchors, moved to one of them by what float32 does not tell, get another."""
    wrong = 0
    for seed, far in enumerate(10.0 ** torch.arange(3, 26, 2)):
        g = torch.Generator().manual_seed(seed)
        anchors = far + 1e-7 * far * torch.randn(1, 60, 2, generator=g)
        exact = anchors[0].double()
        x = exact[torch.randint(60, (200, 2), generator=g)].mean(1)
        x = x + 1e-9 * far * torch.randn(200, 2, generator=g, dtype=torch.float64)
        distance = (x[:, None] - exact).square().sum(-1)
        found = distance.gather(1, locate(anchors, None, x[:, None]))[:, 0]
        wrong += int((found > distance.amin(1) * (1 + 1e-6)).sum())
    return wrong


@compiled
def test_points_of_float64_find_their_anchors_where_float32_tells_few(level):
    assert wrong_between_far_anchors(native.locate) == 0


@compiled
def test_a_point_that_is_rounded_needs_its_margin(tmp_path, monkeypatch):
    monkeypatch.setattr(native, "_library", build(tmp_path / "cells.so", "-DROUNDED=0"))
    assert wrong_between_far_anchors(native.locate) > 0


@compiled
def test_threads_give_the_same_numbers():
    case = Case((3000, 3, 40, 3), masked=True)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            found.append(case.results(TruncatedGaussian, inverse=False))
    finally:
        torch.set_num_threads(before)
    for each, other in zip(*found, strict=True):
        assert_close(each, other, rtol=1e-5, atol=1e-6)


@compiled
@pytest.mark.parametrize("inverse", [False, True], ids=["into", "out of"])
@pytest.mark.parametrize("profile", [0, 1], ids=["softsign", "truncated Gaussian"])
@pytest.mark.parametrize("centred", [False, True], ids=["about anchors", "about centres"])
def test_centres_and_weights_are_those_of_power_cells(profile, inverse, centred):
    """Against torch's own gradients of h = |x_i - c|^2 - w_i - |x_k - c|^2 + w_k, by brute force."""
    torch.manual_seed(0)
    b, n, k, d = 30, 2, 6, 3
    anchors, weights = torch.randn(n, k, d), 0.1 * torch.rand(n, k)
    centres = anchors + 0.05 * centred * torch.randn(n, k, d)
    index, scale = torch.randint(k, (b, n)), 0.5 + torch.rand(b, n)
    x = centres[torch.arange(n), index] + (0.02 if inverse else 1) * torch.randn(b, n, d)
    leaves = [t.clone().requires_grad_() for t in (x, scale, anchors, centres, weights)]
    x, scale, anchors, centres, weights = leaves
    if not centred:
        centres = anchors
        leaves.pop(3)

    def taken(table):
        return table.double()[torch.arange(n), index]

    v = x.double() - taken(centres)
    normal = anchors.double() - taken(anchors)[:, :, None]
    to = (anchors.double() - taken(centres)[:, :, None]).square().sum(-1)
    own = (taken(anchors) - taken(centres)).square().sum(-1)
    h = to - weights.double() - (own - taken(weights))[..., None]
    slope = 2 * (normal * v[:, :, None]).sum(-1) / torch.where(h > 0, h, 1)
    gauge = torch.where(h > 0, slope, 0).amax(-1).clamp_min(0)
    kind = PROFILES[profile](scale.double())
    square = v.square().sum(-1)
    ratio, log_det = kind.inverse(gauge, 1 - gauge, square, d) if inverse else kind.forward(gauge, square, d)
    expected = (taken(centres) + ratio[..., None] * v).float(), log_det.float()
    given = centres if centred else None
    found = ops.cell_map(x, scale, anchors, None, None, None, given, weights, index, profile, inverse)[:2]
    assert_close(found[0], expected[0], rtol=1e-5, atol=1e-5)
    assert_close(found[1], expected[1], rtol=1e-5, atol=1e-5)
    ways = [torch.autograd.grad(sum(y.sum() for y in ys), leaves) for ys in (found, expected)]
    for each, other in zip(*ways, strict=True):
        assert_close(each, other, rtol=1e-4, atol=1e-4)


@compiled
def test_operations_are_whole_for_torchs_compiler():
    case = Case((5, 2, 4, 3), box=True, masked=True)
    given = (case.x, case.scale, case.anchors, case.mask, *case.walls, None, None, case.index, 1, False)
    torch.library.opcheck(ops.cell_map, tuple(t.clone().requires_grad_() if t is case.x else t for t in given))
    torch.library.opcheck(ops.locate, (case.anchors, case.mask, case.x))
    torch.library.opcheck(ops.facing, (case.anchors, case.mask, case.index, case.x.double()))


@compiled
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own, in forward mode
def test_what_the_kernel_does_not_do_is_done_by_torch():
    case = Case((6, 1, 3, 2))
    transform = CellTransform(case.cells(), case.index, profile=TruncatedGaussian(case.scale))

    def log_det(x):
        return transform.call_and_ladj(x)[1].sum()

    assert not native.usable(case.x.double())
    assert not native.usable(case.anchors.double(), points=case.x)
    x = case.x.clone().requires_grad_()
    (first,) = torch.autograd.grad(log_det(x), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x, retain_graph=True)
    with native.disabled():
        (plain,) = torch.autograd.grad(log_det(x), x, create_graph=True)
        (expected,) = torch.autograd.grad(plain.square().sum(), x)
    assert_close(first, plain)
    assert_close(second, expected, rtol=1e-4, atol=1e-4)
    assert_close(torch.func.vmap(log_det)(case.x[None]), log_det(case.x)[None])
    _, forward = torch.func.jvp(log_det, (case.x,), (torch.ones_like(case.x),))
    assert_close(forward, first.detach().sum())
    hessian = torch.func.hessian(log_det)(case.x).flatten(0, 2).flatten(1)
    (column,) = torch.autograd.grad(first.sum(), x)
    assert_close(hessian.sum(0), column.flatten(), rtol=1e-3, atol=1e-3)
    assert torch.func.vmap(case.cells().locate)(case.x[None].double()).equal(case.cells().locate(case.x)[None])
    assert_close(torch.func.grad(log_det)(case.x), first.detach())


@compiled
@pytest.mark.parametrize("wrong", [-1, 3, 2**40])
def test_an_index_of_no_cell_is_refused(wrong):
    case = Case((6, 1, 3, 2))
    case.index[4, 0] = wrong
    with pytest.raises(IndexError, match="that of no cell"):
        CellTransform(case.cells(), case.index)(case.x)
    with pytest.raises(IndexError, match="that of no cell"):
        native.facing(case.anchors, None, case.index, case.x.double())


def test_says_what_is_used(monkeypatch):
    assert native.status().startswith("kernels: ")
    monkeypatch.setenv(native.OFF, "0")
    assert native._load() == (None, "turned off by TESSFLOW_KERNELS=0")
    with native.disabled():
        assert not native.usable(torch.zeros(1))
