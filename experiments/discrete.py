"""Likelihoods of discrete tables: every model of Table 1 trained and scored under one budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from experiments.bounds import bounds, draw_log_ratios, log_prob, tightness
from experiments.config import Table
from experiments.reference import AutoregressiveReference
from experiments.render import markdown, mean_and_spread
from experiments.results import mean_and_error
from experiments.training import parameter_count, train, untrained
from tessflow import datasets
from tessflow.dequantization import (
    ArgmaxDequantizer,
    BinaryArgmaxDequantizer,
    ConditionalNoise,
    Dequantizer,
    IntervalDequantizer,
    OrdinalDequantizer,
    SimplexDequantizer,
    VoronoiDequantizer,
)
from tessflow.flows import BlockFlow, NetworkName, cell_flow, coupling_flow
from tessflow.flows.bases import Gumbel
from tessflow.flows.blocks import dealt
from tessflow.models import DequantizedFlow, DiscreteFlow, IndependentColumns, MatchedFlow
from tessflow.models.orders import average_over
from tessflow.randomness import seeded
from tessflow.training import evaluate

__all__ = ["Budget", "Method", "build", "encode", "run", "table"]

# So many blocks are as many as there are columns.
_ALL = 100

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
        model: What it is: a coupling flow over the cells of a dequantizer that reads them, or the paper's, which
            does not; a flow over cells in blocks; the autoregressive flow that shares its cells with the dequantizer,
            seeing earlier variables' cells (exact) or points (a bound), or any others' cells, averaged over orders; the
            same in blocks, each a mixture of products; Discrete Flow; or one of two references, an autoregressive
            network over one-hot values and independent columns.
        dequantizer: The dequantizer of a flow over cells.
        blocks: The number of blocks, of a flow or of mixtures of products; 100 for as many as there are columns.
        products: The number of products of a block.
        couplings: Its coupling layers inside blocks.
        orders: Among how many orders of the columns validation rows choose: the natural one, and random ones.
        network: The networks of a coupling flow that reads cells.
        hidden_features: Their widths, or those of the networks of an any-order model, if not the budget's.
        dim: The dimension of a variable's space, where it can be chosen.
        profile: How noise fills a Voronoi cell.
        box: Walls around all Voronoi cells.
        learn_box: Whether the walls are learned.
        noise: The density that a dequantizer pushes into a cell, given all values: a Gaussian, or the paper's
            flow, a Gaussian and four coupling layers.
        identity: Whether the layers of Discrete Flow start as the identity.
        learning_rate: The highest learning rate.
        ema_decay: Decay of the average of the weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Literal[
        "cells",
        "coupling",
        "block",
        "matched",
        "matched-points",
        "any-order",
        "products",
        "discrete-flow",
        "autoregressive",
        "independent",
    ]
    dequantizer: (
        Literal["voronoi", "interval", "simplex", "argmax", "binary-argmax", "ordinal", "ordinal-uniform"] | None
    ) = None
    blocks: int = Field(default=1, ge=1)
    products: int = Field(default=1, ge=1)
    couplings: int = Field(default=4, ge=0)
    orders: int = Field(default=1, ge=1)
    dim: int = Field(default=4, ge=1)
    profile: Literal["truncated-gaussian", "softsign"] = "truncated-gaussian"
    box: tuple[float, float] | None = None
    learn_box: bool = False
    noise: Literal["gaussian", "conditional"] = "gaussian"
    identity: bool = False
    network: NetworkName = "residual"
    hidden_features: tuple[int, ...] | None = None
    learning_rate: float = Field(default=2e-3, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_dequantizer(self) -> Method:
        if (self.model in ("cells", "coupling", "block")) != (self.dequantizer is not None):
            raise ValueError("a flow over cells, and no other model, needs a dequantizer")
        return self


class Budget(BaseModel):
    """What every model of a data set may use.

    Args:
        steps: Training steps of flows with a dequantizer and of Discrete Flow.
        block_steps: Training steps of flows in blocks; by default as many.
        exact_steps: Training steps of autoregressive models, several of which take the time of one of the others.
        learning_rate: The highest learning rate of coupling flows that read cells, if it is not the method's.
        batch_size: Rows in a step.
        layers: Coupling layers of a flow.
        components: Gaussians of the mixture that is its base.
        sharpness: In which its networks see the walls of cells.
        hidden_features: Widths of the networks of flows and dequantizers.
        exact_hidden_features: Widths of the network of an autoregressive model.
        dropout: Dropout of the networks of autoregressive models and of flows in blocks.
        evaluate_every: Steps between two evaluations on validation rows.
        validation_rows: Most validation rows.
        test_rows: Most test rows.
        samples: Importance samples a row.
        subset_rows: Test rows on which ten times as many samples show how tight the bound is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1)
    block_steps: int | None = Field(default=None, ge=1)
    exact_steps: int = Field(ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
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


def build(method: Method, budget: Budget, cardinalities: tuple[int, ...], order: list[int] | None = None) -> Any:
    """Build a model of rows whose columns have these numbers of classes, which may come in another order."""
    natural = order or list(range(len(cardinalities)))
    blocks = min(method.blocks, len(natural))
    if method.model == "block":
        dequantizer = _dequantizer(method, budget, cardinalities)
        in_blocks: Any = BlockFlow(
            dequantizer,  # type: ignore[arg-type]
            blocks=blocks,
            couplings=method.couplings,
            order=dealt(natural, blocks),
            hidden_features=budget.exact_hidden_features,
            coupling_features=budget.hidden_features,
            dropout=budget.dropout,
        )
        return DequantizedFlow(in_blocks, dequantizer)
    if method.model == "cells":
        dequantizer = _dequantizer(method, budget, cardinalities)
        widths = method.hidden_features or budget.hidden_features
        flow = cell_flow(dequantizer, layers=budget.layers, network=method.network, hidden_features=widths)
        return DequantizedFlow(flow, dequantizer)
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
        return DiscreteFlow(
            cardinalities, layers=budget.layers, hidden_features=budget.hidden_features, identity=method.identity
        )
    if method.model == "autoregressive":
        return AutoregressiveReference(cardinalities, budget.exact_hidden_features, budget.dropout)
    if method.model == "independent":
        return IndependentColumns(cardinalities)
    if method.model == "any-order":
        return MatchedFlow(
            cardinalities,
            dim=method.dim,
            hidden_features=method.hidden_features or budget.hidden_features,
            dropout=budget.dropout,
            order="any",
            orders=average_over(len(cardinalities)),
        )
    return MatchedFlow(
        cardinalities,
        dim=method.dim,
        hidden_features=budget.exact_hidden_features,
        dropout=budget.dropout,
        order=dealt(natural, blocks) if method.model == "products" else natural,
        blocks=blocks if method.model == "products" else None,
        components=method.products,
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
    if method.dequantizer == "interval":
        return IntervalDequantizer(cardinalities, hidden_features=widths)
    if method.dequantizer == "argmax" and method.model == "block":
        features = len(cardinalities) * max(cardinalities)
        gumbel = ConditionalNoise(cardinalities, features, layers=0, hidden_features=widths, base=Gumbel)
        return ArgmaxDequantizer(cardinalities, noise=gumbel)
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
    cardinalities, (train_rows, validation, test) = encode(loaded)
    validation, test = validation[: budget.validation_rows], test[: budget.test_rows]
    best: tuple[float, Any, dict[str, Any]] | None = None
    spent = 0.0  # on all orders
    for number, order in enumerate(_orders(len(cardinalities), method.orders, seed)):
        torch.manual_seed(seed)
        model = build(method, budget, cardinalities, order)
        place = directory if number == 0 else directory / f"order-{number}"
        trained = _train(model, method, budget, train_rows, validation, seed=seed, directory=place, device=device)
        trained |= {"order": order} if order else {}
        spent += trained["seconds"]
        nats = min((row[2] for row in trained.get("history", [])), default=0.0)
        if best is None or nats < best[0]:
            best = nats, model, trained
    assert best is not None
    _, model, trained = best
    trained["seconds"] = round(spent, 1)
    return {
        "source": loaded.source,
        "rows": [len(train_rows), len(validation), len(test)],
        "variables": len(cardinalities),
        "parameters": parameter_count(model),
        **trained,
        **_score(model, train_rows, validation, test, budget, seed),
        "floor_nats": loaded.floor,
    }


def _orders(columns: int, count: int, seed: int) -> list[list[int] | None]:
    """Return orders of columns: the natural one, which is `None`, and random ones."""
    generator = np.random.default_rng(seed)
    return [None, *(generator.permutation(columns).tolist() for _ in range(count - 1))]


def _train(
    model: Any,
    method: Method,
    budget: Budget,
    train_rows: Tensor,
    validation: Tensor,
    *,
    seed: int,
    directory: Path,
    device: str,
) -> dict[str, Any]:
    if isinstance(model, IndependentColumns):
        model.fit(train_rows)
        return untrained()
    start: Any = model.flow if isinstance(model, DequantizedFlow) else model
    if isinstance(start, (DiscreteFlow, BlockFlow)) or method.products > 1:
        start.initialize(train_rows)
    exact = method.model in ("autoregressive", "matched", "matched-points", "products")
    steps = budget.exact_steps if exact else budget.steps
    if method.model == "block":
        steps = budget.block_steps or steps
    directory.mkdir(parents=True, exist_ok=True)
    return train(
        model,
        train_rows,
        validation,
        directory=directory,
        device=device,
        max_steps=steps,
        batch_size=budget.batch_size,
        learning_rate=(budget.learning_rate if method.model == "cells" else None) or method.learning_rate,
        ema_decay=method.ema_decay,
        evaluate_every=budget.evaluate_every,
        seed=seed,
    )


def _score(
    model: Any, train_rows: Tensor, validation: Tensor, test: Tensor, budget: Budget, seed: int
) -> dict[str, Any]:
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    # Of a bound, training and validation rows have one sample, as in training.
    objective = None if model.lower_bound else log_prob
    # Not the numbers that weights started from and training drew: in many dimensions a flow knows them again.
    with seeded(int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])):
        scored: dict[str, Any] = {
            "kind": "lower bound" if model.lower_bound else "exact",
            "train": mean_and_error(-evaluate(model, train_rows[: len(validation)], objective=objective)),
            "validation": mean_and_error(-evaluate(model, validation, objective=objective)),
        }
        if not model.lower_bound:
            return scored | {"test": mean_and_error(-evaluate(model, test, objective=objective))}
        ratios = draw_log_ratios(model, test.to(device), budget.samples)
        more = draw_log_ratios(model, test[: budget.subset_rows].to(device), 10 * budget.samples)
    test_nats = mean_and_error(-bounds(ratios, budget.samples))
    return scored | {"test": test_nats, "bounds": tightness(ratios), "subset": tightness(more)}


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
    """Render the likelihoods, what the rows are, how tight the bounds are, and the budgets."""
    parts = _likelihoods(config, results), _rows(config, results), _bounds(results), _budgets(results)
    return "\n".join(part for part in parts if part)


