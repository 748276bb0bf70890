"""Images: a multi-scale flow, the same with a disjoint mixture at each scale, and wider without one."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor

from experiments.bounds import draw_log_ratios, tightness
from experiments.config import Table
from experiments.render import markdown
from experiments.results import is_done, mean_and_error
from experiments.training import parameter_count, train
from tessflow.datasets import bars_entropy, load_images
from tessflow.files import write_atomically
from tessflow.models import DequantizedImages, ImageMixture
from tessflow.randomness import seeded
from tessflow.training import evaluate

__all__ = ["Budget", "Method", "build", "figures", "run", "table"]

# Blocks of test images whose means are kept, so that methods can be compared image by image without keeping all.
_BLOCKS = 100

# Images a picture shows: of the model, and of each of so many components as many real ones and samples.
_SAMPLES, _COMPONENTS, _EACH = 64, 8, 8

# Bits a dimension in the paper's first version, Table 4: baseline, 5^3 and 10^3 components.
_PAPER = {
    "mnist": (1.03, 0.89, 0.79),
    "fashion-mnist": (2.88, 2.66, 2.61),
    "kuzushiji-mnist": (1.97, 1.74, 1.73),
    "cifar10": (3.53, 3.49, 3.48),
}


class Method(BaseModel):
    """A flow of images.

    Args:
        cells: Cells at each scale, or for each scale a number; 1 for no mixture.
        wide_as: A flow with wider hidden layers, just wide enough to have as many parameters as with so many cells.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cells: PositiveInt | tuple[PositiveInt, ...] = 1
    wide_as: int | None = Field(default=None, ge=1)


