"""Names of columns, which a file turns into strings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

__all__ = ["listed", "named", "place_of", "require_columns"]

SHOWN = 10
"""Names that a message shows."""


def listed(names: Sequence[object]) -> str:
    """Write the first names for a message.

    Example:
        >>> listed(("size", 1)), listed(range(20))
        ("'size', 1", '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...')
    """
    return ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")


def place_of(name: object, names: Sequence[object]) -> int | None:
    """Return the place of a name among others, or else that of one which is written alike, such as 1 and "1".

    Example:
        >>> place_of("1", (1, "1")), place_of("2", (1, 2)), place_of("3", (1, 2))
        (1, 1, None)
    """
    for place, known in enumerate(names):
        if known == name and isinstance(known, str) == isinstance(name, str):
            return place
    return next((place for place, known in enumerate(names) if str(known) == name), None)


def named(frame: pd.DataFrame, names: Sequence[str | int]) -> pd.DataFrame:
    """Return a table whose columns, and levels of the index, have the names asked for, where they are written alike.

    A file has turned integer names into strings; and what a schema takes for a column may be an index.
    """
    levels = [level for level in frame.index.names if level is not None and level in names]
    if levels := [level for level in levels if level not in frame.columns]:
        frame = frame.reset_index(levels)
    others = [name for name in names if name not in frame.columns]
    written = {str(name): name for name in others if isinstance(name, int)}
    wanted = {name: written[name] for name in frame.columns if name in written and name not in names}
    return frame.rename(columns=wanted) if wanted else frame


def require_columns(frame: pd.DataFrame, names: Sequence[str | int], others: Iterable[str | int]) -> None:
    """Raise a ValueError unless a table has all columns of some names, and none but those and others.

    Example:
        >>> require_columns(pd.DataFrame({"id": [1], "siez": ["S"]}), ["size"], ["id"])
        Traceback (most recent call last):
        ValueError: the table must have the columns of the training data (1 missing: 'size'; 1 unknown: 'siez')
    """
    missing = [name for name in names if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in {*names, *others}]
    if missing or unknown:
        faults = [
            f"{len(names)} {word}: {listed(names)}"
            for word, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        raise ValueError(f"the table must have the columns of the training data ({'; '.join(faults)})")
