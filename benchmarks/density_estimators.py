"""Held-out likelihood of four density estimators, none given more time of search than another: one run, one file.

python benchmarks/density_estimators.py                              # all sets, seeds 0 1 2, a minute a method
python benchmarks/density_estimators.py --data wine digits --seeds 0 --seconds 5

Rows are split 70/15/15 by the seed and standardised by the training rows. Each method looks for its options and weights
with the validation rows alone, until its time is up or all of its options are tried; the best on them scores the test
rows once.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from provenance import provenance
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tessflow import MixtureFlow
from tessflow.datasets import planar_log_density, planar_names, sample_planar

RESULTS = Path(__file__).parent / "results"
TABLES = {"digits": load_digits, "wine": load_wine, "breast_cancer": load_breast_cancer}
PCA_COLUMNS = 20
# Steps of a fit that finds out how long one takes.
FEW = 20

Rows = NDArray[np.float64]


class Attempt(NamedTuple):
    """A fitted model, and how well it does.

    Args:
        options: Its options.
        model: The model.
        validation: Its mean log-likelihood of the validation rows.
        seconds: The processor's time of fitting and scoring.
        before: What of it was before and after training.
    """

    options: dict[str, Any]
    model: Any
    validation: float
    seconds: float
    before: float


class Split(NamedTuple):
    """Standardised rows, and what standardising added to every log-likelihood."""

    train: Rows
    validation: Rows
    test: Rows
    log_scale: float
    truth: float | None


def main() -> None:
    """Compare the methods on all sets and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*TABLES, *planar_names()]
    parser.add_argument("--data", nargs="+", default=names, choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--seconds", type=float, default=60, help="of the processor, to search, for each method, set and seed"
    )
    parser.add_argument("--rows", type=int, default=5000, help="drawn from a density in the plane")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="density_estimators", help="of the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = {**provenance(), "scikit-learn": sklearn.__version__, "seconds": arguments.seconds, "runs": []}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{arguments.name}.json"
    with threadpool_limits(arguments.threads):
        for name, seed in product(arguments.data, arguments.seeds):
            split = load(name, seed, arguments.rows)
            seconds = arguments.seconds
            for method, search in METHODS.items():
                run = compare(split, search, seconds, seed)
                seconds = max(seconds, run["seconds"])  # the others may take as long as the first one took
                result["runs"].append({"data": name, "seed": seed, "method": method, "truth_nats": split.truth} | run)
                print(f"{name}, seed {seed}, {method}: {run['test_nats']:.3f} nats, {run['options']}", flush=True)
            path.write_text(json.dumps(result, indent=1) + "\n")  # what there is, should the run be stopped
    print(path)


def load(name: str, seed: int, planar_rows: int) -> Split:
    """Split a set, reduce the digits by a PCA of their training rows, and standardise."""
    planar = name in planar_names()
    rows = sample_planar(name, planar_rows, seed=seed) if planar else TABLES[name](return_X_y=True)[0]
    train, rest = train_test_split(rows, test_size=0.3, random_state=seed)
    validation, test = train_test_split(rest, test_size=0.5, random_state=seed)
    truth = -float(planar_log_density(name, test).mean()) if planar else None
    if name == "digits":
        pca = PCA(PCA_COLUMNS, svd_solver="full").fit(train)
        train, validation, test = (pca.transform(part) for part in (train, validation, test))
    scaler = StandardScaler().fit(train)
    train, validation, test = (scaler.transform(part) for part in (train, validation, test))
    return Split(train, validation, test, float(np.log(scaler.scale_).sum()), truth)


def compare(
    split: Split, search: Callable[[Split, float, int], Iterator[Attempt]], seconds: float, seed: int
) -> dict[str, Any]:
    """Search, and score the test rows by the model that is the best on the validation rows."""
    started = time.process_time()
    tried, best = [], None
    for attempt in search(split, seconds, seed):
        tried.append(attempt._replace(model=None))
        if best is None or attempt.validation > best.validation:
            best = attempt
    spent = time.process_time() - started
    if best is None:
        raise RuntimeError("nothing could be fitted: give more --seconds")
    scores = split.log_scale - best.model.score_samples(split.test)
    return {
        "rows": [len(part) for part in split[:3]],
        "columns": split.train.shape[1],
        "test_nats": float(scores.mean()),
        "test_standard_error": float(scores.std() / math.sqrt(len(scores))),
        "validation_nats": split.log_scale - best.validation,
        "options": best.options,
        "seconds": round(spent, 2),
        "seconds_of_the_best": round(best.seconds, 2),
        "attempts": len(tried),
        "tried": [
            {**options, "validation_nats": round(split.log_scale - validation, 4), "seconds": round(taken, 2)}
            for options, _, validation, taken, _ in sorted(tried, key=lambda attempt: -attempt.validation)[:10]
        ],
    }


