"""Variables of every kind, models of them away from their start, and all rows that there are, with their weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tessflow.models import MatchedFlow, Number, Variable

REAL = Number(knots=(-1.0, 0.0, 0.5, 4.0), scores=(-1.5, -0.2, 0.3, 1.4))
WHOLE = Number(knots=(-0.5, 2.5, 4.5, 9.5), scores=(-1.2, -0.3, 0.4, 1.6), whole=True)
TWO_KNOTS = Number(knots=(10.0, 30.0), scores=(-1.0, 1.0))
# Of every kind: classes, numbers without atoms, one class, whole numbers with two atoms, numbers with an atom.
KINDS = (Variable(3), Variable(1, REAL), Variable(1), Variable(3, WHOLE), Variable(2, TWO_KNOTS))
# Few enough to sum over: classes, numbers with an atom, whole numbers with an atom.
FEW = (Variable(2), Variable(2, REAL), Variable(2, WHOLE))
# Orders, or options of blocks in one.
ORDERS = [
    "natural",
    "random",
    "any",
    (2, 0, 1),
    {"blocks": 1, "components": 3},
    {"blocks": 2, "components": 3, "order": (2, 0, 1)},
    {"blocks": 2},
]

# What the model's density is smooth between: the quantiles of N(0, 1), and tails out to where nothing is.
_LEVELS = np.arange(1, 32) / 32
_PIECES = np.unique(
    np.concatenate(
        [
            torch.special.ndtri(torch.tensor(_LEVELS)).float().double().numpy(),
            *(s * np.geomspace(2, 40, 10) for s in (-1, 1)),
        ]
    )
)


def perturbed(variables=FEW, *, seed=0, order="natural", **options) -> MatchedFlow:
    """A model in float64, away from its start; the order may be options that name it."""
    torch.manual_seed(seed)
    options |= order if isinstance(order, dict) else {"order": order}
    model = MatchedFlow(variables, **({"dim": 3, "hidden_features": (16, 16)} | options)).eval().double()
    for name, parameter in model.named_parameters():
        if "heads" in name or name.startswith("network.4"):
            torch.nn.init.normal_(parameter, std=0.1 if "heads" in name else 0.4)
    with torch.no_grad():
        model.bias += 0.3 * torch.randn_like(model.bias)
    return model


def support(variable: Variable, *, reach: int = 50) -> tuple[Tensor, Tensor, Tensor]:
    """All values of a variable, of whole numbers those within reach: codes, numbers, and weights to sum them with."""
    codes = torch.arange(variable.classes)
    numbers, weights = torch.zeros(len(codes)), torch.ones(len(codes))
    if variable.number is None:
        return codes, numbers.double(), weights.double()
    if variable.number.whole:
        x = torch.arange(-reach, reach + 1, dtype=torch.float64)
        w = torch.ones_like(x)
    else:
        x, w = nodes(variable.number)
    codes = torch.cat([torch.zeros(len(x), dtype=torch.int64), codes[1:]])
    return codes, torch.cat([x, numbers[1:].double()]), torch.cat([w, weights[1:].double()])


def nodes(number: Number, points: int = 4) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss and Legendre on every piece of a number's density."""
    ends = np.unique(np.concatenate([_scaled(_PIECES, number), number.knots]))
    x, w = np.polynomial.legendre.leggauss(points)
    middle, half = (ends[1:] + ends[:-1])[:, None] / 2, (ends[1:] - ends[:-1])[:, None] / 2
    return torch.tensor((middle + half * x).ravel()), torch.tensor((half * w).ravel())


def every_row(variables=FEW, *, reach: int = 50) -> tuple[Tensor, Tensor]:
    """All rows of some variables, of whole numbers those within reach, and their weights."""
    parts = [support(variable, reach=reach) for variable in variables]
    index = torch.cartesian_prod(*(torch.arange(len(codes)) for codes, _, _ in parts)).reshape(-1, len(parts))
    columns = [codes[i].double() for (codes, _, _), i in zip(parts, index.T, strict=True)]
    columns += [
        numbers[i] for v, (_, numbers, _), i in zip(variables, parts, index.T, strict=True) if v.number is not None
    ]
    weight = torch.stack([weights[i] for (_, _, weights), i in zip(parts, index.T, strict=True)], -1).prod(-1)
    return torch.stack(columns, -1), weight


def some_rows(n: int, variables=KINDS) -> Tensor:
    """Rows with numbers and atoms of each kind."""
    codes = torch.stack([torch.randint(v.classes, (n,)) for v in variables], -1)
    numbers = 6 * torch.randn(n, len(numeric(variables)), dtype=torch.float64)
    whole = torch.tensor([variables[i].number.whole for i in numeric(variables)])
    numbers = torch.where(whole, numbers.round(), numbers)
    return torch.cat([codes.double(), torch.where(codes[:, numeric(variables)] == 0, numbers, 0)], -1)


def numeric(variables) -> list[int]:
    """The variables that have numbers."""
    return [i for i, v in enumerate(variables) if v.number is not None]


def _scaled(z, number: Number):
    knots, scores = np.array(number.knots), np.array(number.scores)
    below = knots[0] + (z - scores[0]) * (knots[1] - knots[0]) / (scores[1] - scores[0])
    above = knots[-1] + (z - scores[-1]) * (knots[-1] - knots[-2]) / (scores[-1] - scores[-2])
    return np.where(z < scores[0], below, np.where(z > scores[-1], above, np.interp(z, scores, knots)))
