"""Schemas in YAML, short enough to be edited by hand."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import yaml
from pydantic import ValidationError

from tessflow.tables.columns import BaseColumn, KeyColumn, NumericColumn, TimeColumn
from tessflow.tables.declared_order import Pair
from tessflow.tables.plain_yaml import load, read_text
from tessflow.tables.times import microseconds, word
from tessflow.tables.values import family, odd_one, show

__all__ = ["read", "require_families", "sentence", "to_yaml"]

COMMENT = (
    "# Edit kind (key: not modelled), resolution (0 or left out: real numbers; times need one), atoms, minimum, "
    "maximum, missing, scaling, values; rows give what is left out."
)
FITTED = NumericColumn.fitted_fields
KINDS = "categorical, ordinal, boolean, number, datetime, timedelta or key"
ORDER = " <= "
SECONDS = ("atoms", "minimum", "maximum")
"""Fields of times, which are written as such."""


def to_yaml(
    columns: Sequence[BaseColumn],
    keys: Sequence[KeyColumn],
    order: Sequence[Pair],
    suggested: Sequence[Pair],
) -> str:
    """Write columns as YAML, one field a line; see `TableSchema.to_yaml`."""
    lines = [COMMENT, "columns:"]
    every: list[BaseColumn | KeyColumn] = [*keys, *columns]
    for column in every:
        origins = zip(("minimum", "maximum"), getattr(column, "bounds_of", ()), strict=False)
        carried = {field for field, origin in origins if origin is not None}
        fields = column.model_dump(exclude=carried.union(FITTED), exclude_defaults=True)
        fields = {"name": fields.pop("name"), "kind": column.kind, **fields}
        if isinstance(column, TimeColumn):
            for field in SECONDS:
                if field in fields:
                    times = fields[field] if field == "atoms" else (fields[field],)
                    words = [word(round(time * 1e6), column.kind) for time in times]
                    fields[field] = words if field == "atoms" else words[0]
        for mark, (field, value) in zip(["- ", *["  "] * len(fields)], fields.items(), strict=False):
            lines.append(f"{mark}{field}: {_flow(value)}")
    names = [column.name for column in columns]
    if order:
        lines += ["order:", *(f"- {_order(pair, names)}" for pair in order)]
    elif suggested:
        lines.append("# No row breaks this order; take the # away to make it a rule:")
        lines += ["# order:", *(f"# - {_order(pair, names)}" for pair in suggested)]
    return "\n".join(lines) + "\n"


def require_families(columns: Iterable[BaseColumn], frame: pd.DataFrame) -> None:
    """Refuse words in a column that is declared to hold numbers, booleans or times; the odd one is named, by its row.

    Raises:
        ValueError: If there is one.
    """
    for column in columns:
        series = frame[column.name]
        wanted = column.FAMILY if isinstance(column, NumericColumn) else getattr(column, "value_type", None)
        wanted = "booleans" if column.kind == "boolean" else wanted
        if wanted in (None, "strings") or isinstance(series.dtype, pd.CategoricalDtype):
            continue
        if family(series, column.name) == "strings":
            row, value = odd_one(series, wanted)
            of = f" of {wanted}" if column.kind in ("categorical", "ordinal") else ""
            raise ValueError(
                f"column {column.name!r} is declared as {column.kind}{of}, but holds strings such as "
                f"{show(value)}; it is in row {_counted(series, row)} (counted from 0)"
            )


def _counted(series: pd.Series, row: int) -> int:
    """Return the number of a row in the file of which the series is a part, if its index counts them."""
    return int(series.index[row]) if isinstance(series.index, pd.RangeIndex) else row


def read(source: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    """Read what a YAML file, or a text of several lines, declares.

    Returns:
        What to call it in messages, and the fields of a schema.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no YAML, or no schema.
    """
    is_text = isinstance(source, str) and "\n" in source
    where = "the schema" if is_text else str(source)
    try:
        content = load(str(source) if is_text else read_text(source))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise ValueError(f"{where} is no YAML{line}: {getattr(error, 'problem', None) or error}") from error
    columns = content.get("columns") if isinstance(content, dict) else None
    if not isinstance(columns, list) or not columns or not all(isinstance(column, dict) for column in columns):
        raise ValueError(f"{where} needs a list 'columns', each of them with the fields name and kind")
    if others := sorted(set(map(str, content)) - {"columns", "order"}):
        raise ValueError(f"{where} has the field {others[0]!r}, but a schema has 'columns' and 'order' only")
    for position, column in enumerate(columns):
        place = f"{where}, column {column.get('name', position)!r}"
        if fitted := [field for field in FITTED if field in column]:
            raise ValueError(f"{place}: {fitted[0]} are read off the rows: leave them out")
        if column.get("kind") in ("datetime", "timedelta"):
            _read_times(place, column)
    keys = [column for column in columns if column.get("kind") == "key"]
    modelled = [column for column in columns if column.get("kind") != "key"]
    order = content.get("order") or []
    if not isinstance(order, list):
        raise ValueError(f"{where} needs a list 'order', such as [start <= end], got {order!r}")
    names = [column.get("name") for column in modelled]
    return where, {"columns": modelled, "keys": keys, "order": [_pair(where, pair, names) for pair in order]}


def _read_times(place: str, column: dict[str, Any]) -> None:
    """Turn the times of a column's fields into seconds."""
    for field in SECONDS:
        if column.get(field) is None:
            continue
        try:
            if field != "atoms":
                column[field] = _seconds(column[field], column["kind"])
            elif isinstance(column[field], list):
                column[field] = [_seconds(atom, column["kind"]) for atom in column[field]]
        except ValueError as error:
            raise ValueError(f"{place}: {field}: {error}") from error


