"""A column of classes: strings, categories, booleans, and categories of numbers."""

from __future__ import annotations

from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator
from typing_extensions import Self

from tessflow.models.variables import Restriction, Variable
from tessflow.tables.columns.base import MANY, MISSING, BaseColumn, Encoded, Inference
from tessflow.tables.dtypes import dtype_from_name, dtype_name
from tessflow.tables.tally import Tally
from tessflow.tables.times import from_microseconds, microseconds, time_zone, word
from tessflow.tables.values import Interval, Value, factorize, family, is_missing, odd_one, plain, show, value_type

__all__ = ["Categories", "ClassColumn", "ClassKind"]

ClassKind: TypeAlias = Literal["categorical", "ordinal", "boolean"]

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


class ClassColumn(BaseColumn):
    """One column of classes: code k stands for `values[k]`; then a missing value, if any came; then what was not seen.

    Args:
        name: Name of the column.
        kind: What it is: "categorical" (strings, or an unordered category), "ordinal" (an ordered category) or
            "boolean".
        dtype: Name of its pandas dtype; empty before the schema is fitted to rows.
        values: Values seen, in the order of the categories, or ascending; none before the schema is fitted.
            A time is written as a word of ISO 8601.
        missing: How a missing value is written ("None", "nan" or "NA"); None: none was seen.
        categories: The dtype of a categorical column; None for all others.
        rows: How many rows it was read off.
        once: How many of its values came once.

    Example:
        >>> column = ClassColumn(name="coat", kind="categorical", dtype="str", values=("no", "yes"), rows=9)
        >>> column.encode(pd.Series(["yes", "no", "perhaps"])).codes
        array([1, 0, 2])
        >>> column.encode_value("yes"), column.labels
        ((1, 0.0), ('no', 'yes', 'unseen'))
    """

    kind: ClassKind
    values: tuple[Value, ...] = ()
    categories: Categories | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(set(self.values)) < len(self.values) or len({value_type(value) for value in self.values}) > 1:
            raise ValueError(f"column {self.name!r} needs distinct values of one type")
        if self.categories is not None and not set(self.values).issubset(self.categories.values):
            raise ValueError(f"column {self.name!r} has values that are not among its categories")
        self._require_apart(self.values, self.na_values)
        return self

    def _require_apart(self, values: tuple[Value, ...], na_values: tuple[str, ...]) -> None:
        """Raise a ValueError if a word is both a value and a missing one."""
        if both := [word for word in na_values if word in values]:
            raise ValueError(
                f"column {self.name!r} has {both[0]!r} both among its values and among its words for missing values "
                "(na_values): leave it out of one of them"
            )

    @property
    def cardinality(self) -> int:
        """Number of codes: the values seen, a missing value if one was, and what was not seen."""
        return len(self.values) + (self.missing is not None) + 1

    @property
    def is_fitted(self) -> bool:
        """Whether the column has all that rows must give."""
        return bool(self.dtype) and self.cardinality > 1

    @property
    def variable(self) -> Variable:
        """What the column is to a model."""
        return Variable(classes=self.cardinality, reserve=self.reserve, rare=self.rare, ordered=self.is_ordered)

    @property
    def is_ordered(self) -> bool:
        """Whether its values have an order."""
        return self.kind == "ordinal"

    @property
    def looks_like_key(self) -> bool:
        """Whether every one of many rows has a value of its own."""
        return self.rows >= MANY and self.once == self.rows

    @property
    def measure(self) -> str:
        """What log-likelihoods of the column are."""
        return f"probabilities of {len(self.values)} class{'es' * (len(self.values) != 1)}"

    @property
    def labels(self) -> tuple[object, ...]:
        """What each code stands for."""
        return (*self.values, *["missing"] * (self.missing is not None), "unseen")

    @property
    def value_type(self) -> str | None:
        """What the values are: "strings", "numbers", "booleans" or "intervals"; None if all are missing."""
        return value_type(self.values[0]) if self.values else None

    @classmethod
    def infer(cls, tally: Tally, options: Inference) -> Self | None:
        """Return the column of rows that hold neither numbers nor times, or nothing."""
        return None if tally.is_numeric else cls._found(tally)

    @classmethod
    def _found(cls, tally: Tally) -> Self:
        counts = tally.class_counts()
        values = tuple(counts)
        kind: ClassKind = "categorical"
        categories = None
        if tally.categories is not None:
            dtype = tally.categories
            kind = "ordinal" if dtype.ordered else "categorical"
            categories = Categories(
                values=tuple(map(plain, dtype.categories)),
                dtype=dtype_name(dtype.categories.dtype),
                ordered=bool(dtype.ordered),
            )
        elif isinstance(values[0], bool) if values else pd.api.types.is_bool_dtype(tally.pandas_dtype):
            kind = "boolean"
        return cls(
            name=tally.name,
            kind=kind,
            dtype=tally.dtype,
            values=values,
            missing=tally.missing,
            na_values=tuple(sorted(tally.na_values.difference(map(str, values)))),
            categories=categories,
            rows=tally.rows,
            once=sum(count < 2 for count in counts.values()),
            gone=tally.rows - tally.present,
        )

    def complete(self, tally: Tally) -> Self:
        """See the base class."""
        found = self._found(tally)
        where = f"column {self.name!r}"
        expected = "booleans" if self.kind == "boolean" else found.value_type
        if found.value_type not in (expected, None):
            raise ValueError(f"{where} is declared as {self.kind}, but holds {found.value_type}")
        if self.values and found.value_type not in (self.value_type, None):
            raise ValueError(f"{where} holds {found.value_type}, but the schema lists {self.value_type}")
        unknown = [value for value in found.values if self.values and value not in self.values]
        if unknown:
            raise ValueError(f"{where} has the value {show(unknown[0])}, which is not among the values of the schema")
        if self.values and found.missing is not None and self.missing is None:
            raise ValueError(f"{where} has missing values, which the schema does not declare: add 'missing: nan'")
        values, na_values = self.values or found.values, tuple(sorted({*self.na_values, *found.na_values}))
        self._require_apart(values, na_values)
        rest: dict[str, Any] = {
            "dtype": self.dtype or found.dtype,
            "values": values,
            "missing": self.missing or found.missing,
            "na_values": na_values,
            "categories": self.categories or found.categories,
            "rows": found.rows,
            "once": found.once,
            "gone": found.gone,
        }
        return type(self).model_validate(self.model_dump() | rest)

    def encode(self, series: pd.Series) -> Encoded:
        """See the base class."""
        positions, distinct = factorize(series, self.name)
        known = {(value_type(value), value): code for code, value in enumerate(self.values)}
        self._require_times(series)
        self._require_type(series, positions, distinct)
        codes = [known.get((value_type(value), value), self.unseen) for value in distinct]
        codes.append(self.unseen if self.missing is None else len(self.values))
        encoded = np.array(codes)[positions]  # position -1, a missing value, is the last
        return Encoded(encoded, np.zeros(len(encoded)))

    def _require_times(self, series: pd.Series) -> None:
        """Raise a ValueError if there are times, which are words here, and the values are strings, or the reverse."""
        found, wanted = family(series, self.name), f"{self._time}s" if self._time else "strings"
        has_times = found in ("datetimes", "timedeltas")
        if self.value_type == "strings" and (has_times or self._time) and found not in (wanted, "nothing"):
            raise ValueError(f"column {self.name!r} holds {found}, but the training data held {wanted}")

    def _require_type(self, series: pd.Series, positions: NDArray[np.int64], distinct: list[Value]) -> None:
        """Raise a ValueError if there are values of another type than the column's."""
        others = [place for place, value in enumerate(distinct) if self.values and value_type(value) != self.value_type]
        wrong = np.isin(positions, others)
        if wrong.any():
            row = int(np.argmax(wrong))
            if family(series, self.name) == "strings" and self.value_type is not None:
                row, _ = odd_one(series, self.value_type)
            self._refuse_type(distinct[positions[row]], f"has in row {row} (counted from 0)")

    def _refuse_type(self, value: Value, where: str) -> NoReturn:
        raise ValueError(
            f"column {self.name!r} {where} {show(value)}, but the training data held {self.value_type}, not "
            f"{value_type(value)}; known values: {self._known}"
        )

    def decode(self, encoded: Encoded) -> pd.Series:
        """See the base class."""
        codes = encoded.codes
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
        """See the base class."""
        if is_missing(value):
            return (self.unseen if self.missing is None else len(self.values)), 0.0
        if self._time and isinstance(value, str):
            value = word(microseconds(value, self._time, zone=time_zone(self.dtype))[0], self._time)
        else:
            self._require_times(pd.Series([value], dtype=object).infer_objects())
        _, (found,) = factorize(pd.Series([value], dtype=object).infer_objects(), self.name)
        if self.values and value_type(found) != self.value_type:
            self._refuse_type(found, "was given")
        for code, known in enumerate(self.values):
            if value_type(known) == value_type(found) and known == found:
                return code, 0.0
        return self.unseen, 0.0

    def between(self, low: object, high: object) -> Restriction:
        """Return the codes of the values in a range, of numbers, of ordered categories, or of strings."""
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
        return Restriction(codes)

    def among(self, values: list[object]) -> Restriction:
        """See the base class."""
        codes = [self.encode_value(value)[0] for value in values]
        if self.unseen in codes:
            value = values[codes.index(self.unseen)]
            raise ValueError(f"column {self.name!r} was given {self._problem(value)}")
        return Restriction(tuple(sorted(set(codes))))

    def refusal(self, series: pd.Series, row: int) -> str:
        """See the base class."""
        positions, distinct = factorize(series, self.name)
        value = None if positions[row] < 0 else distinct[positions[row]]
        return f"column {self.name!r} has in row {row} (counted from 0) {self._problem(value)}"

    def _problem(self, value: object) -> str:
        if is_missing(value):
            problem = "a missing value, but none was seen in training"
        else:
            problem = f"the value {show(value)}, which was not seen in training"
        return f"{problem}; known values: {self._known}"

    @property
    def _known(self) -> str:
        known = ", ".join(show(known) for known in self.values[:SHOWN])
        known += f" and {len(self.values) - SHOWN} more" if len(self.values) > SHOWN else ""
        return known or "none, all were missing"

    @property
    def _time(self) -> str | None:
        """Whether the words of the values are of times: "datetime", "timedelta" or None."""
        kind = "M" if self.dtype == "date" else dtype_from_name(self.dtype).kind
        return {"M": "datetime", "m": "timedelta"}.get(kind)

    def _place(self, bound: object) -> int:
        assert self.categories is not None
        if plain(bound) not in self.categories.values:
            raise ValueError(f"column {self.name!r} has no category {bound!r}")
        return self.categories.values.index(plain(bound))
