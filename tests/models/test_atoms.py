import math

import torch
from torch.testing import assert_close

from tessflow.models.atoms import locate, on_atoms

ATOMS = torch.tensor([[math.nan, 7.0, 7.0, math.nan], [math.nan, 2.0, math.inf, math.nan]], dtype=torch.float64)


def test_what_is_put_on_atoms_is_located_where_it_was():
    numbers = torch.tensor([[7.0, 2.0], [3.0, 7.0], [2.0, math.inf]], dtype=torch.float64)
    codes, rest = on_atoms(torch.zeros(3, 2, dtype=torch.int64), numbers, ATOMS)
    assert codes.tolist() == [[1, 1], [0, 0], [0, 2]]  # the first of atoms alike
    assert_close(locate(codes, rest, ATOMS), numbers)


def test_what_has_a_class_keeps_it():
    codes, numbers = on_atoms(torch.tensor([[3, 2]]), torch.tensor([[7.0, 2.0]]), ATOMS)
    assert codes.tolist() == [[3, 2]]
    assert numbers.tolist() == [[0.0, 0.0]]
    assert locate(codes, numbers, ATOMS).isnan().tolist() == [[True, False]]