class Budget(BaseModel):
    """What every method of a data set may use.

    Args:
        steps: Training steps.
        batch_size: Images in a step.
        learning_rate: The highest learning rate.
        warmup_steps: Steps until it is reached.
        ema_decay: Decay of the average of the weights.
        scales: Scales of the flow.
        layers: Coupling layers a scale.
        hidden_channels: Channels of the hidden layers of every network.
        hidden_layers: Their number.
        maps: Channels of the image by which networks are told a cell and positions.
        placing_rows: Training images by which ActNorm starts and anchors are placed.
        validation_rows: Validation images that choose the weights.
        test_rows: Test images that are scored; by default all.
        evaluate_every: Steps between two evaluations on validation images.
        samples: Draws of the importance-weighted bound.
        subset_rows: Test images on which it is computed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=8e-3, gt=0)
    warmup_steps: int = Field(default=50, ge=0)
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    scales: int = Field(default=3, ge=1)
    layers: int = Field(default=6, ge=1)
    hidden_channels: int = Field(default=32, ge=1)
    hidden_layers: int = Field(default=1, ge=1)
    maps: int = Field(default=4, ge=1)
    placing_rows: int = Field(default=4000, ge=1)
    validation_rows: int = Field(default=1000, ge=1)
    test_rows: int | None = Field(default=None, ge=1)
    evaluate_every: int = Field(default=200, ge=1)
    samples: int = Field(default=100, ge=1)
    subset_rows: int = Field(default=100, ge=1)


def build(method: Method, budget: Budget, shape: Sequence[int]) -> DequantizedImages:
    """Build a model of images of a shape (channels, height, width)."""

    def flow(cells: int | tuple[int, ...], hidden_channels: int) -> ImageMixture:
        return ImageMixture(
            shape,
            cells=cells,
            scales=budget.scales,
            layers=budget.layers,
            hidden_channels=hidden_channels,
            hidden_layers=budget.hidden_layers,
            maps=budget.maps,
        )

    width = budget.hidden_channels
    if method.wide_as is not None:
        wanted = parameter_count(flow(method.wide_as, width))
        while parameter_count(flow(method.cells, width)) < wanted:
            width += 1
    return DequantizedImages(flow(method.cells, width))


def run(data: str, method: Method, budget: Budget, *, seed: int, directory: Path, device: str) -> dict[str, Any]:
    """Train a flow of images, choose its weights on validation images, and score the test images once.

    Args:
        data: One of `tessflow.datasets.image_names`, with hyphens.
        method: The model.
        budget: What it may use.
        seed: Seed of the validation images, the first weights, their order and all noise.
        directory: Where the checkpoint, the weights and the arrays of the pictures go.
        device: "cpu" or "cuda".

    Returns:
        The measured values. `bits` are bits a dimension: of one draw, as `test` has it in nats, and in `bounds` of
        several draws on some of the test images. `shares` has the share of test images in each cell of each scale,
        `component_nats` the entropy of the components over the test images.
    """
    images = load_images(data.replace("-", "_"), seed=seed)
    rows, validation, test = (torch.from_numpy(part.copy()) for part in (images.train, images.validation, images.test))
    validation, test = validation[: budget.validation_rows], test[: budget.test_rows]
    bits = math.log(2) * rows[0].numel()
    torch.manual_seed(seed)
    model = build(method, budget, rows.shape[1:])
    model.initialize(rows[torch.randperm(len(rows))[: budget.placing_rows]])
    trained = train(
        model,
        rows,
        validation,
        directory=directory,
        device=device,
        max_steps=budget.steps,
        batch_size=budget.batch_size,
        learning_rate=budget.learning_rate,
        warmup_steps=budget.warmup_steps,
        ema_decay=budget.ema_decay,
        evaluate_every=budget.evaluate_every,
        seed=seed,
    )
    nats = {
        name: -evaluate(model, part, batch_size=250).double().cpu()
        for name, part in (("train", rows[: len(validation)]), ("validation", validation), ("test", test))
    }
    where = next(model.parameters()).device
    with seeded(seed):
        subset = draw_log_ratios(_Flat(model), test[: budget.subset_rows].flatten(1).to(where), budget.samples)
        k = _components(model, test)
        _save_pictures(model, test, k, directory)
    return {
        "kind": "lower bound",
        "source": images.source,
        "rows": [len(rows), len(validation), len(test)],
        "shape": list(rows.shape[1:]),
        "parameters": parameter_count(model),
        "hidden_channels": model.flow.couplings[0].networks[0].first.out_channels,
        **trained,
        **{name: mean_and_error(values) for name, values in nats.items()},
        "bits": {
            **{name: values.mean().item() / bits for name, values in nats.items()},
            "standard_error": mean_and_error(nats["test"])["standard_error"] / bits,
        },
        "bounds": {count: value / bits for count, value in tightness(subset).items()},
        "subset_rows": subset.shape[1],
        "test_blocks": [
            round(block.mean().item(), 6) for block in (nats["test"] / bits).tensor_split(min(_BLOCKS, len(test)))
        ],
        **_usage(k, model.flow.cells),
        **({"entropy_bits": bars_entropy() / bits} if data == "bars" else {}),
    }


class _Flat:
    """The model as one of rows."""

    def __init__(self, model: DequantizedImages) -> None:
        self.model = model

    def elbo(self, y: Tensor) -> Tensor:
        return self.model.elbo(y.reshape(-1, *self.model.flow.shape))


@torch.no_grad()
def _components(model: DequantizedImages, images: Tensor) -> Tensor:
    """Return the component of each image with one draw of the noise, int64 ``(images, scales)``."""
    device = next(model.parameters()).device
    return torch.cat([model.flow().assign(model.to_real(some.to(device))[0]).cpu() for some in images.split(250)])


def _usage(k: Tensor, cells: Sequence[int]) -> dict[str, Any]:
    shares = [(scale.bincount(minlength=some) / len(k)).tolist() for scale, some in zip(k.T, cells, strict=True)]
    _, counts = k.unique(dim=0, return_counts=True)
    share = counts.double() / len(k)
    return {
        "components": math.prod(cells),
        "components_used": len(counts),
        "component_nats": abs(-(share * share.log()).sum().item()),
        "shares": [[round(value, 4) for value in some] for some in shares],
    }


def _save_pictures(model: DequantizedImages, test: Tensor, k: Tensor, directory: Path) -> None:
    """Save samples of the model, and of its commonest components with real images of them."""
    device = next(model.parameters()).device
    _save(directory / "samples.npy", model.sample((_SAMPLES,)))
    found, counts = k.unique(dim=0, return_counts=True)
    common = found[counts.argsort(descending=True, stable=True)[:_COMPONENTS]]
    if len(found) > 1:
        drawn = model.flow().component_sample(common.repeat_interleave(_EACH, 0).to(device))
        _save(directory / "component_samples.npy", model.to_bytes(drawn).unflatten(0, (len(common), _EACH)))
        real = torch.zeros(len(common), _EACH, *test.shape[1:], dtype=torch.uint8)
        for row, component in zip(real, common, strict=True):
            some = test[(k == component).all(-1)][:_EACH]
            row[: len(some)] = some
        _save(directory / "component_images.npy", real)


def _save(path: Path, images: Tensor) -> None:
    array = io.BytesIO()
    np.save(array, images.cpu().numpy())
    write_atomically(path, array.getvalue())


def table(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """Render bits a dimension, costs and the use of components, and the paper's figures, in Markdown."""
    rows, details = [], []
    for data in config.data:
        for method in config.methods:
            runs = results.get((data, method), [])
            if not runs:
                continue
            reference = results.get((data, next(iter(config.methods))), [])
            rows.append([data, method, _bits(runs), _gain(runs, reference), *_costs(runs)])
            details.append([data, method, *_bounds(runs[0]), *_use(runs[0])])
    missing = [data for data in config.data if not any((data, method) in results for method in config.methods)]
    known = {data: some[0]["entropy_bits"] for (data, _), some in results.items() if "entropy_bits" in some[0]}
    about = [f"\n- {data}: {_about(data, results)}" for data in config.data if data not in missing]
    paper = [[data.replace("-", " "), *(f"{value:.2f}" for value in values)] for data, values in _PAPER.items()]
    return (
        "Bits a dimension of the test images, lower is better: the bound of one draw of uniform noise, ± standard "
        "error over images, mean over seeds. The gain is over the first method, ± standard error of the difference "
        "on the same images and noise. A step's time is that of training divided by its steps, evaluation of "
        "validation images included.\n\n"
        + markdown(["data", "method", "bits", "gain", "ms a step", "parameters", "seconds"], rows, left=2)
        + "".join(f"\nThe entropy of {data} is {value:.4f} bits a dimension.\n" for data, value in known.items())
        + "\nThe first seed: the bound of more draws, on some of the test images; components in which there are test "
        "images, the entropy of the components and the largest share of a cell at each scale.\n\n"
        + markdown(
            ["data", "method", "images", *_DRAWS, "components", "entropy, nats", "largest cells"], details, left=2
        )
        + "".join(about)
        + (f"\n\nNo results here: {', '.join(missing)}." if missing else "")
        + "\n\nThe paper's figures (first version, Table 4), of 16 blocks a scale:\n\n"
        + markdown(["paper", "baseline", "5³ components", "10³ components"], paper)
    )


