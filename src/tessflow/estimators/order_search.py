"""Which order of the columns a model of one order takes: what a short training of each candidate says."""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from tessflow.estimators.architecture import kind_of, shape_of, steps_of
from tessflow.estimators.hiding import Hiding
from tessflow.estimators.options import TabularOptions
from tessflow.flows.blocks import dealt
from tessflow.models import MatchedFlow, Variable
from tessflow.models.orders import orders_of
from tessflow.models.variables import Ascent
from tessflow.randomness import seeded
from tessflow.tables import TableSchema
from tessflow.training import TrainingConfig, fit
from tessflow.training.loop import Weights

__all__ = ["best_order", "candidate_orders", "chosen_order", "entropies", "row_count"]

# A trial is of a small network, takes so many passes over the rows within bounds, and looks at so many rows at most.
WIDTHS, RATE = (128, 128), 4e-3
PASSES, FEWEST_STEPS, MOST_STEPS = 20, 100, 400
ROWS, VALIDATION_ROWS = 50_000, 2_000


def entropies(rows: Tensor, variables: tuple[Variable, ...], weights: Tensor | None = None) -> list[float]:
    """Return the entropy of each variable's values, in nats.

    Args:
        rows: Encoded rows, ``(B, N)`` or, with M numeric variables, ``(B, N + M)``.
        variables: The variables.
        weights: How many rows each counts as, ``(B,)``; 1 by default.

    Example:
        >>> [round(nats, 3) for nats in entropies(torch.tensor([[0, 1], [0, 0]]), (Variable(2), Variable(2)))]
        [0.0, 0.693]
    """
    found, place = [], len(variables)
    for n, variable in enumerate(variables):
        values = rows[:, [n]]
        if variable.number is not None:
            values, place = rows[:, [n, place]], place + 1
        counts = torch.bincount(values.unique(dim=0, return_inverse=True)[1], weights).double()
        found.append(float(torch.special.entr(counts / counts.sum()).sum()))
    return found


def candidate_orders(
    rows: Tensor, variables: tuple[Variable, ...], weights: Tensor | None = None, *, blocks: int | None = None
) -> list[list[int]]:
    """Return the orders to try: that of the table, by ascending entropy, and two random ones.

    A variable of low entropy costs little where it is told first, and tells the others something.

    Args:
        rows: Encoded rows.
        variables: The variables.
        weights: As in `entropies`.
        blocks: Into how many blocks the order is cut: neighbours, which may say much of each other, are dealt to
            different ones.

    Example:
        >>> candidate_orders(torch.tensor([[0, 0], [1, 0]]), (Variable(2), Variable(2)))
        [[0, 1], [1, 0]]
    """
    nats = entropies(rows, variables, weights)
    natural, *others = orders_of(len(nats), 5)
    orders = [natural, sorted(natural, key=nats.__getitem__), *others[1::2]]  # of random ones without their reverses
    orders = [dealt(order, blocks or len(order)) for order in orders]
    return [order for n, order in enumerate(orders) if order not in orders[:n]]


def best_order(
    train: Tensor,
    validation: Tensor,
    variables: tuple[Variable, ...],
    *,
    weights: Weights = (None, None),
    ascents: tuple[Ascent, ...] = (),
    most_logits: int = 1000,
    batch_size: int = 256,
    max_steps: int = MOST_STEPS,
    seed: int = 0,
    blocks: int | None = None,
    components: int = 1,
) -> list[int]:
    """Return the order whose small model is the best of the candidates on validation rows, after a short training.

    Args:
        train: Encoded rows to train on.
        validation: Encoded rows to choose by.
        variables: The variables.
        weights: How many rows each row to train on counts as, and each to choose by; 1 by default.
        ascents: See :class:`~tessflow.models.MatchedFlow`.
        most_logits: See there.
        batch_size: Rows a step.
        max_steps: Most steps of a trial.
        seed: Of the trials, all of which have the same.
        blocks: See there.
        components: See there.

    Example:
        >>> rows = torch.randint(2, (50, 3))
        >>> sorted(best_order(rows, rows, (Variable(2),) * 3))
        [0, 1, 2]
    """
    train, validation = train[:ROWS], validation[:VALIDATION_ROWS]
    heavy, chosen = (
        None if w is None else w[: len(part)] for w, part in zip(weights, (train, validation), strict=True)
    )
    steps = min(max(PASSES * row_count(train, heavy) // batch_size, FEWEST_STEPS), MOST_STEPS, max_steps)
    config = TrainingConfig(
        max_steps=steps,
        batch_size=batch_size,
        learning_rate=RATE,
        warmup_steps=steps // 4,
        evaluate_every=25,
        seed=seed,
    )

    def score(order: list[int]) -> float:
        with seeded(seed):
            model = MatchedFlow(
                variables,
                dim=4,
                hidden_features=WIDTHS,
                order=order,
                most_logits=most_logits,
                ascents=ascents,
                blocks=blocks,
                components=components,
            )
        if blocks is not None:
            model.initialize(train, heavy)
        objective = Hiding(variables, train, heavy)
        return fit(model, train, validation, config, weights=(heavy, chosen), objective=objective).best_validation

    return max(candidate_orders(train, variables, heavy, blocks=blocks), key=score)


def chosen_order(
    options: TabularOptions, schema: TableSchema, rows: tuple[Tensor, Tensor], weights: Weights
) -> list[int] | None:
    """Return the best of some orders, if the options of a table leave the order to be chosen; else None."""
    kind, shape = kind_of(options, schema), shape_of(options, schema)
    if options.order == "table" or kind not in ("fixed", "blocks"):
        return None
    order = best_order(
        *rows,
        schema.variables,
        weights=weights,
        ascents=schema.ascents,
        most_logits=options.max_categories,
        batch_size=options.batch_size,
        max_steps=steps_of(options, schema, row_count(rows[0], weights[0])),
        seed=options.random_state,
        blocks=None if kind == "fixed" else shape.blocks,
        components=shape.components,
    )
    if options.verbose:
        print("order of the columns:", ", ".join(str(schema.names[n]) for n in order), file=sys.stderr)
    return order


def row_count(rows: Tensor, weights: Tensor | None) -> int:
    """Return how many rows there are, a row of weight w being w rows."""
    return len(rows) if weights is None else int(weights.sum())
