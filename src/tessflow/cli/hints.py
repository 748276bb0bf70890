"""What a table file probably means otherwise than it says.

Like the commands, it imports torch and pandas inside functions only.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tessflow.tables import TableSchema

__all__ = ["warn_of_words"]


def warn_of_words(schema: TableSchema) -> None:
    """Warn of columns of words one of which stands for a missing value elsewhere, such as NA."""
    from tessflow.tables import TableWarning
    from tessflow.tables.readings import MISSING_WORDS

    for column in schema.columns:
        found = sorted(MISSING_WORDS & set(getattr(column, "values", ())))
        if found:
            warnings.warn(
                f"column {column.name!r} has {found[0]!r} among its words: if that is a missing value, write "
                f"--na {found[0]}",
                TableWarning,
                stacklevel=2,
            )
