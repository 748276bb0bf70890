"""Distributions of single variables, each made of a block of a network's output."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessflow.dequantization import StandardNoise, VoronoiDequantizer
from tessflow.dequantization.base import require_classes
from tessflow.dequantization.voronoi import ProfileName
from tessflow.flows import IntervalMixture, coupling_flow
from tessflow.models.dequantized import DequantizedFlow, importance_bound
from tessflow.models.variables import Restriction, Variable, stack_scales
from tessflow.transforms import PiecewiseLinear

__all__ = ["Conditionals"]

# Cells of the line, of equal mass under N(0, 1), and logistics that a numeric variable's density is made of.
CELLS, LOGISTICS = 32, 3
# A variable's block of many classes is the context of a flow.
CONTEXT = 64
# The dimension of their anchors.
_MANY_DIM = 8
# Embeddings of numbers are interpolated between scores this far apart, up to this score.
_STEP, _LAST = 0.25, 4.0
# Scores between which a density is as good as even.
_NARROW = 1e-9


class Conditionals(nn.Module):
    r"""Turn a network's output into a distribution of each variable, and values into the network's input.

    A variable's block of the output holds the logits of its classes. Of a number, with the class that stands for it,
    it holds a disjoint mixture on the line of scores (:class:`~tessflow.flows.IntervalMixture`), which the scale maps
    to numbers. Of a variable of many classes it is the context of a flow in R^D whose points decode to the nearest
    anchor: its cost does not grow with the classes, but its log-probabilities are lower bounds.

    Args:
        variables: The variables.
        dim: The dimension ``D`` in which values are seen.
        most_logits: Most classes of a variable that has logits.
        condition_on: ``"cell"``: a class is seen as its anchor; ``"point"``: as a point drawn in its cell.
        profile: How points are drawn in cells.

    Attributes:
        sizes: The size of each variable's block.
    """

    _num_classes: Tensor
    _place: Tensor
    _knots: Tensor
    _scores: Tensor
    _walls: Tensor
    _lines: Tensor
    _numeric: Tensor
    _whole: Tensor

    def __init__(
        self,
        variables: Sequence[Variable],
        dim: int,
        *,
        most_logits: int = 1000,
        condition_on: str = "cell",
        profile: ProfileName = "truncated-gaussian",
    ) -> None:
        super().__init__()
        self.variables = tuple(variables)
        self.dim = dim
        self.condition_on = condition_on
        self.many = [n for n, variable in enumerate(variables) if variable.classes > most_logits]
        self.numeric = [n for n, variable in enumerate(variables) if variable.number is not None]
        logits = [1 if n in self.many else variable.classes for n, variable in enumerate(variables)]
        self.dequantizer = VoronoiDequantizer(logits, dim, profile=profile, noise="standard")
        self.flows = nn.ModuleDict({str(n): _nearest_anchor(variables[n].classes, _MANY_DIM) for n in self.many})
        self.seen = nn.ModuleDict({str(n): nn.Linear(_MANY_DIM, dim) for n in self.many})
        line = CELLS + 3 * LOGISTICS
        self.sizes = [
            CONTEXT if n in self.many else classes + line * (n in self.numeric) for n, classes in enumerate(logits)
        ]
        self._starts = [0, *itertools.accumulate(self.sizes)][:-1]
        # Variables of as many classes are normalised together.
        self._groups: dict[int, list[int]] = {}
        for n, classes in enumerate(logits):
            if n not in self.many:
                self._groups.setdefault(classes, []).append(n)
        members = [n for group in self._groups.values() for n in group] + self.many
        self._buffer("_num_classes", torch.tensor([variable.classes for variable in self.variables]))
        self._buffer("_place", torch.tensor(members).argsort())
        for classes, group in self._groups.items():
            slots = torch.tensor([self._starts[n] for n in group])[:, None] + torch.arange(classes)
            self._buffer(f"_slots_{classes}", slots.flatten())
        if self.numeric:
            self._add_lines(logits)

    def _buffer(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    def _add_lines(self, logits: Sequence[int]) -> None:
        numbers = [variable.number for variable in self.variables if variable.number is not None]
        for name, values in zip(("_knots", "_scores"), stack_scales(numbers), strict=True):
            self._buffer(name, values)
        levels = torch.arange(1, CELLS, dtype=torch.float64) / CELLS
        self._buffer("_walls", torch.special.ndtri(levels).float())
        starts = torch.tensor([self._starts[n] + logits[n] for n in self.numeric])
        self._buffer("_lines", (starts[:, None] + torch.arange(CELLS + 3 * LOGISTICS)).flatten())
        self._buffer("_numeric", torch.tensor(self.numeric))
        self._buffer("_whole", torch.tensor([number.whole for number in numbers]))
        # What numbers look like: learned, and at first their score and waves over it.
        score = torch.arange(-_LAST, _LAST + _STEP, _STEP)
        level = torch.special.ndtr(score)
        waves = [score, *(math.sqrt(2) * (math.pi * n * level).cos() for n in range(1, self.dim))]
        self.embedding = nn.Parameter(torch.stack(waves, -1).repeat(len(numbers), 1, 1))

    def start(self) -> Tensor:
        """Return a first output, shape ``(sum(sizes),)``: uniform classes, and scores of N(0, 1), cell by cell."""
        bias = torch.zeros(sum(self.sizes))
        if self.numeric:
            loc, log_scale = torch.linspace(-1, 1, LOGISTICS), torch.full((LOGISTICS,), -0.9)
            base = IntervalMixture(self._walls, torch.zeros(CELLS), torch.zeros(LOGISTICS), loc, log_scale)
            line = torch.cat([-base.log_weights - math.log(CELLS), torch.zeros(LOGISTICS), loc, log_scale])
            bias[self._lines] = line.repeat(len(self.numeric))
        return bias

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Split encoded rows into codes ``(B, N)``, int64, and numbers ``(B, M)``, float64."""
        n = len(self.variables)
        return rows[..., :n].long(), rows[..., n:].double()

    def join(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Undo :meth:`split`."""
        return torch.cat([codes.double(), numbers], -1) if self.numeric else codes

    def check(self, codes: Tensor) -> None:
        """Raise a ValueError unless codes ``(B, N)`` are classes of their variables."""
        require_classes(codes, self._num_classes)

    def represent(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return what the network sees of rows, ``(B, N, D)``."""
        few = codes.clone()
        few[..., self.many] = 0
        x = self.dequantizer(few).rsample() if self.condition_on == "point" else self.dequantizer.anchor(few)
        if self.many:
            seen = [
                self.seen[str(n)](self._cells(n).dequantizer.anchor(codes[..., n, None]).squeeze(-2)) for n in self.many
            ]
            x = x.index_copy(-2, torch.tensor(self.many, device=x.device), torch.stack(seen, -2))
        if self.numeric:
            line = _interpolated(self.embedding, self._scale()(numbers))
            is_number = (codes[..., self._numeric] == 0)[..., None]
            x = x.index_copy(-2, self._numeric, torch.where(is_number, line, x[..., self._numeric, :]))
        return x

    def represent_one(self, n: int, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return what the network sees of variable ``n`` of rows, ``(B, D)``."""
        if n in self.many or self.condition_on == "point":
            return self.represent(codes, numbers)[..., n, :]
        anchor = self.dequantizer.tessellation().anchors[n, codes[..., n]]
        if n not in self.numeric:
            return anchor
        m = self.numeric.index(n)
        line = _interpolated(self.embedding[m : m + 1], self._scale(m)(numbers[..., m])[..., None]).squeeze(-2)
        return torch.where(codes[..., n, None] == 0, line, anchor)

    def log_prob(self, output: Tensor, codes: Tensor, numbers: Tensor, *, samples: int = 1) -> Tensor:
        """Return the log-probability, or the bound on it, of each variable.

        Args:
            output: What a network gave for the rows, shape ``(B, sum(sizes))``.
            codes: Shape ``(B, N)``.
            numbers: Shape ``(B, M)``.
            samples: The number of importance samples of a bound; with one, it is differentiable.

        Returns:
            Nats, shape ``(B, N)``.
        """
        parts = []
        for classes, group in self._groups.items():
            logits = output.index_select(-1, getattr(self, f"_slots_{classes}")).unflatten(-1, (len(group), classes))
            parts.append(logits.log_softmax(-1).gather(-1, codes[..., group, None]).squeeze(-1))
        for n in self.many:
            parts.append(self._log_prob_of_many(n, output[..., self.block(n)], codes[..., n, None], samples)[..., None])
        log_prob = torch.cat(parts, -1).index_select(-1, self._place)
        if self.numeric:
            density = self._log_prob_of_numbers(output, numbers)
            density = torch.where(codes[..., self._numeric] == 0, density, 0)
            log_prob = log_prob.index_add(-1, self._numeric, density)
        return log_prob

    def _log_prob_of_many(self, n: int, context: Tensor, code: Tensor, samples: int) -> Tensor:
        cells = self._cells(n)

        def elbo(pairs: Tensor) -> Tensor:
            x, log_q = cells.dequantizer(pairs).rsample_with_log_prob()
            repeats = pairs.shape[0] // max(context.shape[0], 1)
            return cells.flow(context.repeat(repeats, 1)).log_prob(x.flatten(-2)) - log_q

        return elbo(code) if samples == 1 else importance_bound(elbo, code, samples)

    def _log_prob_of_numbers(self, output: Tensor, numbers: Tensor) -> Tensor:
        lines = output.index_select(-1, self._lines).unflatten(-1, (len(self.numeric), -1))
        scale, whole = self._scale(), self._whole
        z, log_slope = scale.call_and_ladj(numbers)
        if not whole.any():
            return (_line(self._walls, lines).log_prob(_near(z).to(lines.dtype)) + log_slope).to(lines.dtype)
        low, high = _near(scale(numbers - 0.5)), _near(scale(numbers + 0.5))
        # Of many whole numbers one is a narrow interval: float32 would not tell its ends apart.
        line = _line(self._walls.double(), lines[..., whole, :].double())
        mass = line.log_mass(low[..., whole], high[..., whole])
        # Nor float64 those of billions: their density is as even as a constant.
        narrow = (high - low)[..., whole] < _NARROW
        mass = torch.where(narrow, line.log_prob(z[..., whole]) + log_slope[..., whole], mass)
        if whole.all():
            return mass.to(lines.dtype)
        real = ~whole
        density = (
            _line(self._walls, lines[..., real, :]).log_prob(_near(z[..., real]).to(lines.dtype)) + log_slope[..., real]
        )
        order = torch.cat([whole.nonzero(), real.nonzero()]).flatten().argsort()
        return torch.cat([mass.to(lines.dtype), density.to(lines.dtype)], -1)[..., order]

    def block(self, n: int) -> slice:
        """Return where the block of variable ``n`` stands in the output."""
        return slice(self._starts[n], self._starts[n] + self.sizes[n])

    def class_log_probs(self, n: int, block: Tensor) -> Tensor:
        """Return the log-probabilities of the classes of variable ``n``, ``(B, classes)``, from its block.

        Raises:
            ValueError: If the variable has many classes, whose probabilities have no closed form.
        """
        if n in self.many:
            raise ValueError(f"variable {n} has too many classes for each to have a probability: draw instead.")
        return block[..., : self.variables[n].classes].log_softmax(-1)

    def log_mass(self, n: int, block: Tensor, allowed: Restriction) -> Tensor:
        """Return the log-probability of what is allowed of variable ``n``, ``(B,)``, in nats."""
        log_probs = self.class_log_probs(n, block)
        parts = [log_probs[..., code] for code in allowed.codes]
        if n in self.numeric and 0 in allowed.codes:
            low, high = self._bounds(n, allowed, block)
            number = self._number(n, block).log_mass(low, high)
            parts[allowed.codes.index(0)] = parts[allowed.codes.index(0)] + number
        return torch.stack(parts, -1).logsumexp(-1)

    def cdf(self, n: int, block: Tensor, number: Tensor) -> Tensor:
        """Return P(number of variable ``n`` <= ``number`` | it is a number), ``(B,)``; whole numbers take halves."""
        m = self.numeric.index(n)
        return self._number(n, block).cdf(self._scale(m)(number))

    def draw(self, n: int, block: Tensor, allowed: Restriction | None = None) -> tuple[Tensor, Tensor]:
        """Draw variable ``n``, perhaps of what is allowed: codes and numbers, ``(B,)`` each."""
        zero = block.new_zeros(block.shape[:-1], dtype=torch.float64)
        if n in self.many:
            return self._draw_of_many(n, block, allowed), zero
        log_probs = self.class_log_probs(n, block).double()
        low = high = None
        if allowed is not None:
            among = torch.full_like(log_probs, -math.inf)
            among[..., list(allowed.codes)] = log_probs[..., list(allowed.codes)]
            if n in self.numeric and 0 in allowed.codes:
                low, high = self._bounds(n, allowed, block)
                among[..., 0] += self._number(n, block).log_mass(low, high)
            # Where nothing that is allowed has any probability, anything is drawn, and the caller knows.
            log_probs = among.masked_fill(among.amax(-1, keepdim=True) == -math.inf, 0)
        code = torch.distributions.Categorical(logits=log_probs, validate_args=False).sample()
        if n not in self.numeric:
            return code, zero
        scale = self._scale(self.numeric.index(n))
        number = scale.inv(self._number(n, block).sample((), low=low, high=high))
        return code, torch.where(code == 0, self._grid(n, number, allowed), 0.0)

    def _draw_of_many(self, n: int, context: Tensor, allowed: Restriction | None) -> Tensor:
        cells, classes = self._cells(n), self.variables[n].classes
        if allowed is not None and 2 * len(allowed.codes) < classes:
            raise ValueError(f"variable {n} has too many classes for a choice of a few of them: give one value.")

        def draw(context: Tensor) -> Tensor:
            return cells.dequantizer.quantize(cells.flow(context).sample()[..., None, :]).squeeze(-1)

        code = draw(context)
        if allowed is None or len(allowed.codes) == classes:
            return code
        among = torch.zeros(classes, dtype=torch.bool, device=context.device)
        among[list(allowed.codes)] = True
        for _ in range(1000):
            wrong = ~among[code]
            if not wrong.any():
                return code
            code[wrong] = draw(context[wrong])
        raise ValueError(f"what is allowed of variable {n} came true in none of 1000 draws: allow more.")

    def typical(
        self,
        n: int,
        block: Tensor,
        allowed: Restriction,
        *,
        ordered: bool = False,
        atoms: Sequence[float] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the most probable class allowed, or the median: of ordered classes, and of numbers and atoms together.

        Args:
            n: The variable.
            block: Its block.
            allowed: The classes allowed.
            ordered: Whether the classes ascend.
            atoms: Of a numeric variable, the numbers that its classes 1, 2, ... stand for, all allowed; without them
                it is the most probable of all classes, or the median of its numbers.

        Returns:
            Codes and numbers, ``(B,)`` each.
        """
        zero = block.new_zeros(block.shape[:-1], dtype=torch.float64)
        if n in self.many:
            draws = torch.stack([self._draw_of_many(n, block, allowed) for _ in range(64)])
            return draws.mode(0).values, zero
        choice = torch.tensor(allowed.codes, device=block.device)
        chances = self.class_log_probs(n, block)[..., choice].double().softmax(-1)
        if n not in self.numeric:
            best = (chances.cumsum(-1) < 0.5).sum(-1).clamp_max(len(choice) - 1) if ordered else chances.argmax(-1)
            return choice[best], zero
        if atoms is None:
            code = choice[chances.argmax(-1)]
            return code, torch.where(code == 0, self.quantile(n, block, 0.5), 0.0)
        # Atoms in ascending order: each is the median, above it, or below it.
        code, below, done = zero.long(), zero, zero.bool()
        for atom, value in sorted(enumerate(atoms, 1), key=lambda pair: pair[1]):
            chance = chances[..., allowed.codes.index(atom)]
            number = zero + value - 0.5 * self._whole[self.numeric.index(n)]
            before = below + chances[..., 0] * self.cdf(n, block, number)
            above = ~done & (before + chance < 0.5)
            code = torch.where(~done & ~above & (before <= 0.5), atom, code)
            done = done | ~above
            below = torch.where(above, below + chance, below)
        tiny = torch.finfo(zero.dtype).eps
        level = ((0.5 - below) / chances[..., 0]).clamp(tiny, 1 - tiny)
        return code, torch.where(code == 0, self.quantile(n, block, level), 0.0)

    def quantile(self, n: int, block: Tensor, level: float | Tensor) -> Tensor:
        """Return the number that variable ``n``, if a number, is at most with probability ``level``, ``(B,)``."""
        levels = torch.as_tensor(level, dtype=torch.float64, device=block.device).expand(block.shape[:-1])
        score = self._number(n, block).icdf(levels)
        return self._grid(n, self._scale(self.numeric.index(n)).inv(score), None)

    def _grid(self, n: int, number: Tensor, allowed: Restriction | None) -> Tensor:
        """Round what is whole, and keep it within what is allowed."""
        low, high = (-math.inf, math.inf) if allowed is None else (allowed.low, allowed.high)
        if self._whole[self.numeric.index(n)]:
            # Half a unit inside of bounds that are halves: where rounding would leave them.
            return number.round().clamp(low + 0.5, high - 0.5)
        return number.clamp(low, high)

    def _bounds(self, n: int, allowed: Restriction, block: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores between which the numbers allowed are."""
        scale = self._scale(self.numeric.index(n))
        ends = torch.tensor([allowed.low, allowed.high], dtype=torch.float64, device=block.device)
        scores = torch.where(ends.isfinite(), scale(ends.clamp(-1e300, 1e300)), ends)
        return scores[0], scores[1]

    def _number(self, n: int, block: Tensor) -> IntervalMixture:
        return _line(self._walls.double(), block[..., self.variables[n].classes :].double())

    def _cells(self, n: int) -> Any:
        return self.flows[str(n)]

    def _scale(self, m: int | None = None) -> Any:
        """Return the scale of all numbers, or of the m-th."""
        one = slice(None) if m is None else m
        return PiecewiseLinear(self._knots[one], self._scores[one])


def _near(score: Tensor) -> Tensor:
    """Keep scores where float32 holds what their densities are; beyond, no density tells them apart."""
    return score.clamp(-1e6, 1e6)


def _line(walls: Tensor, line: Tensor) -> IntervalMixture:
    tilt, logits, loc, log_scale = line.split([CELLS, LOGISTICS, LOGISTICS, LOGISTICS], -1)
    return IntervalMixture(walls, tilt, logits, loc, log_scale.clamp(-9, 5))


def _interpolated(embedding: Tensor, scores: Tensor) -> Tensor:
    """Look scores, ``(..., M)``, up in embeddings, ``(M, places, D)``, between the nearest two: ``(..., M, D)``."""
    place = (scores.to(embedding.dtype).clamp(-_LAST, _LAST) + _LAST) / _STEP
    low = place.long().clamp_max(embedding.shape[1] - 2)
    part, places = (place - low)[..., None], embedding.flatten(0, 1)
    low = low + embedding.shape[1] * torch.arange(len(embedding), device=embedding.device)
    return F.embedding(low, places) * (1 - part) + F.embedding(low + 1, places) * part


def _nearest_anchor(classes: int, dim: int) -> DequantizedFlow:
    """Build a flow in R^D, given a context, and the cells of the anchors that its points decode to."""
    flow = coupling_flow(dim, context=CONTEXT, layers=4, hidden_features=(64,))
    return DequantizedFlow(flow, VoronoiDequantizer((classes,), dim, noise=StandardNoise(dim)))
