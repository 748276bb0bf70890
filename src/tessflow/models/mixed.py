"""A flow over rows of classes and numbers: one joint density of cells and scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tessflow.configuration import Configured
from tessflow.dequantization import VoronoiDequantizer
from tessflow.dequantization.base import whole_codes
from tessflow.dequantization.voronoi import ProfileName
from tessflow.flows import LogCauchy, NetworkName, cell_flow, coupling_flow
from tessflow.models.atoms import locate, on_atoms, stack_atoms
from tessflow.models.dequantized import importance_bound
from tessflow.models.variables import Ascent, Number, Variable, centre_and_width, stack_scales
from tessflow.randomness import draw, normal, uniform
from tessflow.transforms import PiecewiseLinear

__all__ = ["MixedFlow"]

# What the flow's networks see beside x is tanh(4 x): walls of cells, which are about 1 apart, become steps.
_SHARPNESS = 4.0
# Scores beyond which a row is left to the background.
_FAR = 1e3


class MixedFlow(Configured):
    r"""Model rows of classes and numbers by one coupling flow p over R^(C D + M).

    Classes are points in Voronoi cells of R^D, as in :class:`~tessflow.models.DequantizedFlow`; each number adds a
    coordinate, its score :math:`z = s(x)`. With :math:`q` the density of the points that stand for a row,

    .. math:: \log p(y, x) \ge E_q \Big[ \log p(\text{points}, z) - \log q(\text{points} \mid y)
              + \sum_m \log s_m'(x_m) \Big].

    Numbers take nothing from the bound. Whole numbers do: they are dequantized by :math:`x + u`, u uniform between
    -1/2 and 1/2, and so do atoms, whose own cells alone count. Beside an atom the score is drawn from N(0, 1), which is
    part of q. With :math:`\epsilon` the share of the background and b(row) that of a row of independent columns, of
    uniform classes and numbers with the heaviest tails, :math:`\log((1 - \epsilon) e^{bound} + \epsilon b)` is still a
    bound, and finite.

    Rows are int64 codes ``(B, N)``; with M numeric variables, float64 ``(B, N + M)``: all codes, then the numbers.
    Without numbers this is the :class:`~tessflow.models.DequantizedFlow` of a coupling flow and Voronoi cells. The
    flow's base is a mixture of Gaussians, its networks read cells, and noise in cells is Gaussian.

    Args:
        variables: The variables, or, for one of classes only, their number. The C with two classes or more have cells.
        dim: The dimension ``D`` of a variable's cells.
        profile: How noise is pushed into cells.
        hidden_features: The widths of the hidden layers of every network.
        network: The networks of the flow's layers (:func:`~tessflow.flows.cell_flow`), or ``None`` for those of the
            paper's flow, :func:`~tessflow.flows.coupling_flow`, which see walls, but read no cells.
        layers: The number of coupling layers.
        background: The share of the background, which is not drawn from.
        ascents: Pairs of numeric variables, the first of which is never above the second. Neither they nor the bounds
            of numbers add to the bound; draws that break them are drawn again.

    Attributes:
        lower_bound: Whether log-probabilities are lower bounds: always, unless all variables are numbers without atoms
            that are not whole.

    Raises:
        ValueError: If an option is out of its range.

    Example:
        >>> from tessflow.models import Number, Variable
        >>> height = Variable(classes=2, number=Number(knots=(150.0, 190.0), scores=(-2.0, 2.0)))  # or missing
        >>> model = MixedFlow((Variable(3), height), dim=2, layers=4, hidden_features=(16,))
        >>> rows = model.sample(5)  # class of the first, class of the height, height
        >>> rows.shape, model.log_prob(rows, samples=10).shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    _classed: Tensor
    _knots: Tensor
    _scores: Tensor
    _whole: Tensor
    _closed: Tensor
    _atoms: Tensor
    _bounds: Tensor
    _background: Tensor

    def __init__(
        self,
        variables: Sequence[Variable | int],
        *,
        dim: int = 4,
        profile: ProfileName = "truncated-gaussian",
        hidden_features: Sequence[int] = (256, 256),
        network: NetworkName | None = "residual",
        layers: int = 8,
        background: float = 0.0,
        ascents: Sequence[Ascent] = (),
    ) -> None:
        super().__init__()
        self.variables = tuple(Variable(classes=v) if isinstance(v, int) else v for v in variables)
        self.numeric = [n for n, variable in enumerate(self.variables) if variable.number is not None]
        # A flow needs a coordinate: with nothing else to model there are cells of one class.
        several = [n for n, variable in enumerate(self.variables) if variable.classes > 1]
        self.classed = several or ([] if self.numeric else [0])
        self.register_buffer("_classed", torch.tensor(self.classed, dtype=torch.int64), persistent=False)
        self.dequantizer: VoronoiDequantizer | None = None
        if self.classed:
            cardinalities = [self.variables[n].classes for n in self.classed]
            self.dequantizer = VoronoiDequantizer(
                cardinalities, dim, profile=profile, noise="gaussian", hidden_features=hidden_features
            )
        self.background = background
        self.ascents = tuple(ascents)
        numbers = [variable.number for variable in self.variables if variable.number is not None]
        if numbers:
            self._add_numbers(numbers)
        self._cells = len(self.classed) * dim
        features = self._cells + len(numbers)
        widths: dict[str, Any] = {"layers": layers, "hidden_features": hidden_features}
        self.network = network
        if network is None:
            self.flow = coupling_flow(features, sharpness=_SHARPNESS, base="mixture", **widths)
        else:
            self.flow = cell_flow(self.dequantizer, numbers=len(numbers), network=network, **widths)

    def _add_numbers(self, numbers: Sequence[Number]) -> None:
        knots, scores = stack_scales(numbers)
        buffers = {
            "_knots": knots,
            "_scores": scores,
            "_closed": torch.tensor([number.closed for number in numbers]),
            "_whole": torch.tensor([number.whole for number in numbers]),
            "_atoms": stack_atoms([self.variables[n] for n in self.numeric]),
            "_bounds": torch.tensor([[number.low, number.high] for number in numbers], dtype=torch.float64),
            "_background": torch.stack(centre_and_width(knots, scores)),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    @property
    def lower_bound(self) -> bool:
        """Whether log-probabilities are lower bounds rather than exact."""
        return bool(self.classed) or any(variable.number and variable.number.whole for variable in self.variables)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of classes of each variable."""
        return tuple(variable.classes for variable in self.variables)

    def elbo(self, rows: Tensor) -> Tensor:
        """Return a one-sample estimate of the bound: ``(B,)``, nats, differentiable.

        Raises:
            ValueError: If a code is no class of its variable.
        """
        codes, numbers = whole_codes(rows[..., : len(self.variables)]), rows[..., len(self.variables) :].double()
        parts: list[Tensor] = []
        log_q = torch.zeros((), device=rows.device)
        if self.dequantizer is not None:
            points, log_q = self.dequantizer(codes.index_select(-1, self._classed)).rsample_with_log_prob()
            parts.append(points.flatten(-2))
        near = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        if self.numeric:
            z, log_q_of_scores = self._draw_scores(numbers, codes[..., self.numeric] == 0)
            near = (z.abs() < _FAR).all(-1)  # elsewhere the flow is taken to have nothing
            dtype = next(self.parameters()).dtype
            parts.append(z.where(near[..., None], 0).to(dtype))
            log_q = log_q + log_q_of_scores.sum(-1)
        ratio = self.flow().log_prob(torch.cat(parts, -1)) - log_q
        if not self.background:
            return ratio.where(near, -math.inf).to(next(self.parameters()).dtype)
        ratio = (ratio + math.log1p(-self.background)).where(near, -math.inf)
        mixed = torch.logaddexp(ratio, math.log(self.background) + self._log_background(codes, numbers))
        return mixed.to(next(self.parameters()).dtype)

    @torch.no_grad()
    def log_prob(self, rows: Tensor, *, samples: int = 100) -> Tensor:
        """Return the importance-weighted bound on the log-likelihood of rows.

        Args:
            rows: Shape ``(B, N)`` or ``(B, N + M)``.
            samples: The number of importance samples a row; more give a tighter bound.

        Returns:
            Nats, shape ``(B,)``; of numbers that are not whole, with respect to their unit.

        Raises:
            ValueError: If ``samples`` is below 1, or a code is no class of its variable.
        """
        return importance_bound(self.elbo, rows, samples if self.lower_bound else min(samples, 1))

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Draw ``n`` rows, ``(n, N)`` int64 or ``(n, N + M)`` float64, none with the class of what was not seen.

        Raises:
            RuntimeError: If hardly any draw is within the bounds.
        """
        kept: list[Tensor] = []
        found = drawn = 0
        while found < n:
            rows, fits = self._draw(max(n - found, 64) if drawn else n)
            kept.append(rows[fits])
            found, drawn = found + len(kept[-1]), drawn + len(rows)
            if drawn > 10_000 + 1000 * (n + found):
                raise RuntimeError(f"of {drawn} rows drawn {found} are within the bounds of the columns: widen them.")
        return torch.cat(kept)[:n]

    def _draw(self, n: int) -> tuple[Tensor, Tensor]:
        """Draw rows; also return which of them are as the variables have them."""
        x = draw(self.flow(), (n,))
        codes = torch.zeros(n, len(self.variables), dtype=torch.int64, device=x.device)
        if self.dequantizer is not None:
            points = x[:, : self._cells].unflatten(-1, (len(self.classed), self.dequantizer.dim))
            codes[:, self.classed] = self.dequantizer.quantize(points)
        last = torch.tensor([-1 if v.unseen is None else v.unseen for v in self.variables], device=x.device)
        fits = (codes != last).all(-1)
        if not self.numeric:
            return codes, fits
        numbers = self._scale().inv(x[:, self._cells :].double())
        numbers = torch.where(self._whole, numbers.round(), numbers)
        own, numbers = on_atoms(codes[:, self.numeric], numbers, self._atoms)
        codes[:, self.numeric] = own
        is_number = own == 0
        fits &= ~(is_number & self._closed).any(-1)
        fits &= (~is_number | ((numbers >= self._bounds[:, 0]) & (numbers <= self._bounds[:, 1]))).all(-1)
        located = dict(zip(self.numeric, locate(own, numbers, self._atoms).unbind(-1), strict=True))
        for ascent in self.ascents:
            fits &= ~(located[ascent.first] * ascent.ratio > located[ascent.second])
        return torch.cat([codes.double(), numbers], -1), fits

    def _draw_scores(self, numbers: Tensor, is_number: Tensor) -> tuple[Tensor, Tensor]:
        """Draw scores of numbers and atoms, ``(..., M)``; also return the log-densities they have, given the row."""
        noise = normal(numbers.shape, numbers)
        z, log_slope = self._scale().call_and_ladj(numbers + self._whole * (uniform(numbers.shape, numbers) - 0.5))
        return torch.where(is_number, z, noise), torch.where(
            is_number, -log_slope, -(noise**2 + math.log(2 * math.pi)) / 2
        )

    def _log_background(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return the log-probability of rows of independent columns, ``(B,)``."""
        uniform = -sum(math.log(variable.classes) for variable in self.variables)
        if not self.numeric:
            return torch.full((len(codes),), uniform, dtype=torch.float64, device=codes.device)
        tail = LogCauchy(*self._background)
        mass = tail.log_mass(numbers - 0.5, numbers + 0.5, width=1.0)
        of_numbers = torch.where(self._whole, mass, tail.log_prob(numbers))
        return uniform + of_numbers.where(codes[..., self.numeric] == 0, 0).sum(-1)

    def _scale(self) -> PiecewiseLinear:
        return PiecewiseLinear(self._knots, self._scores)
