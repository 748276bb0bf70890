"""Density models of R^D, built from zuko's layers."""

from tessflow.flows.cauchy import MultivariateCauchy
from tessflow.flows.coupling import coupling_flow, coupling_layers

__all__ = ["MultivariateCauchy", "coupling_flow", "coupling_layers"]
