"""Two faces of a `TabularFlow` for scikit-learn's pipelines: one fills missing values, one finds outliers."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, OutlierMixin, TransformerMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from tessflow.estimators.base import RandomState
from tessflow.estimators.conditional import Strategy
from tessflow.estimators.tabular import TabularFlow
from tessflow.estimators.weighting import split_table
from tessflow.tables.frames import as_frame

__all__ = ["TabularImputer", "TabularOutlierDetector"]

Self = TypeVar("Self", bound="_Wrapper")


class _Wrapper(BaseEstimator):
    """An estimator that fits a clone of a flow."""

    flow: Any

    def __sklearn_tags__(self) -> Tags:
        """Say to scikit-learn what inputs are taken: those of a flow."""
        tags = super().__sklearn_tags__()
        tags.input_tags = TabularFlow().__sklearn_tags__().input_tags
        return tags

    def _fit_flow(self, X: Any, sample_weight: Any, options: dict[str, Any]) -> None:
        if sample_weight is not None:
            options = options | {"sample_weight": sample_weight}
        self.flow_ = self._unfitted().fit(X, None, **options)
        self._check(X, reset=True)

    def _unfitted(self) -> Any:
        """Return the flow to be fitted."""
        return clone(TabularFlow() if self.flow is None else self.flow)

    def _check(self, X: Any, *, reset: bool = False) -> None:
        """Check the number of the columns and their names, or note them."""
        frame, array_dtype = as_frame(X)
        validate_data(self, frame if array_dtype is None else frame.to_numpy(), reset=reset, skip_check_array=True)


class TabularImputer(TransformerMixin, OneToOneFeatureMixin, _Wrapper):
    """Fill missing values by a :class:`~tessflow.TabularFlow` of the rows: a transformer for pipelines.

    Args:
        flow: The flow, of which a clone is fitted; ``None`` for one with default options. A flow that is fitted already
            is used as it is inside a :class:`sklearn.frozen.FrozenEstimator`. It is one of ``order="any"``, which is
            also what a flow without an ``order`` gets.
        strategy: ``"typical"``, ``"mean"`` or ``"sample"``, as in
            :meth:`TabularFlow.impute <tessflow.TabularFlow.impute>`.
        random_state: Seed of the draws of ``"sample"``; ``None`` for that of the flow.

    Attributes:
        flow_: The fitted flow.
        n_features_in_: Number of columns.
        feature_names_in_: Their names, if all are strings.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"coat": ["yes", "no"] * 50, "season": ["winter", "summer"] * 50})
        >>> flow = TabularFlow(max_steps=200, hidden_features=(32,), random_state=0)
        >>> imputer = TabularImputer(flow).fit(table)
        >>> imputer.transform(pd.DataFrame({"coat": ["yes", None], "season": [None, "summer"]})).to_numpy().tolist()
        [['yes', 'winter'], ['no', 'summer']]
    """

    def __init__(
        self,
        flow: TabularFlow | None = None,
        *,
        strategy: Strategy = "typical",
        random_state: RandomState = None,
    ) -> None:
        self.flow = flow
        self.strategy = strategy
        self.random_state = random_state

    def fit(self: Self, X: Any, y: Any = None, *, sample_weight: Any = None, **options: Any) -> Self:
        """Fit the flow to rows, some values of which may be missing.

        Args:
            X: A table, as :meth:`TabularFlow.fit <tessflow.TabularFlow.fit>` takes it, but no path of a file.
            y: Ignored; there for scikit-learn.
            sample_weight: As there.
            options: Further arguments of that method.

        Raises:
            TypeError: As there.
            ValueError: As there, or if the flow is not one of any order.
        """
        self._fit_flow(X, sample_weight, options)
        return self

    def _unfitted(self) -> Any:
        flow = super()._unfitted()
        if not isinstance(flow, TabularFlow):
            return flow
        allowed = {"backbone": ("autoregressive",), "order": (None, "any"), "condition_on": ("cell",)}
        for name, values in allowed.items():
            value = getattr(flow, name)
            if not isinstance(value, (str, type(None))) or value not in values:
                raise ValueError(
                    f"a flow with {name}={value!r} does not know each column given all others: impute with "
                    f"{name}={values[-1]!r}"
                )
        return flow.set_params(order="any")

    def transform(self, X: Any) -> Any:
        """Return rows with their missing values filled; no other value is changed.

        Args:
            X: Rows with the columns of the training data.

        Returns:
            As ``X``, or as ``set_output`` says.

        Raises:
            ValueError: If columns are missing, unknown or in another order, ``strategy`` is none of these, or the
                flow was not fitted with ``order="any"``.
        """
        check_is_fitted(self)
        self._check(X)
        configured = getattr(self, "_sklearn_output_config", {}).get("transform") or get_config()["transform_output"]
        # scikit-learn makes what `set_output` says of a pandas DataFrame alone.
        rows = X if configured == "default" else as_frame(X)[0]
        return self.flow_.impute(rows, strategy=self.strategy, random_state=self.random_state)


class TabularOutlierDetector(OutlierMixin, _Wrapper):
    """Find rows that are improbable under a :class:`~tessflow.TabularFlow`, as scikit-learn's outlier detectors do.

    A row is an outlier if its log-likelihood is below that of a share of the training rows.

    Args:
        flow: The flow, of which a clone is fitted; ``None`` for one with default options. A flow that is fitted already
            is used as it is inside a :class:`sklearn.frozen.FrozenEstimator`.
        contamination: The share of the training rows that are outliers, above 0 and at most 0.5.

    Attributes:
        flow_: The fitted flow.
        offset_: The log-likelihood below which a row is an outlier, in nats: a quantile of the training rows.
        n_features_in_: Number of columns.
        feature_names_in_: Their names, if all are strings.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"coat": ["yes", "no"] * 50, "season": ["winter", "summer"] * 50})
        >>> flow = TabularFlow(max_steps=200, hidden_features=(32,), random_state=0)
        >>> detector = TabularOutlierDetector(flow, contamination=0.01).fit(table)
        >>> detector.predict(pd.DataFrame({"coat": ["no", "no"], "season": ["summer", "winter"]}))
        array([ 1, -1])
    """

    def __init__(self, flow: TabularFlow | None = None, *, contamination: float = 0.1) -> None:
        self.flow = flow
        self.contamination = contamination

    def fit(self: Self, X: Any, y: Any = None, *, sample_weight: Any = None, **options: Any) -> Self:
        """Fit the flow to rows, and find the log-likelihood below which a row is an outlier.

        Args:
            X: A table, as :meth:`TabularFlow.fit <tessflow.TabularFlow.fit>` takes it, but no path of a file.
            y: Ignored; there for scikit-learn.
            sample_weight: As there; the share of outliers is then one of the weight.
            options: Further arguments of that method.

        Raises:
            TypeError: As there.
            ValueError: As there, or if ``contamination`` is out of range.
        """
        if not 0 < self.contamination <= 0.5:
            raise ValueError(f"contamination must be above 0 and at most 0.5, got {self.contamination!r}.")
        self._fit_flow(X, sample_weight, options)
        table, weights = split_table(X, sample_weight, None, seed=0)[0]
        scores = self.flow_.score_samples(table)
        # NumPy weighs no other quantile than that.
        how: Any = {} if weights is None else {"weights": weights, "method": "inverted_cdf"}
        self.offset_ = float(np.quantile(scores, self.contamination, **how))
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the log-likelihood of each row, in nats, shape ``(rows,)``: low for outliers."""
        check_is_fitted(self, "flow_")
        self._check(X)
        return self.flow_.score_samples(X)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return :meth:`score_samples` less :attr:`offset_`, shape ``(rows,)``: negative for outliers."""
        check_is_fitted(self, "offset_")
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return -1 for outliers and 1 for other rows, shape ``(rows,)``."""
        return np.where(self.decision_function(X) < 0, -1, 1)
