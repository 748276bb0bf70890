"""What all dequantization methods share: noise, given the value, pushed into the value's cell."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, Transform, constraints
from zuko.distributions import NormalizingFlow
from zuko.nn import MLP
from zuko.transforms import ComposedTransform, IdentityTransform

from tessflow.configuration import Configured
from tessflow.flows import coupling_layers
from tessflow.flows.bases import Gaussian

__all__ = [
    "ConditionalNoise",
    "Dequantization",
    "Dequantizer",
    "NoiseName",
    "StandardNoise",
    "require_classes",
    "whole_codes",
]

NoiseName = Literal["conditional", "gaussian", "standard"]


class Dequantizer(Configured, abc.ABC):
    r"""A family of densities q(x | y) over R^(N x D), each supported on the cell of its discrete value y.

    A subclass says what the cells are; the noise that is pushed into them is common to all methods.

    Cells need not tile the space, but every point is decoded: ``quantize`` extends them to a partition of R^(N x D)
    into existing values. Under a flow p(x), samples have the probabilities
    :math:`P(y) = \int p(x) \, 1[\mathrm{quantize}(x) = y] \, dx`, which sum to 1, and the bound stays below
    :math:`\log P(y)`: it loses what mass p has outside of all cells.

    Args:
        cardinalities: The number of classes of each variable, ``(K_1, ..., K_N)``.
        dim: The number ``D`` of continuous dimensions a variable.
        noise: ``"conditional"`` for :class:`ConditionalNoise`, ``"gaussian"`` for the same without its coupling layers,
            which is faster, ``"standard"`` for :class:`StandardNoise`, or a module:
            ``noise(y)`` is a density over R^(N D).
        hidden_features: The widths of the conditional noise's networks.

    Attributes:
        lower_bound: Whether ``log p(x) - log q(x | y)`` bounds ``log p(y)`` from below in expectation, or equals it.

    Raises:
        ValueError: If a variable has no class, or ``noise`` is not one of those named.
    """

    lower_bound: bool = True
    num_classes: Tensor

    def __init__(
        self,
        cardinalities: Sequence[int],
        dim: int,
        *,
        noise: NoiseName | nn.Module = "conditional",
        hidden_features: Sequence[int] = (256, 256),
    ) -> None:
        super().__init__()
        if min(cardinalities, default=0) < 1:
            raise ValueError(f"every variable needs at least one class, got cardinalities {tuple(cardinalities)}.")
        self.cardinalities = tuple(cardinalities)
        self.dim = dim
        self.register_buffer("num_classes", torch.tensor(self.cardinalities), persistent=False)
        if noise in ("conditional", "gaussian"):
            self.noise: nn.Module = ConditionalNoise(
                cardinalities, self.features, layers=4 if noise == "conditional" else 0, hidden_features=hidden_features
            )
        elif noise == "standard":
            self.noise = StandardNoise(self.features)
        elif isinstance(noise, nn.Module):
            self.noise = noise
        else:
            raise ValueError(f"noise must be 'conditional', 'gaussian' or 'standard', got {noise!r}.")

    @property
    def features(self) -> int:
        """The number ``N D`` of continuous features of a row."""
        return len(self.cardinalities) * self.dim

    @property
    def exists(self) -> Tensor:
        """Which classes exist, of as many as the widest variable has: boolean ``(N, K)``."""
        return torch.arange(max(self.cardinalities), device=self.num_classes.device) < self.num_classes[:, None]

    @abc.abstractmethod
    def cells(self, y: Tensor) -> Transform:
        """Return the bijection from R^(N x D) onto the cells of ``y``, shape ``(..., N)``."""

    @abc.abstractmethod
    def quantize(self, x: Tensor) -> Tensor:
        """Return the value that ``x`` is decoded to, an existing one: ``(..., N, D)`` to ``(..., N)`` int64."""

    def contains(self, x: Tensor, y: Tensor) -> Tensor:
        """Return whether ``x`` is in the cell of ``y``, boolean ``(..., N)``.

        Stricter than ``quantize(x) == y`` where cells do not tile the space.

        Args:
            x: Points, shape ``(..., N, D)``.
            y: Values, int64 of shape ``(..., N)``.
        """
        return self.quantize(x) == y

    def forward(self, y: Tensor) -> Dequantization:
        """Return q(x | y).

        Args:
            y: Values, int64 of shape ``(..., N)``.

        Raises:
            ValueError: If ``y`` has another number of variables, or a value that is no class of its variable.
        """
        self.check(y)
        return Dequantization(self, y)

    def check(self, y: Tensor) -> None:
        """Raise a ValueError unless ``y``, shape ``(..., N)``, holds classes of its variables."""
        require_classes(y, self.num_classes)


def require_classes(y: Tensor, num_classes: Tensor) -> None:
    """Raise a ValueError unless ``y``, shape ``(..., N)``, holds classes of N variables, ``num_classes`` ``(N,)``.

    Example:
        >>> require_classes(torch.tensor([[0, 2]]), torch.tensor([3, 2]))
        Traceback (most recent call last):
        ValueError: variable 1 has values 0, ..., 1, got y[..., 1] from 2 to 2.
    """
    if y.shape[-1:] != num_classes.shape:
        raise ValueError(f"y must have shape (..., {len(num_classes)}), got {tuple(y.shape)}.")
    if y.is_floating_point():
        raise ValueError(f"y holds classes, which are whole numbers, got {y.dtype}: give int64.")
    if not _can_look(y):
        return
    wrong = ((y < 0) | (y >= num_classes)).reshape(-1, len(num_classes)).any(0)
    if wrong.any():
        n = int(wrong.int().argmax())
        raise ValueError(
            f"variable {n} has values 0, ..., {int(num_classes[n]) - 1}, "
            f"got y[..., {n}] from {int(y[..., n].min())} to {int(y[..., n].max())}."
        )


def _can_look(y: Tensor) -> bool:
    """Return whether there are values to check: not while a CUDA graph is captured."""
    return not (y.is_cuda and torch.cuda.is_current_stream_capturing())


def whole_codes(y: Tensor) -> Tensor:
    """Return codes as int64, of rows that are float64 because they hold numbers too.

    Raises:
        ValueError: If a code is not a whole number.

    Example:
        >>> whole_codes(torch.tensor([1.0, 0.7]))
        Traceback (most recent call last):
        ValueError: the codes of classes are whole numbers, got 0.7.
    """
    codes = y.long()
    if y.is_floating_point() and _can_look(y) and not (same := codes == y).all():
        raise ValueError(f"the codes of classes are whole numbers, got {y[~same][0].item():.6g}.")
    return codes


class Dequantization(Distribution):
    """The density q(x | y) of a :class:`Dequantizer`, with event shape ``(N, D)``.

    Args:
        dequantizer: Whose cells and noise are used.
        y: Values, int64 of shape ``(..., N)``.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    has_rsample = True

    def __init__(self, dequantizer: Dequantizer, y: Tensor) -> None:
        super().__init__(y.shape[:-1], Size((y.shape[-1], dequantizer.dim)), validate_args=False)
        self.dequantizer = dequantizer
        self.y = y
        self.noise = dequantizer.noise(y)
        if self.noise.batch_shape != self.batch_shape:  # noise that ignores y: each row has its own
            self.noise = self.noise.expand(self.batch_shape)
        self.cells: Any = dequantizer.cells(y)  # zuko gives every transform `call_and_ladj`

    def rsample_with_log_prob(self, sample_shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """Draw differentiable samples and their log-densities from one pass.

        Args:
            sample_shape: Leading shape of the samples.

        Returns:
            Samples ``(*sample_shape, ..., N, D)`` and log-densities ``(*sample_shape, ...)`` in nats.
        """
        noise, log_prob = self.noise.rsample_and_log_prob(Size(sample_shape))
        x, log_det = self.cells.call_and_ladj(noise.unflatten(-1, self.event_shape))
        return x, log_prob - self._sum(log_det)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw differentiable samples ``(*sample_shape, ..., N, D)``."""
        return self.rsample_with_log_prob(sample_shape)[0]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log q(x | y) in nats, ``-inf`` outside the cell of y."""
        value = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape))
        noise, log_det = self.cells.inv.call_and_ladj(value)
        inside = self.dequantizer.contains(value, self.y).all(-1)
        log_prob = self.noise.log_prob(noise.flatten(-2)) + self._sum(log_det)
        return torch.where(inside, log_prob, -torch.inf)

    def _sum(self, log_det: Tensor) -> Tensor:
        for _ in range(len(self.event_shape) - self.cells.domain.event_dim):
            log_det = log_det.sum(-1)
        return log_det


