"""Density models of R^D, built from zuko's layers."""

from tessflow.flows.cauchy import MultivariateCauchy
from tessflow.flows.coupling import coupling_flow, coupling_layers, coupling_mask
from tessflow.flows.equivariant import equivariant_flow
from tessflow.flows.gaussians import Gaussians, GaussiansDistribution
from tessflow.flows.image import ImageCouplings
from tessflow.flows.interval import IntervalMixture
from tessflow.flows.item_mixture import ItemMixture
from tessflow.flows.log_cauchy import LogCauchy
from tessflow.flows.sequence import RecurrentMixture
from tessflow.flows.set_fields import AttentionField, ExclusiveField, SetField

__all__ = [
    "AttentionField",
    "ExclusiveField",
    "Gaussians",
    "GaussiansDistribution",
    "ImageCouplings",
    "IntervalMixture",
    "ItemMixture",
    "LogCauchy",
    "MultivariateCauchy",
    "RecurrentMixture",
    "SetField",
    "coupling_flow",
    "coupling_layers",
    "coupling_mask",
    "equivariant_flow",
]
