"""The command `tessflow score`.

Like the other commands, it imports torch and pandas inside functions only.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tessflow.cli.arguments import (
    Delimiter,
    MissingWords,
    ModelDirectory,
    TableFile,
    UnseenValues,
    listed,
    table_source,
    write_rows,
)
from tessflow.cli.models import is_mixture, load_model
from tessflow.cli.phrases import by_column, counted, exactness, mean_of, say

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from tessflow import MixtureFlow, TabularFlow
    from tessflow.tables import TableSource

__all__ = ["Scored", "score", "score_mixture", "score_table"]

SCORES = "log_likelihood"


def score(
    directory: ModelDirectory,
    table: TableFile,
    *,
    columns: Annotated[str | None, typer.Option(help="Score these columns only: names with commas between.")] = None,
    given: Annotated[str | None, typer.Option(help="Score given these columns: names with commas between.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Importance samples a row, if it is a bound.")] = None,
    orders: Annotated[
        int | None, typer.Option(min=1, help="Orders of the columns to take the mean over: 1 is the fastest.")
    ] = None,
    unseen: UnseenValues = None,
    out: Annotated[
        Path | None, typer.Option(metavar="TABLE", help="Table for the log-likelihood of each row, in order.")
    ] = None,
    delimiter: Delimiter = None,
    na: MissingWords = None,
) -> None:
    """Print the mean log-likelihood of the rows of TABLE.

    If some rows hold values that were not seen in training, it is printed for the rows without any, and for all rows.

    With --out, each row has its value, in nats, in the column `log_likelihood` of that file, after the keys and the
    index of TABLE.
    """
    model, source = load_model(directory), table_source(table, delimiter, na)
    if is_mixture(model):
        if any(option is not None for option in (columns, given, orders, unseen)):
            raise ValueError(
                "--columns, --given, --orders and --unseen are for models of tables, and this one is a mixture"
            )
        width, names = source.header().shape[1], model.schema_.names
        if not model.schema_.from_array:
            source.require_names(names)
        elif width != len(names):
            raise ValueError(f"{table} has {width} columns, but the model has {len(names)}: give as many")
        scored = score_mixture(model, source)
    else:
        source.require_columns(model.schema_ if columns is None else None)
        scored = score_table(
            model, source, columns=listed(columns), given=listed(given), samples=samples, orders=orders, unseen=unseen
        )
    if out is not None:
        write_rows(scored.table(), out)
    for line in scored.lines(exactness(model, samples or 100)):
        say(line, out)


@dataclass(frozen=True)
class Scored:
    """Rows that were scored.

    Args:
        scores: Log-likelihoods, in nats, ``(rows,)``.
        strange: Which rows hold something not seen, ``(rows,)``.
        counts: How many rows do, by column.
        labels: What names the rows: their keys, and their index.
    """

    scores: NDArray[np.float64]
    strange: NDArray[np.bool_]
    counts: dict[Any, int]
    labels: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """Return what names the rows, with their log-likelihoods."""
        table = self.labels.copy()
        table.insert(table.shape[1], SCORES, self.scores, allow_duplicates=True)  # which `write_table` refuses
        return table

    def lines(self, exactness: str) -> Iterator[str]:
        """Say the mean; with something not seen, that of rows without, that of all rows, and how many rows there are.

        Args:
            exactness: What the log-likelihoods are.
        """
        rows, strange = len(self.scores), int(self.strange.sum())
        if not strange:
            yield f"mean log-likelihood: {mean_of(self.scores)}, {counted(rows, 'row')}, {exactness}"
            return
        if strange < rows:
            seen = self.scores[~self.strange]
            what = f"{counted(len(seen), 'row')} with nothing unseen"
            yield f"mean log-likelihood of {what}: {mean_of(seen)}, {exactness}"
        which = f"all {rows:,} rows" if rows > 1 else "the one row"
        yield f"mean log-likelihood of {which}: {mean_of(self.scores)}, {exactness}"
        share = f"{counted(strange, 'row')} ({strange / rows:.1%})"
        yield f"something unseen in {share}, by column: {by_column(self.counts)}"


def score_mixture(model: MixtureFlow, source: TableSource) -> Scored:
    """Score the rows of a file of numbers, which need not fit into memory."""
    import numpy as np
    import pandas as pd

    parts = source.apply(lambda batch: (model.score_samples(batch), batch.iloc[:, :0]))
    scores, labels = zip(*parts, strict=True)
    found = np.concatenate(scores)
    return Scored(found, np.zeros(len(found), bool), {}, pd.concat(labels))


def score_table(
    model: TabularFlow,
    source: TableSource,
    *,
    columns: Sequence[str] | None = None,
    given: Sequence[str] | None = None,
    samples: int | None = None,
    orders: int | None = None,
    unseen: Any = None,
) -> Scored:
    """Score the rows of a table file, which need not fit into memory.

    Args:
        model: The model.
        source: The file.
        columns: See `TabularFlow.score_samples` for this and what follows.
        given: What is given.
        samples: Importance samples.
        orders: Orders of the columns.
        unseen: What is done with values not seen in training.

    Warns:
        TableWarning: If many rows of the file hold something not seen in training.
    """
    import numpy as np
    import pandas as pd

    from tessflow.estimators.queries import warn_of_unseen
    from tessflow.tables import TableWarning

    options = {"columns": columns, "given": given, "samples": samples, "orders": orders, "unseen": unseen}
    looked_at = None if columns is None else [*columns, *(given or ())]
    keys = {str(key.name) for key in model.schema_.keys}
    counts: Counter[Any] = Counter()

    def scored(batch: pd.DataFrame) -> tuple[Any, Any, pd.DataFrame]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TableWarning)  # of a batch: what counts is the file
            scores = model.score_samples(batch, **options)
        unseen_here = model.find_unseen(batch, columns=looked_at)
        counts.update({name: int(count) for name, count in unseen_here.sum().items()})
        return scores, unseen_here.any(axis=1), batch.loc[:, [str(name) in keys for name in batch.columns]]

    scores, strange, labels = zip(*source.apply(scored, model.schema_), strict=True)
    found = np.concatenate(scores)
    warn_of_unseen(model.schema_, counts, len(found), stacklevel=2)
    return Scored(found, np.concatenate(strange), counts, pd.concat(labels))
