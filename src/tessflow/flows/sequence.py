"""Densities of sequences of points: mixtures whose weights a recurrent network finds, point after point."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints
from zuko.nn import MLP

from tessflow.flows.precision import full_precision
from tessflow.randomness import categorical, normal

__all__ = ["GaussianComponents", "RecurrentMixture", "SequenceDensity", "ShiftedLSTM"]

State = tuple[Tensor, Tensor]


class RecurrentMixture(nn.Module):
    r"""Model T points of R^D one after another, each by a mixture of Gaussians whose weights depend on those before.

    .. math:: p(x_1, ..., x_T) = \prod_t \sum_k \pi_k(x_1, ..., x_{t-1}) \, N(x_t; m_k, \mathrm{diag}(s_k^2))

    Components are the same at every position; an LSTM finds their weights. With a component in each cell of a
    dequantizer it can give every symbol a probability at once, where flows that transform one coordinate after
    another (as in Chen, Amos & Nickel, 2022, Sec. 6) have to learn steps at the cells' walls first.

    A lazy density over R^(T D), as zuko's flows are: ``flow().log_prob(x)`` in nats, exact, for ``x`` of shape
    ``(..., T D)`` with any T; ``flow().sample((n,))`` draws ``length`` points.

    Args:
        dim: The dimension ``D`` of a point.
        length: The number of points in a sample.
        components: The number of Gaussians, at first N(m, e^-1.4) for random m; :meth:`place` moves them.
        hidden_features: The width of the LSTM.
        layers: The number of its layers.
        embedding: The size of what it reads of a point.
        reads: ``"components"``: a point is read as how likely it came from each component, embedded. ``"points"``:
            as its coordinates and ``tanh(sharpness * x)``, in units of the components' spread, through a small MLP.
        sharpness: Of these steps.

    Raises:
        ValueError: If a size is below 1, or ``reads`` is neither of the two.

    Example:
        >>> flow = RecurrentMixture(dim=2, length=10, components=5, hidden_features=16)
        >>> x = flow().sample((3,))
        >>> x.shape, flow().log_prob(x).shape
        (torch.Size([3, 20]), torch.Size([3]))
    """

    def __init__(
        self,
        dim: int,
        length: int,
        *,
        components: int = 32,
        hidden_features: int = 256,
        layers: int = 1,
        embedding: int = 64,
        reads: Literal["components", "points"] = "components",
        sharpness: float = 4.0,
    ) -> None:
        super().__init__()
        if min(dim, length, components, hidden_features, layers, embedding) < 1:
            raise ValueError(
                "dim, length, components, hidden_features, layers and embedding must be at least 1, got "
                f"{dim}, {length}, {components}, {hidden_features}, {layers} and {embedding}."
            )
        self.dim = dim
        self.length = length
        self.sharpness = sharpness
        self.components = GaussianComponents(components, dim)
        if reads == "components":
            self.embedding: nn.Linear | MLP = nn.Linear(components, embedding, bias=False)
            nn.init.normal_(self.embedding.weight)
        elif reads == "points":
            self.embedding = MLP(2 * dim, embedding, (128,), activation=nn.SiLU)
        else:
            raise ValueError(f"reads must be 'components' or 'points', got {reads!r}.")
        self.reads = reads
        self.lstm = ShiftedLSTM(embedding, hidden_features, layers=layers)
        self.logits = nn.Linear(hidden_features, components)

    def forward(self, c: None = None) -> Distribution:
        """Return the density over R^(T D)."""
        return _RecurrentMixtureDensity(self)

    def place(self, points: Tensor) -> None:
        """Give each component the mean and the deviations of points, finite, of shape ``(S, components, D)``.

        Example:
            >>> from tessflow.dequantization import VoronoiDequantizer
            >>> dequantizer = VoronoiDequantizer((5,), dim=2, noise="gaussian")
            >>> flow = RecurrentMixture(dim=2, length=10, components=5)
            >>> flow.place(dequantizer(torch.arange(5)[:, None]).sample((100,)).squeeze(-2))
        """
        self.components.place(points)

    def embed(self, x: Tensor, log_densities: Tensor) -> Tensor:
        """Return what the LSTM reads of points ``(..., D)`` with log-densities ``(..., components)``."""
        if self.reads == "components":
            return self.embedding(log_densities.softmax(-1))
        means = self.components.means.detach()
        z = ((x - means.mean(0)) / means.std(0, correction=0).clamp_min(1e-6)).clamp(-100, 100)
        return self.embedding(torch.cat([z, (self.sharpness * z).tanh()], -1))


class SequenceDensity(Distribution, abc.ABC):
    """A density of points one after another, each given what an LSTM read of those before.

    Args:
        flow: What holds the parameters: its ``lstm``, ``length`` and ``dim``.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    support = constraints.real_vector

    def __init__(self, flow: Any) -> None:
        super().__init__(Size(), Size((flow.length * flow.dim,)), validate_args=False)
        self.flow = flow

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats, ``(..., T D)`` to ``(...)``."""
        dim = self.flow.dim
        if value.shape[-1] % dim:
            raise ValueError(f"x must have shape (..., T * {dim}), got {tuple(value.shape)}.")
        if not value.numel():
            return value.sum(-1)
        return self._of_points(value.reshape(-1, value.shape[-1] // dim, dim)).sum(-1).reshape(value.shape[:-1])

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw samples ``(*sample_shape, length D)``."""
        flow, shape = self.flow, Size(sample_shape)
        points, state = [], flow.lstm.start(shape.numel())
        for _ in range(flow.length):
            points.append(self._draw(flow.lstm.output(state)))
            state = flow.lstm.step(self._read(points[-1]), state)
        return torch.cat(points, -1).reshape(*shape, flow.length * flow.dim)

    @abc.abstractmethod
    def _of_points(self, x: Tensor) -> Tensor:
        """Return the log-density of each point given those before, ``(B, T, D)`` to ``(B, T)``."""

    @abc.abstractmethod
    def _draw(self, h: Tensor) -> Tensor:
        """Draw points ``(B, D)``, given what the LSTM says of those before."""

    @abc.abstractmethod
    def _read(self, x: Tensor) -> Tensor:
        """Return what the LSTM reads of points ``(..., D)``."""


