"""A column of numbers or times, beside which single values may have a probability of their own."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator
from typing_extensions import Self

from tessflow.models.variables import Number, Restriction, Variable
from tessflow.tables.columns.base import MANY, RARE, BaseColumn, Encoded, Inference
from tessflow.tables.columns.tallied import Scaling, are_names, has_floor, read_grid, read_scale, warn_if_off
from tessflow.tables.grid import EXACT_STEPS, NOISE, Grid
from tessflow.tables.tally import Tally
from tessflow.tables.values import equals, family, is_missing, natives, other_family, plain, show, uncategorized

__all__ = ["BACKGROUND", "NumericColumn"]

BACKGROUND = 1e-3
"""Share of the smooth part of a column's numbers that has the heaviest tail; it costs others as many nats."""


class NumericColumn(BaseColumn):
    """One column of numbers or times: code 0 is a number, code k the atom k - 1; then missing; then not seen.

    Args:
        name: Name of the column.
        kind: What it holds.
        dtype: Name of its pandas dtype; empty before the schema is fitted to rows.
        resolution: What values are multiples of: a value is then encoded as the nearest whole number of steps, which
            has a probability. 0: real numbers, which have densities.
        atoms: Single values with a probability of their own, such as 0 in a column of many zeros, or infinity. On a
            grid they have the smooth part's probability as well.
        missing: How a missing value is written ("None", "nan" or "NA"); None: none was seen.
        scaling: "quantile" (knots at quantiles) or "standard" (mean and standard deviation).
        minimum: The least value there can be; None for no bound.
        maximum: The largest.
        beyond: What a value beyond these bounds is: an "error", or something not seen ("unseen").
        bounds_of: The columns from which minimum and maximum come by the order of a schema; None: they are its own.
        knots: Encoded numbers, ascending; none before the schema is fitted.
        scores: What the knots are mapped to, ascending.
        infinite: How many rows were infinite.
        closed: Whether all rows held atoms: other numbers have a likelihood, but are not drawn.
        rows: How many rows it was read off.
        once: As many, if they are numbered through or hold numbers beyond 2^53, each another; 0 otherwise.

    Raises:
        ValueError: If a field does not fit the others.
    """

    resolution: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    atoms: tuple[int | float, ...] = ()
    scaling: Scaling = "quantile"
    minimum: float | None = Field(default=None, allow_inf_nan=False)
    maximum: float | None = Field(default=None, allow_inf_nan=False)
    beyond: Literal["error", "unseen"] = "error"
    bounds_of: tuple[str | int | None, str | int | None] = (None, None)
    knots: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    closed: bool = False
    infinite: int = Field(default=0, ge=0)
    fitted_fields: ClassVar[tuple[str, ...]] = (
        *BaseColumn.fitted_fields, "bounds_of", "knots", "scores", "closed", "infinite",
    )  # fmt: skip
    numeric: ClassVar[bool] = True

    FAMILY: ClassVar[str]
    """What `family` calls such values."""
    UNIT: ClassVar[int] = 1
    """How many of the units in which values are read, microseconds of times, are one of those of the fields."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        where = f"column {self.name!r}"
        if any(math.isnan(atom) for atom in self.atoms) or len(set(self.atoms)) < len(self.atoms):
            raise ValueError(
                f"{where} needs distinct atoms, none of them NaN; a missing value is declared by 'missing'"
            )
        if self.resolution and self._grid.is_off(np.array(self._raw_atoms, np.float64), 1e-15).any():
            raise ValueError(f"{where} has atoms that are not multiples of its resolution {self.resolution}")
        low, high = self.bounds
        if not low < high:
            raise ValueError(f"{where} has no number between its minimum {self.minimum} and maximum {self.maximum}")
        if any(not low <= atom <= high for atom in self.encoded_atoms):
            raise ValueError(f"{where} has atoms beyond its minimum {self.minimum} or maximum {self.maximum}")
        if self.knots or self.scores:
            Number(self.knots, self.scores)
        return self

    @property
    def cardinality(self) -> int:
        """Number of codes: one for all numbers, one for each atom, one for a missing value if one was seen, and one."""
        return 1 + len(self.atoms) + (self.missing is not None) + 1

    @property
    def is_fitted(self) -> bool:
        """Whether the column has all that rows must give."""
        return bool(self.dtype) and bool(self.knots)

    @property
    def whole(self) -> bool:
        """Whether encoded numbers are whole, and have probabilities rather than densities."""
        return self.resolution > 0

    @property
    def looks_like_key(self) -> bool:
        """Whether many rows are numbered through, or hold numbers of 16 digits, each another."""
        return self.once == self.rows >= MANY

    @property
    def is_exact(self) -> bool:
        """Whether float64 tells apart all whole numbers that are likely."""
        return not self.whole or max(map(abs, self.knots), default=0.0) < EXACT_STEPS

    @property
    def variable(self) -> Variable:
        """What the column is to a model."""
        low, high = self.bounds
        number = Number(
            self.knots,
            self.scores,
            whole=self.whole,
            atoms=tuple(self.encoded_atoms.tolist()),
            background=BACKGROUND,
            low=low,
            high=high,
            closed=self.closed,
        )
        return Variable(classes=self.cardinality, number=number, reserve=self.reserve, rare=self.rare)

    @property
    def rare(self) -> tuple[tuple[int, float], ...]:
        """What is no finite value, and other numbers than atoms if none came, with the shares to be expected."""
        ends = [code for code, atom in enumerate(self.atoms, 1) if math.isinf(atom)]
        share = (self.infinite + 0.5) / (self.rows + 1)
        infinite = [(code, share / len(ends)) for code in ends if share < RARE]
        return (*([(0, self.reserve)] if self.closed else []), *infinite, *super().rare)

    @property
    def measure(self) -> str:
        """What log-likelihoods of the column are."""
        if not self.whole:
            return "densities of real numbers"
        steps = "whole numbers" if self.resolution == 1 else f"steps of {self.resolution:g}"
        drawn = "" if self.is_exact else ", above 2^53 drawn to the nearest float64"
        return f"probabilities of {steps}{drawn}"

    @property
    def labels(self) -> tuple[object, ...]:
        """What each code stands for."""
        return ("a number", *self.shown_atoms, *["missing"] * (self.missing is not None), "unseen")

    @property
    def shown_atoms(self) -> tuple[object, ...]:
        """The atoms, as values of the column."""
        return self.atoms

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest encoded number, halves on a grid; infinite where there is no bound."""
        return self._grid.covered(*self._ends)

    @property
    def extremes(self) -> tuple[float, float]:
        """The least and the largest value that there can be, in the units of minimum and maximum."""
        least, most = self._grid.extremes(*self.bounds)
        return least / self.UNIT, most / self.UNIT

    @property
    def shown_bounds(self) -> list[str]:
        """The bounds in words, such as "at least 0"."""
        words = zip(("at least", "at most"), self._ends, strict=True)
        return [f"{word} {self._shown(end)}" for word, end in words if math.isfinite(end)]

    @property
    def details(self) -> list[str]:
        """How many atoms there are, the bounds, and whether values are missing."""
        count = len(self.atoms)
        return [f"{count} atom{'s' * (count > 1)}"] * bool(count) + self.shown_bounds + super().details

    @classmethod
    def infer(cls, tally: Tally, options: Inference) -> Self | None:
        """Return the column of rows that hold what this kind does."""
        if tally.family != cls.FAMILY or not tally.is_numeric:
            return None
        grid, atoms = read_grid(tally, most=options.max_levels)
        column = cls(  # type: ignore[call-arg]
            name=tally.name,
            dtype=tally.dtype,
            resolution=grid.resolution / cls.UNIT,
            atoms=tuple(dict.fromkeys(map(cls._atom, atoms))),  # two far times may be one float of seconds
            missing=tally.missing,
            scaling=options.scaling,  # type: ignore[arg-type]
        ).complete(tally)
        return column._with_floor(tally)

    @classmethod
    def _atom(cls, value: int | float) -> int | float:
        """Return a value as it was read as an atom."""
        return value

    def _with_floor(self, tally: Tally) -> Self:
        """Return the column with 0 as its minimum, if no number is negative and many would be."""
        if not has_floor(tally, self._grid.covered(0.0, math.inf)[0], self.knots, self.scores):
            return self
        return self.model_copy(update={"minimum": 0.0, "beyond": "unseen"})

    def complete(self, tally: Tally) -> Self:
        """See the base class."""
        where = f"column {self.name!r}"
        if tally.family not in (self.FAMILY, "nothing") or (tally.categories is not None and tally.present):
            raise ValueError(f"{where} is declared as {self.kind}, but holds {tally.family}")
        if tally.missing is not None and self.missing is None:
            raise ValueError(f"{where} has missing values, which the schema does not declare: add 'missing: nan'")
        if strange := tally.infinities.difference(self.atoms):
            raise ValueError(f"{where} has the value {min(strange)}, which is not among the atoms of the schema")
        values, counts = tally.numbers
        warn_if_off(tally, self._grid, self.resolution)
        beyond = self._is_beyond(values)
        if beyond.any() and self.beyond == "error":
            raise ValueError(self._beyond(values[beyond][0], "has"))
        numbers, counts = self._grid.count(values[~beyond]), counts[~beyond]
        scale = read_scale(numbers, counts, self.encoded_atoms, scaling=self.scaling, whole=self.whole)
        rows = {
            "rows": tally.rows,
            "once": tally.rows if are_names(tally, self.resolution) else 0,
            "gone": tally.rows - tally.present,
            "infinite": tally.infinite,
            "na_values": tuple(sorted({*self.na_values, *tally.na_values})),
        }
        return self.model_copy(update={"dtype": self.dtype or tally.dtype, **scale._asdict(), **rows})

    @property
    def expected_unseen(self) -> float:
        """What share of new rows may be expected to hold something not seen: numbers are seen before they come."""
        return 0.5 / (self.rows + 1)

    def encode(self, series: pd.Series) -> Encoded:
        """See the base class."""
        values, missing = self._values(series)
        values = np.where(missing, 0.0, values)
        numbers = self._grid.count(values)
        codes = np.zeros(len(values), np.int64)
        exact: NDArray[Any] | None = None
        for code, (atom, encoded) in enumerate(zip(self.atoms, self.encoded_atoms, strict=True), 1):
            hit = numbers == encoded
            if isinstance(atom, int) and abs(encoded) >= EXACT_STEPS and hit.any():
                exact = natives(uncategorized(series)) if exact is None else exact
                hit &= equals(exact, atom)
            codes[hit] = code
        beyond = ~missing & self._is_beyond(values)
        if beyond.any() and self.beyond == "error":
            row = int(np.argmax(beyond))
            raise ValueError(self._beyond(values[row], f"has in row {row} (counted from 0)"))
        codes[missing] = len(self.atoms) + 1  # which is that of what was not seen, if none is missing
        codes[beyond | (np.isinf(values) & (codes == 0))] = self.unseen
        return Encoded(codes, np.where(codes > 0, 0.0, numbers))

    def decode(self, encoded: Encoded) -> pd.Series:
        """See the base class."""
        codes, numbers = encoded
        missing = codes > len(self.atoms)
        counts = np.rint(numbers) + 0.0 if self.whole else numbers  # 0, not -0
        rest = np.zeros(self.cardinality - 1 - len(self.atoms))
        counts = np.where(codes > 0, np.concatenate([[0.0], self.encoded_atoms, rest])[codes], counts)
        return self._decoded(counts, codes, missing)

    def encode_value(self, value: object) -> tuple[int, float]:
        """See the base class."""
        encoded = self.encode(self.series_of(value))
        return int(encoded.codes[0]), float(encoded.numbers[0])

    def between(self, low: object, high: object) -> Restriction:
        """Return a range of numbers as one of encoded numbers: whole numbers i cover (i - 1/2, i + 1/2)."""
        ends: list[int | float] = []
        for side, bound in ((-1, low), (1, high)):
            if bound is not None and is_missing(bound):
                raise ValueError(f"column {self.name!r} was given a range with a missing bound: give None for no bound")
            ends.append(side * math.inf if bound is None else self._raw(bound))
        if not ends[0] <= ends[1]:
            raise ValueError(f"column {self.name!r} was given a range from {low!r} to {high!r}, which is empty")
        codes = [code for code, atom in enumerate(self._raw_atoms, 1) if ends[0] <= atom <= ends[1]]
        least, most = self._grid.covered(*map(float, ends))
        for atom, encoded in zip(self._raw_atoms, self.encoded_atoms.tolist(), strict=True):
            if abs(encoded) >= EXACT_STEPS:  # it may be just outside, where the end was rounded to it
                least = max(least, math.nextafter(encoded, math.inf)) if atom < ends[0] else least
                most = min(most, math.nextafter(encoded, -math.inf)) if atom > ends[1] else most
        if least < most:
            return Restriction((0, *codes), least, most)
        if codes:
            return Restriction(tuple(codes))  # no number lies between, but an atom
        raise ValueError(f"column {self.name!r} has no number from {low!r} to {high!r}")

    def among(self, values: list[object]) -> Restriction:
        """See the base class; of real numbers atoms alone have probabilities."""
        pairs = [self.encode_value(value) for value in values]
        for value, (code, _) in zip(values, pairs, strict=True):
            if code == self.unseen:
                raise ValueError(f"column {self.name!r} was given {show(value)}, which was not seen in training")
            if code == 0 and not self.whole:
                raise ValueError(
                    f"column {self.name!r} holds real numbers: give one, or a range (low, high), since each of several "
                    "has probability zero"
                )
        points = tuple(sorted({number for code, number in pairs if code == 0}))
        return Restriction(tuple(sorted({code for code, _ in pairs})), points=points)

    def refusal(self, series: pd.Series, row: int) -> str:
        """See the base class."""
        values, missing = self._values(series)
        where = f"column {self.name!r} has in row {row} (counted from 0)"
        if missing[row]:
            return f"{where} a missing value, but none was seen in training"
        if np.isinf(values[row]):
            return f"{where} the value {self._shown(values[row])}, but training rows held no such infinity"
        return self._beyond(values[row], f"has in row {row} (counted from 0)")

    @property
    def encoded_atoms(self) -> NDArray[np.float64]:
        """The atoms, encoded."""
        return self._grid.count(np.array(self._raw_atoms, np.float64))

    def raw(self, series: pd.Series) -> NDArray[np.float64]:
        """Return the values of a column as numbers, microseconds of times; NaN where one is missing."""
        values, missing = self._values(series)
        return np.where(missing, np.nan, values)

    @property
    def unit(self) -> float:
        """What one encoded number stands for, in the units of :meth:`raw`."""
        return self._grid.resolution or 1.0

    @property
    def _grid(self) -> Grid:
        """The grid of the values as they are read."""
        return Grid(self.resolution)

    @property
    def _raw_atoms(self) -> tuple[int | float, ...]:
        """The atoms as values are read, exactly."""
        return self.atoms

    @property
    def _ends(self) -> tuple[float, float]:
        """The minimum and the maximum as values are read."""
        low, high = self.minimum, self.maximum
        return -math.inf if low is None else low * self.UNIT, math.inf if high is None else high * self.UNIT

    def _is_beyond(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which values, as they are read, are beyond a bound by more than rounding, or in a cell that is."""
        (least, most), (low, high), noise = self._ends, self.bounds, NOISE * self.resolution
        counts = self._grid.count(values)
        return (values < least - noise) | (values > most + noise) | (counts < low) | (counts > high)

    def _values(self, series: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return a column's values in the units in which they are read, and which are missing."""
        series = uncategorized(series)
        found = family(series, self.name)
        if found not in (self.FAMILY, "nothing") and not series.isna().all():
            raise other_family(series, self.name, found, self.FAMILY)
        if found != self.FAMILY:
            return np.zeros(len(series)), np.ones(len(series), bool)
        return self._read(series)

    def series_of(self, value: object) -> pd.Series:
        """Return one value as a column."""
        if is_missing(value):
            return pd.Series([None], dtype=object)
        self._raw(value)
        return pd.Series([value], dtype=object).infer_objects()

    @abstractmethod
    def _decoded(self, counts: NDArray[np.float64], codes: NDArray[np.int64], missing: NDArray[np.bool_]) -> pd.Series:
        """Return the values of numbers of steps, of atoms exactly."""

    @abstractmethod
    def _read(self, series: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return a column's values in the units in which they are read, and which are missing."""

    @abstractmethod
    def _raw(self, value: object) -> int | float:
        """Return one value, which is not missing, as values are read, a whole one exactly."""

    def _beyond(self, value: float, where: str) -> str:
        low, high = self._ends
        is_below = low > -math.inf and value <= low
        word, end = ("below its minimum", low) if is_below else ("above its maximum", high)
        origin = self.bounds_of[0 if is_below else 1]
        pair = (origin, self.name) if is_below else (self.name, origin)
        order = "" if origin is None else f" (that of {origin!r}, by the order {pair[0]} <= {pair[1]})"
        return f"column {self.name!r} {where} the value {self._shown(value)}, {word} {self._shown(end)}{order}"

    def _shown(self, value: float) -> str:
        return repr(plain(float(value)))
