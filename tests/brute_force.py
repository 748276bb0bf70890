"""Slow, obvious reference for cells and cell transforms: every constraint of every cell written out.

Nothing here is imported from the package. Two independent levels:

* float64 torch, explicit ``(..., *N, K, D)`` differences, gradients by plain autograd through the ``max``;
* mpmath with 120 digits, one point at a time, the formulas as printed, for inputs where float64 cancels.

A profile is named by ``"softsign"`` or ``"truncated_gaussian"``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mpmath
import torch
from torch import Tensor

PROFILES = ("softsign", "truncated_gaussian")
DIGITS = 120


# --- float64 -----------------------------------------------------------------------------------------------


def log1mexp(a: Tensor) -> Tensor:
    """``log(1 - exp(-a))`` for ``a > 0``."""
    small = a < math.log(2)
    return torch.where(
        small,
        torch.log(-torch.expm1(-torch.where(small, a, 1.0))),
        torch.log1p(-torch.exp(-torch.where(small, 1.0, a))),
    )


@dataclass(frozen=True)
class BruteForce:
    """Cells given by ``anchors (*N, K, D)``, an optional box ``(*N, D)`` and an optional ``mask (*N, K)``."""

    anchors: Tensor
    lower: Tensor | None = None
    upper: Tensor | None = None
    mask: Tensor | None = None

    def real(self) -> Tensor:
        return torch.ones(self.anchors.shape[:-1], dtype=torch.bool) if self.mask is None else self.mask

    def own(self, index: Tensor) -> Tensor:
        """Anchor of each cell in ``index (..., *N)``, shape ``(..., *N, D)``."""
        anchors = self.anchors.expand(*index.shape, *self.anchors.shape[-2:])
        where = index[..., None, None].expand(*index.shape, 1, anchors.shape[-1])
        return anchors.gather(-2, where).squeeze(-2)

    def nearest(self, x: Tensor) -> Tensor:
        distance = (x[..., None, :] - self.anchors).square().sum(-1)
        return torch.where(self.real(), distance, torch.inf).argmin(-1)

    def _constraints(self, v: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        index = index.expand(torch.broadcast_shapes(index.shape, v.shape[:-1]))
        own = self.own(index)
        d = self.anchors - own[..., None, :]
        square = (d * d).sum(-1)
        counts = self.real() & (square > 0)
        return own, d, torch.where(counts, square, 1.0), counts

    def gauge(self, v: Tensor, index: Tensor) -> Tensor:
        own, d, square, counts = self._constraints(v, index)
        terms = [torch.where(counts, 2 * (d * v[..., None, :]).sum(-1) / square, 0.0)]
        if self.upper is not None:
            terms.append(v / (self.upper - own))
        if self.lower is not None:
            terms.append(-v / (own - self.lower))
        return torch.cat([*terms, torch.zeros_like(terms[0][..., :1])], -1).max(-1).values

    def clearance(self, w: Tensor, index: Tensor) -> Tensor:
        own, d, square, counts = self._constraints(w, index)
        terms = [torch.where(counts, (d * (d - 2 * w[..., None, :])).sum(-1) / square, 1.0)]
        if self.upper is not None:
            terms.append((self.upper - own - w) / (self.upper - own))
        if self.lower is not None:
            terms.append((own - self.lower + w) / (own - self.lower))
        return torch.cat([*terms, torch.ones_like(terms[0][..., :1])], -1).min(-1).values

    def forward(self, profile: str, x: Tensor, index: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """``f_k(x)`` and ``log|det|``."""
        index = index.expand(torch.broadcast_shapes(index.shape, x.shape[:-1]))
        D = x.shape[-1]
        own = self.own(index)
        v = x - own
        rho = self.gauge(v, index)
        if profile == "softsign":
            shrink = scale / (1 + scale * rho)
            log_det = D * scale.log() - (D + 1) * torch.log1p(scale * rho)
            return own + shrink[..., None] * v, log_det + torch.zeros_like(rho)
        r = v.square().sum(-1).sqrt()
        bounded = rho > 0
        a = r * r / 2
        b = torch.where(bounded, (r / (scale * torch.where(bounded, rho, 1.0))) ** 2 / 2, 1.0)
        t = torch.expm1(-a) * torch.expm1(-b)
        m_minus_a = -torch.nn.functional.softplus(a - b + log1mexp(a))
        small = t < 0.5
        m = torch.where(small, -torch.log1p(-torch.where(small, t, 0.0)), -torch.logaddexp(-a, -b + log1mexp(a)))
        m = torch.where(bounded, m, a)
        log_ratio = scale.log() + (m / a).log() / 2
        log_det = (D - 2) * log_ratio + 2 * scale.log() + log1mexp(b) + m_minus_a
        log_det = torch.where(bounded, log_det, D * scale.log() + torch.zeros_like(rho))
        return own + log_ratio.exp()[..., None] * v, log_det

    def inverse(self, profile: str, z: Tensor, index: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """``f_k^-1(z)`` and ``log|det|`` of the inverse."""
        index = index.expand(torch.broadcast_shapes(index.shape, z.shape[:-1]))
        D = z.shape[-1]
        own = self.own(index)
        w = z - own
        clear = self.clearance(w, index)
        if profile == "softsign":
            log_det = -D * scale.log() - (D + 1) * clear.log()
            return own + w / (scale * clear)[..., None], log_det
        rho = self.gauge(w, index)
        bounded = rho > 0
        safe_rho = torch.where(bounded, rho, 0.5)
        m = w.square().sum(-1) / (2 * scale**2)
        b = m / safe_rho**2
        b_minus_m = m * torch.where(bounded, clear, 0.5) * (1 + safe_rho) / safe_rho**2
        a_minus_m = log1mexp(b) - log1mexp(b_minus_m)
        p = torch.expm1(-m) / torch.expm1(-b)
        small = p < 0.5
        a = torch.where(small, -torch.log1p(-torch.where(small, p, 0.0)), m + a_minus_m)
        a = torch.where(bounded, a, m)
        log_ratio = scale.log() + (m / a).log() / 2
        log_det = (D - 2) * log_ratio + 2 * scale.log() + log1mexp(b) - a_minus_m
        log_det = torch.where(bounded, log_det, D * scale.log() + torch.zeros_like(rho))
        return own + torch.exp(-log_ratio)[..., None] * w, -log_det


def slogdet(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``log|det|`` of the Jacobian of ``function``, which maps the last axis and treats all others alike."""
    x = x.detach().requires_grad_()
    y = function(x)
    rows = [torch.autograd.grad(y[..., i].sum(), x, retain_graph=True)[0] for i in range(x.shape[-1])]
    return torch.linalg.slogdet(torch.stack(rows, -2)).logabsdet


