"""The schema of a table, and the codec between the table and a tensor."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from typing_extensions import Self

from tessflow.models.variables import Variable
from tessflow.tables import declared
from tessflow.tables.columns import Column
from tessflow.tables.frames import as_frame
from tessflow.tables.numbers import NumberColumn, Scaling
from tessflow.tables.tally import Tally, complete, infer

__all__ = ["AnyColumn", "TableSchema"]

AnyColumn: TypeAlias = Annotated[Column | NumberColumn, Field(discriminator="kind")]

SHOWN = 10


class TableSchema(BaseModel):
    """The columns of a table, and the codec between the table and a tensor of codes and numbers.

    Args:
        columns: The columns in order.
        array_dtype: NumPy dtype of the array from which the schema was read; None if it was a DataFrame.

    Example:
        >>> frame = pd.DataFrame({"size": [3, 1, None], "wet": [True, False, True]})
        >>> schema = TableSchema.infer(frame)
        >>> schema.cardinalities
        (3, 2)
        >>> codes = schema.encode(frame)
        >>> codes
        tensor([[1, 1],
                [0, 0],
                [2, 1]])
        >>> schema.decode(codes).equals(frame)
        True
        >>> TableSchema.model_validate_json(schema.model_dump_json()) == schema
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    columns: tuple[AnyColumn, ...]
    array_dtype: str | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if not self.columns or len(set(self.names)) < len(self.columns):
            raise ValueError("a schema needs at least one column, and distinct names")
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
    def infer(cls, table: object, *, max_levels: int = 64, scaling: Scaling = "quantile") -> Self:
        """Read the schema of a table off its rows.

        Strings, booleans and categorical dtypes are classes. So are integers, and floats that are all whole, with at
        most `max_levels` distinct values, and other floats with at most 20 that each come 20 times on average. All
        other integers, floats, dates, datetimes and durations are numbers (`NumberColumn`). Numbers are whole if all
        are multiples of 1; or, where at most half of the rows are distinct, of 0.1, 0.01, ..., 0.000001; times are
        multiples of a day, hour, minute, second, millisecond or microsecond, to which what is finer is rounded.
        A number that at least 5% of the rows hold, ten times as many as the median number, is an atom, and so are
        infinities. A missing value (None, NaN, NaT, NA) is a class of its own where one is seen; a column of one
        value, or none, is one of classes.

        Args:
            table: DataFrame, 2-D array or list of rows; or an iterator or list of DataFrames with the same columns,
                which is read once, in bounded memory: of a column with more than 100 000 distinct numbers, atoms and
                quantiles are those of a random sample of 200 000 rows.
            max_levels: Most distinct values of a column of integers that is one of classes.
            scaling: How numbers are scaled: "quantile" or "standard".

        Returns:
            The schema.

        Raises:
            TypeError: If a column holds complex, nested or mixed values, or the table is no table at all.
            ValueError: If the table is empty or its names repeat.

        Example:
            >>> schema = TableSchema.infer(pd.DataFrame({"height": [1.71, 1.82], "rooms": [2, 3]}))
            >>> [column.kind for column in schema.columns]
            ['number', 'integer']
        """
        tallies, array_dtype = _tally(table)
        columns = tuple(infer(tally, max_levels=max_levels, scaling=scaling) for tally in tallies.values())
        return cls(columns=columns, array_dtype=array_dtype)

    @classmethod
    def read(cls, table: object, declared: Self | None, *, max_levels: int, scaling: Scaling) -> Self:
        """Read the schema of a table: what is declared, `fitted` to its rows, or else what they `infer`.

        Args:
            table: As in `infer`.
            declared: A schema, whose columns decide; None if nothing is declared.
            max_levels: As in `infer`.
            scaling: As in `infer`.
        """
        if declared is not None:
            return declared.fitted(table)
        return cls.infer(table, max_levels=max_levels, scaling=scaling)

    def fitted(self, table: object) -> Self:
        r"""Complete a declared schema with what rows must give: dtypes, knots and scores, and values left out.

        Args:
            table: As in `infer`.

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
        tallies, array_dtype = _tally(table, self)
        columns = tuple(complete(column, tallies[column.name]) for column in self.columns)
        return self.model_copy(update={"columns": columns, "array_dtype": array_dtype})

    def to_yaml(self) -> str:
        """Write the schema to be edited by hand, without what `fitted` reads off the rows.

        Example:
            >>> print(TableSchema.infer(pd.DataFrame({"wet": [True, False]})).to_yaml(), end="")
            # Edit kind, resolution ...
            columns:
            - name: wet
              kind: boolean
              dtype: bool
              values: [false, true]
        """
        return declared.to_yaml(self.columns)

    @classmethod
    def from_yaml(cls, source: str | os.PathLike[str]) -> Self:
        """Read a schema that was declared in YAML; `fitted` completes it.

        Args:
            source: The text, or the path of a file (a `str` of one line is a path).

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is no YAML, or declares no schema; the message names column and field.
        """
        return declared.from_yaml(cls, source)

    def position(self, name: str | int) -> int:
        """Return the place of a column among the columns, and so among the codes.

        Raises:
            ValueError: If there is no such column.
        """
        for place, known in enumerate(self.names):
            if known == name or str(known) == name:
                return place
        known_names = ", ".join(map(repr, self.names[:SHOWN])) + (", ..." if len(self.names) > SHOWN else "")
        raise ValueError(f"there is no column {name!r}: the columns are {known_names}")

    def encode(self, table: object) -> Tensor:
        """Return the codes of a table, y[i, n] in {0..K_n-1}, followed by the numbers of its M numeric columns.

        Args:
            table: DataFrame with the schema's columns in any order, or an array or list with as many columns.

        Returns:
            An int64 tensor of shape (rows, N); if there are numeric columns, a float64 tensor of shape (rows, N + M),
            whose last M columns are their numbers, in steps of the resolution if they have one, and 0 where the code
            is not.

        Raises:
            TypeError: If the table, or a column of it, is of a kind that no schema takes.
            ValueError: If columns are missing or unknown, a value was not seen in training, a missing value or
                infinity is the first, or a number is no multiple of the resolution.

        Example:
            >>> frame = pd.DataFrame({"height": [1.71, 1.82], "rooms": [2, 3]})
            >>> TableSchema.infer(frame).encode(frame).tolist()
            [[0.0, 0.0, 1.71], [0.0, 1.0, 1.82]]
        """
        self._require_fitted()
        frame = self._align(table)
        codes, numbers = [], []
        for column in self.columns:
            if isinstance(column, Column):
                codes.append(column.encode(frame[column.name]))
            else:
                code, number = column.encode(frame[column.name])
                codes.append(code)
                numbers.append(number)
        if not numbers:
            return torch.from_numpy(np.stack(codes, axis=1))
        return torch.from_numpy(np.stack([*codes, *numbers], axis=1, dtype=np.float64))

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
        width, numeric = len(self.columns), [isinstance(column, NumberColumn) for column in self.columns]
        if y.ndim != 2 or y.shape[1] != width + sum(numeric) or y.dtype.kind not in ("iuf" if any(numeric) else "iu"):
            raise ValueError(
                f"codes are {'numbers' if any(numeric) else 'integers'} of shape (rows, {width + sum(numeric)}), "
                f"got {y.dtype} of shape {y.shape}"
            )
        codes, numbers = y[:, :width], y[:, width:].astype(np.float64)
        if not ((codes >= 0) & (codes < np.array(self.cardinalities)) & (codes == np.floor(codes))).all():
            raise ValueError(f"codes must lie between 0 and the cardinality less one, {self.cardinalities}")
        if np.isnan(numbers).any():
            raise ValueError("the numbers beside the codes must not be NaN")
        codes = codes.astype(np.int64)
        series, place = {}, 0
        for n, column in enumerate(self.columns):
            if isinstance(column, Column):
                series[n] = column.decode(codes[:, n])
            else:
                series[n] = column.decode(codes[:, n], numbers[:, place])
                place += 1
        frame = pd.DataFrame(series)
        if self.array_dtype is not None:
            return frame.to_numpy(dtype=np.dtype(self.array_dtype))
        return frame.set_axis(pd.Index(self.names), axis=1)

    def _require_fitted(self) -> None:
        for column in self.columns:
            if not column.is_fitted:
                raise ValueError(f"column {column.name!r} is declared only: complete the schema with fitted(table)")

    def _align(self, table: object) -> pd.DataFrame:
        """Return the table as a DataFrame that has the schema's columns, and no others."""
        frame, array_dtype = as_frame(table)
        if array_dtype is not None:
            if frame.shape[1] != len(self.columns):
                raise ValueError(
                    f"X has {frame.shape[1]} features, but TableSchema is expecting {len(self.columns)} "
                    "features as input"
                )
            return frame.set_axis(pd.Index(self.names), axis=1)
        # A file has turned integer names into strings.
        frame = frame.rename(columns={str(name): name for name in self.names if name not in frame.columns})
        missing = [repr(name) for name in self.names if name not in frame.columns]
        extra = [repr(name) for name in frame.columns if name not in self.names]
        if missing or extra:
            faults = [
                f"{len(names)} {word}: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
                for word, names in (("missing", missing), ("unknown", extra))
                if names
            ]
            raise ValueError(f"the table must have the columns of the training data ({'; '.join(faults)})")
        return frame


