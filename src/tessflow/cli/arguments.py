"""Arguments that several commands take, and table files as they say.

Like the commands, it imports torch and pandas inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tessflow.files import STANDARD

if TYPE_CHECKING:
    import pandas as pd

    from tessflow.tables import TableSchema, TableSource

__all__ = [
    "STANDARD_OUTPUT", "Delimiter", "MissingWords", "ModelDirectory", "Seed", "TableFile", "UnseenValues", "listed",
    "one_of", "require_countable", "table_source", "write_rows",
]  # fmt: skip

STANDARD_OUTPUT = Path(STANDARD)

MOST_SEED = 2**63 - 1

MOST_ROWS = 2**31 - 1
"""Most rows that are drawn, or looked at."""


def require_countable(name: str, value: int) -> None:
    """Refuse an integer by which nothing can be counted."""
    if abs(value) > MOST_SEED:
        raise ValueError(f"{name} is out of range: give at most {MOST_SEED}, got {value}")


def one_of(*words: str) -> Callable[[typer.CallbackParam, str | None], str | None]:
    """Return the check of an option that is one of some words.

    Example:
        >>> from types import SimpleNamespace
        >>> one_of("red", "blue", "green")(SimpleNamespace(opts=["--colour"]), "grey")
        Traceback (most recent call last):
        ValueError: --colour must be 'red', 'blue' or 'green', got 'grey'
    """

    def check(param: typer.CallbackParam, value: str | None) -> str | None:
        if value is not None and value not in words:
            *others, last = map(repr, words)
            raise ValueError(f"{param.opts[0]} must be {', '.join(others)} or {last}, got {value!r}")
        return value

    return check


def _delimiter(value: str | None) -> str | None:
    """Read what separates fields; a shell hardly lets a tabulator through."""
    value = "\t" if value == "\\t" else value
    if value is not None and len(value) != 1:
        raise ValueError(f"--delimiter: the delimiter is one character, got {value!r}")
    return value


TableFile = Annotated[
    Path, typer.Argument(metavar="TABLE", help="CSV file (also .tsv, .gz) or Parquet file; - is standard input.")
]
ModelDirectory = Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a fitted model.")]
Delimiter = Annotated[
    str | None, typer.Option(callback=_delimiter, help="What separates the fields of a CSV file; tab is '\\t'.")
]
MissingWords = Annotated[
    list[str] | None,
    typer.Option(
        "--na",
        metavar="WORD",
        help="A word for missing values in every column of a CSV file; may be repeated. A model keeps those of `fit`.",
    ),
]
Seed = Annotated[int | None, typer.Option(min=0, max=MOST_SEED, help="Seed of the draw; by default that of the fit.")]
UnseenValues = Annotated[
    str | None,
    typer.Option(
        "--unseen",
        metavar="other|error",
        callback=one_of("other", "error"),
        help="Values not seen in training count as 'something not seen' (other), or are refused (error); by default "
        "as the model was fitted.",
    ),
]


def table_source(path: Path, delimiter: str | None, missing: list[str] | None) -> TableSource:
    """Return a table file and how it is read: what the options of every command that reads one say."""
    from tessflow.tables import TableSource

    return TableSource(path, delimiter, tuple(missing or ()))


def write_rows(frame: pd.DataFrame, path: Path, schema: TableSchema | None = None) -> None:
    """Write rows of a table file, with the index that they had there.

    An index of numbers without a name is left out of a CSV file (`write_table`): one that does not count the rows from
    0 is called "index", so that it is kept.
    """
    import pandas as pd

    from tessflow.tables import write_table

    index = frame.index
    if index.nlevels == 1 and index.name is None and not index.equals(pd.RangeIndex(len(index))):
        is_parquet = path.name.lower().endswith(".parquet")  # which holds it without a name
        frame = frame if is_parquet else frame.rename_axis("index")
    write_table(frame, path, schema)


def listed(names: str | None) -> list[str] | None:
    """Split names at commas.

    Example:
        >>> listed("age, income")
        ['age', 'income']
    """
    return None if names is None else [name.strip() for name in names.split(",")]
