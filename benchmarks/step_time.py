"""Time of a training step of flows of images and of sets, models side by side.

OMP_NUM_THREADS=1 python benchmarks/step_time.py

The models of a group take steps in turn, on the same rows, which are random; the first of a group is the floor of the
others' ratios. A step is the loss, its gradients and an update. Medians of processor time, on one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from provenance import provenance
from torch import Tensor, nn

from tessflow.dequantization import BinaryArgmaxDequantizer, SharedDequantizer, SimplexDequantizer, VoronoiDequantizer
from tessflow.flows import equivariant_flow
from tessflow.models import DequantizedImages, ImageMixture, SetFlow

RESULTS = Path(__file__).parent / "results"
SHAPE, SETS, ITEMS = (1, 28, 28), 4, 765


def image_flow(rows: Tensor, cells: int | tuple[int, ...], **options: Any) -> nn.Module:
    """Make a flow of images of six layers a scale."""
    model = DequantizedImages(ImageMixture(SHAPE, cells=cells, layers=6, **options))
    model.initialize(rows)
    return model


def set_flow(cells: str, **options: Any) -> nn.Module:
    """Make a flow of sets of four of 765 items, a little away from its start."""
    kinds: dict[str, Callable[..., Any]] = {
        "Voronoi": lambda **noise: VoronoiDequantizer((ITEMS,), 6, **noise),
        "binary argmax": lambda **noise: BinaryArgmaxDequantizer((ITEMS,), **noise),
        "simplex": lambda **noise: SimplexDequantizer((ITEMS,), **noise),
    }
    dequantizer = SharedDequantizer(kinds[cells](noise="gaussian", hidden_features=(64,)), SETS)
    flow = equivariant_flow(SETS, dequantizer.dim, **options)
    with torch.no_grad():
        for parameter in flow.transform.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return SetFlow(flow, dequantizer)


def main() -> None:
    """Time all groups and write one result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows: list[dict[str, Any]] = []
    result = {**provenance(), "repeats": arguments.repeats, "rows": rows}
    images = torch.randint(256, (512, *SHAPE), dtype=torch.uint8)
    small: dict[str, Any] = {"hidden_channels": 32, "hidden_layers": 1}
    large: dict[str, Any] = {"hidden_channels": 64, "hidden_layers": 4}
    groups: dict[str, tuple[Tensor, dict[str, nn.Module]]] = {}
    for name, batch, options in (("32 channels", 32, small), ("32 channels", 128, small), ("64 channels", 32, large)):
        flows = {
            f"{label} cells a scale": image_flow(images, cells, **options)
            for label, cells in (("1", 1), ("5", 5), ("10", 10), ("10, 1, 1", (10, 1, 1)))
        }
        groups[f"images, {name} x {options['hidden_layers']}, batch {batch}"] = (images[:batch], flows)
    sets = torch.rand(128, ITEMS).argsort(-1)[:, :SETS]
    groups["sets of 4 of 765 items, batch 128"] = (
        sets,
        {
            "Voronoi, 6-D, exclusive field": set_flow("Voronoi"),
            "Voronoi, 6-D, attention": set_flow("Voronoi", field="attention"),
            "binary argmax, exclusive field": set_flow("binary argmax"),
            "simplex, exclusive field": set_flow("simplex", components=4),
        },
    )
    for group, (batch_rows, models) in groups.items():
        for name, seconds in measure(batch_rows, models, arguments.repeats).items():
            rows.append({"group": group, "model": name, "milliseconds": round(1e3 * seconds, 2)})
            print(f"{group}; {name}: {1e3 * seconds:.1f} ms", flush=True)
    (RESULTS / "step_time.json").write_text(json.dumps(result, indent=1) + "\n")


def measure(rows: Tensor, models: dict[str, nn.Module], repeats: int) -> dict[str, float]:
    """Return the median seconds of a step of each model; they take turns, and the first steps do not count."""
    optimizers = {name: torch.optim.AdamW(model.parameters(), lr=1e-4) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for repeat in range(repeats + 2):
        for name, model in models.items():
            started = time.process_time()
            optimizers[name].zero_grad()
            loss = -_elbo(model, rows).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizers[name].step()
            if repeat >= 2:
                seconds[name].append(time.process_time() - started)
    return {name: statistics.median(some) for name, some in seconds.items()}


def _elbo(model: Any, rows: Tensor) -> Tensor:
    values: Tensor = model.elbo(rows)
    return values


if __name__ == "__main__":
    main()
