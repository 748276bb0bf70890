"""Density models of R^D, built from zuko's layers."""

from tessflow.flows.block_flow import BlockFlow, MovableCells
from tessflow.flows.cauchy import MultivariateCauchy
from tessflow.flows.cell_flow import Cells, cell_flow
from tessflow.flows.coupling import coupling_flow, coupling_layers, coupling_mask
from tessflow.flows.diagonal_gaussians import DiagonalGaussians, DiagonalMixture
from tessflow.flows.equivariant import equivariant_flow
from tessflow.flows.gaussians import Gaussians, GaussiansDistribution
from tessflow.flows.image import ImageCouplings
from tessflow.flows.interval import IntervalMixture
from tessflow.flows.item_mixture import ItemMixture
from tessflow.flows.log_cauchy import LogCauchy
from tessflow.flows.networks import NetworkName, TokenNetwork
from tessflow.flows.recurrent_blocks import RecurrentBlockFlow
from tessflow.flows.recurrent_flow import RecurrentFlow, logistic_flow
from tessflow.flows.sequence import RecurrentMixture
from tessflow.flows.set_fields import AttentionField, ExclusiveField, SetField

__all__ = [
    "AttentionField",
    "BlockFlow",
    "Cells",
    "DiagonalGaussians",
    "DiagonalMixture",
    "ExclusiveField",
    "Gaussians",
    "GaussiansDistribution",
    "ImageCouplings",
    "IntervalMixture",
    "ItemMixture",
    "LogCauchy",
    "MovableCells",
    "MultivariateCauchy",
    "NetworkName",
    "RecurrentBlockFlow",
    "RecurrentFlow",
    "RecurrentMixture",
    "SetField",
    "TokenNetwork",
    "cell_flow",
    "coupling_flow",
    "coupling_layers",
    "coupling_mask",
    "equivariant_flow",
    "logistic_flow",
]
