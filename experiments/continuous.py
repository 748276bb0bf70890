"""Densities of tables of real numbers: coupling flows, disjoint mixtures and zuko's flows, one budget (Table 4)."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
import zuko
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily, MultivariateNormal
from zuko.distributions import DiagNormal
from zuko.lazy import UnconditionalDistribution

from experiments.config import Table
from experiments.render import markdown
from experiments.results import mean_and_error
from experiments.training import parameter_count, train, untrained
from tessflow.datasets import ContinuousDataset, bsds300_patches, load_continuous
from tessflow.flows import coupling_flow
from tessflow.models import DisjointMixture, coupling_mixture
from tessflow.training import evaluate

__all__ = ["Budget", "ExactWhenScored", "Method", "build", "gaussian_clusters", "load", "run", "standardise", "table"]

# Names under which the archive of the images is found.
_IMAGES = ("bsds300_images.tar", "BSDS300-images.tgz", "images")

# Blocks of test rows whose means are kept, so that methods can be compared row by row without keeping all rows.
_BLOCKS = 100

# In these sets' columns the paper's Table 4 has log-likelihoods; in the others, their negatives.
_POSITIVE = ("power", "gas", "bsds300", "bsds300-patches")

_PAPER_SETS = ("power", "gas", "hepmass", "miniboone", "bsds300")
_PAPER = {
    "disjoint mixture": (0.52, 12.63, 16.16, 10.24, 156.59),
    "coupling flow": (0.44, 11.75, 16.78, 10.87, 155.14),
    "FFJORD": (0.46, 8.59, 14.92, 10.43, 157.40),
    "MAF": (0.24, 10.08, 17.73, 12.24, 154.93),
    "RealNVP": (0.17, 8.33, 18.71, 13.55, 153.28),
}


class Method(BaseModel):
    """A density model.

    Args:
        model: A Gaussian with the covariance of the training rows, which is not trained; the paper's coupling flow;
            the disjoint mixture with such a flow in each cell; or zuko's RealNVP, masked autoregressive flow, neural
            spline flow (autoregressive) and continuous flow.
        cells: Cells of the mixture.
        learning_rate: The highest learning rate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Literal["gaussian", "coupling", "mixture", "realnvp", "maf", "nsf", "ffjord"]
    cells: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)

    @model_validator(mode="after")
    def _check_cells(self) -> Method:
        if (self.model == "mixture") != (self.cells is not None):
            raise ValueError("a mixture, and no other model, needs cells")
        return self