def _pair(where: str, order: object, names: Sequence[Any]) -> tuple[Any, Any]:
    """Read an order of two columns."""
    if isinstance(order, list) and len(order) == 2 and all(name in names for name in order):
        return order[0], order[1]
    if pairs := _pairs(order, names):
        return pairs[0]
    raise ValueError(f"{where}: an order is written 'start <= end', with the names of two columns, got {order!r}")


def _pairs(order: object, names: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return all pairs of columns that the words for an order may mean: a name may hold the mark, or be a number."""
    parts = str(order).split(ORDER)
    cuts = [[ORDER.join(side).strip() for side in (parts[:cut], parts[cut:])] for cut in range(1, len(parts))]
    return [(one, other) for cut in cuts for one in names for other in names if [str(one), str(other)] == cut]


def _order(pair: tuple[Any, Any], names: Sequence[Any]) -> str:
    """Write an order of two columns: as a list, where words would not tell which."""
    words = ORDER.join(map(str, pair))
    return _flow(words if _pairs(words, names) == [pair] else pair)


def sentence(error: ValidationError, content: dict[str, Any]) -> str:
    """Say the first thing that is wrong with fields of a schema: in which column and field, and what came."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    part = first["loc"][0] if first["loc"] else None
    if part not in ("columns", "keys"):
        return f": {message}"
    columns = content[part]
    location = [part for part in first["loc"][1:] if isinstance(part, (int, str))]
    name = "" if not location else f", column {columns[int(location[0])].get('name', location[0])!r}"
    kind = columns[int(location[0])].get("kind") if location else None
    if first["type"].startswith("union_tag"):
        return f"{name}: kind: must be {KINDS}, got {kind!r}"
    # Beyond the position is the kind, but of keys, a class of the union; then the field, and places inside it.
    field = "".join(f": {place}" for place in (location[1:2] if part == "keys" else location[2:3]))
    if not field:
        return f": {message}"
    if first["type"] == "missing":
        return f"{name}{field}: is missing"
    if first["type"] == "extra_forbidden":
        return f"{name}{field}: is no field of a column of kind {kind}"
    return f"{name}{field}: {message[0].lower()}{message[1:]}, got {first['input']!r}"


def _seconds(atom: object, kind: str) -> float:
    if isinstance(atom, (int, float)) and not isinstance(atom, bool):
        return float(atom)
    if isinstance(atom, datetime.datetime) and atom.tzinfo is not None:
        atom = atom.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return microseconds(atom, kind)[0] / 1e6


class _Dumper(yaml.SafeDumper):
    """Quotes strings that would take more than a line."""


def _represent(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if value.isprintable() else '"')


_Dumper.add_representer(str, _represent)


def _flow(value: object) -> str:
    """Write a value on one line."""
    value = list(value) if isinstance(value, tuple) else value
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=10**9, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()
