"""Adversarial random forests (Watson et al., 2023): trees by arfpy (MIT), FORDE's density on a schema's events.

    pip install --no-deps arfpy

The forest tells rows from rows whose columns were drawn each on its own within the leaves of the forest before, until
it cannot. The density is the mean over the trees: a leaf has the share of its rows, and within a leaf no column says
anything of another. Codes have their frequencies there, the scores of numbers are normal, truncated to the leaf; both
are drawn to the marginal distribution within the leaf by as many rows as the validation rows choose.

A tree sees one number of a column: the place of a number on the schema's scale, an atom's among the others, and
further up a place for each other code, such as a missing value. Nothing is imputed.
"""

from __future__ import annotations

import math
import warnings
from operator import itemgetter
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
import torch
from events import Column
from marginals import Marginal, marginals
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Forest", "fit_forest"]

TREES = 50
LEAST_ROWS = (5, 10)
ALPHAS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
# Scores lie below it, the places of codes above.
TOP = 8.0
# A leaf's variance of scores counts beside this one, of one row.
VARIANCE = 0.01


def fit_forest(train: list[Column], validation: list[Column], *, seed: int) -> Forest:
    """Grow forests with smaller and larger leaves, and return the one that the validation rows choose."""
    alone = marginals(train, validation, seed=seed)
    fits = []
    for least in LEAST_ROWS:
        forest = Forest(alone, train, least, seed=seed)
        for alpha in ALPHAS:
            fit = forest.smoothed(alpha)
            fits.append((float(fit.log_prob(validation).mean()), fit))
    return max(fits, key=itemgetter(0))[1]


class _Leaf(NamedTuple):
    """What the leaves hold of a column; all have the shape (leaves,), counts and codes (leaves, codes)."""

    counts: Tensor
    allowed: Tensor
    low: Tensor
    high: Tensor
    mean: Tensor
    deviation: Tensor


class Forest:
    """The leaves of all trees, and of each column what they hold."""

    def __init__(self, alone: list[Marginal], train: list[Column], least: int, *, seed: int) -> None:
        self.alone, self.alpha = alone, 1.0
        self.columns = [_positions(marginal, column) for marginal, column in zip(alone, train, strict=True)]
        rows = self._rows(train)
        self.forest = _grown(rows, least, seed)
        boxes = [_boxes(tree.tree_, rows.shape[1]) for tree in self.forest.estimators_]
        starts = np.cumsum([0, *(len(leaves) for leaves, *_ in boxes)])
        self.index = [
            dict(zip(leaves.tolist(), range(start, start + len(leaves)), strict=True))
            for (leaves, *_), start in zip(boxes, starts[:-1], strict=True)
        ]
        low, high = (torch.from_numpy(np.concatenate([box[side] for box in boxes])) for side in (1, 2))
        places = self._leaves(rows)
        self.shares = torch.bincount(places.ravel(), minlength=len(low)).double() / len(rows)
        self.leaves = [
            _held(marginal, column, at, places, low[:, place], high[:, place])
            for place, (marginal, column, at) in enumerate(zip(alone, train, self.columns, strict=True))
        ]
        self.chosen: dict[str, Any] = {"least_rows": least, "trees": TREES, "leaves": len(low)}

    def smoothed(self, alpha: float) -> Forest:
        """Return the same forest with another number of marginal rows beside those of a leaf."""
        other = object.__new__(Forest)
        other.__dict__ = self.__dict__ | {"alpha": alpha, "chosen": self.chosen | {"alpha": alpha}}
        return other

    def log_prob(self, columns: list[Column]) -> Tensor:
        """Return the log-likelihood of rows, ``(rows,)``."""
        places = self._leaves(self._rows(columns))
        total = self.shares.log()[places] - math.log(places.shape[1])
        for marginal, column, leaf in zip(self.alone, columns, self.leaves, strict=True):
            total += self._log_column(marginal, column, leaf, places)
        return total.logsumexp(1)

    def _log_column(self, marginal: Marginal, column: Column, leaf: _Leaf, places: Tensor) -> Tensor:
        """Return log-probabilities of a column in the leaves that rows are in, ``(rows, trees)``."""
        prior = leaf.allowed * marginal.weights
        numbers = marginal.numbers
        if numbers is not None:
            log_mass = numbers.log_mass(leaf.low, leaf.high)
            prior[:, 0] *= log_mass.exp()
        prior = prior / prior.sum(1, keepdim=True)
        weights = (leaf.counts + self.alpha * prior) / (leaf.counts.sum(1, keepdim=True) + self.alpha)
        log_prob = weights.clamp_min(1e-300).log()[places, column.codes[:, None]]
        if numbers is None:
            return log_prob
        is_number = column.codes == 0
        x, there = column.numbers[is_number], places[is_number]
        normal = numbers.normal_log_prob(x[:, None], leaf.mean[there], leaf.deviation[there])
        normal = normal - numbers.normal_log_mass(leaf.low, leaf.high, leaf.mean, leaf.deviation)[there]
        wide = numbers.log_prob(x)[:, None] - log_mass[there]
        if numbers.whole:
            normal, wide = normal.clamp_max(0.0), wide.clamp_max(0.0)
        rows = leaf.counts[:, 0][there]
        own = (rows / (rows + self.alpha * prior[:, 0][there])).clamp(0, 1 - 1e-12)
        log_prob[is_number] += torch.logaddexp(own.log() + normal, torch.log1p(-own) + wide)
        return log_prob

    def _rows(self, columns: list[Column]) -> NDArray[np.float64]:
        pairs = zip(self.columns, self.alone, columns, strict=True)
        return np.stack([_seen(at, marginal, column).numpy() for at, marginal, column in pairs], axis=1)

    def _leaves(self, rows: NDArray[np.float64]) -> Tensor:
        """Return the leaf of each row in each tree, ``(rows, trees)``."""
        nodes = self.forest.apply(rows.astype("float32"))
        return torch.tensor(
            [[self.index[tree][node] for tree, node in enumerate(row)] for row in nodes.tolist()], dtype=torch.int64
        )