def gaussian_mixtures(split: Split, seconds: float, seed: int) -> Iterator[Attempt]:
    """Fit all numbers of components and kinds of covariances, from other starts as long as there is time."""
    end = time.process_time() + seconds
    for restart in count():
        for components, covariances in product((1, 2, 3, 5, 8, 12, 20, 30, 50), ("full", "tied", "diag", "spherical")):
            if restart and time.process_time() > end:
                return
            options = {"n_components": components, "covariance_type": covariances}
            model = GaussianMixture(**options, reg_covar=1e-5, max_iter=500, random_state=seed + 1000 * restart)
            try:
                yield attempt(model, split, options | {"start": restart})
            except ValueError:  # more components than rows, or one has collapsed
                continue


def kernel_densities(split: Split, seconds: float, seed: int) -> Iterator[Attempt]:
    """Fit all bandwidths, however little time that takes."""
    for bandwidth in np.logspace(-2, 0.5, 51).round(4).tolist():
        yield attempt(KernelDensity(bandwidth=bandwidth), split, {"bandwidth": bandwidth})


def averaged_gaussian_mixtures(split: Split, seconds: float, seed: int) -> Iterator[Attempt]:
    """Average eight starts of each choice of options in turn, the best by one start first, as long as there is time."""
    end = time.process_time() + seconds
    single = []
    for one in gaussian_mixtures(split, 0, seed):
        single.append(one)
    for one in sorted(single, key=lambda attempt: -attempt.validation):
        options = {name: one.options[name] for name in ("n_components", "covariance_type")}
        models = [
            GaussianMixture(**options, reg_covar=1e-5, max_iter=500, random_state=seed + 1000 * n) for n in range(8)
        ]
        with suppress(ValueError):  # one has collapsed
            yield attempt(AveragedMixtures(models), split, options | {"starts": len(models)})
        if time.process_time() > end:
            return


@dataclass
class AveragedMixtures:
    """The mean of the densities of several mixtures."""

    models: list[GaussianMixture]

    def fit(self, rows: Rows) -> None:
        """Fit all of them."""
        for model in self.models:
            model.fit(rows)

    def score_samples(self, rows: Rows) -> Rows:
        """Return the log-density of each row."""
        scores = [model.score_samples(rows) for model in self.models]
        return np.asarray(np.logaddexp.reduce(scores, axis=0)) - math.log(len(scores))


def mixture_flows(split: Split, seconds: float, seed: int) -> Iterator[Attempt]:
    """Fit six choices of options for half of the time, and several estimators of the best one for the other half.

    Of 1, 2 and 4 estimators there are as many as start within a third of that time.
    """
    cells = ((1, "affine", True), (4, "spline", True), (16, "spline", False), (48, "affine", True))
    candidates: list[dict[str, Any]] = [
        {"n_cells": None, "learn_gaussians": True},
        {"n_cells": None, "learn_gaussians": False},
        *({"n_cells": count, "univariate": kind, "whiten": whiten} for count, kind, whiten in cells),
    ]
    found: list[Attempt] = []
    for options in candidates:
        like = found[0] if found and options["n_cells"] is None else None  # the second one is as fast as the first
        found.append(flow_within(seconds / 2 / len(candidates), options, split, seed, like))
        yield found[-1]
    best = max(found, key=lambda attempt: attempt.validation)
    most = max(n for n in (1, 2, 4) if n == 1 or n * best.before <= seconds / 6)
    options = {name: value for name, value in best.options.items() if name != "max_steps"} | {"n_estimators": most}
    yield flow_within(seconds / 2, options, split, seed, like=best)


def flow_within(
    seconds: float, options: dict[str, Any], split: Split, seed: int, like: Attempt | None = None
) -> Attempt:
    """Fit a MixtureFlow with as many steps as there is time for, as another fit tells, or else one of a few steps."""
    if like is None:
        like = attempt(MixtureFlow(**options, max_steps=FEW, random_state=seed), split, options)
        seconds -= like.seconds
    estimators = options.get("n_estimators", 1)
    training = like.seconds - like.before
    remaining = seconds - estimators * like.before
    steps = int(np.clip(like.model.result_.steps * remaining / training, FEW * estimators, 20_000))
    return attempt(MixtureFlow(**options, max_steps=steps, random_state=seed), split, options | {"max_steps": steps})


def attempt(model: Any, split: Split, options: dict[str, Any]) -> Attempt:
    """Fit a model to the training rows and score the validation rows."""
    started, on_the_clock = time.process_time(), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if isinstance(model, MixtureFlow):
            model.fit(split.train, X_validation=split.validation)
        else:
            model.fit(split.train)
    validation = float(model.score_samples(split.validation).mean())
    seconds, share = time.process_time() - started, 1.0
    if (result := getattr(model, "result_", None)) is not None:
        share -= result.seconds / (time.perf_counter() - on_the_clock)
    return Attempt(options, model, validation, seconds, seconds * share)


METHODS: dict[str, Callable[[Split, float, int], Iterator[Attempt]]] = {
    "MixtureFlow": mixture_flows,
    "GaussianMixture": gaussian_mixtures,
    "8 GaussianMixtures": averaged_gaussian_mixtures,
    "KernelDensity": kernel_densities,
}

if __name__ == "__main__":
    main()
