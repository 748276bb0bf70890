"""How log-likelihoods and training are put into words.

Like the commands, it imports torch and pandas inside functions only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tessflow.files import is_standard_output

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tessflow import MixtureFlow, TabularFlow

__all__ = ["by_column", "counted", "echo_training", "exactness", "mean_of", "nats", "say"]

SHOWN = 5


def say(text: str, out: Path | None) -> None:
    """Print a sentence: on standard output, unless that is where a command writes."""
    typer.echo(text, err=out is not None and is_standard_output(out))


def nats(value: float) -> str:
    """Write a mean log-likelihood in both units.

    Example:
        >>> nats(-2.25)
        '-2.2500 nats a row (-3.2461 bits)'
    """
    return f"{value:.4f} nats a row ({value / math.log(2):.4f} bits)"


def mean_of(scores: NDArray[Any]) -> str:
    """Write the mean of log-likelihoods, and its standard error if there is one."""
    import numpy as np

    text = nats(float(np.mean(scores)))
    if len(scores) > 1:
        text += f", standard error {np.std(scores, ddof=1) / math.sqrt(len(scores)):.4f} nats"
    return text


def exactness(model: TabularFlow | MixtureFlow, samples: int) -> str:
    """Say what the log-likelihoods of a model are."""
    return f"a lower bound from {samples} sample{'s' * (samples != 1)}" if model.lower_bound_ else "exact"


def counted(count: int, noun: str) -> str:
    """Write a count with its noun.

    Example:
        >>> counted(1, "row"), counted(1200, "row")
        ('1 row', '1,200 rows')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def by_column(counts: Mapping[Any, int]) -> str:
    """List the columns with most of what is counted, and how much of it.

    Example:
        >>> by_column({"age": 2, "sex": 0, "income": 7})
        'income 7, age 2'
    """
    found = sorted(((count, name) for name, count in counts.items() if count), key=lambda pair: -pair[0])
    rest = f", and {counted(len(found) - SHOWN, 'more column')}" if len(found) > SHOWN else ""
    return ", ".join(f"{name} {count:,}" for count, name in found[:SHOWN]) + rest


def echo_training(model: TabularFlow | MixtureFlow) -> None:
    """Print what training reached, and what it took."""
    typer.echo(f"held-out log-likelihood: {nats(model.validation_score_)}, {exactness(model, 1)}")
    if model.result_ is not None:
        typer.echo(f"training: {model.result_.summary}")
    elif len(model.history_):
        history = model.history_
        last = history.groupby("estimator").last().sum() if "estimator" in history else history.iloc[-1]
        typer.echo(f"training: {last['step']:.0f} steps in {last['seconds']:.0f} seconds")
