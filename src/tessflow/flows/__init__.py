"""Density models of R^D, built from zuko's layers."""

from tessflow.flows.cauchy import MultivariateCauchy
from tessflow.flows.coupling import coupling_flow, coupling_layers, coupling_mask
from tessflow.flows.interval import IntervalMixture

__all__ = ["IntervalMixture", "MultivariateCauchy", "coupling_flow", "coupling_layers", "coupling_mask"]
