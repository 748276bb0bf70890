"""A fitted model on disk: a directory of JSON, safetensors and CSV files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from tessflow.estimators.options import MixtureOptions, TabularOptions
from tessflow.files import write_atomically
from tessflow.training import load_weights, save_weights

__all__ = ["MixtureConfig", "ModelConfig", "ModelDirectory", "TabularConfig"]

FORMAT_VERSION = 4
# Older ones are not read.
OLDEST = 4
_Model = TypeVar("_Model", bound=BaseModel)
_Config = TypeVar("_Config", bound="ModelConfig")


class ModelConfig(BaseModel):
    """What ``config.json`` holds, whatever the estimator.

    Args:
        format_version: Version of the directory's layout; models are read from 4 on.
        library_version: The version of tessflow that wrote it.
        estimator: Name of the class that wrote it.
        parameters: The estimator's constructor arguments.
        validation_score: Mean log-likelihood, or bound, of the validation rows, in nats.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    format_version: int = FORMAT_VERSION
    library_version: str
    estimator: str
    parameters: Any
    validation_score: float


class TabularConfig(ModelConfig):
    """What it holds of a :class:`~tessflow.TabularFlow`.

    Args:
        order: See the estimator's attribute ``order_``; ``None``: that of the table.
    """

    estimator: Literal["TabularFlow"] = "TabularFlow"
    parameters: TabularOptions
    order: tuple[str | int, ...] | None = None


class MixtureConfig(ModelConfig):
    """What it holds of a :class:`~tessflow.MixtureFlow`.

    Args:
        cells_with_mass: See the estimator's attribute ``cells_with_mass_``.
    """

    estimator: Literal["MixtureFlow"] = "MixtureFlow"
    parameters: MixtureOptions
    cells_with_mass: int


class _Header(BaseModel):
    """The fields that are read whatever else another format may hold."""

    format_version: int = FORMAT_VERSION
    estimator: str = "TabularFlow"


@dataclass(frozen=True)
class ModelDirectory:
    """Read and write the files of a model.

    All new files are written whole under temporary names before any old one is replaced. ``config.json`` is removed
    first and replaced last: a directory without it holds no whole model.

    Args:
        path: The directory.
    """

    path: Path

    def write(self, config: ModelConfig, schema: BaseModel, model: nn.Module, history: pd.DataFrame) -> None:
        """Write all files. An old model is there until the new one is on the disk."""
        self.path.mkdir(parents=True, exist_ok=True)
        texts = {
            "history.csv": history.to_csv(index=False),
            "schema.json": schema.model_dump_json(indent=1),
            "config.json": config.model_dump_json(indent=1),
        }
        staged = [self.path / f"{name}.new" for name in ("weights.safetensors", *texts)]
        try:
            save_weights(model, staged[0])
            for path, text in zip(staged[1:], texts.values(), strict=True):
                write_atomically(path, text.encode())
            (self.path / "config.json").unlink(missing_ok=True)
            for path in staged:
                path.replace(path.with_suffix(""))
        finally:
            for path in staged:
                path.unlink(missing_ok=True)

    def estimator(self) -> str:
        """Read the name of the estimator; ``"TabularFlow"`` if the file is absent, damaged or of an old format."""
        try:
            return self._header().estimator
        except FileNotFoundError:
            return "TabularFlow"

    def read(self, config: type[_Config], schema: type[_Model]) -> tuple[_Config, _Model]:
        """Read what the model is made of, all but its weights.

        Args:
            config: What ``config.json`` should hold.
            schema: What ``schema.json`` should hold.

        Raises:
            FileNotFoundError: If there is no whole model here.
            ValueError: If a file is damaged, its format too new or too old, or the model of another estimator.
        """
        header, path = self._header(), self.path / "config.json"
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
        return self._parse("config.json", config), self._parse("schema.json", schema)

    def read_history(self) -> pd.DataFrame:
        """Read the training history, one row an evaluation; empty if the file is gone or holds no history."""
        try:
            history = pd.read_csv(self.path / "history.csv")
        except (OSError, ValueError):  # no model needs its history
            return pd.DataFrame()
        if "train_loss" in history:  # as it was, with another sign
            history.insert(1, "training", -pd.to_numeric(history.pop("train_loss"), errors="coerce"))
        numbers = history.select_dtypes("number")
        return history if {"step", "training", "validation", "seconds"} <= set(numbers) else pd.DataFrame()

    def load_weights(self, model: nn.Module) -> None:
        """Read the weights into ``model``."""
        load_weights(model, self._file("weights.safetensors"))

    def _header(self) -> _Header:
        try:
            return _Header.model_validate_json(self._file("config.json").read_text(encoding="utf-8"))
        except ValidationError:
            return _Header()

    def _file(self, name: str) -> Path:
        path = self.path / name
        if not path.exists():
            raise FileNotFoundError(f"{self.path} holds no complete model ({name} is missing): fit it again.")
        return path

    def _parse(self, name: str, kind: type[_Model]) -> _Model:
        path = self._file(name)
        try:
            return kind.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise ValueError(f"{path} is damaged ({where}: {first['msg']}): fit the model again.") from error
