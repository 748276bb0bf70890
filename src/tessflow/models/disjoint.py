"""A mixture whose components live in the cells of a tessellation: one component a point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import torch
from torch import Size, Tensor, nn
from torch.distributions import AffineTransform, Distribution, Transform, constraints
from zuko.lazy import LazyDistribution, LazyTransform
from zuko.nn import MLP
from zuko.transforms import ComposedTransform

from tessflow.configuration import Configured
from tessflow.geometry import Tessellation, VoronoiTessellation, double, take_cells
from tessflow.models.placing import Track, k_means, typical_size
from tessflow.randomness import categorical, draw, generator, normal, uniform
from tessflow.transforms import (
    CellTransform,
    CubeCellTransform,
    GaussianToCube,
    GroupWhitening,
    Softsign,
    TruncatedGaussian,
)

__all__ = ["DisjointMixture", "MixtureDistribution", "MixtureProfile"]

MixtureProfile = Literal["cube", "softsign", "truncated-gaussian"]

# The farthest from 0 that points are told apart in the space of the cells, computed in float64, and by layers before
# and in them, in float32: what is computed of them stays finite.
_FARTHEST = 1e100
_FARTHEST_SEEN = 1e15

_BOX = "; the box has no size, since the cube that its cells tile stands for all of R^D"

# Rows that k-means looks at when few anchors are placed.
_KMEANS_ROWS = 20_000


class DisjointMixture(Configured, LazyDistribution):
    r"""A mixture over the cells of a tessellation that is placed by the data, exact at the cost of one component.

    .. math:: \log p(x) = \log p(k) + \log c_k(f_k^{-1}(h)) + \log |\det \partial f_k^{-1} / \partial h| +
              \log |\det \partial h / \partial x|, \qquad h = \mathrm{before}(x), \; k = g(h)

    (Chen, Amos & Nickel, 2022, Eq. 12): cells are disjoint, so only the component of the cell that a point is in has
    mass there. All components are one conditional density ``component`` over R^D, told ``k`` by an embedding; it may
    be any zuko flow, or a second :class:`DisjointMixture`. A density itself, the mixture can be the base of a
    :class:`zuko.flows.Flow`.

    What makes it start well, and stay stable next to walls:

    - *Profile*, how R^D is mapped into a cell. ``"truncated-gaussian"`` is near the identity far from walls, and
      N(0, I) fills the cell up to them. So does ``"cube"``, by way of the cube
      (:class:`~tessflow.transforms.CubeCellTransform`), for bounded cells. With ``"softsign"``, the paper's, a Gaussian
      component leaves next to nothing at walls, and is unstable there; the remedy is
      ``coupling_flow(base="cauchy")``.
    - *Background*: each component is :math:`1 - \epsilon` of the flow and :math:`\epsilon` of N(0, I). Where the
      profile fills cells, no point can be much less likely than under N(0, I) laid into its cell: in bounded cells,
      about a histogram.
    - *Whitening*, for data that come in clusters: in each cell the flow sees points less their mean,
      and decorrelated (:class:`~tessflow.transforms.GroupWhitening`). The mixture then starts as one of Gaussians, cut
      off at walls. Where the data cross walls it has more to unlearn than without.

    In training mode the first batch that ``log_prob`` sees sets anchors, weights and whitening, by k-means; see
    :meth:`initialize`.

    Args:
        features: The dimension ``D``.
        cells: The number ``K`` of cells.
        component: A lazy density over R^D: ``component(c)`` is a distribution, ``c`` of shape
            ``(..., embedding + context)``.
        embedding: The size of a cell's embedding.
        context: The size of the context that weights and component may depend on.
        profile: How R^D is mapped into cells.
        box: Whether the cells tile the cube that :class:`~tessflow.transforms.GaussianToCube` makes of R^D, and are
            bounded, or R^D itself.
        background: The share :math:`\epsilon`; 0 for none.
        whiten: Whether the flow sees whitened points.
        before: Lazy transforms, from data to the space of the cells.
        learn_anchors: Whether gradients move the anchors after they were placed. They do not see points change cells.
        hidden_features: The widths of the network that gives the weights, if there is a context.

    Raises:
        ValueError: If ``features`` or ``cells`` is below 1, ``background`` not in [0, 1), ``profile`` is not one of
            those named, or ``box``, ``whiten`` or ``learn_anchors`` is no boolean.

    Example:
        >>> from tessflow.flows import coupling_flow
        >>> mixture = DisjointMixture(2, 8, coupling_flow(2, context=16, layers=4, hidden_features=(32,)))
        >>> x = torch.randn(100, 2)
        >>> mixture.initialize(x)
        >>> mixture().log_prob(x).shape, mixture().assign(x).unique().numel()
        (torch.Size([100]), 8)
        >>> mixture().sample((5,)).shape
        torch.Size([5, 2])
    """

    in_data_units = ("log_scale", "tessellation.anchors")
    initialized: Tensor

    def __init__(
        self,
        features: int,
        cells: int,
        component: nn.Module,
        *,
        embedding: int = 16,
        context: int = 0,
        profile: MixtureProfile = "truncated-gaussian",
        box: bool = False,
        background: float = 0.005,
        whiten: bool = False,
        before: Sequence[LazyTransform] = (),
        learn_anchors: bool = False,
        hidden_features: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        if features < 1 or cells < 1:
            raise ValueError(f"features and cells must be at least 1, got {features} and {cells}.")
        if profile not in get_args(MixtureProfile):
            known = ", ".join(map(repr, get_args(MixtureProfile)))
            raise ValueError(f"profile must be one of {known}, got {profile!r}.")
        flags = {"box": box, "whiten": whiten, "learn_anchors": learn_anchors}
        for name, value in flags.items():
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be True or False, got {value!r}{_BOX if name == 'box' else ''}.")
        if not 0 <= background < 1:
            raise ValueError(f"background must be at least 0 and below 1, got {background}.")
        self.features = features
        self.cells = cells
        self.context = context
        self.profile = profile
        self.component = component
        self.before = nn.ModuleList(before)
        anchors = torch.rand(cells, features) - 0.5 if box else torch.randn(cells, features)
        self.tessellation = VoronoiTessellation(anchors, box=(-1.0, 1.0) if box else None, learn=learn_anchors)
        self.log_scale = nn.Parameter(torch.zeros(cells))
        self.background = background
        self.whitening = GroupWhitening(cells, features) if whiten else None
        self.embedding = nn.Embedding(cells, embedding)
        self.logits = nn.Parameter(torch.zeros(cells))
        self.weighting = None
        if context:
            self.weighting = MLP(context, cells, hidden_features, activation=nn.SiLU)
            nn.init.zeros_(self.weighting[-1].weight)
            nn.init.zeros_(self.weighting[-1].bias)
        self.register_buffer("initialized", torch.zeros((), dtype=torch.bool))

    def extra_repr(self) -> str:
        """Describe the options."""
        return f"features={self.features}, cells={self.cells}, context={self.context}, profile={self.profile!r}"

    def forward(self, c: Tensor | None = None) -> MixtureDistribution:
        """Return the distribution.

        Args:
            c: Context, shape ``(..., context)``; without effect if ``context`` is 0.

        Raises:
            ValueError: If the context is missing or of another size.
        """
        if self.context == 0:
            return MixtureDistribution(self, None)
        if c is None or c.shape[-1:] != (self.context,):
            got = "none" if c is None else f"shape {tuple(c.shape)}"
            raise ValueError(f"the mixture needs a context of shape (..., {self.context}), got {got}.")
        return MixtureDistribution(self, c)

    def elbo(self, x: Tensor) -> Tensor:
        """Return the exact log-likelihood of rows ``(B, D)``, nats ``(B,)``: what training maximises."""
        return self().log_prob(x)

    def log_weights(self, c: Tensor | None = None) -> Tensor:
        """Return log p(k), shape ``(..., K)``."""
        logits = self.logits if self.weighting is None or c is None else self.logits + self.weighting(c)
        return logits.log_softmax(-1)

    def to_cells(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to the space that the cells tile: R^D, or the cube if ``box``.

        Args:
            x: Points, shape ``(..., D)``.
            c: Context, shape ``(..., context)``.

        Returns:
            Points, float64 of shape ``(..., D)``, and the log-determinant ``(...)``.
        """
        x, log_det = x.clamp(-_FARTHEST_SEEN, _FARTHEST_SEEN), x.new_zeros(x.shape[:-1])
        for layer in self.before:
            x, ladj = cast(Any, layer(c)).call_and_ladj(x)
            log_det = log_det + ladj
        u, ladj = self._chart().call_and_ladj(double(x).clamp(-_FARTHEST, _FARTHEST))
        return u, double(log_det) + ladj

    def from_cells(self, u: Tensor, c: Tensor | None = None) -> Tensor:
        """Map points of the space that the cells tile to data, ``(..., D)`` to ``(..., D)``."""
        x = self._chart().inv(u).to(self.logits.dtype)
        for layer in reversed(self.before):
            x = layer(c).inv(x)
        return x

    def into(self, k: Tensor, tessellation: Tessellation) -> Any:
        """Return the homeomorphism from R^D to the cells ``k``, shape ``(...)``."""
        scale = self.log_scale[k].exp()
        if self.profile == "cube":
            return ComposedTransform(GaussianToCube(), CubeCellTransform(tessellation, k, scale=scale))
        profile = Softsign(scale) if self.profile == "softsign" else TruncatedGaussian(scale)
        shift = AffineTransform(double(tessellation.anchors[k]), 1.0, event_dim=1)
        return ComposedTransform(shift, CellTransform(tessellation, k, profile=profile))

    def component_log_prob(self, z: Tensor, k: Tensor, c: Tensor | None = None) -> Tensor:
        """Return the log-density of component ``k`` over R^D: ``(..., D)`` to ``(...)`` float64, nats."""
        v, log_det = z.clamp(-_FARTHEST_SEEN, _FARTHEST_SEEN).to(self.logits.dtype), z.new_zeros(())
        if self.whitening is not None:
            v, log_det = cast(Any, self.whitening(k)).call_and_ladj(v)
        log_prob = double(self._flow(k, c).log_prob(v) + log_det)
        if self.background == 0:
            return log_prob
        filling = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
        return torch.logaddexp(math.log1p(-self.background) + log_prob, math.log(self.background) + filling)

    def component_sample(self, k: Tensor, c: Tensor | None = None) -> Tensor:
        """Draw a point of R^D from each component ``k``: ``(...)`` to ``(..., D)`` float64."""
        flow = self._flow(k, c)
        # One that ignores its context has no batch: each point is a draw of its own.
        z = draw(flow if flow.batch_shape == k.shape else flow.expand(k.shape))
        if self.whitening is not None:
            z = self.whitening(k).inv(z)
        filling = uniform(k.shape, z) < self.background
        z = torch.where(filling[..., None], normal(z.shape, z), z)
        return double(z)

    def _flow(self, k: Tensor, c: Tensor | None) -> Any:
        return self.component(self._told(k, c))

    def _told(self, k: Tensor, c: Tensor | None) -> Tensor:
        """Join what the component is told: the cell's embedding, and the context if there is one."""
        told = self.embedding(k)
        return torch.cat([told, c.expand(*k.shape, -1)], -1) if self.context and c is not None else told

    @torch.no_grad()
    def initialize(
        self,
        x: Tensor,
        c: Tensor | None = None,
        *,
        rows: int | None = None,
        passes: int = 3,
        track: Track = iter,
    ) -> None:
        """Place anchors by k-means and set weights to the share of points in each cell.

        Args:
            x: Points, shape ``(..., D)``: the more, the better.
            c: Their context, shape ``(..., context)``.
            rows: How many of the points k-means looks at; by default ten for each cell, and 20,000 at least.
            passes: How many times it goes through them, from 1,000 cells on; 0 leaves anchors at points.
            track: Shows how far that is, such as :func:`rich.progress.track`.

        Raises:
            ValueError: If a point is not finite.
        """
        if not x.isfinite().all():
            raise ValueError("the rows that anchors are placed by must be finite numbers.")
        training = self.training
        u = self.train().to_cells(x, c)[0].reshape(-1, self.features)  # in training mode: layers may learn from it too
        self.train(training)
        if len(u) == 0:
            return
        shuffled = torch.randperm(len(u), device=u.device, generator=generator(u.device))
        some = shuffled[: max(_KMEANS_ROWS, 10 * self.cells) if rows is None else rows]
        centres = k_means(u[some], self.cells, passes=passes, track=track)
        if self.tessellation.box is not None:
            centres = centres.clamp(-1 + 1e-4, 1 - 1e-4)
        # Coinciding anchors would share one cell. Those for which there are no distinct points stay where they are.
        anchors = self.tessellation().anchors.detach().clone()
        centres = centres.to(anchors).unique(dim=0)
        anchors[: len(centres)] = centres
        self.tessellation.place(anchors)
        tessellation = self.tessellation()
        k = tessellation.locate(u)
        counts = k.bincount(minlength=self.cells)
        # One point more everywhere: no weight is 0.
        self.logits.copy_(((counts + 1) / (len(u) + self.cells)).log())
        self.log_scale.copy_(typical_size(tessellation, cube=self.profile == "cube").log())
        z = self.into(k, tessellation).inv(u)
        if self.whitening is not None:
            self.whitening.initialize(z, k)
            z = self.whitening(k)(z.to(self.logits.dtype))
        self.initialized.fill_(1)
        if isinstance(self.component, DisjointMixture):
            flat = None if c is None else c.expand(*x.shape[:-1], -1).reshape(len(u), -1)
            inner = z.to(self.logits.dtype), self._told(k, flat)
            self.component.initialize(*inner, rows=rows, passes=passes, track=track)

    def _chart(self) -> Any:
        return GaussianToCube() if self.tessellation.box is not None else _Identity()