# --- mpmath ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exact:
    """One cell of one tessellation at 120 digits: ``anchors (K, D)``, box ``(D,)``, the cell's own ``index``.

    ``forward`` and ``inverse`` take and return lists of numbers and ``log|det|`` by the formula;
    :meth:`numeric_log_det` finds it again as the determinant of a difference quotient.
    """

    anchors: Sequence[Sequence[float]]
    index: int
    lower: Sequence[float] | None = None
    upper: Sequence[float] | None = None
    mask: Sequence[bool] | None = None

    def gauge(self, v: Sequence[mpmath.mpf]) -> mpmath.mpf:
        own = [mpmath.mpf(c) for c in self.anchors[self.index]]
        terms = [mpmath.mpf(0)]
        for i, anchor in enumerate(self.anchors):
            if self.mask is not None and not self.mask[i]:
                continue
            d = [mpmath.mpf(c) - o for c, o in zip(anchor, own, strict=True)]
            square = sum(e * e for e in d)
            if square > 0:
                terms.append(2 * sum(e * c for e, c in zip(d, v, strict=True)) / square)
        if self.upper is not None:
            terms += [c / (mpmath.mpf(u) - o) for c, u, o in zip(v, self.upper, own, strict=True)]
        if self.lower is not None:
            terms += [-c / (o - mpmath.mpf(low)) for c, low, o in zip(v, self.lower, own, strict=True)]
        return max(terms)

    def _split(self, x: Sequence[float]) -> tuple[list, list, mpmath.mpf, mpmath.mpf]:
        own = [mpmath.mpf(c) for c in self.anchors[self.index]]
        v = [mpmath.mpf(c) - o for c, o in zip(x, own, strict=True)]
        return own, v, mpmath.sqrt(sum(c * c for c in v)), self.gauge(v)

    def forward(self, profile: str, x: Sequence[float], scale: float) -> tuple[list, mpmath.mpf]:
        with mpmath.workdps(DIGITS):
            own, v, r, rho = self._split(x)
            D, scale = len(own), mpmath.mpf(scale)
            if profile == "softsign":
                ratio = scale / (1 + scale * rho)
                log_det = D * mpmath.log(scale) - (D + 1) * mpmath.log(1 + scale * rho)
            elif rho == 0:
                ratio, log_det = scale, D * mpmath.log(scale)
            else:
                a, b = r**2 / 2, (r / rho) ** 2 / (2 * scale**2)
                m = -mpmath.log(mpmath.exp(-a) + mpmath.exp(-b) - mpmath.exp(-a - b))
                out = scale * mpmath.sqrt(2 * m)
                ratio = out / r
                slope = scale * (1 - mpmath.exp(-b)) * r * mpmath.exp(m - a) / (out / scale)
                log_det = (D - 1) * mpmath.log(ratio) + mpmath.log(slope)
            return [o + ratio * c for o, c in zip(own, v, strict=True)], log_det

    def inverse(self, profile: str, z: Sequence[float], scale: float) -> tuple[list, mpmath.mpf]:
        with mpmath.workdps(DIGITS):
            own, w, out, rho = self._split(z)
            D, scale = len(own), mpmath.mpf(scale)
            if profile == "softsign":
                ratio = 1 / (scale * (1 - rho))
            elif rho == 0:
                ratio = 1 / scale
            else:
                m, b = out**2 / (2 * scale**2), (out / rho) ** 2 / (2 * scale**2)
                a = -mpmath.log((mpmath.exp(-m) - mpmath.exp(-b)) / (1 - mpmath.exp(-b)))
                ratio = mpmath.sqrt(2 * a) / out
            x = [o + ratio * c for o, c in zip(own, w, strict=True)]
            if out == 0:
                return x, -D * mpmath.log(scale)
            return x, -self.forward(profile, x, scale)[1]

    def numeric_log_det(self, function: Callable[[Sequence], list], x: Sequence[float]) -> mpmath.mpf:
        """``log|det|`` of ``function`` at ``x`` by central differences of step ``1e-40``."""
        with mpmath.workdps(DIGITS):
            step = mpmath.mpf(10) ** -40
            columns = []
            for d in range(len(x)):
                ends = [[mpmath.mpf(c) + (e == d) * s for e, c in enumerate(x)] for s in (step, -step)]
                up, down = (function(end) for end in ends)
                columns.append([(p - q) / (2 * step) for p, q in zip(up, down, strict=True)])
            return mpmath.log(abs(mpmath.det(mpmath.matrix(columns))))
