"""Likelihoods of item sets: every model of Table 2 trained and scored as a law of unordered sets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from experiments.bounds import bounds, draw_log_ratios, log_prob, tightness
from experiments.config import Table
from experiments.render import markdown, mean_and_spread
from experiments.results import mean_and_error
from experiments.training import parameter_count, train, untrained
from tessflow.datasets import ItemSets, load_sets
from tessflow.dequantization import BinaryArgmaxDequantizer, SharedDequantizer, SimplexDequantizer, VoronoiDequantizer
from tessflow.flows import ExclusiveField, equivariant_flow
from tessflow.models import KDPP, IndependentItems, MatchedSets, SetFlow
from tessflow.randomness import seeded
from tessflow.training import evaluate

__all__ = ["Budget", "Method", "build", "entropy_floor", "load", "run", "table"]

# Table 2 of the paper: nats of ordered rows for the flows, of sets of all sizes for the DPP.
_PAPER = {"Voronoi": (9.44, 7.81), "simplex": (24.16, 19.19), "binary argmax": (10.47, 6.72), "DPP": (20.35, 15.78)}


class Method(BaseModel):
    """A model of sets of items.

    Args:
        model: What it is: a continuous flow over a dequantizer; items drawn one after another over Voronoi cells, in
            random orders; a determinantal process; or items that are independent but for being distinct.
        dequantizer: The dequantizer of a flow.
        field: The vector field of a flow: with a trace in closed form, or a transformer.
        reads: Whether a field with a trace in closed form reads the cells of items.
        dim: The dimension of an item's space, where it can be chosen.
        rank: The rank of the kernel of a determinantal process.
        learning_rate: The highest learning rate.
        weight_decay: Of a model that is no flow.
        base: The base of a flow: latent classes that share their Gaussians, or N(0, I).
        components: The number of Gaussians.
        steps: Training steps of a flow, where a step takes several times that of the others.
        scored_rows: Most rows that are scored, of a model that is slow to score.
        samples: Importance samples a row, of such a model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Literal["flow", "matched", "dpp", "independent"]
    dequantizer: Literal["voronoi", "simplex", "binary-argmax"] | None = None
    field: Literal["exclusive", "attention"] = "exclusive"
    dim: int = Field(default=6, ge=1)
    rank: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    reads: bool = False
    base: Literal["mixture", "gaussian"] = "mixture"
    components: int = Field(default=128, ge=1)
    steps: int | None = Field(default=None, ge=1)
    scored_rows: int | None = Field(default=None, ge=10)
    samples: int | None = Field(default=None, ge=10, multiple_of=10)

    @model_validator(mode="after")
    def _check_dequantizer(self) -> Method:
        if (self.model == "flow") != (self.dequantizer is not None):
            raise ValueError("a flow, and no other model, needs a dequantizer")
        return self


