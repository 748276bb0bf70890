"""Kinds of columns with their codecs, one a file."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from tessflow.tables.columns.base import BaseColumn, Encoded, Inference
from tessflow.tables.columns.classes import Categories, ClassColumn
from tessflow.tables.columns.keys import KeyColumn
from tessflow.tables.columns.numbers import NumberColumn
from tessflow.tables.columns.numeric import NumericColumn
from tessflow.tables.columns.tallied import Scaling
from tessflow.tables.columns.times import DatetimeColumn, DurationColumn, TimeColumn
from tessflow.tables.tally import Tally

__all__ = [
    "KINDS", "AnyColumn", "BaseColumn", "Categories", "ClassColumn", "DatetimeColumn", "DurationColumn", "Encoded",
    "Inference", "KeyColumn", "NumberColumn", "NumericColumn", "Scaling", "TimeColumn", "infer",
]  # fmt: skip

AnyColumn: TypeAlias = Annotated[
    ClassColumn | NumberColumn | DatetimeColumn | DurationColumn, Field(discriminator="kind")
]
"""A column that is modelled."""

KINDS: tuple[type[BaseColumn], ...] = (NumberColumn, DatetimeColumn, DurationColumn, ClassColumn)
"""The kinds in the order in which they are tried: the last takes all that is left."""


def infer(tally: Tally, options: Inference) -> BaseColumn:
    """Decide what a column is; see `TableSchema.infer`."""
    return next(column for kind in KINDS if (column := kind.infer(tally, options)) is not None)
