"""Likelihoods of discrete tables: every model of Table 1 trained and scored under one budget."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from experiments.config import Table
from experiments.render import markdown, mean_and_spread
from experiments.results import mean_and_error
from tessflow import datasets
from tessflow.dequantization import (
    ArgmaxDequantizer,
    BinaryArgmaxDequantizer,
    Dequantizer,
    OrdinalDequantizer,
    SimplexDequantizer,
    VoronoiDequantizer,
)
from tessflow.flows import coupling_flow
from tessflow.models import DequantizedFlow, DiscreteFlow, IndependentColumns, MatchedFlow
from tessflow.models.networks import MaskedNetwork
from tessflow.training import TrainingConfig, evaluate, fit, save_weights
from tessflow.training.evaluation import seeded

__all__ = [
    "AutoregressiveReference",
    "Budget",
    "Method",
    "bounds",
    "build",
    "draw_log_ratios",
    "encode",
    "log_prob_of",
    "run",
    "table",
]

# Rows times importance samples in one pass.
_ROWS = 4096

# Table 1 of the paper.
_PAPER_SETS = ("connect4", "forests", "mushroom", "nursery", "pokerhands", "uscensus90")
_PAPER = {
    "Voronoi": (12.92, 14.20, 9.06, 9.27, 19.86, 24.19),
    "simplex": (13.46, 16.58, 9.26, 9.50, 19.90, 28.09),
    "binary argmax": (13.71, 16.73, 9.53, 9.49, 19.90, 27.23),
    "Discrete Flow": (19.80, 21.91, 22.06, 9.53, 19.82, 55.62),
}


class Method(BaseModel):
    """A model of a discrete table.

    Args:
        model: What it is: a coupling flow over a dequantizer; the autoregressive flow that shares its cells with the
            dequantizer, seeing earlier variables' cells (exact) or points (a bound); Discrete Flow; or one of two
            references, an autoregressive network over one-hot values and independent columns.
        dequantizer: The dequantizer of a coupling flow.
        dim: The dimension of a variable's space, where it can be chosen.
        profile: How noise fills a Voronoi cell.
        box: Walls around all Voronoi cells.
        learn_box: Whether the walls are learned.
        noise: The density that a dequantizer pushes into a cell, given all values: a Gaussian, or the paper's
            flow, a Gaussian and four coupling layers.
        learning_rate: The highest learning rate.
        ema_decay: Decay of the average of the weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Literal["coupling", "matched", "matched-points", "discrete-flow", "autoregressive", "independent"]
    dequantizer: Literal["voronoi", "simplex", "argmax", "binary-argmax", "ordinal", "ordinal-uniform"] | None = None
    dim: int = Field(default=4, ge=1)
    profile: Literal["truncated-gaussian", "softsign"] = "truncated-gaussian"
    box: tuple[float, float] | None = None
    learn_box: bool = False
    noise: Literal["gaussian", "conditional"] = "gaussian"
    learning_rate: float = Field(default=2e-3, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_dequantizer(self) -> Method:
        if (self.model == "coupling") != (self.dequantizer is not None):
            raise ValueError("a coupling flow, and no other model, needs a dequantizer")
        return self


class Budget(BaseModel):
    """What every model of a data set may use.

    Args:
        steps: Training steps of flows with a dequantizer and of Discrete Flow.
        exact_steps: Training steps of autoregressive models, several of which take the time of one of the others.
        batch_size: Rows in a step.
        layers: Coupling layers of a flow.
        components: Gaussians of the mixture that is its base.
        sharpness: In which its networks see the walls of cells.
        hidden_features: Widths of the networks of flows and dequantizers.
        exact_hidden_features: Widths of the network of an autoregressive model.
        dropout: Dropout of an autoregressive model's network.
        evaluate_every: Steps between two evaluations on validation rows.
        validation_rows: Most validation rows.
        test_rows: Most test rows.
        samples: Importance samples a row.
        subset_rows: Test rows on which ten times as many samples show how tight the bound is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1)
    exact_steps: int = Field(ge=1)
    batch_size: int = Field(default=256, ge=1)
    layers: int = Field(default=8, ge=1)
    components: int = Field(default=32, ge=1)
    sharpness: float = Field(default=4.0, ge=0)
    hidden_features: tuple[int, ...] = (256, 256)
    exact_hidden_features: tuple[int, ...] = (512, 512, 512)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    evaluate_every: int = Field(default=200, ge=1)
    validation_rows: int = Field(default=10_000, ge=1)
    test_rows: int = Field(default=100_000, ge=2)
    samples: int = Field(default=100, ge=10, multiple_of=10)
    subset_rows: int = Field(default=100, ge=2)


class AutoregressiveReference(nn.Module):
    """A masked network from the one-hot values before a variable to its logits: what needs no continuous space.

    Args:
        cardinalities: The number of classes of each variable.
        hidden_features: The widths of the network.
        dropout: The share of hidden units dropped in training.
    """

    lower_bound = False

    def __init__(self, cardinalities: tuple[int, ...], hidden_features: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.cardinalities = cardinalities
        self.network = MaskedNetwork(
            torch.arange(len(cardinalities)),
            max(cardinalities),
            cardinalities,
            hidden_features=hidden_features,
            dropout=dropout,
        )

    def elbo(self, y: Tensor) -> Tensor:
        """Return the exact log-likelihood of rows ``(B, N)``, shape ``(B,)``, nats."""
        values = nn.functional.one_hot(y, max(self.cardinalities)).to(self.network[-1].weight.dtype)
        logits = self.network(values).split(self.cardinalities, dim=-1)
        losses = [nn.functional.cross_entropy(each, y[:, n], reduction="none") for n, each in enumerate(logits)]
        return -torch.stack(losses).sum(0)

    def log_prob(self, y: Tensor) -> Tensor:
        """Return the same as `elbo`."""
        return self.elbo(y)


def build(method: Method, budget: Budget, cardinalities: tuple[int, ...]) -> Any:
    """Build a model of rows whose columns have these numbers of classes."""
    if method.model == "coupling":
        dequantizer = _dequantizer(method, budget, cardinalities)
        flow = coupling_flow(
            dequantizer.features,
            layers=budget.layers,
            hidden_features=budget.hidden_features,
            sharpness=budget.sharpness,
            base="mixture",
            components=budget.components,
        )
        return DequantizedFlow(flow, dequantizer)
    if method.model == "discrete-flow":
        return DiscreteFlow(cardinalities, layers=budget.layers, hidden_features=budget.hidden_features)
    if method.model == "autoregressive":
        return AutoregressiveReference(cardinalities, budget.exact_hidden_features, budget.dropout)
    if method.model == "independent":
        return IndependentColumns(cardinalities)
    return MatchedFlow(
        cardinalities,
        dim=method.dim,
        hidden_features=budget.exact_hidden_features,
        dropout=budget.dropout,
        condition_on="point" if method.model == "matched-points" else "cell",
        profile=method.profile,
    )


def _dequantizer(method: Method, budget: Budget, cardinalities: tuple[int, ...]) -> Dequantizer:
    widths, noise = budget.hidden_features, method.noise
    if method.dequantizer == "voronoi":
        return VoronoiDequantizer(
            cardinalities,
            method.dim,
            profile=method.profile,
            box=method.box,
            learn_box=method.learn_box,
            noise=noise,
            hidden_features=widths,
        )
    if method.dequantizer in ("ordinal", "ordinal-uniform"):
        kind: Any = "uniform" if method.dequantizer == "ordinal-uniform" else "variational"
        return OrdinalDequantizer(cardinalities, noise=kind, hidden_features=widths)
    kinds: dict[str | None, Any] = {
        "simplex": SimplexDequantizer,
        "argmax": ArgmaxDequantizer,
        "binary-argmax": BinaryArgmaxDequantizer,
    }
    return kinds[method.dequantizer](cardinalities, noise=noise, hidden_features=widths)


def run(data: str, method: Method, budget: Budget, *, seed: int, directory: Path, device: str) -> dict[str, Any]:
    """Train a model on the training rows, choose its weights on validation rows, score test rows once.

    Args:
        data: Name of a table of `tessflow.datasets`.
        method: The model.
        budget: What it may use.
        seed: Seed of the first weights, the order of the rows and all noise.
        directory: Where the checkpoint and the weights go.
        device: "cpu" or "cuda".

    Returns:
        The measured values. `bounds` has the test value by the number of importance samples, `subset` the same on its
        rows with up to ten times as many.
    """
    loaded = datasets.load(data)
    cardinalities, (train, validation, test) = encode(loaded)
    validation, test = validation[: budget.validation_rows], test[: budget.test_rows]
    torch.manual_seed(seed)
    model = build(method, budget, cardinalities)
    trained: dict[str, Any] = {"steps": 0, "best_step": 0, "seconds": 0.0, "milliseconds_per_step": 0.0}
    if isinstance(model, IndependentColumns):
        model.fit(train)
    else:
        if isinstance(model, DiscreteFlow):
            model.initialize(train)
        steps = budget.exact_steps if method.model in ("autoregressive", "matched", "matched-points") else budget.steps
        config = TrainingConfig(
            max_steps=steps,
            batch_size=budget.batch_size,
            learning_rate=method.learning_rate,
            ema_decay=method.ema_decay,
            evaluate_every=budget.evaluate_every,
            patience=None,
            seed=seed,
            accelerator="cuda" if device == "cuda" else "cpu",
        )
        result = fit(model, train, validation, config, directory=directory)
        save_weights(model, directory / "weights.safetensors")
        trained = {
            "steps": result.steps,
            "best_step": result.best_step,
            "seconds": round(result.seconds, 1),
            "milliseconds_per_step": round(1e3 * result.seconds / result.steps, 2),
            "history": [
                [row["step"], round(row["train_loss"], 4), round(-row["validation"], 4)] for row in result.history
            ],
        }
    return {
        "source": loaded.source,
        "rows": [len(train), len(validation), len(test)],
        "variables": len(cardinalities),
        "parameters": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        **trained,
        **_score(model, train, validation, test, budget, seed),
        "floor_nats": loaded.floor,
    }


def _score(model: Any, train: Tensor, validation: Tensor, test: Tensor, budget: Budget, seed: int) -> dict[str, Any]:
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    scored: dict[str, Any] = {"kind": "lower bound" if model.lower_bound else "exact"}
    train = train[: len(validation)]
    with seeded(seed, device):
        if not model.lower_bound:
            for name, rows in (("train", train), ("validation", validation), ("test", test)):
                scored[name] = mean_and_error(-evaluate(model, rows, objective=log_prob_of))
            return scored
        for name, rows in (("train", train), ("validation", validation)):
            scored[name] = mean_and_error(-evaluate(model, rows))  # a bound of one sample, as in training
        ratios = draw_log_ratios(model, test.to(device), budget.samples)
        scored["test"] = mean_and_error(-bounds(ratios, budget.samples))
        scored["bounds"] = _tightness(ratios)
        scored["subset"] = _tightness(
            draw_log_ratios(model, test[: budget.subset_rows].to(device), 10 * budget.samples)
        )
    return scored


def log_prob_of(model: Any, y: Tensor) -> Tensor:
    """Return `model.log_prob(y)`, as an objective."""
    return model.log_prob(y)


@torch.no_grad()
def draw_log_ratios(model: Any, y: Tensor, samples: int) -> Tensor:
    """Return draws of log p(x) - log q(x | y), shape ``(samples, rows)``."""
    draws = y.repeat(samples, 1).split(_ROWS)
    return torch.cat([model.elbo(rows).double() for rows in draws]).reshape(samples, len(y))


def bounds(log_ratios: Tensor, samples: int) -> Tensor:
    r"""Return the bound that averages ``samples`` ratios, :math:`\log \frac1S \sum_s p(x_s) / q(x_s | y)`, a row.

    Of more draws than that, all are used: the mean over groups has less noise and the same expectation.

    Args:
        log_ratios: Draws, shape ``(draws, rows)``; ``samples`` divides the number of draws.
        samples: The number of samples of the bound.

    Example:
        >>> bounds(torch.tensor([[0.0], [2.0]]), 1)
        tensor([1.])
    """
    groups = log_ratios.reshape(-1, samples, log_ratios.shape[-1])
    return (groups.logsumexp(1) - math.log(samples)).mean(0)


def _tightness(log_ratios: Tensor) -> dict[str, float]:
    counts = [count for count in (1, 10, 100, 1000) if len(log_ratios) % count == 0]
    return {str(count): -bounds(log_ratios, count).mean().item() for count in counts}


def encode(data: datasets.TableDataset) -> tuple[tuple[int, ...], tuple[Tensor, Tensor, Tensor]]:
    """Code the values of each column by first appearance: in training, then validation, then test rows.

    Values that no training row has are part of the model's support: their probability is small, not zero.

    Returns:
        The numbers of values, and the three parts as int64 ``(rows, N)``.
    """
    parts = (data.train, data.validation, data.test)
    columns = [pd.factorize(pd.concat([part[name] for part in parts]), use_na_sentinel=False)[0] for name in data.train]
    codes = torch.from_numpy(np.stack(columns, axis=1))
    cardinalities = tuple((codes.amax(0) + 1).tolist())
    train, validation, test = codes.split([len(part) for part in parts])
    return cardinalities, (train, validation, test)


def table(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """Render the likelihoods, how tight the bounds are, and the budgets: a column a data set."""
    return "\n".join((_likelihoods(config, results), _bounds(config, results), _budgets(config, results)))


def _likelihoods(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    rows = [
        [method, *(_likelihood(results.get((data, method), [])) for data in config.data)] for method in config.methods
    ]
    runs = {data: runs[0] for (data, _), runs in results.items()}
    rows.append(["*floor: the entropy*", *(_or_dash(runs.get(data, {}).get("floor_nats"), 3) for data in config.data)])
    for name, values in _PAPER.items():
        published = dict(zip(_PAPER_SETS, values, strict=True))
        sets = (data.removesuffix("-simulated") for data in config.data)
        rows.append([f"*paper, {name}*", *(_or_dash(published.get(data), 2) for data in sets)])
    return markdown(("test nats a row", *config.data), rows)


def _or_dash(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _likelihood(runs: list[dict[str, Any]]) -> str:
    if not runs:
        return "-"
    mean = mean_and_spread([run["test"]["nats"] for run in runs])
    return mean if len(runs) > 1 else f"{mean} ({runs[0]['test']['standard_error']:.3f})"


def _bounds(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    rows = []
    for (data, method), runs in results.items():
        if runs[0]["kind"] != "exact":
            subset = runs[0]["subset"]
            rows.append((data, method, *(f"{subset[count]:.3f}" for count in ("1", "10", "100", "1000"))))
    return markdown(("data", "method", "1 sample", "10", "100", "1,000"), rows, left=2)


def _budgets(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    rows = []
    for (data, method), runs in results.items():
        run = runs[0]
        seconds = mean_and_spread([run["seconds"] for run in runs], digits=0)
        steps = f"{run['steps']:,}", f"{run['best_step']:,}"
        rows.append(
            (
                data,
                method,
                f"{run['parameters']:,}",
                *steps,
                seconds,
                f"{run['train']['nats']:.3f}",
                f"{run['validation']['nats']:.3f}",
            )
        )
    header = ("data", "method", "parameters", "steps", "best step", "seconds", "train nats", "validation nats")
    return markdown(header, rows, left=2)
