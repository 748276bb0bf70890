"""Images are located in their cell and lie in the box, whatever is rounded on the way."""

from __future__ import annotations

import pytest
import torch

from tessflow.geometry import Tessellation
from tessflow.transforms import CellTransform, CubeCellTransform, GaussianToCube, Softsign, TruncatedGaussian

N = 20_000


def images(kind, tessellation, index, deviation):
    """Points of a Gaussian about the anchors, or of the cube that a Gaussian makes."""
    noise = deviation * torch.randn(len(index), tessellation.dim, dtype=tessellation.anchors.dtype)
    if kind == "cube":
        return CubeCellTransform(tessellation, index)(GaussianToCube()(noise))
    profile = Softsign() if kind == "softsign" else TruncatedGaussian()
    return CellTransform(tessellation, index, profile=profile)(tessellation.anchors[index] + noise)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dim", [1, 2, 8])
@pytest.mark.parametrize("box", [False, True], ids=["free", "boxed"])
@pytest.mark.parametrize(("spread", "offset"), [(1.0, 0.0), (1.0, 10.0), (1e-3, 0.0)], ids=["even", "far", "clusters"])
@pytest.mark.parametrize("kind", ["truncated-gaussian", "softsign", "cube"])
def test_images_are_located_in_their_cell(kind, spread, offset, box, dim, dtype):
    torch.manual_seed(0)
    anchors = offset + spread * torch.randn(100, dim, dtype=dtype) + torch.randn(10, dim, dtype=dtype).repeat(10, 1)
    walls = (anchors.amin(0) - 0.1, anchors.amax(0) + 0.1) if box else (None, None)
    tessellation, index = Tessellation(anchors, *walls), torch.randint(100, (N,))
    for deviation in (2.0, 3.0, 10.0):
        z = images(kind, tessellation, index, deviation)
        assert (tessellation.locate(z) == index).all()
        if box:
            assert ((walls[0] <= z) & (z <= walls[1])).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_images_are_located_in_their_cell_side_by_side(dtype):
    torch.manual_seed(0)
    mask = torch.rand(3, 40) < 0.5
    mask[:, 5] = True
    tessellation = Tessellation(torch.randn(3, 40, 2, dtype=dtype), mask=mask)
    index = torch.multinomial(mask.double(), N, replacement=True).T
    z = CellTransform(tessellation, index)(10 * torch.randn(N, 3, 2, dtype=dtype))
    assert (tessellation.locate(z) == index).all()


def test_images_lie_in_a_box_whose_walls_their_dtype_does_not_hold():
    torch.manual_seed(0)
    for lower, upper in ((-3.3, 1.1), (1000.1, 1000.7)):
        anchors = lower + (upper - lower) * torch.rand(10, 2, dtype=torch.float64)
        walls = (torch.full((2,), wall, dtype=torch.float64) for wall in (lower, upper))
        tessellation = Tessellation(anchors, *walls)
        z = CellTransform(tessellation, torch.randint(10, (N,)))(upper + 10 * torch.randn(N, 2))
        assert z.dtype == torch.float32
        assert ((tessellation.lower <= z.double()) & (z.double() <= tessellation.upper)).all()
