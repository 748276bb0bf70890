"""What has a log-probability."""

from tessflow.models.averaged import AveragedDensity
from tessflow.models.characters import CharacterModel
from tessflow.models.coupling_mixture import coupling_mixture
from tessflow.models.dequantized import DequantizedFlow
from tessflow.models.dequantized_images import DequantizedImages
from tessflow.models.discrete_flow import DiscreteFlow
from tessflow.models.disjoint import DisjointMixture, MixtureDistribution
from tessflow.models.image_mixture import ImageMixture, ImageMixtureDistribution
from tessflow.models.independent import IndependentColumns
from tessflow.models.kdpp import KDPP, IndependentItems, log_elementary_symmetric
from tessflow.models.matched import MatchedFlow
from tessflow.models.matched_sets import MatchedSets
from tessflow.models.set_flow import SetFlow
from tessflow.models.variables import Ascent, Number, Restriction, Variable
from tessflow.models.warped import WarpedMixture

__all__ = [
    "Ascent",
    "AveragedDensity",
    "KDPP",
    "CharacterModel",
    "DequantizedFlow",
    "DequantizedImages",
    "DiscreteFlow",
    "DisjointMixture",
    "ImageMixture",
    "ImageMixtureDistribution",
    "IndependentColumns",
    "IndependentItems",
    "MatchedFlow",
    "MatchedSets",
    "MixtureDistribution",
    "Number",
    "Restriction",
    "SetFlow",
    "Variable",
    "WarpedMixture",
    "coupling_mixture",
    "log_elementary_symmetric",
]
