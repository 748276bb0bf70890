"""What a cell is: stateless mathematics of Voronoi tessellations, and of intervals, on tensors."""

from tessflow.geometry.intervals import Interval, Intervals
from tessflow.geometry.tables import double, take_cells
from tessflow.geometry.tessellation import Rays, Tessellation
from tessflow.geometry.voronoi import VoronoiTessellation

__all__ = ["Interval", "Intervals", "Rays", "Tessellation", "VoronoiTessellation", "double", "take_cells"]
