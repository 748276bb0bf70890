"""Pictures of quantized data in the plane: every model's probabilities, and the cells that a flow has learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from experiments.config import Row
from experiments.quantized import build
from tessflow.datasets import quantized_entropy, quantized_pmf
from tessflow.geometry import Tessellation
from tessflow.training import load_weights
from tessflow.viz import plot_density

__all__ = ["draw"]

# Points in a picture of cells, and its pixels a side.
_POINTS, _PIXELS = 2000, 500


def draw(data: str, rows: Sequence[Row], runs: Path) -> Figure:
    """Draw the target's and every model's probabilities, and below them the cells that are in the plane.

    Args:
        data: Name of the data set, with hyphens.
        rows: Its runs, one a model.
        runs: Where their probabilities and weights are.
    """
    target = quantized_pmf(data.replace("-", "_"))
    cells = [row for row in rows if row.method.model == "voronoi" and row.method.dim == 2]
    width = 1.9 * (1 + len(rows)) + 0.8
    figure = Figure(figsize=(width, 2.5 + 2.7 * bool(cells)), layout="constrained")
    if not cells:
        _draw_probabilities(data, target, rows, runs, figure)
        return figure
    parts: Any = figure.subfigures(2, 1, height_ratios=(2.5, 2.7))
    _draw_probabilities(data, target, rows, runs, parts[0])
    _draw_cells(cells, runs, len(target), parts[1])
    return figure


def _draw_probabilities(data: str, target: Any, rows: Sequence[Row], runs: Path, figure: Any) -> None:
    axes = figure.subplots(1, 1 + len(rows), squeeze=False)[0]
    # A quarter above the target, so that a model that is too high shows it.
    limits, highest = (-0.5, len(target) - 0.5), 1.25 * target.max()
    entropy = quantized_entropy(data.replace("-", "_"))
    plot_density(target.T, axes[0], limits=limits, highest=highest)
    axes[0].set_title(f"target\nentropy {entropy:.2f} nats", fontsize=9)
    for ax, row in zip(axes[1:], rows, strict=True):
        pmf = np.load(row.path(runs) / "pmf.npy")
        plot_density(pmf.T, ax, limits=limits, highest=highest)
        divergence = float((target * np.log(np.where(target > 0, target / pmf, 1))).sum())
        sign = "≤" if row.method.model == "voronoi" else "="
        ax.set_title(f"{row.method_name}\nKL {sign} {divergence:.3f}, sum {pmf.sum():.3f}", fontsize=9)
    axes[0].set_xlabel(f"first variable, 0 to {len(target) - 1}", fontsize=8)
    axes[0].set_ylabel("second variable", fontsize=8)
    colours = ScalarMappable(Normalize(0, highest), cmap="Blues")
    figure.colorbar(colours, ax=list(axes), label="probability", fraction=0.02, extend="max").ax.tick_params(
        labelsize=7
    )


def _draw_cells(rows: Sequence[Row], runs: Path, values: int, figure: Any) -> None:
    axes = figure.subplots(1, 2 * len(rows), squeeze=False)[0]
    for row, pair in zip(rows, axes.reshape(-1, 2), strict=True):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(row.seed)
            model = build(row.method, row.budget, values)
            load_weights(model, row.path(runs) / "weights.safetensors")
            points = model.eval().flow().sample((_POINTS,)).unflatten(-1, (2, 2))
        for n, ax in enumerate(pair):
            _draw_tessellation(model.dequantizer.tessellation.variable(n), points[:, n], ax)
            ax.set_title(f"{row.method_name}\n{('first', 'second')[n]} variable", fontsize=9)
    axes[0].set_ylabel("learned cells and samples in them\n(black: anchors)", fontsize=8)
    ends = BoundaryNorm(np.arange(values + 1) - 0.5, values)
    bar = figure.colorbar(ScalarMappable(ends, _colours(values)), ax=list(axes), label="value", fraction=0.02)
    bar.set_ticks(np.unique(np.linspace(0, values - 1, min(values, 10)).round().astype(int)).tolist())
    bar.ax.tick_params(labelsize=7)
    bar.ax.minorticks_off()


def _colours(values: int) -> Colormap:
    # The brightest yellow would be lost on white.
    return ListedColormap(colormaps["viridis"](np.linspace(0, 0.92, values)))


def _draw_tessellation(tessellation: Tessellation, points: Tensor, ax: Axes) -> None:
    """Draw the cells, pale, and points in them, in the colour of their value."""
    box = None if tessellation.lower is None or tessellation.upper is None else (tessellation.lower, tessellation.upper)
    if box is not None:
        low, high = (wall.tolist() for wall in box)
    else:
        # All anchors, and all points but one in a hundred.
        seen = torch.cat([tessellation.anchors, points.quantile(torch.tensor([0.01, 0.99]), dim=0)])
        middle, half = (seen.amin(0) + seen.amax(0)) / 2, 0.55 * (seen.amax(0) - seen.amin(0)).max()
        low, high = (middle - half).tolist(), (middle + half).tolist()
    extent = (low[0], high[0], low[1], high[1])
    grid = torch.cartesian_prod(*(torch.linspace(low[d], high[d], _PIXELS) for d in (0, 1)))
    cell = tessellation.locate(grid).reshape(_PIXELS, _PIXELS).T.numpy()
    colours = _colours(tessellation.num_cells)
    ax.imshow(0.55 + 0.45 * colours(cell)[..., :3], origin="lower", extent=extent, interpolation="nearest")
    walls = np.zeros((_PIXELS, _PIXELS, 4))
    walls[..., :3] = 1
    walls[1:, :, 3] = cell[1:] != cell[:-1]
    walls[:, 1:, 3] = np.maximum(walls[:, 1:, 3], cell[:, 1:] != cell[:, :-1])
    ax.imshow(walls, origin="lower", extent=extent)
    x, y = points.T.numpy()
    ax.scatter(x, y, c=0.8 * colours(tessellation.locate(points).numpy())[:, :3], s=2, linewidths=0)
    ax.plot(*tessellation.anchors.T.numpy(), "o", color="black", markersize=min(4, 12 / tessellation.num_cells**0.5))
    ax.set(xlim=extent[:2], ylim=extent[2:], aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_color("#BBBBBB")
