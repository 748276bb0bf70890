"""Pictures."""

from tessflow.viz.plots import plot_cells, plot_history

__all__ = ["plot_cells", "plot_history"]
