"""What one pass over the rows of a column finds, in bounded memory, and the column that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import infer_dtype

from tessflow.tables.columns import Categories, ClassKind, Column
from tessflow.tables.dtypes import dtype_name
from tessflow.tables.numbers import Grid, NumberColumn, Scaling
from tessflow.tables.scales import quantile_scale, standard_scale
from tessflow.tables.times import UNITS, to_microseconds, word
from tessflow.tables.values import EXACT, Missing, Value, factorize, family, missing_name, plain, show

__all__ = ["Tally", "complete", "infer"]

DISTINCT, SAMPLE = 100_000, 200_000
"""Distinct numbers that are counted; beyond, a random sample of so many rows takes their place."""

DECIMALS = 6
"""Most decimal places of a resolution."""

SPIKE, OFTEN = 0.05, 10
"""Share of the rows, and multiple of the median frequency, that make a number an atom."""

FEW, REPEATS = 20, 20
"""Real numbers are classes if they take so few values, each so often on average."""


@dataclass
class Tally:
    """Rows of one column, batch by batch.

    Of numbers and times it keeps how often each came, up to a cap, and then a sample; of all else the distinct
    values. Times are microseconds.
    """

    name: str | int
    rows: int = 0
    present: int = 0
    families: set[str] = field(default_factory=set)
    missing: Missing | None = None
    categories: pd.CategoricalDtype | None = None
    values: set[Value] = field(default_factory=set)
    infinities: set[float] = field(default_factory=set)
    low: float = np.inf
    high: float = -np.inf

    def __post_init__(self) -> None:
        self._head: pd.Series | None = None  # one row a dtype
        self._counts: pd.Series | None = pd.Series(dtype=np.int64)
        self._random = np.random.default_rng(0)
        self._sample = np.empty((2, 0))  # random keys and their numbers
        self._place = 0  # among the resolutions, from coarse to fine: the first of which all numbers are multiples

    def add(self, series: pd.Series) -> None:
        """Take in the rows of a batch.

        Raises:
            TypeError: If they hold what no column takes, or types are mixed.
        """
        found = family(series, self.name)
        gone = series.isna().to_numpy()
        self.rows += len(series)
        self.present += int(np.count_nonzero(~gone))
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
            self._count(series[~gone])
        else:
            codes, distinct = factorize(series, self.name)
            self.values.update(distinct[code] for code in np.unique(codes[codes >= 0]))

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
    def numbers(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distinct finite numbers, ascending, and their counts, of all rows or of the sample."""
        if self._counts is not None:
            values, counts = self._counts.index.to_numpy().astype(np.float64), self._counts.to_numpy()
        else:
            values, counts = np.unique(self._sample[1], return_counts=True)
        order = np.argsort(values, kind="stable")
        order = order[np.isfinite(values[order])]
        return values[order], counts[order].astype(np.int64)

    @property
    def share(self) -> float:
        """Share of the rows with a value that are behind `numbers`: less than 1 if they are a sample."""
        return 1.0 if self.is_exact else self._sample.shape[1] / self.present

    @property
    def resolution(self) -> float | None:
        """The coarsest resolution of which all numbers are multiples, in seconds for times; None if there is none."""
        if self._place >= len(self._resolutions):
            return None
        return self._resolutions[self._place] / (1 if self.family == "numbers" else 10**6)

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

    def class_values(self) -> tuple[Value, ...]:
        """Return the distinct values, in the order of the categories, or ascending."""
        if self.categories is not None:
            return tuple(value for value in map(plain, self.categories.categories) if value in self.values)
        if not self.is_numeric:
            return tuple(sorted(self.values))  # type: ignore[type-var]
        if self._counts is None:
            raise ValueError(f"column {self.name!r} has more than {DISTINCT} distinct values: too many for classes")
        if self.family == "numbers":
            return tuple(sorted(plain(value) for value in self._counts.index.tolist()))  # type: ignore[type-var]
        return tuple(word(int(count), self.family.removesuffix("s")) for count in self.numbers[0])

    @property
    def _resolutions(self) -> tuple[float, ...]:
        return tuple(10.0**-d for d in range(DECIMALS + 1)) if self.family == "numbers" else UNITS

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

    def _count(self, present: pd.Series) -> None:
        is_number = self.family == "numbers"
        cells = present.to_numpy() if is_number else to_microseconds(present, self.name)[0]
        if cells.dtype.kind == "f":
            is_nan = np.isnan(cells)  # which nullable dtypes hold beside NA
            self.missing = self.missing or ("nan" if is_nan.any() else None)
            cells = cells[~is_nan]
        counts = pd.Series(cells).value_counts(sort=False)
        floats = counts.index.to_numpy().astype(np.float64)
        finite = floats[np.isfinite(floats)]
        self.infinities.update(floats[np.isinf(floats)].tolist())
        if len(finite):
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
        epsilon = float(np.finfo(np.float32 if cells.dtype == np.float32 else np.float64).eps)
        if infer_dtype(counts.index) != "integer":
            while self._place < len(self._resolutions) and not _on_grid(
                finite, self._resolutions[self._place], epsilon
            ):
                self._place += 1
        elif not is_number:
            while (floats % self._resolutions[self._place]).any():
                self._place += 1
        keys = self._random.random(len(cells))
        sample = np.concatenate([self._sample, [keys, cells.astype(np.float64)]], axis=1)
        if sample.shape[1] > SAMPLE:
            sample = sample[:, np.argpartition(sample[0], SAMPLE)[:SAMPLE]]
        self._sample = sample
        if self._counts is not None:
            self._counts = self._counts.add(counts, fill_value=0) if len(self._counts) else counts
            if len(self._counts) > DISTINCT:
                self._counts = None


