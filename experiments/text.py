"""Bits a character of texts: every dequantizer under the same recurrent density, and the exact models beside them."""

from __future__ import annotations

import math
from bisect import bisect
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from experiments.bounds import bounds
from experiments.config import Table
from experiments.render import markdown, mean_and_spread
from experiments.results import mean_and_error
from experiments.training import parameter_count, train
from tessflow.datasets import TextDataset, load_text
from tessflow.dequantization import (
    BinaryArgmaxDequantizer,
    ConditionalNoise,
    Dequantizer,
    IntervalDequantizer,
    OrdinalDequantizer,
    SharedDequantizer,
    VoronoiDequantizer,
)
from tessflow.flows import RecurrentBlockFlow, RecurrentFlow, RecurrentMixture, logistic_flow
from tessflow.models import CharacterModel, DequantizedFlow
from tessflow.randomness import seeded
from tessflow.training import evaluate

__all__ = ["Budget", "Method", "build", "markov_text", "run", "table"]

# Rows scored at a time.
_ROWS = 32
# Of the paper's mixtures of a coordinate.
_LOGISTICS = 27
# At first noise is as narrow as this, so that points tell at once which symbol they came from.
_LOG_NOISE = -3.0

# Table 3 of the paper: one-sample bounds of models trained on training and validation rows of the whole texts.
_PAPER = {
    "voronoi-2": (1.39, 1.46),
    "voronoi-4": (1.37, 1.41),
    "voronoi-6": (1.37, 1.40),
    "voronoi-8": (1.36, 1.39),
    "binary-argmax": (1.38, 1.42),
}
_PAPER_SETS = ("text8", "enwik8")


class Method(BaseModel):
    """A model of characters.

    Args:
        model: A recurrent mixture over the points of a dequantizer (a bound); a flow whose cells move with those of
            earlier blocks of positions (a bound); the paper's autoregressive flow, a mixture of logistics a coordinate
            (a bound); the same network as the mixture's over cells, exact ("matched"); or over plain embeddings
            ("categorical").
        dequantizer: The dequantizer of a mixture or a flow.
        block: The positions of a block.
        couplings: The coupling layers inside blocks.
        dim: The dimension of a symbol's space, where it can be chosen.
        reads: What the network of a mixture reads of earlier points; see `RecurrentMixture`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Literal["mixture", "blocks", "logistics", "matched", "categorical"]
    dequantizer: Literal["voronoi", "interval", "binary-argmax", "ordinal"] | None = None
    block: int = Field(default=4, ge=1)
    couplings: int = Field(default=2, ge=0)
    dim: int = Field(default=4, ge=1)
    reads: Literal["components", "points"] = "components"

    @model_validator(mode="after")
    def _check_dequantizer(self) -> Method:
        if (self.model in ("matched", "categorical")) != (self.dequantizer is None):
            raise ValueError("a mixture or a flow, and no other model, needs a dequantizer")
        return self


class Budget(BaseModel):
    """What every model of a text may use.

    Args:
        steps: Training steps.
        block_steps: Training steps of flows in blocks, by default as many;
        exact_steps: and of exact models. Steps of both are shorter.
        batch_size: Rows in a step.
        hidden_features: The width of the LSTM.
        layers: The number of its layers.
        embedding: The size of what it reads of a character.
        dropout: The share of what the LSTM of an exact model reads and says that is dropped in training.
        learning_rate: The highest learning rate.
        ema_decay: Decay of the average of the weights.
        evaluate_every: Steps between two evaluations on validation rows.
        validation_rows: Most validation rows.
        test_rows: Most test rows.
        samples: Importance samples of a row of the subset.
        subset_rows: Test rows on which importance weights are used.
        precision: As `TrainingConfig` takes it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1)
    block_steps: int | None = Field(default=None, ge=1)
    exact_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=8, ge=1)
    hidden_features: int = Field(default=256, ge=1)
    layers: int = Field(default=1, ge=1)
    embedding: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    learning_rate: float = Field(default=8e-3, gt=0)
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    evaluate_every: int = Field(default=200, ge=1)
    validation_rows: int = Field(default=200, ge=1)
    test_rows: int = Field(default=100_000, ge=2)
    samples: int = Field(default=50, ge=10, multiple_of=10)
    subset_rows: int = Field(default=32, ge=2)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"


