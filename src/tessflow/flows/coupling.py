"""The paper's coupling flow, from zuko's parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform
from zuko.flows import Flow
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.lazy import UnconditionalDistribution
from zuko.mixtures import GMM
from zuko.transforms import CouplingTransform, MonotonicAffineTransform
from zuko.utils import broadcast

from tessflow.flows.bases import Gaussian
from tessflow.flows.cauchy import MultivariateCauchy
from tessflow.flows.precision import full_precision
from tessflow.flows.spline import Spline
from tessflow.transforms import ActNorm

__all__ = ["IndexedCoupling", "coupling_flow", "coupling_layers", "coupling_mask", "register_split"]


def coupling_flow(
    features: int,
    *,
    context: int = 0,
    layers: int = 16,
    univariate: Literal["affine", "spline"] = "affine",
    hidden_features: Sequence[int] = (256, 256),
    bins: int = 8,
    sharpness: float = 0.0,
    base: Literal["gaussian", "cauchy", "mixture"] = "gaussian",
    components: int = 32,
) -> Flow:
    """Build the density model of the paper: coupling layers with four masks in turn, ActNorm between them, and a base.

    The masks keep even features, odd features, the first half, the second half (Chen, Amos & Nickel, 2022,
    Appendix D); networks are MLPs with SiLU. Layers start as the identity. With a context there are no ActNorms: what
    they would learn from data is not the same for every context.

    Args:
        features: The number of features of ``x``.
        context: The number of context features.
        layers: The number of coupling layers.
        univariate: Whether the other features are moved by affine maps (RealNVP) or rational-quadratic splines.
        hidden_features: The widths of each network's hidden layers.
        bins: The number of bins of a spline.
        sharpness: If positive, networks also see ``tanh(sharpness * x)``. Cells end in walls, steps of the density,
            and a network that sees only ``x`` learns steps slowly.
        base: ``"gaussian"`` for N(0, I), ``"cauchy"`` for :class:`~tessflow.flows.MultivariateCauchy`, whose tails
            are heavy enough to reach the walls of a cell, ``"mixture"`` for a learned mixture of Gaussians with
            diagonal covariances: modes that the layers need not tear apart. All are normalised.
        components: The number of Gaussians of a mixture.

    Returns:
        A :class:`zuko.flows.Flow`: ``flow().log_prob(x)`` in nats, for ``x`` of shape ``(..., features)``; with a
        context, ``flow(c).log_prob(x)``.

    Raises:
        ValueError: If ``univariate`` or ``base`` is not one of those named, ``layers`` or ``components`` is below 1,
            or ``sharpness`` below 0.

    Example:
        >>> flow = coupling_flow(6, layers=4, hidden_features=(32,))
        >>> flow().log_prob(torch.zeros(5, 6)).shape
        torch.Size([5])
    """
    if base not in ("gaussian", "cauchy", "mixture"):
        raise ValueError(f"base must be 'gaussian', 'cauchy' or 'mixture', got {base!r}.")
    if components < 1:
        raise ValueError(f"components must be at least 1, got {components}.")
    transforms = coupling_layers(
        features,
        context=context,
        layers=layers,
        univariate=univariate,
        hidden_features=hidden_features,
        bins=bins,
        sharpness=sharpness,
    )
    if context == 0:
        transforms = [part for block in transforms for part in (ActNorm(features), block)]
    if base == "mixture":
        return Flow(transforms, _GaussianMixture(features, components))
    density = Gaussian if base == "gaussian" else MultivariateCauchy
    return Flow(
        transforms, UnconditionalDistribution(density, torch.zeros(features), torch.ones(features), buffer=True)
    )


class _GaussianMixture(GMM):
    """A mixture of Gaussians with diagonal covariances, the same in every context; they start almost as N(0, I)."""

    def __init__(self, features: int, components: int) -> None:
        super().__init__(features, components=components, covariance_type="diagonal")
        logits, means, log_scales = self.phi
        nn.init.zeros_(logits)
        nn.init.normal_(means, std=0.3)
        nn.init.zeros_(log_scales)

    def forward(self, c: Tensor | None = None) -> Distribution:
        return super().forward()


def coupling_layers(
    features: int,
    *,
    context: int = 0,
    layers: int = 4,
    univariate: Literal["affine", "spline"] = "affine",
    hidden_features: Sequence[int] = (256, 256),
    bins: int = 8,
    sharpness: float = 0.0,
) -> list[nn.Module]:
    """Build coupling layers with the four masks in turn, starting as the identity.

    Args:
        features: The number of features.
        context: The number of context features.
        layers: The number of layers.
        univariate: ``"affine"`` or ``"spline"``.
        hidden_features: The widths of each network's hidden layers.
        bins: The number of bins of a spline.
        sharpness: If positive, networks also see ``tanh(sharpness * x)``.

    Raises:
        ValueError: If ``univariate`` is none of the two, ``layers`` is below 1 or ``sharpness`` below 0.
    """
    if layers < 1:
        raise ValueError(f"layers must be at least 1, got {layers}.")
    if sharpness < 0:
        raise ValueError(f"sharpness must be at least 0, got {sharpness}.")
    if univariate == "affine":
        kind: dict[str, Any] = {"univariate": MonotonicAffineTransform, "shapes": [(), ()]}
    elif univariate == "spline":
        kind = {"univariate": Spline, "shapes": [(bins,), (bins,), (bins - 1,)]}
    else:
        raise ValueError(f"univariate must be 'affine' or 'spline', got {univariate!r}.")
    kind |= {"hidden_features": hidden_features, "activation": nn.SiLU}
    blocks: list[nn.Module] = []
    for layer in range(layers):
        mask = coupling_mask(features, layer)
        if sharpness > 0 and features > 1:
            block = _SharpCoupling(features, context, mask, sharpness=sharpness, **kind)
        else:
            block = _Coupling(features, context, mask, **kind)
        # A single feature is moved elementwise: without context, by parameters instead of a network.
        is_network = features > 1 or context > 0
        last = block.hyper[-1] if is_network else block.phi
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        if is_network:
            block.hyper.append(_FullPrecision())
        blocks.append(block)
    return blocks


class IndexedCoupling(CouplingTransform):
    """zuko's coupling by indices that a layer keeps: they need not be found anew from a mask, which waits for a GPU.

    `index_select` splits features and puts them together, since its gradients are faster than those of indexing.

    Args:
        layer: What has the indices of the features `kept` and `moved`, and `place`, what puts both in order again.
        meta: The map of the moved features, given the kept ones.
    """

    def __init__(self, layer: Any, meta: Callable[[Tensor], Transform]) -> None:
        Transform.__init__(self)
        self.layer = layer
        self.meta = meta

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the kept and the moved features."""
        return x.index_select(-1, self.layer.kept), x.index_select(-1, self.layer.moved)

    def merge(self, x_a: Tensor, x_b: Tensor, shape: torch.Size) -> Tensor:
        """Put them in order again."""
        return torch.cat([x_a, x_b], -1).index_select(-1, self.layer.place)


