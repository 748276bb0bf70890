"""Normalizing flows between discrete and continuous data through learnable tessellations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tessflow.estimators import MixtureFlow, SetEstimator, TabularFlow, TabularImputer, TabularOutlierDetector

__all__ = ["MixtureFlow", "SetEstimator", "TabularFlow", "TabularImputer", "TabularOutlierDetector"]
__version__ = "0.1.0.dev0"


def __getattr__(name: str) -> Any:
    # pandas, scikit-learn and Lightning load only for who uses an estimator.
    if name in __all__:
        from tessflow import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module 'tessflow' has no attribute {name!r}")
