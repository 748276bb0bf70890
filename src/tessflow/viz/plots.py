"""Pictures of a training run, of learned cells and of densities in the plane, drawn into matplotlib axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from torch import Tensor

from tessflow.geometry import Tessellation
from tessflow.models import DisjointMixture

__all__ = ["evaluate_density", "plot_cells", "plot_density", "plot_history", "plot_mixture_cells", "plot_points"]

# Paul Tol's light palette: told apart by colour-blind readers, pale enough for text.
_COLOURS = (
    "#77AADD", "#EE8866", "#EEDD88", "#FFAABB", "#99DDFF", "#44BB99", "#BBCC33", "#AAAA00", "#DDDDDD",
)  # fmt: skip


def plot_history(history: pd.DataFrame, ax: Axes, *, references: dict[str, float] | None = None) -> None:
    """Draw training and validation loss, in nats, against steps.

    Args:
        history: One row an evaluation, with columns ``step``, ``training`` and ``validation``
            (:class:`~tessflow.training.TrainingResult`).
        ax: Where to draw.
        references: Names and values, in nats, of horizontal lines: floors, baselines.

    Example:
        >>> from matplotlib.figure import Figure
        >>> history = pd.DataFrame({"step": [10, 20], "training": [-3.0, -2.0], "validation": [-3.1, -2.2]})
        >>> plot_history(history, Figure().subplots(), references={"floor": 1.5})
    """
    ax.plot(history["step"], -history["training"], label="training rows", color="#4477AA")
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
    _colour_cells(cells % len(_COLOURS), ax, (-half, half))
    if points is not None:
        shadow = ((points.detach().double().cpu() - origin) @ axes).numpy()
        ax.plot(*shadow.T, ".", markersize=1.5, color="black", alpha=0.35)
    ax.plot(*at.T, "o", color="black", markersize=5)
    for name, place in zip(labels or [""] * len(at), at, strict=True):
        ax.annotate(name, place, xytext=(6, 6), textcoords="offset points", fontsize=11, weight="bold")
    ax.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", xlabel="first axis", ylabel="second axis")


def evaluate_density(
    log_density: Callable[[Tensor], Tensor], *, limits: tuple[float, float] = (-4.0, 4.0), resolution: int = 200
) -> npt.NDArray[np.float64]:
    """Evaluate a density in the plane at the centres of the pixels of a square.

    Args:
        log_density: Maps points ``(n, 2)`` to log-densities ``(n,)``, in nats: ``model().log_prob``.
        limits: Where the square starts and ends, on both axes.
        resolution: Pixels a side.

    Returns:
        Densities, shape ``(resolution, resolution)``; the first row is that of the lowest second coordinate.

    Example:
        >>> uniform = evaluate_density(lambda x: x.new_zeros(len(x)), resolution=3)
        >>> uniform.shape, float(uniform.min()), float(uniform.max())
        ((3, 3), 1.0, 1.0)
    """
    with torch.no_grad():
        parts = [log_density(part).double().cpu() for part in _pixels(limits, resolution).split(2**14)]
    return torch.cat(parts).exp().reshape(resolution, resolution).numpy()


def plot_density(
    log_density: Callable[[Tensor], Tensor] | npt.NDArray[np.float64],
    ax: Axes,
    *,
    limits: tuple[float, float] = (-4.0, 4.0),
    highest: float | None = None,
    resolution: int = 200,
) -> None:
    """Draw a density in the plane: the darker, the more.

    Args:
        log_density: Maps points ``(n, 2)`` to log-densities ``(n,)``, in nats: ``model().log_prob``; or what
            :func:`evaluate_density` made of it, for the same limits.
        ax: Where to draw.
        limits: Where the square starts and ends, on both axes.
        highest: The density of the darkest colour, the same in pictures to compare; by default the highest there is.
        resolution: Pixels a side.

    Example:
        >>> from matplotlib.figure import Figure
        >>> from torch.distributions import Independent, Normal
        >>> normal = Independent(Normal(torch.zeros(2), 1.0), 1)
        >>> plot_density(normal.log_prob, Figure().subplots(), limits=(-3, 3))
    """
    if callable(log_density):
        log_density = evaluate_density(log_density, limits=limits, resolution=resolution)
    ax.imshow(log_density, origin="lower", extent=(*limits, *limits), cmap="Blues", vmin=0, vmax=highest)
    _frame(ax, limits)


def plot_mixture_cells(
    mixture: DisjointMixture,
    ax: Axes,
    *,
    limits: tuple[float, float] = (-4.0, 4.0),
    points: Tensor | None = None,
    resolution: int = 300,
) -> None:
    """Draw the cells of a mixture over the plane and their anchors, where the data are.

    Walls are straight in the space that the cells tile. In that of the data they are curved, and only the cell that
    the mixture itself finds (:meth:`~tessflow.models.MixtureDistribution.assign`) tells where they are.

    Args:
        mixture: A mixture of two features, without context.
        ax: Where to draw.
        limits: Where the square starts and ends, on both axes.
        points: Points ``(n, 2)`` to draw over the cells.
        resolution: Pixels a side.

    Raises:
        ValueError: If the mixture has other than two features, a context, or no cells of its own.

    Example:
        >>> from matplotlib.figure import Figure
        >>> from tessflow.models import coupling_mixture
        >>> mixture = coupling_mixture(2, 8, layers=1)
        >>> mixture.initialize(torch.randn(100, 2))
        >>> plot_mixture_cells(mixture, Figure().subplots(), limits=(-3, 3))
    """
    if not isinstance(mixture, DisjointMixture):
        raise ValueError(
            f"plot_mixture_cells draws the cells of a DisjointMixture, got a {type(mixture).__name__}: of a "
            "MixtureFlow with n_cells, give model_, or of several the model_ of one of estimators_[i]."
        )
    if mixture.features != 2 or mixture.context:
        got = f"{mixture.features} features and a context of size {mixture.context}"
        raise ValueError(f"plot_mixture_cells draws mixtures of two features without context, got {got}.")
    grid = _pixels(limits, resolution).to(mixture.logits.device)
    cells = torch.cat([mixture().assign(part).cpu() for part in grid.split(2**14)]).reshape(resolution, resolution)
    with torch.no_grad():
        anchors = mixture.from_cells(mixture.tessellation().anchors).cpu().numpy()
    line = _pixel_centres(limits, resolution)
    for k in cells.unique():
        ax.contour(line, line, (cells == k).double(), [0.5], colors="white", linewidths=1.0)
    _colour_cells(_tell_apart(cells.numpy()), ax, limits, alpha=0.55)
    if points is not None:
        _scatter(points, ax)
    ax.plot(*anchors.T, "o", color="black", markersize=2.5)
    _frame(ax, limits)


def plot_points(points: Tensor, ax: Axes, *, limits: tuple[float, float] = (-4.0, 4.0)) -> None:
    """Draw points of the plane.

    Args:
        points: Points, shape ``(n, 2)``.
        ax: Where to draw.
        limits: Where the square starts and ends, on both axes.

    Example:
        >>> from matplotlib.figure import Figure
        >>> plot_points(torch.randn(100, 2), Figure().subplots())
    """
    _scatter(points, ax)
    _frame(ax, limits)


def _scatter(points: Tensor, ax: Axes) -> None:
    ax.plot(*points.detach().cpu().numpy().T, ".", markersize=1.2, markeredgewidth=0, color="black", alpha=0.6)


def _frame(ax: Axes, limits: tuple[float, float]) -> None:
    ax.set(xlim=limits, ylim=limits, aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_color("#BBBBBB")


def _colour_cells(colours: npt.NDArray[np.int64], ax: Axes, limits: tuple[float, float], *, alpha: float = 1.0) -> None:
    ax.imshow(
        colours, origin="lower", extent=(*limits, *limits), interpolation="nearest",
        cmap=ListedColormap(_COLOURS), vmin=-0.5, vmax=len(_COLOURS) - 0.5, alpha=alpha,
    )  # fmt: skip


def _tell_apart(cells: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give each cell of a picture the first colour that none of its neighbours has, as long as there are enough."""
    sides = [(cells[1:], cells[:-1]), (cells[:, 1:], cells[:, :-1])]
    pairs = np.concatenate([np.stack([a[a != b], b[a != b]], 1) for a, b in sides])
    neighbours = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    colours = np.full(cells.max() + 1, -1)
    for k in np.unique(cells):
        taken = set(colours[neighbours[neighbours[:, 0] == k, 1]])
        free = [colour for colour in range(len(_COLOURS)) if colour not in taken]
        colours[k] = free[0] if free else k % len(_COLOURS)
    return colours[cells]


def _pixel_centres(limits: tuple[float, float], resolution: int) -> Tensor:
    low, high = limits
    return low + (high - low) * (torch.arange(resolution) + 0.5) / resolution


def _pixels(limits: tuple[float, float], resolution: int) -> Tensor:
    """Centres of the pixels of a square, row by row from below: ``(resolution ** 2, 2)``."""
    line = _pixel_centres(limits, resolution)
    return torch.cartesian_prod(line, line).flip(-1)


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
