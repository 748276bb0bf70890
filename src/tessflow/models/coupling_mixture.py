"""A disjoint mixture of coupling flows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from tessflow.flows import coupling_flow, coupling_layers
from tessflow.models.disjoint import DisjointMixture
from tessflow.transforms import ActNorm

__all__ = ["coupling_mixture"]


def coupling_mixture(
    features: int,
    cells: int,
    *,
    layers: int = 4,
    before: int = 0,
    univariate: Literal["affine", "spline"] = "spline",
    hidden_features: Sequence[int] = (64, 64),
    bins: int = 8,
    base: Literal["gaussian", "cauchy"] | None = None,
    embedding: int = 16,
    **options: Any,
) -> DisjointMixture:
    """Build a mixture of coupling flows: ActNorm, perhaps coupling layers, then cells, then a coupling flow in each.

    Args:
        features: The dimension ``D``.
        cells: The number ``K`` of cells.
        layers: The number of coupling layers of the component.
        before: The number of coupling layers before the cells.
        univariate: ``"affine"`` or ``"spline"``.
        hidden_features: The widths of each network's hidden layers.
        bins: The number of bins of a spline.
        base: The component's base, ``"gaussian"`` or ``"cauchy"``; by default Cauchy for the softsign profile, and
            Gaussian for the others.
        embedding: The size of a cell's embedding.
        options: Further options of :class:`DisjointMixture`, such as ``profile``.

    Raises:
        ValueError: If an option is out of its range, or a Cauchy base has not the ``"softsign"`` profile: the others
            have no room next to walls for its tails.

    Example:
        >>> mixture = coupling_mixture(2, 8, layers=2)
        >>> mixture().sample((5,)).shape
        torch.Size([5, 2])
    """
    softsign = options.get("profile") == "softsign"
    if base is None:
        base = "cauchy" if softsign else "gaussian"
    if base == "cauchy" and not softsign:
        raise ValueError("base='cauchy' needs profile='softsign': no other profile has room for its tails.")
    layer_options: dict[str, Any] = {"univariate": univariate, "hidden_features": hidden_features, "bins": bins}
    first: list[Any] = [ActNorm(features)]
    if before:
        for layer in coupling_layers(features, layers=before, **layer_options):
            first += [layer, ActNorm(features)]
    component = coupling_flow(features, context=embedding, layers=layers, base=base, **layer_options)
    return DisjointMixture(features, cells, component, before=first, embedding=embedding, **options)
