"""Flows and disjoint mixtures side by side on the densities in the plane: trained, tabulated and drawn.

The command `tessflow gallery` calls `train_gallery` and then `write_page`.
"""

from tessflow.viz.gallery.draw import draw_overview, draw_set
from tessflow.viz.gallery.page import write_page
from tessflow.viz.gallery.run import MODELS, GalleryConfig, build_model, is_done, train_gallery, train_pair
from tessflow.viz.gallery.table import read_results, tables

__all__ = [
    "GalleryConfig",
    "MODELS",
    "build_model",
    "train_pair",
    "train_gallery",
    "is_done",
    "read_results",
    "tables",
    "draw_set",
    "draw_overview",
    "write_page",
]
