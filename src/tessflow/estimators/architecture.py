"""Which model the options of a TabularFlow mean for the columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from tessflow.estimators.options import TabularOptions
from tessflow.models import MatchedFlow
from tessflow.models.mixed import MixedFlow
from tessflow.models.orders import average_over
from tessflow.randomness import seeded
from tessflow.tables import TableSchema
from tessflow.tables.columns.numeric import BACKGROUND

__all__ = ["build", "dimension_of", "kind_of", "learning_rate_of", "orders_used", "require_orders", "steps_of"]


class _Defaults(NamedTuple):
    dimension: int
    hidden_features: tuple[int, ...]
    learning_rate: float


_DEFAULTS = {
    "any": _Defaults(dimension=8, hidden_features=(128, 128, 128), learning_rate=4e-3),
    "fixed": _Defaults(dimension=4, hidden_features=(512, 512, 512), learning_rate=2e-3),
    "coupling": _Defaults(dimension=4, hidden_features=(256, 256), learning_rate=5e-3),
}
_RATE_OF_THE_PAPERS_LAYERS = 8e-3

# Up to so many columns, the order is "any" by default: its cost grows faster than their number.
_ANY_ORDER_UP_TO = 64

# Passes over the rows that a model learns all from, and the bounds of the steps that these are.
_PASSES, _FEWEST_STEPS, _MOST_STEPS = 128, 1000, 5000

# A coupling flow of more columns of classes learns faster in two dimensions a column.
_MANY_COLUMNS = 32


def kind_of(options: TabularOptions, schema: TableSchema) -> str:
    """Return which of the models the options mean: "any", "fixed" (in whatever order) or "coupling"."""
    if options.backbone == "coupling":
        return "coupling"
    if options.order is None:
        return "any" if len(schema.columns) <= _ANY_ORDER_UP_TO else "fixed"
    return "any" if options.order == "any" else "fixed"


def dimension_of(options: TabularOptions, schema: TableSchema) -> int:
    """Return the dimension of the space that a column's cells tile."""
    kind = kind_of(options, schema)
    with_cells = sum(variable.classes > 1 for variable in schema.variables)
    if options.dimension is None and kind == "coupling" and with_cells > _MANY_COLUMNS:
        return 2
    return options.dimension or _DEFAULTS[kind].dimension


def learning_rate_of(options: TabularOptions, schema: TableSchema) -> float:
    """Return the peak learning rate."""
    default = _DEFAULTS[kind_of(options, schema)].learning_rate
    if kind_of(options, schema) == "coupling" and options.network is None:
        default = _RATE_OF_THE_PAPERS_LAYERS
    return default if options.learning_rate is None else options.learning_rate


def steps_of(options: TabularOptions, schema: TableSchema, rows: int) -> int:
    """Return how many steps to train at most, for so many training rows.

    The learning rate comes down over these steps, so that they should be as many as are needed: too many, and patience
    ends a training whose rate is still high. Overfitting ends that of a small table long before.
    """
    if options.max_steps is not None:
        return options.max_steps
    if kind_of(options, schema) == "coupling":
        return _MOST_STEPS
    return min(max(_PASSES * rows // options.batch_size, _FEWEST_STEPS), _MOST_STEPS)


def orders_used(options: TabularOptions, schema: TableSchema) -> int:
    """Return over how many orders of the columns the model takes a mean.

    Raises:
        ValueError: If several are asked for, and the model has one.
    """
    if kind_of(options, schema) == "any" and options.condition_on == "cell":
        return options.orders or average_over(len(schema.columns))
    if (options.orders or 1) > 1:
        raise ValueError(
            f"orders={options.orders} is for an autoregressive model with order='any' and condition_on='cell', and "
            "this one has one order: leave it out."
        )
    return 1


def require_orders(options: TabularOptions, schema: TableSchema) -> None:
    """Raise a ValueError if the options ask for an order, or for several, that the model does not have."""
    if options.order is not None and kind_of(options, schema) == "coupling":
        raise ValueError(
            f"order={options.order!r} is for an autoregressive model, and a coupling flow takes all columns together: "
            "leave it out."
        )
    orders_used(options, schema)


def build(options: TabularOptions, schema: TableSchema, order: Sequence[int] | None = None) -> nn.Module:
    """Make the module, with seeded weights; a model of one order takes that of the table by default."""
    kind, dimension, orders = kind_of(options, schema), dimension_of(options, schema), orders_used(options, schema)
    hidden_features = options.hidden_features or _DEFAULTS[kind].hidden_features
    with seeded(options.random_state):
        if kind == "coupling":
            return MixedFlow(
                schema.variables,
                dim=dimension,
                profile=options.profile,
                hidden_features=hidden_features,
                network=options.network,
                layers=options.layers,
                background=BACKGROUND,
                ascents=schema.ascents,
            )
        return MatchedFlow(
            schema.variables,
            dim=dimension,
            hidden_features=hidden_features,
            dropout=options.dropout,
            order="any" if kind == "any" else (order or "natural"),
            condition_on=options.condition_on,
            profile=options.profile,
            most_logits=options.max_categories,
            ascents=schema.ascents,
            orders=orders,
        )
