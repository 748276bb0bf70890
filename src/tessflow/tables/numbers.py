"""A column of numbers or times, beside which single values may have a probability of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from tessflow.models.variables import Number, Variable
from tessflow.tables.columns import MISSING
from tessflow.tables.dtypes import dtype_from_name
from tessflow.tables.formats import WordFormat
from tessflow.tables.times import from_microseconds, microseconds, time_zone, to_microseconds, word
from tessflow.tables.values import Missing, family, plain, show, to_floats

__all__ = ["Grid", "NumberColumn", "NumberKind", "Scaling"]

NumberKind: TypeAlias = Literal["number", "datetime", "timedelta"]
Scaling: TypeAlias = Literal["quantile", "standard"]

NOISE = 1e-6
"""How far off the grid a number may lie, in steps; beside four units of its last place."""


class Grid:
    """Multiples of a resolution, counted; with resolution 0 all real numbers.

    Example:
        >>> Grid(0.1).count(np.array([0.1 + 0.2])), Grid(0.1).value(np.array([3.0]))
        (array([3.]), array([0.3]))
    """

    def __init__(self, resolution: float) -> None:
        self.resolution = resolution
        steps = round(1 / resolution) if 0 < resolution < 1 else 0
        self._steps = steps if steps and math.isclose(steps * resolution, 1, rel_tol=1e-9) else 0  # in 1: 0.1 is 1 / 10

    def steps(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values in steps, not rounded; the values themselves with resolution 0."""
        if not self.resolution:
            return values
        with np.errstate(over="ignore"):
            return values * self._steps if self._steps else values / self.resolution

    def count(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the nearest whole number of steps; the values themselves with resolution 0."""
        return np.rint(self.steps(values)) if self.resolution else values

    def value(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values of counts."""
        if not self.resolution:
            return counts
        return counts / self._steps if self._steps else counts * self.resolution

    def is_off(self, values: NDArray[np.float64], epsilon: float) -> NDArray[np.bool_]:
        """Return which finite values are no multiples, but for rounding at a relative precision."""
        finite = np.where(np.isfinite(values), values, 0)
        return np.abs(self.value(self.count(finite)) - finite) > NOISE * self.resolution + 4 * epsilon * np.abs(finite)


class NumberColumn(BaseModel):
    """One column of numbers or times: code 0 stands for a number, code k for the atom k - 1, the last for missing.

    Args:
        name: Name of the column.
        kind: "number", "datetime" (counted from 1970-01-01 UTC) or "timedelta".
        dtype: Name of its pandas dtype; empty before the schema is fitted to rows.
        resolution: What values are multiples of, in seconds for times: a value is then encoded as the whole number
            of steps, which has a probability. 0: real numbers, which have densities.
        atoms: Single values with a probability of their own, such as 0 in a column of many zeros, or infinity.
        missing: How a missing value is written ("None", "nan" or "NA"); None: none was seen.
        scaling: "quantile" (knots at quantiles) or "standard" (mean and standard deviation).
        knots: Encoded numbers, ascending; none before the schema is fitted.
        scores: What the knots are mapped to, ascending.
        decimal: Decimal mark of numbers in a CSV file; see `WordFormat` for this and what follows.
        thousands: What stands between their groups of three digits.
        currency: A sign or word before or after them.
        percent: Whether "%" may follow them.
        format: Format of datetimes in a CSV file, such as "%d/%m/%Y".

    Raises:
        ValueError: If a field does not fit the others.

    Example:
        >>> column = NumberColumn(name="price", kind="number", dtype="float64", resolution=0.01, atoms=(0.0,))
        >>> column.encode(pd.Series([9.99, 0.0]))
        (array([0, 1]), array([999.,   0.]))
        >>> column.bounds(1, 2.5), column.codes_between(0, 1)
        ((99.5, 250.5), (0, 1))
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    name: str | int
    kind: NumberKind
    dtype: str = ""
    resolution: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    atoms: tuple[float, ...] = ()
    missing: Missing | None = None
    scaling: Scaling = "quantile"
    knots: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    decimal: Literal[".", ","] | None = None
    thousands: Literal[".", ",", " ", "'"] | None = None
    currency: str | None = None
    percent: bool = False
    format: str | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        where = f"column {self.name!r}"
        if any(math.isnan(atom) for atom in self.atoms) or len(set(self.atoms)) < len(self.atoms):
            raise ValueError(
                f"{where} needs distinct atoms, none of them NaN; a missing value is declared by 'missing'"
            )
        if self.kind != "number":
            if not math.isclose(self.resolution * 1e6, round(self.resolution * 1e6)) or self.resolution < 1e-6:
                raise ValueError(f"{where} holds times, whose resolution is whole microseconds, in seconds")
            if any(math.isinf(atom) for atom in self.atoms):
                raise ValueError(f"{where} holds times, which are never infinite")
        if self.resolution and self._grid.is_off(self._raw_atoms, 1e-15).any():
            raise ValueError(f"{where} has atoms that are not multiples of its resolution {self.resolution}")
        if self.knots or self.scores:
            Number(self.knots, self.scores)
        _ = self.words
        return self

    @property
    def words(self) -> WordFormat | None:
        """How the words of a file are written; None if that is not declared."""
        zone = time_zone(self.dtype) if self.kind == "datetime" and self.dtype else None
        options = (self.decimal, self.thousands, self.currency, self.percent, self.format)
        return WordFormat(self.name, self.kind, *options, zone=zone) if set(options) != {None, False} else None

    @property
    def cardinality(self) -> int:
        """Number of classes: one for all numbers, one for each atom, one for a missing value if one was seen."""
        return 1 + len(self.atoms) + (self.missing is not None)

    @property
    def is_fitted(self) -> bool:
        """Whether the column has all that rows must give."""
        return bool(self.dtype) and bool(self.knots)

    @property
    def whole(self) -> bool:
        """Whether encoded numbers are whole, and have probabilities rather than densities."""
        return self.resolution > 0

    @property
    def variable(self) -> Variable:
        """What the column is to a model."""
        return Variable(classes=self.cardinality, number=Number(self.knots, self.scores, whole=self.whole))

    def encode(self, series: pd.Series) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return codes and numbers of a column's rows, both of shape (rows,); see `TableSchema.encode`."""
        values, missing = self._values(series)
        return self._encode(values, missing, series.dtype, lambda row: f"has in row {row} (counted from 0)")

    def decode(self, codes: NDArray[np.int64], numbers: NDArray[np.float64]) -> pd.Series:
        """Return the values of codes and numbers of shape (rows,), in the column's dtype and within its range."""
        missing = codes > len(self.atoms)
        counts = np.rint(numbers) if self.whole else numbers
        counts = np.where(codes > 0, np.concatenate([[0.0], self.encoded_atoms, [0.0]])[codes], counts)
        if self.kind != "number":
            step = round(self.resolution * 1e6)
            limit = float(2**62 // step)
            micros = np.clip(counts, -limit, limit).astype(np.int64) * step
            return from_microseconds(micros, missing, self.dtype, absent=MISSING[self.missing or "None"])
        return _from_floats(self._grid.value(counts), missing, self)

    def encode_value(self, value: object) -> tuple[int, float]:
        """Return the code and the number of one value; a time may be given as a word.

        Args:
            value: A value of the column, or None, NaN or NA for a missing one.

        Raises:
            ValueError: If it is no number or time, is off the grid, or is missing or infinite and none such was seen.
        """
        raw, is_missing = self._value(value)
        codes, numbers = self._encode(
            np.array([raw]), np.array([is_missing]), np.dtype(np.float64), lambda row: "was given"
        )
        return int(codes[0]), float(numbers[0])

    def bounds(self, low: object, high: object) -> tuple[float, float]:
        """Return a range of values as one of encoded numbers: whole numbers i cover (i - 1/2, i + 1/2).

        Args:
            low: Least value; None for no bound.
            high: Largest value, which belongs to the range; None for no bound.

        Raises:
            ValueError: If a bound is no number or time, or no number lies between.
        """
        least, most = self._range(low, high)
        if self.whole:
            steps = self._grid.steps(np.array([least, most]))
            least, most = float(np.ceil(steps[0] - NOISE) - 0.5), float(np.floor(steps[1] + NOISE) + 0.5)
        if not least < most:
            raise ValueError(f"column {self.name!r} has no number from {low!r} to {high!r}")
        return least, most

    def codes_between(self, low: object, high: object) -> tuple[int, ...]:
        """Return code 0 and the codes of the atoms in a range; see `bounds`."""
        least, most = self._range(low, high)
        return (0, *(code for code, atom in enumerate(self._raw_atoms, 1) if least <= atom <= most))

    @property
    def _grid(self) -> Grid:
        """The grid of the values as `_values` returns them: microseconds of times."""
        return Grid(self.resolution if self.kind == "number" else round(self.resolution * 1e6))

    @property
    def _raw_atoms(self) -> NDArray[np.float64]:
        """The atoms as `_values` returns values."""
        atoms = np.array(self.atoms, np.float64)
        return atoms if self.kind == "number" else np.rint(atoms * 1e6)

    @property
    def encoded_atoms(self) -> NDArray[np.float64]:
        """The atoms, encoded."""
        return self._grid.count(self._raw_atoms)

    def _values(self, series: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return a column's numbers, or microseconds, and which are missing."""
        if isinstance(series.dtype, pd.CategoricalDtype):
            dtype = series.cat.categories.dtype
            series = series.astype("float64" if series.hasnans and dtype.kind in "iub" else dtype)
        found, expected = family(series, self.name), f"{self.kind}s"
        if found not in (expected, "nothing") and not series.isna().all():
            hint = "; convert it with pandas.to_datetime" if expected == "datetimes" and found == "strings" else ""
            raise ValueError(
                f"column {self.name!r} holds {found} such as {show(plain(series.dropna().iloc[0]))}, but the training "
                f"data held {expected}{hint}"
            )
        if found != expected:
            return np.zeros(len(series)), np.ones(len(series), bool)
        if self.kind == "number":
            values = to_floats(series)
            values = values.astype(np.float32).astype(np.float64) if _is_single(self.dtype) else values
            return values, np.isnan(values)
        counts, missing = to_microseconds(series, self.name, aware=time_zone(self.dtype) is not None)
        return counts.astype(np.float64), missing

    def _value(self, value: object) -> tuple[float, bool]:
        """Return one value as `_values` does."""
        if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
            return 0.0, True
        if self.kind != "number":
            try:
                return microseconds(value, self.kind, zone=time_zone(self.dtype))
            except ValueError as error:
                raise ValueError(f"column {self.name!r}: {error}") from error
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
            raise ValueError(f"column {self.name!r} was given {show(value)}, but holds numbers")
        return float(np.float32(value)) if _is_single(self.dtype) else float(value), False

    def _range(self, low: object, high: object) -> tuple[float, float]:
        """Return bounds as `_values` returns values."""
        ends = []
        for side, bound in ((-1, low), (1, high)):
            end, is_missing = (side * math.inf, False) if bound is None else self._value(bound)
            if is_missing:
                raise ValueError(f"column {self.name!r} was given a range with a missing bound: give None for no bound")
            ends.append(end)
        least, most = ends
        if not least <= most:
            raise ValueError(f"column {self.name!r} was given a range from {low!r} to {high!r}, which is empty")
        return least, most

    def _encode(
        self, values: NDArray[np.float64], missing: NDArray[np.bool_], dtype: object, where: Callable[[int], str]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        values = np.where(missing, 0.0, values)
        numbers = self._grid.count(values)
        codes = np.zeros(len(values), np.int64)
        for code, atom in enumerate(self.encoded_atoms, 1):
            codes[numbers == atom] = code
        codes[missing] = len(self.atoms) + 1
        faults = [
            (missing & (self.missing is None), "a missing value, but none was seen in training"),
            (np.isinf(values) & (codes == 0), "the value {}, but training rows held no such infinity"),
        ]
        if self.whole:
            epsilon = np.finfo(np.float32 if _is_single(self.dtype) or _is_single(str(dtype)) else np.float64).eps
            advice = "round it, or give the column another resolution in the schema"
            faults.append(
                (self._grid.is_off(values, epsilon), f"the value {{}}, no multiple of {self._unit}: {advice}")
            )
        for faulty, problem in faults:
            if faulty.any():
                row = int(np.argmax(faulty))
                raise ValueError(f"column {self.name!r} {where(row)} {problem.format(self._shown(values[row]))}")
        return codes, np.where(codes > 0, 0.0, numbers)

    @property
    def _unit(self) -> str:
        return f"its resolution {self.resolution:g}" + ("" if self.kind == "number" else " seconds")

    def _shown(self, value: float) -> str:
        return repr(float(value)) if self.kind == "number" else word(int(value), self.kind)


def _is_single(dtype: str) -> bool:
    return dtype in ("float32", "Float32", "arrow[float]", "float[pyarrow]")


def _from_floats(values: NDArray[np.float64], missing: NDArray[np.bool_], column: NumberColumn) -> pd.Series:
    """Return numbers in a dtype, clipped to its range."""
    dtype = dtype_from_name(column.dtype)
    if dtype.kind == "O":
        is_whole = column.whole and column.resolution == round(column.resolution)
        cells: list[object] = [int(value) if is_whole and math.isfinite(value) else float(value) for value in values]
        absent = MISSING[column.missing] if column.missing else None
        return pd.Series([absent if gone else cell for cell, gone in zip(cells, missing, strict=True)], dtype=object)
    numpy_dtype: np.dtype[Any] = np.dtype(getattr(dtype, "numpy_dtype", dtype))  # type: ignore[arg-type]
    if numpy_dtype.kind in "iu":
        info = np.iinfo(numpy_dtype)  # type: ignore[type-var]
        # The largest 64-bit integer is no float64: the next below is.
        highest = float(info.max) if info.bits < 64 else np.nextafter(float(info.max), 0)
        numbers: NDArray[np.generic] = np.clip(np.rint(values), float(info.min), highest).astype(numpy_dtype)
    else:
        limit = float(np.finfo(numpy_dtype).max)
        numbers = np.where(np.isinf(values), values, np.clip(values, -limit, limit)).astype(numpy_dtype)
    if numpy_dtype == dtype:
        series = pd.Series(numbers)
        return series.mask(missing) if missing.any() else series
    series = pd.Series(numbers).astype(dtype)
    return series.mask(missing, pd.NA) if missing.any() else series
