"""Models as the commands see them: how one is loaded, and which directories a fit may write into.

Like the commands, it imports torch and pandas inside functions only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tessflow.files import LOCK, only_writer

if TYPE_CHECKING:
    from tessflow import TabularFlow
    from tessflow.estimators.numeric import NumericSchema
    from tessflow.estimators.options import FitOptions
    from tessflow.tables import TableSchema

__all__ = [
    "declared_schema", "is_mixture", "kept_directory", "load_model", "remove_other_runs", "require_own", "require_same",
    "table_model", "training_schema", "word_schema",
]  # fmt: skip


def load_model(directory: Path) -> Any:
    """Load the model of either kind that a directory holds."""
    import tessflow
    from tessflow.estimators.storage import ModelDirectory

    mixture = ModelDirectory(directory).estimator() == "MixtureFlow"
    return (tessflow.MixtureFlow if mixture else tessflow.TabularFlow).load(directory)


def is_mixture(model: Any) -> bool:
    """Return whether a model is one of real numbers."""
    from tessflow import MixtureFlow

    return isinstance(model, MixtureFlow)


def table_model(directory: Path) -> TabularFlow:
    """Load a model of a table.

    Raises:
        ValueError: If the directory holds a mixture.
    """
    model = load_model(directory)
    if is_mixture(model):
        raise ValueError(f"{directory} holds a mixture; this command is for models of tables")
    return model


def word_schema(model: Any) -> TableSchema | None:
    """Return the schema by whose formats a model's rows are written."""
    return None if is_mixture(model) else model.schema_


def declared_schema(path: Path | None, kind: str) -> TableSchema | None:
    """Read the schema that a file declares, if one is given."""
    from tessflow.tables import TableSchema

    if path is None:
        return None
    if kind != "table":
        raise ValueError(f"--schema belongs to --model table, not to --model {kind}")
    return TableSchema.from_yaml(path)


def training_schema(
    model: Any, options: FitOptions, source: Any, declared: TableSchema | None
) -> NumericSchema | TableSchema:
    """Read the schema that a fit will make of a table, or refuse the table.

    Args:
        model: The estimator.
        options: Its options, checked.
        source: Rows, or a file that is read in batches.
        declared: What is declared of a table.
    """
    from tessflow.estimators.base import split_places, take_rows
    from tessflow.estimators.numeric import NumericSchema
    from tessflow.tables import TableSchema, TableSource

    if is_mixture(model):
        return NumericSchema.infer(source)
    if isinstance(source, TableSource):
        rows = source.batches(declared)
    else:  # rows set aside are not seen
        kept, _ = split_places(len(source), options.validation_fraction, options.random_state)
        rows = take_rows(source, kept)
    return TableSchema.read(rows, declared, max_levels=model.max_levels, scaling=model.scaling)


def require_own(out: Path) -> None:
    """Refuse to write into a directory that holds anything but a model or a run of ours."""
    from tessflow.estimators.storage import is_model_file, is_run_directory
    from tessflow.training.checkpoint import CHECKPOINT, CONFIG, HISTORY

    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: choose another directory for the model")
    entries = _entries(out) if out.exists() else set()
    ours = any(
        name == CHECKPOINT
        or (is_run_directory(out / name) and not _entries(out / name).isdisjoint({CHECKPOINT, HISTORY}))
        or (is_model_file(name) and name != CONFIG)
        for name in entries
    )
    begun = {name for name in entries if is_run_directory(out / name) and _entries(out / name) <= {LOCK}}
    if not ours and not entries - begun <= {HISTORY, LOCK}:
        raise ValueError(f"{out} is not empty and holds no tessflow model: choose another directory")


def remove_other_runs(out: Path, estimators: int) -> None:
    """Remove the checkpoints that another fit left in the directory of a model, and the directories they were in.

    Files of others are left, with the directories that hold them.
    """
    from tessflow.estimators.storage import is_run_directory, run_directories
    from tessflow.training.checkpoint import CHECKPOINT, HISTORY

    own = run_directories(out, estimators)
    if out not in own:
        (out / CHECKPOINT).unlink(missing_ok=True)
    for directory in out.iterdir():
        if is_run_directory(directory) and directory not in own:
            for file in list(directory.iterdir()):
                if _written(file.name) in (CHECKPOINT, HISTORY, LOCK):
                    file.unlink()
            with suppress(OSError):  # it is not empty
                directory.rmdir()


@contextmanager
def kept_directory(out: Path) -> Iterator[None]:
    """Make a directory if need be, and keep it for one fit; if nothing was written, none is left that was not there.

    Raises:
        RuntimeError: If another fit writes there.
    """
    missing = [directory for directory in (out, *out.parents) if not directory.exists()]
    out.mkdir(parents=True, exist_ok=True)
    try:
        with only_writer(out):
            yield
    finally:
        for directory in missing:
            with suppress(OSError):  # it is not empty
                directory.rmdir()


def require_same(out: Path, model: Any, options: FitOptions, source: Any, declared: TableSchema | None) -> None:
    """Refuse to go on in a directory with a finished model of another kind, other options or another table.

    Other rows of the same schema, and another schema of a table that is not read whole, are found out by the training
    itself, which compares its checkpoint. So are all differences if the checkpoint is newer than the model.

    Raises:
        ValueError: If there is such a model, or one that is damaged.
    """
    from tessflow.estimators.storage import run_directories
    from tessflow.tables import TableSource
    from tessflow.training.checkpoint import CHECKPOINT, CONFIG

    config = out / CONFIG
    checkpoints = [path / CHECKPOINT for path in run_directories(out, getattr(options, "n_estimators", 1))]
    written = [checkpoint.stat().st_mtime_ns for checkpoint in checkpoints if checkpoint.exists()]
    if not config.exists() or (written and max(written) > config.stat().st_mtime_ns):
        return
    try:
        finished = type(model).load(out)
    except FileNotFoundError:  # a part of it is gone
        return
    except (ValueError, OSError) as error:
        whole = len(written) == len(checkpoints)
        kept = f"without {CONFIG} the same command makes it again from the checkpoint there; " * whole
        raise ValueError(f"{str(error).rstrip('.')}; {kept}--force fits it anew") from error
    there, here = finished.options_.model_dump(), options.model_dump()
    differences = [name for name in here if name != "verbose" and there.get(name) != here[name]]
    if not isinstance(source, TableSource) and finished.schema_ != training_schema(model, options, source, declared):
        differences.append("table")
    if differences or len(written) < len(checkpoints):
        other = f"of another {', '.join(differences)}" if differences else "without a checkpoint"
        raise ValueError(f"{out} holds a finished model {other}: choose another directory, or replace it with --force")


def _entries(directory: Path) -> set[str]:
    return {_written(entry.name) for entry in directory.iterdir()}


def _written(name: str) -> str:
    """Return the name under which a killed process would have written a file."""
    left = re.fullmatch(r"\.(.+)\.[a-z0-9_]{8}\.new", name)
    return left[1] if left else name