def _tally(table: object, schema: TableSchema | None = None) -> tuple[dict[str | int, Tally], str | None]:
    """Read a table once; with a schema, its columns must be those of the schema."""
    tallies: dict[str | int, Tally] = {}
    array_dtype = None
    for batch in _batches(table):
        if schema is not None:
            frame, array_dtype = schema._align(batch), as_frame(batch)[1]
        else:
            frame, array_dtype = as_frame(batch)
        frame = frame.rename(columns=_plain_name)
        if tallies and set(tallies) != set(frame.columns):
            raise ValueError(f"batches differ in their columns: {list(tallies)} and {list(frame.columns)}")
        for name, series in frame.items():
            if name not in tallies:
                tallies[name] = Tally(name)  # type: ignore[index, arg-type]
            if len(frame):
                tallies[name].add(series)  # type: ignore[index]
    if not tallies or not next(iter(tallies.values())).rows:
        raise ValueError(f"0 sample(s) (shape=(0, {len(tallies)})) while a minimum of 1 is required.")
    return tallies, array_dtype


def _batches(table: object) -> Iterable[object]:
    if isinstance(table, Iterator):
        return table
    if isinstance(table, (list, tuple)) and table and all(isinstance(batch, pd.DataFrame) for batch in table):
        return table
    return (table,)


def _plain_name(name: Any) -> str | int:
    return name if isinstance(name, str) else int(name)
