"""A scikit-learn estimator for the distribution of tables: of categories, numbers and times, with missing values."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tessflow.dequantization.voronoi import ProfileName
from tessflow.estimators.architecture import build, dimension_of, kind_of, learning_rate_of
from tessflow.estimators.base import FlowEstimator, split_places, take_rows
from tessflow.estimators.conditional import Conditional, impute_rows
from tessflow.estimators.hiding import Hiding
from tessflow.estimators.options import TabularOptions
from tessflow.estimators.partial import Conditions, Known, encode_known
from tessflow.estimators.storage import TabularConfig
from tessflow.estimators.stream import encoded_file
from tessflow.models import MatchedFlow
from tessflow.tables import TableSchema, TableSource, TableWarning
from tessflow.tables.filling import fill
from tessflow.tables.frames import as_frame
from tessflow.tables.names import named
from tessflow.tables.schema import Unseen
from tessflow.training.evaluation import seeded

__all__ = ["TabularFlow"]

Self = TypeVar("Self", bound="TabularFlow")

# Numbers that a scoring or sampling pass holds at once.
_CHUNK = 1 << 24

# The share of rows with something not seen that is worth a warning, and the fewest rows it is taken of.
_MANY_UNSEEN, _FEW = 0.1, 10


class TabularFlow(FlowEstimator):
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
            ``score_samples(given=...)``, :meth:`conditional`); or ``"fixed"``, that of the table, which scores faster.
            ``None`` for "any" up to 64 columns.
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
        max_steps: Most optimizer steps.
        batch_size: Rows a step.
        learning_rate: Peak learning rate; ``None`` for 4e-3, 2e-3 in a fixed order and 8e-3 in the coupling backbone.
        weight_decay: Decoupled weight decay.
        validation_fraction: Share of rows set aside to choose the best weights, unless ``fit`` is given some.
        patience: Evaluations without improvement after which training stops; ``None`` for never.
        max_levels: Most atoms of a column of numbers: values with a probability of their own.
        max_categories: Most classes of a column that has a probability for each. One of more has a flow whose points
            decode to the nearest anchor, and log-likelihoods are lower bounds.
        unseen: What is done with a value that was not seen in training: it counts as "something not seen"
            (``"other"``), or is refused (``"error"``).
        random_state: Seed of everything random in ``fit`` and, by default, in ``sample`` and ``score_samples``.
        accelerator: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        verbose: Whether to show progress.

    Attributes:
        options_: The options as they were used (:class:`~tessflow.estimators.options.TabularOptions`).
        schema_: The columns (:class:`~tessflow.tables.TableSchema`).
        model_: The fitted :class:`torch.nn.Module`.
        dimension_: The dimension of the space that a column's cells tile.
        has_conditionals_: Whether the model is one of columns given columns: autoregressive, and exact on cells.
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
    _architecture = frozenset(
        {"backbone", "order", "dimension", "profile", "condition_on", "hidden_features", "dropout", "layers"}
    )

    def __init__(
        self,
        backbone: Literal["autoregressive", "coupling"] = "autoregressive",
        *,
        order: Literal["any", "fixed"] | None = None,
        scaling: Literal["quantile", "standard"] = "quantile",
        dimension: int | None = None,
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
        max_levels: int = 64,
        max_categories: int = 1000,
        unseen: Unseen = "other",
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
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.max_levels = max_levels
        self.max_categories = max_categories
        self.unseen = unseen
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
        schema: TableSchema | str | os.PathLike[str] | None = None,
        X_validation: Any = None,
        directory: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Fit the joint distribution of the columns of ``X``.

        Args:
            X: A DataFrame, a 2-D array or a list of rows; or the path of a table file (or a `TableSource`), which is
                read in batches and may be larger than memory.
            y: Ignored; there for scikit-learn.
            schema: What the columns are: a schema, or a YAML file that declares one (``tessflow schema``); by default
                read off the rows.
            X_validation: Rows that choose the best weights; by default a random share of ``X``.
            directory: Where checkpoints and the history go. A fit that was killed, called again with the same
                arguments, goes on from the last checkpoint and ends with the same weights.

        Raises:
            TypeError: If a column is of a kind that cannot be modelled.
            ValueError: If an option is out of range, ``X`` has no rows or does not fit ``schema``, or
                ``X_validation`` does not fit ``X``.
        """
        options = self._options(directory)
        if isinstance(schema, (str, os.PathLike)):
            schema = TableSchema.from_yaml(schema)
        if isinstance(X, (str, os.PathLike)):
            X = TableSource(X)
        if isinstance(X, TableSource):
            share = options.validation_fraction if X_validation is None else 0.0
            with encoded_file(X, schema, options, share) as (columns, train, validation):
                rows = (train, validation if X_validation is None else columns.encode(X_validation))
                self._fit(columns, rows, options, directory)
            return self
        if X_validation is None:
            kept, aside = split_places(as_frame(X)[0].shape[0], options.validation_fraction, options.random_state)
            X, X_validation = take_rows(X, kept), take_rows(X, aside)
        columns = TableSchema.read(X, schema, max_levels=options.max_levels, scaling=options.scaling)
        self._fit(columns, (columns.encode(X), columns.encode(X_validation)), options, directory)
        return self

    def _fit(self, schema: TableSchema, rows: tuple[Tensor, Tensor], options: TabularOptions, directory: Any) -> None:
        for line in schema.summary() if options.verbose else ():
            print(line, file=sys.stderr)
        for warning in schema.warnings():
            warnings.warn(warning, TableWarning, stacklevel=3)
        self._train(
            self._build(options, schema),
            schema,
            rows,
            options,
            learning_rate=learning_rate_of(options, schema),
            objective=Hiding(schema.variables, rows[0]),
            # A small table is learned in few steps.
            evaluate_every=min(max(len(rows[0]) // options.batch_size, 10), 100),
            directory=directory,
        )
        if kind_of(options, schema) == "any":  # trained and validated on random orders, and scored in one
            self.validation_score_ = float(self._evaluate(rows[1], _log_prob).mean())

    def score_samples(
        self,
        X: Any,
        *,
        columns: Sequence[Any] | None = None,
        given: Sequence[Any] | None = None,
        samples: int | None = None,
        unseen: Unseen | None = None,
    ) -> NDArray[np.float64]:
        """Return the log-likelihood of each row, in nats: exact, or a lower bound if ``lower_bound_``.

        Args:
            X: Rows with the columns of the training data; of a DataFrame, those that are named suffice.
            columns: Score these columns only: their marginal likelihood. All that are not given by default.
            given: Score them given these columns: a conditional likelihood.
            samples: Importance samples a row where it is a bound, 100 by default; more make it tighter.
            unseen: What is done with values that were not seen in training: the estimator's own, if ``None``.

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
        if columns is None and given is None:
            rows = self._encode(X, unseen)
            return self._evaluate(rows, lambda model, part: model.log_prob(part, samples=samples)).astype(np.float64)
        return self._scores_by_column(X, columns, given, samples, unseen).sum(1)

    def score(self, X: Any, y: Any = None, *, samples: int | None = None, unseen: Unseen | None = None) -> float:
        """Return the mean log-likelihood of the rows, in nats; see :meth:`score_samples`."""
        scores = self.score_samples(X, samples=samples, unseen=unseen)
        if len(scores) == 0:
            raise ValueError("X has no rows to score: give at least one.")
        return float(scores.mean())

    def find_unseen(self, X: Any, *, columns: Sequence[Any] | None = None) -> pd.DataFrame:
        """Return which values of rows were not seen in training.

        Args:
            X: Rows with the columns of the training data; of a DataFrame, those that are named suffice.
            columns: Look at these columns only; at all by default.

        Returns:
            A boolean DataFrame of ``X``'s rows and those columns. The likelihood of such a value is that of the
            event "something not seen", which is easier to predict than any of its members: report rows without one, all
            rows, and the share of rows with one.

        Raises:
            ValueError: As :meth:`score_samples`.
        """
        check_is_fitted(self)
        places = range(len(self.schema_.columns)) if columns is None else [self.schema_.position(c) for c in columns]
        rows = self.schema_.encode(X) if columns is None else encode_known(self.schema_, X, places, missing=True).rows
        found = {n: (rows[:, n] == self.schema_.columns[n].unseen).numpy() for n in places}
        names = pd.Index([self.schema_.names[n] for n in places], dtype=object)
        return pd.DataFrame(found, index=X.index if isinstance(X, pd.DataFrame) else None).set_axis(names, axis=1)

    def score_columns(self, X: Any, *, samples: int | None = None, unseen: Unseen | None = None) -> pd.DataFrame:
        """Return what each column adds to the log-likelihood of each row, given the columns before it, in nats.

        Args:
            X: Rows with the columns of the training data.
            samples: Importance samples where it is a bound, 100 by default.
            unseen: As in :meth:`score_samples`.

        Returns:
            A DataFrame of ``X``'s rows and columns, whose rows sum to :meth:`score_samples`.

        Raises:
            ValueError: If the model's likelihood is no sum over columns (``backbone="coupling"`` or
                ``condition_on="point"``), or as in :meth:`score_samples`.
        """
        check_is_fitted(self)
        scores = self._scores_by_column(X, None, None, 100 if samples is None else samples, unseen)
        index = X.index if isinstance(X, pd.DataFrame) else None
        return pd.DataFrame(scores, columns=pd.Index(self.schema_.names, dtype=object), index=index)

    def sample(
        self,
        n_samples: int = 1,
        *,
        given: Mapping[Any, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> Any:
        """Draw rows, perhaps of which something is given.

        Args:
            n_samples: How many.
            given: By column: a value; a tuple ``(low, high)``, with None for no bound, for a range of numbers, times,
                or ordered categories; or a list of values, one of which it is. With one range or list nothing is
                rejected; with several, rows are drawn until enough are in all: exact, and slow if that is rare. A
                value that was not seen counts as "something not seen", and is in the rows as it was given.
            random_state: Seed of the draw; by default that of the estimator, so that the same call gives the same rows.

        Returns:
            A DataFrame with the columns of the training data; an array if that was one.

        Raises:
            TypeError: If what is given is of another type than the column.
            ValueError: If ``n_samples`` is no integer of at least 1, what is given hardly ever comes true, was not seen
                and is refused, or the model has no such conditional (it was not fitted with ``order="any"``).

        Example:
            >>> import pandas as pd
            >>> table = pd.DataFrame({"size": range(100), "big": [False] * 50 + [True] * 50})
            >>> flow = TabularFlow(max_steps=100, hidden_features=(16,), random_state=0).fit(table)
            >>> rows = flow.sample(5, given={"size": (60, 70)})
            >>> bool(rows["size"].between(60, 70).all())
            True
        """
        check_is_fitted(self)
        if not given:
            return self._decoded(n_samples, random_state, self.model_.sample)
        conditions, model = Conditions.of(self.schema_, given, unseen=self.options_.unseen), self._autoregressive()
        for n in conditions.allowed:
            if n in model.conditionals.uncelled:
                raise ValueError(f"column {self.schema_.names[n]!r} has too many values for a range or list: give one.")

        def draw(rows: int) -> Tensor:
            drawn = model.sample(rows, given=conditions.row, known=conditions.known, allowed=conditions.allowed)
            for n in conditions.unseen:  # no code of a value
                drawn[:, n] = 0
            return drawn

        table = self._decoded(n_samples, random_state, draw)
        return self._with_values(table, conditions.unseen)

    def _with_values(self, table: Any, values: Mapping[int, Any]) -> Any:
        """Put single values, which were not seen in training, into columns of a table."""
        for n, value in values.items():
            if isinstance(table, pd.DataFrame):
                table[self.schema_.names[n]] = pd.Series([value] * len(table), index=table.index)
            else:
                table = table.astype(object) if table.dtype.kind in "OUS" else table
                table[:, n] = value
        return table

    def impute(
        self,
        X: Any,
        *,
        strategy: Literal["typical", "sample"] = "typical",
        random_state: int | np.random.RandomState | None = None,
        unseen: Unseen | None = None,
    ) -> Any:
        """Fill the missing values of rows; no other value is changed.

        Args:
            X: Rows with the columns of the training data, some values missing, whether or not any were in training.
            strategy: ``"typical"`` fills in the most probable class, or the median of numbers and of ordered classes,
                given what the row holds. ``"sample"`` draws a value, jointly for all that are missing in a row: for
                multiple imputation.
            random_state: Seed of the draws.
            unseen: As in :meth:`score_samples`. A known value that was not seen stays as it is.

        Returns:
            As ``X``: a DataFrame with its index and all of its columns, or an array. A column that was filled has the
            dtype of training, where that holds all of its values exactly, or else its own, or is one of objects. A
            column of which nothing but missing values were seen in training keeps them.

        Raises:
            ValueError: If ``strategy`` is none of the two, a value was not seen in training and is refused, or the
                model was not fitted with ``order="any"``.
        """
        check_is_fitted(self)
        if strategy not in ("typical", "sample"):
            raise ValueError(f"strategy must be 'typical' or 'sample', got {strategy!r}.")
        known = self._known(X, unseen)
        filled = impute_rows(
            self._any_order(),
            self.schema_,
            known,
            strategy=strategy,
            seed=self._seed_of(random_state),
            chunk=self._chunk(),
        )
        last = torch.tensor(self.schema_.cardinalities) - 1
        codes = filled[:, : len(last)]
        filled[:, : len(last)] = torch.where(codes == last, 0, codes)  # of known values, which stay as they are
        decoded = pd.DataFrame(self.schema_.decode(filled))
        frame = as_frame(X)[0]
        whole = frame.copy()
        if not isinstance(X, pd.DataFrame):
            whole.columns = pd.Index(self.schema_.names)
        places = named(whole, self.schema_.names)  # names that are written alike, in the same places
        for n, name in enumerate(self.schema_.names):
            place = places.columns.get_loc(name)
            values = decoded.iloc[:, n].set_axis(whole.index)
            whole[whole.columns[place]] = fill(whole.iloc[:, place], ~known.where[:, n].numpy(), values)
        if isinstance(X, pd.DataFrame):
            return whole
        dtype = getattr(X, "dtype", None) if getattr(getattr(X, "dtype", None), "kind", "O") == "f" else None
        return whole.to_numpy(dtype=dtype)

    def conditional(self, X: Any, column: Any, *, unseen: Unseen | None = None) -> Conditional:
        """Return the distribution of one column in each row, given what is known of the other columns.

        Args:
            X: Rows with the columns of the training data; values may be missing, and so may the column itself.
            column: The name of the column.
            unseen: As in :meth:`score_samples`.

        Raises:
            ValueError: If there is no such column, a value was not seen in training and is refused, or the model was
                not fitted with ``order="any"``.
        """
        check_is_fitted(self)
        n = self.schema_.position(column)
        absent = isinstance(X, pd.DataFrame) and not {column, str(column)} & set(X.columns)
        others = [m for m in range(len(self.schema_.columns)) if m != n] if absent else None
        known = self._known(X, unseen, others)
        index = X.index if isinstance(X, pd.DataFrame) else None
        return Conditional(self._any_order(), self.schema_, known, n, self._chunk(), index)

    def _scores_by_column(
        self, X: Any, columns: Any, given: Any, samples: int, unseen: Unseen | None
    ) -> NDArray[np.float64]:
        model = self._autoregressive()
        for name, value in (("columns", columns), ("given", given)):
            if isinstance(value, str):
                raise ValueError(f"{name} is a list of columns, got the string {value!r}: write [{value!r}].")
            if value is not None and len(set(value)) < len(value):
                raise ValueError(f"{name} names a column twice: {list(value)}.")
        behind = [self.schema_.position(name) for name in (given or ())]
        others = [n for n in range(len(self.schema_.columns)) if n not in behind]
        wanted = others if columns is None else [self.schema_.position(name) for name in columns]
        if both := [self.schema_.names[n] for n in wanted if n in behind]:
            raise ValueError(f"column {both[0]!r} is to be scored and is given: name it once.")
        if columns is None and given is None:
            rows = self._encode(X, unseen)
        else:
            rows = self._known(X, unseen, [*behind, *wanted], missing=True).rows
        model.order_of(behind, wanted)  # raises, if there are no such conditionals
        device = model.bias.device
        with seeded(self.options_.random_state, device):
            parts = [
                model.log_prob_of(part.to(device), wanted, behind, samples=samples).cpu().double()
                for part in rows.split(self._chunk())
            ]
        return torch.cat(parts).numpy()

    def _encode(self, X: Any, unseen: Unseen | None) -> Tensor:
        """Encode rows, and warn if too many of their values were not seen."""
        rows = self.schema_.encode(X, unseen=self._of_unseen(unseen))
        self._warn_of_unseen(rows[:, : len(self.schema_.columns)], range(len(self.schema_.columns)))
        return rows

    def _known(
        self, X: Any, unseen: Unseen | None, columns: Sequence[int] | None = None, *, missing: bool = False
    ) -> Known:
        """Encode what is known of rows, and warn if too much of it was not seen; perhaps missing values are known."""
        known = encode_known(self.schema_, X, columns, unseen=self._of_unseen(unseen), missing=missing)
        self._warn_of_unseen(known.rows, range(len(self.schema_.columns)) if columns is None else columns)
        return known

    def _of_unseen(self, unseen: Unseen | None) -> Unseen:
        unseen = self.options_.unseen if unseen is None else unseen
        if unseen not in ("other", "error"):
            raise ValueError(f"unseen must be 'other' or 'error', got {unseen!r}.")
        return unseen

    def _warn_of_unseen(self, rows: Tensor, columns: Sequence[int]) -> None:
        if len(rows) < _FEW:
            return
        for n in columns:
            column = self.schema_.columns[n]
            share = float((rows[:, n] == column.unseen).double().mean())
            if share > _MANY_UNSEEN and share > 5 * column.expected_unseen:
                warnings.warn(
                    f"column {column.name!r} holds something not seen in training in {share:.0%} of the rows, and "
                    f"{100 * column.expected_unseen:.2g}% was to be expected: are these the same data?",
                    TableWarning,
                    stacklevel=4,
                )

    def _autoregressive(self) -> MatchedFlow:
        if not isinstance(self.model_, MatchedFlow):
            raise ValueError("backbone='coupling' has no conditionals of columns: fit a TabularFlow with order='any'.")
        if self.options_.condition_on == "point":
            raise ValueError("condition_on='point' has no conditionals that are exact: fit with condition_on='cell'.")
        return self.model_

    def _any_order(self) -> MatchedFlow:
        model = self._autoregressive()
        if not model.any_order:
            raise ValueError("a model of one order has no such conditionals: fit a TabularFlow with order='any'.")
        return model

    def _adopt(self, schema: TableSchema, model: nn.Module, options: TabularOptions, validation_score: float) -> None:
        super()._adopt(schema, model, options, validation_score)
        self.lower_bound_ = bool(model.lower_bound)
        self.dimension_ = dimension_of(options, schema)
        self.has_conditionals_ = isinstance(model, MatchedFlow) and options.condition_on == "cell"

    def _chunk(self) -> int:
        variables = len(self.schema_.columns)
        numbers = sum(self.schema_.cardinalities) + variables * (128 + 9 * variables)
        return max(1, min(4096, _CHUNK // numbers))

    @staticmethod
    def _build(options: TabularOptions, schema: TableSchema) -> nn.Module:
        return build(options, schema)


def _log_prob(model: Any, rows: Tensor) -> Tensor:
    return model.log_prob(rows, samples=1)