class Budget(BaseModel):
    """What every model of a data set may use.

    Args:
        steps: Training steps of a flow, after as many without its vector field (`SetFlow.initialize`).
        exact_steps: Training steps of the other models, many of which take the time of one of a flow's.
        batch_size: Rows in a step of a flow.
        exact_batch_size: Rows in a step of the other models.
        hidden_features: Widths of the networks of the matched model.
        dropout: Its dropout.
        width: Width of a flow's vector field.
        ema_decay: Decay of the average of the weights.
        evaluate_every: Steps between two evaluations on validation rows, of a flow.
        validation_rows: Most validation rows.
        samples: Importance samples a row.
        subset_rows: Test rows on which ten times as many samples show how tight the bound is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1)
    exact_steps: int = Field(ge=1)
    batch_size: int = Field(default=128, ge=1)
    exact_batch_size: int = Field(default=512, ge=1)
    hidden_features: tuple[int, ...] = (128,)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    width: int = Field(default=64, ge=1)
    ema_decay: float = Field(default=0.995, ge=0, lt=1)
    evaluate_every: int = Field(default=50, ge=1)
    validation_rows: int = Field(default=1000, ge=10)
    samples: int = Field(default=100, ge=10, multiple_of=10)
    subset_rows: int = Field(default=100, ge=2)


def load(data: str) -> ItemSets:
    """Return a data set: a made one, or one of `tessflow.datasets.load_sets`, split by rows or by baskets."""
    if data == "made":
        return _made()
    name, _, split = data.partition("-")
    return load_sets(name, split="baskets" if split == "baskets" else "rows")


def _made(rows: int = 4000, seed: int = 0) -> ItemSets:
    """Three items of one of three kinds of four: twelve sets, all as likely."""
    random = np.random.default_rng(seed)
    codes = random.permuted(np.tile(np.arange(4), (rows, 1)), axis=1)[:, :3] + 4 * random.integers(3, size=(rows, 1))
    train_rows, validation, test = np.split(codes, [int(0.8 * rows), int(0.9 * rows)])
    return ItemSets("made", train_rows, validation, test, items=tuple(map(str, range(12))), source="drawn with seed 0")


def build(method: Method, budget: Budget, items: int, size: int) -> Any:
    """Build a model of sets of `size` out of `items` items."""
    if method.model == "independent":
        return IndependentItems(items, size)
    if method.model == "dpp":
        return KDPP(items, size, rank=method.rank)
    if method.model == "matched":
        return MatchedSets(items, size, dim=method.dim, hidden_features=budget.hidden_features, dropout=budget.dropout)
    kinds: dict[str | None, Any] = {
        "voronoi": lambda **options: VoronoiDequantizer((items,), method.dim, **options),
        "simplex": lambda **options: SimplexDequantizer((items,), **options),
        "binary-argmax": lambda **options: BinaryArgmaxDequantizer((items,), **options),
    }
    dequantizer = SharedDequantizer(kinds[method.dequantizer](noise="gaussian", hidden_features=(64,)), size)
    field: Any = method.field
    if method.reads:
        field = ExclusiveField(dequantizer.dim, width=budget.width, cells=dequantizer.each)  # type: ignore[arg-type]
    flow = equivariant_flow(
        size,
        dequantizer.dim,
        field=field,
        width=budget.width,
        base=method.base,
        components=method.components,
    )
    return SetFlow(flow, dequantizer)


def run(data: str, method: Method, budget: Budget, *, seed: int, directory: Path, device: str) -> dict[str, Any]:
    """Train a model on the training rows, choose its weights on validation rows, score test rows once.

    Args:
        data: Name of a data set, as `load` takes it.
        method: The model.
        budget: What it may use.
        seed: Seed of the first weights, the order of the rows and all noise.
        directory: Where the checkpoint and the weights go.
        device: "cpu" or "cuda".

    Returns:
        The measured values, of unordered sets. `bounds` has the test value by the number of importance samples,
        `subset` the same on its rows with up to ten times as many, `estimated_trace` with a stochastic trace in place
        of the exact one, where there is a choice; `without_field` is the test value without the vector field; `repeats`
        is the share of the model's draws in which an item comes twice; `floor_nats` is the entropy, or the least that
        it can be: see `entropy_floor`.
    """
    loaded = load(data)
    train_rows, validation, test = map(torch.from_numpy, (loaded.train, loaded.validation, loaded.test))
    seen = _seen(train_rows, test)
    validation, test = validation[: budget.validation_rows][: method.scored_rows], test[: method.scored_rows]
    torch.manual_seed(seed)
    model = build(method, budget, len(loaded.items), train_rows.shape[1])
    flow = method.model == "flow"
    steps = method.steps or budget.steps
    model.initialize(train_rows, **({"steps": steps} if flow else {}))
    trained = untrained()
    if method.model != "independent":
        trained = train(
            model,
            train_rows,
            validation,
            directory=directory,
            device=device,
            max_steps=steps if flow else budget.exact_steps,
            batch_size=budget.batch_size if flow else budget.exact_batch_size,
            learning_rate=method.learning_rate,
            weight_decay=0.0 if flow else method.weight_decay,
            ema_decay=budget.ema_decay,
            evaluate_every=budget.evaluate_every,
            seed=seed,
        )
    return {
        "source": loaded.source,
        "rows": [len(train_rows), len(validation), len(test)],
        "items": len(loaded.items),
        "parameters": parameter_count(model),
        **trained,
        **_score(model, train_rows, validation, test, method.samples, budget, seed),
        "seen_in_training": seen,
        "floor_nats": _entropy(data, seen, len(train_rows)),
    }


def _score(
    model: Any, train_rows: Tensor, validation: Tensor, test: Tensor, samples: int | None, budget: Budget, seed: int
) -> dict[str, Any]:
    device = next(parameter.device for parameter in model.parameters())
    model.eval()
    lower_bound = isinstance(model, SetFlow)
    objective = None if lower_bound else log_prob
    with seeded(seed):
        scored: dict[str, Any] = {
            "kind": "lower bound" if lower_bound else "exact",
            "train": mean_and_error(-evaluate(model, train_rows[: len(validation)], objective=objective)),
            "validation": mean_and_error(-evaluate(model, validation, objective=objective)),
        }
        if not lower_bound:
            return scored | {"test": mean_and_error(-evaluate(model, test, objective=objective))}
        samples = samples or budget.samples
        ratios = draw_log_ratios(model, test.to(device), samples)
        subset = test[: budget.subset_rows].to(device)
        more = draw_log_ratios(model, subset, 10 * samples)
        scored["without_field"] = -bounds(draw_log_ratios(_WithoutField(model), test, samples), samples).mean().item()
        if not model.flow.transform.field.closed_form:
            scored["estimated_trace"] = _with_estimated_trace(model, subset, 10 * samples)
        drawn = model.sample(1000, distinct=False).sort(-1).values
    repeats = (drawn[:, 1:] == drawn[:, :-1]).any(-1).double().mean().item()
    test_nats = mean_and_error(-bounds(ratios, samples))
    return scored | {"test": test_nats, "bounds": tightness(ratios), "subset": tightness(more), "repeats": repeats}


class _WithoutField:
    """A flow on sets whose vector field is 0: what its base and its dequantizer know."""

    def __init__(self, model: SetFlow) -> None:
        self.model = SetFlow(cast(Any, model.flow.base), cast(SharedDequantizer, model.dequantizer))

    def elbo(self, y: Tensor) -> Tensor:
        return self.model.elbo(y)


def _with_estimated_trace(model: Any, rows: Tensor, samples: int) -> dict[str, float]:
    """Return what bounds become if each sample has Hutchinson's estimate of the trace: they are bounds no more."""
    model.flow.transform.train()
    ratios = draw_log_ratios(model, rows, samples)
    model.eval()
    return tightness(ratios)


