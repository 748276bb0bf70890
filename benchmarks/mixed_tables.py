"""Mixed tables: held-out likelihood, quality of samples and imputation, beside peers: one run, one file.

python benchmarks/mixed_tables.py                                            # all tables, seed 0, 120 seconds a fit
python benchmarks/mixed_tables.py --data housing --seeds 0 1 2 --seconds 30 --name try
python benchmarks/mixed_tables.py --without flow argn                        # only what takes no training

Tables are files of installed packages (`mixed_data.py` says which), split 70/10/20 by the seed. Everything is fitted to
the training rows, the validation rows choose, and the test rows are for the measurement. What the training rows did
not hold is one event for all methods alike, "something not seen"; likelihoods are given of rows with and without it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import torch
from events import three_ways, unseen_rows
from independent import factorised
from mixed_data import TABLES, Split, classes, load, matrix, split
from mixed_peers import (
    argn,
    gaussian_copula,
    has_argn,
    impute_by_regression,
    impute_by_trees,
    impute_most_frequent,
    shuffled,
)
from mixed_quality import copies, quality
from numpy.typing import NDArray
from provenance import provenance
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tessflow import TabularFlow
from tessflow.tables import TableSchema

RESULTS = Path(__file__).parent / "results"
HIDDEN = 0.2

Rows = NDArray[np.float64]
Flows = dict[str, tuple[TabularFlow, float]]  # and the seconds of their fits


def main() -> None:
    """Measure all tables and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", nargs="+", default=list(TABLES), choices=TABLES, metavar="NAME", help=", ".join(TABLES)
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument(
        "--seconds", type=float, default=120, help="of training, for each flow and each peer that is trained"
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="options of TabularFlow, as JSON")
    parser.add_argument("--without", nargs="*", default=[], choices=("flow", "argn"), help="leave out what is trained")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="mixed_tables", help="of the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if not has_argn() and "argn" not in arguments.without:
        print("without TabularARGN, since mostlyai-engine is not installed")
        arguments.without.append("argn")
    options = {name: json.loads(value) for name, value in (item.split("=", 1) for item in arguments.set)}
    result: dict[str, Any] = {
        **provenance(),
        "scikit-learn": sklearn.__version__,
        "config": {"seconds": arguments.seconds, "options": options, "hidden": HIDDEN},
        "tables": {},
        "likelihood": [],
        "samples": [],
        "imputation": [],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{arguments.name}.json"
    with threadpool_limits(arguments.threads):
        for name, seed in product(arguments.data, arguments.seeds):
            data = split(load(name), seed)
            schema = TableSchema.infer(data.train, scaling=options.get("scaling", "quantile"))
            result["tables"].setdefault(name, describe(name, data))
            for measure, rows in run(data, schema, seed, arguments.seconds, options, arguments.without).items():
                for row in rows:
                    result[measure].append({"data": name, "seed": seed} | row)
                    print(f"{name}, seed {seed}, {measure}:", json.dumps(row), flush=True)
            path.write_text(json.dumps(result, indent=1) + "\n")  # what there is, should the run be stopped
    print(path)


def describe(name: str, data: Split) -> dict[str, Any]:
    """Return what the result file says of a table."""
    source, train = TABLES[name], data.train
    return {
        "package": source.package,
        "licence": source.licence,
        "rows": [len(data.train), len(data.validation), len(data.test)],
        "columns": train.shape[1],
        "class_columns": int(classes(train).sum()),
        "missing": float(np.isnan(matrix(train, train)).mean()),
    }


def run(
    data: Split, schema: TableSchema, seed: int, seconds: float, options: dict[str, Any], without: list[str]
) -> dict[str, list[dict[str, Any]]]:
    """Fit the flows, and take all three measurements of one split."""
    orders = () if "flow" in without else ("any", "fixed")
    flows = {
        f"TabularFlow, {order} order": timed(flow_within, seconds, data, schema, seed, order=order, **options)
        for order in orders
    }
    budget = None if "argn" in without else seconds
    return {
        "likelihood": likelihoods(flows, data, schema, seed),
        "samples": samples(flows, data, seed, budget),
        "imputation": imputations(flows, data, seed),
    }


def likelihoods(flows: Flows, data: Split, schema: TableSchema, seed: int) -> list[dict[str, Any]]:
    """Score the test rows, all of them."""
    unseen = unseen_rows(schema, data.test)
    scored = {method: (flow.score_samples(data.test), spent, flow.result_) for method, (flow, spent) in flows.items()}
    for method, mixture in (("independent, scale", False), ("independent, scale or mixture", True)):
        scored[method] = (*timed(factorised, schema, data, mixture=mixture, seed=seed), None)
    return [
        {
            "method": method,
            **three_ways(scores, unseen),
            "seconds": round(spent, 2),
            "steps": training.steps if training else None,
        }
        for method, (scores, spent, training) in scored.items()
    ]


def samples(flows: Flows, data: Split, seed: int, budget: float | None) -> list[dict[str, Any]]:
    """Compare as many sampled rows as there are test rows with these, and training rows with them for a ceiling."""
    train, test = matrix(data.train, data.train), matrix(data.test, data.train)
    n = len(test)
    order = np.random.default_rng(seed).permutation(len(train))
    draws: dict[str, tuple[Callable[[], Rows], float]] = {"training rows": (lambda: train[order[:n]], 0.0)}
    for method, (flow, spent) in flows.items():
        draws[method] = (partial(drawn, flow, n, seed, data.train), spent)
    if budget is not None:
        draws["TabularARGN"] = timed(argn, data, n, budget, seed)
    draws["Gaussian copula"] = (partial(gaussian_copula, train, n, seed), 0.0)
    draws["independent, shuffled"] = (partial(shuffled, train, n, seed), 0.0)
    rows = []
    for method, (draw, spent) in draws.items():
        sample, sampling = timed(draw)
        scores = quality(test, sample, classes(data.train), seed=seed)
        copied = {"copies": copies(sample, train), "copies_among_test_rows": copies(test, train)}
        times = {"fit_seconds": round(spent, 2), "sample_seconds": round(sampling, 2)}
        rows.append({"method": method, **scores, **copied, **times})
    return rows


def imputations(flows: Flows, data: Split, seed: int) -> list[dict[str, Any]]:
    """Hide entries of the test rows and fill them in: right classes, errors in training standard deviations."""
    train, test, is_class = matrix(data.train, data.train), matrix(data.test, data.train), classes(data.train)
    hidden = (np.random.default_rng(seed).random(test.shape) < HIDDEN) & ~np.isnan(test)
    holes = np.where(hidden, np.nan, test)
    imputers: dict[str, Callable[[], Rows]] = {
        method: partial(filled_in, flow, data.test.mask(hidden), seed, data.train)
        for method, (flow, _) in flows.items()
        if "any" in method
    }
    imputers["IterativeImputer"] = partial(impute_by_regression, train, holes, is_class, seed)
    imputers["boosted trees"] = partial(impute_by_trees, train, holes, is_class, seed)
    imputers["most frequent, median"] = partial(impute_most_frequent, train, holes, is_class)
    rows = []
    for method, fill in imputers.items():
        filled, spent = timed(fill)
        if np.isnan(filled[hidden]).any():
            raise ValueError(f"{method} has left {np.isnan(filled[hidden]).sum()} hidden entries empty")
        right = (filled == test)[:, is_class][hidden[:, is_class]]
        errors = ((filled - test) / np.nanstd(train, axis=0))[:, ~is_class][hidden[:, ~is_class]]
        rows.append(
            {
                "method": method,
                "accuracy": float(right.mean()),
                "rmse": float(np.sqrt(np.mean(errors**2))),
                "mae": float(np.mean(np.abs(errors))),
                "entries": [int(right.size), int(errors.size)],
                "seconds": round(spent, 2),
            }
        )
    return rows


def flow_within(seconds: float, data: Split, schema: TableSchema, seed: int, **options: Any) -> TabularFlow:
    """Fit a TabularFlow with as many steps as there is time for, which a fit of a few steps foretells."""

    def fit(steps: int) -> TabularFlow:
        flow = TabularFlow(**options, max_steps=steps, random_state=seed)
        return flow.fit(data.train, schema=schema, X_validation=data.validation)

    few = 50
    brief, spent = timed(fit, few)
    training = brief.result_.seconds
    return fit(int(np.clip(few * (seconds - 2 * spent + training) / training, few, 100_000)))


def drawn(flow: TabularFlow, n: int, seed: int, like: pd.DataFrame) -> Rows:
    """Sample from a flow."""
    return matrix(flow.sample(n, random_state=seed), like)


def filled_in(flow: TabularFlow, table: pd.DataFrame, seed: int, like: pd.DataFrame) -> Rows:
    """Impute by a flow."""
    return matrix(flow.impute(table, strategy="typical", random_state=seed), like)


def timed(call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, float]:
    """Return what a call returns, and its seconds."""
    started = time.perf_counter()
    result = call(*arguments, **options)
    return result, time.perf_counter() - started


if __name__ == "__main__":
    main()
