"""Items and sets of them, as an estimator takes them and as codes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

__all__ = ["ItemSchema", "read_sets"]


class ItemSchema(BaseModel):
    """The items, and the way from sets to rows of codes and back.

    Args:
        items: The items, in the order of their codes.
        size: The number of items in a set.

    Example:
        >>> schema = ItemSchema.infer([["tea", "milk"], {"milk", "bread"}])
        >>> schema.items, schema.encode([["tea", "milk"]]).tolist()
        (('bread', 'milk', 'tea'), [[1, 2]])
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    items: tuple[Any, ...] = Field(min_length=1)
    size: int = Field(ge=1)
    # As of any table read off an array: columns have no names.
    from_array: Literal[True] = True

    @property
    def names(self) -> tuple[int, ...]:
        """The places of a row."""
        return tuple(range(self.size))

    @cached_property
    def _codes(self) -> dict[Any, int]:
        return {item: code for code, item in enumerate(self.items)}

    @classmethod
    def infer(cls, X: Any) -> ItemSchema:
        """Read items and size off sets.

        Raises:
            TypeError: If a row is no collection of hashable items.
            ValueError: If there is no row, or rows have no item, an item twice, or different sizes.
        """
        rows = read_sets(X)
        if not rows:
            raise ValueError("X has no sets: give at least one.")
        size = len(rows[0])
        if size == 0:
            raise ValueError("row 0 (counted from 0) has no items: a set needs one at least.")
        _require_size(rows, size)
        return cls(items=tuple(_sorted({item for row in rows for item in row})), size=size)

    def encode(self, X: Any) -> Tensor:
        """Encode sets as codes in ascending order, int64 ``(rows, size)``.

        Raises:
            TypeError: If a row is no collection of hashable items.
            ValueError: If a row has another size, an item twice, or one that was not seen in training.
        """
        rows = read_sets(X)
        _require_size(rows, self.size)
        codes = [sorted(self.code(item, f"row {n} (counted from 0)") for item in row) for n, row in enumerate(rows)]
        return torch.tensor(codes, dtype=torch.int64).reshape(-1, self.size)

    def code(self, item: Any, where: str) -> int:
        """Return an item's code, or raise a ValueError that says where an unknown one is."""
        if item not in self._codes:
            raise ValueError(f"{where} has the item {item!r}, which was not seen in training: leave it out.")
        return self._codes[item]

    def decode(self, codes: Tensor) -> list[list[Any]]:
        """Undo :meth:`encode`, for rows of any size and order."""
        return [[self.items[code] for code in row] for row in codes.sort(-1).values.tolist()]


def read_sets(X: Any) -> list[list[Any]]:
    """Return sets as lists of items, without the types of NumPy and PyTorch.

    Args:
        X: A list of lists, tuples, sets, arrays or tensors; a 2-D array or tensor; or a DataFrame, of which each row is
            a set.

    Raises:
        TypeError: If a row is no collection, or an item is not hashable.
        ValueError: If an item is missing, or is in a row twice.
    """
    if isinstance(X, pd.DataFrame):
        X = X.to_numpy(dtype=object)
    X = _plain(X)
    if isinstance(X, (str, bytes)) or not isinstance(X, Iterable):
        raise TypeError(f"X must be a list of sets of items, got {X!r}.")
    return [_row(row, f"row {n} (counted from 0)") for n, row in enumerate(X)]


def _plain(value: Any) -> Any:
    """Return an array, a tensor or a number of theirs as Python's lists and numbers."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic, Tensor)) else value


def _row(row: Any, where: str) -> list[Any]:
    row = _plain(row)
    if isinstance(row, (str, bytes)) or not isinstance(row, Iterable):
        raise TypeError(f"{where} must be a list of items, got {row!r}.")
    items = [_plain(item) for item in row]
    seen: set[Any] = set()
    for item in items:
        if not _hashable(item):
            raise TypeError(f"{where} has the item {item!r}, which is not hashable: use strings or numbers.")
        if item is None or item is pd.NA or item != item:
            raise ValueError(f"{where} has a missing item, {item!r}: sets have one size, and all of their items.")
        if item in seen:
            raise ValueError(f"{where} has the item {item!r} twice: a set holds an item once.")
        seen.add(item)
    return items


def _hashable(item: Any) -> bool:
    try:
        hash(item)
    except TypeError:  # a tuple may hold a list
        return False
    return True


def _require_size(rows: list[list[Any]], size: int) -> None:
    for n, row in enumerate(rows):
        if len(row) != size:
            raise ValueError(f"row {n} (counted from 0) has {len(row)} items, but sets here have {size}.")


def _sorted(items: set[Any]) -> list[Any]:
    """Sort items by type and value, where that is possible."""
    try:
        return sorted(items, key=lambda item: (type(item).__name__, item))
    except TypeError:
        return sorted(items, key=lambda item: (type(item).__name__, repr(item)))