def register_split(layer: nn.Module, keep: Tensor) -> None:
    """Give a layer the indices of an :class:`IndexedCoupling`, of which features it keeps, boolean ``(features,)``."""
    kept, moved = keep.nonzero().flatten(), (~keep).nonzero().flatten()
    for name, index in (("kept", kept), ("moved", moved), ("place", torch.cat([kept, moved]).argsort())):
        layer.register_buffer(name, index, persistent=False)


class _Coupling(GeneralCouplingTransform):
    """Networks see features no farther than 100 from 0: whatever the point, what they say stays finite."""

    def __init__(self, features: int, context: int, mask: Tensor, **options: Any) -> None:
        super().__init__(features, context, mask, **options)
        register_split(self, mask)

    def forward(self, c: Tensor | None = None) -> Transform:
        return IndexedCoupling(self, partial(self.meta, c))

    def meta(self, c: Tensor | None, x: Tensor) -> Transform:
        return super().meta(c, x.clamp(-100, 100))


class _SharpCoupling(_Coupling):
    """Networks also see tanh(sharpness x), a further context."""

    def __init__(self, features: int, context: int, mask: Tensor, *, sharpness: float, **options: Any) -> None:
        super().__init__(features, context + int(mask.sum()), mask, **options)
        self.sharpness = sharpness

    def meta(self, c: Tensor | None, x: Tensor) -> Transform:
        steps = (self.sharpness * x).tanh()
        return super().meta(steps if c is None else torch.cat(broadcast(steps, c, ignore=1), dim=-1), x)


class _FullPrecision(nn.Module):
    """Under autocast, half precision ends with the networks."""

    def forward(self, x: Tensor) -> Tensor:
        return full_precision(x)


def coupling_mask(features: int, layer: int) -> Tensor:
    """Return which features layer number ``layer`` keeps, boolean ``(features,)``.

    Example:
        >>> coupling_mask(4, 0)
        tensor([ True, False,  True, False])
    """
    position = torch.arange(features)
    return (
        position % 2 == 0,
        position % 2 == 1,
        position < (features + 1) // 2,
        position >= (features + 1) // 2,
    )[layer % 4]
