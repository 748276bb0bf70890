"""A scikit-learn estimator for the distribution of discrete tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tessflow.dequantization import VoronoiDequantizer
from tessflow.dequantization.voronoi import ProfileName
from tessflow.estimators.base import FlowEstimator, split_rows
from tessflow.estimators.options import TabularOptions
from tessflow.estimators.storage import TabularConfig
from tessflow.flows import coupling_flow
from tessflow.models import DequantizedFlow, MatchedFlow
from tessflow.tables import TableSchema
from tessflow.training import evaluate
from tessflow.training.evaluation import seeded

__all__ = ["TabularFlow"]

Self = TypeVar("Self", bound="TabularFlow")


class _Defaults(NamedTuple):
    hidden_features: tuple[int, ...]
    learning_rate: float


_DEFAULTS = {
    "autoregressive": _Defaults(hidden_features=(512, 512, 512), learning_rate=2e-3),
    "coupling": _Defaults(hidden_features=(256, 256), learning_rate=4e-3),
}

# Rows times classes that a scoring or sampling pass holds at once.
_CHUNK = 1 << 22


class TabularFlow(FlowEstimator):
    """The joint distribution of a table of categorical, boolean, ordinal and low-cardinality integer columns.

    Missing values are a category of their own. Nothing is invented: a sample holds values seen in training, in the
    same columns with the same dtypes.

    Args:
        backbone: ``"autoregressive"`` (:class:`~tessflow.models.MatchedFlow`, the more accurate) or ``"coupling"``
            (:class:`~tessflow.models.DequantizedFlow` with the paper's coupling flow).
        dimension: The dimension of the space that a column's cells tile.
        profile: How noise fills a cell: ``"truncated-gaussian"``, or the paper's ``"softsign"``.
        condition_on: What the autoregressive network sees of earlier columns: their ``"cell"`` (log-likelihoods are
            exact) or a ``"point"`` in it (they are lower bounds).
        hidden_features: Widths of the hidden layers; ``None`` for (512, 512, 512) in the autoregressive backbone and
            (256, 256) in the coupling one.
        dropout: Share of hidden units dropped while training the autoregressive network.
        layers: Number of coupling layers of the coupling backbone.
        max_steps: Most optimizer steps.
        batch_size: Rows a step.
        learning_rate: Peak learning rate; ``None`` for 2e-3 with the autoregressive backbone, 4e-3 with the coupling
            one.
        weight_decay: Decoupled weight decay.
        validation_fraction: Share of rows set aside to choose the best weights, unless ``fit`` is given some.
        patience: Evaluations without improvement after which training stops; ``None`` for never.
        max_categories: Most distinct values of a column that is not of a categorical dtype.
        random_state: Seed of everything random in ``fit`` and, by default, in ``sample`` and ``score_samples``.
        accelerator: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        verbose: Whether to show progress.

    Attributes:
        options_: The options as they were used (:class:`~tessflow.estimators.options.TabularOptions`).
        schema_: The columns (:class:`~tessflow.tables.TableSchema`).
        model_: The fitted :class:`torch.nn.Module`.
        lower_bound_: Whether ``score_samples`` gives lower bounds rather than exact log-likelihoods.
        result_: What training did (:class:`~tessflow.training.TrainingResult`); ``None`` for a loaded model.
        history_: One row an evaluation, a DataFrame.
        validation_score_: Mean log-likelihood of the validation rows, in nats; where it is a bound, from one sample.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"coat": ["yes", "no"] * 50, "season": ["winter", "summer"] * 50})
        >>> flow = TabularFlow(max_steps=200, hidden_features=(32,), random_state=0).fit(table)
        >>> bool(flow.score(table) > -0.8)  # the exact entropy is log 2
        True
        >>> flow.sample(2).columns.tolist()
        ['coat', 'season']
    """

    _options_type = TabularOptions
    _config_type = TabularConfig
    _schema_type = TableSchema
    _architecture = frozenset(
        {"backbone", "dimension", "profile", "condition_on", "hidden_features", "dropout", "layers"}
    )

    def __init__(
        self,
        backbone: Literal["autoregressive", "coupling"] = "autoregressive",
        *,
        dimension: int = 4,
        profile: ProfileName = "truncated-gaussian",
        condition_on: Literal["cell", "point"] = "cell",
        hidden_features: Sequence[int] | None = None,
        dropout: float = 0.1,
        layers: int = 8,
        max_steps: int = 5000,
        batch_size: int = 256,
        learning_rate: float | None = None,
        weight_decay: float = 0.01,
        validation_fraction: float = 0.1,
        patience: int | None = 10,
        max_categories: int = 1000,
        random_state: int | np.random.RandomState | None = None,
        accelerator: Literal["cpu", "cuda", "auto"] = "cpu",
        verbose: bool = False,
    ) -> None:
        self.backbone = backbone
        self.dimension = dimension
        self.profile = profile
        self.condition_on = condition_on
        self.hidden_features = hidden_features
        self.dropout = dropout
        self.layers = layers
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.max_categories = max_categories
        self.random_state = random_state
        self.accelerator = accelerator
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        """Say to scikit-learn what inputs are taken."""
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        return tags

    def fit(
        self: Self,
        X: Any,
        y: Any = None,
        *,
        X_validation: Any = None,
        directory: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Fit the joint distribution of the columns of ``X``.

        Args:
            X: A DataFrame, a 2-D array or a list of rows, of discrete columns.
            y: Ignored; there for scikit-learn.
            X_validation: Rows that choose the best weights; by default a random share of ``X``.
            directory: Where checkpoints and the history go. A fit that was killed, called again with the same
                arguments, goes on from the last checkpoint and ends with the same weights.

        Raises:
            TypeError: If a column is of a kind that is not discrete.
            ValueError: If an option is out of range, ``X`` has no rows, or ``X_validation`` does not fit ``X``.
        """
        options = self._options(directory)
        schema = TableSchema.infer(X, max_categories=options.max_categories)
        codes = schema.encode(X)
        rows = (
            split_rows(codes, options.validation_fraction, options.random_state)
            if X_validation is None
            else (codes, schema.encode(X_validation))
        )
        rate = _DEFAULTS[options.backbone].learning_rate if options.learning_rate is None else options.learning_rate
        self._train(self._build(options, schema), schema, rows, options, learning_rate=rate, directory=directory)
        return self

    def score_samples(self, X: Any, *, samples: int | None = None) -> NDArray[np.float64]:
        """Return the log-likelihood of each row, in nats: exact, or a lower bound if ``lower_bound_``.

        Args:
            X: Rows with the columns of the training data.
            samples: Importance samples a row where it is a bound, 100 by default; more make it tighter.

        Returns:
            Array of shape ``(rows,)``. The same call gives the same numbers.

        Raises:
            ValueError: If columns are missing or unknown, a value was not seen in training, or ``samples`` < 1.
        """
        check_is_fitted(self)
        samples = 100 if samples is None else samples
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}.")
        scores = evaluate(
            self.model_,
            self.schema_.encode(X),
            objective=lambda model, rows: model.log_prob(rows, samples=samples),
            batch_size=self._chunk(),
            seed=self.options_.random_state,
        )
        return scores.cpu().double().numpy()

    def score(self, X: Any, y: Any = None, *, samples: int | None = None) -> float:
        """Return the mean log-likelihood of the rows, in nats; see :meth:`score_samples`."""
        scores = self.score_samples(X, samples=samples)
        if len(scores) == 0:
            raise ValueError("X has no rows to score: give at least one.")
        return float(scores.mean())

    def _adopt(self, schema: TableSchema, model: nn.Module, options: TabularOptions, validation_score: float) -> None:
        super()._adopt(schema, model, options, validation_score)
        self.lower_bound_ = bool(model.lower_bound)

    def _draw(self, rows: int) -> Tensor:
        return self.model_.sample(rows)

    def _chunk(self) -> int:
        cardinalities = self.schema_.cardinalities
        classes = len(cardinalities) * (max(cardinalities) + self.options_.dimension)
        return max(1, min(4096, _CHUNK // classes))

    @staticmethod
    def _build(options: TabularOptions, schema: TableSchema) -> nn.Module:
        hidden_features = options.hidden_features or _DEFAULTS[options.backbone].hidden_features
        with seeded(options.random_state, torch.device("cpu")):
            if options.backbone == "autoregressive":
                return MatchedFlow(
                    schema.cardinalities,
                    dim=options.dimension,
                    hidden_features=hidden_features,
                    dropout=options.dropout,
                    condition_on=options.condition_on,
                    profile=options.profile,
                )
            dequantizer = VoronoiDequantizer(
                schema.cardinalities, options.dimension, profile=options.profile, hidden_features=hidden_features
            )
            flow = coupling_flow(dequantizer.features, layers=options.layers, hidden_features=hidden_features)
            return DequantizedFlow(flow, dequantizer)
