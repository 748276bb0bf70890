"""The schema of a table, and the codec between the table and a tensor."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from torch import Tensor
from typing_extensions import Self

from tessflow.models.variables import Ascent, Variable
from tessflow.tables import declared
from tessflow.tables.columns import AnyColumn, Encoded, Inference, KeyColumn, NumericColumn, infer
from tessflow.tables.declared_order import (
    Pair,
    carry_bounds,
    require_kept,
    require_no_circle,
    require_pair,
    require_room,
    whole_order,
)
from tessflow.tables.frames import as_frame
from tessflow.tables.names import listed, named, place_of, require_columns
from tessflow.tables.tally import Weights, tally

__all__ = ["TableSchema", "Unseen"]

Unseen: TypeAlias = Literal["other", "error"]
"""What is done with a value that was not seen: it counts as "something not seen", or is refused."""


class TableSchema(BaseModel):
    """The columns of a table, and the codec between the table and a tensor of codes and numbers.

    Args:
        columns: The columns in order, but for keys.
        keys: Columns that are carried along, and not modelled.
        order: Pairs of names of columns of numbers or times, the first of which is never above the second. `fitted`
            carries bounds along: the second has the minimum of the first, and the first the maximum of the second, if
            its own is looser. Without bounds of its own it has their `beyond`, too.
        array_dtype: NumPy dtype of the array from which the schema was read; None if it was a DataFrame.

    Example:
        >>> frame = pd.DataFrame({"size": ["S", "L", None], "wet": [True, False, True]})
        >>> schema = TableSchema.infer(frame)
        >>> schema.cardinalities  # the last is something not seen
        (4, 3)
        >>> codes = schema.encode(frame)
        >>> codes
        tensor([[1, 1],
                [0, 0],
                [2, 1]])
        >>> schema.decode(codes).equals(frame)
        True
        >>> schema.encode(pd.DataFrame({"size": ["M"], "wet": [True]}))
        tensor([[3, 1]])
        >>> TableSchema.model_validate_json(schema.model_dump_json()) == schema
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    columns: tuple[AnyColumn, ...]
    keys: tuple[KeyColumn, ...] = ()
    order: tuple[Pair, ...] = ()
    array_dtype: str | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [*self.names, *(key.name for key in self.keys)]
        if not self.columns or len(set(names)) < len(names):
            raise ValueError("a schema needs at least one column that is modelled, and distinct names")
        for pair in self._order:
            self._ascent(*pair)
        require_no_circle(self._order)
        return self

    @property
    def names(self) -> tuple[str | int, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of classes of each column."""
        return tuple(column.cardinality for column in self.columns)

    @property
    def whole_order(self) -> tuple[Pair, ...]:
        """The pairs of `order`, and all that follow from them: of a <= b and b <= c that a <= c."""
        return whole_order(self._order)

    @property
    def _order(self) -> list[Pair]:
        """The pairs of `order`, by the columns' own names: 1 may be written "1"."""
        return [(self.names[self.position(first)], self.names[self.position(second)]) for first, second in self.order]

    @property
    def ascents(self) -> tuple[Ascent, ...]:
        """What `whole_order` says of the columns by their places."""
        return tuple(self._ascent(*pair) for pair in self.whole_order)

    def _ascent(self, *pair: str | int) -> Ascent:
        one, other = (self.position(name) for name in pair)
        first, second = require_pair(self.columns[one], self.columns[other])
        return Ascent(one, other, ratio=first.unit / second.unit)

    @property
    def _numeric(self) -> dict[str | int, NumericColumn]:
        return {column.name: column for column in self.columns if isinstance(column, NumericColumn)}

    @property
    def from_array(self) -> bool:
        """Whether the schema was read off an array or a list of rows, so that `decode` returns an array."""
        return self.array_dtype is not None

    @property
    def variables(self) -> tuple[Variable, ...]:
        """What each column is to a model.

        Raises:
            ValueError: If the schema was declared, and not yet fitted to rows.
        """
        self._require_fitted()
        return tuple(column.variable for column in self.columns)

    @classmethod
    def infer(cls, table: object, *, max_levels: int = 64, scaling: str = "quantile", weights: Weights = None) -> Self:
        """Read the schema of a table off its rows.

        Strings, booleans and categorical dtypes are classes. Integers, floats, dates, datetimes and durations are
        numbers (`NumberColumn`), whole numbers of steps of 1, 0.1, ... or 0.000001 if all but 1 in 1 000 rows have no
        more decimals, of a day, hour, minute, second, millisecond or microsecond if they are times, and real numbers
        otherwise. Atoms are all numbers, where there are at most 20 that each come 10 times on average; infinities;
        numbers that 5% of the rows hold, ten times as many as the median number; and on a grid those that come five
        times as often as steps around them. 0 is the minimum of numbers if at least 100 were seen, none is negative,
        and the smooth part of their distribution would put more than 0.1% below. A missing value (None, NaN, NaT, NA)
        is a class of its own where one is seen.

        Args:
            table: DataFrame, 2-D array or list of rows; or an iterator or list of DataFrames with the same columns,
                which is read once, in bounded memory: of a column with more than 100 000 distinct numbers, atoms and
                quantiles are those of a random sample of 200 000 rows.
            max_levels: Most atoms of a column.
            scaling: How numbers are scaled: "quantile" or "standard".
            weights: How many rows each row of a single table counts as, positive, shape (rows,); 1 by default.

        Returns:
            The schema.

        Raises:
            TypeError: If a column holds complex, nested or mixed values, or the table is no table at all.
            ValueError: If the table is empty or its names repeat.

        Example:
            >>> schema = TableSchema.infer(pd.DataFrame({"height": [1.71, 1.82], "name": ["Ann", "Bo"]}))
            >>> [column.measure for column in schema.columns]
            ['probabilities of steps of 0.01', 'probabilities of 2 classes']
        """
        tallies, array_dtype = tally(table, weights=weights)
        options = Inference(max_levels, scaling)
        columns = tuple(infer(tally, options) for tally in tallies.values())
        return cls(columns=columns, array_dtype=array_dtype)  # type: ignore[arg-type]

    @classmethod
    def read(
        cls, table: object, declared: Self | None, *, max_levels: int, scaling: str, weights: Weights = None
    ) -> Self:
        """Read the schema of a table: what is declared, `fitted` to its rows, or else what they `infer`.

        Args:
            table: As in `infer`.
            declared: A schema, whose columns decide; None if nothing is declared.
            max_levels: As in `infer`.
            scaling: As in `infer`.
            weights: As in `infer`.
        """
        if declared is not None:
            return declared.fitted(table, weights=weights)
        return cls.infer(table, max_levels=max_levels, scaling=scaling, weights=weights)

    def fitted(self, table: object, *, weights: Weights = None) -> Self:
        r"""Complete a declared schema with what rows must give: dtypes, knots and scores, and values left out.

        Args:
            table: As in `infer`.
            weights: As in `infer`.

        Returns:
            The schema, with its columns as declared.

        Raises:
            TypeError: If a column is of a kind that no schema takes.
            ValueError: If columns are missing or unknown, or a column holds what the schema does not declare.

        Example:
            >>> schema = TableSchema.from_yaml("columns:\n- {name: price, kind: number, resolution: 0.01}")
            >>> column = schema.fitted(pd.DataFrame({"price": [9.98, 10.02]})).columns[0]
            >>> column.dtype, column.knots
            ('float64', (998.0, 1002.0))
        """
        tallies, array_dtype = tally(table, self.aligned, self.names, weights)
        require_room(self._numeric, self.whole_order)
        bounded = carry_bounds(self._numeric, self._order)
        columns = tuple(bounded.get(column.name, column).complete(tallies[column.name]) for column in self.columns)
        return self.model_copy(update={"columns": columns, "array_dtype": array_dtype})

    def to_yaml(self, *, suggested: Iterable[Pair] = ()) -> str:
        """Write the schema to be edited by hand, without what `fitted` reads off the rows.

        Args:
            suggested: Pairs of columns for `order`, which go into a comment.

        Example:
            >>> print(TableSchema.infer(pd.DataFrame({"wet": [True, False]})).to_yaml(), end="")
            # Edit kind (key: not modelled), ...
            columns:
            - name: wet
              kind: boolean
              dtype: bool
              values: [false, true]
        """
        return declared.to_yaml(self.columns, self.keys, self.order, list(suggested))

    @classmethod
    def from_yaml(cls, source: str | os.PathLike[str]) -> Self:
        """Read a schema that was declared in YAML; `fitted` completes it.

        Args:
            source: The text, or the path of a file (a `str` of one line is a path).

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is no YAML, or declares no schema; the message names column and field.
        """
        where, content = declared.read(source)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ValueError(f"{where}{declared.sentence(error, content)}") from error

    def position(self, name: str | int) -> int:
        """Return the place of a column among the columns, and so among the codes.

        Raises:
            ValueError: If there is no such column.
        """
        place = place_of(name, self.names)
        if place is not None:
            return place
        raise ValueError(f"there is no column {name!r}: the columns are {listed(self.names)}")

    def summary(self) -> list[str]:
        """Say in one line a column what each is: its kind, what log-likelihoods of it are, atoms and missing values.

        Example:
            >>> for line in TableSchema.infer(pd.DataFrame({"rooms": [2, 3, None], "coat": list("aab")})).summary():
            ...     print(line)
            rooms  number       probabilities of whole numbers; missing
            coat   categorical  probabilities of 2 classes
        """
        self._require_fitted()
        width = max(len(str(column.name)) for column in (*self.columns, *self.keys))
        kinds = max(len(column.kind) for column in self.columns)
        lines = [(str(c.name), str(c.kind), "; ".join([c.measure, *c.details])) for c in self.columns]
        lines += [(str(key.name), "key", "not modelled") for key in self.keys]
        return [f"{name:{width}}  {kind:{kinds}}  {what}" for name, kind, what in lines]

    def warnings(self) -> list[str]:
        """Say in a sentence each which columns are probably not as they were meant: those that look like keys.

        Example:
            >>> frame = pd.DataFrame({"id": [f"p{i}" for i in range(200)], "wet": [True, False] * 100})
            >>> TableSchema.infer(frame).warnings()
            ["column 'id' has another value in every row: if it names rows, declare it as a key (kind: key)"]
        """
        return [
            f"column {column.name!r} has another value in every row: if it names rows, declare it as a key (kind: key)"
            for column in self.columns
            if column.looks_like_key
        ]

    def encode(self, table: object, *, unseen: Unseen = "other") -> Tensor:
        """Return the codes of a table, y[i, n] in {0..K_n-1}, followed by the numbers of its M numeric columns.

        Args:
            table: DataFrame with the schema's columns in any order, or an array or list with as many columns. Keys
                may be absent.
            unseen: Whether a value that was not seen has the last code of its column ("other"), or is refused
                ("error").

        Returns:
            An int64 tensor of shape (rows, N); if there are numeric columns, a float64 tensor of shape (rows, N + M),
            whose last M columns are their numbers, in steps of the resolution if they have one, and 0 where the code
            is not.

        Raises:
            TypeError: If the table, or a column of it, is of a kind that no schema takes.
            ValueError: If columns are missing or unknown, hold values of another type or beyond a declared bound, a
                row breaks the order of two columns, or a value was not seen and is refused.

        Example:
            >>> frame = pd.DataFrame({"height": [1.7111111, 1.8222222], "wet": [True, False]})
            >>> TableSchema.infer(frame).encode(frame).tolist()
            [[0.0, 1.0, 1.7111111], [0.0, 0.0, 1.8222222]]
        """
        self._require_fitted()
        frame = self.align(table)
        self.require_order(frame)
        encoded = [column.encode(frame[column.name]) for column in self.columns]
        if unseen == "error":
            for column, values in zip(self.columns, encoded, strict=True):
                column.require_seen(frame[column.name], values)
        codes = [column.codes for column in encoded]
        numbers = [part.numbers for part, column in zip(encoded, self.columns, strict=True) if column.numeric]
        if not numbers:
            return torch.from_numpy(np.stack(codes, axis=1))
        return torch.from_numpy(np.stack([*codes, *numbers], axis=1, dtype=np.float64))

    def require_order(self, frame: pd.DataFrame) -> None:
        """Raise a ValueError if a row breaks the order of two columns, where the frame has both."""
        require_kept(frame, self._numeric, self.whole_order)

    def decode(self, rows: Tensor | ArrayLike) -> pd.DataFrame | NDArray[np.generic]:
        """Return the table of encoded rows, with the columns, dtypes and categories of training.

        Whole numbers are rounded, and numbers beyond the range of a dtype clipped to it.

        Args:
            rows: Rows as from `encode`, of shape (rows, N + M).

        Returns:
            A DataFrame; if the schema was read off an array or list (`from_array`), an array.

        Raises:
            ValueError: If the rows have the wrong shape, codes are out of range, or a number is NaN.
        """
        self._require_fitted()
        y = np.asarray(rows)
        width, numeric = len(self.columns), [column.numeric for column in self.columns]
        if y.ndim != 2 or y.shape[1] != width + sum(numeric) or y.dtype.kind not in ("iuf" if any(numeric) else "iu"):
            raise ValueError(
                f"codes are {'numbers' if any(numeric) else 'integers'} of shape (rows, {width + sum(numeric)}), "
                f"got {y.dtype} of shape {y.shape}"
            )
        codes, numbers = y[:, :width], y[:, width:].astype(np.float64)
        known = np.array(self.cardinalities) - 1  # what was not seen is no value
        if not ((codes >= 0) & (codes < known) & (codes == np.floor(codes))).all():
            raise ValueError(f"codes must lie between 0 and the cardinality less two, {self.cardinalities}")
        if np.isnan(numbers).any():
            raise ValueError("the numbers beside the codes must not be NaN")
        codes = codes.astype(np.int64)
        places = np.cumsum(numeric) - 1
        series = {
            n: column.decode(Encoded(codes[:, n], numbers[:, places[n]] if column.numeric else np.zeros(len(codes))))
            for n, column in enumerate(self.columns)
        }
        frame = pd.DataFrame(series)
        if self.array_dtype is not None:
            return frame.to_numpy(dtype=np.dtype(self.array_dtype))
        return frame.set_axis(pd.Index(self.names), axis=1)

    def _require_fitted(self) -> None:
        for column in self.columns:
            if not column.is_fitted:
                raise ValueError(f"column {column.name!r} is declared only: complete the schema with fitted(table)")

    def aligned(self, table: object) -> pd.DataFrame:
        """Return the table as :meth:`align` does, if its columns of words are declared as such."""
        frame = self.align(table)
        declared.require_families(self.columns, frame)
        return frame

    def align(self, table: object) -> pd.DataFrame:
        """Return the table as a DataFrame that has the schema's columns, and no others but keys.

        Raises:
            TypeError: If it is no table.
            ValueError: If columns are missing or unknown.
        """
        frame, array_dtype = as_frame(table)
        if array_dtype is not None:
            if frame.shape[1] != len(self.columns):
                raise ValueError(
                    f"X has {frame.shape[1]} features, but TableSchema is expecting {len(self.columns)} "
                    "features as input"
                )
            return frame.set_axis(pd.Index(self.names), axis=1)
        frame = named(frame, [*self.names, *(key.name for key in self.keys)])
        require_columns(frame, self.names, [key.name for key in self.keys])
        return frame
