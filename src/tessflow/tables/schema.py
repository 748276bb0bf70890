"""The schema of a table of categories, and the codec between the table and integer codes."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor
from typing_extensions import Self

from tessflow.tables.dtypes import dtype_from_name, dtype_name
from tessflow.tables.frames import as_frame
from tessflow.tables.values import Interval, Value, factorize, show, value_type

__all__ = ["Categories", "Column", "TableSchema"]

Kind: TypeAlias = Literal["categorical", "ordinal", "integer", "boolean"]

MISSING = {"None": None, "nan": np.nan, "NA": pd.NA}
SHOWN = 10


class Categories(BaseModel):
    """A categorical dtype: all of its categories, whether seen or not, and whether they are ordered."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    values: tuple[Value, ...]
    dtype: str
    ordered: bool

    def to_pandas(self) -> pd.CategoricalDtype:
        """Return the dtype."""
        values = [value.to_pandas() if isinstance(value, Interval) else value for value in self.values]
        return pd.CategoricalDtype(pd.Index(values, dtype=dtype_from_name(self.dtype)), ordered=self.ordered)


class Column(BaseModel):
    """One column: code k stands for `values[k]`, the code after the last for a missing value, if any came.

    Args:
        name: Name of the column.
        kind: What it is: "categorical" (strings, or an unordered category), "ordinal" (an ordered category),
            "integer" or "boolean".
        dtype: Name of its pandas dtype.
        values: Values seen, in the order of the categories, or ascending.
        missing: How a missing value is written ("None", "nan" or "NA"); None: none was seen.
        categories: The dtype of a categorical column; None for all others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    name: str | int
    kind: Kind
    dtype: str
    values: tuple[Value, ...]
    missing: Literal["None", "nan", "NA"] | None = None
    categories: Categories | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.cardinality == 0:
            raise ValueError(f"column {self.name!r} has no values")
        if len(set(self.values)) < len(self.values) or len({value_type(value) for value in self.values}) > 1:
            raise ValueError(f"column {self.name!r} needs distinct values of one type")
        if self.categories is not None and not set(self.values).issubset(self.categories.values):
            raise ValueError(f"column {self.name!r} has values that are not among its categories")
        return self

    @property
    def cardinality(self) -> int:
        """Number of classes: the values seen, and one more if a missing value was."""
        return len(self.values) + (self.missing is not None)

    @property
    def value_type(self) -> str | None:
        """What the values are: "strings", "numbers", "booleans" or "intervals"; None if all are missing."""
        return value_type(self.values[0]) if self.values else None

    @classmethod
    def infer(cls, name: str | int, series: pd.Series, *, max_categories: int) -> Self:
        """Read the schema of a column off its rows; see `TableSchema.infer`."""
        codes, distinct = factorize(series, name)
        values = [distinct[code] for code in np.unique(codes[codes >= 0])]
        kind: Kind = "categorical"
        categories = None
        if isinstance(series.dtype, pd.CategoricalDtype):
            ordered = bool(series.dtype.ordered)
            kind = "ordinal" if ordered else "categorical"
            inner = dtype_name(series.dtype.categories.dtype)
            categories = Categories(values=tuple(distinct), dtype=inner, ordered=ordered)
        else:
            _require_few(name, values, max_categories)
            values = sorted(values)  # type: ignore[type-var]
            is_boolean = isinstance(values[0], bool) if values else pd.api.types.is_bool_dtype(series.dtype)
            is_number = isinstance(values[0], int) if values else pd.api.types.is_numeric_dtype(series.dtype)
            kind = "boolean" if is_boolean else "integer" if is_number else "categorical"
        return cls(
            name=name,
            kind=kind,
            dtype=dtype_name(series.dtype),
            values=tuple(values),
            missing=_missing_name(series.iloc[np.argmin(codes)]) if codes.min() < 0 else None,
            categories=categories,
        )

    def encode(self, series: pd.Series) -> NDArray[np.int64]:
        """Return the codes of a column's rows, shape (rows,); see `TableSchema.encode`."""
        positions, distinct = factorize(series, self.name)
        known = {(value_type(value), value): code for code, value in enumerate(self.values)}
        codes = [known.get((value_type(value), value), -1) for value in distinct]
        codes.append(-1 if self.missing is None else len(self.values))
        encoded = np.array(codes)[positions]  # position -1, a missing value, is the last
        if encoded.size and encoded.min() < 0:
            row = int(np.argmin(encoded))
            self._refuse(None if positions[row] < 0 else distinct[positions[row]], row)
        return encoded

    def decode(self, codes: NDArray[np.int64]) -> pd.Series:
        """Return the values of codes of shape (rows,), in the column's dtype."""
        if self.categories is not None:
            order = {value: position for position, value in enumerate(self.categories.values)}
            positions = np.array([*(order[value] for value in self.values), -1])
            return pd.Series(pd.Categorical.from_codes(positions[codes], dtype=self.categories.to_pandas()))
        values: list[object] = list(self.values)
        if self.missing is not None:
            values.append(MISSING[self.missing] if self.dtype == "object" else None)
        dtype = dtype_from_name(self.dtype)
        return pd.Series(pd.Series(values, dtype=dtype).array.take(codes), dtype=dtype)

    def _refuse(self, value: Value | None, row: int) -> None:
        known = ", ".join(show(known) for known in self.values[:SHOWN])
        known += f" and {len(self.values) - SHOWN} more" if len(self.values) > SHOWN else ""
        if value is None:
            problem = "a missing value, but none was seen in training"
        elif self.values and value_type(value) != self.value_type:
            problem = f"{show(value)}, but the training data held {self.value_type}, not {value_type(value)}"
        else:
            problem = f"the value {show(value)}, which was not seen in training"
        raise ValueError(
            f"column {self.name!r} has in row {row} (counted from 0) {problem}; "
            f"known values: {known or 'none, all were missing'}"
        )


