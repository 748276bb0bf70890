"""Whether the likelihoods of a fitted model can be trusted: sums, calibration, copies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from tessflow.estimators.conditional import Conditional
from tessflow.estimators.copies import LEVEL, CopyCheck, compare_copies
from tessflow.estimators.tabular import TabularFlow
from tessflow.models import MatchedFlow
from tessflow.training.evaluation import seeded

__all__ = ["CheckResult", "ClassCheck", "ColumnCheck", "NumberCheck", "SumCheck", "check"]

BINS = 10
# Sums are over at most so many classes, and over the numbers in the middles of so many intervals of equal probability.
MOST_CLASSES, STRATA = 50, 32
# They are of at most so many rows: fewer, if more likelihoods than this would be needed.
SUMMED_ROWS, SCORED = 200, 50_000
# With fewer rows a mean has no z-test.
FEW = 30
# Sums of exact probabilities differ from 1 by rounding.
ROUNDING = 1e-3
BARS = "▁▂▃▄▅▆▇█"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class SumCheck(_Record):
    """What the probabilities of all values of a column sum to, each row's given the rest of the row; 1 is right.

    Args:
        rows: Rows it was taken of.
        mean: Mean over rows.
        low: Their 5% quantile.
        high: Their 95% quantile.
        gap: Mean logarithm, in nats: what the order of the columns changes in the mean log-likelihood.
        limit: Its limit: half the 99% confidence interval of the mean log-likelihood of these rows.
    """

    rows: int
    mean: float
    low: float
    high: float
    gap: float
    limit: float


class ClassCheck(_Record):
    """Probabilities of the classes of a column: for a numeric one "a number", its atoms, and "missing".

    Args:
        classes: Number of classes.
        error: Expected calibration error: the mean difference of probability and frequency, over 10 bins of
            probability, of all classes one against the rest.
        error_limit: What it exceeds with a probability of 1%, shared among all tests, if the probabilities are right.
        log_loss: Mean negative log-probability of the classes that came, in nats.
        frequency_log_loss: That by the frequencies of the classes among the other rows checked.
    """

    classes: int
    error: float
    error_limit: float
    log_loss: float
    frequency_log_loss: float


class NumberCheck(_Record):
    """Probability integral transforms of a column's numbers: uniform between 0 and 1 if its distributions are right.

    Args:
        numbers: How many rows hold a number.
        shares: Their share in each of 10 bins from 0 to 1.
        distance: Kolmogorov-Smirnov distance to the uniform distribution.
        distance_limit: What it exceeds with a probability of at most 1%, shared among all tests, if they are right.
    """

    numbers: int
    shares: tuple[float, ...]
    distance: float
    distance_limit: float


class ColumnCheck(_Record):
    """What was measured of one column; ``skipped`` says why something was not."""

    name: str | int
    kind: str
    sums: SumCheck | None = None
    classes: ClassCheck | None = None
    numbers: NumberCheck | None = None
    skipped: tuple[str, ...] = ()


class CheckResult(_Record):
    """What :func:`check` measured; ``str`` gives it as text, ``model_dump_json`` as JSON.

    Args:
        rows: Rows checked.
        table_rows: Rows of the table they were drawn from.
        seed: Seed of the draw.
        given: What conditionals are given: "the other columns" or "the columns before it".
        lower_bound: Whether log-likelihoods are lower bounds.
        columns: By column.
        copies: How near samples come to the training rows, if those were given.
        warnings: What speaks against the model, one sentence each.
    """

    rows: int
    table_rows: int
    seed: int
    given: Literal["the other columns", "the columns before it"]
    lower_bound: bool
    columns: tuple[ColumnCheck, ...]
    copies: CopyCheck | None = None
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return the text, of lines of at most 100 characters but for warnings and reasons, which are one line each."""
        return [line for part in (self._head, self._sums, self._classes, self._numbers, self._rest) for line in part()]

    def _head(self) -> Iterator[str]:
        kind = "lower bounds" if self.lower_bound else "exact"
        yield f"{self.rows:,} of {self.table_rows:,} rows, drawn with seed {self.seed}; log-likelihoods are {kind}."

    def _sums(self) -> Iterator[str]:
        rows = [(column.name, column.sums) for column in self.columns if column.sums]
        if rows:
            counts = sorted({sums.rows for _, sums in rows})
            yield from ("", f"Sums of the probabilities of a column's values, given the rest of the row ({counts[0]} rows).")
            yield "1 is right. Elsewhere, the likelihood of a row depends on the order of the columns."
            yield f"{'column':24} {'mean':>8} {'5%':>8} {'95%':>8}"
            for name, sums in rows:
                yield f"{_short(name)} {sums.mean:8.3f} {sums.low:8.3f} {sums.high:8.3f}"

    def _classes(self) -> Iterator[str]:
        rows = [(column.name, column.classes) for column in self.columns if column.classes]
        if rows:
            yield from ("", f"Probabilities of classes, given {self.given}.")
            yield "Error: mean difference of probability and frequency; up to the limit it can be chance."
            yield "Log-loss: of the model, and of the column's frequencies alone, in nats; less is better."
            yield f"{'column':24} {'classes':>8} {'error':>8} {'limit':>8} {'log-loss':>9} {'frequencies':>12}"
            for name, c in rows:
                figures = f"{c.error:8.4f} {c.error_limit:8.4f} {c.log_loss:9.3f} {c.frequency_log_loss:12.3f}"
                yield f"{_short(name)} {c.classes:8} {figures}"

    def _numbers(self) -> Iterator[str]:
        rows = [(column.name, column.numbers) for column in self.columns if column.numbers]
        if rows:
            yield from ("", f"Where numbers fall in their distributions, given {self.given}: evenly, if these are right.")
            yield "A hump: distributions too wide; a valley: too narrow; a slope: shifted."
            yield "Distance: Kolmogorov-Smirnov, to even bars; up to the limit it can be chance."
            yield f"{'column':24} {'numbers':>8}  {'0% to 100%':10} {'distance':>9} {'limit':>8}"
            for name, n in rows:
                bars = "".join(BARS[min(7, int(4 * share * BINS))] for share in n.shares)
                yield f"{_short(name)} {n.numbers:8}  {bars} {n.distance:9.4f} {n.distance_limit:8.4f}"

    def _rest(self) -> Iterator[str]:
        c = self.copies
        if c is not None:
            part = "" if c.compared == c.train_rows else f" {c.compared:,} at random of"
            yield from ("", f"Nearness to{part} {c.train_rows:,} training rows.")
            yield f"{'':24} {'equal to one':>14} {'median distance':>16}"
            yield f"{f'{c.rows:,} sampled rows':24} {c.sample_copies:14.1%} {c.sample_distance:16.4f}"
            yield f"{f'{c.rows:,} held-out rows':24} {c.table_copies:14.1%} {c.table_distance:16.4f}"
        reasons = [f"  {_short(column.name).strip()}: {why}" for column in self.columns for why in column.skipped]
        if reasons:
            yield from ("", "Not checked:", *reasons)
        yield ""
        if self.warnings:
            yield from ("Warnings:", *(f"  {warning}" for warning in self.warnings))
        else:
            yield "No warnings."