def _positions(marginal: Marginal, column: Column) -> Tensor:
    """Return where the codes of a column lie; that of code 0 of a number is not used."""
    places = torch.arange(column.variable.classes, dtype=torch.float64)
    if marginal.numbers is not None:
        places += TOP + 2
        number = column.variable.number
        assert number is not None
        atoms = torch.tensor(number.atoms, dtype=torch.float64)
        places[1 : 1 + len(atoms)] = marginal.numbers.scores(atoms).clamp(-TOP, TOP)
    return places


def _seen(positions: Tensor, marginal: Marginal, column: Column) -> Tensor:
    """Return what trees see of a column."""
    seen = positions[column.codes]
    if marginal.numbers is not None:
        is_number = column.codes == 0
        seen[is_number] = marginal.numbers.scores(column.numbers[is_number]).clamp(-TOP, TOP)
    return seen.float().double()


def _grown(rows: NDArray[np.float64], least: int, seed: int) -> Any:
    """Return the forest of arfpy, a RandomForestClassifier with its small leaves cut off."""
    from arfpy.arf import arf  # type: ignore[import-not-found, import-untyped, unused-ignore]

    names = [f"c{place}" for place in range(rows.shape[1])]
    np.random.seed(seed)  # it draws from pandas' own generator
    with warnings.catch_warnings(), mock.patch.object(np, "in1d", np.isin, create=True):  # gone from NumPy 2.4
        warnings.simplefilter("ignore")
        forest = arf(
            pd.DataFrame(rows, columns=names), num_trees=TREES, min_node_size=least, verbose=False, random_state=seed
        ).clf
    del forest.feature_names_in_  # rows come as arrays from here on
    return forest


def _boxes(tree: Any, width: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the leaves of a tree, and the boxes (low, high] that they are."""
    low, high = np.full((tree.node_count, width), -np.inf), np.full((tree.node_count, width), np.inf)
    leaves, stack = [], [0]
    while stack:
        node = stack.pop()
        left, right = tree.children_left[node], tree.children_right[node]
        if left < 0:
            leaves.append(node)
            continue
        for child in {left, right}:
            low[child], high[child] = low[node], high[node]
        if left != right:  # else one of the two was cut off
            feature, threshold = tree.feature[node], tree.threshold[node]
            high[left, feature] = min(high[left, feature], threshold)
            low[right, feature] = max(low[right, feature], threshold)
        stack += {left, right}
    found = np.array(leaves)
    return found, low[found], high[found]


def _held(marginal: Marginal, column: Column, at: Tensor, places: Tensor, low: Tensor, high: Tensor) -> _Leaf:
    """Count the codes in leaves, and take the means and deviations of scores."""
    leaves, codes, trees = len(low), len(at), places.shape[1]
    cells = places * codes + column.codes[:, None]
    counts = torch.bincount(cells.ravel(), minlength=leaves * codes).double().reshape(leaves, codes)
    seen = at.float().double()
    allowed = ((low[:, None] < seen) & (seen <= high[:, None])).double()
    mean, deviation = torch.zeros(leaves, dtype=torch.float64), torch.ones(leaves, dtype=torch.float64)
    numbers = marginal.numbers
    if numbers is not None:
        is_number = column.codes == 0
        scores = numbers.scores(column.numbers[is_number])[:, None].expand(-1, trees).ravel()
        there = places[is_number].ravel()
        rows = counts[:, 0].clamp_min(1)
        mean = torch.bincount(there, scores, minlength=leaves) / rows
        squares = torch.bincount(there, (scores - mean[there]) ** 2, minlength=leaves)
        deviation = ((squares + VARIANCE) / (rows + 1)).sqrt()
        allowed[:, 0] = (low < TOP).double()
        low = numbers.bounds(low.where(low < TOP, -math.inf))  # where no number is allowed, any bounds do
        high = numbers.bounds(high.where((high < TOP) & (allowed[:, 0] > 0), math.inf))
    return _Leaf(counts, allowed, low, high, mean, deviation)
