"""What all kinds of columns have."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from typing_extensions import Self

from tessflow.models.variables import Restriction, Variable
from tessflow.tables.formats import WordFormat
from tessflow.tables.tally import Tally
from tessflow.tables.values import Missing

__all__ = ["MISSING", "BaseColumn", "Encoded", "Inference"]

MANY = 100
"""Rows from which on distinct values look like a key."""

RARE = 0.02
"""The share of rows below which a missing value, or an infinity, is rare."""

MISSING = {"None": None, "nan": np.nan, "NA": pd.NA}


class Encoded(NamedTuple):
    """The rows of a column: codes, and numbers in steps of its resolution, 0 where there is none; both ``(rows,)``."""

    codes: NDArray[np.int64]
    numbers: NDArray[np.float64]


class Inference(NamedTuple):
    """How columns are read off rows.

    Args:
        max_levels: Most values of a column of numbers that have a probability of their own.
        scaling: How numbers are scaled, "quantile" or "standard".
    """

    max_levels: int = 64
    scaling: str = "quantile"


class BaseColumn(BaseModel):
    """One column that is modelled: its codes, the last of which stands for something not seen.

    Args:
        name: Name of the column.
        dtype: Name of its pandas dtype; empty before the schema is fitted to rows.
        missing: How a missing value is written ("None", "nan" or "NA"); None: none was seen.
        na_values: Words of a CSV file that are missing values in this column, beside those that always are.
        rows: How many rows the column was read off.
        once: How many of its values came once.
        gone: How many rows were missing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    name: str | int
    kind: str
    dtype: str = ""
    missing: Missing | None = None
    na_values: Annotated[tuple[str, ...], BeforeValidator(lambda one: [one] if isinstance(one, str) else one)] = ()
    rows: int = Field(default=0, ge=0)
    once: int = Field(default=0, ge=0)
    gone: int = Field(default=0, ge=0)

    fitted_fields: ClassVar[tuple[str, ...]] = ("rows", "once", "gone")
    """What rows alone give: no schema declares it."""

    numeric: ClassVar[bool] = False
    """Whether encoded values may be numbers."""

    @property
    @abstractmethod
    def cardinality(self) -> int:
        """Number of codes."""

    @property
    @abstractmethod
    def is_fitted(self) -> bool:
        """Whether the column has all that rows must give."""

    @property
    @abstractmethod
    def variable(self) -> Variable:
        """What the column is to a model."""

    @property
    @abstractmethod
    def measure(self) -> str:
        """What log-likelihoods of the column are, in words: probabilities, of what, or densities."""

    @property
    def details(self) -> list[str]:
        """What a summary tells beside that: atoms and bounds of numbers, and whether values are missing."""
        return [] if self.missing is None else ["missing"]

    @property
    @abstractmethod
    def labels(self) -> tuple[object, ...]:
        """What each code stands for: values, "a number", "missing", "unseen"."""

    @property
    def words(self) -> WordFormat | None:
        """How the words of a file are written; None if that is not declared."""
        return None

    @property
    def looks_like_key(self) -> bool:
        """Whether every one of many rows has a value of its own, as names of rows do."""
        return False

    @property
    def unseen(self) -> int:
        """The code of something not seen."""
        return self.cardinality - 1

    @property
    def fillable(self) -> tuple[int, ...]:
        """The codes of values: all but those of a missing one and of something not seen."""
        return tuple(range(self.cardinality - 1 - (self.missing is not None)))

    @property
    def reserve(self) -> float:
        r"""The least probability of something not seen, :math:`1 / (2 (n + 1))` after n rows."""
        return 1 / (2 * (self.rows + 1))

    @property
    def expected_unseen(self) -> float:
        """What share of new rows may be expected to hold something not seen (Good, 1953)."""
        return (self.once + 0.5) / (self.rows + 1)

    @property
    def rare(self) -> tuple[tuple[int, float], ...]:
        """What is rare, perhaps a missing value, and something not seen, with the shares of rows to be expected."""
        share = (self.gone + 0.5) / (self.rows + 1)
        missing = ((self.unseen - 1, share),) if self.missing is not None and share < RARE else ()
        return (*missing, (self.unseen, self.expected_unseen))

    @classmethod
    @abstractmethod
    def infer(cls, tally: Tally, options: Inference) -> Self | None:
        """Return the column that rows are, or None if they are of another kind."""

    @abstractmethod
    def complete(self, tally: Tally) -> Self:
        """Return a declared column with what its rows must give.

        Raises:
            ValueError: If the rows hold what the column does not declare.
        """

    @abstractmethod
    def encode(self, series: pd.Series) -> Encoded:
        """Return codes and numbers of a column's rows; what was not seen has the last code.

        Raises:
            TypeError: If it holds what no column takes.
            ValueError: If it holds values of another type, or beyond a declared bound.
        """

    @abstractmethod
    def decode(self, encoded: Encoded) -> pd.Series:
        """Return the values of codes and numbers, in the column's dtype and within its range."""

    @abstractmethod
    def encode_value(self, value: object) -> tuple[int, float]:
        """Return the code and the number of one value; a time may be given as a word of ISO 8601.

        Raises:
            ValueError: If it is of another type.
        """

    @abstractmethod
    def between(self, low: object, high: object) -> Restriction:
        """Return a range of values, whose ends belong to it; None is no bound.

        Raises:
            ValueError: If the column has no order, a bound is of another type, or nothing lies between.
        """

    @abstractmethod
    def among(self, values: list[object]) -> Restriction:
        """Return a choice of values.

        Raises:
            ValueError: If a value was not seen, or stands for no event that has a probability.
        """

    def require_seen(self, series: pd.Series, encoded: Encoded) -> None:
        """Raise a ValueError if encoded rows hold something not seen."""
        unseen = encoded.codes == self.unseen
        if unseen.any():
            raise ValueError(self.refusal(series, int(np.argmax(unseen))))

    @abstractmethod
    def refusal(self, series: pd.Series, row: int) -> str:
        """Say what was not seen about the value of a row."""
