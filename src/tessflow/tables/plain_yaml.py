"""YAML of bounded size, without aliases, which could stand for more than any memory holds."""

from __future__ import annotations

import os
from typing import Any

import yaml

from tessflow.files import read_small

__all__ = ["MOST_BYTES", "load", "read_text"]

MOST_BYTES = 2**20
"""Most bytes of a file."""


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a file of text.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is a pipe or a device, too large, or not UTF-8.
    """
    content = read_small(path, MOST_BYTES, "is it another file than one of YAML?")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{os.fspath(path)} is no UTF-8 text ({error.reason} in line {line}): convert it first"
        ) from error


def load(text: str) -> Any:
    """Read plain values from YAML.

    Raises:
        yaml.YAMLError: If it is no YAML, has an alias, or is nested too deeply.

    Example:
        >>> load("columns: [a, 1]")
        {'columns': ['a', 1]}
        >>> load("[&a [x, x], *a]")
        Traceback (most recent call last):
        yaml.composer.ComposerError: an alias (*a), which is not read here: write out what it stands for...
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None


class _Loader(yaml.SafeLoader):
    """Loads plain values, and refuses aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None,
                None,
                f"an alias (*{event.anchor}), which is not read here: write out what it stands for",
                event.start_mark,
            )
        return super().compose_node(parent, index)
