"""Densities in the plane that are known exactly: the flows and disjoint mixtures of the gallery (Figure 6)."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict

from experiments.config import Table
from experiments.render import markdown, mean_and_spread
from experiments.results import mean_and_error
from tessflow.datasets import planar_entropy, planar_log_density
from tessflow.training import evaluate, save_weights
from tessflow.viz.gallery.run import GalleryConfig as Budget
from tessflow.viz.gallery.run import planar_rows, train_and_score

__all__ = ["Budget", "Method", "run", "table"]


class Method(BaseModel):
    """A model of the gallery.

    Args:
        model: Which one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Literal["affine flow", "spline flow", "affine mixture", "spline mixture"]


def run(data: str, method: Method, budget: Budget, *, seed: int, directory: Path, device: str) -> dict[str, Any]:
    """Train a model on rows drawn from a density, choose its weights on validation rows, score test rows once.

    Args:
        data: One of `planar_names()`, with hyphens.
        method: The model.
        budget: What it may use.
        seed: Seed of the rows, of the first weights and of training.
        directory: Where the checkpoint and the weights go.
        device: "cpu" or "cuda".

    Returns:
        The measured values. `kl_nats` estimates KL(true | model): the mean of log p(x) - log q(x) over the test rows.
    """
    name = data.replace("-", "_")
    rows = planar_rows(name, seed, budget)
    true = torch.from_numpy(planar_log_density(name, rows[2].numpy()))
    where = cast(Literal["cpu", "cuda"], device)
    model, scored = train_and_score(method.model, rows, true, seed, budget, directory=directory, device=where)
    save_weights(model, directory / "weights.safetensors")
    validation = mean_and_error(-evaluate(model, rows[1].float(), objective=lambda model, x: model().log_prob(x)))
    test = {"nats": -scored.pop("test_nats"), "standard_error": scored.pop("test_standard_error")}
    return {
        "kind": "exact",
        "source": f"drawn from the density {name}",
        "rows": [len(part) for part in rows],
        **scored,
        "milliseconds_per_step": round(1e3 * scored["seconds"] / scored["steps"], 2),
        "validation": validation,
        "test": test,
        "entropy_nats": planar_entropy(name),
    }


def table(config: Table, results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """Render a row a density and a column a model, in Markdown."""
    rows = []
    for data in config.data:
        runs = [results.get((data, method), []) for method in config.methods]
        entropies = {f"{result['entropy_nats']:.3f}" for some in runs for result in some}
        cells = [mean_and_spread([result["test"]["nats"] for result in some]) if some else "-" for some in runs]
        rows.append([data.replace("-", " "), *cells, *(entropies or "-")])
    columns = [
        [run for (_, name), some in results.items() if name == method for run in some] for method in config.methods
    ]
    for title, key, form in (("ms a step", "milliseconds_per_step", ".1f"), ("parameters", "parameters", ",")):
        medians = [f"{statistics.median_low([run[key] for run in runs]):{form}}" if runs else "-" for runs in columns]
        rows.append([title, *medians, ""])
    return (
        "Negative log-likelihood of the test rows in nats, exact, lower is better; mean ± standard deviation over "
        "seeds. Only the chance of the test rows takes a density below the entropy. A step's time is the median over "
        "all runs, evaluation of validation rows included.\n\n"
        + markdown(["density", *config.methods, "entropy"], rows)
    )
