"""The options of the estimators: their ranges, checked in one place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tessflow.dequantization.voronoi import ProfileName
from tessflow.flows import NetworkName
from tessflow.models.disjoint import MixtureProfile

__all__ = ["Depth", "FitOptions", "MixtureOptions", "TabularOptions"]

Self = TypeVar("Self", bound="FitOptions")


def _from_array(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _positive(widths: tuple[int, ...]) -> tuple[int, ...]:
    if min(widths) < 1:
        raise ValueError("every width must be at least 1")
    return widths


Depth = Annotated[int, Field(ge=1, le=1000)]
"""How many parts a network or a mixture is built of: more would not be stopped by too little memory."""

# Options of cells, at which they stay in a mixture that has none.
_WITHOUT_CELLS = {
    "before": 0, "profile": "truncated-gaussian", "box": False, "background": 0.005, "whiten": None, "base": None,
    "learn_anchors": False,
}  # fmt: skip

Widths = Annotated[tuple[int, ...], Field(min_length=1), BeforeValidator(_from_array), AfterValidator(_positive)]


class FitOptions(BaseModel):
    """The constructor arguments that all estimators have."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    layers: Depth
    batch_size: int = Field(ge=1)
    weight_decay: float = Field(ge=0)
    validation_fraction: float = Field(gt=0, lt=1)
    patience: int | None = Field(ge=1)
    random_state: int = Field(ge=0, lt=2**63)
    accelerator: Literal["cpu", "cuda", "auto"]
    verbose: bool

    @classmethod
    def of(cls: type[Self], parameters: dict[str, Any]) -> Self:
        """Check parameters.

        Args:
            parameters: Names and values.

        Raises:
            ValueError: If one is missing, unknown, of the wrong type or out of range; one sentence that names it.

        Example:
            >>> TabularOptions.of({"dimension": 0})
            Traceback (most recent call last):
            ValueError: layers: field required
        """
        try:
            return cls.model_validate(parameters)
        except ValidationError as error:
            first = error.errors()[0]
            given = "" if first["type"] == "missing" else f", got {first['input']!r}"
            message = first["msg"].removeprefix("Value error, ")
            raise ValueError(f"{first['loc'][0]}: {message[0].lower()}{message[1:]}{given}") from None


class TabularOptions(FitOptions):
    """The constructor arguments of :class:`~tessflow.TabularFlow` that are saved with a model, as JSON holds them."""

    max_steps: int | None = Field(ge=1)
    backbone: Literal["autoregressive", "coupling"]
    order: Literal["any", "fixed", "table"] | None
    scaling: Literal["quantile", "standard"]
    dimension: Depth | None
    profile: ProfileName
    condition_on: Literal["cell", "point"]
    hidden_features: Widths | None
    dropout: float = Field(ge=0, lt=1)
    learning_rate: float | None = Field(gt=0)
    max_levels: int = Field(ge=0)
    max_categories: int = Field(ge=1)
    unseen: Literal["other", "error"]
    network: NetworkName | None = None  # models that were saved before there was a choice have the paper's layers
    orders: int | None = Field(default=1, ge=1)  # models that were saved before there were several have one
    warm_start: bool = False
    blocks: int | None = Field(default=None, ge=1)
    components: Depth | None = None

    def require_same_model(self, fitted: TabularOptions, architecture: Iterable[str]) -> None:
        """Raise a ValueError if an option of the model or its schema differs from that of a fitted model.

        Args:
            fitted: The options of the fitted model.
            architecture: Names of options that make it another model.
        """
        for name in sorted({*architecture, "scaling", "max_levels", "max_categories", "orders"}):
            old, new = getattr(fitted, name), getattr(self, name)
            if old != new:
                raise ValueError(
                    f"{name} is {new!r}, and warm_start=True goes on from a model with {name}={old!r}: set it back, or "
                    "warm_start=False."
                )


class MixtureOptions(FitOptions):
    """The constructor arguments of :class:`~tessflow.MixtureFlow` that are saved with a model, as JSON holds them."""

    max_steps: int = Field(ge=1)
    n_cells: int | None = Field(ge=1)
    n_estimators: int = Field(default=1, ge=1, le=1000)  # models that were saved before there were several are one
    learn_gaussians: bool = True
    before: int = Field(ge=0, le=1000)
    univariate: Literal["spline", "affine"]
    profile: MixtureProfile
    box: bool
    background: float = Field(ge=0, lt=1)
    whiten: bool | None
    base: Literal["gaussian", "cauchy"] | None
    hidden_features: Widths
    bins: int = Field(ge=2)
    learn_anchors: bool
    learning_rate: float = Field(gt=0)

    @classmethod
    def of(cls: type[Self], parameters: dict[str, Any]) -> Self:
        """Check parameters, also that each estimator has a step, and none is for cells without them or the reverse.

        Example:
            >>> from tessflow import MixtureFlow
            >>> MixtureOptions.of(MixtureFlow(before=2, random_state=0).get_params())
            Traceback (most recent call last):
            ValueError: before: it is for a mixture with cells, and this one has no cells, got 2
        """
        options = super().of(parameters)
        steps, count = parameters["max_steps"], parameters["n_estimators"]
        if steps < count:
            raise ValueError(
                f"max_steps: it is for all {count} estimators together, and should be at least {count}, got {steps}"
            )
        others = _WITHOUT_CELLS if parameters["n_cells"] is None else {"learn_gaussians": True}
        for name, value in others.items():
            if (given := getattr(options, name)) != value:
                has, needs = ("no cells", "with") if parameters["n_cells"] is None else ("cells", "without")
                raise ValueError(f"{name}: it is for a mixture {needs} cells, and this one has {has}, got {given!r}")
        return options
