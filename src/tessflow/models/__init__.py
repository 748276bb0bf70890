"""What has a log-probability."""

from tessflow.models.coupling_mixture import coupling_mixture
from tessflow.models.dequantized import DequantizedFlow
from tessflow.models.discrete_flow import DiscreteFlow
from tessflow.models.disjoint import DisjointMixture, MixtureDistribution
from tessflow.models.independent import IndependentColumns
from tessflow.models.matched import MatchedFlow
from tessflow.models.variables import Number, Restriction, Variable

__all__ = [
    "DequantizedFlow",
    "DiscreteFlow",
    "DisjointMixture",
    "IndependentColumns",
    "MatchedFlow",
    "MixtureDistribution",
    "Number",
    "Restriction",
    "Variable",
    "coupling_mixture",
]
