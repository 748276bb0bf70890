"""Affine coupling layers for images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from tessflow.transforms import ActNorm

__all__ = ["ImageCouplings"]

# The largest |log scale| of one layer, and the farthest from 0 that networks see.
_LARGEST_LOG_SCALE = 1.5
_FARTHEST_SEEN = 100.0


class ImageCouplings(nn.Module):
    r"""Affine coupling layers with convolutional networks and ActNorm between them, for images of one size.

    .. math:: y = m \odot x + (1 - m) \odot \big( x \odot e^{s(m \odot x, k)} + t(m \odot x, k) \big)

    (Real NVP: Dinh, Sohl-Dickstein & Bengio, 2017). The masks :math:`m` keep in turn the even and the odd squares of a
    checkerboard, the second half and the first half of the channels. If height and width are even, four neighbouring
    pixels become four channels of one, both for the networks and for the halves of the channels. Layers start as the
    identity but for ActNorm, which the first batch sets.

    A lazy transform: ``forward(k)`` gives the :class:`~torch.distributions.Transform` of image ``(..., C, H, W)`` to
    image of the same number of values: ``(..., 4 C, H / 2, W / 2)`` if squeezed. Networks are told where they are by a
    learned image of ``maps`` channels, of which a linear map makes what is added to the first hidden layer. They can be
    told classes ``k`` in the same way: each class has such an image, 0 at first.

    Args:
        shape: Channels, height and width ``(C, H, W)`` of what goes in.
        classes: The number of values of each class that networks are told; empty for none.
        layers: The number of coupling layers.
        hidden_channels: The channels of each hidden layer.
        hidden_layers: The number of hidden layers of a network, at least 1.
        maps: The channels of the learned images.
        squeeze: Whether pixels become channels.

    Raises:
        ValueError: If the height or width is odd though ``squeeze`` is asked for, or a number is below 1.

    Example:
        >>> couplings = ImageCouplings((1, 4, 4), classes=(3,), layers=4)
        >>> x, k = torch.randn(5, 1, 4, 4), torch.tensor([[0], [1], [2], [0], [1]])
        >>> y, log_det = couplings(k).call_and_ladj(x)
        >>> y.shape, log_det.shape
        (torch.Size([5, 4, 2, 2]), torch.Size([5]))
        >>> torch.allclose(couplings(k).inv(y), x, atol=1e-5)
        True
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        classes: Sequence[int] = (),
        layers: int = 8,
        hidden_channels: int = 32,
        hidden_layers: int = 2,
        maps: int = 4,
        squeeze: bool = True,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        if min(*shape, layers, hidden_channels, hidden_layers, maps) < 1:
            raise ValueError("the image's sizes, layers, hidden_channels, hidden_layers and maps must be at least 1.")
        if squeeze:
            if height % 2 or width % 2:
                raise ValueError(f"squeezed images need an even height and width, got {height} x {width}.")
            channels, height, width = 4 * channels, height // 2, width // 2
        self.squeeze = squeeze
        self.in_shape = torch.Size(shape)
        self.out_shape = torch.Size((channels, height, width))
        self.positions = nn.Parameter(0.1 * torch.randn(1, maps, height, width))
        self.maps = nn.ParameterList(torch.zeros(size, maps, height, width) for size in classes)
        self.norms = nn.ModuleList(ActNorm(channels) for _ in range(layers))
        self.networks = nn.ModuleList(_Network(channels, hidden_channels, hidden_layers, maps) for _ in range(layers))
        masks = [_mask(self.out_shape, layer, squeezed=squeeze) for layer in range(layers)]
        self.register_buffer("masks", torch.stack(masks), persistent=False)

    def extra_repr(self) -> str:
        """Describe the sizes."""
        return f"{tuple(self.in_shape)} -> {tuple(self.out_shape)}, classes={[len(some) for some in self.maps]}"

    def forward(self, k: Tensor | None = None) -> Transform:
        """Return the transform.

        Args:
            k: Classes, int64 ``(..., len(classes))``; without effect if there are none.

        Raises:
            ValueError: If classes are missing.
        """
        if len(self.maps) and (k is None or k.shape[-1] != len(self.maps)):
            got = "none" if k is None else f"shape {tuple(k.shape)}"
            raise ValueError(f"the layers need classes of shape (..., {len(self.maps)}), got {got}.")
        return _CouplingsTransform(self, k)


