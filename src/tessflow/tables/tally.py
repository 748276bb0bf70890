"""What one pass over the rows of a column finds, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tessflow.tables.dtypes import dtype_name
from tessflow.tables.frames import as_frame, noted_na_values
from tessflow.tables.grid import Grid
from tessflow.tables.times import UNITS, to_microseconds, word
from tessflow.tables.values import Missing, Value, factorize, family, missing_name, natives, plain

__all__ = ["Tally", "Weights", "tally"]

Weights: TypeAlias = "NDArray[np.float64] | None"
"""How many rows each row counts as, positive, shape (rows,); 1 if None."""

DISTINCT, SAMPLE = 100_000, 200_000
"""Distinct numbers that are counted; beyond, a random sample of so many rows takes their place."""

DECIMALS = 6
"""Most decimal places of a resolution."""


@dataclass
class Tally:
    """Rows of one column, batch by batch.

    Of numbers and times it keeps how often each came, up to a cap, and then a sample; of all else how often each of
    the distinct values came. Times are microseconds. A row of weight w counts as w rows.
    """

    name: str | int
    weight: float = 0  # of all rows
    weight_present: float = 0  # of those with a value
    families: set[str] = field(default_factory=set)
    missing: Missing | None = None
    categories: pd.CategoricalDtype | None = None
    values: Counter[Value] = field(default_factory=Counter)
    infinities: set[float] = field(default_factory=set)
    na_values: set[str] = field(default_factory=set)  # words of a file that were named as missing values
    low: float = np.inf
    high: float = -np.inf

    def __post_init__(self) -> None:
        self._head: pd.Series | None = None  # one row a dtype
        self._counts: pd.Series | None = pd.Series(dtype=np.int64)
        self._random = np.random.default_rng(0)
        self._keys = np.empty(0)  # of the sample, at random
        self._sample: NDArray[Any] | None = None
        self._sample_weights = np.empty(0)
        self.counted: float = 0  # finite numbers
        self.weight_infinite: float = 0
        self._nonzero: float = 0
        # Of each resolution, from coarse to fine: rows that are no multiples, those too large to tell, and those that
        # are taken for 0, but are not.
        self._off = np.zeros((3, DECIMALS + 1))

    def add(self, series: pd.Series, weights: Weights = None) -> None:
        """Take in the rows of a batch.

        Args:
            series: The rows.
            weights: How many rows each counts as, positive; 1 by default.

        Raises:
            TypeError: If they hold what no column takes, or types are mixed.
        """
        found = family(series, self.name)
        gone = series.isna().to_numpy()
        self.weight += len(series) if weights is None else float(weights.sum())
        self.weight_present += int(np.count_nonzero(~gone)) if weights is None else float(weights[~gone].sum())
        if gone.any() and self.missing is None:
            self.missing = missing_name(series.iloc[int(np.argmax(gone))])
        is_categorical = isinstance(series.dtype, pd.CategoricalDtype)
        if not is_categorical and found == "intervals":
            raise TypeError(f"column {self.name!r} holds intervals: convert it with astype('category')")
        self._join(series)
        if is_categorical:
            found = "categories"
            self._join_categories(series.dtype)
        if gone.all():
            return
        self.families.add(found)
        if len(self.families) > 1:
            kinds = ", ".join(sorted(self.families))
            raise TypeError(f"column {self.name!r} mixes {kinds}: convert it to one of them, such as astype(str)")
        if self.is_numeric:
            self._count(series[~gone], None if weights is None else weights[~gone])
        else:
            codes, distinct = factorize(series, self.name)
            weights = None if weights is None else weights[codes >= 0]
            for code, count in enumerate(np.bincount(codes[codes >= 0], weights, len(distinct)).tolist()):
                if count:
                    self.values[distinct[code]] += count

    @property
    def rows(self) -> int:
        """How many rows came."""
        return _rounded(self.weight)

    @property
    def present(self) -> int:
        """How many of them had a value."""
        return _rounded(self.weight_present)

    @property
    def infinite(self) -> int:
        """How many of them had an infinite one."""
        return _rounded(self.weight_infinite)

    @property
    def family(self) -> str:
        """What the column holds; see `tessflow.tables.values.family`."""
        return next(iter(self.families), "nothing")

    @property
    def is_numeric(self) -> bool:
        """Whether it holds numbers or times, and is no categorical column."""
        return bool(self.families & {"numbers", "datetimes", "timedeltas"})

    @property
    def is_exact(self) -> bool:
        """Whether every distinct number was counted, or else sampled."""
        return self._counts is not None

    @cached_property
    def numbers(self) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Distinct finite numbers, ascending, and their counts, of all rows or of the sample."""
        native, counts = self._distinct()
        values = native.astype(np.float64)
        order = np.argsort(values, kind="stable")
        order = order[np.isfinite(values[order])]
        return values[order], counts[order]

    @property
    def share(self) -> float:
        """Share of the rows with a value that are behind `numbers`: less than 1 if they are a sample."""
        return 1.0 if self.is_exact else float(self._sample_weights.sum()) / self.weight_present

    def resolution(self, allowed: float) -> float:
        """Return the coarsest resolution of which all numbers but a few are multiples; 0 if there is none.

        Args:
            allowed: Which share of the rows may be no multiples.

        Returns:
            In the units of `numbers`: of times, a number of microseconds.
        """
        for resolution, off, undecided, lost in zip(self._resolutions, *self._off, strict=False):
            if off <= allowed * self.counted and 2 * undecided <= self.counted and 2 * lost <= self._nonzero:
                return float(resolution)
        return 0.0

    def exactly(self, values: NDArray[np.float64]) -> list[int | float]:
        """Return the numbers that some of `numbers` stand for: integers as such, even where a float64 holds them not.

        Of several that have the same float64, all are returned.
        """
        native, counts = self._distinct()
        if native.dtype.kind == "f" or not len(values):
            return [_number(value) for value in values.tolist()]
        floats = native.astype(np.float64)
        found: list[int | float] = []
        for value in values.tolist():
            same = floats == value
            # Off the grid a cell is meant. Of neighbours with one float64 those count that come often themselves.
            often = same & (counts >= 0.1 * counts[same].sum()) if same.any() else same
            found += [int(number) for number in sorted(native[often].tolist())] or [_number(value)]
        return found

    @property
    def dtype(self) -> str:
        """Name of the dtype that all batches have in common."""
        dtype = self.pandas_dtype
        return "date" if self.family == "datetimes" and dtype.kind == "O" else dtype_name(dtype)

    @property
    def pandas_dtype(self) -> Any:
        """The dtype that all batches have in common; one of datetimes where objects were some."""
        assert self._head is not None
        return (self._head.infer_objects() if self.family in ("datetimes", "timedeltas") else self._head).dtype

    def class_counts(self) -> dict[Value, float]:
        """Return how often each distinct value came, in the order of the categories, or ascending.

        Raises:
            ValueError: If they are numbers, and too many to be counted.
        """
        if self.categories is not None:
            known = map(plain, self.categories.categories)
            return {value: self.values[value] for value in known if value in self.values}
        if not self.is_numeric:
            return {value: self.values[value] for value in sorted(self.values)}  # type: ignore[type-var]
        if self._counts is None:
            raise ValueError(f"column {self.name!r} has more than {DISTINCT} distinct values: too many for classes")
        counts = zip(self._counts.index.tolist(), self._counts.tolist(), strict=True)
        if self.family == "numbers":
            return dict(sorted((plain(value), count) for value, count in counts))  # type: ignore[type-var]
        return {word(int(value), self.family.removesuffix("s")): count for value, count in sorted(counts)}

    @property
    def _resolutions(self) -> tuple[float, ...]:
        return tuple(10.0**-d for d in range(DECIMALS + 1)) if self.family == "numbers" else UNITS

    def _distinct(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return distinct numbers as they came, and their counts, of all rows or of the sample."""
        if self._counts is not None:
            return self._counts.index.to_numpy(), self._counts.to_numpy()
        assert self._sample is not None
        distinct, places = np.unique(self._sample, return_inverse=True)
        return distinct, np.bincount(places, self._sample_weights)

    def _join(self, series: pd.Series) -> None:
        """Find the dtype that pandas would give all batches together."""
        head = series.iloc[[int(np.argmax(series.notna()))]]
        if self._head is None:
            self._head = head
        elif self._head.dtype != head.dtype and not isinstance(head.dtype, pd.CategoricalDtype):
            self._head = pd.concat([self._head, head]).iloc[:1]

    def _join_categories(self, dtype: Any) -> None:
        if self.categories is None or self.categories == dtype:
            self.categories = dtype
        elif self.categories.ordered or dtype.ordered:
            raise ValueError(f"column {self.name!r} has other ordered categories in one batch than in another")
        else:
            self.categories = pd.CategoricalDtype(self.categories.categories.union(dtype.categories, sort=False))

    def _count(self, present: pd.Series, weights: Weights) -> None:
        is_number = self.family == "numbers"
        cells = natives(present) if is_number else to_microseconds(present, self.name)[0]
        if cells.dtype.kind == "f":
            is_nan = np.isnan(cells)  # which nullable dtypes hold beside NA
            self.missing = self.missing or ("nan" if is_nan.any() else None)
            cells, weights = cells[~is_nan], None if weights is None else weights[~is_nan]
        counts = pd.Series(cells).value_counts(sort=False)
        if weights is not None:
            counts = pd.Series(weights).groupby(cells, sort=False).sum().reindex(counts.index)
        floats = counts.index.to_numpy().astype(np.float64)
        is_finite = np.isfinite(floats)
        finite, times = floats[is_finite], counts.to_numpy()[is_finite]
        self.infinities.update(floats[~is_finite].tolist())
        self.counted += times.sum()
        self.weight_infinite += counts.sum() - times.sum()
        self._nonzero += times[finite != 0].sum()
        if len(finite):
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
        whole = cells.dtype.kind != "f"
        epsilon = float(np.finfo(np.float32 if cells.dtype == np.float32 else np.float64).eps)
        for place, resolution in enumerate(self._resolutions):
            if whole and resolution <= 1:
                break
            if whole:  # times, which have no rounding errors
                self._off[0, place] += times[counts.index.to_numpy() % round(resolution) != 0].sum()
                continue
            grid = Grid(resolution)
            undecided = grid.is_undecided(finite, epsilon)
            off = grid.is_off(finite, epsilon / 2) & ~undecided
            lost = (finite != 0) & (grid.count(finite) == 0) & ~off
            self._off[:, place] += times[off].sum(), times[undecided].sum(), times[lost].sum()
        keys = np.concatenate([self._keys, self._random.random(len(cells))])
        weights = np.concatenate([self._sample_weights, np.ones(len(cells)) if weights is None else weights])
        if self._sample is not None:
            dtype = _joint(self._sample.dtype, cells.dtype)
            cells = np.concatenate([self._sample.astype(dtype), cells.astype(dtype)])
        kept = np.argpartition(keys, SAMPLE)[:SAMPLE] if len(keys) > SAMPLE else slice(None)
        self._keys, self._sample, self._sample_weights = keys[kept], cells[kept], weights[kept]
        if self._counts is not None:
            if len(self._counts) and self._counts.index.dtype != counts.index.dtype:
                joint = _joint(*(c.index.to_numpy().dtype for c in (self._counts, counts)))
                self._counts.index, counts.index = (c.index.astype(joint) for c in (self._counts, counts))
            joined = self._counts.add(counts, fill_value=0).astype(counts.dtype) if len(self._counts) else counts
            self._counts = joined
            if len(self._counts) > DISTINCT:
                self._counts = None


def _joint(one: np.dtype[Any], other: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that holds numbers of two others, integers as such."""
    joint = np.result_type(one, other)
    if joint.kind == "f" and "f" not in (one.kind, other.kind):
        return np.dtype(object)  # of int64 and uint64 neither holds the other
    return joint


def _rounded(weight: float) -> int:
    return max(round(weight), int(weight > 0))


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def tally(
    table: object,
    align: Callable[[object], pd.DataFrame] | None = None,
    names: Sequence[str | int] | None = None,
    weights: Weights = None,
) -> tuple[dict[str | int, Tally], str | None]:
    """Read the rows of a table, or of batches of it, once.

    Args:
        table: See `TableSchema.infer`.
        align: Makes a batch a DataFrame with the columns that a schema declares; by default it is taken as it is.
        names: The columns to read; all by default.
        weights: How many rows each row of a single table counts as; 1 by default.

    Returns:
        What was found of each column, by name; and the dtype of the array, if it is one.

    Raises:
        TypeError: If it is no table, or a column holds what no schema takes.
        ValueError: If there are no rows, or batches differ in their columns.
    """
    tallies: dict[str | int, Tally] = {}
    array_dtype = None
    for batch in _batches(table):
        frame, array_dtype = as_frame(batch)
        frame = (frame if align is None else align(batch)).rename(columns=_plain_name)
        frame = frame if names is None else frame[list(names)]  # without keys
        if tallies and set(tallies) != set(frame.columns):
            raise ValueError(f"batches differ in their columns: {list(tallies)} and {list(frame.columns)}")
        for name, series in frame.items():
            if name not in tallies:
                tallies[name] = Tally(name)  # type: ignore[index, arg-type]
            tallies[name].na_values |= noted_na_values(batch)  # type: ignore[index]
            if len(frame):
                tallies[name].add(series, weights)  # type: ignore[index]
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
