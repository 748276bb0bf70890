"""Densities q(x | y) over the cell of a discrete value y, one method a module, one interface."""

from tessflow.dequantization.base import ConditionalNoise, Dequantization, Dequantizer, StandardNoise
from tessflow.dequantization.voronoi import VoronoiDequantizer

__all__ = [
    "ConditionalNoise",
    "Dequantization",
    "Dequantizer",
    "StandardNoise",
    "VoronoiDequantizer",
]
