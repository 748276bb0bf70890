"""Held-out likelihood of disjoint mixtures by profile, base, box and number of cells: the figures behind the defaults.

OMP_NUM_THREADS=1 python benchmarks/mixture_profiles.py --steps 1000

Every row of the table has the same training rows, steps and number of layers, and only its options differ. Test rows
are scored once; the loss to the true density is in nats. No number means that training gave up. The rows are no rows of
the gallery: the choice between the models is made here.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from provenance import provenance
from torch import nn

from tessflow.datasets import planar_log_density, planar_names, sample_planar
from tessflow.flows import coupling_flow
from tessflow.models import DisjointMixture, coupling_mixture
from tessflow.training import TrainingConfig, TrainingDivergedError, evaluate, fit
from tessflow.transforms import ActNorm

RESULTS = Path(__file__).parent / "results"
LAYERS = 4
WIDTHS = (64, 64)


def mixture(cells: int = 16, layers: int = LAYERS, **options: Any) -> Callable[[], nn.Module]:
    """Make a maker of mixtures."""
    return lambda: coupling_mixture(2, cells, layers=layers, hidden_features=WIDTHS, **options)


def plain(univariate: Any) -> Callable[[], nn.Module]:
    """Make a maker of flows."""
    return lambda: coupling_flow(2, layers=LAYERS, univariate=univariate, hidden_features=WIDTHS)


def nested() -> nn.Module:
    """Make four cells in each of four."""
    inner = DisjointMixture(2, 4, coupling_flow(2, context=32, layers=LAYERS, univariate="spline",
                                                hidden_features=WIDTHS), context=16)  # fmt: skip
    return DisjointMixture(2, 4, inner, before=[ActNorm(2)])


BARE = {"background": 0.0}
SOFTSIGN = {"profile": "softsign", "base": "gaussian", **BARE}
OPTIONS: dict[str, dict[str, Any]] = {
    "softsign, box (the paper's)": {**SOFTSIGN, "box": True},
    "softsign": SOFTSIGN,
    "softsign, box, Cauchy": {**SOFTSIGN, "box": True, "base": "cauchy"},
    "softsign, Cauchy": {**SOFTSIGN, "base": "cauchy"},
    "cube, box": {"profile": "cube", "box": True, **BARE},
    "cube, box, background": {"profile": "cube", "box": True},
    "truncated Gaussian": BARE,
    "truncated Gaussian, background": {},
    "truncated Gaussian, whitened": {"background": 0.0, "whiten": True},
    "truncated Gaussian, background, whitened": {"whiten": True},
}
DEFAULT = "truncated Gaussian, background"
MODELS: dict[str, Callable[[], nn.Module]] = {
    "affine flow": plain("affine"),
    "spline flow": plain("spline"),
    **{
        f"{univariate}: {name}": mixture(univariate=univariate, **options)
        for univariate in ("affine", "spline")
        for name, options in OPTIONS.items()
    },
    f"spline: {DEFAULT}; anchors move": mixture(learn_anchors=True),
    f"affine: {DEFAULT}; anchors move": mixture(learn_anchors=True, univariate="affine"),
    **{f"spline: {DEFAULT}; {cells} cells": mixture(cells) for cells in (4, 8, 32, 64)},
    f"affine: {DEFAULT}; 64 cells": mixture(64, univariate="affine"),
    f"spline: {DEFAULT}; 2 layers before, 2 in cells": mixture(layers=2, before=2),
    f"spline: {DEFAULT}; 4 cells in each of 4": nested,
}


def main() -> None:
    """Train every model on every set and write one result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["two_spirals", "checkerboard", "eight_gaussians", "pinwheel"],
                        choices=planar_names())  # fmt: skip
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS), metavar="MODEL")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="mixture_profiles", help="of the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    result = {**provenance(), "layers": LAYERS, "hidden_features": WIDTHS, "steps": arguments.steps,
              "seed": arguments.seed, "rows": rows}  # fmt: skip
    for data in arguments.sets:
        for model in arguments.models:
            row = {"set": data, "model": model, **score(data, MODELS[model], arguments.steps, arguments.seed)}
            rows.append(row)
            print(f"{data}, {model}: {row['nats_above_truth']} nats above the truth in {row['seconds']} s", flush=True)
            (RESULTS / f"{arguments.name}.json").write_text(json.dumps(result, indent=1) + "\n")


def score(data: str, make: Callable[[], nn.Module], steps: int, seed: int) -> dict[str, Any]:
    """Train one model and score it."""
    train, validation, test = (
        torch.from_numpy(sample_planar(data, n, seed=1000 + 3 * seed + part)).float()
        for part, n in enumerate((20_000, 5_000, 10_000))
    )
    torch.manual_seed(seed)
    model = make()
    config = TrainingConfig(max_steps=steps, learning_rate=3e-3, evaluate_every=100, patience=None, seed=seed)
    started = time.perf_counter()
    if isinstance(model, DisjointMixture):
        model.initialize(train)
    row: dict[str, Any] = {"test_nats": None, "nats_above_truth": None, "worst_row_nats": None}
    try:
        fit(model, train, validation, config, objective=_log_prob)
    except TrainingDivergedError:
        return {**row, "seconds": round(time.perf_counter() - started, 1)}
    seconds = time.perf_counter() - started
    log_prob = evaluate(model, test, objective=_log_prob).double()
    lost = torch.from_numpy(planar_log_density(data, test.double().numpy())) - log_prob
    row = {
        "test_nats": -log_prob.mean().item(),
        "nats_above_truth": lost.mean().item(),
        "worst_row_nats": lost.max().item(),
    }
    return {**{name: round(value, 4) for name, value in row.items()}, "seconds": round(seconds, 1)}


def _log_prob(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model().log_prob(x)


if __name__ == "__main__":
    main()
