"""Voronoi cells in the plane: of the anchors of a variable, or of their shadows on it."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from torch import Tensor

from tessflow.viz.report.svg import Scale, element, figure, shorten, text

__all__ = ["draw_cells", "in_the_plane", "voronoi_polygons"]

Points = NDArray[np.float64]

_SIDE, _FONT = 300, 11


def in_the_plane(anchors: Tensor) -> Points:
    """Return anchors ``(K, D)`` as points ``(K, 2)``: themselves, or in their first two principal axes if D > 2.

    Example:
        >>> import torch
        >>> in_the_plane(torch.tensor([[1.0], [2.0]])).tolist()
        [[1.0, 0.0], [2.0, 0.0]]
    """
    points: Points = anchors.detach().double().cpu().numpy()
    if points.shape[1] < 3:
        return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    centred = points - points.mean(0)
    axes = np.linalg.svd(centred, full_matrices=True)[2][:2]
    signs = np.sign(axes[np.arange(2), np.abs(axes).argmax(1)])  # an axis has no direction of its own
    return centred @ (axes * signs[:, None]).T


def voronoi_polygons(points: Points, low: Points, high: Points) -> list[Points]:
    """Return the corners of the cell of each point, cut by the box from ``low`` to ``high``.

    Example:
        >>> left, right = voronoi_polygons(np.array([[-1.0, 0.0], [1.0, 0.0]]), np.full(2, -2.0), np.full(2, 2.0))
        >>> float(left[:, 0].max()), float(right[:, 0].min())
        (0.0, 0.0)
    """
    box = np.array([[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]])
    polygons = []
    for point in points:
        distance = np.linalg.norm(points - point, axis=1)
        polygon = box
        for i in distance.argsort():
            if distance[i] == 0 or not len(polygon):
                continue
            if distance[i] > 2 * np.linalg.norm(polygon - point, axis=1).max():
                break
            polygon = _cut(polygon, points[i] - point, (points[i] + point) / 2)
        polygons.append(polygon)
    return polygons


def _cut(polygon: Points, normal: Points, wall: Points) -> Points:
    """Return the part of a convex polygon that is behind a wall."""
    ahead = (polygon - wall) @ normal
    corners = []
    for a, b, x, y in zip(polygon, np.roll(polygon, -1, 0), ahead, np.roll(ahead, -1), strict=True):
        if x <= 0:
            corners.append(a)
        if (x < 0 < y) or (y < 0 < x):
            corners.append(a + (b - a) * x / (x - y))
    return np.array(corners).reshape(-1, 2)


def draw_cells(points: Points, labels: list[str], shares: NDArray[np.float64], title: str) -> Markup:
    """Draw cells, and a dot for each anchor whose area is its share of the rows; labels where they do not overlap.

    Args:
        points: Anchors, ``(K, 2)``.
        labels: Their names.
        shares: Their shares of the rows.
        title: What the picture is of.
    """
    centre = (points.max(0) + points.min(0)) / 2
    half = 1.35 * max(float(np.abs(points - centre).max()), 1e-6)
    x = Scale(centre[0] - half, centre[0] + half, 0, _SIDE)
    y = Scale(centre[1] - half, centre[1] + half, _SIDE, 0)
    cells, dots, words = [], [], []
    taken: list[tuple[float, float, float, float]] = []
    order = np.argsort(-shares, kind="stable")
    for k, polygon in enumerate(voronoi_polygons(points, centre - half, centre + half)):
        corners = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in polygon)
        name = f"{labels[k]}: {shares[k]:.1%}"
        cells.append(element("polygon", element("title", name), points=corners, class_=f"cell c{k % 8}"))
    for k in order:
        radius = 1.5 + 14 * float(np.sqrt(shares[k]))
        a, b = x(points[k, 0]), y(points[k, 1])
        dots.append(element("circle", cx=float(a), cy=float(b), r=radius, class_="anchor"))
        label = shorten(labels[k], 16)
        if (place := _free(a, b, radius, 0.62 * _FONT * len(label), taken)) is not None:
            taken.append(place)
            words.append(text((place[0] + place[2]) / 2, place[3] - 3, label, "middle", class_="label"))
    return figure(_SIDE, _SIDE, title, *cells, *dots, *words)


def _free(
    a: float, b: float, radius: float, width: float, taken: list[tuple[float, float, float, float]]
) -> tuple[float, float, float, float] | None:
    """Return a box (left, top, right, bottom) for words beside a dot, none of which is taken."""
    gap, tall = radius + 2, _FONT + 2
    above, below, middle = b - gap - tall, b + gap, b - tall / 2
    for left, top in ((a - width / 2, above), (a - width / 2, below), (a + gap, middle), (a - gap - width, middle)):
        right, bottom = left + width, top + tall
        inside = left >= 0 and top >= 0 and right <= _SIDE and bottom <= _SIDE
        if inside and not any(left < x1 and x0 < right and top < y1 and y0 < bottom for x0, y0, x1, y1 in taken):
            return left, top, right, bottom
    return None