class Budget(BaseModel):
    """What every model of a data set may use.

    Args:
        rows: Training, validation and test rows of a set that is drawn; of the others all are used.
        whiten: Whether the affine map before every model makes the covariance of the training rows the identity, and
            that in each cell of a mixture does so for the cell's; or the first makes only variances 1.
        steps: Training steps.
        continuous_steps: Training steps of the continuous flow, each of which takes the time of many others.
        batch_size: Rows in a step.
        layers: Coupling layers.
        hidden_features: Widths of the networks of coupling layers.
        transforms: Autoregressive layers.
        wide_features: Widths of the networks of autoregressive layers and of the continuous flow.
        evaluate_every: Steps between two evaluations on validation rows.
        validation_rows: Most validation rows.
        weight_decay: Decoupled weight decay.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: tuple[int, int, int] | None = None
    whiten: bool = False
    steps: int = Field(ge=1)
    continuous_steps: int = Field(default=1, ge=1)
    batch_size: int = Field(default=256, ge=1)
    layers: int = Field(default=8, ge=1)
    hidden_features: tuple[int, ...] = (64, 64, 64)
    transforms: int = Field(default=4, ge=1)
    wide_features: tuple[int, ...] = (128, 128)
    evaluate_every: int = Field(default=100, ge=1)
    validation_rows: int = Field(default=10_000, ge=1)
    weight_decay: float = Field(default=0.01, ge=0)


class ExactWhenScored(zuko.flows.CNF):
    """A continuous flow that learns from Hutchinson's estimate of the trace and is scored with the exact trace.

    The estimate is unbiased for log p(x), and cheaper in D dimensions; a likelihood that is reported should have no
    noise.
    """

    def train(self, mode: bool = True) -> ExactWhenScored:  # noqa: FBT001, FBT002
        """Set the mode, and with it how the trace is computed."""
        super().train(mode)
        self.transform.exact = not mode
        return self


def gaussian_clusters(features: int = 8, clusters: int = 8) -> Distribution:
    """Return a mixture of Gaussians with random means and covariances, always the same one.

    Its density is known, and with it how far a model is from the truth.
    """
    generator = torch.Generator().manual_seed(0)
    means = 3 * torch.randn(clusters, features, generator=generator, dtype=torch.float64)
    factors = torch.randn(clusters, features, features, generator=generator, dtype=torch.float64) / features**0.5
    covariances = factors @ factors.mT + 0.1 * torch.eye(features, dtype=torch.float64)
    return MixtureSameFamily(Categorical(torch.ones(clusters)), MultivariateNormal(means, covariances))


def load(data: str, budget: Budget) -> ContinuousDataset:
    """Load a data set.

    Args:
        data: One of `continuous_names()`; "bsds300-patches", drawn anew from the images in the directory bsds300 of
            TESSFLOW_DATA; or "gaussians-8d", drawn from :func:`gaussian_clusters`.
        budget: Says how many rows are drawn.

    Raises:
        ValueError: There is no such set, its file is damaged, or the budget does not say how many rows to draw.
        OSError: The files are nowhere and could not be downloaded.
    """
    if data not in ("bsds300-patches", "gaussians-8d"):
        return load_continuous(data)
    if budget.rows is None:
        raise ValueError(f"{data} is drawn: its budget must say how many rows")
    if data == "bsds300-patches":
        return bsds300_patches(_images(), rows=budget.rows, seed=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = [part.numpy() for part in gaussian_clusters().sample((sum(budget.rows),)).float().split(budget.rows)]
    return ContinuousDataset(
        name=data,
        description="Eight Gaussians in eight dimensions",
        source="drawn with seed 0 from a known density",
        train=parts[0],
        validation=parts[1],
        test=parts[2],
    )


def _images() -> Path:
    folder = Path(os.environ.get("TESSFLOW_DATA", "."), "bsds300")
    for name in _IMAGES:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(
        f"the images of BSDS300 are not on this machine: put {_IMAGES[1]} into the directory bsds300 of the one that "
        "TESSFLOW_DATA names"
    )


def standardise(parts: Sequence[Tensor], *, whiten: bool) -> tuple[list[Tensor], float]:
    r"""Map rows by :math:`z = L^{-1} (x - m)` with the mean and the Cholesky factor of the first part's covariance.

    Args:
        parts: Training rows and others, ``(rows, D)``.
        whiten: Whether L is that factor, or only the diagonal matrix of standard deviations.

    Returns:
        The rows as float32, and log det L in nats, by which :math:`\log p(z) - \log p(x)` is larger than 0.

    Raises:
        ValueError: A column is constant, or a linear function of others.
    """
    train = parts[0].double()
    mean, covariance = train.mean(0), torch.cov(train.mT)
    factor, info = torch.linalg.cholesky_ex(covariance if whiten else covariance.diagonal().diag())
    if info:
        raise ValueError(f"column {int(info)} is constant, or with whiten a linear function of those before it")
    mapped = [torch.linalg.solve_triangular(factor, (part.double() - mean).mT, upper=False).mT for part in parts]
    return [part.float().contiguous() for part in mapped], factor.diagonal().log().sum().item()


def build(method: Method, budget: Budget, features: int) -> Any:
    """Build a model of rows ``(B, features)``, whose call gives a distribution."""
    narrow: dict[str, Any] = {"layers": budget.layers, "hidden_features": budget.hidden_features}
    if method.model == "coupling":
        return coupling_flow(features, **narrow)
    if method.model == "mixture":
        return coupling_mixture(features, cast(int, method.cells), univariate="affine", whiten=budget.whiten, **narrow)
    if method.model == "gaussian":
        return UnconditionalDistribution(DiagNormal, torch.zeros(features), torch.ones(features), buffer=True)
    if method.model == "realnvp":
        widths = budget.hidden_features
        return zuko.flows.RealNVP(features, transforms=budget.layers, hidden_features=widths, activation=nn.SiLU)
    wide: dict[str, Any] = {"hidden_features": budget.wide_features, "activation": nn.SiLU}
    if method.model == "ffjord":
        return ExactWhenScored(features, atol=1e-5, rtol=1e-5, **wide)
    return {"maf": zuko.flows.MAF, "nsf": zuko.flows.NSF}[method.model](features, transforms=budget.transforms, **wide)


def run(data: str, method: Method, budget: Budget, *, seed: int, directory: Path, device: str) -> dict[str, Any]:
    """Train a model on the training rows, choose its weights on validation rows, score test rows once.

    Every model sees rows after the same affine map (:func:`standardise`), whose log-determinant is part of all
    values: they are of the rows as the data set has them.

    Args:
        data: What `load` takes.
        method: The model.
        budget: What it may use.
        seed: Seed of the first weights, the order of the rows and all noise.
        directory: Where the checkpoint and the weights go.
        device: "cpu" or "cuda".

    Returns:
        The measured values, negative log-likelihoods in nats; `train` is that of as many training rows as there are
        test rows, `test_blocks` are the means of consecutive test rows in blocks of about the same size. Where the
        density is known, `true` is that of the same test rows and `kl_nats` the mean difference, which estimates
        KL(true | model).
    """
    loaded = load(data, budget)
    test_rows = torch.from_numpy(loaded.test)
    given = [torch.from_numpy(part) for part in (loaded.train, loaded.validation[: budget.validation_rows])]
    (train_rows, validation, test), log_scale = standardise(
        [*given, test_rows], whiten=budget.whiten or method.model == "gaussian"
    )
    torch.manual_seed(seed)
    model = build(method, budget, train_rows.shape[1])
    if isinstance(model, DisjointMixture):
        model.initialize(train_rows)

    def log_prob(model: Any, z: Tensor) -> Tensor:
        return model().log_prob(z) - log_scale

    if method.model == "gaussian":
        trained = untrained()
    else:
        trained = train(
            model,
            train_rows,
            validation,
            objective=log_prob,
            directory=directory,
            device=device,
            max_steps=budget.continuous_steps if method.model == "ffjord" else budget.steps,
            batch_size=budget.batch_size,
            learning_rate=method.learning_rate,
            weight_decay=budget.weight_decay,
            evaluate_every=budget.evaluate_every,
            seed=seed,
        )
    nats = {
        name: -evaluate(model, rows, objective=log_prob).cpu()
        for name, rows in (("train", train_rows[: len(test)]), ("validation", validation), ("test", test))
    }
    return {
        "kind": "exact",
        "source": loaded.source,
        "rows": [len(train_rows), len(validation), len(test)],
        "features": train_rows.shape[1],
        "whiten": budget.whiten,
        "parameters": parameter_count(model),
        **trained,
        **{name: mean_and_error(values) for name, values in nats.items()},
        "test_blocks": _block_means(nats["test"]),
        **(_truth(test_rows, nats["test"]) if data == "gaussians-8d" else {}),
    }


def _block_means(values: Tensor) -> list[float]:
    return [round(block.double().mean().item(), 4) for block in values.tensor_split(min(_BLOCKS, len(values)))]


def _truth(test: Tensor, nats: Tensor) -> dict[str, Any]:
    true = -gaussian_clusters().log_prob(test.double())
    difference = mean_and_error(nats - true)
    return {
        "true": mean_and_error(true),
        "kl_nats": difference["nats"],
        "kl_standard_error": difference["standard_error"],
    }


def table(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """Render a row a method and two columns a data set, what the rows are, and the paper's figures, in Markdown."""
    sets = [data for data in config.data if any((data, method) in results for method in config.methods)]
    missing = [data for data in config.data if data not in sets]
    header, details = ["method"], ["method"]
    for data in sets:
        header += [f"{data} {_arrow(data)}", "gain", "ms a step"]
        details += [f"{data}, training rows {_arrow(data)}", "parameters"]
    reference = next((name for name, method in config.methods.items() if method["model"] == "coupling"), "")
    rows, detail_rows = [], []
    for method in config.methods:
        rows.append([method])
        detail_rows.append([method])
        for data in sets:
            runs = results.get((data, method), [])
            gain = _gain(runs, results.get((data, reference), []))
            rows[-1] += [_value(data, runs, "test"), gain, _median(runs, "milliseconds_per_step", ".1f")]
            detail_rows[-1] += [_value(data, runs, "train"), _median(runs, "parameters", ",")]
    rows.append(["the density itself"])
    for data in sets:
        known = [run for method in config.methods for run in results.get((data, method), []) if "true" in run]
        rows[-1] += [_value(data, known[:1], "true"), "-", "-"]
    paper = [[name, *(f"{value:.2f}" for value in values)] for name, values in _PAPER.items()]
    return (
        "Nats a row of the test rows, exact, ± standard error over them, mean over seeds. As in the paper, ↑ marks "
        "log-likelihoods, higher is better, and ↓ negative ones, lower is better. The gain is the log-likelihood less "
        "that of the coupling flow, ± standard error of the difference on the same rows. A step's time is that of "
        "training divided by its steps, evaluation of validation rows included.\n\n"
        + markdown(header, rows)
        + "\nThe same on training rows, which shows how much of it is learned by heart.\n\n"
        + markdown(details, detail_rows)
        + "".join(f"\n- {data}: {_about(data, config, results)}" for data in sets)
        + (f"\n\nNo results here: {', '.join(missing)}." if missing else "")
        + "\n\nThe paper's figures (Table 4), on all rows of the published sets: figures on partial or newly drawn "
        "rows do not compare with them.\n\n"
        + markdown(["paper", *(f"{data} {_arrow(data)}" for data in _PAPER_SETS)], paper)
    )


