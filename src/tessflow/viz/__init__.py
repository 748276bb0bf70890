"""Pictures."""

from tessflow.viz.plots import (
    evaluate_density,
    plot_cells,
    plot_density,
    plot_history,
    plot_mixture_cells,
    plot_points,
)

__all__ = ["evaluate_density", "plot_cells", "plot_density", "plot_history", "plot_mixture_cells", "plot_points"]