def check(
    model: TabularFlow, table: Any, *, train: Any = None, rows: int = 1000, seed: int = 0
) -> CheckResult:
    """Measure whether the likelihoods of a fitted model can be trusted, on rows it was not fitted to.

    * Sums: the probabilities of all values of a column, given the rest of the row, by the natural order of the columns
      and by an order that leaves the column out. Over numbers the sum is an integral, in 32 steps.
    * Calibration of each column's conditional: reliability and log-loss of classes (Bröcker & Smith, 2007, whose
      resampling gives the limit), probability integral transforms of numbers (limit: Massart, 1990). Without
      ``order="any"`` it is given the columns before it. Missing values are a class of their own.
    * Copies: how near samples and held-out rows come to training rows (:func:`~tessflow.estimators.copies.compare_copies`).

    A model that is right gets a warning of its calibration with a probability of about 1%, all columns together.

    Args:
        model: The model.
        table: Rows with the columns of the training data, which the model has not seen.
        train: The table the model was fitted to; without it copies are not looked for.
        rows: Most rows of ``table`` to check.
        seed: Of the rows drawn, and of all else that is random.

    Raises:
        ValueError: If ``rows`` is less than 1, a table is empty, or holds what was not seen in training.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"coat": ["yes", "no"] * 50, "season": ["winter", "summer"] * 50})
        >>> flow = TabularFlow(max_steps=200, hidden_features=(32,), random_state=0).fit(table)
        >>> result = check(flow, table)
        >>> round(result.columns[1].sums.mean, 3), result.warnings
        (1.0, ())
    """
    check_is_fitted(model)
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}.")
    encoded = model.schema_.encode(table)
    if not len(encoded):
        raise ValueError("the table has no rows to check: give at least one.")
    draw = torch.randperm(len(encoded), generator=torch.Generator().manual_seed(seed))[:rows]
    columns: tuple[ColumnCheck, ...]
    if isinstance(model.model_, MatchedFlow):
        columns, warnings = _Columns(model, model.model_, encoded[draw], seed).all()
    else:
        reason = "backbone='coupling' has no conditionals of columns"
        columns = tuple(ColumnCheck(name=c.name, kind=c.kind, skipped=(reason,)) for c in model.schema_.columns)
        warnings = ()
    copies = None
    if train is not None:
        known = model.schema_.encode(train)
        if not len(known):
            raise ValueError("the training table has no rows.")
        drawn = model.schema_.encode(model.sample(len(draw), random_state=seed))
        copies, more = compare_copies(drawn, encoded[draw], known, model.schema_.variables, seed=seed)
        warnings = (*warnings, *more)
    return CheckResult(
        rows=len(draw),
        table_rows=len(encoded),
        seed=seed,
        given="the other columns" if getattr(model.model_, "any_order", False) else "the columns before it",
        lower_bound=model.lower_bound_,
        columns=columns,
        copies=copies,
        warnings=warnings,
    )


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
        tests = sum(2 * (v.classes > 1) + (v.number is not None) for v in model.variables)
        self.tests = max(1, tests)
        values = sum(self._values(n) for n in range(self.width) if not self._why_no_sums(n))
        self.summed = rows[: min(SUMMED_ROWS, max(FEW, SCORED // max(1, values)))]
        self.log_likelihood = None if model.lower_bound else self._scores(self.summed, range(self.width))

    def all(self) -> tuple[tuple[ColumnCheck, ...], tuple[str, ...]]:
        columns, warnings = [], []
        known = torch.ones(len(self.rows), self.width, dtype=torch.bool)
        for n, column in enumerate(self.flow.schema_.columns):
            with seeded(self.seed, self.model.bias.device):
                conditional = Conditional(self.model, self.flow.schema_, self.rows, known, n, self.flow._chunk())
            found = [self._sums(n, conditional), self._classes(n, conditional), self._numbers(n, conditional)]
            measured = dict(zip(("sums", "classes", "numbers"), (part.value for part in found), strict=True))
            skipped = tuple(part.skipped for part in found if part.skipped)
            columns.append(ColumnCheck(name=column.name, kind=column.kind, skipped=skipped, **measured))
            warnings += [f"column {column.name!r}: {part.warning}" for part in found if part.warning]
        return tuple(columns), tuple(warnings)

    def _sums(self, n: int, conditional: Conditional) -> _Measured:
        if reason := self._why_no_sums(n):
            return _Measured(skipped=f"sums: {reason}")
        rest = [other for other in range(self.width) if other != n]
        variants, log_weights = self._variants(n, conditional)
        log_joint = self._scores(variants.flatten(0, 1), range(self.width)).reshape(log_weights.shape)
        log_sums = np.logaddexp.reduce(log_joint + log_weights, axis=0) - self._scores(self.summed, rest)
        rows, sums = len(log_sums), np.exp(log_sums)
        error = np.inf if rows < FEW else np.std(self.log_likelihood, ddof=1) / math.sqrt(rows)
        limit = max(ROUNDING, NormalDist().inv_cdf(1 - LEVEL / 2) * error) if self.model.any_order else ROUNDING
        low, high = np.quantile(sums, [0.05, 0.95])
        gap = float(log_sums.mean())
        value = SumCheck(rows=rows, mean=sums.mean(), low=low, high=high, gap=gap, limit=limit)
        warning = (
            f"the probabilities of its values, given the rest of the row, sum to {math.exp(gap):.3f} on (geometric) "
            f"average rather than 1: the order of the columns changes the mean log-likelihood by {abs(gap):.3g} nats, "
            f"more than its sampling error, {limit:.3g}."
        )
        return _Measured(value, warning=warning if abs(gap) > limit else "")

    def _why_no_sums(self, n: int) -> str:
        """Return why probabilities cannot be summed over the values of column ``n``; "" if they can."""
        if self.model.lower_bound:
            return "log-likelihoods are lower bounds"
        if self.model.variables[n].classes > MOST_CLASSES:
            return f"it has {self.model.variables[n].classes} classes, more than {MOST_CLASSES}"
        if not self.model.any_order:
            if n != self.model.order[-1]:
                return "a model of one order has no likelihood of the rest of a row, but for its last column"
            if n in self.parts.numeric:
                return "it holds numbers, and comes last in the model's one order"
        return ""

    def _values(self, n: int) -> int:
        return self.model.variables[n].classes + 2 * STRATA * (n in self.parts.numeric)

    def _variants(self, n: int, conditional: Conditional) -> tuple[Tensor, NDArray[np.float64]]:
        """Return rows with other values in column ``n``, ``(values, B, ...)``; and logarithms of their weights.

        Numbers are at the middles of intervals that are equally probable in the column's conditional: the weight of
        one is that probability over its density.
        """
        is_numeric = n in self.parts.numeric
        codes = range(is_numeric, self.model.variables[n].classes)
        variants = self.summed.repeat(len(codes) + STRATA * is_numeric, 1, 1)
        variants[: len(codes), :, n] = torch.tensor(codes, dtype=variants.dtype)[:, None]
        log_weights = np.zeros(variants.shape[:2])
        if is_numeric:
            block = conditional._block[: len(self.summed)]
            levels = (np.arange(STRATA) + 0.5) / STRATA
            numbers = torch.stack([self.parts.quantile(n, block, level) for level in levels])
            place = self.width + self.parts.numeric.index(n)
            variants[: len(codes), :, place] = 0
            variants[len(codes) :, :, n] = 0
            variants[len(codes) :, :, place] = numbers
            rest = [other for other in range(self.width) if other != n]
            log_density = self._scores(variants[len(codes) :].flatten(0, 1), [n], rest).reshape(numbers.shape)
            log_number = self.parts.class_log_probs(n, block)[:, 0].double().numpy()
            log_weights[len(codes) :] = log_number - math.log(STRATA) - log_density
        return variants, log_weights

    def _scores(self, rows: Tensor, columns: Sequence[int], given: Sequence[int] = ()) -> NDArray[np.float64]:
        """Return log-likelihoods of some columns of encoded rows, given others."""
        if not columns:
            return np.zeros(len(rows))
        scores = self.flow._evaluate(rows, lambda model, part: model.log_prob_of(part, columns, given).double().sum(-1))
        return np.asarray(scores, dtype=np.float64)

    def _classes(self, n: int, conditional: Conditional) -> _Measured:
        classes = self.model.variables[n].classes
        if classes == 1:
            return _Measured(skipped="" if n in self.parts.numeric else "classes: it has one value only")
        if n in self.parts.many:
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
            found.append(f"probabilities differ from frequencies by {error:.2g} on average, which chance alone keeps to {limit:.2g}")
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
        warning = (
            f"numbers do not fall evenly in their distributions: the Kolmogorov-Smirnov distance is {distance:.3f}, "
            f"which chance alone keeps to {limit:.3f}."
        )
        value = NumberCheck(numbers=count, shares=shares, distance=distance, distance_limit=limit)
        return _Measured(value, warning=warning if distance > limit else "")


def _reliability(
    chances: NDArray[np.float64], codes: NDArray[np.int64], tests: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Return the expected calibration error of probabilities ``(B, K)``, and its critical value.

    That is the quantile of the errors of classes drawn by the probabilities themselves.
    """
    rows, classes = chances.shape
    bins = np.minimum((chances * BINS).astype(int), BINS - 1)
    # The chance that what comes had a probability in a bin.
    mass = np.stack([np.where(bins == b, chances, 0).sum(1) for b in range(BINS)], axis=1)
    below = (mass / mass.sum(1, keepdims=True)).cumsum(1)[:, :-1]

    def error(came: NDArray[np.int64]) -> float:
        return float(np.abs(np.bincount(came, minlength=BINS) - mass.sum(0)).sum()) / (rows * classes)

    draws = min(max(1000, 100 * tests), 5000)
    by_chance = [error((generator.random((rows, 1)) > below).sum(1)) for _ in range(draws)]
    limit = float(np.quantile(by_chance, 1 - LEVEL / tests, method="higher"))
    return error(bins[np.arange(rows), codes]), limit


def _is_above_zero(values: NDArray[np.float64], level: float) -> bool:
    """Whether a mean is above 0: a one-sided z-test, which needs some rows."""
    if len(values) < FEW:
        return False
    return bool(values.mean() > NormalDist().inv_cdf(1 - level) * values.std(ddof=1) / math.sqrt(len(values)))


def _short(name: str | int) -> str:
    text = str(name)
    return f"{text if len(text) <= 24 else text[:23] + '…':24}"
