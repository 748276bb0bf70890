"""Tables: their schema, the codec from a table to numbers and back, and table files."""

from tessflow.tables.batches import read_batches
from tessflow.tables.columns import (
    ClassColumn,
    DatetimeColumn,
    DurationColumn,
    KeyColumn,
    NumberColumn,
    NumericColumn,
    TimeColumn,
)
from tessflow.tables.files import read_table, write_table
from tessflow.tables.schema import TableSchema
from tessflow.tables.sources import TableSource
from tessflow.tables.values import Interval, TableWarning

__all__ = [
    "ClassColumn",
    "DatetimeColumn",
    "DurationColumn",
    "Interval",
    "KeyColumn",
    "NumberColumn",
    "NumericColumn",
    "TableSchema",
    "TableSource",
    "TableWarning",
    "TimeColumn",
    "read_batches",
    "read_table",
    "write_table",
]