def infer(tally: Tally, *, max_levels: int, scaling: Scaling) -> Column | NumberColumn:
    """Decide what a column is; see `TableSchema.infer`."""
    if not tally.is_numeric:
        return _classes(tally)
    values, counts = tally.numbers
    rows, is_number = int(counts.sum()), tally.family == "numbers"
    is_whole = is_number and tally.resolution == 1
    is_few = len(values) <= FEW and rows >= REPEATS * len(values)
    if len(values) <= 1 or (is_number and (is_few or (is_whole and len(values) <= max_levels))):
        return _classes(tally)
    resolution = tally.resolution or 0.0
    if is_number and resolution:
        steps = (tally.high - tally.low) / resolution + 1
        repeats = 2 * len(values) <= rows or (not tally.is_exact and 2 * steps <= tally.present)
        exact = 2 * max(abs(tally.low), abs(tally.high)) <= EXACT * resolution  # also half a step is
        resolution = resolution if exact and (is_whole or repeats) else 0.0
    is_atom = (counts >= SPIKE * tally.rows * tally.share) & (counts >= OFTEN * np.median(counts))
    atoms = (*values[is_atom].tolist(), *sorted(tally.infinities))
    seconds = 1 if tally.family == "numbers" else 10**6
    return complete(
        NumberColumn(
            name=tally.name,
            kind=tally.family.removesuffix("s"),  # type: ignore[arg-type]
            dtype=tally.dtype,
            resolution=resolution,
            atoms=tuple(atom / seconds for atom in atoms),
            missing=tally.missing,
            scaling=scaling,
        ),
        tally,
    )


