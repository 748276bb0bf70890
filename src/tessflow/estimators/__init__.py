"""The scikit-learn face of the library."""

from tessflow.estimators.tabular import TabularFlow

__all__ = ["TabularFlow"]
