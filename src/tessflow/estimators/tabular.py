"""A scikit-learn estimator for the distribution of tables: of categories, numbers and times, with missing values."""

from __future__ import annotations

import copy
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tessflow.dequantization.voronoi import ProfileName
from tessflow.estimators.architecture import (
    build,
    dimension_of,
    kind_of,
    learning_rate_of,
    require_fitting,
    shape_of,
    steps_of,
)
from tessflow.estimators.base import weighted_mean
from tessflow.estimators.hiding import Hiding
from tessflow.estimators.options import TabularOptions
from tessflow.estimators.order_search import chosen_order, row_count
from tessflow.estimators.queries import TableQueries
from tessflow.estimators.storage import TabularConfig
from tessflow.estimators.stream import encoded_file
from tessflow.estimators.weighting import Part, checked_weights, split_table
from tessflow.flows import NetworkName
from tessflow.models import MatchedFlow
from tessflow.tables import TableSchema, TableSource, TableWarning
from tessflow.tables.frame_kinds import FrameKind
from tessflow.tables.readings import missing_word_warnings
from tessflow.tables.schema import Unseen
from tessflow.training.checkpoint import digest
from tessflow.training.loop import Weights

__all__ = ["TabularFlow"]

Self = TypeVar("Self", bound="TabularFlow")

# Numbers that a scoring or sampling pass holds at once.
_CHUNK = 1 << 24


