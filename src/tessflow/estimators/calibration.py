"""Whether the likelihoods of a fitted model can be trusted: sums, calibration, copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from tessflow.estimators.check_result import CheckResult, ClassCheck, ColumnCheck, NumberCheck, SumCheck
from tessflow.estimators.conditional import Conditional
from tessflow.estimators.copies import LEVEL, TRAIN_ROWS, compare_copies
from tessflow.estimators.partial import Known
from tessflow.estimators.tabular import TabularFlow
from tessflow.models import MatchedFlow
from tessflow.tables import TableSource
from tessflow.tables.schema import Unseen

__all__ = ["CheckResult", "check"]

BINS = 10
# Sums are over at most so many classes, and over the numbers in the middles of so many intervals of equal probability.
MOST_CLASSES, STRATA = 50, 32
# They are of at most so many rows; of fewer rows, and then columns, if more values than this had to be scored.
SUMMED_ROWS, SCORED = 200, 500_000
# With fewer rows a mean has no z-test.
FEW = 30
# Sums of exact probabilities differ from 1 by rounding.
ROUNDING = 1e-3


def check(
    model: TabularFlow,
    table: Any,
    *,
    train: Any = None,
    rows: int = 1000,
    seed: int = 0,
    unseen: Unseen | None = None,
) -> CheckResult:
    """Measure whether the likelihoods of a fitted model can be trusted, on rows it was not fitted to.

    * Sums: the probabilities of all values of a column, given the rest of the row: that of the whole row over that of
      the others, both as ``score_samples`` gives them, and by one order. Over numbers the sum is an integral, in 32
      steps.
    * Calibration of each column's conditional: reliability and log-loss of classes (limit by the resampling of
      Bröcker & Smith, 2007), probability integral transforms of numbers (limit: Massart, 1990). Without
      ``order="any"`` it is given the columns before it. Missing values are a class of their own. A model that knows
      less than it could can be calibrated all the same: compare log-likelihoods for that.
    * Copies: how near samples and held-out rows come to training rows
      (:func:`~tessflow.estimators.copies.compare_copies`).

    A model that is right gets a warning of its calibration with a probability of about 1%, all columns together.

    Args:
        model: The model.
        table: Rows with the columns of the training data, which the model has not seen; or a
            :class:`~tessflow.tables.TableSource`, which is read in batches.
        train: The table the model was fitted to, or its source; without it copies are not looked for.
        rows: Most rows of ``table`` to check.
        seed: Of the rows drawn, and of all else that is random.
        unseen: What is done with values that were not seen in training: the estimator's own, if ``None``.

    Raises:
        ValueError: If ``rows`` is less than 1, a table is empty, or holds what was not seen in training and is refused.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"coat": ["yes", "no"] * 50, "season": ["winter", "summer"] * 50})
        >>> flow = TabularFlow(max_steps=200, hidden_features=(32,), random_state=0).fit(table)
        >>> result = check(flow, table)
        >>> round(result.columns[1].sums.mean, 2), result.warnings
        (1.0, ())
    """
    check_is_fitted(model)
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}.")
    checked, table_rows = _chosen(model, table, rows, seed, model._of_unseen(unseen))
    if not table_rows:
        raise ValueError("the table has no rows to check: give at least one.")
    model._warn_of_unseen(checked, range(len(model.schema_.columns)))
    # What is wrong with them is refused now, not after minutes of work.
    known, train_rows = (None, 0) if train is None else _chosen(model, train, TRAIN_ROWS, seed)
    if known is not None and not train_rows:
        raise ValueError("the training table has no rows.")
    columns: tuple[ColumnCheck, ...]
    if model.has_conditionals_:
        columns, warnings = _Columns(model, model.model_, checked, seed).all()
    else:
        option = "backbone='coupling'" if model.options_.backbone == "coupling" else "condition_on='point'"
        reason = f"{option} has no conditionals of columns"
        columns = tuple(ColumnCheck(name=c.name, kind=c.kind, skipped=(reason,)) for c in model.schema_.columns)
        warnings = ()
    copies = None
    if known is not None:
        drawn = model.schema_.encode(model.sample(len(checked), random_state=seed))
        copies, more = compare_copies(drawn, checked, known, model.schema_.variables, train_rows=train_rows)
        warnings = (*warnings, *more)
    return CheckResult(
        rows=len(checked),
        table_rows=table_rows,
        seed=seed,
        given="the other columns" if getattr(model.model_, "has_every_conditional", False) else "the columns before it",
        lower_bound=model.lower_bound_,
        columns=columns,
        copies=copies,
        warnings=warnings,
    )


def _chosen(model: TabularFlow, table: Any, most: int, seed: int, unseen: Unseen = "other") -> tuple[Tensor, int]:
    """Encode a table's rows, as many as are looked at, chosen at random; and return how many it has."""
    encode = partial(model.schema_.encode, unseen=unseen)
    encoded = None if isinstance(table, TableSource) else encode(table)
    count = table.count_rows() if encoded is None else len(encoded)
    places = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most]
    if encoded is not None:
        return encoded[places], count
    return table.rows_at(places.numpy(), encode, model.schema_)[1], count


