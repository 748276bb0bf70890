"""A multi-scale flow of images with a disjoint mixture at the start of each scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints
from zuko.lazy import LazyDistribution

from tessflow.configuration import Configured
from tessflow.flows.image import ImageCouplings
from tessflow.geometry import Tessellation, double
from tessflow.models.placing import k_means
from tessflow.randomness import generator, normal, uniform
from tessflow.transforms import CellTransform

__all__ = ["ImageMixture", "ImageMixtureDistribution"]

# In this last share of the way from the anchor to the wall points are moved; and the nearest to the wall, as
# another share, that is told apart from it.
_MARGIN, _NEAREST = 0.005, 1e-7

# The share of a batch in the running means that cells follow.
_RATE = 0.02

# Rows that k-means looks at when anchors are placed.
_KMEANS_ROWS = 10_000


class ImageMixture(Configured, LazyDistribution):
    r"""A multi-scale coupling flow of images in which a point falls into one of ``cells`` cells at each scale.

    At a scale, :math:`h \in R^{C \times H \times W}` is in cell ``k`` of a Voronoi tessellation; the cell is mapped
    onto the whole space, coupling layers that are told this cell and those of earlier scales follow, and half of the
    dimensions are factored out as N(0, I); the others go to the next scale (Real NVP: Dinh, Sohl-Dickstein & Bengio,
    2017; the mixture: Chen, Amos & Nickel, 2022). With ``S`` scales the density is a mixture of :math:`K^S` components,
    exact at the cost of one,

    .. math:: \log p(x) = \log p(k_1, \dots, k_S) + \sum_s \Big( \log |\det \partial f_{k_s}^{-1}| + \log |\det J_s| +
              \log N(z_s) \Big).

    The homeomorphism moves points only in the span of the anchors' differences, at most ``cells - 1`` dimensions: cells
    are cylinders over that. It is the identity but in the last 1 in 200 of the way to a wall: images are concentrated
    so sharply that they must not be moved by what the coupling layers do not see. In training the cells follow the mean
    and the spread of the points in that span. With one cell a scale this is the plain flow.

    In training mode the first batch places anchors by k-means; see :meth:`initialize`.

    Args:
        shape: Channels, height and width of an image; height and width are multiples of ``2 ** (scales - 1)``.
        cells: The number ``K`` of cells at every scale, or a number for each.
        scales: The number ``S`` of scales.
        layers: The number of coupling layers a scale.
        hidden_channels: The channels of each hidden layer of the convolutional networks.
        hidden_layers: The number of hidden layers of a network.
        maps: The channels of the learned images by which networks are told positions and cells.

    Raises:
        ValueError: If a number is below 1, or height and width are not such multiples.

    Example:
        >>> flow = ImageMixture((1, 8, 8), cells=3, layers=4, hidden_channels=8)
        >>> x = torch.randn(50, 1, 8, 8)
        >>> flow.initialize(x)
        >>> flow().log_prob(x).shape, flow().assign(x).shape
        (torch.Size([50]), torch.Size([50, 3]))
        >>> flow().sample((2,)).shape
        torch.Size([2, 1, 8, 8])
    """

    initialized: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        *,
        cells: int | Sequence[int] = 1,
        scales: int = 3,
        layers: int = 8,
        hidden_channels: int = 32,
        hidden_layers: int = 2,
        maps: int = 4,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.cells = (cells,) * scales if isinstance(cells, int) else tuple(cells)
        if min(*shape, *self.cells, scales) < 1:
            raise ValueError(f"shape, cells and scales must be at least 1, got {tuple(shape)}, {cells} and {scales}.")
        if len(self.cells) != scales:
            raise ValueError(f"with {scales} scales, cells must be one number or {scales}, got {self.cells}.")
        if height % 2 ** (scales - 1) or width % 2 ** (scales - 1):
            raise ValueError(
                f"with {scales} scales, height and width must be multiples of {2 ** (scales - 1)}, "
                f"got {height} x {width}."
            )
        self.shape = Size(shape)
        self.tessellations = nn.ModuleList()
        self.couplings = nn.ModuleList()
        for scale in range(scales):
            self.tessellations.append(_ImageCells((channels, height, width), self.cells[scale]))
            self.couplings.append(
                ImageCouplings(
                    (channels, height, width),
                    classes=[some for some in self.cells[: scale + 1] if some > 1],
                    layers=layers,
                    hidden_channels=hidden_channels,
                    hidden_layers=hidden_layers,
                    maps=maps,
                    squeeze=scale < scales - 1,
                )
            )
            channels, height, width = 2 * channels, height // 2, width // 2
        self.logits = nn.Parameter(torch.zeros(self.cells))
        self.register_buffer("initialized", torch.zeros((), dtype=torch.bool))

    def extra_repr(self) -> str:
        """Describe the options."""
        return f"shape={tuple(self.shape)}, cells={self.cells}, scales={len(self.couplings)}"

    def forward(self, c: None = None) -> ImageMixtureDistribution:
        """Return the distribution, of event shape ``(C, H, W)``."""
        return ImageMixtureDistribution(self)

    def elbo(self, x: Tensor) -> Tensor:
        """Return the exact log-likelihood of images ``(B, C, H, W)``, nats ``(B,)``: what training maximises."""
        return self().log_prob(x)

    def log_weights(self) -> Tensor:
        """Return log p(k) of all components, shape ``(K_1, ..., K_S)``."""
        return self.logits.flatten().log_softmax(0).reshape(self.logits.shape)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Place anchors, set ActNorms, and set the weights to the share of images in each component.

        Args:
            x: Images, shape ``(B, C, H, W)``: the more, the better.

        Raises:
            ValueError: If a value is not finite.
        """
        if not x.isfinite().all():
            raise ValueError("the images that anchors are placed by must be finite numbers.")
        if len(x) == 0:
            return
        training = self.training
        _, _, k = self.train().encode(x, place=True)
        self.train(training)
        counts = self._number(k).bincount(minlength=self.logits.numel())
        # A tenth of a row more everywhere: no weight is 0.
        self.logits.copy_((counts + 0.1).log().reshape(self.logits.shape))
        self.initialized.fill_(1)

    def encode(self, x: Tensor, *, place: bool = False) -> tuple[list[Tensor], Tensor, Tensor]:
        """Map images to noise.

        Args:
            x: Images, shape ``(B, C, H, W)``.
            place: Whether anchors are placed by these images.

        Returns:
            Noise of each scale, the log-determinant ``(B,)``, and cells, int64 ``(B, S)``.
        """
        h, log_det, ks, noise = x, x.new_zeros(len(x)), [], []
        for tessellation, couplings in zip(self.tessellations, self.couplings, strict=True):
            if place:
                cast(_ImageCells, tessellation).place(h)
            h, ladj, k = tessellation(h)
            ks.append(k)
            h, more = cast(Any, couplings)(self._told(torch.stack(ks, -1))).call_and_ladj(h)
            log_det = log_det + ladj + more
            if couplings is not self.couplings[-1]:
                h, out = h.chunk(2, 1)
                noise.append(out)
        return [*noise, h], log_det, torch.stack(ks, -1)

    def decode(self, noise: Sequence[Tensor], k: Tensor) -> Tensor:
        """Map noise of each scale to images of components ``k``, int64 ``(B, S)``: the inverse of :meth:`encode`."""
        *rest, h = noise
        for scale in reversed(range(len(self.couplings))):
            if scale < len(rest):
                h = torch.cat([h, rest[scale]], 1)
            h = self.couplings[scale](self._told(k[:, : scale + 1])).inv(h)
            h = cast(_ImageCells, self.tessellations[scale]).into(h, k[:, scale])
        return h

    def noise_shapes(self) -> list[Size]:
        """Return the shape of each scale's noise."""
        shapes = [cast(ImageCouplings, couplings).out_shape for couplings in self.couplings]
        return [Size((c // 2, h, w)) for c, h, w in shapes[:-1]] + [shapes[-1]]

    def _told(self, k: Tensor) -> Tensor:
        """Return what networks are told of cells: those of scales that have several."""
        return k[:, [scale for scale in range(k.shape[1]) if self.cells[scale] > 1]]

    def _number(self, k: Tensor) -> Tensor:
        """Count components through, ``(..., S)`` to ``(...)``."""
        number = torch.zeros_like(k[..., 0])
        for scale, cells in enumerate(self.cells):
            number = cells * number + k[..., scale]
        return number


class ImageMixtureDistribution(Distribution):
    """What an :class:`ImageMixture` gives: a distribution over images of shape ``(C, H, W)``."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    support = constraints.independent(constraints.real, 3)
    has_rsample = False

    def __init__(self, module: ImageMixture) -> None:
        super().__init__(Size(), module.shape, validate_args=False)
        self.module = module

    def __repr__(self) -> str:
        return f"ImageMixtureDistribution({self.module.extra_repr()})"

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x), exact, in nats: ``(..., C, H, W)`` to ``(...)``."""
        x, module = self._flat(value), self.module
        if module.training and not module.initialized:
            module.initialize(x)
        noise, log_det, k = module.encode(x)
        weight = module.log_weights().flatten()[module._number(k)]
        gaussian = sum(-0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(-1) for z in noise)
        return (weight + log_det + gaussian).reshape(value.shape[:-3])

    def assign(self, x: Tensor) -> Tensor:
        """Return the component that each image is in, a cell a scale: ``(..., C, H, W)`` to int64 ``(..., S)``."""
        with torch.no_grad():
            k = self.module.encode(self._flat(x))[2]
            return k.reshape(*x.shape[:-3], -1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw images, shape ``(*sample_shape, C, H, W)``: first the component, then from it."""
        with torch.no_grad():
            below = self.module.log_weights().flatten().exp().cumsum(0)[:-1]
            number = torch.searchsorted(below, uniform(sample_shape, below))
            return self.component_sample(torch.stack(torch.unravel_index(number, self.module.logits.shape), -1))

    def component_sample(self, k: Tensor, *, temperature: float = 1.0) -> Tensor:
        """Draw an image from each of the components ``k``, int64 ``(..., S)``: ``(..., C, H, W)``.

        Args:
            k: Components.
            temperature: The standard deviation of the noise; 1 for samples of the model.
        """
        with torch.no_grad():
            rows = k.reshape(-1, k.shape[-1])
            like = self.module.logits
            noise = [temperature * normal((len(rows), *shape), like) for shape in self.module.noise_shapes()]
            return self.module.decode(noise, rows).reshape(*k.shape[:-1], *self.event_shape)

    def _flat(self, x: Tensor) -> Tensor:
        if x.shape[-3:] != self.event_shape:
            sizes = ", ".join(map(str, self.event_shape))
            raise ValueError(f"images must have shape (..., {sizes}), got {tuple(x.shape)}.")
        return x.reshape(-1, *self.event_shape)


class _ImageCells(nn.Module):
    """Voronoi cells of images, each mapped onto the whole space in the span of the anchors' differences.

    Cells are those of coordinates in the span, less their mean and over their standard deviation. Both are running
    means in training, so that the cells follow the points when layers before them change.
    """

    centre: Tensor
    basis: Tensor
    mean: Tensor
    spread: Tensor
    anchors: Tensor

    def __init__(self, shape: Sequence[int], cells: int) -> None:
        super().__init__()
        size = math.prod(shape)
        dim = min(cells - 1, size)
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("basis", torch.eye(dim, size))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(dim))
        self.register_buffer("anchors", torch.randn(cells, dim))

    @torch.no_grad()
    def place(self, h: Tensor) -> None:
        """Place anchors by k-means of images ``(B, C, H, W)``."""
        cells, dim = self.anchors.shape
        if dim == 0:
            return
        rows = double(h.flatten(1))
        shuffled = torch.randperm(len(rows), device=rows.device, generator=generator(rows.device))
        centres = k_means(rows[shuffled[:_KMEANS_ROWS]], cells).to(rows)
        self.centre.copy_(centres.mean(0))
        # The span of the differences; if it has fewer dimensions than there could be, any others.
        span = torch.linalg.svd(centres - centres.mean(0), full_matrices=False).Vh[: len(centres) - 1]
        others = normal((dim, rows.shape[1]), rows)
        self.basis.copy_(torch.linalg.qr(torch.cat([span, others]).T).Q.T[:dim])
        a = self._coordinates(h)
        self.mean.copy_(a.mean(0))
        self.spread.copy_(a.std(0, correction=0).clamp_min(1e-3 * a.std(correction=0)).clamp_min(1e-6))
        # Anchors for which there are no distinct points are far from all points.
        anchors = 1e3 * F.normalize(normal((cells, dim), rows), dim=-1)
        found = (centres - double(self.centre)) @ double(self.basis).T
        anchors[: len(centres)] = self._standardise(found)
        self.anchors.copy_(anchors)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map images to the whole space; return also the log-determinant ``(B,)`` and cells ``(B,)``."""
        if self.anchors.shape[1] == 0 or len(h) == 0:
            return h, h.new_zeros(len(h)), torch.zeros(len(h), dtype=torch.int64, device=h.device)
        a = self._coordinates(h)
        if self.training and len(h) > 1:
            self._follow(a.detach())
        t, tessellation = self._standardise(a), Tessellation(double(self.anchors))
        k = tessellation.locate(t)
        # The log-determinants of standardising and of its inverse cancel.
        z, log_det = cast(Any, CellTransform(tessellation, k, profile=_NearWalls()).inv).call_and_ladj(t)
        return self._move(h, z - t), log_det.to(h.dtype), k

    def into(self, h: Tensor, k: Tensor) -> Tensor:
        """Map images of the whole space into cells ``k``."""
        if self.anchors.shape[1] == 0:
            return h
        t = self._standardise(self._coordinates(h))
        return self._move(h, CellTransform(Tessellation(double(self.anchors)), k, profile=_NearWalls())(t) - t)

    @torch.no_grad()
    def _follow(self, a: Tensor) -> None:
        # New tensors: the old ones may be needed to go backward. One point too far to be squared changes nothing.
        mean = self.mean.lerp(a.mean(0).to(self.mean.dtype), _RATE)
        square = (a - double(mean)).square().mean(0).to(self.spread.dtype)
        spread = self.spread.square().lerp(square, _RATE).sqrt().clamp_min(1e-6)
        finite = (mean + spread).isfinite().all()
        self.mean, self.spread = torch.where(finite, mean, self.mean), torch.where(finite, spread, self.spread)

    def _coordinates(self, h: Tensor) -> Tensor:
        return (double(h.flatten(1)) - double(self.centre)) @ double(self.basis).T

    def _standardise(self, a: Tensor) -> Tensor:
        return (a - double(self.mean)) / double(self.spread)

    def _move(self, h: Tensor, step: Tensor) -> Tensor:
        return (double(h) + ((step * double(self.spread)) @ double(self.basis)).reshape(h.shape)).to(h.dtype)


class _NearWalls:
    r"""A profile that is the identity up to a margin before the wall, and slows down from there as 1 / distance.

    In terms of the gauge, and with :math:`\delta` the margin,

    .. math:: \rho' = 1 - \frac{\delta^2}{\rho - 1 + 2 \delta} \quad (\rho > 1 - \delta), \qquad
              \log |\det J| = (D - 1) \log (\rho' / \rho) + 2 \log \frac{\delta}{\rho - 1 + 2 \delta},

    once differentiable. What a component has beyond its cell lies in the margin, where numbers can tell it apart.
    """

    def forward(self, gauge: Tensor, square: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        beyond = (gauge - 1 + _MARGIN).clamp_min(0) + _MARGIN
        ratio = torch.where(gauge > 1 - _MARGIN, (1 - _MARGIN**2 / beyond) / gauge.clamp_min(_MARGIN), 1)
        return ratio, (dim - 1) * ratio.log() + 2 * (_MARGIN / beyond).log()

    def inverse(self, gauge: Tensor, clearance: Tensor, square: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        near = clearance.clamp(_NEAREST, _MARGIN)
        ratio = torch.where(clearance < _MARGIN, (1 - 2 * _MARGIN + _MARGIN**2 / near) / (1 - near), 1)
        return ratio, (dim - 1) * ratio.log() + 2 * (_MARGIN / near).log()
