"""A Bayesian network over a table's codes and bins of its numbers, learned by greedy hill climbing (pyAgrum, LGPL).

    pip install --no-deps pyagrum pydot

Numbers fall into bins of equal frequency; within a bin they have their marginal distribution. The structure is what
single changes of arcs lead to, as long as they raise a score. The validation rows choose the score, the number of bins,
and how strongly each conditional distribution is drawn to the marginal one.
"""

from __future__ import annotations

import math
import warnings
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd
import torch
from events import Column
from marginals import Marginal, Numbers, marginals
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["BayesianNetwork", "fit_network"]

BINS = (4, 8, 16, 32, 64)
ALPHAS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
SCORES = ("BIC", "K2")
PARENTS = 4  # at most

Codes = NDArray[np.int64]


def fit_network(train: list[Column], validation: list[Column], *, seed: int) -> BayesianNetwork:
    """Learn networks by each score, with more and more bins as long as the validation rows become likelier."""
    alone = marginals(train, validation, seed=seed)
    best: list[tuple[float, BayesianNetwork]] = []
    for score in SCORES:
        highest = -math.inf
        for bins in BINS if any(marginal.numbers for marginal in alone) else (1,):
            network = BayesianNetwork(alone, train, bins, score)
            fits = [(float(fit.log_prob(validation).mean()), fit) for fit in map(network.smoothed, ALPHAS)]
            reached, fit = max(fits, key=itemgetter(0))
            if reached < highest:
                break
            highest = reached
            best.append((reached, fit))
    return max(best, key=itemgetter(0))[1]


class BayesianNetwork:
    """A network of symbols: bins of the numbers, then the codes above 0."""

    def __init__(self, alone: list[Marginal], train: list[Column], bins: int, score: str) -> None:
        columns = zip(alone, train, strict=True)
        self.symbols = [_Symbols(marginal, column, bins) for marginal, column in columns]
        rows = self._rows(train)
        self.parents = _learned(rows, score)
        self.tables = [_Table(rows[:, [*parents, child]]) for child, parents in enumerate(self.parents)]
        self.alpha = 1.0
        self.chosen: dict[str, Any] = {"bins": bins, "score": score, "arcs": sum(map(len, self.parents))}

    def smoothed(self, alpha: float) -> BayesianNetwork:
        """Return the same network with another number of marginal rows beside those of a table's row."""
        other = object.__new__(BayesianNetwork)
        other.__dict__ = self.__dict__ | {"alpha": alpha, "chosen": self.chosen | {"alpha": alpha}}
        return other

    def log_prob(self, columns: list[Column]) -> Tensor:
        """Return the log-likelihood of rows, ``(rows,)``."""
        rows = self._rows(columns)
        total = torch.zeros(len(rows), dtype=torch.float64)
        for child, (symbols, parents) in enumerate(zip(self.symbols, self.parents, strict=True)):
            both, of_parents = self.tables[child].counts(rows[:, [*parents, child]])
            prior = symbols.prior.numpy()[rows[:, child]]
            total += torch.from_numpy(np.log((both + self.alpha * prior) / (of_parents + self.alpha)))
            total += symbols.within(columns[child])
        return total

    def _rows(self, columns: list[Column]) -> Codes:
        return np.stack([symbols(column).numpy() for symbols, column in zip(self.symbols, columns, strict=True)], 1)


class _Symbols:
    """What stands for the values of a column, and the probabilities of these on their own."""

    def __init__(self, marginal: Marginal, train: Column, bins: int) -> None:
        self.numbers = marginal.numbers
        if self.numbers is None:
            self.prior = marginal.weights
            return
        self.edges = _edges(self.numbers, train.numbers[train.codes == 0], bins)
        self.log_masses = self.numbers.log_mass(self.edges[:-1], self.edges[1:])
        masses = self.log_masses.exp() / self.log_masses.exp().sum()
        self.prior = torch.cat([marginal.weights[0] * masses, marginal.weights[1:]])

    def __call__(self, column: Column) -> Tensor:
        if self.numbers is None:
            return column.codes
        places = torch.searchsorted(self.edges[1:-1].contiguous(), column.numbers.contiguous())  # in (low, high]
        return torch.where(column.codes == 0, places, column.codes + len(self.log_masses) - 1)

    def within(self, column: Column) -> Tensor:
        """Return the log-probability of numbers given their bin; 0 where there is none."""
        log_prob = torch.zeros(len(column.codes), dtype=torch.float64)
        if self.numbers is not None:
            is_number = column.codes == 0
            masses = self.log_masses[self(column)[is_number]]
            log_prob[is_number] = self.numbers.log_prob(column.numbers[is_number]) - masses
            log_prob = log_prob.clamp_max(0.0) if self.numbers.whole else log_prob
        return log_prob


class _Table:
    """How often values of the parents came, and of the parents and the child (the last column)."""

    def __init__(self, rows: Codes) -> None:
        self.both, self.parents = (dict(zip(*_counted(part), strict=True)) for part in (rows, rows[:, :-1]))

    def counts(self, rows: Codes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        both, parents = (
            np.array([table.get(key, 0) for key in _keys(part)], dtype="float64")
            for table, part in ((self.both, rows), (self.parents, rows[:, :-1]))
        )
        return both, parents


def _counted(rows: Codes) -> tuple[list[bytes], list[int]]:
    keys, counts = np.unique(np.array(_keys(rows), dtype=object), return_counts=True)
    return list(keys), list(counts)


def _keys(rows: Codes) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(rows)]


def _edges(numbers: Numbers, x: Tensor, bins: int) -> Tensor:
    """Return the bounds of bins of equal frequency, as far as there are distinct numbers."""
    ends = torch.tensor([numbers.low, numbers.high], dtype=torch.float64)
    if not len(x):
        return ends
    inner = x.quantile(torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1], interpolation="lower")
    inner = (inner + 0.5 if numbers.whole else inner).unique()
    return torch.cat([ends[:1], inner[(inner > ends[0]) & (inner < x.max()) & (inner < ends[1])], ends[1:]])


def _learned(rows: Codes, score: str) -> list[list[int]]:
    """Return the parents of each column."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its extension warns at import
        import pyagrum  # type: ignore[import-not-found, import-untyped, unused-ignore]
    seen = np.stack([np.unique(column, return_inverse=True)[1] for column in rows.T], axis=1)
    template = pyagrum.BayesNet()
    for place, last in enumerate(seen.max(axis=0)):
        template.add(pyagrum.RangeVariable(f"c{place}", "", 0, max(int(last), 1)))
    frame = pd.DataFrame(seen.astype(str), columns=[f"c{place}" for place in range(seen.shape[1])])
    learner = pyagrum.BNLearner(frame, template)
    learner.useGreedyHillClimbing()
    getattr(learner, f"useScore{score}")()
    learner.setMaxIndegree(PARENTS)
    graph = learner.learnDAG()
    return [sorted(graph.parents(place)) for place in range(seen.shape[1])]
