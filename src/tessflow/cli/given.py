"""What is given of rows to be drawn: COLUMN=VALUE, COLUMN=LOW..HIGH, COLUMN=A|B, or COLUMN= for a missing value.

Like the commands, it imports torch and pandas inside functions only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tessflow.tables import ClassColumn, NumericColumn, TableSchema

__all__ = ["conditions"]

LEAST, MOST = -(2**63), 2**64 - 1
"""Whole numbers of 64 bits; larger ones are floats, which are not all whole numbers."""


def conditions(schema: TableSchema, texts: Iterable[str]) -> dict[Any, Any]:
    """Read what is given, for the argument ``given`` of `TabularFlow.sample`.

    Args:
        schema: The columns of the model.
        texts: Each ``column=value``; ``column=low..high``, with either end left out; ``column=a|b``; or ``column=``
            for a missing value, for which every word does that is one in a file. Numbers are written as in Python,
            times in ISO 8601; where the schema declares a format, both are written as in a file.

    Returns:
        By column a value, a tuple or a list. A value of classes that was not seen is passed on as it is.

    Raises:
        ValueError: If a text is none of these, there is no such column, or it holds values of another type.

    Example:
        >>> import pandas as pd
        >>> from tessflow.tables import TableSchema
        >>> schema = TableSchema.infer(pd.DataFrame({"coat": ["yes", "no"], "legs": [4, 2]}))
        >>> conditions(schema, ["coat=perhaps", "legs=2|4"])
        {'coat': 'perhaps', 'legs': [2, 4]}
    """
    from tessflow.tables.readings import readings

    given: dict[Any, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--given takes COLUMN=VALUE, got {text!r}")
        if name in {str(key.name) for key in schema.keys}:
            raise ValueError(f"--given names the key {name!r}, which is not modelled: leave it out")
        column = schema.columns[schema.position(name)]
        if column.name in given:
            raise ValueError(f"--given names the column {name!r} twice: write {name}=a|b, or {name}=low..high")
        missing = readings(schema, [name])[name].missing
        given[column.name] = _condition(column, value, missing)
    return given


def _condition(column: ClassColumn | NumericColumn, text: str, missing: frozenset[str]) -> Any:
    words = _words(column)
    if text in words:  # which may hold the marks below
        return words[text]
    low, between, high = text.partition("..")
    if between:
        return tuple(_end(column, words, end, missing) for end in (low, high))
    if "|" in text:
        return [_value(column, words, part, missing) for part in text.split("|")]
    return _value(column, words, text, missing)


def _words(column: ClassColumn | NumericColumn) -> dict[str, Any]:
    """Return the words for the values of a column of classes."""
    from tessflow.tables import ClassColumn, Interval

    if not isinstance(column, ClassColumn):
        return {}
    if column.kind == "boolean":
        return {word: value for value in (True, False) for word in (str(value), str(value).lower())}
    values = (*(column.categories.values if column.categories else ()), *column.values)
    plain = [value.to_pandas() if isinstance(value, Interval) else value for value in values]
    return {str(value): value for value in plain}


def _end(column: ClassColumn | NumericColumn, words: dict[str, Any], text: str, missing: frozenset[str]) -> Any:
    """Return an end of a range, None if there is none."""
    value = _value(column, words, text, missing)
    if text and value is None:
        raise ValueError(f"column {column.name!r} was given a range with the missing end {text!r}: leave it out")
    return value


def _value(column: ClassColumn | NumericColumn, words: dict[str, Any], text: str, missing: frozenset[str]) -> Any:
    """Return the value that a text means in a column; a text that means none is for the column to refuse."""
    if text in words:
        return words[text]
    if not text or text in missing:
        return None
    if column.words is not None:
        text = column.words.read_word(text)
    if column.kind == "number" or getattr(column, "value_type", None) == "numbers":
        return _number(column, text)
    if column.kind == "boolean":
        raise ValueError(f"column {column.name!r} holds True and False, got {text!r}")
    return text


def _number(column: ClassColumn | NumericColumn, text: str) -> int | float:
    with suppress(ValueError):
        whole = int(text)
        if LEAST <= whole <= MOST:
            return whole
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"column {column.name!r} holds numbers, got {text!r}") from None
    if math.isinf(number):
        if any(letter.isdigit() for letter in text):
            shown = text if len(text) <= 40 else f"{text[:40]}..."
            raise ValueError(f"column {column.name!r} was given {shown}, beyond 1.8e308: give one nearer to 0")
        return number
    if getattr(column, "resolution", 0) >= 1 and abs(number) > MOST and Fraction(text.strip()) != number:
        raise ValueError(
            f"column {column.name!r} holds whole numbers, and {text} would be rounded: give one from {LEAST} to {MOST}"
        )
    return number