class _Measured(NamedTuple):
    """Something measured, or the reason why not; and a warning."""

    value: Any = None
    skipped: str = ""
    warning: str = ""


class _Columns:
    """The checks of the columns of an autoregressive model, on encoded rows."""

    def __init__(self, flow: TabularFlow, model: MatchedFlow, rows: Tensor, seed: int) -> None:
        self.flow, self.model, self.rows, self.seed = flow, model, rows, seed
        self.width, self.parts = len(model.variables), model.conditionals
        # A level is shared among all tests of calibration (Bonferroni).
        self.tests = max(1, sum(2 * (v.classes > 1) + (v.number is not None) for v in model.variables))
        self.known = torch.ones(len(rows), self.width, dtype=torch.bool)
        self.every = 1
        values = sum(self._values(n) for n in range(self.width) if not self._why_no_sums(n))
        affordable = SCORED // max(1, values * self.width * len(model.orders_after()))
        self.summed = rows[: min(SUMMED_ROWS, max(FEW, affordable))]
        self.every = math.ceil(FEW / max(1, affordable))
        self.limit = self._limit()

    def all(self) -> tuple[tuple[ColumnCheck, ...], tuple[str, ...]]:
        columns, warnings = [], []
        for n, column in enumerate(self.flow.schema_.columns):
            known = Known(self.rows, self.known)
            conditional = Conditional(self.model, self.flow.schema_, known, n, self.flow._chunk())
            found = [self._sums(n), self._classes(n, conditional), self._numbers(n, conditional)]
            measured = dict(zip(("sums", "classes", "numbers"), (part.value for part in found), strict=True))
            skipped = tuple(part.skipped for part in found if part.skipped)
            columns.append(ColumnCheck(name=column.name, kind=column.kind, skipped=skipped, **measured))
            warnings += [f"column {column.name!r}: {part.warning}" for part in found if part.warning]
        return tuple(columns), tuple(warnings)

    def _sums(self, n: int) -> _Measured:
        if reason := self._why_no_sums(n):
            return _Measured(skipped=f"sums: {reason}")
        rest = [other for other in range(self.width) if other != n]
        variants, log_weights = self._variants(n)

        def log_sums(orders: int) -> NDArray[np.float64]:
            log_joint = self._scores(variants.flatten(0, 1), range(self.width), orders).reshape(log_weights.shape)
            return np.logaddexp.reduce(log_joint + log_weights, axis=0) - self._scores(self.summed, rest, orders)

        found = log_sums(self.model.orders)
        sums, gap = np.exp(np.minimum(found, 700)), float(found.mean())
        low, high = np.quantile(sums, [0.05, 0.95])
        gap_of_one = float(log_sums(1).mean()) if self.model.orders > 1 else gap
        value = SumCheck(
            rows=len(sums), mean=sums.mean(), low=low, high=high, gap=gap, gap_of_one_order=gap_of_one, limit=self.limit
        )
        if self.limit is None or abs(gap) <= self.limit:
            return _Measured(value)
        warning = (
            f"the probabilities of its values, given the rest of the row, sum to {value.mean:.3g} on average rather "
            f"than 1: the order of the columns changes the mean log-likelihood by {abs(gap):.2g} nats, more than its "
            f"sampling error, {self.limit:.2g}."
        )
        return _Measured(value, warning=warning)

    def _limit(self) -> float | None:
        """Return how much the mean log-likelihood may change with the order: as much as with other rows."""
        if not self.model.has_every_conditional:
            return ROUNDING
        rows = len(self.summed)
        if self.model.lower_bound or rows < FEW:
            return None
        error = float(self._scores(self.summed, range(self.width)).std(ddof=1)) / math.sqrt(rows)
        return max(ROUNDING, NormalDist().inv_cdf(1 - LEVEL / 2) * error)

    def _why_no_sums(self, n: int) -> str:
        """Return why probabilities cannot be summed over the values of column ``n``; "" if they can."""
        if self.model.lower_bound:
            return "log-likelihoods are lower bounds"
        if self.model.variables[n].classes > MOST_CLASSES:
            return f"it has {self.model.variables[n].classes} classes, more than {MOST_CLASSES}"
        if not self.model.has_every_conditional:
            if n != self.model.order[-1]:
                return "a model of one order has no likelihood of the rest of a row, but for its last column"
            if n in self.parts.numeric:
                return "it holds numbers, and comes last in the model's one order"
        elif n % self.every:
            return f"in a table this wide, they are taken of 1 column in {self.every}"
        return ""

    def _values(self, n: int) -> int:
        return self.model.variables[n].classes + 2 * STRATA * (n in self.parts.numeric)

    def _variants(self, n: int) -> tuple[Tensor, NDArray[np.float64]]:
        """Return rows with other values in column ``n``, ``(values, B, ...)``; and logarithms of their weights.

        Numbers are at the middles of intervals in which the smooth part of the column's conditional is as large.
        """
        is_numeric = n in self.parts.numeric
        codes = range(is_numeric, self.model.variables[n].classes)
        variants = self.summed.repeat(len(codes) + STRATA * is_numeric, 1, 1)
        variants[: len(codes), :, n] = torch.tensor(codes, dtype=variants.dtype)[:, None]
        log_weights = np.zeros(variants.shape[:2])
        if is_numeric:
            law = self.model.conditional(
                self.summed, n, self.known[: len(self.summed)] if self.model.has_every_conditional else None
            )
            numbers, log_weights[len(codes) :] = law.strata(STRATA)
            place = self.width + self.parts.numeric.index(n)
            variants[: len(codes), :, place] = 0
            variants[len(codes) :, :, n] = 0
            variants[len(codes) :, :, place] = numbers
        return variants, log_weights

    def _scores(self, rows: Tensor, columns: Sequence[int], orders: int | None = None) -> NDArray[np.float64]:
        """Return log-likelihoods of some columns of encoded rows."""
        if not columns:
            return np.zeros(len(rows))
        scores = self.flow._evaluate(rows, lambda model, part: model.log_joint(part, columns, orders=orders))
        return np.asarray(scores, dtype=np.float64)

    def _classes(self, n: int, conditional: Conditional) -> _Measured:
        classes = self.model.variables[n].classes
        if classes == 1:
            return _Measured(skipped="" if n in self.parts.numeric else "classes: it has one value only")
        if n in self.parts.uncelled:
            return _Measured(skipped=f"classes: it has {classes} of them, too many for each to have a probability")
        chances = conditional.probabilities().to_numpy()
        codes = self.rows[:, n].long().numpy()
        error, limit = _reliability(chances, codes, self.tests, np.random.default_rng(self.seed))
        loss = -np.log(np.maximum(chances[np.arange(len(codes)), codes], np.finfo(float).tiny))
        # Frequencies among the other rows, each class counted once more: none is 0.
        frequency_loss = -np.log(np.bincount(codes, minlength=classes)[codes] / (len(codes) - 1 + classes))
        value = ClassCheck(
            classes=classes,
            error=error,
            error_limit=limit,
            log_loss=loss.mean(),
            frequency_log_loss=frequency_loss.mean(),
        )
        found = []
        if error > limit:
            found.append(
                f"probabilities differ from frequencies by {error:.2g} on average, which chance alone keeps to "
                f"{limit:.2g}"
            )
        if _is_above_zero(loss - frequency_loss, LEVEL / self.tests):
            found.append(
                f"a log-loss of {loss.mean():.3f} nats is worse than that of the column's frequencies alone, "
                f"{frequency_loss.mean():.3f}"
            )
        return _Measured(value, warning="; ".join(found) + "." if found else "")

    def _numbers(self, n: int, conditional: Conditional) -> _Measured:
        if n not in self.parts.numeric:
            return _Measured()
        pit = conditional.pit(seed=self.seed)
        pit = np.sort(pit[~np.isnan(pit)]).clip(0, 1)
        count = len(pit)
        if not count:
            return _Measured(skipped="numbers: none among the rows")
        steps = np.arange(count + 1) / count
        distance = float(max((steps[1:] - pit).max(), (pit - steps[:-1]).max()))
        limit = math.sqrt(math.log(2 * self.tests / LEVEL) / (2 * count))
        shares = tuple((np.histogram(pit, BINS, (0, 1))[0] / count).tolist())
        value = NumberCheck(numbers=count, shares=shares, distance=distance, distance_limit=limit)
        warning = (
            f"numbers do not fall evenly in their distributions: the Kolmogorov-Smirnov distance is {distance:.3f}, "
            f"which chance alone keeps to {limit:.3f}."
        )
        return _Measured(value, warning=warning if distance > limit else "")


