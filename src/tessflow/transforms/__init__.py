"""Bijections: between R^D and the cells of a tessellation, and layers that flows are built from."""

from tessflow.transforms.actnorm import ActNorm
from tessflow.transforms.cell import CellTransform
from tessflow.transforms.cube import CubeCellTransform, GaussianToCube
from tessflow.transforms.interval import IntervalTransform
from tessflow.transforms.logistic_mixture import LogisticMixtureTransform
from tessflow.transforms.piecewise import PiecewiseLinear
from tessflow.transforms.profiles import Profile, Softsign, TruncatedGaussian
from tessflow.transforms.retessellation import Retessellation
from tessflow.transforms.whitening import GroupWhitening

__all__ = [
    "ActNorm",
    "CellTransform",
    "CubeCellTransform",
    "GaussianToCube",
    "GroupWhitening",
    "IntervalTransform",
    "LogisticMixtureTransform",
    "PiecewiseLinear",
    "Profile",
    "Retessellation",
    "Softsign",
    "TruncatedGaussian",
]
