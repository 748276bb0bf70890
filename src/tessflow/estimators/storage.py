"""A fitted model on disk: a directory of JSON, safetensors and CSV files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

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
    parameters: dict[str, Any]
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

    ``config.json`` is removed first and written last: a directory without it holds no whole model.

    Args:
        path: The directory.
    """

    path: Path

    def write(
        self,
        parameters: dict[str, Any],
        schema: TableSchema,
        model: nn.Module,
        history: pd.DataFrame,
        validation_score: float,
    ) -> None:
        """Write all files, each atomically."""
        self.path.mkdir(parents=True, exist_ok=True)
        config = self.path / "config.json"
        config.unlink(missing_ok=True)
        write_atomically(self.path / "history.csv", history.to_csv(index=False).encode())
        write_atomically(self.path / "schema.json", schema.model_dump_json(indent=1).encode())
        save_weights(model, self.path / "weights.safetensors")
        contents = ModelConfig(
            library_version=version("tessflow"), parameters=parameters, validation_score=validation_score
        )
        write_atomically(config, contents.model_dump_json(indent=1).encode())

    def read(self) -> tuple[ModelConfig, TableSchema]:
        """Read what the model is made of, all but its weights.

        Raises:
            FileNotFoundError: If there is no whole model here.
            ValueError: If a file is damaged or of a newer format.
        """
        config = self._parse("config.json", ModelConfig)
        return config, self._parse("schema.json", TableSchema)

    def read_history(self) -> pd.DataFrame:
        """Read the training history, one row an evaluation; empty if the file is gone."""
        path = self.path / "history.csv"
        return pd.read_csv(path) if path.exists() else pd.DataFrame()

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
        text = path.read_text(encoding="utf-8")
        found = _FormatVersion.of(text)
        if found > FORMAT_VERSION:
            raise ValueError(
                f"{path} has format version {found}, this tessflow reads up to {FORMAT_VERSION}: "
                "load it with a newer tessflow."
            )
        try:
            return kind.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise ValueError(f"{path} is damaged ({where}: {first['msg']}): fit the model again.") from error
