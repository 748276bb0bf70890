"""Train four models on each density in the plane and score them against it: one result file a set and seed."""

from __future__ import annotations

import json
import math
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from tessflow.datasets import planar_entropy, planar_log_density, planar_names, sample_planar
from tessflow.files import write_atomically
from tessflow.flows import coupling_flow
from tessflow.models import DisjointMixture, coupling_mixture
from tessflow.provenance import commit, made_with
from tessflow.randomness import seeded
from tessflow.training import TrainingConfig, evaluate, fit, load_weights, save_weights

__all__ = [
    "MODELS",
    "GalleryConfig",
    "build_model",
    "is_done",
    "load_models",
    "planar_rows",
    "result_path",
    "train_and_score",
    "train_gallery",
    "train_pair",
]

# What the command has an option for.
_OPTIONS = {"layers", "cells", "steps", "batch_size", "learning_rate"}

MODELS = ("affine flow", "spline flow", "affine mixture", "spline mixture")

# A cell counts as one that carries mass from this probability on.
_MASS = 1e-3


class GalleryConfig(BaseModel):
    """The options of the gallery, the same for its four models: an immutable, JSON-serialisable record.

    Args:
        layers: Coupling layers of a flow, and of the component of a mixture.
        cells: Cells of a mixture.
        hidden_features: Widths of each network's hidden layers.
        bins: Bins of a spline.
        steps: Training steps.
        batch_size: Rows in a step.
        learning_rate: The highest learning rate.
        train_rows: Rows to train on.
        validation_rows: Rows that choose the weights.
        test_rows: Rows that are scored once at the end.

    Raises:
        ValueError: An option is out of range, of the wrong type, or unknown (pydantic's `ValidationError`).

    Example:
        >>> GalleryConfig(steps=100).layers
        4
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    layers: int = Field(default=4, ge=1)
    cells: int = Field(default=16, ge=1)
    hidden_features: tuple[int, ...] = (64, 64)
    bins: int = Field(default=8, ge=2)
    steps: int = Field(default=1500, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    train_rows: int = Field(default=20_000, ge=1)
    validation_rows: int = Field(default=5_000, ge=1)
    test_rows: int = Field(default=10_000, ge=2)


def build_model(kind: str, config: GalleryConfig) -> Any:
    """Build one of the four models.

    Args:
        kind: One of `MODELS`.
        config: The options.

    Returns:
        A model whose call gives a distribution over the plane.

    Raises:
        ValueError: If `kind` is none of the four.

    Example:
        >>> model = build_model("affine mixture", GalleryConfig(cells=5))
        >>> model().log_prob(torch.randn(100, 2)).shape
        torch.Size([100])
    """
    if kind not in MODELS:
        raise ValueError(f"there is no model '{kind}': choose one of {', '.join(MODELS)}")
    univariate, family = kind.split()
    options: dict[str, Any] = {
        "layers": config.layers,
        "univariate": univariate,
        "hidden_features": config.hidden_features,
        "bins": config.bins,
    }
    return coupling_flow(2, **options) if family == "flow" else coupling_mixture(2, config.cells, **options)


def planar_rows(name: str, seed: int, config: GalleryConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Draw training, validation and test rows, each ``(rows, 2)`` float64, from generators of different seeds."""
    counts = (config.train_rows, config.validation_rows, config.test_rows)
    drawn = [torch.from_numpy(sample_planar(name, rows, seed=3 * seed + part)) for part, rows in enumerate(counts)]
    return drawn[0], drawn[1], drawn[2]


