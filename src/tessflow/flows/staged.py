"""Masked networks whose outputs come in stages, each a function of what was known before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zuko.nn import MaskedMLP

from tessflow.randomness import Dropout

__all__ = ["StagedNetwork", "StagedPass"]


class StagedNetwork(MaskedMLP):
    """Outputs that each see some of the inputs (zuko's masked MLP), stage after stage. They are zero at first.

    A hidden unit serves the outputs of one kind, those that see the same, and of kinds that see more. A layer has at
    least one unit for each kind.

    Args:
        adjacency: Which inputs, last, each output sees: boolean, at least one of them true.
        hidden_features: The widths of the hidden layers.
        dropout: The share of hidden units dropped in training.

    Example:
        >>> adjacency = torch.tensor([[False, False], [True, False], [True, True]])
        >>> network = StagedNetwork(adjacency, hidden_features=(8,))
        >>> x = torch.randn(5, 2)
        >>> stages = StagedPass(network, torch.tensor([1, 2]))
        >>> torch.cat([stages.output(stage, x) for stage in range(3)], -1).equal(network(x))
        True
    """

    def __init__(self, adjacency: Tensor, *, hidden_features: Sequence[int], dropout: float = 0.0) -> None:
        kinds = len(adjacency[adjacency.any(-1)].unique(dim=0))
        widths = [max(width, kinds) for width in hidden_features]
        super().__init__(adjacency, widths, activation=lambda: nn.Sequential(nn.SiLU(), Dropout(dropout)))
        nn.init.zeros_(self[-1].weight)
        nn.init.zeros_(self[-1].bias)


class StagedPass:
    """One pass of a network, stage after stage: every unit is computed once, when all that it sees is known.

    Args:
        network: The network; its weights are those of now.
        known: The stage from which on each input is known, int64 ``(inputs,)``. A unit comes at the stage from which on
            all that it sees is known; one that sees nothing at stage 0.
    """

    def __init__(self, network: StagedNetwork, known: Tensor) -> None:
        linear = list(network)[::2]
        stages = int(known.max()) + 1
        reach = torch.eye(len(known), device=known.device)
        order = self.inputs = known.argsort(stable=True)
        self.ends = [_ends(known, stages)]  # of each layer, how many units are known before a stage
        self.weights = []
        for layer in linear:
            # Units in the order in which they are known: those that are known at a stage are the first few.
            reach = (layer.mask.float() @ reach).clamp_max(1)
            when = (reach * known).amax(-1)
            before, order = order, when.argsort(stable=True)
            weight = (layer.mask * layer.weight).detach()
            self.weights.append((weight[order][:, before], layer.bias.detach()[order]))
            self.ends.append(_ends(when, stages))
        self.activations = list(network)[1::2]
        self.units: list[Tensor] = []
        self.stage = 0

    def output(self, stage: int, x: Tensor) -> Tensor:
        """Return the outputs of a stage, ``(..., outputs of it)``; no stage comes before an earlier one.

        Args:
            stage: The stage.
            x: Inputs, ``(..., inputs)``, of which those that are not known yet make no difference.
        """
        h = x.index_select(-1, self.inputs[: self.ends[0][stage + 1]])
        if not self.units:
            self.units = [x.new_empty(*x.shape[:-1], len(bias)) for _, bias in self.weights[:-1]]
        for units, activation, ends, (weight, bias) in zip(
            self.units, self.activations, self.ends[1:], self.weights, strict=False
        ):
            new = slice(ends[self.stage], ends[stage + 1])
            units[..., new] = activation(F.linear(h, weight[new, : h.shape[-1]], bias[new]))
            h = units[..., : new.stop]
        new = slice(self.ends[-1][stage], self.ends[-1][stage + 1])
        self.stage = stage + 1
        weight, bias = self.weights[-1]
        return F.linear(h, weight[new, : h.shape[-1]], bias[new])


def _ends(known: Tensor, stages: int) -> list[int]:
    """Return how many units are known before each stage, and in the end."""
    return [int((known < stage).sum()) for stage in range(stages + 1)]