class _Network(nn.Module):
    """Says log scale and shift, given the kept part of an image and what is told of positions and classes."""

    def __init__(self, channels: int, hidden_channels: int, hidden_layers: int, maps: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, hidden_channels, 3, padding=1)
        self.told = nn.Conv2d(maps, hidden_channels, 1, bias=False)
        hidden: list[nn.Module] = []
        for _ in range(hidden_layers - 1):
            hidden += [nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1), nn.ReLU()]
        last = nn.Conv2d(hidden_channels, 2 * channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(cast(Tensor, last.bias))
        self.rest = nn.Sequential(nn.ReLU(), *hidden, last)

    def forward(
        self, kept: Tensor, positions: Tensor, maps: Sequence[Tensor], k: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        # What is told of positions, then of each class: there are fewer of them than images.
        told = self.told(torch.cat([positions, *maps]))
        hidden = self.first(kept.clamp(-_FARTHEST_SEEN, _FARTHEST_SEEN)) + told[:1]
        if k is not None:
            first = 1
            for number, some in enumerate(maps):
                hidden = hidden + told.index_select(0, first + k[:, number])
                first += len(some)
        raw, shift = self.rest(hidden).chunk(2, 1)
        return _LARGEST_LOG_SCALE * (raw / _LARGEST_LOG_SCALE).tanh(), shift


class _CouplingsTransform(Transform):
    domain = constraints.independent(constraints.real, 3)
    codomain = constraints.independent(constraints.real, 3)
    bijective = True

    def __init__(self, module: ImageCouplings, k: Tensor | None) -> None:
        super().__init__()
        self.module = module
        self.k = k

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        batch, k = x.shape[:-3], self._classes(x)
        y = x.reshape(-1, *self.module.in_shape)
        if self.module.squeeze:
            y = _squeeze(y)
        log_det = y.new_zeros(len(y))
        for norm, network, mask in self._layers():
            y, ladj = cast(Any, norm()).call_and_ladj(y.movedim(1, -1))
            y, kept = y.movedim(-1, 1), mask * y.movedim(-1, 1)
            log_scale, shift = network(kept, self.module.positions, self.module.maps, k)
            log_scale = (1 - mask) * log_scale
            y = kept + (1 - mask) * (y * log_scale.exp() + shift)
            log_det = log_det + ladj.sum((1, 2)) + log_scale.sum((1, 2, 3))
        return y.reshape(*batch, *self.module.out_shape), log_det.reshape(batch)

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        batch, k = y.shape[:-3], self._classes(y)
        x = y.reshape(-1, *self.module.out_shape)
        for norm, network, mask in reversed(self._layers()):
            kept = mask * x
            log_scale, shift = network(kept, self.module.positions, self.module.maps, k)
            x = kept + (1 - mask) * ((x - shift) * (-log_scale).exp())
            x = norm().inv(x.movedim(1, -1)).movedim(-1, 1)
        if self.module.squeeze:
            x = _unsqueeze(x)
        return x.reshape(*batch, *self.module.in_shape)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return shape[:-3] + self.module.out_shape

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return shape[:-3] + self.module.in_shape

    def _layers(self) -> list[tuple[nn.Module, nn.Module, Tensor]]:
        module = self.module
        return list(zip(module.norms, module.networks, cast(Tensor, module.masks), strict=True))

    def _classes(self, x: Tensor) -> Tensor | None:
        if self.k is None or not len(self.module.maps):
            return None
        count = len(self.module.maps)
        return self.k.expand(*x.shape[:-3], count).reshape(math.prod(x.shape[:-3]), count)


def _squeeze(x: Tensor) -> Tensor:
    """Make four channels of one: torch's `pixel_unshuffle`, which fails for no images."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(batch, 4 * channels, height // 2, width // 2)


def _unsqueeze(x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels // 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, channels // 4, 2 * height, 2 * width)


def _mask(shape: Sequence[int], layer: int, *, squeezed: bool) -> Tensor:
    """Return what layer number ``layer`` keeps, 1 or 0, ``(C, H, W)``."""
    channels, height, width = shape
    if layer % 4 >= 2:
        kept = torch.arange(channels) < (channels + 1) // 2
        return (kept if layer % 4 == 3 else ~kept)[:, None, None].expand(*shape).float()
    if squeezed:
        place = torch.arange(channels) % 4
        even = ((place == 0) | (place == 3))[:, None, None].expand(*shape)
    else:
        even = (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0
    return (even if layer % 2 == 0 else ~even).expand(*shape).float()