class StandardNoise(nn.Module):
    """N(0, I) over R^features, whatever the value.

    Args:
        features: The number of features ``N D``.
    """

    zero: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("zero", torch.zeros(features), persistent=False)

    def forward(self, y: Tensor) -> NormalizingFlow:
        """Return the density for ``y`` of shape ``(..., N)``."""
        loc = self.zero.expand(*y.shape[:-1], self.features)
        return NormalizingFlow(_identity(), Gaussian(loc, torch.ones_like(loc)))


class ConditionalNoise(nn.Module):
    """The paper's conditional flow: a Gaussian and coupling layers, both given an embedding of all values.

    Chen, Amos & Nickel (2022), Appendix D. Starts as N(0, I).

    Args:
        cardinalities: The number of classes of each variable.
        features: The number of features ``N D``.
        layers: The number of conditional coupling layers; with none, the noise is a conditional Gaussian.
        hidden_features: The widths of the hidden layers of every network.
        embedding: The size of a value's embedding.
        base: The distribution with a location and a scale that stands in the Gaussian's place.

    Example:
        >>> noise = ConditionalNoise((3, 2), features=8, hidden_features=(16,))
        >>> noise(torch.tensor([[2, 0], [1, 1]])).sample().shape
        torch.Size([2, 8])
    """

    offset: Tensor

    def __init__(
        self,
        cardinalities: Sequence[int],
        features: int,
        *,
        layers: int = 4,
        hidden_features: Sequence[int] = (256, 256),
        embedding: int = 8,
        base: Callable[[Tensor, Tensor], Distribution] = Gaussian,
    ) -> None:
        super().__init__()
        if not hidden_features:
            raise ValueError("hidden_features must name at least one width, got none.")
        context = hidden_features[-1]
        self.embedding = nn.Embedding(sum(cardinalities), embedding)
        sizes = torch.tensor(cardinalities)
        self.register_buffer("offset", sizes.cumsum(0) - sizes, persistent=False)
        self.context = MLP(len(cardinalities) * embedding, context, hidden_features[:-1], activation=nn.SiLU)
        self.base = base
        self.gaussian = nn.Linear(context, 2 * features)
        nn.init.zeros_(self.gaussian.weight)
        nn.init.zeros_(self.gaussian.bias)
        self.layers = nn.ModuleList(
            coupling_layers(features, context=context, layers=layers, hidden_features=hidden_features)
            if features > 1 and layers > 0
            else []
        )

    def forward(self, y: Tensor) -> NormalizingFlow:
        """Return the density given ``y`` of shape ``(..., N)``."""
        context = nn.functional.silu(self.context(self.embedding(y + self.offset).flatten(-2)))
        # Under autocast, half precision ends with the networks.
        loc, log_scale = self.gaussian(context).to(self.gaussian.weight.dtype).chunk(2, dim=-1)
        base = self.base(loc, (5 * (log_scale / 5).tanh()).exp())
        return NormalizingFlow(ComposedTransform(_identity(), *(layer(context) for layer in self.layers)), base)


def _identity() -> Transform:
    return torch.distributions.transforms.IndependentTransform(IdentityTransform(), 1)