class TabularFlow(TableQueries):
    """The joint distribution of the columns of a table: categories, booleans, numbers, dates and times.

    Missing values are modelled: they are a class of their own, beside the categories or the numbers. So are numbers
    that come again and again (many zeros). Categories are never invented: a sample holds those seen in training, in
    the same columns with the same dtypes. Numbers have densities if they are real, and probabilities if they are whole
    or lie on a grid (prices, dates by day); :attr:`schema_` says which.

    Every row of the right types has a likelihood. A value that was not seen in training, such as a new category or a
    first missing value, is the event "something not seen", of which each column has a share of probability.

    Args:
        backbone: ``"autoregressive"`` (:class:`~tessflow.models.MatchedFlow`, the more accurate) or ``"coupling"``
            (:class:`~tessflow.models.MixedFlow`: the paper's coupling flow).
        order: In what order the autoregressive model takes the columns: ``"any"``, trained on random orders, so that
            each conditional is one of its own factors (:meth:`impute`, ``sample(given=...)``,
            ``score_samples(given=...)``, :meth:`conditional`); ``"fixed"``, the best on validation rows of a few that
            are tried, which scores faster; or ``"table"``, that of the table, so that its first columns may be given.
            ``None`` for "any" up to 64 columns and "fixed" beyond.
        scaling: How numbers are scaled: by ``"quantile"``, or to mean 0 and deviation 1 (``"standard"``).
        dimension: The dimension of the space that a column's cells tile; ``None`` for 8 in any
            order, 2 in the coupling backbone with more than 32 columns, 4 otherwise.
        profile: How noise fills a cell: ``"truncated-gaussian"``, or the paper's ``"softsign"``.
        condition_on: What the autoregressive network sees of earlier columns: their ``"cell"`` (log-likelihoods are
            exact) or a ``"point"`` in it (they are lower bounds).
        hidden_features: Widths of the hidden layers; ``None`` for (128, 128, 128), a network for each column, in any
            order, (512, 512, 512) in a fixed one and (256, 256) in the coupling backbone.
        dropout: Share of hidden units dropped while training the autoregressive network.
        layers: Number of coupling layers of the coupling backbone.
        network: Their networks, which read cells: ``"residual"``, ``"mlp"`` or ``"transformer"``, which is slow;
            ``None`` for those of the paper's flow, which see walls, but read no cells.
        max_steps: Most optimizer steps, over which the learning rate comes down; ``None`` for 128 passes over the rows,
            but at least 1,000 and at most 5,000 steps, and 5,000 of the coupling backbone.
        batch_size: Rows a step.
        learning_rate: Peak learning rate; ``None`` for 4e-3, 2e-3 in a fixed order, 8e-3 in blocks of it and in the
            coupling backbone, and 3e-2 of latent classes.
        weight_decay: Decoupled weight decay.
        validation_fraction: Share of rows set aside to choose the best weights, unless ``fit`` is given some.
        patience: Evaluations without improvement after which training stops; ``None`` for never.
        max_levels: Most atoms of a column of numbers: values with a probability of their own.
        max_categories: Most classes of a column that has a probability for each. One of more has a flow whose points
            decode to the nearest anchor, and log-likelihoods are lower bounds.
        unseen: What is done with a value that was not seen in training: it counts as "something not seen"
            (``"other"``), or is refused (``"error"``).
        orders: Over how many orders of the columns a model of any order takes the mean of a row's probability, and in
            how many it draws rows: more are better and slower. ``None`` for 8 up to 16 columns, and fewer beyond.
        blocks: Into how many blocks the columns of a fixed order are cut. Rows are then drawn in as many passes of the
            network, rather than one a column: for fast samples of wide tables, at the price of some likelihood. With
            ``blocks=1`` there is no network, but latent classes, and each conditional of some columns given others.
            ``None`` for one a column.
        components: Of how many products of its columns each block is a mixture, so that these depend on each other.
            ``None`` for 4, 16 latent classes, and 1 where each block is one column.
        warm_start: Whether a second ``fit`` goes on from the fitted weights and keeps the schema. Values that it does
            not hold count as ``unseen`` says, and options of the model and of the schema have to be those of the first.
        random_state: Seed of everything random in ``fit`` and, by default, in ``sample`` and ``score_samples``.
        accelerator: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        verbose: Whether to show progress.

    Attributes:
        options_: The options as they were used (:class:`~tessflow.estimators.options.TabularOptions`).
        schema_: The columns (:class:`~tessflow.tables.TableSchema`).
        model_: The fitted :class:`torch.nn.Module`.
        dimension_: The dimension of the space that a column's cells tile.
        has_conditionals_: Whether the model is one of columns given columns: autoregressive, and exact on cells.
        order_: The columns in the order in which the model takes them (of ``order="any"``: the first of its orders);
            ``None`` for the coupling backbone.
        frame_kind_: The kind of frame that ``fit`` was given and :meth:`sample` returns.
        lower_bound_: Whether ``score_samples`` gives lower bounds rather than exact log-likelihoods.
        result_: What training did (:class:`~tessflow.training.TrainingResult`); ``None`` for a loaded model.
        history_: One row an evaluation, a DataFrame.
        validation_score_: Mean log-likelihood of the validation rows, in nats; where it is a bound, from one sample.
            (With ``order="any"`` the validation of :attr:`history_` is the mean over random orders.)

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"coat": ["yes", "no"] * 50, "season": ["winter", "summer"] * 50})
        >>> flow = TabularFlow(max_steps=200, hidden_features=(32,), random_state=0).fit(table)
        >>> bool(flow.score(table) > -0.8)  # the exact entropy is log 2
        True
        >>> flow.sample(2, given={"season": "winter"})["coat"].tolist()
        ['yes', 'yes']
    """

    _options_type = TabularOptions
    _config_type = TabularConfig
    _schema_type = TableSchema
    _facts = ("order",)
    _build = staticmethod(build)
    _architecture = frozenset({"backbone", "order", "dimension", "profile", "condition_on"}) | frozenset(
        {"hidden_features", "dropout", "layers", "network", "blocks", "components"}
    )

    def __init__(
        self,
        backbone: Literal["autoregressive", "coupling"] = "autoregressive",
        *,
        order: Literal["any", "fixed", "table"] | None = None,
        scaling: Literal["quantile", "standard"] = "quantile",
        dimension: int | None = None,
        profile: ProfileName = "truncated-gaussian",
        condition_on: Literal["cell", "point"] = "cell",
        hidden_features: Sequence[int] | None = None,
        dropout: float = 0.1,
        layers: int = 8,
        network: NetworkName | None = "residual",
        max_steps: int | None = None,
        batch_size: int = 256,
        learning_rate: float | None = None,
        weight_decay: float = 0.01,
        validation_fraction: float = 0.1,
        patience: int | None = 10,
        max_levels: int = 64,
        max_categories: int = 1000,
        unseen: Unseen = "other",
        orders: int | None = None,
        blocks: int | None = None,
        components: int | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        accelerator: Literal["cpu", "cuda", "auto"] = "cpu",
        verbose: bool = False,
    ) -> None:
        self.backbone = backbone
        self.order = order
        self.scaling = scaling
        self.dimension = dimension
        self.profile = profile
        self.condition_on = condition_on
        self.hidden_features = hidden_features
        self.dropout = dropout
        self.layers = layers
        self.network = network
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.max_levels = max_levels
        self.max_categories = max_categories
        self.unseen = unseen
        self.orders = orders
        self.blocks = blocks
        self.components = components
        self.warm_start = warm_start
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
        sample_weight: Any = None,
        schema: TableSchema | str | os.PathLike[str] | None = None,
        X_validation: Any = None,
        directory: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Fit the joint distribution of the columns of ``X``.

        Args:
            X: A frame (pandas, polars, pyarrow, DuckDB), a dict of arrays, a 2-D array or a list of rows; or the path
                of a table file (or a `TableSource`), which is read in batches and may be larger than memory.
            y: Ignored; there for scikit-learn.
            sample_weight: How many rows each row of ``X`` counts as, shape ``(rows,)``: not negative, finite and not
                all zero. A row of weight 0 is as if it were absent. Weights of a mean below 1 are scaled to a mean of
                1, over the rows that have one. They count in all that the schema reads off the rows (frequent
                values, scales of numbers, shares of missing and of unseen values), in the validation rows and in their
                score; batches hold rows drawn with probabilities in proportion. Only for a table in memory;
                ``X_validation`` has no weights.
            schema: What the columns are: a schema, or a YAML file that declares one (``tessflow schema``); by default
                read off the rows.
            X_validation: Rows that choose the best weights; by default a random share of ``X``.
            directory: Where checkpoints and the history go. A fit that was killed, called again with the same
                arguments, goes on from the last checkpoint and ends with the same weights.

        Raises:
            TypeError: If a column is of a kind that cannot be modelled.
            ValueError: If an option is out of range, ``X`` has no rows or does not fit ``schema``,
                ``X_validation`` does not fit ``X``, weights are not as they have to be, or ``warm_start`` is to go on
                from another model.

        Warns:
            TableWarning: Before training, if a column looks like a key; or, without a ``schema``, if one has a word
                among its values that stands for a missing value elsewhere, such as NA.
        """
        options = self._options(directory)
        if isinstance(schema, (str, os.PathLike)):
            schema = TableSchema.from_yaml(schema)
        if isinstance(X, (str, os.PathLike)):
            X = TableSource(X)
        kept = self._kept_schema(options, schema)
        unseen: Unseen = options.unseen if kept else "other"
        is_declared = kept is not None or schema is not None
        share = options.validation_fraction if X_validation is None else None
        if isinstance(X, TableSource):
            if sample_weight is not None:
                raise ValueError(f"sample_weight is for a table in memory, and X is {X.path}: read it with read_table.")
            with encoded_file(X, schema, options, share or 0.0, kept=kept) as (columns, train, validation):
                rows = (train, validation if share else columns.encode(X_validation, unseen=unseen))
                self._fit(columns, rows, options, directory, is_declared=is_declared)
            self.frame_kind_ = FrameKind()
            return self
        kind = FrameKind.of(X)
        trained, aside = split_table(X, sample_weight, share, options.random_state)
        aside = aside or Part(X_validation)
        weights = trained.weights
        columns = kept or TableSchema.read(
            trained.table, schema, max_levels=options.max_levels, scaling=options.scaling, weights=weights
        )
        rows = (columns.encode(trained.table, unseen=unseen), columns.encode(aside.table, unseen=unseen))
        counts = [None if part is None else torch.from_numpy(part) for part in (weights, aside.weights)]
        self._fit(columns, rows, options, directory, is_declared=is_declared, weights=(counts[0], counts[1]))
        self.frame_kind_ = kind
        return self

    def _kept_schema(self, options: TabularOptions, schema: Any) -> TableSchema | None:
        """Return the schema of the fitted model from which a fit goes on; None if it starts anew."""
        if not options.warm_start or not hasattr(self, "model_"):
            return None
        if schema is not None:
            raise ValueError("schema is that of the first fit with warm_start=True: leave it out.")
        options.require_same_model(self.options_, self._architecture)
        return self.schema_

    def _fit(
        self,
        schema: TableSchema,
        rows: tuple[Tensor, Tensor],
        options: TabularOptions,
        directory: Any,
        *,
        is_declared: bool,
        weights: Weights = (None, None),
    ) -> None:
        require_fitting(options, schema)  # before anything is trained
        goes_on = options.warm_start and hasattr(self, "model_")
        for line in schema.summary() if options.verbose else ():
            print(line, file=sys.stderr)
        for warning in (*schema.warnings(), *(() if is_declared else missing_word_warnings(schema))):
            warnings.warn(warning, TableWarning, stacklevel=3)
        if goes_on:
            model = copy.deepcopy(self.model_)
        else:
            model = self._build(options, schema, chosen_order(options, schema, rows, weights))
            if kind_of(options, schema) in ("blocks", "classes") and isinstance(model, MatchedFlow):
                model.initialize(rows[0], weights[0])
        counted = row_count(rows[0], weights[0])
        self._train(
            model,
            schema,
            rows,
            options,
            max_steps=steps_of(options, schema, counted),
            learning_rate=learning_rate_of(options, schema),
            objective=Hiding(schema.variables, rows[0], weights[0]),
            # A small table is learned in few steps.
            evaluate_every=min(max(counted // options.batch_size, 10), 100),
            directory=directory,
            weights=weights,
            identity={"starting weights": digest(*model.state_dict().values()) if goes_on else None},
        )
        if kind_of(options, schema) == "any":  # trained and validated on random orders, and scored in one
            self.validation_score_ = weighted_mean(self._evaluate(rows[1], _log_prob), weights[1])

    def score_samples(
        self,
        X: Any,
        *,
        columns: Sequence[Any] | None = None,
        given: Sequence[Any] | None = None,
        samples: int | None = None,
        unseen: Unseen | None = None,
        orders: int | None = None,
    ) -> NDArray[np.float64]:
        """Return the log-likelihood of each row, in nats: exact, or a lower bound if ``lower_bound_``.

        Args:
            X: Rows with the columns of the training data; of a DataFrame, those that are named suffice.
            columns: Score these columns only: their marginal likelihood. All that are not given by default.
            given: Score them given these columns: a conditional likelihood.
            samples: Importance samples a row where it is a bound, 100 by default; more make it tighter.
            unseen: What is done with values that were not seen in training: the estimator's own, if ``None``.
            orders: Over how many orders of the columns to take the mean, the estimator's own if ``None``: with 1 it is
                as many times faster, and the sum of :meth:`score_columns`.

        Returns:
            Array of shape ``(rows,)``. The same call gives the same numbers. Real numbers count with their density, in
            the column's own unit; a log-likelihood can therefore be above 0.

        Raises:
            ValueError: If columns are missing or unknown, hold values of another type or beyond a declared bound, a
                value was not seen and is refused, ``samples`` < 1, or columns are named and the model has no such
                conditional (it was not fitted with ``order="any"``).

        Warns:
            TableWarning: If more than 10% of the rows hold something not seen in a column, and five times as many as
                may be expected.
        """
        check_is_fitted(self)
        samples = 100 if samples is None else samples
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}.")
        self._require_orders(orders)
        if columns is None and given is None:
            rows, options = self._encode(X, unseen), {"samples": samples}
            if orders is not None and isinstance(self.model_, MatchedFlow):
                options["orders"] = orders
            return self._evaluate(rows, lambda model, part: model.log_prob(part, **options)).astype(np.float64)
        return self._score_jointly(X, columns, given, samples, unseen, orders)

    def score(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        samples: int | None = None,
        unseen: Unseen | None = None,
        orders: int | None = None,
    ) -> float:
        """Return the mean log-likelihood of the rows, in nats; see :meth:`score_samples`."""
        scores = self.score_samples(X, samples=samples, unseen=unseen, orders=orders)
        if len(scores) == 0:
            raise ValueError("X has no rows to score: give at least one.")
        weights = None if sample_weight is None else checked_weights(sample_weight, len(scores))
        return float(np.average(scores, weights=weights))

    def _adopt(self, schema: TableSchema, model: nn.Module, options: TabularOptions, validation_score: float) -> None:
        super()._adopt(schema, model, options, validation_score)
        self.lower_bound_ = bool(model.lower_bound)
        self.dimension_ = dimension_of(options, schema)
        self.order_ = tuple(schema.names[n] for n in model.order) if isinstance(model, MatchedFlow) else None
        self.has_conditionals_ = isinstance(model, MatchedFlow) and options.condition_on == "cell"

    def _chunk(self) -> int:
        variables = len(self.schema_.columns)
        components = shape_of(self.options_, self.schema_).components
        numbers = components * (sum(self.schema_.cardinalities) + variables * 128)
        return max(1, min(4096, _CHUNK // numbers))

    @classmethod
    def _rebuild(cls, config: TabularConfig, schema: TableSchema) -> nn.Module:
        order = None if config.order is None else [schema.position(name) for name in config.order]
        return cls._build(config.parameters, schema, order)


def _log_prob(model: Any, rows: Tensor) -> Tensor:
    return model.log_prob(rows, samples=1)
