"""The scikit-learn face of the library."""

from tessflow.estimators.mixture import MixtureFlow
from tessflow.estimators.sets import SetEstimator
from tessflow.estimators.tabular import TabularFlow
from tessflow.estimators.wrappers import TabularImputer, TabularOutlierDetector

__all__ = ["MixtureFlow", "SetEstimator", "TabularFlow", "TabularImputer", "TabularOutlierDetector"]