_DRAWS = ("1 draw", "10 draws", "100 draws")


def _bits(runs: Sequence[dict[str, Any]]) -> str:
    bits, error = (statistics.fmean(run["bits"][key] for run in runs) for key in ("test", "standard_error"))
    return f"{bits:.3f} ± {error:.3f}"


def _gain(runs: Sequence[dict[str, Any]], references: Sequence[dict[str, Any]]) -> str:
    pairs = [(run, other) for run, other in zip(runs, references, strict=False) if run is not other]
    if not pairs:
        return "-"
    blocks = [torch.tensor(other["test_blocks"]) - torch.tensor(run["test_blocks"]) for run, other in pairs]
    gain = statistics.fmean(block.mean().item() for block in blocks)
    return f"{gain:+.3f} ± {statistics.fmean(mean_and_error(block)['standard_error'] for block in blocks):.3f}"


def _costs(runs: Sequence[dict[str, Any]]) -> list[str]:
    forms = (("milliseconds_per_step", ".1f"), ("parameters", ","), ("seconds", ".0f"))
    return [f"{statistics.median_low([run[key] for run in runs]):{form}}" for key, form in forms]


def _bounds(run: dict[str, Any]) -> list[str]:
    return [str(run["subset_rows"]), *(f"{run['bounds'][name.split()[0]]:.3f}" for name in _DRAWS)]


def _use(run: dict[str, Any]) -> list[str]:
    if run["components"] == 1:
        return ["-", "-", "-"]
    largest = ", ".join(f"{max(shares):.0%}" for shares in run["shares"])
    return [f"{run['components_used']} of {run['components']:,}", f"{run['component_nats']:.2f}", largest]


def _about(data: str, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    runs = next(some for (name, _), some in results.items() if name == data)
    rows = " / ".join(f"{count:,}" for count in runs[0]["rows"])
    return f"{runs[0]['source']}; {rows} images of {' x '.join(map(str, runs[0]['shape']))} bytes; seeds: {len(runs)}"


def figures(config: Table, runs: Path, out: Path) -> list[Path]:
    """Draw a picture of each data set, from the first seed.

    Args:
        config: The table.
        runs: Where the samples of its runs are.
        out: Where the pictures go.

    Returns:
        Their paths. A data set none of whose models has been trained has no picture.
    """
    from experiments.images_figures import draw_components, draw_samples

    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for data in config.data:
        rows = [row for row in config.rows(only=[f"{data}/"], seeds=[0]) if is_done(row)]
        rows = [row for row in rows if (row.path(runs) / "samples.npy").exists()]
        if rows:
            paths.append(out / f"{config.name}-{data}.png")
            draw_samples(rows, runs).savefig(paths[-1], dpi=150)
        for row in rows:
            if (row.path(runs) / "component_samples.npy").exists():
                paths.append(out / f"{config.name}-{data}-{row.method_name}.png")
                draw_components(row, runs).savefig(paths[-1], dpi=150)
    return paths
