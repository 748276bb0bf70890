"""The tables of the gallery in Markdown, from its result files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from tessflow.datasets import planar_names
from tessflow.viz.gallery.run import MODELS, GalleryConfig

__all__ = ["read_results", "tables"]

Results = Sequence[dict[str, Any]]


def read_results(directory: Path, config: GalleryConfig | None = None) -> list[dict[str, Any]]:
    """Read result files, ordered by set and seed.

    Args:
        directory: Where ``*.json`` are.
        config: Options of the results to read; those of others are left out. By default all are read.

    Raises:
        ValueError: If there are no results, or without `config` results of different options; or if a file is damaged.
    """
    results = [_read(path) for path in sorted(directory.glob("*.json"))]
    if config is not None:
        results = [result for result in results if result["config"] == config.model_dump(mode="json")]
    if not results:
        raise ValueError(f"{directory} holds no results of the gallery: run `tessflow gallery`")
    if any(result["config"] != results[0]["config"] for result in results):
        raise ValueError(f"{directory} holds results of different options: keep those of one run")
    order = planar_names()
    return sorted(results, key=lambda result: (order.index(result["set"]), result["seed"]))


def _read(path: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(path.read_text())
        result["config"], result["set"], result["models"]
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{path} is damaged, or no result of the gallery: delete it") from None
    return result


def tables(results: Results) -> str:
    """Render the two tables in Markdown: negative log-likelihoods, and differences of mixture and flow.

    Args:
        results: What :func:`train_pair` returns, or :func:`read_results`.
    """
    by_set: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_set.setdefault(result["set"], []).append(result)
    likelihoods, differences = [], []
    for name, runs in by_set.items():
        loss = {kind: [-run["models"][kind]["test_nats"] for run in runs] for kind in MODELS}
        entropy = f"{runs[0]['entropy_nats']:.3f}"
        title = name.replace("_", " ")
        likelihoods.append([title, *(_spread(loss[kind]) for kind in MODELS), entropy])
        pairs = [zip(loss[f"{kind} mixture"], loss[f"{kind} flow"], strict=True) for kind in ("affine", "spline")]
        differences.append([title, *(_spread([a - b for a, b in pair], signed=True) for pair in pairs)])
    return (
        "Negative log-likelihood of the test rows in nats, exact, lower is better; mean ± standard deviation over "
        "seeds. Only the chance of the test rows takes a density below the entropy.\n\n"
        + _table(["set", *MODELS, "entropy"], likelihoods)
        + "\nDifferences on the same test rows, in nats: below 0 the mixture is better.\n\n"
        + _table(["set", "affine mixture - affine flow", "spline mixture - spline flow"], differences)
        + f"\n{_made_by(results)}"
        + "".join(_alarm(result) for result in results)
    )


def _spread(values: Sequence[float], *, signed: bool = False) -> str:
    mean = f"{fmean(values):{'+' if signed else ''}.3f}"
    return f"{mean} ± {stdev(values):.3f}" if len(values) > 1 else mean


def _alarm(result: dict[str, Any]) -> str:
    """Name the models that score better than the truth can be scored: no chance, but an error in the code."""
    kinds = [kind for kind in MODELS if result["models"][kind]["impossible"]]
    return f"\n{result['set']}, seed {result['seed']}: IMPOSSIBLY GOOD are {', '.join(kinds)}.\n" if kinds else ""


def _made_by(results: Results) -> str:
    config = GalleryConfig(**results[0]["config"])
    runs = sorted(set(Counter(result["set"] for result in results).values()))
    seeds = " to ".join(str(number) for number in (runs[0], runs[-1])[: len(runs)])
    seconds = fmean(sum(model["seconds"] for model in result["models"].values()) for result in results)
    parameters = ", ".join(f"{results[0]['models'][kind]['parameters']:,} ({kind})" for kind in MODELS)
    hardware = "; ".join(sorted({f"{result['hardware']}, torch {result['torch']}" for result in results}))
    return (
        f"{config.layers} layers, {config.cells} cells, {config.steps:,} steps of {config.batch_size} rows, "
        f"{config.train_rows:,} training, {config.validation_rows:,} validation and {config.test_rows:,} test rows; "
        f"seeds a set: {seeds}. "
        f"Parameters: {parameters}. Training took {seconds:.0f} s a set and seed for all four models on one thread "
        f"({hardware}).\n"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
