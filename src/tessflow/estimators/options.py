"""The options of an estimator: their ranges, checked in one place."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

__all__ = ["TabularOptions"]


class TabularOptions(BaseModel):
    """The constructor arguments of :class:`~tessflow.TabularFlow` that are saved with a model, as JSON holds them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    backbone: Literal["autoregressive", "coupling"]
    dimension: int = Field(ge=1)
    profile: Literal["truncated-gaussian", "softsign"]
    condition_on: Literal["cell", "point"]
    hidden_features: tuple[int, ...] | None = Field(min_length=1)
    dropout: float = Field(ge=0, lt=1)
    layers: int = Field(ge=1)
    max_steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float | None = Field(gt=0)
    weight_decay: float = Field(ge=0)
    validation_fraction: float = Field(gt=0, lt=1)
    patience: int | None = Field(ge=1)
    max_categories: int = Field(ge=1)
    random_state: int = Field(ge=0, lt=2**63)
    accelerator: Literal["cpu", "cuda", "auto"]
    verbose: bool

    @field_validator("hidden_features", mode="before")
    @classmethod
    def _from_array(cls, value: Any) -> Any:
        return value.tolist() if isinstance(value, np.ndarray) else value

    @field_validator("hidden_features")
    @classmethod
    def _positive(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and min(value) < 1:
            raise ValueError("every width must be at least 1")
        return value

    @classmethod
    def of(cls, parameters: dict[str, Any]) -> TabularOptions:
        """Check parameters.

        Args:
            parameters: Names and values.

        Raises:
            ValueError: If one is missing, unknown, of the wrong type or out of range; one sentence that names it.

        Example:
            >>> TabularOptions.of({"dimension": 0})
            Traceback (most recent call last):
            ValueError: backbone: field required
        """
        try:
            return cls.model_validate(parameters)
        except ValidationError as error:
            first = error.errors()[0]
            given = "" if first["type"] == "missing" else f", got {first['input']!r}"
            message = first["msg"].removeprefix("Value error, ")
            raise ValueError(f"{first['loc'][0]}: {message[0].lower()}{message[1:]}{given}") from None
