"""What a table's columns are to a model: classes, numbers, or both."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Number", "Restriction", "Variable", "stack_scales"]


@dataclass(frozen=True)
class Number:
    """The scale of a numeric variable: a piecewise linear map to scores, which continues beyond the outermost knots.

    Args:
        knots: Numbers, at least two, strictly ascending.
        scores: What they are mapped to, strictly ascending; such that training rows have scores of about N(0, 1).
        whole: Whether the numbers are whole, and have probabilities rather than densities.

    Raises:
        ValueError: If there are fewer than two knots, another number of scores, or either does not ascend.

    Example:
        >>> Number(knots=(0.0, 100.0), scores=(-2.0, 2.0), whole=True).whole
        True
    """

    knots: tuple[float, ...]
    scores: tuple[float, ...]
    whole: bool = False

    def __post_init__(self) -> None:
        for name, values in (("knots", self.knots), ("scores", self.scores)):
            if len(values) < 2 or any(not low < high for low, high in itertools.pairwise(values)):
                raise ValueError(f"{name} needs at least two numbers that strictly ascend, got {values}.")
        if len(self.knots) != len(self.scores):
            raise ValueError(f"there are {len(self.knots)} knots and {len(self.scores)} scores: give as many of both.")


@dataclass(frozen=True)
class Variable:
    """One variable of a row: a class, or a number beside which single values have classes of their own.

    Args:
        classes: The number of classes, at least 1. With a number, class 0 means "a number" and the others are atoms,
            single values with a probability of their own: spikes, infinities, a missing value.
        number: The scale of its numbers, if it has any.

    Raises:
        ValueError: If there is no class.

    Example:
        >>> Variable(classes=2, number=Number((0.0, 1.0), (-1.0, 1.0))).number.whole  # numbers, and one atom
        False
    """

    classes: int
    number: Number | None = None

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"a variable needs at least one class, got {self.classes}.")


@dataclass(frozen=True)
class Restriction:
    """What is allowed of a variable: some of its classes, and numbers in a range.

    Args:
        codes: The classes allowed; 0 allows the numbers of a numeric variable that are in the range.
        low: Numbers are above it,
        high: and at most this; of whole numbers the bounds are halves.

    Raises:
        ValueError: If no class is allowed, or the range is empty.

    Example:
        >>> Restriction(codes=(0,), low=-0.5, high=3.5)  # the whole numbers 0, 1, 2, 3
        Restriction(codes=(0,), low=-0.5, high=3.5)
    """

    codes: tuple[int, ...]
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.codes:
            raise ValueError("a restriction needs at least one class.")
        if not self.low < self.high:
            raise ValueError(f"the range from {self.low} to {self.high} is empty.")


def stack_scales(numbers: Sequence[Number]) -> tuple[Tensor, Tensor]:
    """Return the knots and the scores of scales, ``(M, Q)`` each, float64: all with as many as the longest has.

    Those that a scale lacks lie where it continues, far beyond its last knot.

    Example:
        >>> knots, scores = stack_scales([Number((0.0, 1.0), (-1.0, 1.0)), Number((0.0, 1.0, 5.0), (-1.0, 0.0, 1.0))])
        >>> knots.shape, scores.dtype
        (torch.Size([2, 3]), torch.float64)
    """
    count = max(len(number.knots) for number in numbers)

    def stacked(rows: Sequence[tuple[float, ...]]) -> Tensor:
        return torch.stack([_continued(torch.tensor(row, dtype=torch.float64), count) for row in rows])

    return stacked([number.knots for number in numbers]), stacked([number.scores for number in numbers])


def _continued(values: Tensor, count: int) -> Tensor:
    """Add values beyond the last until there are as many as asked for."""
    # Far apart: next to each other they could be rounded to the same number.
    beyond = 1024 * torch.arange(1, count - len(values) + 1, dtype=torch.float64)
    return torch.cat([values, values[-1] + (values[-1] - values[-2]) * beyond])
