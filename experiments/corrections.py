"""What three faults do to a likelihood, shown on models of Nursery, whose entropy is known: ln 12,960 nats."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.bounds import bounds, draw_log_ratios
from experiments.discrete import encode
from experiments.results import RESULTS
from tessflow import datasets
from tessflow.dequantization import VoronoiDequantizer
from tessflow.files import write_atomically
from tessflow.flows import coupling_flow
from tessflow.models import DequantizedFlow
from tessflow.provenance import made_with
from tessflow.randomness import seeded
from tessflow.training import TrainingConfig, fit

__all__ = ["PATH", "measure", "page"]

PATH = RESULTS / "corrections.json"

# Standard deviations of the noise in a density's estimate, in nats.
_NOISE = (0.0, 1.0, 2.0)

# The best of so many evaluations is kept; an assumed noise of one, in nats.
_CHECKS, _CHECK_NOISE = 200, 0.08


def measure(*, steps: int = 600, rows: int = 500, samples: int = 100, seed: int = 0) -> dict[str, Any]:
    """Train two coupling flows on Nursery and read their likelihoods wrongly.

    - **Noise under the logarithm.** Noise of mean 0 is added to every log-ratio, as an estimate of a log-determinant
      adds it. The mean of one-sample bounds does not move; the importance-weighted bound does.
    - **The best of many.** Of 200 readings with normal noise of mean 0, the lowest is kept: by how much it is too low.
    - **Cells of classes that do not exist.** A second model gives every variable as many cells as the widest has.

    Args:
        steps: Training steps of each model.
        rows: Test rows.
        samples: Importance samples.
        seed: Seed of weights, training and noise.

    Returns:
        The figures: nats a row.
    """
    data = datasets.load("nursery")
    cardinalities, (train, validation, test) = encode(data)
    test = test[:rows]
    models = {
        "ragged": _trained(cardinalities, train, validation, steps, seed),
        "padded": _trained((max(cardinalities),) * len(cardinalities), train, validation, steps, seed),
    }
    with seeded(seed):
        ratios = {name: draw_log_ratios(model, test, samples) for name, model in models.items()}
        plain = ratios["ragged"]
        noisy = {sd: plain + sd * torch.randn_like(plain) for sd in _NOISE}
        best = -(_CHECK_NOISE * torch.randn(1000, _CHECKS, dtype=torch.float64)).amax(1).mean().item()
        drawn = models["padded"].sample(20_000)
    missing = (drawn >= torch.tensor(cardinalities)).any(-1).double().mean().item()
    return {
        "command": "python -m experiments corrections",
        **made_with(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "config": {"steps": steps, "rows": rows, "samples": samples, "seed": seed},
        "floor_nats": data.floor,
        "noise": {
            str(sd): {"one_sample": _nats(values, 1), "importance_weighted": _nats(values, samples)}
            for sd, values in noisy.items()
        },
        "best_of_many": {"checks": _CHECKS, "noise": _CHECK_NOISE, "nats_gained": best},
        "ragged_nats": _nats(plain, samples),
        "padded_nats": _nats(ratios["padded"], samples),
        "padded_mass_on_missing_classes": missing,
    }


def _trained(
    cardinalities: tuple[int, ...], train: Tensor, validation: Tensor, steps: int, seed: int
) -> DequantizedFlow:
    torch.manual_seed(seed)
    dequantizer = VoronoiDequantizer(cardinalities, 4, noise="gaussian")
    flow = coupling_flow(dequantizer.features, layers=8, sharpness=4.0, base="mixture")
    model = DequantizedFlow(flow, dequantizer)
    config = TrainingConfig(max_steps=steps, learning_rate=8e-3, evaluate_every=100, patience=None, seed=seed)
    fit(model, train, validation, config)
    return model


def _nats(log_ratios: Tensor, samples: int) -> float:
    return -bounds(log_ratios, samples).mean().item()


def write(path: Path = PATH) -> Path:
    """Measure, and write the figures."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        result = measure()
    finally:
        torch.set_num_threads(threads)
    write_atomically(path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    return path


def page(path: Path = PATH) -> str:
    """Render the figures as a Markdown table."""
    from experiments.render import markdown

    if not path.exists():
        return "No results yet.\n"
    result = json.loads(path.read_text())
    rows = [["the entropy: no expected value is lower", f"{result['floor_nats']:.3f}"]]
    count = result["config"]["samples"]
    for sd, values in result["noise"].items():
        what = f"with noise of {float(sd):.0f} nats in each ratio" if float(sd) else "as it is"
        rows.append([f"coupling flow, mean of one-sample bounds, {what}", f"{values['one_sample']:.3f}"])
        rows.append([f"the same, {count} importance samples, {what}", f"{values['importance_weighted']:.3f}"])
    best = result["best_of_many"]
    lowest = result["ragged_nats"] + best["nats_gained"]
    rows.append(
        [
            f"expected of the lowest of {best['checks']} readings, if each has noise of {best['noise']} nats",
            f"{lowest:.3f}",
        ]
    )
    mass = result["padded_mass_on_missing_classes"]
    padded = f"as many cells for every variable as for the widest: {mass:.1%} of samples have a class that is none"
    rows.append([padded, f"{result['padded_nats']:.3f}"])
    return markdown(("Nursery, nats a row", ""), rows)
