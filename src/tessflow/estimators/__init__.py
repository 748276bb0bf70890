"""The scikit-learn face of the library."""

from tessflow.estimators.mixture import MixtureFlow
from tessflow.estimators.sets import SetEstimator
from tessflow.estimators.tabular import TabularFlow

__all__ = ["MixtureFlow", "SetEstimator", "TabularFlow"]