def _arrow(data: str) -> str:
    return "↑" if data in _POSITIVE else "↓"


def _value(data: str, runs: Sequence[dict[str, Any]], part: str) -> str:
    if not runs:
        return "-"
    nats, error = (statistics.fmean(run[part][key] for run in runs) for key in ("nats", "standard_error"))
    return f"{-nats if data in _POSITIVE else nats:.2f} ± {error:.2f}"


def _gain(runs: Sequence[dict[str, Any]], references: Sequence[dict[str, Any]]) -> str:
    pairs = [(run, other) for run, other in zip(runs, references, strict=False) if run is not other]
    if not pairs:
        return "-"
    gains = [other["test"]["nats"] - run["test"]["nats"] for run, other in pairs]
    blocks = [torch.tensor(other["test_blocks"]) - torch.tensor(run["test_blocks"]) for run, other in pairs]
    error = statistics.fmean(mean_and_error(block)["standard_error"] for block in blocks)
    return f"{statistics.fmean(gains):+.2f} ± {error:.2f}"


def _median(runs: Sequence[dict[str, Any]], key: str, form: str) -> str:
    return f"{statistics.median_low([run[key] for run in runs]):{form}}" if runs and runs[0]["steps"] else "-"


def _about(data: str, config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    runs = [run for method in config.methods for run in results.get((data, method), [])]
    rows = " / ".join(f"{count:,}" for count in runs[0]["rows"])
    seeds = sorted({len(results[data, method]) for method in config.methods if (data, method) in results})
    counts = " to ".join(str(count) for count in dict.fromkeys((seeds[0], seeds[-1])))
    before = "covariance the identity" if runs[0]["whiten"] else "variances 1"
    return (
        f"{runs[0]['source']}; {rows} rows of {runs[0]['features']} numbers; an affine map before every model, "
        f"counted in its likelihood, makes the training rows' {before}; seeds: {counts}"
    )