class MixtureDistribution(Distribution):
    """What a :class:`DisjointMixture` gives: a distribution over R^D, with the context's batch shape.

    Args:
        module: Whose parameters are used.
        context: Its context, shape ``(..., context)``, or ``None``.
        batch_shape: The batch shape, by default that of the context.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = False

    def __init__(self, module: DisjointMixture, context: Tensor | None, batch_shape: Size | None = None) -> None:
        if batch_shape is None:
            batch_shape = Size() if context is None else context.shape[:-1]
        super().__init__(batch_shape, Size((module.features,)), validate_args=False)
        self.module = module
        self.context = context

    def __repr__(self) -> str:
        return f"MixtureDistribution({self.module.extra_repr()})"

    def expand(self, batch_shape: Sequence[int], _instance: Distribution | None = None) -> MixtureDistribution:
        """Return the same distribution with a larger batch shape."""
        context = None if self.context is None else self.context.expand(*batch_shape, -1)
        return MixtureDistribution(self.module, context, Size(batch_shape))

    def assign(self, x: Tensor) -> Tensor:
        """Return the cell that each point is in, int64: ``(..., D)`` to ``(...)``."""
        with torch.no_grad():
            u = self.module.to_cells(*self._match(x))[0]
            return self.module.tessellation().locate(u)

    def component_log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x | k) of the cell k that each point is in, nats: ``(..., D)`` to ``(...)``."""
        return self._finite(self._joint(x)[0], x)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x), exact, in nats: ``(..., D)`` to ``(...)``, finite for finite points."""
        component, weight = self._joint(value)
        return self._finite(component + weight, value)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw points, shape ``(*sample_shape, ..., D)``."""
        with torch.no_grad():
            module = self.module
            shape = (*sample_shape, *self.batch_shape)
            context = None if self.context is None else self.context.expand(*shape, -1)
            log_weights = double(module.log_weights(context))
            k = categorical(log_weights, shape if log_weights.ndim == 1 else ())
            z = module.component_sample(k, context)
            return module.from_cells(module.into(k, module.tessellation())(z), context)

    def _joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log p(x | k) and log p(k) for the cell that x is in, float64."""
        module = self.module
        x, context = self._match(x)
        if x.numel() == 0:
            return double(x.sum(-1)), double(x.sum(-1))
        if module.training and not module.initialized:
            module.initialize(x, context)
        u, log_det = module.to_cells(x, context)
        tessellation = module.tessellation()
        k = tessellation.locate(u)
        z, ladj = module.into(k, tessellation).inv.call_and_ladj(u)
        inside = module.component_log_prob(z, k, context)
        weights = module.log_weights(context)
        weight = take_cells(weights[:, None], k) if weights.ndim == 1 else weights.gather(-1, k[..., None])
        return log_det + ladj + inside, double(weight.squeeze(-1))

    def _match(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Broadcast points and context to one batch shape."""
        if x.shape[-1:] != self.event_shape:
            raise ValueError(f"points must have shape (..., {self.event_shape[0]}), got {tuple(x.shape)}.")
        batch = torch.broadcast_shapes(x.shape[:-1], self.batch_shape)
        context = None if self.context is None else self.context.expand(*batch, -1)
        return x.expand(*batch, -1), context

    def _finite(self, log_prob: Tensor, like: Tensor) -> Tensor:
        limits = torch.finfo(like.dtype)
        return log_prob.clamp(limits.min, limits.max).to(like.dtype)


class _Identity(Transform):
    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    @property
    def inv(self) -> Transform:
        return self

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x.new_zeros(x.shape[:-1])

    def __call__(self, x: Tensor) -> Tensor:
        return x
