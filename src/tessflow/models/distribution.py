"""The distribution of one variable, given what a network has seen of the others."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from tessflow.models.kinds import Kind, NumberDistribution, Numbers, Values
from tessflow.models.variables import Restriction

__all__ = ["VariableDistribution"]


@dataclass(frozen=True)
class VariableDistribution:
    """The distribution of one variable in each of some rows.

    Args:
        kind: Its kind,
        of: and its place there.
        block: Shape ``(B, size)``.
        limits: Numbers between which it is, ``(B, 2)``, if rows have such.
    """

    kind: Kind
    of: slice
    block: Tensor
    limits: Tensor | None = None

    def cpu(self) -> VariableDistribution:
        """Return the distribution on the CPU."""
        return replace(self, block=self.block.cpu(), limits=None if self.limits is None else self.limits.cpu())

    @property
    def has_class_log_probs(self) -> bool:
        """Whether the probabilities of its classes have a closed form."""
        return self.kind.exact

    def class_log_probs(self) -> Tensor:
        """Return the log-probabilities of the classes, ``(B, classes)``; class 0 of a number: all but its atoms.

        Raises:
            ValueError: If the variable has many classes, whose probabilities have no closed form.
        """
        log_probs = self.kind.class_log_probs(self._blocks, limits=self._limits, of=self.of)
        return log_probs[..., 0, : self.kind.variables[self.of.start].classes]

    def log_prob(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return the log-probabilities, or bounds, of values ``(B,)``."""
        values = Values(codes[..., None], numbers[..., None])
        return self.kind.log_prob(self._blocks, values, limits=self._limits, of=self.of).squeeze(-1)

    def components_of(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return what each component gives to values ``(B,)``, of a kind that has several: ``(B, C)``."""
        values = Values(codes[..., None], numbers[..., None])
        return self.kind.components_of(self._blocks, values, limits=self._limits, of=self.of)[1].squeeze(-1)

    def log_mass(self, allowed: Restriction) -> Tensor:
        """Return the log-probability of what is allowed, ``(B,)``."""
        return self.kind.log_mass(self._blocks, allowed, limits=self._limits, of=self.of).squeeze(-1)

    def draw(self, allowed: Restriction | None = None) -> tuple[Tensor, Tensor]:
        """Draw codes and numbers, ``(B,)`` each, perhaps of what is allowed."""
        return self._single(self.kind.draw(self._blocks, allowed, limits=self._limits, of=self.of))

    def typical(self, allowed: Restriction) -> tuple[Tensor, Tensor]:
        """Return the most probable class allowed, or the median if values have an order: ``(B,)`` each."""
        return self._single(self.kind.typical(self._blocks, allowed, limits=self._limits, of=self.of))

    def mean(self, allowed: Restriction) -> tuple[Tensor, Tensor]:
        """Return the mean of numbers, and of classes what is typical: ``(B,)`` each."""
        return self._single(self.kind.mean(self._blocks, allowed, limits=self._limits, of=self.of))

    def cdf(self, x: Tensor, *, open_end: bool = False) -> Tensor:
        """Return P(number <= x | it is a number), atoms among them, ``(B,)``; of whole numbers take halves."""
        return self._law.cdf(x[..., None], open_end=open_end).squeeze(-1)

    def below_and_up_to(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return P(number < x) and P(number <= x) given that it is a number: equal for real numbers but atoms."""
        half = self._law.half
        return self.cdf(x - half, open_end=True), self.cdf(x + half)

    def quantile(self, level: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the least numbers that have at least this probability up to them: codes and numbers, ``(B,)`` each."""
        level = level[..., None] if isinstance(level, Tensor) and level.ndim else level
        return self._single(self._law.quantile(level))

    def strata(self, count: int) -> tuple[Tensor, Tensor]:
        """Return numbers that are no atoms and log-weights to sum over them, ``(count, B)`` each."""
        x, log_weights = self._law.strata(count)
        return x.squeeze(-1), log_weights.squeeze(-1)

    @property
    def _blocks(self) -> Tensor:
        return self.block[..., None, :]

    @property
    def _limits(self) -> Tensor | None:
        return None if self.limits is None else self.limits[..., None, :]

    @property
    def _law(self) -> NumberDistribution:
        if not isinstance(self.kind, Numbers):
            raise ValueError(f"variable {self.kind.members[self.of.start]} holds classes, not numbers.")
        return self.kind.distribution(self._blocks.double(), limits=self._limits, of=self.of)

    def _single(self, values: Values) -> tuple[Tensor, Tensor]:
        return values.codes.squeeze(-1), values.numbers.squeeze(-1)