class _RecurrentMixtureDensity(SequenceDensity):
    """The density that a :class:`RecurrentMixture` holds the parameters of."""

    flow: RecurrentMixture

    def _of_points(self, x: Tensor) -> Tensor:
        flow = self.flow
        log_densities = flow.components.log_prob(x)
        log_weights = full_precision(flow.logits(flow.lstm(flow.embed(x, log_densities)))).log_softmax(-1)
        return (log_weights + log_densities).logsumexp(-1)

    def _draw(self, h: Tensor) -> Tensor:
        return self.flow.components.sample(categorical(self.flow.logits(h)))

    def _read(self, x: Tensor) -> Tensor:
        return self.flow.embed(x, self.flow.components.log_prob(x))


class GaussianComponents(nn.Module):
    """Hold Gaussians with diagonal covariances.

    Args:
        components: The number ``K`` of Gaussians.
        dim: The dimension ``D``.
    """

    def __init__(self, components: int, dim: int) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.randn(components, dim))
        self.log_scales = nn.Parameter(torch.full((components, dim), -0.7))

    @torch.no_grad()
    def place(self, points: Tensor) -> None:
        """Take means and deviations from points ``(S, K, D)``."""
        if points.ndim != 3 or points.shape[1:] != self.means.shape or len(points) < 2:
            wanted = tuple(self.means.shape)
            raise ValueError(
                f"points must have shape (S, {wanted[0]}, {wanted[1]}), S >= 2, got {tuple(points.shape)}."
            )
        self.means.copy_(points.mean(0))
        self.log_scales.copy_(points.std(0).clamp_min(1e-6).log())

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density under each Gaussian: ``(..., D)`` to ``(..., K)``, nats."""
        # Squares of what is farther would overflow. One dimension after another is faster than all at once.
        coordinates = x.clamp(-1e12, 1e12).unbind(-1), self.means.unbind(-1), (-self.log_scales).exp().unbind(-1)
        square = sum(((x_d[..., None] - mean) * slope).square() for x_d, mean, slope in zip(*coordinates, strict=True))
        return -0.5 * square - self.log_scales.sum(-1) - 0.5 * x.shape[-1] * math.log(2 * math.pi)

    def sample(self, index: Tensor) -> Tensor:
        """Draw from the Gaussians of ``index``: ``(...)`` to ``(..., D)``."""
        means = self.means[index]
        return means + self.log_scales[index].exp() * normal(means.shape, means)


class ShiftedLSTM(nn.Module):
    """Let an LSTM tell of each position what it read at the positions before.

    Args:
        features: The size of an input.
        hidden_features: The size of an output.
        layers: The number of layers.

    Example:
        >>> lstm = ShiftedLSTM(3, 8)
        >>> x = torch.randn(2, 5, 3)
        >>> state = lstm.start(2)
        >>> for t in range(2):
        ...     state = lstm.step(x[:, t], state)
        >>> torch.allclose(lstm(x)[:, 2], lstm.output(state), atol=1e-6)
        True
    """

    def __init__(self, features: int, hidden_features: int, *, layers: int = 1) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden_features, layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs, of which number t depends on inputs before t: ``(B, T, F)`` to ``(B, T, H)``."""
        output: Tensor = self.lstm(F.pad(x, (0, 0, 1, -1)))[0]
        return output

    def start(self, n: int) -> State:
        """Return the state before the first position of ``n`` sequences."""
        weight = next(self.lstm.parameters())
        zero = weight.new_zeros(self.lstm.num_layers, n, self.lstm.hidden_size)
        return self.step(weight.new_zeros(n, self.lstm.input_size), (zero, zero))

    def output(self, state: State) -> Tensor:
        """Return the output at the position that a state comes before, ``(n, H)``."""
        return state[0][-1]

    def step(self, x: Tensor, state: State) -> State:
        """Return the state after inputs ``(n, F)``."""
        following: State = self.lstm(x[:, None], state)[1]
        return following
