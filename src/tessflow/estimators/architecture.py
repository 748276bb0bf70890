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

__all__ = [
    "Shape",
    "build",
    "dimension_of",
    "kind_of",
    "learning_rate_of",
    "orders_used",
    "require_fitting",
    "shape_of",
    "steps_of",
]


class _Defaults(NamedTuple):
    dimension: int
    hidden_features: tuple[int, ...]
    learning_rate: float


class Shape(NamedTuple):
    """Into how many blocks the columns are cut, and of how many products each block is a mixture."""

    blocks: int
    components: int


_DEFAULTS = {
    "any": _Defaults(dimension=8, hidden_features=(128, 128, 128), learning_rate=4e-3),
    "fixed": _Defaults(dimension=4, hidden_features=(512, 512, 512), learning_rate=2e-3),
    "blocks": _Defaults(dimension=4, hidden_features=(512, 512, 512), learning_rate=8e-3),
    "classes": _Defaults(dimension=4, hidden_features=(512, 512, 512), learning_rate=3e-2),
    "coupling": _Defaults(dimension=4, hidden_features=(256, 256), learning_rate=8e-3),
}

# Up to so many columns, the order is "any" by default: its cost grows faster than their number.
_ANY_ORDER_UP_TO = 64

# Products of a block, and of the only one: latent classes.
_PRODUCTS, _CLASSES = 4, 16

# Passes over the rows that a model learns all from, and the bounds of the steps that these are.
_PASSES, _FEWEST_STEPS, _MOST_STEPS = 128, 1000, 5000

# A coupling flow of more columns of classes learns faster in two dimensions a column.
_MANY_COLUMNS = 32


def kind_of(options: TabularOptions, schema: TableSchema) -> str:
    """Return which of the models the options mean: "any", "fixed" (in whatever order), "blocks", or "coupling".

    Latent classes, which are one block, are "classes".
    """
    if options.backbone == "coupling":
        return "coupling"
    if options.blocks == 1:
        return "classes"
    columns, in_blocks = len(schema.columns), options.blocks is not None or options.components is not None
    # As many blocks as columns, of one product each, are a model of one order.
    if in_blocks and shape_of(options, schema) != (columns, 1):
        return "blocks"
    if options.order is None:
        return "fixed" if in_blocks or columns > _ANY_ORDER_UP_TO else "any"
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


def shape_of(options: TabularOptions, schema: TableSchema) -> Shape:
    """Return the blocks and the products of an autoregressive model."""
    columns = len(schema.columns)
    blocks = columns if options.blocks is None else options.blocks
    products = 1 if blocks == columns else _CLASSES if blocks == 1 else _PRODUCTS
    return Shape(blocks, products if options.components is None else options.components)


def require_fitting(options: TabularOptions, schema: TableSchema) -> None:
    """Raise a ValueError if the options ask for what the model does not have: an order or several, blocks, products."""
    for name in ("order", "blocks", "components"):
        if (value := getattr(options, name)) is not None and kind_of(options, schema) == "coupling":
            raise ValueError(
                f"{name}={value!r} is for an autoregressive model, and a coupling flow takes all columns together: "
                "leave it out."
            )
    orders_used(options, schema)
    if kind_of(options, schema) not in ("blocks", "classes"):
        return
    if options.order == "any":
        name = "components" if options.blocks is None else "blocks"
        raise ValueError(
            f"{name}={getattr(options, name)} is for a model of one order, and order='any' has all: leave one out."
        )
    blocks, components = shape_of(options, schema)
    if blocks > len(schema.columns):
        raise ValueError(
            f"blocks={blocks} is more than the columns, {len(schema.columns)}: a block has one column or more."
        )
    if schema.ascents and blocks < len(schema.columns):
        first, second = (schema.names[n] for n in (schema.ascents[0].first, schema.ascents[0].second))
        raise ValueError(
            f"blocks={blocks} has no exact conditionals of columns in an order, such as {first!r} and {second!r} of "
            "the schema: leave blocks out, or the order."
        )
    for column in schema.columns if components > 1 else ():
        if not column.numeric and len(column.variable.seen) > options.max_categories:
            raise ValueError(
                f"column {column.name!r} has {len(column.variable.seen)} categories, more than "
                f"max_categories={options.max_categories}, and a mixture of {components} components needs a "
                "probability of each: give a larger max_categories, or components=1."
            )


def build(options: TabularOptions, schema: TableSchema, order: Sequence[int] | None = None) -> nn.Module:
    """Make the module, with seeded weights; a model of one order takes that of the table by default."""
    kind, dimension, orders = kind_of(options, schema), dimension_of(options, schema), orders_used(options, schema)
    shape = shape_of(options, schema)
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
            blocks=None if kind == "any" else shape.blocks,
            components=shape.components,
        )
