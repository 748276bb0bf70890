"""Normalizing flows between discrete and continuous data through learnable tessellations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tessflow.estimators import TabularFlow

__all__ = ["TabularFlow"]
__version__ = "0.1.0.dev0"


def __getattr__(name: str) -> Any:
    # pandas, scikit-learn and Lightning load only for who uses the estimator.
    if name == "TabularFlow":
        from tessflow.estimators import TabularFlow

        return TabularFlow
    raise AttributeError(f"module 'tessflow' has no attribute {name!r}")
