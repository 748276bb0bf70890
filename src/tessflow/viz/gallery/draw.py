"""The pictures of the gallery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from tessflow.datasets import planar_log_density
from tessflow.models import DisjointMixture
from tessflow.randomness import seeded
from tessflow.viz.gallery.run import MODELS, GalleryConfig, load_models, planar_rows
from tessflow.viz.plots import evaluate_density, plot_density, plot_mixture_cells, plot_points

__all__ = ["draw_overview", "draw_set"]

# Points in a picture of samples.
_POINTS = 5000


def draw_set(result: dict[str, Any], directory: Path, *, resolution: int = 250) -> Figure:
    """Draw one set: densities above, samples below, those of the mixtures over their cells.

    The first column is the truth. All densities have the same colours.

    Args:
        result: What :func:`train_pair` returned.
        directory: Where it wrote weights.
        resolution: Pixels a side of a density.
    """
    name, config = result["set"], GalleryConfig(**result["config"])
    models = load_models(name, result["seed"], config, directory)
    test = planar_rows(name, result["seed"], config)[2]
    limits = _limits(test)
    figure = Figure(figsize=(2.3 * 5, 2.3 * 2 + 0.5), layout="constrained")
    above, below = figure.subplots(2, 5)
    _draw_densities(result, models, above, limits=limits, resolution=resolution)
    for ax, title in zip(above, _titles(result), strict=True):
        ax.set_title(title, fontsize=10)
    plot_points(test[:_POINTS], below[0], limits=limits)
    with seeded(result["seed"]):
        samples = {kind: model().sample((_POINTS,)) for kind, model in models.items()}
    for ax, (kind, model) in zip(below[1:], models.items(), strict=True):
        if isinstance(model, DisjointMixture):
            plot_mixture_cells(model, ax, limits=limits, points=samples[kind])
        else:
            plot_points(samples[kind], ax, limits=limits)
    above[0].set_ylabel("density", fontsize=10)
    below[0].set_ylabel("samples", fontsize=10)
    return figure


def draw_overview(results: Sequence[dict[str, Any]], directory: Path, *, resolution: int = 150) -> Figure:
    """Draw the densities of all sets: one a column, the truth above and the models below.

    Args:
        results: What :func:`train_pair` returned, one a set.
        directory: Where it wrote weights.
        resolution: Pixels a side of a density.
    """
    rows = ("true density", *MODELS)
    figure = Figure(figsize=(1.6 * len(results) + 0.3, 1.6 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), len(results), squeeze=False)
    for column, result in zip(axes.T, results, strict=True):
        name, config = result["set"], GalleryConfig(**result["config"])
        models = load_models(name, result["seed"], config, directory)
        limits = _limits(planar_rows(name, result["seed"], config)[2])
        _draw_densities(result, models, column, limits=limits, resolution=resolution)
        column[0].set_title(name.replace("_", " "), fontsize=10)
    for ax, row in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(row, fontsize=10)
    return figure


def _draw_densities(
    result: dict[str, Any],
    models: dict[str, Any],
    axes: npt.NDArray[Any] | Sequence[Axes],
    *,
    limits: tuple[float, float],
    resolution: int,
) -> None:
    def true(x: Tensor) -> Tensor:
        return torch.from_numpy(planar_log_density(result["set"], x.numpy()))

    truth = evaluate_density(true, limits=limits, resolution=resolution)
    # A quarter above the truth (but for its highest peaks), so that a model that is too high shows it.
    highest = 1.25 * float(np.quantile(truth, 0.999))
    plot_density(truth, axes[0], limits=limits, highest=highest)
    for ax, model in zip(axes[1:], models.values(), strict=True):
        plot_density(model().log_prob, ax, limits=limits, highest=highest, resolution=resolution)


def _titles(result: dict[str, Any]) -> list[str]:
    losses = [-model["test_nats"] for model in result["models"].values()]
    values = [("truth", result["entropy_nats"]), *zip(MODELS, losses, strict=True)]
    return [f"{kind}\n{value:.3f} nats" for kind, value in values]


def _limits(points: Tensor) -> tuple[float, float]:
    """Square around 0 that all points are in but one in a thousand."""
    half = 1.05 * points.abs().amax(1).quantile(0.999).item()
    return -half, half
