"""Variables of numbers: atoms with a logit each beside a smooth part, and what is no number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessflow.flows import IntervalMixture, LogCauchy
from tessflow.models.atoms import locate, stack_atoms
from tessflow.models.kinds.base import ALL, APART, Kind, Values
from tessflow.models.kinds.distribution import NumberDistribution
from tessflow.models.kinds.smooth import Smooth
from tessflow.models.variables import Restriction, Variable, centre_and_width, stack_scales
from tessflow.randomness import normal
from tessflow.transforms import PiecewiseLinear

__all__ = ["Numbers", "RealNumbers", "WholeNumbers"]

# Cells of the line, of equal mass under N(0, 1), and logistics that a variable's density is made of.
CELLS, LOGISTICS = 32, 3
_LINE = CELLS + 3 * LOGISTICS
# Embeddings of numbers are interpolated between scores this far apart, up to this score.
_STEP, _LAST = 0.25, 4.0


class Numbers(Kind):
    """Variables of numbers.

    A block holds the logits of the classes, then a disjoint mixture on the line of scores
    (:class:`~tessflow.flows.IntervalMixture`), which the scale maps to numbers: with the background, the smooth part of
    a :class:`~tessflow.models.kinds.distribution.NumberDistribution`.

    Args:
        members: See :class:`~tessflow.models.kinds.base.Kind`.
        variables: What they are.
        dim: The dimension in which numbers are seen.
        limited: Whether rows may have limits.
        components: See there.
    """

    numeric = True
    whole: bool

    _knots: Tensor
    _scores: Tensor
    _walls: Tensor
    _atoms: Tensor
    _share: Tensor
    _loc: Tensor
    _width: Tensor
    _bounds: Tensor
    _closed: Tensor

    def __init__(
        self,
        members: Sequence[int],
        variables: Sequence[Variable],
        dim: int,
        *,
        limited: bool,
        components: int = 1,
    ) -> None:
        super().__init__(members, variables, components)
        numbers = [variable.number for variable in variables if variable.number is not None]
        self.logits = self._mask.shape[-1]
        self.width = self.logits + _LINE
        self.cut = limited or any(number.bounded for number in numbers)
        for name, values in zip(("_knots", "_scores"), stack_scales(numbers), strict=True):
            self._buffer(name, values)
        levels = torch.arange(1, CELLS, dtype=torch.float64) / CELLS
        self._buffer("_walls", torch.special.ndtri(levels).float())
        self._buffer("_atoms", stack_atoms(variables))
        self._buffer("_share", torch.tensor([number.background for number in numbers], dtype=torch.float64))
        self._buffer("_closed", torch.tensor([number.closed for number in numbers]))
        self._buffer("_bounds", torch.tensor([[number.low, number.high] for number in numbers], dtype=torch.float64))
        # The background has the median of the scale, and its width between the scores -1 and 1.
        for name, value in zip(("_loc", "_width"), centre_and_width(self._knots, self._scores), strict=True):
            self._buffer(name, value)
        # What numbers look like: learned, and at first their score and waves over it.
        score = torch.arange(-_LAST, _LAST + _STEP, _STEP)
        level = torch.special.ndtr(score)
        waves = [score, *(math.sqrt(2) * (math.pi * n * level).cos() for n in range(1, dim))]
        self.embedding = nn.Parameter(torch.stack(waves, -1).repeat(len(numbers), 1, 1))

    def _start(self) -> Tensor:
        """Return classes that are alike, but for what was not seen, and scores of N(0, 1), cell by cell."""
        loc, log_scale = torch.linspace(-1, 1, LOGISTICS), torch.full((LOGISTICS,), -0.9)
        base = IntervalMixture(self._walls, torch.zeros(CELLS), torch.zeros(LOGISTICS), loc, log_scale)
        line = torch.cat([-base.log_weights - math.log(CELLS), torch.zeros(LOGISTICS), loc, log_scale])
        return torch.cat([self._first_logits(), line.expand(len(self.members), -1)], -1)

    def _apart(self, variables: int, components: int) -> Tensor:
        """Return logits of classes, and slopes of the tilt over the cells, at random."""
        noise = APART * normal((variables, components, self.logits + 1), torch.zeros(()))
        middles = torch.special.ndtri((torch.arange(CELLS) + 0.5) / CELLS)
        rest = torch.zeros(variables, components, _LINE - CELLS)
        return torch.cat([noise[..., :-1], noise[..., -1:] * middles, rest], -1)

    def see(self, anchors: Tensor, values: Values, of: slice = ALL) -> Tensor:
        """Return embeddings of numbers, looked up between the nearest two; with their anchors, if they are atoms."""
        numbers = self.locate(values, of)
        is_number = numbers.isfinite()
        scores = PiecewiseLinear(self._knots[of], self._scores[of])(numbers.where(is_number, 0))
        embedding = self.embedding[of]
        place = (scores.to(embedding.dtype).clamp(-_LAST, _LAST) + _LAST) / _STEP
        low = place.long().clamp_max(embedding.shape[1] - 2)
        part, places = (place - low)[..., None], embedding.flatten(0, 1)
        low = low + embedding.shape[1] * torch.arange(len(embedding), device=embedding.device)
        line = F.embedding(low, places) * (1 - part) + F.embedding(low + 1, places) * part
        seen = torch.where((values.codes == 0)[..., None], line, anchors + line)
        return torch.where(is_number[..., None], seen, anchors)

    def locate(self, values: Values, of: slice = ALL) -> Tensor:
        """Return the numbers of values, atoms among them, ``(..., V)``; NaN where a value is none."""
        return locate(*values, self._atoms[of])

    def distribution(self, blocks: Tensor, *, limits: Tensor | None = None, of: slice = ALL) -> NumberDistribution:
        """Return the distributions of blocks ``(..., V, size)``.

        Args:
            blocks: The blocks.
            limits: Numbers between which those of each row are, ``(..., V, 2)``, beside the variables' bounds.
            of: Some of the variables.
        """
        if self.components == 1:
            return self._distribution(blocks, limits, of)
        log_weights, parts = self.parts(blocks)
        limits = None if limits is None else limits[..., None, :, :]
        return self._distribution(parts, limits, of).mixed(log_weights.double().log_softmax(-2))

    def _distribution(self, blocks: Tensor, limits: Tensor | None, of: slice) -> NumberDistribution:
        """Return the distributions of single components, ``(..., V, width)``."""
        log_probs = self._log_softmax(blocks[..., : self.logits], of)
        tilt, logits, loc, log_scale = blocks[..., self.logits :].split([CELLS, LOGISTICS, LOGISTICS, LOGISTICS], -1)
        smooth = Smooth(
            IntervalMixture(
                self._walls.to(blocks.dtype), tilt, logits, loc, log_scale.clamp(-9, 5), validate_args=False
            ),
            PiecewiseLinear(self._knots[of], self._scores[of]),
            LogCauchy(self._loc[of], self._width[of]),
            self._share[of],
        )
        low, high = self._bounds[of].unbind(-1)
        if limits is not None:
            low, high = torch.maximum(low, limits[..., 0]), torch.minimum(high, limits[..., 1])
        return NumberDistribution(
            log_probs, smooth, self._atoms[of], whole=self.whole, low=low, high=high, cut=self.cut
        )

    def _log_prob(self, blocks: Tensor, values: Values, limits: Tensor | None, samples: int, of: slice) -> Tensor:
        """See the base class."""
        # Of many whole numbers one is a narrow interval: float32 would not tell its ends apart.
        law = self._distribution(blocks.double() if self.whole else blocks, limits, of)
        return law.log_prob(values.codes, self.locate(values, of)).to(blocks.dtype)

    def class_log_probs(self, blocks: Tensor, *, limits: Tensor | None = None, of: slice = ALL) -> Tensor:
        """See the base class; atoms have the smooth part's probability of them, too."""
        return self.distribution(blocks.double(), limits=limits, of=of).log_class_probs().to(blocks.dtype)

    def log_mass(
        self, blocks: Tensor, allowed: Restriction, *, limits: Tensor | None = None, of: slice = ALL
    ) -> Tensor:
        """See the base class."""
        law = self.distribution(blocks.double(), limits=limits, of=of)
        return law.log_parts(allowed, self._allowed(allowed.codes, of)).logsumexp(-1)

    def draw(
        self, blocks: Tensor, allowed: Restriction | None = None, *, limits: Tensor | None = None, of: slice = ALL
    ) -> Values:
        """See the base class."""
        mask = self._allowed(None if allowed is None else allowed.codes, of)
        return self.distribution(blocks.double(), limits=limits, of=of).draw(allowed, mask, closed=self._closed[of])

    def typical(self, blocks: Tensor, allowed: Restriction, *, limits: Tensor | None = None, of: slice = ALL) -> Values:
        """See the base class."""
        if 0 in allowed.codes:
            return self._seen_numbers(blocks, limits, of).quantile(0.5)
        law = self.distribution(blocks.double(), limits=limits, of=of)
        codes = law.log_parts(allowed, self._allowed(allowed.codes, of)).argmax(-1)
        return Values(codes, torch.zeros_like(codes, dtype=torch.float64))

    def mean(self, blocks: Tensor, allowed: Restriction, *, limits: Tensor | None = None, of: slice = ALL) -> Values:
        """See the base class."""
        if 0 in allowed.codes:
            return self._seen_numbers(blocks, limits, of).mean()
        return self.typical(blocks, allowed, limits=limits, of=of)

    def _seen_numbers(self, blocks: Tensor, limits: Tensor | None, of: slice) -> NumberDistribution:
        """Return distributions of numbers such as were seen."""
        return self.distribution(blocks.double(), limits=limits, of=of).closed(self._closed[of])


class WholeNumbers(Numbers):
    """Whole numbers, which have probabilities."""

    whole = True


class RealNumbers(Numbers):
    """Real numbers, which have densities."""

    whole = False
