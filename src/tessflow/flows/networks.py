"""Networks of coupling layers that are told of variables one by one: perceptrons, residual networks, transformers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessflow.flows.precision import full_precision
from tessflow.randomness import Dropout

__all__ = ["NetworkName", "TokenNetwork"]

NetworkName = Literal["mlp", "residual", "transformer"]

# Heads of a transformer's attention, at most, and the width of its feed-forward layers in widths of a token.
_HEADS, _FEED_FORWARD = 4, 2


class TokenNetwork(nn.Module):
    """Map what is seen of some variables to an output for each of others; it is zero at first.

    ``"mlp"`` and ``"residual"`` see all tokens as one vector. ``"residual"`` adds to its input in every layer, after
    normalisation: it takes a higher learning rate. ``"transformer"``, the paper's own (Chen, Amos & Nickel, 2022,
    Appendix D), has a token for each variable that is seen and one for each that is asked for; the widths are those of
    tokens.

    Args:
        tokens: How many variables are seen,
        size: and the size of what is seen of each.
        outputs: How many variables are asked for,
        width: and the size of each one's output.
        kind: ``"mlp"``, ``"residual"`` or ``"transformer"``.
        hidden_features: The widths of the hidden layers; of residual networks and transformers all are equal.
        dropout: The share of hidden units dropped in training.

    Raises:
        ValueError: If ``kind`` is none of the three, or a network of equal widths is given others.

    Example:
        >>> network = TokenNetwork(3, 5, outputs=2, width=4, kind="residual", hidden_features=(16, 16))
        >>> network(torch.randn(7, 3, 5)).shape
        torch.Size([7, 2, 4])
    """

    def __init__(
        self,
        tokens: int,
        size: int,
        *,
        outputs: int,
        width: int,
        kind: NetworkName = "mlp",
        hidden_features: Sequence[int] = (256, 256),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if kind not in get_args(NetworkName):
            raise ValueError(f"network must be one of {', '.join(map(repr, get_args(NetworkName)))}, got {kind!r}.")
        if not hidden_features or (kind != "mlp" and len(set(hidden_features)) > 1):
            raise ValueError(
                f"hidden_features of a network {kind!r} names one width or more"
                f"{'' if kind == 'mlp' else ', all equal'}, got {tuple(hidden_features)}."
            )
        self.kind = kind
        self.outputs = outputs
        hidden = hidden_features[0]
        if kind == "transformer":
            self.body: nn.Module = _Transformer(tokens, size, outputs, hidden, len(hidden_features), dropout)
            self.last = nn.Linear(hidden, width)
        else:
            make = _Residual if kind == "residual" else _Perceptron
            self.body = make(tokens * size, hidden_features, dropout)
            self.last = nn.Linear(hidden_features[-1], outputs * width)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., tokens, size)`` to ``(..., outputs, width)``; under autocast, half precision ends here."""
        if self.kind == "transformer":
            return full_precision(self.last(self.body(x)))
        return full_precision(self.last(self.body(x.flatten(-2)))).unflatten(-1, (self.outputs, -1))


class _Perceptron(nn.Sequential):
    def __init__(self, features: int, hidden_features: Sequence[int], dropout: float) -> None:
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise([features, *hidden_features]):
            layers += [nn.Linear(before, after), nn.SiLU(), Dropout(dropout)]
        super().__init__(*layers)


class _Residual(nn.Module):
    def __init__(self, features: int, hidden_features: Sequence[int], dropout: float) -> None:
        super().__init__()
        width = hidden_features[0]
        self.first = nn.Linear(features, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width), Dropout(dropout))
            for _ in hidden_features[1:]
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for layer in self.layers:
            h = h + layer(h)
        return F.silu(self.norm(h))


class _Transformer(nn.Module):
    """Tokens of what is seen, each through a linear map of its own, beside learned tokens of what is asked for."""

    def __init__(self, tokens: int, size: int, outputs: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        heads = next(heads for heads in range(min(_HEADS, width), 0, -1) if width % heads == 0)
        bound = size**-0.5
        self.embed = nn.Parameter(torch.empty(tokens, size, width).uniform_(-bound, bound))
        self.place = nn.Parameter(0.1 * torch.randn(tokens, width))
        self.asked = nn.Parameter(0.1 * torch.randn(outputs, width))
        self.outputs = outputs
        layer = nn.TransformerEncoderLayer(
            width, heads, _FEED_FORWARD * width, dropout, F.silu, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[:-2]
        seen = torch.einsum("bns,nsw->bnw", x.flatten(0, -3) if batch else x[None], self.embed) + self.place
        asked = self.asked.expand(len(seen), -1, -1)
        h = self.encoder(torch.cat([seen, asked], -2))[:, -self.outputs :]
        return h.reshape(*batch, self.outputs, -1)
