"""The scikit-learn face of the library."""

from tessflow.estimators.mixture import MixtureFlow
from tessflow.estimators.tabular import TabularFlow

__all__ = ["MixtureFlow", "TabularFlow"]
