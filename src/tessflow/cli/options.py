"""Options of the estimators as `tessflow fit` takes them: a flag for most, and `-o NAME=VALUE` for all.

Like the commands, it imports torch and pandas inside functions only.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from tessflow.cli.arguments import require_countable

__all__ = ["checked_options", "estimator_of", "flag_of", "widths"]

FLAGS = {
    "n_cells": "--cells",
    "n_estimators": "--estimators",
    "max_steps": "--steps",
    "accelerator": "--device",
    "random_state": "--seed",
    "verbose": "--quiet",
}
"""Flags that are not called after the argument that they set."""

KEPT = ("random_state", "verbose")
"""Arguments that flags alone set."""


def flag_of(name: str) -> str:
    """Return the flag that sets an argument.

    Example:
        >>> flag_of("batch_size"), flag_of("max_steps")
        ('--batch-size', '--steps')
    """
    return FLAGS.get(name, "--" + name.replace("_", "-"))


def estimator_of(kind: str, flags: Mapping[str, Any], assignments: Iterable[str], *, quiet: bool = False) -> Any:
    """Return the estimator of a kind of model, not fitted.

    Args:
        kind: ``"table"`` or ``"mixture"``.
        flags: Arguments that flags set; None where one was not given.
        assignments: Further arguments, each NAME=VALUE.
        quiet: Whether it is to say nothing.

    Raises:
        ValueError: If there is no such kind or argument, one belongs to the other kind, comes twice or is of another
            type.

    Example:
        >>> estimator_of("table", {"n_cells": 4}, [])
        Traceback (most recent call last):
        ValueError: --cells belongs to --model mixture, not to --model table
        >>> estimator_of("mixture", {"layers": 2}, ["bins=4", "base=gaussian"], quiet=True)
        MixtureFlow(base='gaussian', bins=4, layers=2)
    """
    import tessflow

    kinds: dict[str, Any] = {"table": tessflow.TabularFlow, "mixture": tessflow.MixtureFlow}
    if kind not in kinds:
        raise ValueError(f"--model is {' or '.join(kinds)}, got {kind!r}")
    fields = kinds[kind]._options_type.model_fields
    given = {name: value for name, value in flags.items() if value is not None}
    for name in given:
        if name not in fields:
            owner = next(other for other in kinds if other != kind)
            raise ValueError(f"{flag_of(name)} belongs to --model {owner}, not to --model {kind}")
    assigned: dict[str, Any] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals:
            raise ValueError(f"-o takes NAME=VALUE, got {text!r}")
        if name in KEPT:
            raise ValueError(f"-o does not set {name}: write {flag_of(name)}")
        if name not in fields:
            names = ", ".join(sorted(set(fields) - set(KEPT)))
            raise ValueError(f"-o: --model {kind} has no option {name!r}; it has {names}")
        if name in given:
            raise ValueError(f"{name} is given twice, by {flag_of(name)} and by -o: leave one out")
        if name in assigned:
            raise ValueError(f"-o gives {name} twice: leave one out")
        assigned[name] = _checked(name, fields[name], _value(value))
    return kinds[kind](verbose=not quiet, **given, **assigned)


def checked_options(estimator: Any, out: Path, flags: Collection[str]) -> Any:
    """Check the options of an estimator before anything is read, and return them.

    Args:
        estimator: The estimator.
        out: Where it will write.
        flags: The arguments that flags have set; others come from ``-o``.

    Raises:
        ValueError: If one is out of range; it is called as on the command line.
    """
    try:
        return estimator._options(out)
    except ValueError as error:
        name, colon, rest = str(error).partition(":")
        if not colon or name not in estimator.get_params():
            raise
        raise ValueError(f"{flag_of(name) if name in flags else f'-o {name}'}:{rest}") from error


def widths(text: str | None) -> list[int] | None:
    """Read widths of layers, with commas between them.

    Example:
        >>> widths("64, 64")
        [64, 64]
    """
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--hidden-features is widths with commas between them, such as 64,64, got {text!r}") from None


def _value(text: str) -> Any:
    """Read a value: JSON, which knows 1e-3, or else YAML, which knows words without quotes."""
    import yaml

    from tessflow.tables.plain_yaml import load

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        value = load(text)
        json.dumps(value)
    except (yaml.YAMLError, TypeError):  # a date is no JSON, and no option
        return text
    return value


def _checked(name: str, field: Any, value: Any) -> Any:
    """Return a value of an option's own type: True is no number, and '8' none either."""
    from pydantic import TypeAdapter, ValidationError

    if isinstance(value, int):
        require_countable(f"-o {name}", value)
    adapter: TypeAdapter[Any] = TypeAdapter(field.annotation)  # ranges are checked with those of flags
    try:
        return adapter.validate_python(tuple(value) if isinstance(value, list) else value, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ").replace("valid tuple", "list, such as [64, 64]")
        raise ValueError(f"-o {name}: {message[0].lower()}{message[1:]}, got {value!r}") from None