class TableSchema(BaseModel):
    """The columns of a table, and the codec between the table and a tensor of codes.

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

    columns: tuple[Column, ...]
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

    @classmethod
    def infer(cls, table: object, *, max_categories: int = 1000) -> Self:
        """Read the schema of a table off its rows.

        A column is categorical, boolean, ordinal or of integers; floats that are all whole count as integers.
        A missing value (None, NaN, NA) is a class of its own where one is seen.

        Args:
            table: DataFrame, 2-D array or list of rows.
            max_categories: Largest number of distinct values in a column; a categorical dtype may have more.

        Returns:
            The schema.

        Raises:
            TypeError: If a column holds real numbers, dates, nested or mixed values, or is no table at all.
            ValueError: If the table is empty, its names repeat, or a column has too many distinct values.

        Example:
            >>> TableSchema.infer(pd.DataFrame({"height": [1.71, 1.82]}))
            Traceback (most recent call last):
                ...
            TypeError: column 'height' holds real numbers such as 1.71, ...
        """
        frame, array_dtype = as_frame(table)
        if len(frame) == 0:
            raise ValueError(f"0 sample(s) (shape={frame.shape}) while a minimum of 1 is required.")
        columns = tuple(
            Column.infer(_plain_name(name), series, max_categories=max_categories) for name, series in frame.items()
        )
        return cls(columns=columns, array_dtype=array_dtype)

    def encode(self, table: object) -> Tensor:
        """Return the codes of a table, y[i, n] in {0..K_n-1}.

        Args:
            table: DataFrame with the schema's columns in any order, or an array or list with as many columns.

        Returns:
            An int64 tensor of shape (rows, N).

        Raises:
            TypeError: If the table, or a column of it, is of a kind that no schema takes.
            ValueError: If columns are missing or unknown, or a value was not seen in training.
        """
        frame = self._align(table)
        return torch.from_numpy(np.stack([column.encode(frame[column.name]) for column in self.columns], axis=1))

    def decode(self, codes: Tensor | ArrayLike) -> pd.DataFrame | NDArray[np.generic]:
        """Return the table of codes of shape (rows, N), with the columns, dtypes and categories of training.

        Args:
            codes: Codes as from `encode`.

        Returns:
            A DataFrame; if the schema was read off an array or list (`from_array`), an array.

        Raises:
            ValueError: If the codes have the wrong shape or are out of range.
        """
        y = np.asarray(codes)
        if y.ndim != 2 or y.shape[1] != len(self.columns) or y.dtype.kind not in "iu":
            raise ValueError(
                f"codes are integers of shape (rows, {len(self.columns)}), got {y.dtype} of shape {y.shape}"
            )
        if ((y < 0) | (y >= np.array(self.cardinalities))).any():
            raise ValueError(f"codes must lie between 0 and the cardinality less one, {self.cardinalities}")
        frame = pd.DataFrame({n: column.decode(y[:, n]) for n, column in enumerate(self.columns)})
        if self.array_dtype is not None:
            return frame.to_numpy(dtype=np.dtype(self.array_dtype))
        return frame.set_axis(pd.Index(self.names), axis=1)

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


def _require_few(name: str | int, values: list[Value], max_categories: int) -> None:
    """Raise unless the values of a column without a categorical dtype can be classes."""
    if values and isinstance(values[0], Interval):
        raise TypeError(f"column {name!r} holds intervals: convert it with astype('category')")
    for value in values:
        if isinstance(value, float):
            raise TypeError(
                f"column {name!r} holds real numbers such as {value!r}, which a table of categories does not "
                "take: bin them with pandas.cut, or convert them with astype('int64') or astype('category')"
            )
    if len(values) > max_categories:
        raise ValueError(
            f"column {name!r} has {len(values)} distinct values, more than {max_categories}: drop it, group "
            "its values, or convert it with astype('category') if each of them is a category"
        )


def _plain_name(name: Any) -> str | int:
    return name if isinstance(name, str) else int(name)


def _missing_name(value: object) -> Literal["None", "nan", "NA"]:
    return "None" if value is None else "NA" if value is pd.NA else "nan"
