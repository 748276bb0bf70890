"""A table file and how it is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessflow.tables.batches import count_rows, read_batches
from tessflow.tables.files import read_header, read_table
from tessflow.tables.names import named, require_columns
from tessflow.tables.table_file import TableFile

if TYPE_CHECKING:
    from tessflow.tables.schema import TableSchema

__all__ = ["TableSource"]

T = TypeVar("T")


@dataclass(frozen=True)
class TableSource:
    r"""A table file and how it is read; `TabularFlow.fit` takes it for a path.

    Args:
        path: The file; ``"-"`` for standard input. What comes through a pipe is copied once, into a file without a
            name in the temporary directory.
        delimiter: See `read_table`.
        na_values: See `read_table`.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "birds.csv"
        >>> _ = file.write_text("bird;eggs\nwren;?\nowl;4\n")
        >>> TableSource(file, delimiter=";", na_values="?").read()["eggs"].tolist()
        [<NA>, 4]
    """

    path: str | os.PathLike[str]
    delimiter: str | None = None
    na_values: str | tuple[str, ...] = ()

    @cached_property
    def file(self) -> TableFile:
        """The file, which can be read again and again."""
        return TableFile.find(self.path, self.delimiter)

    def read(self, schema: TableSchema | None = None) -> pd.DataFrame:
        """Read the file whole; see `read_table`."""
        return read_table(self.file, delimiter=self.delimiter, schema=schema, na_values=self.na_values)

    def batches(self, schema: TableSchema | None = None) -> Iterator[pd.DataFrame]:
        """Read the file batch by batch; see `read_batches`."""
        return read_batches(self.file, delimiter=self.delimiter, schema=schema, na_values=self.na_values)

    def apply(self, function: Callable[[pd.DataFrame], T], schema: TableSchema | None = None) -> Iterator[T]:
        """Yield what a function makes of each batch of rows.

        Raises:
            ValueError: As the function; beyond the first batch the message says where in the file the batch begins.
        """
        rows = 0
        for batch in self.batches(schema):
            try:
                found = function(batch)
            except (ValueError, TypeError) as error:
                if not rows:
                    raise
                error.args = (f"in the rows from number {rows} on, which count from 0 here: {error}",)
                raise
            rows += len(batch)
            yield found

    def header(self) -> pd.DataFrame:
        """Read the columns of the file, and none of its rows."""
        return read_header(self.file, self.delimiter)

    def require_columns(self, schema: TableSchema | None) -> TableSource:
        """Return the source, if the file has the columns of a schema; none of its rows is read.

        Raises:
            ValueError: If columns are missing or unknown; the message names the file.
        """
        if schema is not None:
            self.require_names(schema.names, [key.name for key in schema.keys])
        return self

    def require_names(self, names: Sequence[str | int], others: Sequence[str | int] = ()) -> None:
        """Refuse a file that lacks a column of some names, or has any but those and others."""
        header = named(self.header(), [*names, *others])
        try:
            require_columns(header, names, others)
        except ValueError as error:
            raise ValueError(f"{self.file}: {error}") from error

    def rows_at(
        self, places: NDArray[np.int64], encode: Callable[[pd.DataFrame], Tensor], schema: TableSchema
    ) -> tuple[pd.DataFrame, Tensor]:
        """Read some rows, in memory for a batch and those rows.

        Args:
            places: Which rows, each once, in any order.
            encode: What encodes rows, and refuses those that are none: all rows are looked at.
            schema: What the columns are.

        Returns:
            The rows, in the order of `places`; and encoded.
        """
        ascending, first = np.sort(places), 0
        frames, rows = [], []
        for batch, encoded in self.apply(lambda batch: (batch, encode(batch)), schema):
            here = ascending[slice(*ascending.searchsorted([first, first + len(batch)]))] - first
            frames.append(batch.iloc[here])
            rows.append(encoded[here])
            first += len(batch)
        back = np.argsort(np.argsort(places))
        return pd.concat(frames).iloc[back], torch.cat(rows)[back]

    def count_rows(self) -> int:
        """Count the rows of the file."""
        return count_rows(self.file, delimiter=self.delimiter)
