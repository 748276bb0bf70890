"""One small model of each kind, and rows for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tessflow.dequantization import IntervalDequantizer, SharedDequantizer, VoronoiDequantizer
from tessflow.flows import BlockFlow, RecurrentMixture, cell_flow, coupling_flow, equivariant_flow
from tessflow.models import (
    KDPP,
    AveragedDensity,
    CharacterModel,
    DequantizedFlow,
    DequantizedImages,
    DiscreteFlow,
    ImageMixture,
    IndependentColumns,
    IndependentItems,
    MatchedFlow,
    MatchedSets,
    SetFlow,
    Variable,
    WarpedMixture,
    coupling_mixture,
)
from tessflow.models.mixed import MixedFlow

CODES = torch.tensor([[0, 2], [1, 0], [1, 1]])
SETS = torch.tensor([[0, 2], [4, 1], [3, 0]])
SMALL = {"hidden_features": (8,)}


def _dequantized(**options) -> DequantizedFlow:
    dequantizer = VoronoiDequantizer((2, 3), 2, **{**SMALL, **options})
    return DequantizedFlow(coupling_flow(4, layers=2, **SMALL), dequantizer)


def _reads() -> DequantizedFlow:
    dequantizer = VoronoiDequantizer((2, 3), 2, **SMALL)
    return DequantizedFlow(cell_flow(dequantizer, layers=2, components=2, **SMALL), dequantizer)


def _blocks() -> DequantizedFlow:
    dequantizer = IntervalDequantizer((2, 3), **SMALL)
    return DequantizedFlow(BlockFlow(dequantizer, blocks=1, couplings=2, coupling_features=(8,), **SMALL), dequantizer)


def _text() -> DequantizedFlow:
    dequantizer = SharedDequantizer(VoronoiDequantizer((3,), dim=2, **SMALL), positions=2)
    return DequantizedFlow(RecurrentMixture(dim=2, length=2, components=3, hidden_features=8), dequantizer)


def _sets() -> SetFlow:
    dequantizer = SharedDequantizer(VoronoiDequantizer((5,), dim=2, **SMALL), positions=2)
    return SetFlow(equivariant_flow(2, 2, width=8), dequantizer)


DISCRETE = {
    "CharacterModel": (lambda: CharacterModel(3, 2, dim=2, hidden_features=8), CODES),
    "DequantizedFlow": (_dequantized, CODES),
    "DequantizedFlow in blocks": (_blocks, CODES),
    "DequantizedFlow that reads cells": (_reads, CODES),
    "DequantizedFlow of text": (_text, CODES),
    "DequantizedImages": (
        lambda: DequantizedImages(ImageMixture((1, 4, 4), layers=1, hidden_channels=4)),
        torch.arange(48, dtype=torch.uint8).reshape(3, 1, 4, 4),
    ),
    "DiscreteFlow": (lambda: DiscreteFlow((2, 3)), CODES),
    "IndependentColumns": (lambda: IndependentColumns((2, 3)), CODES),
    "IndependentItems": (lambda: IndependentItems(5, 2), SETS),
    "KDPP": (lambda: KDPP(5, 2), SETS),
    "MatchedFlow": (lambda: MatchedFlow((2, 3), **SMALL), CODES),
    "MatchedFlow of points": (lambda: MatchedFlow((2, 3), condition_on="point", **SMALL), CODES),
    "MatchedFlow of any order": (lambda: MatchedFlow((2, 3), order="any", **SMALL), CODES),
    "MatchedFlow in blocks": (lambda: MatchedFlow((2, 3), blocks=1, components=2, **SMALL), CODES),
    "MatchedSets": (lambda: MatchedSets(5, 2, dim=4), SETS),
    "MixedFlow": (lambda: MixedFlow((Variable(2), Variable(3)), layers=2, **SMALL), CODES),
    "SetFlow": (_sets, SETS),
}
REAL = {
    "AveragedDensity": (
        lambda: AveragedDensity([WarpedMixture(2, 2, layers=1, **SMALL), coupling_mixture(2, 3, layers=1, **SMALL)]),
        torch.randn(3, 2),
    ),
    "WarpedMixture": (lambda: WarpedMixture(2, 3, layers=2, **SMALL), torch.randn(3, 2)),
    "DisjointMixture": (lambda: coupling_mixture(2, 3, layers=2, **SMALL), torch.randn(3, 2)),
    "DisjointMixture, boxed": (
        lambda: coupling_mixture(2, 3, layers=2, box=True, profile="cube", whiten=True, **SMALL),
        torch.randn(3, 2),
    ),
    "ImageMixture": (lambda: ImageMixture((1, 4, 4), layers=1, hidden_channels=4), torch.randn(3, 1, 4, 4)),
}
MODELS = DISCRETE | REAL


def made(name: str) -> tuple[nn.Module, Tensor]:
    """A model in evaluation mode, away from its start, and rows for it."""
    torch.manual_seed(0)
    make, rows = MODELS[name]
    model = make()
    with torch.no_grad():
        if name in REAL:
            model.elbo(rows)
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval(), rows
