"""Flows of sequences of points: each point by a flow, given what a recurrent network read of those before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, Transform
from zuko.flows import Flow
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.lazy import LazyDistribution, UnconditionalDistribution
from zuko.nn import MLP

from tessflow.flows.bases import Logistic
from tessflow.flows.bends import seen_of
from tessflow.flows.precision import full_precision
from tessflow.flows.sequence import SequenceDensity, ShiftedLSTM
from tessflow.randomness import draw
from tessflow.transforms import LogisticMixtureTransform

__all__ = ["RecurrentFlow", "logistic_flow"]

# The logistics of a mixture at first: their centres are spread evenly over [-2, 2], and they are this narrow.
_SPREAD, _LOG_SCALE = 2.0, -1.0
# Scales stay within a factor of e^6.
_LOG_RANGE = 6.0
# The network sees points no farther from 0 than this.
_FARTHEST = 30.0


def logistic_flow(
    features: int, context: int = 0, *, components: int = 27, hidden_features: Sequence[int] = (256,)
) -> Flow:
    r"""Build a flow of R^D whose coordinates are mixtures of logistics, each given those before it and the context.

    One autoregressive layer: :class:`~tessflow.transforms.LogisticMixtureTransform` takes each coordinate to its
    log-odds, and the base is the standard logistic.

    Args:
        features: The dimension D.
        context: The size of a context.
        components: The number of logistics.
        hidden_features: The widths of the network.

    Returns:
        A :class:`zuko.flows.Flow`: ``flow(c).log_prob(x)`` in nats, for ``x`` of shape ``(..., D)``.

    Raises:
        ValueError: If ``features`` or ``components`` is below 1.

    Example:
        >>> flow = logistic_flow(2, context=3, components=4, hidden_features=(16,))
        >>> flow(torch.zeros(5, 3)).log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """
    if features < 1 or components < 1:
        raise ValueError(f"features and components must be at least 1, got {features} and {components}.")
    layer = _Autoregressive(
        features,
        context,
        univariate=_logistics,
        shapes=[Size((components,))] * 3,
        hidden_features=hidden_features,
        activation=nn.SiLU,
    )
    base = UnconditionalDistribution(Logistic, torch.zeros(features), torch.ones(features), buffer=True)
    return Flow([layer], base)


class _Autoregressive(MaskedAutoregressiveTransform):
    """An autoregressive layer whose network sees no point very far away."""

    def meta(self, c: Tensor | None, x: Tensor) -> Transform:
        return super().meta(c, x.clamp(-_FARTHEST, _FARTHEST))


def _logistics(logits: Tensor, loc: Tensor, log_scale: Tensor) -> LogisticMixtureTransform:
    logits, loc, log_scale = map(full_precision, (logits, loc, log_scale))
    start = torch.linspace(-_SPREAD, _SPREAD, loc.shape[-1], dtype=loc.dtype, device=loc.device)
    log_scale = _LOG_RANGE * ((log_scale + _LOG_SCALE) / _LOG_RANGE).tanh()
    return LogisticMixtureTransform(logits, start + loc, log_scale)


class RecurrentFlow(LazyDistribution):
    r"""Model T points of R^D one after another, each by a flow given what an LSTM read of those before.

    .. math:: p(x_1, ..., x_T) = \prod_t p(x_t; h_t), \qquad h_t = \mathrm{LSTM}(x_1, ..., x_{t-1})

    With :func:`logistic_flow` this is the autoregressive flow that the paper has over characters (Chen, Amos & Nickel,
    2022, Sec. 6): a mixture of logistics a coordinate, with parameters from a recurrent network.

    A lazy density over R^(T D): ``flow().log_prob(x)`` in nats, exact, for ``x`` of shape ``(..., T D)`` with any T;
    ``flow().sample((n,))`` draws ``length`` points.

    Args:
        flow: The flow of a point, whose context is the LSTM's output, of size ``hidden_features``.
        dim: The dimension D of a point.
        length: The number of points in a sample.
        hidden_features: The width of the LSTM.
        layers: The number of its layers.
        embedding: The size of what it reads of a point.

    Raises:
        ValueError: If a size is below 1.

    Example:
        >>> points = logistic_flow(2, context=16, components=4, hidden_features=(16,))
        >>> flow = RecurrentFlow(points, dim=2, length=10, hidden_features=16)
        >>> x = flow().sample((3,))
        >>> x.shape, flow().log_prob(x).shape
        (torch.Size([3, 20]), torch.Size([3]))
    """

    def __init__(
        self,
        flow: LazyDistribution,
        dim: int,
        length: int,
        *,
        hidden_features: int = 256,
        layers: int = 1,
        embedding: int = 64,
    ) -> None:
        super().__init__()
        sizes = dim, length, hidden_features, layers, embedding
        if min(sizes) < 1:
            raise ValueError(f"dim, length, hidden_features, layers and embedding must be at least 1, got {sizes}.")
        self.dim, self.length = dim, length
        self.flow = flow
        self.embedding = MLP(2 * dim, embedding, (128,), activation=nn.SiLU)
        self.lstm = ShiftedLSTM(embedding, hidden_features, layers=layers)

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return the density over R^(T D); a context has no effect."""
        return _RecurrentDensity(self)

    def embed(self, x: Tensor) -> Tensor:
        """Return what the LSTM reads of points, ``(..., D)`` to ``(..., embedding)``."""
        return cast("Tensor", self.embedding(seen_of(x[..., None, :])))


class _RecurrentDensity(SequenceDensity):
    """The density that a :class:`RecurrentFlow` holds the parameters of."""

    flow: RecurrentFlow

    def _of_points(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.flow.flow(self.flow.lstm(self._read(x))).log_prob(x))

    def _draw(self, h: Tensor) -> Tensor:
        return draw(self.flow.flow(h))

    def _read(self, x: Tensor) -> Tensor:
        return self.flow.embed(x)