def _reliability(
    chances: NDArray[np.float64], codes: NDArray[np.int64], tests: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Return the expected calibration error of probabilities ``(B, K)``, and its critical value.

    Each class has bins of its own (Kull et al., 2019). The critical value is the quantile of the errors of classes
    drawn by the probabilities themselves.
    """
    rows, classes = chances.shape
    number = np.minimum((chances * BINS).astype(int), BINS - 1) + BINS * np.arange(classes)
    # Bins that no probability is in have none of the error.
    used, place = np.unique(number, return_inverse=True)
    bins = place.reshape(rows, classes)
    expected = np.bincount(bins.ravel(), chances.ravel(), len(used))

    def error(observed: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(np.abs(observed - expected).sum(-1) / (rows * classes))

    draws = min(max(1000, 100 * tests), 5000)
    below = chances.cumsum(1)[:, :-1]
    observed = np.zeros((draws, len(used)), np.int64)
    every = np.arange(draws)
    for row, places in zip(below, bins, strict=True):
        # One place for each draw: none is counted twice at once.
        observed[every, places[row.searchsorted(generator.random(draws))]] += 1
    limit = float(np.quantile(error(observed), 1 - LEVEL / tests, method="higher"))
    return float(error(np.bincount(bins[np.arange(rows), codes], minlength=len(used)))), limit


def _is_above_zero(values: NDArray[np.float64], level: float) -> bool:
    """Whether a mean is above 0: a one-sided z-test, which needs some rows."""
    if len(values) < FEW:
        return False
    return bool(values.mean() > NormalDist().inv_cdf(1 - level) * values.std(ddof=1) / math.sqrt(len(values)))
