"""Pictures of a training run and of learned cells, drawn into matplotlib axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from torch import Tensor

from tessflow.geometry import Tessellation

__all__ = ["plot_cells", "plot_history"]

# Paul Tol's light palette: told apart by colour-blind readers, pale enough for text.
_COLOURS = (
    "#77AADD", "#EE8866", "#EEDD88", "#FFAABB", "#99DDFF", "#44BB99", "#BBCC33", "#AAAA00", "#DDDDDD",
)  # fmt: skip


def plot_history(history: pd.DataFrame, ax: Axes, *, references: dict[str, float] | None = None) -> None:
    """Draw training and validation loss, in nats, against steps.

    Args:
        history: One row an evaluation, with columns ``step``, ``train_loss`` and ``validation``
            (:class:`~tessflow.training.TrainingResult`).
        ax: Where to draw.
        references: Names and values, in nats, of horizontal lines: floors, baselines.

    Example:
        >>> from matplotlib.figure import Figure
        >>> history = pd.DataFrame({"step": [10, 20], "train_loss": [3.0, 2.0], "validation": [-3.1, -2.2]})
        >>> plot_history(history, Figure().subplots(), references={"floor": 1.5})
    """
    ax.plot(history["step"], history["train_loss"], label="training rows", color="#4477AA")
    ax.plot(history["step"], -history["validation"], label="held-out rows", color="#EE6677")
    references = references or {}
    for name, value in references.items():
        # Under the lowest line there is no curve to run into the text.
        offset, side = (-3, "top") if value == min(references.values()) else (3, "bottom")
        ax.axhline(value, color="#888888", linewidth=0.8, linestyle="--")
        ax.annotate(
            f"{name}: {value:.2f}", (1, value), xycoords=("axes fraction", "data"), xytext=(-4, offset),
            textcoords="offset points", ha="right", va=side, fontsize=8, color="#555555",
        )  # fmt: skip
    ax.margins(y=0.08)
    ax.set(xlabel="step", ylabel="negative log-likelihood (nats a row)")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def plot_cells(
    tessellation: Tessellation,
    ax: Axes,
    *,
    labels: Sequence[str] | None = None,
    points: Tensor | None = None,
    resolution: int = 400,
) -> None:
    """Draw one variable's cells: in the plane, or where a plane through its anchors cuts them.

    In more than two dimensions the plane is that of the anchors' first two principal axes. Three anchors lie in it, and
    then the picture is complete: every point belongs to the cell that its projection is in.

    Args:
        tessellation: Anchors of shape ``(K, D)``.
        ax: Where to draw.
        labels: The names of the classes, one an existing anchor.
        points: Points ``(n, D)`` to project onto the plane.
        resolution: Pixels a side.

    Raises:
        ValueError: If the tessellation is not a single one, or labels do not fit its anchors.

    Example:
        >>> from matplotlib.figure import Figure
        >>> plot_cells(Tessellation(torch.randn(3, 4)), Figure().subplots(), labels=["a", "b", "c"])
    """
    if tessellation.shape:
        raise ValueError(f"plot_cells draws one tessellation, got {tuple(tessellation.shape)} side by side.")
    exists = (
        torch.ones(tessellation.num_cells, dtype=torch.bool) if tessellation.mask is None else tessellation.mask.cpu()
    )
    anchors = tessellation.anchors.detach().double().cpu()
    origin, axes = _plane(anchors[exists])
    at = ((anchors[exists] - origin) @ axes).numpy()
    if labels is not None and len(labels) != len(at):
        raise ValueError(f"labels must name {len(at)} classes, got {len(labels)}.")

    half = max(1.8 * float(np.abs(at).max()), 1e-6)
    line = torch.linspace(-half, half, resolution, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    cells = Tessellation(anchors, mask=exists).locate(origin + grid @ axes.mT).reshape(resolution, resolution).T.numpy()
    if cells.max() > 0:
        ax.contour(line, line, cells, np.arange(cells.max()) + 0.5, colors="white", linewidths=1.5)
    ax.imshow(
        cells % len(_COLOURS), origin="lower", extent=(-half, half, -half, half), interpolation="nearest",
        cmap=ListedColormap(_COLOURS), vmin=-0.5, vmax=len(_COLOURS) - 0.5,
    )  # fmt: skip
    if points is not None:
        shadow = ((points.detach().double().cpu() - origin) @ axes).numpy()
        ax.plot(*shadow.T, ".", markersize=1.5, color="black", alpha=0.35)
    ax.plot(*at.T, "o", color="black", markersize=5)
    for name, place in zip(labels or [""] * len(at), at, strict=True):
        ax.annotate(name, place, xytext=(6, 6), textcoords="offset points", fontsize=11, weight="bold")
    ax.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", xlabel="first axis", ylabel="second axis")


def _plane(anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Origin ``(D,)`` and two orthonormal axes ``(D, 2)`` of the plane that fits the anchors best."""
    dim = anchors.shape[-1]
    if dim == 2:
        return torch.zeros(2, dtype=anchors.dtype), torch.eye(2, dtype=anchors.dtype)
    origin = anchors.mean(0)
    # Directions of no spread, should the anchors have fewer than two others, complete the axes.
    axes = torch.linalg.svd(anchors - origin, full_matrices=True).Vh.mT[:, :2]
    if dim == 1:
        axes = torch.cat([axes, torch.zeros_like(axes)], -1)
    return origin, axes
