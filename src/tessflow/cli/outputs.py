"""Where a command writes: nowhere that it reads, and where it can, found out before any work.

Every argument or option that is a path says by its metavar what it names: a TABLE, another FILE, or a DIR. The one
called ``out`` is written, all others are read.

Like the commands, it imports torch and pandas inside functions only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import typer

from tessflow.files import STANDARD, is_standard_output

__all__ = ["MODEL_FILES", "PATHS", "look_at_paths", "path_parameters", "shown"]

PATHS = ("TABLE", "FILE", "DIR")
"""What a path may be."""

MODEL_FILES = ("config.json", "schema*.json", "history.csv", "*.safetensors")
"""Names in a directory that a fit writes."""


def look_at_paths(parameters: Mapping[Any, Any]) -> None:
    """Refuse paths by which a command would fail later, or overwrite what it reads.

    Args:
        parameters: The parameters of a command that are paths, and their values, which are not None.

    Raises:
        ValueError: If an output is an input, or a file of a directory that is read; or its suffix is unknown.
        OSError: If it cannot be written, or a table is not there.
    """
    from tessflow.tables.table_file import require_suffix, require_table

    outputs = {parameter: path for parameter, path in parameters.items() if parameter.name == "out"}
    inputs = {parameter: path for parameter, path in parameters.items() if parameter.name != "out"}
    for parameter, out in outputs.items():
        if parameter.metavar == "TABLE":
            require_suffix(out)
        is_directory = parameter.metavar == "DIR"
        if is_directory or not is_standard_output(out):
            _require_writable(out, shown(parameter), is_directory=is_directory)
        for other, path in inputs.items():
            _require_other(out, shown(parameter), path, shown(other))
    for parameter, path in inputs.items():
        if parameter.metavar == "TABLE":
            require_table(path)
        elif parameter.metavar == "DIR" and parameter.param_type_name == "option" and not path.is_dir():
            raise NotADirectoryError(f"{shown(parameter)} {path} is no directory: name one that is there")


def shown(parameter: Any) -> str:
    """Return what a user calls a parameter: ``--out``, or TABLE."""
    return parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar


def _require_writable(out: Path, name: str, *, is_directory: bool) -> None:
    """Refuse a path that cannot be written."""
    if is_directory:
        if out.exists() and not out.is_dir():
            raise ValueError(f"{name} {out} is a file: choose a directory")
        place = next(place for place in (out, *out.absolute().parents) if place.exists())
        if not place.is_dir():
            raise NotADirectoryError(
                f"{name} {out} cannot be made, because {place} is a file: choose another directory"
            )
    else:
        target = Path(os.path.realpath(out))
        if target.is_dir():
            raise IsADirectoryError(f"{name} {out} is a directory: name a file in it")
        if not target.parent.is_dir():
            raise FileNotFoundError(
                f"{name} {out} cannot be written, because there is no directory {out.parent}: make it"
            )
        place = target.parent if target.is_file() or not target.exists() else target
        if target.exists() and not os.access(target, os.W_OK):
            place = target
    if not os.access(place, os.W_OK):
        raise PermissionError(f"{name} {out} may not be written: choose another place, or change its permissions")


def _require_other(out: Path, name: str, path: Path, other: str) -> None:
    """Refuse an output that is an input, or a file in a directory that is read."""
    written, read = _place(out, "/dev/stdout"), _place(path, "/dev/stdin")
    if out.is_dir():
        if any(_are_same(file, read) for file in _of_a_model(out)):
            raise ValueError(f"{other} {path} is a file that {name} {out} would overwrite: choose another directory")
    elif written.is_file() and any(_are_same(written, file) for file in _files(read)):
        where = "a file of " if path.is_dir() else ""
        raise ValueError(f"{name} {out} is {where}{other} {path}, which is read: write to another file")


def _place(path: Path, standard: str) -> Path:
    """Return where a file lies, which is not the working directory if it is standard input or output."""
    return Path(standard) if os.fspath(path) == STANDARD else path


def _files(path: Path) -> Iterator[Path]:
    """Return a file; or in a directory what is a model's, or, where there is no model, all that is below it."""
    if not path.is_dir():
        yield path
    elif (path / "config.json").exists():
        yield from _of_a_model(path)
    else:
        for folder, _, names in os.walk(path):
            yield from (Path(folder, name) for name in names)


def _of_a_model(directory: Path) -> Iterator[Path]:
    """Return the files in a directory that a fit writes."""
    folders = (directory, *directory.glob("estimator-*/"))
    files = (file for folder in folders for file in folder.iterdir())
    return (file for file in files if any(fnmatch(file.name, pattern) for pattern in MODEL_FILES))


def _are_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there
        return False


def path_parameters(context: typer.Context) -> dict[Any, Path]:
    """Return the parameters of a command that are paths, and their values, which are not None."""
    found = {parameter: context.params.get(parameter.name) for parameter in context.command.params}
    return {parameter: path for parameter, path in found.items() if isinstance(path, Path)}
