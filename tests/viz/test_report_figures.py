import numpy as np
import pytest
import torch

from tessflow.viz.report.cells import in_the_plane, voronoi_polygons
from tessflow.viz.report.svg import ticks


@pytest.mark.parametrize("count", [1, 2, 7, 60])
def test_polygons_tile_the_box_and_hold_what_is_nearest(count):
    rng = np.random.default_rng(count)
    points, low, high = rng.normal(size=(count, 2)), np.full(2, -3.0), np.full(2, 4.0)
    polygons = voronoi_polygons(points, low, high)
    areas = [area(polygon) for polygon in polygons]
    assert sum(areas) == pytest.approx(49)
    for k, polygon in enumerate(polygons):
        middle = polygon.mean(0)
        assert np.linalg.norm(points - middle, axis=1).argmin() == k


def area(polygon):
    x, y = polygon.T
    return 0.5 * abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


def test_anchors_in_a_plane_keep_their_distances():
    torch.manual_seed(0)
    flat = torch.randn(6, 2) @ torch.linalg.qr(torch.randn(5, 5)).Q[:2]
    assert torch.pdist(torch.from_numpy(in_the_plane(flat))).numpy() == pytest.approx(
        torch.pdist(flat).numpy(), abs=1e-5
    )


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3e5, 2e6), (1e9, 1e9 + 5), (1e-9, 3e-9), (-1e300, 1e300), (2, 2)])
def test_ticks_are_told_apart_and_in_range(low, high):
    places = ticks(low, high)
    assert all(low <= place <= high for place, _ in places)
    assert len({words for _, words in places}) == len(places) > (low < high)
    for place, words in places:
        assert float(words) == pytest.approx(place, abs=(high - low) / 100)
