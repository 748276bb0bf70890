"""Cells and walls found in trees are those of brute force, whatever the anchors look like."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from brute_force import BruteForce
from tessflow.geometry import Tessellation, VoronoiTessellation, tree


def near_copies(K, D, apart):
    anchors = torch.randn(K, D, dtype=torch.float64)
    anchors[1::2] = anchors[::2] + apart * torch.randn(K // 2, D)
    return anchors


def clusters(K, D):
    return 1e3 * torch.randn(10, D, dtype=torch.float64)[torch.randint(10, (K,))] + 1e-3 * torch.randn(K, D)


def line(K, D):
    return torch.rand(K, 1, dtype=torch.float64) * torch.eye(D, dtype=torch.float64)[0]


ANCHORS = {
    "cloud": lambda K, D: torch.randn(K, D, dtype=torch.float64),
    "copies 1e-6 apart": lambda K, D: near_copies(K, D, 1e-6),
    "copies 1e-9 apart": lambda K, D: near_copies(K, D, 1e-9),
    "lattice": lambda K, D: torch.randint(-3, 4, (K, D)).double(),
    "many scales": lambda K, D: torch.randn(K, D).double() * 10 ** (12 * torch.rand(K, 1).double() - 9),
    "clusters": clusters,
    "far from the origin": lambda K, D: 1e4 + torch.randn(K, D, dtype=torch.float64),
    "line": line,
    "all equal": lambda K, D: torch.ones(K, D, dtype=torch.float64),
    "one": lambda K, D: torch.randn(1, D, dtype=torch.float64),
}


@pytest.fixture(params=ANCHORS)
def kind(request):
    return request.param


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


@pytest.mark.parametrize("D", [1, 2, 5])
@pytest.mark.parametrize("mask", [False, True], ids=["", "mask"])
@pytest.mark.parametrize("box", [False, True], ids=["", "box"])
def test_gauges_and_clearances_are_those_of_brute_force(kind, D, dtype, box, mask):
    """Rays of lengths from 1e-7 to 1e3, most of them beyond their cell or well inside; some never leave it."""
    anchors = ANCHORS[kind](300, D).to(dtype)
    exists = torch.rand(len(anchors)) < 0.7 if mask else torch.ones(len(anchors), dtype=torch.bool)
    exists[0] = True
    walls = (anchors.amin(0) - 1, anchors.amax(0) + 1) if box else (None, None)
    index = exists.nonzero().flatten()[torch.randint(int(exists.sum()), (400,))]
    v = (normalize(torch.randn(400, D).double(), dim=-1) * 10 ** (10 * torch.rand(400, 1).double() - 7)).to(dtype)
    cells = Tessellation(anchors.double(), *walls, exists if mask else None, search="tree")
    reference = BruteForce(anchors.double(), *(w if w is None else w.double() for w in walls), exists if mask else None)
    expected = reference.gauge(v.double(), index)
    assert_close(cells.gauge(v.double(), index), expected, rtol=1e-9, atol=0)
    assert_close(cells.clearance(v.double(), index), 1 - expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("D", [1, 2, 5])
def test_cells_are_those_of_brute_force(kind, D, dtype):
    anchors = ANCHORS[kind](300, D).to(dtype)
    length = 10 ** (9 * torch.rand(500, 1).double() - 7)
    x = (anchors[torch.randint(len(anchors), (500,))] + length * torch.randn(500, D)).to(dtype)
    distance = (x.double()[:, None] - anchors.double()).norm(dim=-1)
    index = Tessellation(anchors, search="tree").locate(x)
    assert_close(distance.gather(1, index[:, None])[:, 0], distance.amin(-1), rtol=1e-9, atol=0)


@pytest.mark.parametrize("D", [1, 2, 5])
@pytest.mark.parametrize("mask", [False, True], ids=["", "mask"])
def test_walls_are_those_of_the_scan(D, dtype, mask):
    anchors = torch.randn(2, 600, D, dtype=dtype)
    exists = torch.rand(2, 600) < 0.9 if mask else None
    scan, in_tree = (Tessellation(anchors, mask=exists, search=search) for search in ("scan", "tree"))
    x = 2 * torch.randn(500, 2, D, dtype=dtype)
    index = in_tree.locate(x)
    assert torch.equal(index, scan.locate(x))
    for point in (x, x.flip(0)):
        assert torch.equal(in_tree.rays(index, point=point).normal, scan.rays(index, point=point).normal)


@pytest.mark.parametrize("D", [1, 2, 5])
def test_points_and_rays_of_any_length_are_those_of_the_scan(D):
    """Also where squares are too large or too small for a number, and where there is no number."""
    lengths = torch.tensor([0.0, 1e-310, 1e-200, 1e-30, 1e30, 1e90, torch.nan], dtype=torch.float64)
    v = normalize(torch.randn(50, D).double(), dim=-1) * lengths[:, None, None]
    anchors, index = torch.randn(300, D), torch.randint(300, (7, 50))
    scan, in_tree = (Tessellation(anchors, search=search) for search in ("scan", "tree"))
    assert torch.equal(scan.locate(v), in_tree.locate(v))
    assert_close(scan.gauge(v, index), in_tree.gauge(v, index), equal_nan=True)


def test_a_tessellation_without_anchors_is_that_of_the_scan():
    exists = torch.tensor([[True] * 50, [False] * 50])
    anchors, x = torch.randn(2, 50, 2), torch.randn(30, 2, 2)
    scan, in_tree = (Tessellation(anchors, mask=exists, search=search) for search in ("scan", "tree"))
    assert torch.equal(scan.locate(x), in_tree.locate(x))
    assert_close(scan.gauge(x, scan.locate(x)), in_tree.gauge(x, scan.locate(x)))


def test_a_ray_ends_at_the_box_without_a_scan(monkeypatch):
    anchors = torch.rand(500, 3, dtype=torch.float64)
    walls = torch.zeros(3).double(), torch.ones(3).double()
    v, index = torch.randn(1000, 3).double(), torch.randint(500, (1000,))
    expected = Tessellation(anchors, *walls, search="scan").gauge(v, index)
    monkeypatch.delattr(tree, "Scan")
    assert_close(Tessellation(anchors, *walls, search="tree").gauge(v, index), expected, rtol=1e-12, atol=0)


def test_gradients_are_those_of_the_scan():
    anchors, index = torch.randn(300, 2), torch.randint(300, (50,))
    v, leaves = torch.randn(50, 2), []
    for search in ("scan", "tree"):
        leaf = anchors.clone().requires_grad_()
        Tessellation(leaf, search=search).gauge(v, index).sum().backward()
        leaves.append(leaf.grad)
    assert_close(*leaves)


@pytest.fixture
def builds(monkeypatch):
    """How many trees were built."""
    made = []
    build = tree._k_d_tree
    monkeypatch.setattr(tree, "_k_d_tree", lambda points: made.append(points) or build(points))
    return made


def test_a_tree_is_built_once_and_only_when_it_is_needed(builds):
    cells = Tessellation(torch.randn(2, 20_000, 2))
    assert cells.search == "tree"
    assert not builds
    x = torch.randn(10, 2, 2)
    for _ in range(3):
        cells.gauge(x, cells.locate(x))
    assert len(builds) == 2


def change(tessellation):
    tessellation.place(torch.randn_like(tessellation.anchors) / 10)


CHANGES = {
    "placed": lambda cells: change(cells) or cells,
    "another dtype": lambda cells: cells.double(),
    "loaded": lambda cells: cells.load_state_dict({"anchors": torch.zeros_like(cells.anchors)}) and cells,
    "copied and placed": lambda cells: [copied := copy.deepcopy(cells), change(copied)][0],
}


@pytest.mark.parametrize("box", [None, (-1.0, 1.0)], ids=str)
@pytest.mark.parametrize("name", CHANGES)
def test_a_tessellation_is_kept_until_its_anchors_are_others(name, box):
    cells = VoronoiTessellation(torch.rand(20_000, 2) - 0.5, box=box, learn=False)
    assert cells() is cells()
    assert cells().search == "tree"
    before = cells()
    after = CHANGES[name](cells)
    assert after() is not before
    anchors = after.anchors if box is None else VoronoiTessellation._made(after, None, None, None).anchors
    assert torch.equal(after().anchors, anchors)


def test_anchors_that_move_are_scanned():
    learned = VoronoiTessellation(torch.rand(20_000, 2))
    assert learned() is not learned()
    still = VoronoiTessellation(torch.rand(20_000, 2), learn=False)
    for cells in (learned(), still(torch.zeros(5, 20_000, 2))):
        assert cells.search == "scan"
