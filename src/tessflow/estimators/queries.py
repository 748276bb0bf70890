"""Questions to a fitted table model: of columns given columns, of missing values, of rows with conditions."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from tessflow.estimators.base import FlowEstimator, RandomState
from tessflow.estimators.conditional import Conditional, Strategy, impute_rows
from tessflow.estimators.partial import Conditions, Known, encode_known
from tessflow.models import MatchedFlow
from tessflow.randomness import seeded
from tessflow.tables import TableSchema, TableWarning
from tessflow.tables.filling import fill
from tessflow.tables.frame_kinds import FrameKind, collected
from tessflow.tables.frames import as_frame
from tessflow.tables.names import named
from tessflow.tables.schema import Unseen
from tessflow.tables.values import is_missing

__all__ = ["TableQueries", "warn_of_unseen"]

# The share of rows with something not seen that is worth a warning, and the fewest rows it is taken of.
_MANY_UNSEEN, _FEW = 0.1, 10


def warn_of_unseen(schema: TableSchema, counts: Mapping[Any, int], rows: int, *, stacklevel: int) -> None:
    """Warn of columns of which many rows held something not seen in training.

    Args:
        schema: The columns.
        counts: How many rows did, by column.
        rows: How many rows there were.
        stacklevel: As of `warnings.warn`, as seen from here.
    """
    for column in schema.columns if rows >= _FEW else ():
        share = counts.get(column.name, 0) / rows
        if share > _MANY_UNSEEN and share > 5 * column.expected_unseen:
            warnings.warn(
                f"column {column.name!r} holds something not seen in training in {share:.0%} of the rows, and "
                f"{100 * column.expected_unseen:.2g}% was to be expected: are these the same data?",
                TableWarning,
                stacklevel=stacklevel,
            )


def _taken(X: Any) -> tuple[FrameKind, Any]:
    """Return the kind of a table, and its rows: those of a frame as a DataFrame, others as they are."""
    kind = FrameKind.of(X)
    return kind, X if kind.is_pandas else as_frame(X)[0]


class TableQueries(FlowEstimator):
    """What a fitted model of a table answers beside the likelihood of rows."""

    frame_kind_: FrameKind = FrameKind()

    def find_unseen(self, X: Any, *, columns: Sequence[Any] | None = None) -> Any:
        """Return which values of rows were not seen in training.

        Args:
            X: Rows with the columns of the training data; of a DataFrame, those that are named suffice.
            columns: Look at these columns only; at all by default.

        Returns:
            A boolean frame of ``X``'s rows and those columns, of the kind of ``X`` (pandas for an array). The
            likelihood of such a value is that of the event "something not seen", which is easier to predict than any of
            its members: report rows without one, all rows, and the share of rows with one.

        Raises:
            ValueError: As :meth:`score_samples`.
        """
        check_is_fitted(self)
        kind, X = _taken(X)
        places = range(len(self.schema_.columns)) if columns is None else [self.schema_.position(c) for c in columns]
        rows = self.schema_.encode(X) if columns is None else encode_known(self.schema_, X, places, missing=True).rows
        found = {n: (rows[:, n] == self.schema_.columns[n].unseen).numpy() for n in places}
        names = pd.Index([self.schema_.names[n] for n in places], dtype=object)
        index = X.index if isinstance(X, pd.DataFrame) else None
        return kind.frame(pd.DataFrame(found, index=index).set_axis(names, axis=1))

    def score_columns(self, X: Any, *, samples: int | None = None, unseen: Unseen | None = None) -> Any:
        """Return what each column adds to the log-likelihood of each row, given the columns before it, in nats.

        Args:
            X: Rows with the columns of the training data.
            samples: Importance samples where it is a bound, 100 by default.
            unseen: As in :meth:`score_samples`.

        Returns:
            A frame of ``X``'s rows and columns, of the kind of ``X`` (pandas for an array). Its rows sum to the
            log-likelihood by that one order, ``score_samples(X, orders=1)``.

        Raises:
            ValueError: If the model's likelihood is no sum over columns (``backbone="coupling"`` or
                ``condition_on="point"``), or as in :meth:`score_samples`.
        """
        check_is_fitted(self)
        kind, X = _taken(X)
        samples, rows, model = 100 if samples is None else samples, self._encode(X, unseen), self._autoregressive()
        device = model.bias.device
        with seeded(self.options_.random_state, redirect=False):
            parts = [model.log_prob_of(part.to(device), samples=samples).cpu() for part in rows.split(self._chunk())]
        scores = torch.cat(parts).double().numpy()
        index = X.index if isinstance(X, pd.DataFrame) else None
        return kind.frame(pd.DataFrame(scores, columns=pd.Index(self.schema_.names, dtype=object), index=index))

    def sample(
        self,
        n_samples: int = 1,
        *,
        given: Mapping[Any, Any] | None = None,
        random_state: RandomState = None,
    ) -> Any:
        """Draw rows, perhaps of which something is given.

        Args:
            n_samples: How many.
            given: By column: a value; a tuple ``(low, high)``, with None for no bound, for a range of numbers, times,
                or ordered categories; or a list of values, one of which it is. With one range or list nothing is
                rejected; with several, rows are drawn until enough are in all: exact, and slow if that is rare. A
                value that was not seen counts as "something not seen", and is in the rows as it was given.
            random_state: Seed of the draw, or a ``SeedSequence``, ``Generator`` or ``RandomState`` of numpy; by default
                that of the estimator, so that the same call gives the same rows. See :meth:`sample_batches` for more.

        Returns:
            The columns of the training data, as the kind of frame that ``fit`` was given, or an array; of a model that
            was loaded or fitted to a file, a DataFrame of pandas.

        Raises:
            TypeError: If what is given is of another type than the column.
            ValueError: If ``n_samples`` is no integer of at least 1, what is given hardly ever comes true, was not seen
                and is refused, or the model has no such conditional (it was not fitted with ``order="any"``).

        Example:
            >>> import pandas as pd
            >>> from tessflow import TabularFlow
            >>> table = pd.DataFrame({"size": range(100), "big": [False] * 50 + [True] * 50})
            >>> flow = TabularFlow(max_steps=100, hidden_features=(16,), random_state=0).fit(table)
            >>> rows = flow.sample(5, given={"size": (60, 70)})
            >>> bool(rows["size"].between(60, 70).all())
            True
        """
        check_is_fitted(self)
        if not given:
            return self._as_fitted(self._decoded(n_samples, random_state, self.model_.sample))
        conditions, model = Conditions.of(self.schema_, given, unseen=self.options_.unseen), self._autoregressive()
        for n in conditions.allowed:
            if n in model.conditionals.uncelled:
                raise ValueError(f"column {self.schema_.names[n]!r} has too many values for a range or list: give one.")

        def draw(rows: int) -> Tensor:
            drawn = model.sample(rows, given=conditions.row, known=conditions.known, allowed=conditions.allowed)
            for n in conditions.unseen:  # no code of a value
                drawn[:, n] = 0
            return drawn

        with self._named():
            table = self._decoded(n_samples, random_state, draw)
        first = pd.DataFrame(table).iloc[0]
        # A number is drawn as the step it is in, and returned as it was given.
        altered = {
            n: given for n, given in conditions.numbers.items() if not is_missing(given) and first.iloc[n] != given
        }
        return self._as_fitted(self._with_values(table, {**altered, **conditions.unseen}))

    def _as_fitted(self, table: Any) -> Any:
        """Return drawn rows as the kind of table that the model was fitted to; an array stays one."""
        return self.frame_kind_.frame(table)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Give columns their names in what a model says of its variables."""
        try:
            yield
        except ValueError as error:
            names = self.schema_.names
            error.args = (re.sub(r"variable (\d+)", lambda n: f"column {names[int(n[1])]!r}", str(error)),)
            raise

    def _with_values(self, table: Any, values: Mapping[int, Any]) -> Any:
        """Put single values, as they were given, into columns of a table."""
        if not values:
            return table
        is_frame = isinstance(table, pd.DataFrame)
        whole = pd.DataFrame(table)
        for n, value in values.items():
            if value is None and not is_frame and table.dtype.kind == "f":
                value = np.nan
            whole[self.schema_.names[n]] = pd.Series([value] * len(whole), index=whole.index)
        return whole if is_frame else whole.to_numpy()

    def impute(
        self,
        X: Any,
        *,
        strategy: Strategy = "typical",
        random_state: RandomState = None,
        unseen: Unseen | None = None,
    ) -> Any:
        """Fill the missing values of rows; no other value is changed.

        Args:
            X: Rows with the columns of the training data, some values missing, whether or not any were in training.
            strategy: ``"typical"`` fills in the most probable class, or the median of numbers and of ordered classes,
                given what the row holds (and, of two columns in an order, the second given the first). ``"mean"`` does
                the same with the mean of numbers, in steps of the column: it has the least squared error.
                ``"sample"`` draws a value, jointly for all that are missing in a row: for multiple imputation.
            random_state: Seed of the draws, as in :meth:`sample`.
            unseen: As in :meth:`score_samples`. A known value that was not seen stays as it is.

        Returns:
            As ``X``: a DataFrame with its index, another frame, or a dict, with all of its columns; or an array. A
            column that was filled has the dtype of training, where that holds all of its values exactly, or else its
            own, or is one of objects. A column of which nothing but missing values were seen in training keeps them.

        Raises:
            ValueError: If ``strategy`` is none of these, a value was not seen in training and is refused, or the
                model was not fitted with ``order="any"``.
        """
        check_is_fitted(self)
        if strategy not in get_args(Strategy):
            raise ValueError(f"strategy must be 'typical', 'mean' or 'sample', got {strategy!r}.")
        kind, given = FrameKind.of(X), collected(X)
        X = given if kind.is_pandas else as_frame(given)[0]
        known = self._known(X, unseen)
        filled = impute_rows(
            self._with_every_conditional(),
            self.schema_,
            known,
            strategy=strategy,
            generators=self._generators(random_state),
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
        changed: list[int] = []
        places = named(whole, self.schema_.names)  # names that are written alike, in the same places
        for n, name in enumerate(self.schema_.names):
            place: Any = places.columns.get_loc(name)
            values = decoded.iloc[:, n].set_axis(whole.index)
            holes = ~known.where[:, n].numpy()
            whole[whole.columns[place]] = fill(whole.iloc[:, place], holes, values)
            changed += [place] if holes.any() else []
        if not kind.is_pandas:
            return kind.replaced(given, whole.iloc[:, changed])
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
        n, X = self.schema_.position(column), _taken(X)[1]
        absent = isinstance(X, pd.DataFrame) and not {column, str(column)} & set(X.columns)
        others = [m for m in range(len(self.schema_.columns)) if m != n] if absent else None
        known = self._known(X, unseen, others)
        index = X.index if isinstance(X, pd.DataFrame) else None
        return Conditional(self._with_every_conditional(), self.schema_, known, n, self._chunk(), index)

    def _named_places(self, columns: Any, given: Any) -> tuple[list[int], list[int]]:
        """Return the places of columns that are asked for, and of those that are given."""
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
        return wanted, behind

    def _score_jointly(
        self, X: Any, columns: Any, given: Any, samples: int, unseen: Unseen | None, orders: int | None
    ) -> NDArray[np.float64]:
        """Score some columns, given others."""
        model = self._autoregressive()
        wanted, behind = self._named_places(columns, given)
        model.order_of(behind, wanted)  # raises, if there are no such conditionals
        rows = self._known(X, unseen, [*behind, *wanted], missing=True).rows

        def score(model: MatchedFlow, part: Tensor) -> Tensor:
            return model.log_joint(part, wanted, behind, samples=samples, orders=orders)

        return self._evaluate(rows, score).astype(np.float64)

    def _require_orders(self, orders: int | None) -> None:
        """Refuse a number of orders that the model does not have."""
        if orders is not None and (not isinstance(orders, Integral) or isinstance(orders, bool) or orders < 1):
            raise ValueError(f"orders must be an integer of at least 1, got {orders!r}.")
        if (orders or 1) > 1 and not (self.has_conditionals_ and self.model_.any_order):
            raise ValueError(f"orders={orders} is for models of order='any', and this one has one order.")

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
        known = self.schema_.columns
        counts = {known[n].name: int((rows[:, n] == known[n].unseen).sum()) for n in columns}
        warn_of_unseen(self.schema_, counts, len(rows), stacklevel=5)

    def _autoregressive(self) -> MatchedFlow:
        if not isinstance(self.model_, MatchedFlow):
            raise ValueError("backbone='coupling' has no conditionals of columns: fit a TabularFlow with order='any'.")
        if self.options_.condition_on == "point":
            raise ValueError("condition_on='point' has no conditionals that are exact: fit with condition_on='cell'.")
        return self.model_

    def _with_every_conditional(self) -> MatchedFlow:
        model = self._autoregressive()
        if not model.has_every_conditional:
            raise ValueError(
                "a model of one order, which is the default beyond 64 columns, has no such conditionals: fit a "
                "TabularFlow with order='any'."
            )
        return model
