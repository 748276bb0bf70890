"""Kinds of variables, one a file: what makes a distribution of a block of a network's output."""

from __future__ import annotations

from collections.abc import Sequence

from tessflow.models.kinds.base import Kind, Values
from tessflow.models.kinds.classes import Classes
from tessflow.models.kinds.distribution import NumberDistribution
from tessflow.models.kinds.many import ManyClasses
from tessflow.models.kinds.numbers import Numbers, RealNumbers, WholeNumbers
from tessflow.models.variables import Variable

__all__ = [
    "Classes",
    "Kind",
    "ManyClasses",
    "NumberDistribution",
    "Numbers",
    "RealNumbers",
    "Values",
    "WholeNumbers",
    "kinds_of",
]


def kinds_of(
    variables: Sequence[Variable], dim: int, *, most_logits: int, limited: bool, components: int = 1
) -> list[Kind]:
    """Sort variables into kinds, each of which holds all that are served together.

    Args:
        variables: The variables of a row.
        dim: The dimension in which they are seen.
        most_logits: Most classes of a variable that has logits.
        limited: Whether numbers may have limits.
        components: Of how many distributions each is a mixture.

    Raises:
        ValueError: If there are several, and a variable has more classes than logits.

    Example:
        >>> [type(kind).__name__ for kind in kinds_of((Variable(3), Variable(9)), 2, most_logits=5, limited=False)]
        ['Classes', 'ManyClasses']
    """
    groups: dict[tuple[str, int], list[int]] = {}
    for n, variable in enumerate(variables):
        if variable.number is not None:
            key = ("whole" if variable.number.whole else "real", 0)
        else:
            key = ("many", n) if len(variable.seen) > most_logits else ("classes", variable.classes)
        groups.setdefault(key, []).append(n)
    kinds: list[Kind] = []
    for (name, _), members in groups.items():
        own = [variables[n] for n in members]
        if name == "classes":
            kinds.append(Classes(members, own, components))
        elif name == "many":
            if components > 1:
                raise ValueError(
                    f"variable {members[0]} has {len(own[0].seen)} classes, more than most_logits={most_logits}, and "
                    "no mixture of components: give components=1."
                )
            kinds.append(ManyClasses(members, own, dim))
        else:
            number = WholeNumbers if name == "whole" else RealNumbers
            kinds.append(number(members, own, dim, limited=limited, components=components))
    return kinds