def train_gallery(
    sets: Sequence[str], seeds: Sequence[int], config: GalleryConfig, directory: Path, *, jobs: int = 1
) -> Iterator[tuple[str, int]]:
    """Train and score all models on every pair of a set and a seed that has no result yet.

    Killed and called again, it goes on with the pairs that are missing. Every pair is computed by one thread, so that
    results do not depend on `jobs`.

    Args:
        sets: Names of densities, some of `planar_names()`.
        seeds: Seeds of rows and training.
        config: The options.
        directory: Where results and weights go, made if need be.
        jobs: Processes; with one, the pairs are computed in this process.

    Yields:
        Set and seed of each pair, when it is done.

    Raises:
        ValueError: If there is no such set.
    """
    for name in sets:
        if name not in planar_names():
            raise ValueError(f"there is no set '{name}': choose some of {', '.join(planar_names())}")
    pairs = [pair for pair in product(sets, seeds) if not is_done(*pair, config, directory)]
    if jobs == 1 or len(pairs) < 2:
        for name, seed in pairs:
            train_pair(name, seed, config, directory)
            yield name, seed
        return
    # Forked processes would inherit the locks of torch's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(pairs)), mp_context=context, initializer=_end_on_interrupt) as pool:
        futures = {pool.submit(train_pair, *pair, config, directory): pair for pair in pairs}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def train_pair(name: str, seed: int, config: GalleryConfig, directory: Path) -> dict[str, Any]:
    """Train the four models on one set, score them on the test rows, and write weights and result.

    Args:
        name: One of `planar_names()`.
        seed: Seed of rows and training.
        config: The options.
        directory: Where ``results/NAME-SEED.json`` and ``weights/NAME-SEED-MODEL.safetensors`` go.

    Returns:
        The result. For each model: ``test_nats``, the mean log-likelihood of the test rows, and its standard error;
        ``kl_nats``, the mean of log p(x) - log q(x) over the same rows, which estimates KL(p | q), and its standard
        error; whether that is ``impossible``, negative by more than three standard errors; steps, seconds, number of
        parameters; and of a mixture ``cells_with_mass``, those of probability 0.001 at least.
    """
    made_by = made_with() | {"threads": 1}  # of the code as it is now, not when training ends
    for part in ("results", "weights"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    train, validation, test = planar_rows(name, seed, config)
    true = torch.from_numpy(planar_log_density(name, test.numpy()))
    models = {}
    with _one_thread():
        for kind in MODELS:
            model, models[kind] = train_and_score(kind, (train, validation, test), true, seed, config)
            save_weights(model, _weights_path(name, seed, kind, directory))
    result = {
        "command": _command(name, seed, config),
        "set": name,
        "seed": seed,
        "config": config.model_dump(mode="json"),
        "entropy_nats": planar_entropy(name),
        "models": models,
        **made_by,
    }
    write_atomically(result_path(name, seed, directory), (json.dumps(result, indent=1) + "\n").encode())
    return result


def train_and_score(
    kind: str,
    rows: tuple[Tensor, Tensor, Tensor],
    true: Tensor,
    seed: int,
    config: GalleryConfig,
    *,
    directory: Path | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
) -> tuple[nn.Module, dict[str, Any]]:
    """Train one model and score it on the test rows.

    Args:
        kind: One of `MODELS`.
        rows: Training, validation and test rows, from :func:`planar_rows`.
        true: True log-density of the test rows.
        seed: Seed of weights and training.
        config: The options.
        directory: Where a checkpoint goes, from which a killed training goes on; `None`: nowhere.
        device: Where to train.

    Returns:
        The model, and what :func:`train_pair` says of it.
    """
    train, validation, test = (part.float() for part in rows)
    with seeded(seed):
        model = build_model(kind, config)
        if isinstance(model, DisjointMixture):
            model.initialize(train)
    training = TrainingConfig(
        max_steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        patience=None,
        seed=seed,
        accelerator=device,
    )
    result = fit(model, train, validation, training, objective=_log_prob, directory=directory)
    scores = evaluate(model, test, objective=_log_prob).double().cpu()
    log_likelihood, kl = _mean_and_error(scores), _mean_and_error(true - scores)
    scored = {
        "test_nats": log_likelihood[0],
        "test_standard_error": log_likelihood[1],
        "kl_nats": kl[0],
        "kl_standard_error": kl[1],
        "impossible": kl[0] < -3 * kl[1],
        "steps": result.steps,
        "best_step": result.best_step,
        "seconds": round(result.seconds, 1),
        "parameters": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
    }
    if isinstance(model, DisjointMixture):
        scored["cells_with_mass"] = int((model.log_weights() >= math.log(_MASS)).sum())
    return model, scored


def _log_prob(model: Any, x: Tensor) -> Tensor:
    return model().log_prob(x)


def _mean_and_error(values: Tensor) -> tuple[float, float]:
    return values.mean().item(), (values.std() / math.sqrt(len(values))).item()


def result_path(name: str, seed: int, directory: Path) -> Path:
    """Return where the result of a set and seed is."""
    return directory / "results" / f"{name}-{seed}.json"


def is_done(name: str, seed: int, config: GalleryConfig, directory: Path) -> bool:
    """Say whether there are weights and a result of a set and seed, from the same options and code."""
    path = result_path(name, seed, directory)
    if not all(file.exists() for file in (path, *(_weights_path(name, seed, kind, directory) for kind in MODELS))):
        return False
    try:
        result = json.loads(path.read_text())
    except ValueError:  # damaged: compute it again
        return False
    return result.get("config") == config.model_dump(mode="json") and result.get("commit") == commit()


def load_models(name: str, seed: int, config: GalleryConfig, directory: Path) -> dict[str, Any]:
    """Load the four models of a set and seed.

    Raises:
        FileNotFoundError: There are no weights.
        ValueError: The weights are damaged, or of other options.
    """
    models = {}
    for kind in MODELS:
        with seeded(seed):
            models[kind] = build_model(kind, config).eval()
        load_weights(models[kind], _weights_path(name, seed, kind, directory))
    return models


def _weights_path(name: str, seed: int, kind: str, directory: Path) -> Path:
    return directory / "weights" / f"{name}-{seed}-{kind.replace(' ', '-')}.safetensors"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _end_on_interrupt() -> None:
    """Let Ctrl-C end a worker without a traceback: the main process says what there is to say."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _command(name: str, seed: int, config: GalleryConfig) -> str:
    """Return the command that computes a result, as the shell takes it; options that it has not are left out."""
    given = config.model_dump(exclude_defaults=True, include=_OPTIONS)
    options = [f"--{option.replace('_', '-')} {value}" for option, value in given.items()]
    return " ".join(["tessflow gallery", f"--sets {name}", f"--seeds {seed + 1}", *options])
