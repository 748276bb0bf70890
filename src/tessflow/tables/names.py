"""Names of columns, which a file turns into strings."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

__all__ = ["named", "place_of"]


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
