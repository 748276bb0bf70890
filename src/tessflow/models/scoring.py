"""Log-probabilities of rows by an autoregressive model: of each variable, given those before it in some order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tessflow.models.blocks import informed_weights
from tessflow.models.networks import AnyOrderNetwork, MaskedNetwork

if TYPE_CHECKING:
    from tessflow.models.matched import MatchedFlow

__all__ = ["outputs_in_order", "score_in_orders", "score_rows"]

# Rows that are scored at once, so that what a layer holds of them stays in a CPU's cache.
_ROWS = 512


def score_rows(
    model: MatchedFlow, y: Tensor, place: Tensor | None = None, *, samples: int = 1, shown: Tensor | None = None
) -> Tensor:
    """Return each variable's log-probability given those before it, nats, shape ``(..., N)``; differentiable.

    Args:
        model: The model.
        y: Rows, shape ``(..., N)`` or ``(..., N + M)``.
        place: Of a model of any order, the place of each variable in each row's own order, ``(B, N)`` for B rows in
            all; by default the model's order.
        samples: The number of importance samples of a variable of many classes.
        shown: What the network is shown in place of the rows.
    """
    parts = model.conditionals
    codes, numbers = parts.split(y.reshape(-1, y.shape[-1]))
    parts.check(codes)
    x = parts.represent(*((codes, numbers) if shown is None else parts.split(shown.reshape(-1, y.shape[-1]))))
    if place is not None and isinstance(model.network, AnyOrderNetwork):
        sees = _sees(place)
        output = model.bias + model.network(x, sees)
    else:
        sees = _sees(model.order.argsort())
        output = outputs_in_order(model, x)
    return _log_probs(model, output, codes, numbers, sees, samples).unflatten(0, y.shape[:-1])


def score_in_orders(
    model: MatchedFlow, y: Tensor, orders: Sequence[Sequence[int]], given: int = 0, *, samples: int = 1
) -> Tensor:
    """Return each variable's log-probability given those before it in each of K orders, nats, shape ``(K, ..., N)``.

    Args:
        model: The model.
        y: Rows, shape ``(..., N)`` or ``(..., N + M)``.
        orders: The orders, each of which may leave variables out, that are not looked at.
        given: How many variables, at the beginning of each order, are not scored; of these, and of those left out, the
            result means nothing.
        samples: The number of importance samples of a variable of many classes.
    """
    parts = model.conditionals
    sees = [_sees(_places(order, y.new_empty(len(model.variables), dtype=torch.int64))) for order in orders]
    found, every_row = [], y.reshape(-1, y.shape[-1])
    for rows in every_row.split(_ROWS if y.device.type == "cpu" else max(1, len(every_row))):
        codes, numbers = parts.split(rows)
        parts.check(codes)
        x = parts.represent(codes, numbers)  # once for all orders
        of_orders = [
            _log_probs(model, outputs_in_order(model, x, order, given), codes, numbers, seen, samples)
            for order, seen in zip(orders, sees, strict=True)
        ]
        found.append(torch.stack(of_orders))
    return torch.cat(found, 1).unflatten(1, y.shape[:-1])


def outputs_in_order(model: MatchedFlow, x: Tensor, order: Sequence[int] | None = None, given: int = 0) -> Tensor:
    """Return the blocks of all variables for rows in an order, side by side; one row for all, without a network.

    Args:
        model: The model.
        x: What the network sees of rows, shape ``(B, N, D)``.
        order: The order of a model of any order, by default the one it has; of others it is their own.
        given: How many variables, at the beginning, need no block.
    """
    if model.network is None:
        return model.bias[None]
    if isinstance(model.network, MaskedNetwork):
        return model.bias + model.network(x)
    return model.bias + model.network.in_order(x, model.order.tolist() if order is None else order, given)


def _log_probs(
    model: MatchedFlow, output: Tensor, codes: Tensor, numbers: Tensor, sees: Tensor, samples: int
) -> Tensor:
    """Return each variable's log-probability given those that it sees, ``(B, N)``."""
    parts = model.conditionals
    if model.components == 1:
        return parts.log_prob(output, codes, numbers, sees=sees, samples=samples)
    log_weights, log_probs = parts.components_of(output, codes, numbers, sees=sees)
    log_weights = informed_weights(model.stage, log_weights, log_probs, sees)
    return (log_weights.log_softmax(-2) + log_probs).logsumexp(-2)


def _places(order: Sequence[int], like: Tensor) -> Tensor:
    """Return the place of each variable in an order, ``(N,)``; of others behind them all."""
    place = torch.full_like(like, len(like))
    place[list(order)] = torch.arange(len(order), device=place.device)
    return place


def _sees(place: Tensor) -> Tensor:
    """Return which variables, last, each variable sees: those of a lower place, ``(..., N)`` to ``(..., N, N)``."""
    return place[..., None, :] < place[..., :, None]
