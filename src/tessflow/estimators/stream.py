"""Rows of a table file, encoded batch by batch into files that are mapped, not read, into memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tessflow.estimators.options import TabularOptions
from tessflow.tables import TableSchema, TableSource

__all__ = ["encoded_file"]

# More rows than this do not choose better weights.
MOST_VALIDATION_ROWS = 20_000


@contextmanager
def encoded_file(
    source: TableSource,
    schema: TableSchema | None,
    options: TabularOptions,
    share: float,
    *,
    kept: TableSchema | None = None,
) -> Iterator[tuple[TableSchema, Tensor, Tensor]]:
    """Read a table file in bounded memory: for the number of its rows, for its schema, and for the rows.

    Args:
        source: A Parquet or CSV file.
        schema: What is declared of its columns, if anything.
        options: How to read the schema, and the seed.
        share: What share of the rows to set aside, at most; of many rows a smaller one.
        kept: The schema of a model that is trained on; None to read one.

    Yields:
        The schema, and encoded rows to train on and to validate on. They are kept in temporary files without a name,
        which are gone with the tensors.

    Raises:
        OSError: If the file cannot be read, or there is no room for temporary ones.
        ValueError: If it is no table, or has too few rows to set some aside.
    """
    share = min(share, MOST_VALIDATION_ROWS / source.count_rows())
    seed = options.random_state

    def parts(declared: TableSchema | None) -> Iterator[tuple[pd.DataFrame, NDArray[np.bool_]]]:
        choose = np.random.default_rng(seed)
        for batch in source.batches(declared):
            yield batch, choose.random(len(batch)) < share

    # What was seen is what training rows hold.
    train_rows = (batch[~aside] for batch, aside in parts(schema))
    columns = kept or TableSchema.read(train_rows, schema, max_levels=options.max_levels, scaling=options.scaling)
    unseen = options.unseen if kept else "other"
    # These files have no names, so that nothing is left of them when the process dies.
    with tempfile.TemporaryFile() as train, tempfile.TemporaryFile() as validation:
        counts, width, dtype = [0, 0], 0, np.dtype(np.int64)
        for batch, aside in parts(columns):
            rows = columns.encode(batch, unseen=unseen).numpy()
            for part, (file, chosen) in enumerate(((train, ~aside), (validation, aside))):
                counts[part] += int(chosen.sum())
                _write(file, rows[chosen])
            width, dtype = rows.shape[1], rows.dtype
        if counts[0] == 0 or (counts[1] == 0 and share > 0):
            raise ValueError(f"{source.path} has {sum(counts)} rows: too few to read in batches, so read it whole.")
        mapped = [
            torch.from_numpy(
                np.memmap(file, dtype, mode="r+", shape=(count, width)) if count else np.empty((0, width), dtype)
            )
            for file, count in zip((train, validation), counts, strict=True)
        ]
        yield columns, mapped[0], mapped[1]


def _write(file: IO[bytes], rows: NDArray[Any]) -> None:
    try:
        file.write(rows.tobytes())
        file.flush()
    except OSError as error:
        raise OSError(error.errno, f"no room for the encoded table: {error.strerror}", tempfile.gettempdir()) from error
