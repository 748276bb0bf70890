"""A fitted model on disk: a directory of JSON, safetensors and CSV files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from tessflow.estimators.options import TabularOptions
from tessflow.tables import TableSchema
from tessflow.training import load_weights, save_weights
from tessflow.training.weights import write_atomically

__all__ = ["ModelConfig", "ModelDirectory"]

FORMAT_VERSION = 1
_Model = TypeVar("_Model", bound=BaseModel)


class ModelConfig(BaseModel):
    """What ``config.json`` holds.

    Args:
        format_version: Version of the directory's layout.
        library_version: The version of tessflow that wrote it.
        parameters: The estimator's constructor arguments.
        validation_score: Mean log-likelihood, or bound, of the validation rows, in nats.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    format_version: int = FORMAT_VERSION
    library_version: str
    parameters: TabularOptions
    validation_score: float


class _FormatVersion(BaseModel):
    """The one field that is read whatever else a newer format may hold."""

    format_version: int = FORMAT_VERSION

    @classmethod
    def of(cls, text: str) -> int:
        try:
            return cls.model_validate_json(text).format_version
        except ValidationError:
            return FORMAT_VERSION


@dataclass(frozen=True)
class ModelDirectory:
    """Read and write the files of a model.

    All new files are written whole under temporary names before any old one is replaced. ``config.json`` is removed
    first and replaced last: a directory without it holds no whole model.

    Args:
        path: The directory.
    """

    path: Path

    def write(
        self,
        parameters: TabularOptions,
        schema: TableSchema,
        model: nn.Module,
        history: pd.DataFrame,
        validation_score: float,
    ) -> None:
        """Write all files. An old model is there until the new one is on the disk."""
        self.path.mkdir(parents=True, exist_ok=True)
        config = ModelConfig(
            library_version=version("tessflow"), parameters=parameters, validation_score=validation_score
        )
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

    def read(self) -> tuple[ModelConfig, TableSchema]:
        """Read what the model is made of, all but its weights.

        Raises:
            FileNotFoundError: If there is no whole model here.
            ValueError: If a file is damaged or of a newer format.
        """
        path = self._file("config.json")
        found = _FormatVersion.of(path.read_text(encoding="utf-8"))
        if found > FORMAT_VERSION:
            raise ValueError(
                f"{path} has format version {found}, this tessflow reads up to {FORMAT_VERSION}: "
                "load it with a newer tessflow."
            )
        config = self._parse("config.json", ModelConfig)
        return config, self._parse("schema.json", TableSchema)

    def read_history(self) -> pd.DataFrame:
        """Read the training history, one row an evaluation; empty if the file is gone or holds none."""
        try:
            return pd.read_csv(self.path / "history.csv")
        except (FileNotFoundError, ValueError):  # no model needs its history
            return pd.DataFrame()

    def load_weights(self, model: nn.Module) -> None:
        """Read the weights into ``model``."""
        load_weights(model, self._file("weights.safetensors"))

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
