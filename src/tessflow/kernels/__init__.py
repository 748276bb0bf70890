"""Compiled kernels, where there are any."""

from tessflow.kernels.native import status

__all__ = ["status"]