def _seen(train_rows: Tensor, test: Tensor) -> float:
    """Return the share of test sets that are also a training row."""
    known = {tuple(row) for row in train_rows.sort(-1).values.tolist()}
    return sum(tuple(row) in known for row in test.sort(-1).values.tolist()) / len(test)


def _entropy(data: str, seen: float, draws: int) -> float | None:
    if data == "made":
        return math.log(12)
    return entropy_floor(seen, draws) if seen > 0 else None


def entropy_floor(seen: float, draws: int) -> float:
    r"""Return the least entropy, in nats, of a law of which a new draw is among ``draws`` earlier ones so seldom.

    A draw y is new with probability :math:`u = (1 - p(y))^n`, so that :math:`\log p(y) = \log(1 - u^{1/n})`. Among all
    laws with a mean of u of ``1 - seen`` the entropy is least if all draws have one u, or some have it and the others
    are certain: u = 0 at no cost.

    Args:
        seen: The share of new draws that were seen before, in (0, 1].
        draws: The number n of earlier draws.

    Example:
        >>> round(entropy_floor(1 - (1 - 1 / 1000) ** 50, 50), 3)  # 1,000 values, all as likely: ln 1000
        6.908
    """
    new = 1 - seen
    u = np.linspace(max(new, 1e-9), 1, 10_001)[:-1]
    cost = -np.log(-np.expm1(np.log(u) / draws))
    return float((new / u * cost).min())


