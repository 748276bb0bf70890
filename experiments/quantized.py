"""Two variables of up to 91 values whose probabilities are known: every model's probability of every cell."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from experiments.bounds import bounds, draw_log_ratios, log_prob
from experiments.config import Table
from experiments.render import markdown, mean_and_spread
from experiments.results import is_done, mean_and_error
from experiments.training import parameter_count, train, untrained
from tessflow.datasets import quantized_entropy, quantized_independent_nats, quantized_pmf, sample_quantized
from tessflow.dequantization import VoronoiDequantizer
from tessflow.files import write_atomically
from tessflow.flows import coupling_flow
from tessflow.models import DequantizedFlow, DiscreteFlow, IndependentColumns, MatchedFlow
from tessflow.randomness import seeded
from tessflow.training import evaluate

__all__ = ["Budget", "Method", "build", "figures", "run", "table"]

# The importance samples with which bounds are shown.
_COUNTS = (1, 10, 100, 1000)


class Method(BaseModel):
    """A model of two variables.

    Args:
        model: A coupling flow over Voronoi cells; the autoregressive flow that shares its cells with the dequantizer;
            Discrete Flow; or independent columns.
        dim: The dimension of a variable's space.
        profile: How noise fills a Voronoi cell.
        box: Walls around all Voronoi cells, which stay where they are.
        learning_rate: The highest learning rate.
        ema_decay: Decay of the average of the weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Literal["voronoi", "matched", "discrete-flow", "independent"]
    dim: int = Field(default=2, ge=1)
    profile: Literal["truncated-gaussian", "softsign"] = "truncated-gaussian"
    box: tuple[float, float] | None = None
    learning_rate: float = Field(default=1e-2, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)


class Budget(BaseModel):
    """What every model of a data set may use.

    Args:
        steps: Training steps.
        batch_size: Rows in a step.
        layers: Coupling layers of a flow.
        univariate: What couplings over Voronoi cells move points by.
        hidden_features: Widths of all networks.
        train_rows: Rows to train on.
        validation_rows: Rows that choose the weights.
        evaluate_every: Steps between two evaluations on validation rows.
        samples: Importance samples of every cell.
        subset_rows: Rows on which 1,000 samples show how tight the bound is, if every cell has fewer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1)
    batch_size: int = Field(default=256, ge=1)
    layers: int = Field(default=4, ge=1)
    univariate: Literal["affine", "spline"] = "spline"
    hidden_features: tuple[int, ...] = (64, 64)
    train_rows: int = Field(default=100_000, ge=1)
    validation_rows: int = Field(default=10_000, ge=1)
    evaluate_every: int = Field(default=200, ge=1)
    samples: Literal[10, 100, 1000] = 1000
    subset_rows: int = Field(default=300, ge=1)


def build(method: Method, budget: Budget, values: int) -> Any:
    """Build a model of two variables of so many values each."""
    sizes, widths = (values, values), budget.hidden_features
    if method.model == "independent":
        return IndependentColumns(sizes)
    if method.model == "discrete-flow":
        return DiscreteFlow(sizes, layers=budget.layers, hidden_features=widths)
    if method.model == "matched":
        return MatchedFlow(sizes, dim=method.dim, hidden_features=widths)
    dequantizer = VoronoiDequantizer(sizes, method.dim, profile=method.profile, box=method.box, hidden_features=widths)
    flow = coupling_flow(
        dequantizer.features, layers=budget.layers, univariate=budget.univariate, hidden_features=widths
    )
    return DequantizedFlow(flow, dequantizer)


def run(data: str, method: Method, budget: Budget, *, seed: int, directory: Path, device: str) -> dict[str, Any]:
    """Train a model on draws from a table of probabilities, and compare its probability of every cell.

    There are no test rows: the test value is the expectation over the target, whose standard error over rows is 0. What
    importance samples leave uncertain in a bound is the standard error of `sum`.

    Args:
        data: Name of a table of `tessflow.datasets.quantized_names`, with hyphens.
        method: The model.
        budget: What it may use.
        seed: Seed of the rows, the first weights, their order and all noise.
        directory: Where the checkpoint, the weights and the probabilities (`pmf.npy`) go.
        device: "cpu" or "cuda".

    Returns:
        The measured values. `kl_nats` is the divergence of the model from the target. `sum`, the model's probabilities
        of all cells together, is 1; of a bound at most 1 but for the noise of importance sampling, whose standard error
        is beside it. `bounds` has the test value by the number of importance samples.
    """
    name = data.replace("-", "_")
    target = torch.from_numpy(quantized_pmf(name))
    train_rows, validation, others = (
        torch.from_numpy(sample_quantized(name, rows, seed=3 * seed + part))
        for part, rows in enumerate((budget.train_rows, budget.validation_rows, budget.subset_rows))
    )
    torch.manual_seed(seed)
    model = build(method, budget, len(target))
    if isinstance(model, IndependentColumns):
        model.fit(train_rows)
        trained = untrained()
    else:
        if isinstance(model, DiscreteFlow):
            model.initialize(train_rows)
        trained = train(
            model,
            train_rows,
            validation,
            directory=directory,
            device=device,
            max_steps=budget.steps,
            batch_size=budget.batch_size,
            learning_rate=method.learning_rate,
            ema_decay=method.ema_decay,
            evaluate_every=budget.evaluate_every,
            seed=seed,
        )
    with seeded(seed):
        # A bound of one sample, as in training, of a model that has no more.
        objective = None if model.lower_bound else log_prob
        parts = {
            part: mean_and_error(-evaluate(model, some, objective=objective))
            for part, some in (("train", train_rows[: len(validation)]), ("validation", validation))
        }
        pmf, scored = _score(model, target, others, budget.samples)
    array = io.BytesIO()
    np.save(array, pmf.numpy())
    write_atomically(directory / "pmf.npy", array.getvalue())
    entropy = quantized_entropy(name)
    return {
        "source": f"drawn from tessflow.datasets.quantized_pmf('{name}'), with seed {seed}",
        "rows": [len(train_rows), len(validation), 0],
        "cells": target.numel(),
        "parameters": parameter_count(model),
        **trained,
        **parts,
        **scored,
        "entropy_nats": entropy,
        "independent_nats": quantized_independent_nats(name),
        "kl_nats": scored["test"]["nats"] - entropy,
    }


def _score(model: Any, target: Tensor, rows: Tensor, samples: int) -> tuple[Tensor, dict[str, Any]]:
    """Return the model's probability of every cell, ``(K, K)`` float64, and what follows from it."""
    device = next(model.parameters()).device
    value = torch.arange(len(target), device=device)
    cells = torch.cartesian_prod(value, value)

    def expected_nats(log_p: Tensor) -> float:
        return -torch.where(target > 0, target * log_p.reshape(target.shape), 0).sum().item()

    scored: dict[str, Any] = {"kind": "lower bound" if model.lower_bound else "exact", "sum_standard_error": 0.0}
    if model.lower_bound:
        ratios = draw_log_ratios(model, cells, samples)
        log_p = bounds(ratios, samples)
        scored["sum_standard_error"] = (ratios.exp().var(0).sum() / samples).sqrt().item()
        nats = {str(count): expected_nats(bounds(ratios, count)) for count in _COUNTS if count <= samples}
        if samples < max(_COUNTS):
            # What more samples would gain, from the same draws of some rows.
            some = draw_log_ratios(model, rows.to(device), max(_COUNTS))
            gain = (bounds(some, max(_COUNTS)) - bounds(some, samples)).mean().item()
            nats[str(max(_COUNTS))] = nats[str(samples)] - gain
        scored |= {"samples": samples, "bounds": nats}
    else:
        log_p = evaluate(model, cells, objective=log_prob).double().cpu()
    pmf = log_p.exp().reshape(target.shape)
    test = {"nats": expected_nats(log_p), "standard_error": 0.0}
    return pmf, {**scored, "test": test, "sum": pmf.sum().item()}


