"""The command `tessflow sample`.

Like the other commands, it imports torch and pandas inside functions only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tessflow.cli.arguments import MOST_ROWS, STANDARD_OUTPUT, ModelDirectory, Seed
from tessflow.cli.given import conditions
from tessflow.cli.models import is_mixture, load_model, word_schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["sample"]


def sample(
    directory: ModelDirectory,
    *,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, max=MOST_ROWS, help="Number of rows.")] = 10,
    out: Annotated[
        Path, typer.Option(metavar="TABLE", help="Table to write; - is CSV on standard output.")
    ] = STANDARD_OUTPUT,
    given: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            help="What is given: a=1, a=1..5, a=1.., a=red|blue, a= (missing), day=2024-01-31, written as in the "
            "table file if its format is declared; may be repeated.",
        ),
    ] = None,
    seed: Seed = None,
) -> None:
    """Draw rows from the model in DIR, perhaps of which something is given.

    A value that was not seen in training may be given: the rest of the row is drawn as for "something not seen".
    """
    import pandas as pd

    from tessflow.tables.files import write_parts

    model = load_model(directory)
    options: dict[str, Any] = {}
    if given:
        if is_mixture(model):
            raise ValueError("--given is for models of tables, and this one is a mixture")
        options["given"] = conditions(model.schema_, given)
    parts = map(pd.DataFrame, model.sample_batches(rows, random_state=seed, **options))  # arrays, if fitted to one
    write_parts(_counted(parts), out, word_schema(model))


def _counted(parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Yield parts whose index goes on from that of the part before."""
    rows = 0
    for part in parts:
        yield part.set_axis(range(rows, rows + len(part)))
        rows += len(part)
