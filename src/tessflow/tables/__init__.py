"""Tables of categories: their schema, the codec from a table to integer codes and back, and table files."""

from tessflow.tables.files import read_table, write_table
from tessflow.tables.schema import Column, TableSchema
from tessflow.tables.values import Interval

__all__ = ["TableSchema", "Column", "Interval", "read_table", "write_table"]
