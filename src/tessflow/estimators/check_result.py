"""What was measured of a fitted model, and its text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tessflow.estimators.copies import CopyCheck

__all__ = ["CheckResult", "ClassCheck", "ColumnCheck", "NumberCheck", "SumCheck"]

_BARS = "▁▂▃▄▅▆▇█"
# Names of columns for which one reason is given.
_NAMED = 10


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
        gap_of_one_order: The same of likelihoods by one order, instead of the mean over several.
        limit: Its limit: half the 99% confidence interval of the mean log-likelihood of these rows, or rounding if the
            model has one order; None for fewer than 30 rows.
    """

    rows: int
    mean: float
    low: float
    high: float
    gap: float
    gap_of_one_order: float
    limit: float | None


class ClassCheck(_Record):
    """Probabilities of the classes of a column: for a numeric one "a number", its atoms, and "missing".

    Args:
        classes: Number of classes.
        error: Expected calibration error: the mean difference of probability and frequency, each class against the
            rest in 10 bins of its probability.
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

    def __repr__(self) -> str:
        warnings = f"{len(self.warnings)} warning{'s' * (len(self.warnings) != 1)}"
        return f"CheckResult of {len(self.columns)} columns on {self.rows:,} rows: {warnings}; print it for the figures"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return the text, of lines of at most 100 characters."""
        parts = (self._head, self._sums, self._classes, self._numbers, self._copies, self._skipped, self._end)
        return [line for part in parts for text in part() for line in _wrapped(text)]

    def _head(self) -> Iterator[str]:
        kind = "lower bounds" if self.lower_bound else "exact"
        yield f"{self.rows:,} of {self.table_rows:,} rows, drawn with seed {self.seed}; log-likelihoods are {kind}."

    def _sums(self) -> Iterator[str]:
        found = [(_short(column.name), column.sums) for column in self.columns if column.sums]
        if found:
            rows = found[0][1].rows
            yield from ("", f"Sums of the probabilities of a column's values, given the rest of the row ({rows} rows).")
            yield "1 is right. Elsewhere, the likelihood of a row depends on the order of the columns."
            yield "Gap: the mean of their logarithms, in nats; and by one order instead of a mean over several."
            yield f"{'column':24} {'mean':>8} {'5%':>8} {'95%':>8} {'gap':>8} {'one order':>10}"
            for name, s in found:
                yield f"{name} {s.mean:8.3f} {s.low:8.3f} {s.high:8.3f} {s.gap:8.3f} {s.gap_of_one_order:10.3f}"

    def _classes(self) -> Iterator[str]:
        found = [(_short(column.name), column.classes) for column in self.columns if column.classes]
        if found:
            yield from ("", f"Probabilities of classes, given {self.given}.")
            yield "Error: mean difference of probability and frequency; up to the limit it can be chance."
            yield "Log-loss: of the model, and of the column's frequencies alone, in nats; less is better."
            yield f"{'column':24} {'classes':>8} {'error':>8} {'limit':>8} {'log-loss':>9} {'frequencies':>12}"
            for name, c in found:
                losses = f"{c.log_loss:9.3f} {c.frequency_log_loss:12.3f}"
                yield f"{name} {c.classes:8} {c.error:8.4f} {c.error_limit:8.4f} {losses}"

    def _numbers(self) -> Iterator[str]:
        found = [(_short(column.name), column.numbers) for column in self.columns if column.numbers]
        if found:
            yield from ("", f"Where numbers fall in their distributions, given {self.given}.")
            yield "Evenly, if these are right. A hump: they are too wide; a valley: too narrow; a slope: shifted."
            yield "Distance: Kolmogorov-Smirnov, to even bars; up to the limit it can be chance."
            yield f"{'column':24} {'numbers':>8}  {'0% to 100%':10} {'distance':>9} {'limit':>8}"
            for name, n in found:
                bars = "".join(_BARS[min(7, int(4 * share * len(n.shares)))] for share in n.shares)
                yield f"{name} {n.numbers:8}  {bars} {n.distance:9.4f} {n.distance_limit:8.4f}"

    def _copies(self) -> Iterator[str]:
        c = self.copies
        if c is not None:
            part = "" if c.compared == c.train_rows else f" {c.compared:,} at random of"
            yield from ("", f"Nearness to{part} {c.train_rows:,} training rows.")
            yield f"{'':24} {'equal to one':>14} {'median distance':>16}"
            yield f"{f'{c.rows:,} sampled rows':24} {c.sample_copies:14.1%} {c.sample_distance:16.4f}"
            yield f"{f'{c.rows:,} held-out rows':24} {c.table_copies:14.1%} {c.table_distance:16.4f}"

    def _skipped(self) -> Iterator[str]:
        names: dict[str, list[str]] = {}
        for column in self.columns:
            for reason in column.skipped:
                names.setdefault(reason, []).append(str(column.name))
        if names:
            yield from ("", "Not checked:")
        for reason, columns in names.items():
            more = f" and {len(columns) - _NAMED} more" if len(columns) > _NAMED else ""
            yield f"  {', '.join(columns[:_NAMED])}{more}: {reason}."

    def _end(self) -> Iterator[str]:
        yield ""
        if self.warnings:
            yield from ("Warnings:", *(f"  {warning}" for warning in self.warnings))
        else:
            yield "No warnings."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 100, subsequent_indent="    ") or [""]


def _short(name: str | int) -> str:
    text = str(name)
    return f"{text if len(text) <= 24 else text[:23] + '…':24}"
