"""Pictures of images: samples of every model, and samples of single components beside real images of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.config import Row
from experiments.results import read_result

__all__ = ["draw_components", "draw_samples"]


def draw_samples(rows: Sequence[Row], runs: Path) -> Figure:
    """Draw samples of each model side by side.

    Args:
        rows: Runs of one data set, one a model.
        runs: Where their samples are.
    """
    figure = Figure(figsize=(3.0 * len(rows), 3.55), layout="constrained")
    for ax, row in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
        samples = np.load(row.path(runs) / "samples.npy")
        side = int(len(samples) ** 0.5)
        _show(ax, samples[: side * side].reshape(side, side, *samples.shape[1:]))
        result = read_result(row)
        bits = "" if result is None else f"\n{result['bits']['test']:.3f} bits a dimension"
        ax.set_title(row.method_name + bits, fontsize=9)
    return figure


def draw_components(row: Row, runs: Path) -> Figure:
    """Draw test images of the commonest components of a mixture, a row each, and samples of them.

    Args:
        row: A run of a mixture.
        runs: Where its images are.
    """
    figure = Figure(figsize=(6.2, 3.5), layout="constrained")
    for ax, (name, title) in zip(
        figure.subplots(1, 2),
        (("component_images", "test images of one component a row"), ("component_samples", "samples of it")),
        strict=True,
    ):
        _show(ax, np.load(row.path(runs) / f"{name}.npy"))
        ax.set_title(title, fontsize=9)
    figure.suptitle(row.name, fontsize=10)
    return figure


def _show(ax: Axes, images: npt.NDArray[Any]) -> None:
    """Show images, uint8 of shape (rows, columns, channels, height, width), as a grid."""
    rows, columns, channels, height, width = images.shape
    gap = 2
    grid = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 128, dtype=np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = row * (height + gap), column * (width + gap)
            grid[top : top + height, left : left + width] = images[row, column].transpose(1, 2, 0)
    ax.imshow(grid if channels == 3 else grid[..., 0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.set_axis_off()
