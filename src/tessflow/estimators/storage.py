"""A fitted model on disk: a directory of JSON, safetensors and CSV files."""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from tessflow.estimators.options import MixtureOptions, TabularOptions
from tessflow.files import only_writer, open_regular, read_small, sha256, sweep, write_atomically
from tessflow.training.checkpoint import CONFIG, HISTORY
from tessflow.training.weights import map_tensors, serialized

__all__ = [
    "MixtureConfig",
    "MixtureMember",
    "ModelConfig",
    "ModelDirectory",
    "Stored",
    "TabularConfig",
    "is_model_file",
    "is_run_directory",
    "run_directories",
]

FORMAT_VERSION = 5
# Older ones are not read.
OLDEST = 4
# Before version 5, files had these names, and no digests.
FIXED = {"schema": "schema.json", "weights": "weights.safetensors"}
SUFFIXES = {"schema": ".json", "weights": ".safetensors"}
NAMED = r"schema-[0-9a-f]{12}\.json|weights-[0-9a-f]{12}\.safetensors"
# Bytes of the largest files that are read.
MOST_CONFIG, MOST_SCHEMA, MOST_HISTORY = 1 << 24, 1 << 28, 1 << 28
# How often what is missing is looked for.
TRIES = 5
_Model = TypeVar("_Model", bound=BaseModel)
_Config = TypeVar("_Config", bound="ModelConfig")


def is_model_file(name: str) -> bool:
    """Return whether a file in a model's directory that has this name is one that loading reads.

    Example:
        >>> is_model_file("schema-0123456789ab.json"), is_model_file("config.json"), is_model_file("rows.csv")
        (True, True, False)
    """
    return name in (CONFIG, *FIXED.values()) or re.fullmatch(NAMED, name) is not None


def run_directories(directory: Path, estimators: int) -> list[Path]:
    """Return where the runs of several estimators have their checkpoints; one has them where its model will be.

    Example:
        >>> [path.name for path in run_directories(Path("model"), 2)]
        ['estimator-0', 'estimator-1']
    """
    return [directory] if estimators == 1 else [directory / f"estimator-{n}" for n in range(estimators)]


def is_run_directory(path: Path) -> bool:
    """Return whether a path is a directory of one run among several."""
    return path.is_dir() and re.fullmatch(r"estimator-\d+", path.name) is not None


class ModelConfig(BaseModel):
    """What ``config.json`` holds, whatever the estimator.

    Args:
        format_version: Version of the directory's layout; models are read from 4 on.
        library_version: The version of tessflow that wrote it.
        estimator: Name of the class that wrote it.
        parameters: The estimator's constructor arguments.
        validation_score: Mean log-likelihood, or bound, of the validation rows, in nats.
        files: The SHA-256 digest of each further file that loading reads, by its name; ``None`` before version 5.
        digest: That of all other fields, as JSON with sorted keys; ``None`` before version 5.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    format_version: int = FORMAT_VERSION
    library_version: str
    estimator: str
    parameters: Any
    validation_score: float
    files: dict[str, str] | None = None
    digest: str | None = None


class TabularConfig(ModelConfig):
    """What it holds of a :class:`~tessflow.TabularFlow`.

    Args:
        order: See the estimator's attribute ``order_``; ``None``: that of the table.
    """

    estimator: Literal["TabularFlow"] = "TabularFlow"
    parameters: TabularOptions
    order: tuple[str | int, ...] | None = None


class MixtureMember(BaseModel):
    """What it holds of one of the mixtures that a :class:`~tessflow.MixtureFlow` is the mean of.

    Args:
        cells_with_mass: See the estimator's attribute ``cells_with_mass_``.
        gaussians: How many Gaussians it has, if it has no cells.
        validation_score: Mean log-likelihood of the validation rows, in nats.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    cells_with_mass: int = Field(ge=1)
    gaussians: int | None = Field(default=None, ge=1)
    validation_score: float