def complete(column: Column | NumberColumn, tally: Tally) -> Column | NumberColumn:
    """Return a declared column with what its rows must give; see `TableSchema.fitted`.

    Raises:
        ValueError: If the rows hold what the column does not declare.
    """
    if isinstance(column, Column):
        return _complete_classes(column, tally)
    where, expected = f"column {column.name!r}", f"{column.kind}s"
    if tally.family not in (expected, "nothing"):
        raise ValueError(f"{where} is declared as {column.kind}, but holds {tally.family}")
    if tally.missing is not None and column.missing is None:
        raise ValueError(f"{where} has missing values, which the schema does not declare: add 'missing: nan'")
    if strange := tally.infinities.difference(column.atoms):
        raise ValueError(f"{where} has the value {min(strange)}, which is not among the atoms of the schema")
    column = column.model_copy(update={"dtype": column.dtype or tally.dtype})
    values, counts = tally.numbers
    scale = 1 if column.kind == "number" else 10**6
    grid = Grid(round(column.resolution * scale) if scale > 1 else column.resolution)
    is_off = grid.is_off(values, float(np.finfo(np.float32 if "float32" in tally.dtype else np.float64).eps))
    if column.whole and is_off.any():
        raise ValueError(
            f"{where} has the value {_shown(values[is_off][0], column)}, no multiple of its resolution "
            f"{column.resolution:g}: round it, or give the column another resolution in the schema"
        )
    encoded = grid.count(values)
    is_number = ~np.isin(encoded, grid.count(np.array(column.atoms, np.float64) * scale))
    numbers, place = np.unique(encoded[is_number], return_inverse=True)
    frequencies = np.bincount(place, weights=counts[is_number], minlength=len(numbers)).astype(np.int64)
    if not len(numbers):
        numbers, frequencies = np.array([0.0]), np.array([1])
    make = quantile_scale if column.scaling == "quantile" else standard_scale
    knots, scores = make(numbers, frequencies, whole=column.whole)
    return column.model_copy(update={"knots": knots, "scores": scores})


def _complete_classes(column: Column, tally: Tally) -> Column:
    found = _classes(tally)
    where = f"column {column.name!r}"
    expected = {"integer": "numbers", "boolean": "booleans"}.get(column.kind, found.value_type)
    if found.value_type not in (expected, None):
        raise ValueError(f"{where} is declared as {column.kind}, but holds {found.value_type}")
    rest: dict[str, Any] = {"dtype": column.dtype or found.dtype, "categories": column.categories or found.categories}
    if not column.values:
        return Column(
            name=column.name, kind=column.kind, values=found.values, missing=found.missing or column.missing, **rest
        )
    if column.value_type != found.value_type and found.value_type is not None:
        raise ValueError(f"{where} holds {found.value_type}, but the schema lists {column.value_type}")
    unknown = [value for value in found.values if value not in column.values]
    if unknown:
        raise ValueError(f"{where} has the value {show(unknown[0])}, which is not among the values of the schema")
    if found.missing is not None and column.missing is None:
        raise ValueError(f"{where} has missing values, which the schema does not declare: add 'missing: nan'")
    return column.model_copy(update=rest)


def _classes(tally: Tally) -> Column:
    values = tally.class_values()
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
    elif not (values and isinstance(values[0], str)):
        dtype = tally.pandas_dtype
        is_boolean = isinstance(values[0], bool) if values else pd.api.types.is_bool_dtype(dtype)
        is_number = bool(values) or (pd.api.types.is_numeric_dtype(dtype) and dtype.kind not in "mM")
        is_whole = all(isinstance(value, int) for value in values)
        kind = "boolean" if is_boolean else "categorical" if not is_number else "integer" if is_whole else "ordinal"
    return Column(
        name=tally.name, kind=kind, dtype=tally.dtype, values=values, missing=tally.missing, categories=categories
    )


def _on_grid(values: NDArray[np.float64], resolution: float, epsilon: float) -> bool:
    if resolution == 1:
        return bool(((values == np.rint(values)) & (np.abs(values) < EXACT)).all())
    grid = Grid(resolution)
    return bool((np.abs(grid.steps(values)) < 1 / (8 * epsilon)).all() and not grid.is_off(values, epsilon / 2).any())


def _shown(value: float, column: NumberColumn) -> str:
    return repr(float(value)) if column.kind == "number" else word(int(value), column.kind)
