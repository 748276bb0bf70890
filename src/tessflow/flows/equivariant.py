"""Continuous normalizing flows on sets: densities that no order of the items changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Size, Tensor
from torch.distributions import Transform, constraints
from torchdiffeq import odeint
from zuko.flows import Flow
from zuko.lazy import LazyTransform, UnconditionalDistribution

from tessflow.flows.bases import Gaussian
from tessflow.flows.item_mixture import ItemMixture
from tessflow.flows.set_fields import AttentionField, ExclusiveField, SetField
from tessflow.randomness import uniform

__all__ = ["ContinuousTransform", "EquivariantTransform", "equivariant_flow"]


def equivariant_flow(
    items: int,
    dim: int,
    *,
    field: Literal["exclusive", "attention"] | SetField = "exclusive",
    width: int = 64,
    base: Literal["gaussian", "mixture"] = "mixture",
    components: int = 128,
    classes: int = 32,
    tolerance: float = 1e-5,
) -> Flow:
    """Build a density of N exchangeable items in R^D: an equivariant vector field moves them to a base distribution.

    Continuous normalizing flow (Chen et al., 2018, "Neural ordinary differential equations"). It starts as the base.

    Args:
        items: The number ``N`` of items.
        dim: The dimension ``D`` of an item.
        field: :class:`ExclusiveField`, whose trace is in closed form, :class:`AttentionField`, or a field. In training
            mode, the trace of a field that has none in closed form is Hutchinson's estimate, by one probe of random
            signs a row; else it is exact, for N D backward passes at each evaluation of the field.
        width: The width of the field's layers.
        base: ``"mixture"`` for :class:`ItemMixture`, latent classes that are learned, or ``"gaussian"`` for N(0, I).
        components: The number of Gaussians of a mixture.
        classes: The number of its classes.
        tolerance: Relative and absolute tolerance of the solver, dopri5, for the root mean square over a batch.

    Returns:
        A :class:`zuko.flows.Flow`: ``flow().log_prob(x)`` in nats, for ``x`` of shape ``(..., N D)``.

    Raises:
        ValueError: If ``field`` or ``base`` is not one of those named, ``items``, ``dim``, ``components`` or
            ``classes`` is below 1, or ``tolerance`` is not positive.

    Example:
        >>> flow = equivariant_flow(4, 2, width=16)
        >>> density = flow()
        >>> density.log_prob(torch.zeros(5, 8)).shape
        torch.Size([5])
        >>> density.transform.evaluations  # of the field, in the last solve
        7
    """
    if min(items, dim, components, classes) < 1:
        raise ValueError(
            f"items, dim, components and classes must be at least 1, got {items}, {dim}, {components} and {classes}."
        )
    if base not in ("gaussian", "mixture"):
        raise ValueError(f"base must be 'gaussian' or 'mixture', got {base!r}.")
    if not isinstance(field, SetField):
        if field not in ("exclusive", "attention"):
            raise ValueError(f"field must be 'exclusive', 'attention' or a SetField, got {field!r}.")
        field = (ExclusiveField if field == "exclusive" else AttentionField)(dim, width=width)
    transform = EquivariantTransform(field, items, dim, tolerance=tolerance)
    if base == "mixture":
        return Flow(transform, ItemMixture(items, dim, components=components, classes=classes))
    size = torch.zeros(items * dim), torch.ones(items * dim)
    return Flow(transform, UnconditionalDistribution(Gaussian, *size, buffer=True))


class EquivariantTransform(LazyTransform):
    """The transform of R^(N D) that follows a field of N items from time 0 to time 1.

    Args:
        field: The vector field.
        items: The number ``N`` of items.
        dim: The dimension ``D`` of an item.
        tolerance: Relative and absolute tolerance of the solver.

    Raises:
        ValueError: If ``tolerance`` is not positive.
    """

    def __init__(self, field: SetField, items: int, dim: int, *, tolerance: float = 1e-5) -> None:
        super().__init__()
        if not tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {tolerance}.")
        self.field = field
        self.shape = Size((items, dim))
        self.tolerance = tolerance

    def forward(self, c: Any = None) -> ContinuousTransform:
        """Return the transform; its trace is exact, or in training mode perhaps an estimate."""
        exact = self.field.closed_form or not self.training
        return ContinuousTransform(self.field, self.shape, tolerance=self.tolerance, exact=exact)


class ContinuousTransform(Transform):
    r"""Follow a vector field of N items from time 0 to time 1.

    .. math:: \frac{dx}{dt} = v(t, x), \qquad
              \frac{d}{dt} \log\left|\det \frac{\partial x(t)}{\partial x(0)}\right| =
              \mathrm{tr} \frac{\partial v}{\partial x}

    Args:
        field: The vector field.
        shape: ``(N, D)``; points are flat, ``(..., N D)``.
        tolerance: Relative and absolute tolerance of the solver, dopri5.
        exact: Whether the trace is exact; else Hutchinson's estimate, with new probes each time.

    Attributes:
        evaluations: The number of evaluations of the field in the last solve.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, field: SetField, shape: Size, *, tolerance: float = 1e-5, exact: bool = True) -> None:
        super().__init__()
        self.field = field
        self.shape = shape
        self.tolerance = tolerance
        self.exact = exact
        self.evaluations = 0

    def _call(self, x: Tensor) -> Tensor:
        return self._solve(lambda t, state: (self.field(t, *state),), x.unflatten(-1, self.shape))[0].flatten(-2)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._solve(lambda t, state: (-self.field(1 - t, *state),), y.unflatten(-1, self.shape))[0].flatten(-2)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the log-determinant of the Jacobian at ``x``, ``(..., N D)`` to ``(...)``."""
        return self.call_and_ladj(x)[1]

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return where points ``(..., N D)`` get, and the log-determinants ``(...)`` of the Jacobian."""
        items = x.unflatten(-1, self.shape)
        probe = None if self.exact else 2 * (uniform(items.shape, items) < 0.5).to(items) - 1
        y, log_det = self._solve(
            lambda t, state: self.field.with_trace(t, state[0], probe), items, items.new_zeros(items.shape[:-2])
        )
        return y.flatten(-2), log_det

    def _solve(self, motion: Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]], *start: Tensor) -> Any:
        """Return the state at time 1 of what has the given state at time 0."""
        self.evaluations = 0

        def counted(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            self.evaluations += 1
            return motion(t, state)

        if not start[0].numel():
            return start
        times = torch.tensor([0.0, 1.0], dtype=torch.float64, device=start[0].device)
        # Try a single step; the last ends at time 1 rather than beyond it.
        options = {"first_step": 1.0, "step_t": times[1:]}
        tolerance = {"rtol": self.tolerance, "atol": self.tolerance}
        path = odeint(counted, start, times, method="dopri5", options=options, **tolerance)
        return [states[-1] for states in path]
