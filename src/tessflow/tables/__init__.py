"""Tables: their schema, the codec from a table to numbers and back, and table files."""

from tessflow.tables.batches import read_batches
from tessflow.tables.columns import Column
from tessflow.tables.files import read_table, write_table
from tessflow.tables.numbers import NumberColumn
from tessflow.tables.schema import TableSchema
from tessflow.tables.sources import TableSource
from tessflow.tables.values import Interval, TableWarning

__all__ = [
    "TableSchema", "Column", "NumberColumn", "Interval", "TableSource", "TableWarning", "read_batches", "read_table",
    "write_table",
]  # fmt: skip
