"""What a table's columns are to a model: classes, numbers, or both."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tessflow.transforms import PiecewiseLinear

__all__ = ["Ascent", "Number", "Restriction", "Variable", "centre_and_width", "stack_scales"]


@dataclass(frozen=True)
class Number:
    r"""How the numbers of a variable are distributed, before a network says more.

    Their scale is a piecewise linear map to scores, which continues beyond the outermost knots. A share of the mass
    has a distribution of its own, with a tail that falls like :math:`1 / (|x| \log^2 |x|)`
    (:class:`~tessflow.flows.LogCauchy`): no finite number is then far below all others.

    Args:
        knots: Numbers, at least two, strictly ascending.
        scores: What they are mapped to, strictly ascending; such that training rows have scores of about N(0, 1).
        whole: Whether the numbers are whole, and have probabilities rather than densities.
        atoms: The numbers that the classes 1, 2, ... of the variable stand for, which may be infinite. A whole number
            that is an atom has the atom's probability and that of the number itself.
        background: The share of the background, at least 0.
        low: No number is below it; of whole numbers a half, such as -0.5.
        high: No number is above it.
        closed: Whether atoms alone are drawn: others have a likelihood, though none came.

    Raises:
        ValueError: If there are fewer than two knots, another number of scores, either does not ascend, an atom is out
            of bounds, or the share is not in [0, 1).

    Example:
        >>> Number(knots=(0.0, 100.0), scores=(-2.0, 2.0), whole=True, atoms=(0.0,), low=-0.5).whole
        True
    """

    knots: tuple[float, ...]
    scores: tuple[float, ...]
    whole: bool = False
    atoms: tuple[float, ...] = ()
    background: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    closed: bool = False

    def __post_init__(self) -> None:
        for name, values in (("knots", self.knots), ("scores", self.scores)):
            if len(values) < 2 or any(not low < high for low, high in itertools.pairwise(values)):
                raise ValueError(f"{name} needs at least two numbers that strictly ascend, got {values}.")
        if len(self.knots) != len(self.scores):
            raise ValueError(f"there are {len(self.knots)} knots and {len(self.scores)} scores: give as many of both.")
        if not self.low < self.high or any(not self.low <= atom <= self.high for atom in self.atoms):
            raise ValueError(f"the bounds {self.low} and {self.high} must ascend, with the atoms {self.atoms} between.")
        if not 0 <= self.background < 1:
            raise ValueError(f"background is a share of at least 0 and below 1, got {self.background}.")

    @property
    def bounded(self) -> bool:
        """Whether there is a bound."""
        return self.low > -math.inf or self.high < math.inf


@dataclass(frozen=True)
class Variable:
    """One variable of a row: a class, or a number beside which single values have classes of their own.

    Args:
        classes: The number of classes, at least 1. With a number, class 0 means "a number" and the others are its
            atoms, single values with a probability of their own such as spikes and infinities; then what is no number,
            such as a missing value.
        number: Its numbers, if it has any.
        reserve: The least probability of the last class, "something not seen", and of class 0 of a numeric variable.
            0: the last class is one like the others.
        rare: Classes that begin at a probability of their own, with it; all others begin alike.
        ordered: Whether the classes ascend.

    Raises:
        ValueError: If there is no class, there are fewer than atoms need, a rare one is none of them, or the reserve is
            not in [0, 0.5).

    Example:
        >>> Variable(classes=2, number=Number((0.0, 1.0), (-1.0, 1.0))).number.whole  # numbers, and one atom
        False
    """

    classes: int
    number: Number | None = None
    reserve: float = 0.0
    rare: tuple[tuple[int, float], ...] = ()
    ordered: bool = False

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"a variable needs at least one class, got {self.classes}.")
        if self.number is not None and self.classes < 1 + len(self.number.atoms) + (self.reserve > 0):
            raise ValueError(f"{self.classes} classes are too few for {len(self.number.atoms)} atoms.")
        if any(not (0 <= code < self.classes and 0 <= share <= 1) for code, share in self.rare):
            raise ValueError(f"rare names classes below {self.classes} with their probabilities, got {self.rare}.")
        if not 0 <= self.reserve < 0.5:
            raise ValueError(f"reserve is a probability of at least 0 and below 0.5, got {self.reserve}.")

    @property
    def logits(self) -> tuple[float, ...]:
        """The first logits of the classes, 0 but for the rare ones."""
        shares = dict(self.rare)
        if self.reserve:
            shares.setdefault(self.classes - 1, self.reserve)
        total = min(sum(shares.values()), 0.999)
        scale = total / (sum(shares.values()) or 1.0)
        others = max(self.classes - len(shares), 1)
        first = {code: math.log(max(scale * share, 1e-9) * others / (1 - total)) for code, share in shares.items()}
        return tuple(first.get(code, 0.0) for code in range(self.classes))

    @property
    def unseen(self) -> int | None:
        """The class of what was not seen: the last, if there is a reserve."""
        return self.classes - 1 if self.reserve else None

    @property
    def seen(self) -> tuple[int, ...]:
        """All other classes: those that are drawn."""
        return tuple(range(self.classes - (self.reserve > 0)))


@dataclass(frozen=True)
class Ascent:
    """Two numeric variables, the first of which is never above the second.

    Whichever comes second is cut off at the other, where that is known.

    Args:
        first: One variable, by number,
        second: and the other.
        ratio: How many units of the second are one unit of the first.

    Example:
        >>> Ascent(0, 1, ratio=24.0)  # days, and hours
        Ascent(first=0, second=1, ratio=24.0)
    """

    first: int
    second: int
    ratio: float = 1.0


@dataclass(frozen=True)
class Restriction:
    """What is allowed of a variable: some of its classes, and numbers in a range.

    Args:
        codes: The classes allowed; 0 allows the numbers of a numeric variable that are in the range, atoms among them.
        low: Numbers are above it,
        high: and at most this; of whole numbers the bounds are halves.
        points: Single whole numbers that code 0 allows, instead of a range.

    Raises:
        ValueError: If no class is allowed, or the range is empty.

    Example:
        >>> Restriction(codes=(0,), low=-0.5, high=3.5)  # the whole numbers 0, 1, 2, 3
        Restriction(codes=(0,), low=-0.5, high=3.5, points=())
    """

    codes: tuple[int, ...]
    low: float = -math.inf
    high: float = math.inf
    points: tuple[float, ...] = ()

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


def centre_and_width(knots: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return where scales ``(M, Q)`` are 0, and half their width between -1 and 1: ``(M,)`` each, of the background.

    Example:
        >>> centre_and_width(*stack_scales([Number((0.0, 100.0), (-2.0, 2.0))]))
        (tensor([50.], dtype=torch.float64), tensor([25.], dtype=torch.float64))
    """
    levels = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64).expand(3, len(knots))
    low, middle, high = PiecewiseLinear(knots, scores).inv(levels)
    return middle, (high / 2 - low / 2).clamp_min(1e-300)


def _continued(values: Tensor, count: int) -> Tensor:
    """Add values beyond the last until there are as many as asked for."""
    # Far apart: next to each other they could be rounded to the same number.
    beyond = 1024 * torch.arange(1, count - len(values) + 1, dtype=torch.float64)
    return torch.cat([values, values[-1] + (values[-1] - values[-2]) * beyond])
