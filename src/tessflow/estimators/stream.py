"""Rows of a table file, encoded batch by batch into files that are mapped, not read, into memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
        The schema, and encoded rows to train on and to validate on. They are kept in a temporary directory for as long
        as the context lasts.

    Raises:
        OSError: If the file cannot be read.
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
    with tempfile.TemporaryDirectory(prefix="tessflow-") as directory:
        files = [Path(directory) / name for name in ("train", "validation")]
        counts, width, dtype = [0, 0], 0, torch.int64
        with files[0].open("wb") as train, files[1].open("wb") as validation:
            for batch, aside in parts(columns):
                rows = columns.encode(batch, unseen=unseen)
                for part, (file, chosen) in enumerate(((train, ~aside), (validation, aside))):
                    counts[part] += int(chosen.sum())
                    file.write(rows[torch.from_numpy(chosen)].numpy().tobytes())
                width, dtype = rows.shape[1], rows.dtype
        if counts[0] == 0 or (counts[1] == 0 and share > 0):
            raise ValueError(f"{source.path} has {sum(counts)} rows: too few to read in batches, so read it whole.")
        mapped = [
            torch.from_file(str(file), shared=True, size=count * width, dtype=dtype).view(count, width)
            if count
            else torch.empty(0, width, dtype=dtype)
            for file, count in zip(files, counts, strict=True)
        ]
        yield columns, mapped[0], mapped[1]