def _likelihoods(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    measured = [method for method in config.methods if any((data, method) in results for data in config.data)]
    rows = [
        [
            method,
            _passes(Method.model_validate(config.methods[method])),
            *(_likelihood(results.get((data, method), [])) for data in config.data),
        ]
        for method in measured
    ]
    runs = {data: runs[0] for (data, _), runs in results.items()}
    rows.append(
        ["*floor: the entropy*", "", *(_or_dash(runs.get(data, {}).get("floor_nats"), 3) for data in config.data)]
    )
    for name, values in _PAPER.items():
        published = dict(zip(_PAPER_SETS, values, strict=True))
        sets = (data.removesuffix("-simulated") for data in config.data)
        rows.append([f"*paper, {name}*", "", *(_or_dash(published.get(data), 2) for data in sets)])
    return markdown(("test nats a row", "passes", *config.data), rows)


def _passes(method: Method) -> str:
    """Return how many passes of its network a sample of a row of N columns takes."""
    if method.model in ("block", "products"):
        return "N" if method.blocks >= _ALL else str(method.blocks)
    return "N" if method.model in ("matched", "matched-points", "any-order", "autoregressive") else "1"


def _or_dash(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


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
            train_rows, validation, test = (f"{count:,}" for count in runs[0]["rows"])
            lines.append(
                f"- {data}: {runs[0]['variables']} columns; trained on {train_rows} rows, weights chosen on "
                f"{validation}, scored on {test}; {runs[0]['source']}\n"
            )
    return "".join(lines)


def _bounds(results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    counts = ("1", "10", "100", "1000")
    rows = [
        (data, method, *(_or_dash(runs[0]["subset"].get(count), 3) for count in counts))
        for (data, method), runs in results.items()
        if "subset" in runs[0]
    ]
    header = ("data", "method", *(f"{int(count):,} sample{'s' * (count != '1')}" for count in counts))
    return markdown(header, rows, left=2)


def _budgets(results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    rows = []
    for (data, method), runs in results.items():
        run = runs[0]
        seconds = mean_and_spread([run["seconds"] for run in runs], digits=0)
        one_sample = run["bounds"]["1"] if "bounds" in run else run["test"]["nats"]
        nats = (f"{value:.3f}" for value in (run["train"]["nats"], run["validation"]["nats"], one_sample))
        counts = (f"{run[name]:,}" for name in ("parameters", "steps", "best_step"))
        rows.append((data, method, *counts, seconds, *nats))
    header = ("data", "method", "parameters", "steps", "best step", "seconds", "train", "validation", "test")
    return "Nats of a bound with one sample, as in training, so that the three compare:\n\n" + markdown(
        header, rows, left=2
    )
