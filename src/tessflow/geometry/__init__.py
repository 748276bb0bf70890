"""What a cell is: stateless mathematics of Voronoi tessellations on tensors."""

from tessflow.geometry.tessellation import Tessellation

__all__ = ["Tessellation"]
