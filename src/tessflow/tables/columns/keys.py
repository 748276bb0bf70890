"""A column that names rows: it is carried along, and never modelled."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["KeyColumn"]


class KeyColumn(BaseModel):
    """A column, or an index, that names rows: it may be there or not, and holds what it likes.

    Args:
        name: Its name.
        kind: "key".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | int
    kind: Literal["key"] = "key"

    @property
    def words(self) -> None:
        """Its words in a file have no format: they stay as they are."""