def table(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """Render the divergences from the target, and, of every model, sums, bounds and budgets."""
    return "\n".join((_divergences(config, results), _details(results)))


def _divergences(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    rows = []
    for data in config.data:
        name = data.replace("-", "_")
        entropy = quantized_entropy(name)
        found = (results.get((data, method), []) for method in config.methods)
        divergences = [mean_and_spread([run["kl_nats"] for run in runs]) if runs else "-" for runs in found]
        rows.append((data, f"{entropy:.3f}", f"{quantized_independent_nats(name):.3f}", *divergences))
    return markdown(("data", "entropy", "independent columns", *config.methods), rows)


def _details(results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    rows = []
    for (data, method), runs in results.items():
        if method == "independent":
            continue
        run = runs[0]
        tightness = [
            f"{run['bounds'][str(count)] - run['entropy_nats']:.3f}" if "bounds" in run else "" for count in _COUNTS
        ]
        seconds = mean_and_spread([run["seconds"] for run in runs], digits=0)
        error = f" ± {run['sum_standard_error']:.3f}" if "bounds" in run else ""
        sizes = f"{run['parameters']:,}", f"{run['steps']:,}"
        rows.append((data, method, f"{run['sum']:.3f}{error}", *tightness, *sizes, seconds))
    counts = (f"{count:,} sample{'s' * (count > 1)}" for count in _COUNTS)
    return markdown(("data", "method", "sum", *counts, "parameters", "steps", "seconds"), rows, left=2)


def figures(config: Table, runs: Path, out: Path) -> list[Path]:
    """Draw a picture of each data set, from the first seed.

    Args:
        config: The table.
        runs: Where the probabilities and the weights of its runs are.
        out: Where the pictures go.

    Returns:
        Their paths. A data set none of whose models has been trained has no picture.
    """
    from experiments.quantized_figures import draw

    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for data in config.data:
        rows = [row for row in config.rows(only=[f"{data}/"], seeds=[0]) if row.method.model != "independent"]
        rows = [row for row in rows if is_done(row) and (row.path(runs) / "pmf.npy").exists()]
        if rows:
            paths.append(out / f"{config.name}-{data}.png")
            draw(data, rows, runs).savefig(paths[-1], dpi=150)
    return paths
