"""Models as the commands see them: how one is loaded, and what may be overwritten.

Like the commands, it imports torch and pandas inside functions only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tessflow import TabularFlow
    from tessflow.estimators.numeric import NumericSchema
    from tessflow.estimators.options import FitOptions
    from tessflow.tables import TableSchema

__all__ = [
    "FILES", "WEIGHTS", "declared_schema", "is_mixture", "load_model", "prepare_directory", "require_own",
    "table_model", "training_schema", "word_schema",
]  # fmt: skip

WEIGHTS, CHECKPOINT, HISTORY = "weights.safetensors", "checkpoint.safetensors", "history.csv"
MODEL = ("config.json", "schema.json", WEIGHTS)
FILES = (*MODEL, HISTORY, CHECKPOINT)


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
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: choose another directory for the model")
    entries = (
        {entry.name.removesuffix(".tmp").removesuffix(".new") for entry in out.iterdir()} if out.exists() else set()
    )
    if entries and not entries & {WEIGHTS, CHECKPOINT} and not entries <= {HISTORY}:
        raise ValueError(f"{out} is not empty and holds no tessflow model: choose another directory")


def prepare_directory(
    out: Path, model: Any, options: FitOptions, source: Any, declared: TableSchema | None, *, force: bool
) -> None:
    """Delete the model that is there if that is asked for, or refuse to overwrite another one.

    A table that would be refused is refused first, so that the old model stays.

    Raises:
        ValueError: If the directory holds a model of another kind, other options or another table.
    """
    from tessflow.tables import TableSource

    if force:
        if any((out / name).exists() for name in FILES):
            training_schema(model, options, source, declared)
        for name in FILES:
            (out / name).unlink(missing_ok=True)
    elif all((out / name).exists() for name in MODEL):
        streamed = isinstance(source, TableSource)
        _require_same(out, model, options, None if streamed else training_schema(model, options, source, declared))


def _require_same(out: Path, model: Any, options: FitOptions, schema: Any) -> None:
    """Refuse to overwrite a finished model of another kind, other options or another table.

    Other rows of the same schema, and another schema of a table that is not read whole (``None``), are found out by
    the training itself, which compares its checkpoint.
    """
    try:
        finished = type(model).load(out)
    except (ValueError, OSError) as error:
        raise ValueError(f"{str(error).rstrip('.')}; --force deletes what is there") from error
    there, here = finished.options_.model_dump(), options.model_dump()
    differences = [name for name in here if name != "verbose" and there.get(name) != here[name]]
    if schema is not None and finished.schema_ != schema:
        differences.append("table")
    if differences or not (out / CHECKPOINT).exists():
        other = f"of another {', '.join(differences)}" if differences else "without a checkpoint"
        raise ValueError(
            f"{out} holds a finished model {other}: choose another directory, or delete it first with --force"
        )
