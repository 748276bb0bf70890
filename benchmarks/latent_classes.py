"""A mixture of products, fitted by EM: within a latent class no column says anything of another.

In a class, codes have probabilities, and the score of a number (its place on the schema's scale) is normal. All are
drawn to the marginal distribution by `ALPHA` rows. The validation rows choose the number of classes.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from events import Column
from marginals import Marginal, marginals
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

__all__ = ["LatentClasses", "fit_classes"]

CLASSES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
ALPHA = 1.0
# Of EM: most rounds, and the gain in nats a row that is worth another one.
ROUNDS, GAIN = 300, 1e-4
# A class's variance of scores counts beside so much of this one, from as many rows as ALPHA.
VARIANCE = 0.01


def fit_classes(train: list[Column], validation: list[Column], *, seed: int) -> LatentClasses:
    """Fit more and more classes, as long as the validation rows become likelier."""
    alone = marginals(train, validation, seed=seed)
    best, highest = None, -float("inf")
    for count in CLASSES:
        model = LatentClasses(alone, train, count, seed=seed)
        score = float(model.log_prob(validation).mean())
        if best is not None and score < highest:
            break
        best, highest = model, score
    assert best is not None
    return best


class LatentClasses:
    """Weights of the classes, and in each the probabilities of codes and the normal distributions of scores."""

    def __init__(self, alone: list[Marginal], train: list[Column], count: int, *, seed: int) -> None:
        self.alone, self.chosen = alone, {"classes": count}
        self.prior = torch.cat([marginal.weights for marginal in alone])
        self.widths = [len(marginal.weights) for marginal in alone]
        self.places = [place for place, marginal in enumerate(alone) if marginal.numbers]
        one_hot, known, scores, spread = self._features(train)
        self._maximise(_started(one_hot, scores, count, seed), one_hot, known, scores, spread)
        last = -float("inf")
        for _ in range(ROUNDS):
            joint = self._joint(one_hot, known, scores)
            total = joint.logsumexp(1, keepdim=True)
            if float(total.mean()) < last + GAIN:
                break
            last = float(total.mean())
            self._maximise((joint - total).exp(), one_hot, known, scores, spread)

    def log_prob(self, columns: list[Column]) -> Tensor:
        """Return the log-likelihood of rows, ``(rows,)``."""
        joint = self.log_weights.expand(len(columns[0].codes), -1).clone()
        for column, logits in zip(columns, self.log_codes.split(self.widths), strict=True):
            joint += logits[column.codes]
        for index, place in enumerate(self.places):
            column = columns[place]
            is_number = column.codes == 0
            joint[is_number] += self._log_numbers(index, column.numbers[is_number])
        return joint.logsumexp(1)

    def _log_numbers(self, index: int, x: Tensor) -> Tensor:
        """Return log-probabilities of numbers in each class, ``(rows, classes)``."""
        numbers = self.alone[self.places[index]].numbers
        assert numbers is not None
        rows, mean, deviation = self.rows[:, index], self.means[:, index], self.deviations[:, index]
        low, high = torch.full_like(mean, numbers.low), torch.full_like(mean, numbers.high)
        normal = numbers.normal_log_prob(x[:, None], mean, deviation)
        normal = normal - numbers.normal_log_mass(low, high, mean, deviation)
        normal = normal.clamp_max(0.0) if numbers.whole else normal
        share = (rows / (rows + ALPHA)).clamp(1e-12, 1 - 1e-12)
        return torch.logaddexp(share.log() + normal, (1 - share).log() + numbers.log_prob(x)[:, None])

    def _features(self, columns: list[Column]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return indicators of all codes; of numbers if they are there, their scores and the variance in a cell."""
        pairs = zip(columns, self.widths, strict=True)
        one_hot = torch.cat([torch.nn.functional.one_hot(column.codes, width) for column, width in pairs], 1).double()
        known, scores, spread = (torch.zeros(len(one_hot), len(self.places), dtype=torch.float64) for _ in range(3))
        for index, place in enumerate(self.places):
            numbers, column = self.alone[place].numbers, columns[place]
            assert numbers is not None
            is_number = column.codes == 0
            x = column.numbers[is_number]
            known[is_number, index], scores[is_number, index] = 1.0, numbers.scores(x)
            if numbers.whole:
                spread[is_number, index] = (numbers.scores(x + 0.5) - numbers.scores(x - 0.5)) ** 2 / 12
        return one_hot, known, scores, spread

    def _joint(self, one_hot: Tensor, known: Tensor, scores: Tensor) -> Tensor:
        """Return log-probabilities of rows and classes up to what all classes share, ``(rows, classes)``."""
        precision = self.deviations**-2
        normal = scores**2 @ (-precision / 2).T + scores @ (self.means * precision).T
        normal += known @ (-self.deviations.log() - self.means**2 * precision / 2).T
        return self.log_weights + one_hot @ self.log_codes + normal

    def _maximise(self, shares: Tensor, one_hot: Tensor, known: Tensor, scores: Tensor, spread: Tensor) -> None:
        sizes = shares.sum(0)
        self.log_weights = ((sizes + ALPHA) / (sizes + ALPHA).sum()).log()
        self.log_codes = ((one_hot.T @ shares + ALPHA * self.prior[:, None]) / (sizes + ALPHA)).log()
        self.rows = shares.T @ known
        self.means = shares.T @ scores / (self.rows + ALPHA)
        squares = shares.T @ (scores**2 + spread) - 2 * self.means * (shares.T @ scores) + self.rows * self.means**2
        self.deviations = ((squares + ALPHA * VARIANCE) / (self.rows + ALPHA)).sqrt()


def _started(one_hot: Tensor, scores: Tensor, count: int, seed: int) -> Tensor:
    """Return classes to begin with, by k-means."""
    rows: Any = torch.cat([one_hot, scores.clamp(-4, 4)], 1).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct rows than classes
        labels = MiniBatchKMeans(count, n_init=3, random_state=seed).fit_predict(rows)
    return torch.nn.functional.one_hot(torch.from_numpy(np.asarray(labels, dtype="int64")), count).double()
