"""A column of classes: strings, categories, booleans, and numbers that take few values."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator
from typing_extensions import Self

from tessflow.models.variables import Variable
from tessflow.tables.dtypes import dtype_from_name
from tessflow.tables.times import from_microseconds, microseconds, time_zone, word
from tessflow.tables.values import Interval, Missing, Value, factorize, show, value_type

__all__ = ["MISSING", "Categories", "Column", "ClassKind"]

ClassKind: TypeAlias = Literal["categorical", "ordinal", "integer", "boolean"]

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
    """One column of classes: code k stands for `values[k]`, the code after the last for a missing value, if any came.

    Args:
        name: Name of the column.
        kind: What it is: "categorical" (strings, or an unordered category), "ordinal" (an ordered category, or
            real numbers that take few values), "integer" or "boolean".
        dtype: Name of its pandas dtype; empty before the schema is fitted to rows.
        values: Values seen, in the order of the categories, or ascending; none before the schema is fitted.
            A time is written as a word of ISO 8601.
        missing: How a missing value is written ("None", "nan" or "NA"); None: none was seen.
        categories: The dtype of a categorical column; None for all others.

    Example:
        >>> column = Column(name="eggs", kind="integer", dtype="int64", values=(4, 5, 6))
        >>> column.encode(pd.Series([6, 4]))
        array([2, 0])
        >>> column.encode_value(5), column.codes_between(5, None)
        ((1, 0.0), (1, 2))
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    name: str | int
    kind: ClassKind
    dtype: str = ""
    values: tuple[Value, ...] = ()
    missing: Missing | None = None
    categories: Categories | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
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
    def is_fitted(self) -> bool:
        """Whether the column has all that rows must give."""
        return bool(self.dtype) and self.cardinality > 0

    @property
    def variable(self) -> Variable:
        """What the column is to a model."""
        return Variable(classes=self.cardinality)

    @property
    def value_type(self) -> str | None:
        """What the values are: "strings", "numbers", "booleans" or "intervals"; None if all are missing."""
        return value_type(self.values[0]) if self.values else None

    def encode(self, series: pd.Series) -> NDArray[np.int64]:
        """Return the codes of a column's rows, shape (rows,); see `TableSchema.encode`."""
        positions, distinct = factorize(series, self.name)
        known = {(value_type(value), value): code for code, value in enumerate(self.values)}
        codes = [known.get((value_type(value), value), -1) for value in distinct]
        codes.append(-1 if self.missing is None else len(self.values))
        encoded = np.array(codes)[positions]  # position -1, a missing value, is the last
        if encoded.size and encoded.min() < 0:
            row = int(np.argmin(encoded))
            self._refuse(None if positions[row] < 0 else distinct[positions[row]], f"has in row {row} (counted from 0)")
        return encoded

    def decode(self, codes: NDArray[np.int64]) -> pd.Series:
        """Return the values of codes of shape (rows,), in the column's dtype."""
        if self.categories is not None:
            order = {value: position for position, value in enumerate(self.categories.values)}
            positions = np.array([*(order[value] for value in self.values), -1])
            return pd.Series(pd.Categorical.from_codes(positions[codes], dtype=self.categories.to_pandas()))
        dtype = dtype_from_name(self.dtype)
        if self._time:
            counts = np.array([*(microseconds(value, self._time)[0] for value in self.values), 0])
            return from_microseconds(
                counts[codes], codes == len(self.values), self.dtype, absent=MISSING[self.missing or "None"]
            )
        values: list[object] = list(self.values)
        if self.missing is not None:
            values.append(MISSING[self.missing] if self.dtype == "object" else None)
        return pd.Series(pd.Series(values, dtype=dtype).array.take(codes), dtype=dtype)

    def encode_value(self, value: object) -> tuple[int, float]:
        """Return the code of one value, and 0.0, as a numeric column returns a code and a number.

        Args:
            value: A value of the column, or None, NaN or NA for a missing one; a time may be given as a word.

        Raises:
            TypeError: If no column holds such a value.
            ValueError: If it was not seen in training.
        """
        if self._time and isinstance(value, str):
            value = word(microseconds(value, self._time, zone=time_zone(self.dtype))[0], self._time)
        positions, distinct = factorize(pd.Series([value], dtype=object).infer_objects(), self.name)
        found = None if positions[0] < 0 else distinct[positions[0]]
        if found is None and self.missing is not None:
            return len(self.values), 0.0
        for code, known in enumerate(self.values):
            if found is not None and value_type(known) == value_type(found) and known == found:
                return code, 0.0
        return self._refuse(found, "was given")

    def codes_between(self, low: object, high: object) -> tuple[int, ...]:
        """Return the codes of the values in a range, of numbers, of ordered categories, or of strings.

        Args:
            low: Least value; None for no bound.
            high: Largest value; None for no bound.

        Raises:
            ValueError: If the categories have no order, a bound is of another type than the values, or no value
                lies between.
        """
        if self.categories is not None and not self.categories.ordered:
            raise ValueError(f"column {self.name!r} has no order, so no range can be given: list its values")
        order = self.categories.values if self.categories else None
        places = [order.index(value) if order else value for value in self.values]
        bounds = [bound if bound is None or not order else self._place(bound) for bound in (low, high)]
        try:
            codes = tuple(
                code
                for code, place in enumerate(places)
                if (bounds[0] is None or place >= bounds[0]) and (bounds[1] is None or place <= bounds[1])  # type: ignore[operator]
            )
        except TypeError as error:
            raise ValueError(
                f"column {self.name!r} holds {self.value_type}, but was given a range from {low!r} to {high!r}"
            ) from error
        if not codes:
            raise ValueError(f"column {self.name!r} has no value from {low!r} to {high!r}")
        return codes

    @property
    def _time(self) -> str | None:
        """Whether the words of the values are of times: "datetime", "timedelta" or None."""
        kind = "M" if self.dtype == "date" else dtype_from_name(self.dtype).kind
        return {"M": "datetime", "m": "timedelta"}.get(kind)

    def _place(self, bound: object) -> int:
        assert self.categories is not None
        if bound not in self.categories.values:
            raise ValueError(f"column {self.name!r} has no category {bound!r}")
        return self.categories.values.index(bound)  # type: ignore[arg-type]

    def _refuse(self, value: Value | None, where: str) -> tuple[int, float]:
        known = ", ".join(show(known) for known in self.values[:SHOWN])
        known += f" and {len(self.values) - SHOWN} more" if len(self.values) > SHOWN else ""
        if value is None:
            problem = "a missing value, but none was seen in training"
        elif self.values and value_type(value) != self.value_type:
            problem = f"{show(value)}, but the training data held {self.value_type}, not {value_type(value)}"
        else:
            problem = f"the value {show(value)}, which was not seen in training"
        raise ValueError(f"column {self.name!r} {where} {problem}; known values: {known or 'none, all were missing'}")
