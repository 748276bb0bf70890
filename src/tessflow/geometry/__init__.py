"""What a cell is: stateless mathematics of Voronoi tessellations on tensors."""

from tessflow.geometry.tessellation import Rays, Tessellation, double, take_cells
from tessflow.geometry.voronoi import VoronoiTessellation

__all__ = ["Rays", "Tessellation", "VoronoiTessellation", "double", "take_cells"]
