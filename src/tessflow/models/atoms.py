"""Atoms: classes of a numeric variable that stand for single numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tessflow.models.variables import Variable

__all__ = ["locate", "on_atoms", "stack_atoms"]


def stack_atoms(variables: Sequence[Variable]) -> Tensor:
    """Return the atom of each class, ``(V, K)``, float64; NaN for classes that are no atoms.

    Example:
        >>> from tessflow.models import Number
        >>> number = Number((0.0, 9.0), (-1.0, 1.0), whole=True, atoms=(7.0,))
        >>> stack_atoms([Variable(classes=3, number=number)])  # a number, 7, missing
        tensor([[nan, 7., nan]], dtype=torch.float64)
    """
    most = max(variable.classes for variable in variables)
    atoms = torch.full((len(variables), most), math.nan, dtype=torch.float64)
    for row, variable in zip(atoms, variables, strict=True):
        if variable.number is not None:
            row[1 : 1 + len(variable.number.atoms)] = torch.tensor(variable.number.atoms, dtype=torch.float64)
    return atoms


def locate(codes: Tensor, numbers: Tensor, atoms: Tensor) -> Tensor:
    """Return the numbers of values, atoms among them, ``(..., V)``; NaN where a value is none.

    Args:
        codes: The classes of values, ``(..., V)``.
        numbers: Their numbers, read where the class is 0, of the same shape.
        atoms: The atom of each class, ``(V, K)``.

    Example:
        >>> atoms = torch.tensor([[math.nan, 7.0, math.nan]], dtype=torch.float64)
        >>> locate(torch.tensor([[0], [1], [2]]), torch.tensor([[3.0], [0.0], [0.0]]), atoms).squeeze(-1)
        tensor([3., 7., nan], dtype=torch.float64)
    """
    return torch.where(codes == 0, numbers, atoms.expand(*codes.shape, -1).gather(-1, codes[..., None]).squeeze(-1))


def on_atoms(codes: Tensor, numbers: Tensor, atoms: Tensor) -> tuple[Tensor, Tensor]:
    """Return values in which a number that is an atom has the atom's class; numbers are 0 where there is none.

    Args:
        codes: The classes of values, ``(..., V)``.
        numbers: Their numbers, read where the class is 0, of the same shape.
        atoms: The atom of each class, ``(V, K)``; of atoms alike the first counts.

    Example:
        >>> atoms = torch.tensor([[math.nan, 7.0, math.nan]], dtype=torch.float64)
        >>> codes, numbers = on_atoms(torch.tensor([[0], [0], [2]]), torch.tensor([[3.0], [7.0], [0.0]]), atoms)
        >>> codes.squeeze(-1), numbers.squeeze(-1)
        (tensor([0, 1, 2]), tensor([3., 0., 0.]))
    """
    hit = numbers[..., None] == atoms
    codes = torch.where((codes == 0) & hit.any(-1), hit.long().argmax(-1), codes)
    return codes, numbers.where(codes == 0, 0)