def table(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """Render the likelihoods, what the rows are, how tight the bounds are, and the budgets."""
    return "\n".join(part(config, results) for part in (_likelihoods, _rows, _bounds, _budgets))


def _likelihoods(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    rows = [
        [method, *(_likelihood(results.get((data, method), [])) for data in config.data)]
        for method in config.methods
        if any((data, method) in results for data in config.data)
    ]
    found = {data: runs[0] for (data, _), runs in results.items()}
    rows.append(["*floor of the entropy*", *(_floor(found.get(data, {})) for data in config.data)])
    for name, values in _PAPER.items():
        published = dict(zip(("retail", "accidents"), values, strict=True))
        rows.append([f"*paper, {name}*", *(f"{published[d]:.2f}" if d in published else "-" for d in config.data)])
    return markdown(("test nats a set", *config.data), rows)


def _floor(run: dict[str, Any]) -> str:
    floor = run.get("floor_nats")
    return "-" if floor is None else f"{floor:.2f}"


def _likelihood(runs: list[dict[str, Any]]) -> str:
    if not runs:
        return "-"
    mean = mean_and_spread([run["test"]["nats"] for run in runs])
    return mean if len(runs) > 1 else f"{mean} ({runs[0]['test']['standard_error']:.3f})"


def _rows(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    lines = []
    for data in config.data:
        runs = [run for (name, _), some in results.items() if name == data for run in some]
        if runs:
            run = max(runs, key=lambda run: run["rows"][2])
            counts = " / ".join(f"{count:,}" for count in run["rows"])
            lines.append(
                f"- {data}: {run['items']} items, {counts} rows, {run['seen_in_training']:.1%} of the test sets among "
                f"the training rows; {run['source']}\n"
            )
    return "".join(lines)


def _bounds(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    counts = ("1", "10", "100", "1000")
    rows = []
    for (data, method), (run, *_) in results.items():
        for name, found in ((method, run.get("subset")), (f"*{method}, estimated trace*", run.get("estimated_trace"))):
            if found is not None:
                repeats, without = f"{run['repeats']:.1%}", run.get("without_field")
                rest = (repeats, "-" if without is None else f"{without:.3f}") if name == method else ("-", "-")
                rows.append((data, name, *(f"{found[n]:.3f}" if n in found else "-" for n in counts), *rest))
    header = ("data", "method", "1 sample", "10 samples", "100 samples", "1,000 samples", "draws with a repeated item")
    return (
        "Bounds by the number of samples, on the first test rows; and, on all test rows, the value without the vector "
        "field, of the base and the dequantizer alone:\n\n" + markdown((*header, "no field"), rows, left=2)
    )


def _budgets(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    rows = []
    for (data, method), runs in results.items():
        run = runs[0]
        seconds = mean_and_spread([run["seconds"] for run in runs], digits=0)
        one_sample = run["bounds"]["1"] if "bounds" in run else run["test"]["nats"]
        nats = (f"{value:.3f}" for value in (run["train"]["nats"], run["validation"]["nats"], one_sample))
        counts = (f"{run[name]:,}" for name in ("parameters", "steps", "best_step"))
        rows.append((data, method, *counts, f"{run['milliseconds_per_step']:.0f}", seconds, *nats))
    header = ("data", "method", "parameters", "steps", "best step", "ms a step", "seconds")
    return "Nats of a bound with one sample, as in training, so that the three compare:\n\n" + markdown(
        (*header, "train", "validation", "test"), rows, left=2
    )
