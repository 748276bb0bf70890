"""Densities q(x | y) over the cell of a discrete value y, one method a module, one interface."""

from tessflow.dequantization.argmax import ArgmaxDequantizer
from tessflow.dequantization.base import (
    ConditionalNoise,
    Dequantization,
    Dequantizer,
    NoiseName,
    StandardNoise,
)
from tessflow.dequantization.binary_argmax import BinaryArgmaxDequantizer
from tessflow.dequantization.interval import IntervalDequantizer
from tessflow.dequantization.ordinal import LogisticNoise, OrdinalDequantizer
from tessflow.dequantization.shared import SharedDequantizer
from tessflow.dequantization.simplex import SimplexDequantizer
from tessflow.dequantization.voronoi import VoronoiDequantizer

__all__ = [
    "ArgmaxDequantizer",
    "BinaryArgmaxDequantizer",
    "ConditionalNoise",
    "Dequantization",
    "Dequantizer",
    "IntervalDequantizer",
    "LogisticNoise",
    "NoiseName",
    "OrdinalDequantizer",
    "SharedDequantizer",
    "SimplexDequantizer",
    "StandardNoise",
    "VoronoiDequantizer",
]