class MixtureConfig(ModelConfig):
    """What it holds of a :class:`~tessflow.MixtureFlow`.

    Args:
        members: One for each estimator. In models that were saved before there could be several, ``cells_with_mass``
            stands for them.
    """

    estimator: Literal["MixtureFlow"] = "MixtureFlow"
    parameters: MixtureOptions
    members: tuple[MixtureMember, ...]

    @model_validator(mode="before")
    @classmethod
    def _of_one(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or "cells_with_mass" not in fields:
            return fields
        rest = {name: value for name, value in fields.items() if name != "cells_with_mass"}
        member = {name: fields[name] for name in ("cells_with_mass", "validation_score") if name in fields}
        return rest | {"members": [member]}

    @model_validator(mode="after")
    def _of_all(self) -> MixtureConfig:
        if len(self.members) != self.parameters.n_estimators:
            raise ValueError(
                f"n_estimators is {self.parameters.n_estimators}, and there are {len(self.members)} members"
            )
        if any((member.gaussians is None) == (self.parameters.n_cells is None) for member in self.members):
            raise ValueError("a member has cells or Gaussians where there should be the other")
        return self


class _Header(BaseModel):
    """The fields that are read whatever else another format may hold."""

    format_version: int = FORMAT_VERSION
    estimator: str = "TabularFlow"


class Stored(NamedTuple):
    """What a model is made of.

    Args:
        config: What ``config.json`` holds.
        schema: The columns.
        weights: Tensors by name, which are read when they are used.
        path: The file of the weights.
    """

    config: Any
    schema: Any
    weights: dict[str, Tensor]
    path: Path


@dataclass(frozen=True)
class ModelDirectory:
    """Read and write the files of a model.

    Schema and weights have a part of their digest in their names. ``config.json``, which is replaced last, says which
    of them are the model's, and holds their digests and its own: whenever a process that writes dies, the model is the
    old one or the new one. What no ``config.json`` names any more is removed then, or at the next time.

    Args:
        path: The directory.
    """

    path: Path

    def write(self, config: ModelConfig, schema: BaseModel, model: nn.Module, history: pd.DataFrame) -> None:
        """Write all files. An old model is there until the new one is on the disk.

        Raises:
            RuntimeError: If another process or thread writes there.
            OSError: If a file cannot be written.
        """
        contents = {
            "schema": schema.model_dump_json(indent=1).encode(),
            "weights": serialized(model.state_dict()),
        }
        digests = {part: hashlib.sha256(content).hexdigest() for part, content in contents.items()}
        names = {part: f"{part}-{digest[:12]}{SUFFIXES[part]}" for part, digest in digests.items()}
        files = {names[part]: digest for part, digest in digests.items()}
        self.path.mkdir(parents=True, exist_ok=True)
        with only_writer(self.path):
            sweep(self.path, rf"{NAMED}|{re.escape(CONFIG)}|{re.escape(HISTORY)}")
            before = self._names()
            for part, content in contents.items():
                write_atomically(self.path / names[part], content)
            write_atomically(self.path / CONFIG, _sealed(config.model_copy(update={"files": files})))
            with suppress(OSError):  # the model is there, and does not need it
                write_atomically(self.path / HISTORY, history.to_csv(index=False).encode())
            for entry in list(self.path.iterdir()):
                if (entry.name in before or re.fullmatch(NAMED, entry.name)) and entry.name not in files:
                    with suppress(OSError):  # what is left is removed the next time
                        entry.unlink()

    def estimator(self) -> str:
        """Read the name of the estimator; ``"TabularFlow"`` if the file is absent, damaged or of an old format."""
        try:
            return self._header(self._config()).estimator
        except (OSError, ValueError):
            return "TabularFlow"

    def read(self, config: type[_Config], schema: type[_Model]) -> Stored:
        """Read what the model is made of, and check it against the digests.

        Args:
            config: What ``config.json`` should hold.
            schema: What the schema's file should hold.

        Raises:
            FileNotFoundError: If there is no whole model here.
            ValueError: If a file is damaged, its format too new or too old, or the model of another estimator.
        """
        for _ in range(TRIES - 1):
            with suppress(FileNotFoundError):  # another process may just be replacing the model
                return self._read(self._config(), config, schema)
            time.sleep(0.01)
        return self._read(self._config(), config, schema)

    def read_history(self) -> pd.DataFrame:
        """Read the training history, one row an evaluation; empty if the file is gone, damaged or holds none."""
        try:
            history = pd.read_csv(io.BytesIO(read_small(self.path / HISTORY, MOST_HISTORY))).apply(pd.to_numeric)
        except (OSError, ValueError):  # no model needs its history
            return pd.DataFrame()
        if "train_loss" in history:  # as it was, with another sign
            history.insert(1, "training", -history.pop("train_loss"))
        return history if {"step", "training", "validation", "seconds"} <= set(history.columns) else pd.DataFrame()

    def _read(self, text: bytes, config: type[_Config], schema: type[_Model]) -> Stored:
        header, path = self._header(text), self.path / CONFIG
        if header.format_version > FORMAT_VERSION:
            raise ValueError(
                f"{path} has format version {header.format_version}, this tessflow reads up to {FORMAT_VERSION}: "
                "load it with a newer tessflow."
            )
        expected = config.model_fields["estimator"].default
        if header.estimator != expected:
            raise ValueError(
                f"{self.path} holds a {header.estimator}, not a {expected}: load it with {header.estimator}.load."
            )
        if header.format_version < OLDEST:
            raise ValueError(
                f"{path} has format version {header.format_version}, and models are read from {OLDEST} on: "
                "fit it again."
            )
        parsed = self._parse(path, text, config)
        has_digests = parsed.format_version > OLDEST or parsed.files is not None or parsed.digest is not None
        if has_digests and (parsed.files is None or parsed.digest != _digest(json.loads(text))):
            raise _damaged(path, "its digest is another")
        names = _parts(parsed.files)
        if names is None:
            raise _damaged(path, "files: it names no schema and weights")
        where = {part: self._file(name) for part, name in names.items()}
        # What is too large, or no such file, is refused before it is read to its end.
        columns, weights = read_small(where["schema"], MOST_SCHEMA), map_tensors(where["weights"])[0]
        if parsed.files is not None:
            with open_regular(where["weights"]) as file:
                digests = {"schema": hashlib.sha256(columns).hexdigest(), "weights": sha256(file)}
            for part, name in names.items():
                if digests[part] != parsed.files[name]:
                    raise _damaged(where[part], f"its digest is not the one that {CONFIG} holds")
        return Stored(parsed, self._parse(where["schema"], columns, schema), weights, where["weights"])

    def _config(self) -> bytes:
        return read_small(self._file(CONFIG), MOST_CONFIG)

    def _names(self) -> tuple[str, ...]:
        """Return what ``config.json`` names: the files of the model that is there, if there is one."""
        try:
            config = json.loads(self._config())
            return tuple(filter(is_model_file, config["files"] if "files" in config else FIXED.values()))
        except (OSError, ValueError, TypeError, RecursionError):
            return ()

    def _header(self, text: bytes) -> _Header:
        try:
            return _Header.model_validate_json(text)
        except ValidationError:
            return _Header()

    def _file(self, name: str) -> Path:
        path = self.path / name
        if not path.exists():
            raise FileNotFoundError(f"{self.path} holds no complete model ({name} is missing): fit it again.")
        return path

    def _parse(self, path: Path, text: bytes, kind: type[_Model]) -> _Model:
        try:
            return kind.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise _damaged(path, f"{where}: {first['msg']}") from error


def _sealed(config: ModelConfig) -> bytes:
    """Return what ``config.json`` holds of a model: its fields, and their digest."""
    content = json.loads(config.model_dump_json(exclude={"digest"}))
    return json.dumps(content | {"digest": _digest(content)}, indent=1).encode()


def _digest(content: dict[str, Any]) -> str:
    """Return the digest of the fields of a configuration but for the digest itself."""
    fields = {name: value for name, value in content.items() if name != "digest"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _parts(files: dict[str, str] | None) -> dict[str, str] | None:
    """Return the name of each part's file; ``None`` if they are others than there should be."""
    if files is None:
        return FIXED
    names = {name.partition("-")[0]: name for name in files if re.fullmatch(NAMED, name)}
    return names if len(files) == len(names) == len(FIXED) else None


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} is damaged ({reason}): fit the model again, or restore the file from a copy.")