def build(method: Method, budget: Budget, classes: int, length: int) -> Any:
    """Build a model of rows of ``length`` symbols."""
    network: dict[str, Any] = {
        "hidden_features": budget.hidden_features,
        "layers": budget.layers,
        "embedding": budget.embedding,
    }
    if method.model == "blocks":
        letters: Any = _dequantizer(method, classes)
        blocks = RecurrentBlockFlow(letters, length, block=method.block, couplings=method.couplings, **network)
        return DequantizedFlow(blocks, SharedDequantizer(letters, length))
    if method.model in ("matched", "categorical"):
        dim = method.dim if method.model == "matched" else None
        return CharacterModel(classes, length, dim=dim, dropout=budget.dropout, **network)
    each = _dequantizer(method, classes)
    if method.model == "logistics":
        width = budget.hidden_features
        point = logistic_flow(each.dim, context=width, components=_LOGISTICS, hidden_features=(width,))
        return DequantizedFlow(RecurrentFlow(point, each.dim, length, **network), SharedDequantizer(each, length))
    flow = RecurrentMixture(each.dim, length, components=classes, reads=method.reads, **network)
    flow.place(each(torch.arange(classes)[:, None]).sample((100,)).squeeze(-2))
    return DequantizedFlow(flow, SharedDequantizer(each, length))


def _dequantizer(method: Method, classes: int) -> Dequantizer:
    each: Dequantizer
    if method.dequantizer == "interval":
        return IntervalDequantizer((classes,), hidden_features=(64,))
    if method.dequantizer == "voronoi":
        each = VoronoiDequantizer((classes,), method.dim, noise="gaussian", hidden_features=(64,))
    elif method.dequantizer == "binary-argmax":
        each = BinaryArgmaxDequantizer((classes,), noise="gaussian", hidden_features=(64,))
    else:
        each = OrdinalDequantizer((classes,), hidden_features=(64,))
    if isinstance(each.noise, ConditionalNoise):
        torch.nn.init.constant_(each.noise.gaussian.bias[each.dim :], _LOG_NOISE)
    return each


