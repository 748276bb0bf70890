"""One registry of models, one of each kind at least, with rows that each takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import zuko
from torch import Tensor, nn

from tessflow.dequantization import IntervalDequantizer, OrdinalDequantizer, SharedDequantizer, VoronoiDequantizer
from tessflow.flows import BlockFlow, RecurrentMixture, cell_flow, coupling_flow, equivariant_flow
from tessflow.models import (
    KDPP,
    AveragedDensity,
    CharacterModel,
    DequantizedFlow,
    DequantizedImages,
    DiscreteFlow,
    DisjointMixture,
    ImageMixture,
    IndependentColumns,
    IndependentItems,
    MatchedFlow,
    MatchedSets,
    Number,
    SetFlow,
    Variable,
    WarpedMixture,
    coupling_mixture,
)
from tessflow.models.mixed import MixedFlow

NUMBER = Number(knots=(-1.0, 0.0, 0.5, 4.0), scores=(-1.5, -0.2, 0.3, 1.4))
MIXED = (Variable(3), Variable(2, NUMBER), Variable(2))
CLASSES, SETS = torch.tensor([[0, 1, 1], [2, 0, 1]] * 8), torch.tensor([[0, 1, 2], [3, 0, 1]] * 8)
POINTS = torch.linspace(-2, 2, 128).reshape(64, 2).sin()
ROWS = torch.tensor([[0, 0, 1, 0.5], [2, 1, 0, 0]] * 8, dtype=torch.float64)
IMAGES = torch.arange(8 * 48).reshape(8, 3, 4, 4) % 256
SMALL = {"hidden_features": (8,)}


def dequantizer(classes=(3, 2, 2)):
    return VoronoiDequantizer(classes, 2, **SMALL)


def blocks(cells):
    flow = BlockFlow(cells, blocks=2, couplings=2, dropout=0.3, coupling_features=(8,), **SMALL)
    return DequantizedFlow(flow, cells)


def reads(network):
    cells = dequantizer()
    return DequantizedFlow(cell_flow(cells, layers=2, network=network, dropout=0.3, components=4, **SMALL), cells)


def sets(flow):
    return SetFlow(flow, SharedDequantizer(dequantizer((4,)), 3))


MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "matched": (lambda: MatchedFlow((Variable(3), Variable(2), Variable(2)), dim=2, dropout=0.3, **SMALL), CLASSES),
    "matched, any order": (lambda: MatchedFlow(MIXED, dim=2, order="any", orders=2, dropout=0.3, **SMALL), ROWS),
    "matched, random": (lambda: MatchedFlow(MIXED, dim=2, order="random", **SMALL), ROWS),
    "matched, blocks": (lambda: MatchedFlow(MIXED, dim=2, blocks=2, components=3, dropout=0.3, **SMALL), ROWS),
    "matched, classes": (lambda: MatchedFlow(MIXED, blocks=1, components=3), ROWS),
    "matched, point": (lambda: MatchedFlow(MIXED, dim=2, condition_on="point", **SMALL), ROWS),
    "matched, many classes": (lambda: MatchedFlow(MIXED, dim=2, most_logits=2, **SMALL), ROWS),
    "mixed": (lambda: MixedFlow(MIXED, dim=2, layers=2, background=0.01, **SMALL), ROWS),
    "independent": (lambda: IndependentColumns((3, 2, 2)), CLASSES),
    "dequantized": (lambda: DequantizedFlow(coupling_flow(6, layers=2, **SMALL), dequantizer()), CLASSES),
    "dequantized, GMM": (lambda: DequantizedFlow(coupling_flow(6, layers=2, base="mixture"), dequantizer()), CLASSES),
    "dequantized, recurrent": (lambda: DequantizedFlow(RecurrentMixture(3, 2, components=4), dequantizer()), CLASSES),
    "blocks of intervals": (lambda: blocks(IntervalDequantizer((3, 2, 2), **SMALL)), CLASSES),
    "blocks of cells": (lambda: blocks(dequantizer()), CLASSES),
    "cells, mlp": (lambda: reads("mlp"), CLASSES),
    "cells, residual": (lambda: reads("residual"), CLASSES),
    "mixed, the paper's layers": (lambda: MixedFlow(MIXED, dim=2, layers=2, network=None, **SMALL), ROWS),
    "dequantized, zuko": (lambda: DequantizedFlow(zuko.flows.NSF(6, transforms=1), dequantizer()), CLASSES),
    "ordinal": (
        lambda: DequantizedFlow(coupling_flow(3, layers=2), OrdinalDequantizer((3, 2, 2), noise="uniform")),
        CLASSES,
    ),
    "discrete": (lambda: DiscreteFlow((3, 3, 3), layers=2, **SMALL), CLASSES),
    "sets": (lambda: MatchedSets(4, 3, dim=2, hidden_features=(8, 8)), SETS),
    "set flow": (lambda: sets(equivariant_flow(3, 2, width=8, components=4, classes=2)), SETS),
    "set flow, attention": (lambda: sets(equivariant_flow(3, 2, field="attention", base="gaussian", width=8)), SETS),
    "dpp": (lambda: KDPP(4, 3, rank=3), SETS),
    "items": (lambda: IndependentItems(4, 3), SETS),
    "characters": (lambda: CharacterModel(4, 3, hidden_features=8), SETS),
    "mixture": (lambda: coupling_mixture(2, 4, layers=2, before=1), POINTS),
    "mixture, cauchy": (lambda: coupling_mixture(2, 4, layers=2, profile="softsign"), POINTS),
    "mixture, box": (lambda: coupling_mixture(2, 4, layers=2, profile="cube", box=True), POINTS),
    "mixture of mixtures": (
        lambda: DisjointMixture(2, 2, DisjointMixture(2, 2, coupling_flow(2, context=32), context=16)),
        POINTS,
    ),
    "mixture of zuko's": (lambda: DisjointMixture(2, 4, zuko.flows.NSF(2, 16, transforms=1)), POINTS),
    "warped": (lambda: WarpedMixture(2, 4, layers=2, **SMALL), POINTS),
    "averaged": (
        lambda: AveragedDensity([WarpedMixture(2, 4, layers=2, **SMALL), coupling_mixture(2, 4, layers=2)]),
        POINTS,
    ),
    "images": (
        lambda: DequantizedImages(ImageMixture((3, 4, 4), cells=2, scales=1, layers=1, hidden_channels=8)),
        IMAGES,
    ),
}


def initialized(model: Any, rows: Tensor) -> Any:
    """The model, started from rows if it can be."""
    if hasattr(model, "initialize"):
        model.initialize(rows, **({"steps": 2} if isinstance(model, SetFlow) else {}))
    return model


def sampled(model: Any, count: int) -> Tensor:
    """Rows drawn from a model, or from the distribution that it is called for."""
    if hasattr(model, "sample") and not hasattr(model, "to_bytes"):
        return model.sample(count)
    return (model if hasattr(model, "sample") else model()).sample((count,))
