"""Schemas in YAML, short enough to be edited by hand."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import ValidationError

from tessflow.tables.columns import Column
from tessflow.tables.numbers import NumberColumn
from tessflow.tables.times import microseconds, word

if TYPE_CHECKING:
    from tessflow.tables.schema import TableSchema

__all__ = ["from_yaml", "to_yaml"]

Schema = TypeVar("Schema", bound="TableSchema")

COMMENT = "# Edit kind, resolution (0: real numbers), atoms, missing, scaling, values; rows give what is left out."
FITTED = ("knots", "scores")
KINDS = "categorical, ordinal, integer, boolean, number, datetime or timedelta"


def to_yaml(columns: Iterable[Column | NumberColumn]) -> str:
    """Write columns as YAML, one field a line; see `TableSchema.to_yaml`."""
    lines = [COMMENT, "columns:"]
    for column in columns:
        fields = column.model_dump(exclude_defaults=True, exclude={"knots", "scores"})
        if isinstance(column, NumberColumn) and column.kind != "number" and column.atoms:
            fields["atoms"] = [word(round(atom * 1e6), column.kind) for atom in column.atoms]
        for mark, (field, value) in zip(["- ", *["  "] * len(fields)], fields.items(), strict=False):
            lines.append(f"{mark}{field}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def from_yaml(schema: type[Schema], source: str | os.PathLike[str]) -> Schema:
    """Read a schema from YAML; see `TableSchema.from_yaml`."""
    is_text = isinstance(source, str) and "\n" in source
    where = "the schema" if is_text else str(source)
    try:
        content = yaml.safe_load(str(source) if is_text else Path(source).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise ValueError(f"{where} is no YAML{line}: {getattr(error, 'problem', None) or error}") from error
    columns = content.get("columns") if isinstance(content, dict) else None
    if not isinstance(columns, list) or not columns or not all(isinstance(column, dict) for column in columns):
        raise ValueError(f"{where} needs a list 'columns', each of them with the fields name and kind")
    if others := sorted(set(map(str, content)) - {"columns"}):
        raise ValueError(f"{where} has the field {others[0]!r}, but a schema has 'columns' only")
    for position, column in enumerate(columns):
        place = f"{where}, column {column.get('name', position)!r}"
        if fitted := [field for field in FITTED if field in column]:
            raise ValueError(f"{place}: {fitted[0]} are read off the rows: leave them out")
        if column.get("kind") in ("datetime", "timedelta") and isinstance(column.get("atoms"), list):
            try:
                column["atoms"] = [_seconds(atom, column["kind"]) for atom in column["atoms"]]
            except ValueError as error:
                raise ValueError(f"{place}: atoms: {error}") from error
    try:
        return schema.model_validate({"columns": columns})
    except ValidationError as error:
        raise ValueError(f"{where}{_sentence(error, columns)}") from error


def _sentence(error: ValidationError, columns: list[dict[str, Any]]) -> str:
    """Say the first thing that is wrong: in which column and field, and what came."""
    first = error.errors()[0]
    location = [part for part in first["loc"][1:] if isinstance(part, (int, str))]
    name = "" if not location else f", column {columns[int(location[0])].get('name', location[0])!r}"
    kind = columns[int(location[0])].get("kind") if location else None
    if first["type"].startswith("union_tag"):
        return f"{name}: kind: must be {KINDS}, got {kind!r}"
    # Beyond the position is the kind, a class of the union; then the field, and places inside it.
    field = "".join(f": {part}" for part in location[2:3])
    message = first["msg"].removeprefix("Value error, ")
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