def markov_text(characters: int = 400_000) -> tuple[TextDataset, float]:
    """Draw a text of five symbols from a Markov chain, in rows of 16.

    Returns:
        The text, and the entropy of a row in nats, below which no model's expected negative log-likelihood is.

    Example:
        >>> text, entropy = markov_text(1000)
        >>> len(text.train), text.decode(text.train[:8]), round(entropy / 16, 3)
        (900, 'cbbdbacb', 1.268)
    """
    generator, classes, length = np.random.default_rng(0), 5, 16
    transition = generator.dirichlet(np.full(classes, 0.5), classes)
    share = np.linalg.matrix_power(transition, 1000)[0]
    entropy = -(share @ np.log(share)) - (length - 1) * share @ (transition * np.log(transition)).sum(1)
    symbols = [int(generator.choice(classes, p=share))]
    walls = transition.cumsum(1)[:, :-1].tolist()
    for level in generator.random(characters - 1).tolist():
        symbols.append(bisect(walls[symbols[-1]], level))
    train_part, validation, test = np.split(
        np.array(symbols, dtype=np.uint8), [9 * characters // 10, 19 * characters // 20]
    )
    text = TextDataset(
        name="markov",
        description="A Markov chain of five symbols",
        source="simulated",
        alphabet=b"abcde",
        length=length,
        train=train_part,
        validation=validation,
        test=test,
    )
    return text, float(entropy)


def run(data: str, method: Method, budget: Budget, *, seed: int, directory: Path, device: str) -> dict[str, Any]:
    """Train a model on the training rows, choose its weights on validation rows, score test rows once.

    Args:
        data: Name of a text of `tessflow.datasets`, or "markov".
        method: The model.
        budget: What it may use.
        seed: Seed of the first weights, the order of the rows and all noise.
        directory: Where the checkpoint and the weights go.
        device: "cpu" or "cuda".

    Returns:
        The measured values. `test` is a bound with one sample where it is a bound; `subset` has bounds by the number
        of importance samples, on its rows. `bits` has the test value in bits a character, `text` a sample.
    """
    text, floor = markov_text() if data == "markov" else (load_text(data), None)
    rows, validation, test = map(torch.from_numpy, text.rows())
    validation, test = validation[: budget.validation_rows], test[: budget.test_rows]
    torch.manual_seed(seed)
    model = build(method, budget, text.classes, text.length)
    if method.model == "blocks":
        model.flow.initialize(rows)
    steps = {"blocks": budget.block_steps, "matched": budget.exact_steps, "categorical": budget.exact_steps}.get(
        method.model
    )
    trained = train(
        model,
        rows,
        validation,
        directory=directory,
        device=device,
        max_steps=steps or budget.steps,
        batch_size=budget.batch_size,
        learning_rate=budget.learning_rate,
        ema_decay=budget.ema_decay,
        evaluate_every=budget.evaluate_every,
        precision=budget.precision,
        seed=seed,
    )
    scored = _score(model, rows[: len(validation)], validation, test, budget, seed)
    with seeded(seed):
        drawn = text.decode(model.sample(2).flatten().cpu().numpy())
    return {
        "source": text.source,
        "rows": [len(rows), len(validation), len(test)],
        "length": text.length,
        "classes": text.classes,
        "parameters": parameter_count(model),
        **trained,
        **scored,
        "bits": _bits(scored["test"]["nats"], text.length),
        "floor_nats": floor,
        "text": drawn,
    }


def _score(
    model: Any, train_rows: Tensor, validation: Tensor, test: Tensor, budget: Budget, seed: int
) -> dict[str, Any]:
    parts = {"train": train_rows, "validation": validation, "test": test}
    scored: dict[str, Any] = {
        name: mean_and_error(-evaluate(model, part, batch_size=_ROWS, seed=seed)) for name, part in parts.items()
    }
    if not model.lower_bound:
        return {"kind": "exact", **scored}
    subset = test[: budget.subset_rows]
    draws = [evaluate(model, subset, batch_size=_ROWS, seed=seed + draw) for draw in range(budget.samples)]
    ratios = torch.stack(draws).double().cpu()
    weighted = {str(count): -bounds(ratios, count).mean().item() for count in (1, 10, budget.samples)}
    return {"kind": "lower bound", **scored, "subset": weighted}


def _bits(nats: float, length: int) -> float:
    return nats / length / math.log(2)


def table(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """Render bits a character, what the rows are, how tight the bounds are, the budgets, and samples."""
    parts = (
        _characters(config, results),
        _rows(config, results),
        _bounds(results),
        _budgets(results),
        _samples(results),
    )
    return "\n".join(part for part in parts if part)


def _characters(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    rows = []
    for method in config.methods:
        if not any((data, method) in results for data in config.data):
            continue
        values = [_value(results.get((data, method), [])) for data in config.data]
        published = dict(zip(_PAPER_SETS, _PAPER.get(method, ()), strict=False))
        rows.append([method, *values, *(_or_dash(published.get(name), 2) for name in _PAPER_SETS)])
    found = {data: runs[0] for (data, _), runs in results.items()}
    floors = [_floor(found.get(data, {})) for data in config.data]
    rows.append(["*floor: the entropy*", *floors, *("-" for _ in _PAPER_SETS)])
    header = ("test bits a character", *config.data, *(f"*paper, {name}*" for name in _PAPER_SETS))
    return markdown(header, rows)


def _value(runs: list[dict[str, Any]]) -> str:
    if not runs:
        return "-"
    bits = mean_and_spread([run["bits"] for run in runs])
    if len(runs) > 1:
        return bits
    return f"{bits} ({_bits(runs[0]['test']['standard_error'], runs[0]['length']):.3f})"


def _floor(run: dict[str, Any]) -> str:
    floor = run.get("floor_nats")
    return "-" if floor is None else f"{_bits(floor, run['length']):.3f}"


def _or_dash(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _rows(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    lines = []
    for data in config.data:
        runs = [run for (name, _), some in results.items() if name == data for run in some]
        if runs:
            train_rows, validation, test = (f"{count:,}" for count in runs[0]["rows"])
            lines.append(
                f"- {data}: {runs[0]['classes']} symbols in rows of {runs[0]['length']}; trained on {train_rows} "
                f"rows, weights chosen on {validation}, scored on {test}; {runs[0]['source']}\n"
            )
    return "".join(lines)


def _bounds(results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    rows = [
        (data, method, *(f"{count}: {_bits(nats, runs[0]['length']):.3f}" for count, nats in runs[0]["subset"].items()))
        for (data, method), runs in results.items()
        if "subset" in runs[0]
    ]
    if not rows:
        return ""
    header = ("data", "method", "one sample", "ten samples", "most samples")
    return "Bits a character by the number of importance samples, on the first test rows:\n\n" + markdown(
        header, rows, left=2
    )


def _budgets(results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    rows = []
    for (data, method), runs in results.items():
        run = runs[0]
        seconds = mean_and_spread([run["seconds"] for run in runs], digits=0)
        bits = (f"{_bits(run[part]['nats'], run['length']):.3f}" for part in ("train", "validation", "test"))
        counts = (f"{run[name]:,}" for name in ("parameters", "steps", "best_step"))
        rows.append((data, method, *counts, seconds, f"{run['milliseconds_per_step']:.0f}", *bits))
    names = ("parameters", "steps", "best step", "seconds", "ms a step", "train", "validation", "test")
    return "Bits a character, of a bound with one sample:\n\n" + markdown(("data", "method", *names), rows, left=2)


def _samples(results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    blocks = [
        f"{data}, {method}:\n\n```text\n{_printable(runs[0]['text'])}\n```\n"
        for (data, method), runs in results.items()
        if data != "markov"
    ]
    return "\n".join(["Samples:\n", *blocks]) if blocks else ""


def _printable(text: str) -> str:
    """One line, without what would end a block of code or not show."""
    return "".join(character if character.isprintable() and character != "`" else "·" for character in text)
