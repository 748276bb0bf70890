"""Mixed tables: held-out likelihood, quality of samples and imputation, beside peers: one file of results a table.

OMP_NUM_THREADS=1 python benchmarks/mixed_tables.py                                 # all tables, three splits
OMP_NUM_THREADS=1 python benchmarks/mixed_tables.py --only peers                    # without what is a network
OMP_NUM_THREADS=1 python benchmarks/mixed_tables.py --data housing --seeds 0 --seconds 30 --out /tmp/try

Tables are files of installed packages (`mixed_data.py` says which), split 70/10/20 by the seed, and Mushroom with the
paper's split, of which likelihoods alone are measured. Everything is fitted to the training rows, the validation rows
choose, and the test rows are for the measurement. What the training rows did not hold is one event for all methods
alike, "something not seen"; likelihoods are given of rows with and without it. Peers are optional packages, which
`mixed_peers.py` names.

A result file is written after each method; called again, the script goes on with what is not in it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from events import encoded, three_ways, unseen_rows
from independent import factorised
from mixed_data import MUSHROOM, TABLES, Split, classes, matrix, splits
from mixed_peers import DENSITIES, IMPUTERS, argn, gaussian_copula, installed, shuffled
from mixed_quality import copies, quality
from numpy.typing import NDArray
from provenance import provenance
from result_file import ResultFile
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tessflow import TabularFlow
from tessflow.tables import TableSchema

RESULTS = Path(__file__).parent / "results" / "mixed_tables"
MEASURES = ("likelihood", "samples", "imputation")
PARTS = ("flow", "peers", "argn")
HIDDEN = 0.2

Rows = NDArray[np.float64]
Fit = tuple[TabularFlow, float]  # and its seconds
Row = dict[str, Any]
Measurement = tuple[str, str, Callable[[], Row]]  # the measure, the method, and what takes it


def main() -> None:
    """Measure what is not in the result files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*TABLES, MUSHROOM]
    parser.add_argument("--data", nargs="+", default=names, choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=PARTS, choices=PARTS, help="flows, peers, TabularARGN")
    parser.add_argument("--seconds", type=float, help="of training, for each flow and TabularARGN; else their defaults")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="options of TabularFlow, as JSON")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the result files")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    options = {name: json.loads(value) for name, value in (item.split("=", 1) for item in arguments.set)}
    config = {"seconds": arguments.seconds, "options": options, "hidden": HIDDEN}
    made_by = {**provenance(), "scikit-learn": sklearn.__version__, "config": config}
    arguments.out.mkdir(parents=True, exist_ok=True)
    with threadpool_limits(arguments.threads):
        for seed, name in product(arguments.seeds, arguments.data):
            try:
                data = splits(name, seed)
            except (ModuleNotFoundError, OSError) as error:
                print(f"without {name}: {error}")
                continue
            schema = TableSchema.infer(data.train, scaling=options.get("scaling", "quantile"))
            results = ResultFile(arguments.out / f"{name}.json", {"table": describe(name, data)}, made_by, MEASURES)
            for measure, method, take in Table(name, data, schema, seed, arguments.seconds, options).all(
                arguments.only
            ):
                if not results.has(measure, seed=seed, method=method):
                    row = results.add(measure, {"seed": seed, "method": method, **take()})
                    print(f"{name}, {measure}:", json.dumps(row), flush=True)


def describe(name: str, data: Split) -> Row:
    """Return what the result file says of a table."""
    train, source = data.train, TABLES.get(name)
    return {
        "name": name,
        "package": source.package if source else "UCI, by tessflow.datasets",
        "licence": source.licence if source else "CC BY 4.0",
        "rows": [len(data.train), len(data.validation), len(data.test)],
        "columns": train.shape[1],
        "class_columns": int(classes(train).sum()) if source else train.shape[1],
        "missing": float(train.isna().to_numpy().mean()),
    }


@dataclass
class Table:
    """One split of a table, and what can be measured of it; flows are fitted when they are first asked for."""

    name: str
    data: Split
    schema: TableSchema
    seed: int
    seconds: float | None
    options: Row

    def all(self, parts: tuple[str, ...]) -> Iterator[Measurement]:
        """Yield the measurements of some parts."""
        measures = {"likelihood": self.likelihoods}
        if self.name != MUSHROOM:
            measures |= {"samples": self.samples, "imputation": self.imputations}
        for measure, methods in measures.items():
            for part in parts:
                yield from ((measure, method, take) for method, take in methods(part).items())

    def likelihoods(self, part: str) -> dict[str, Callable[[], Row]]:
        """Score all test rows."""
        if part == "flow":
            return {
                "TabularFlow, any order": lambda: self._scored_by_flow("any"),
                "TabularFlow, any order, orders=1": lambda: self._scored_by_flow("any", orders=1),
                "TabularFlow, fixed order": lambda: self._scored_by_flow("fixed"),
            }
        if part == "argn":
            return {}
        densities = {
            method: partial(self._scored_by_peer, fit)
            for method, (package, fit) in DENSITIES.items()
            if installed(method, package)
        }
        mixture = partial(self._independent, mixture=True)
        return {
            **densities,
            "independent, scale or mixture": mixture,
            "independent, scale": partial(self._independent, mixture=False),
        }

    def _scored_by_flow(self, order: str, **options: Any) -> Row:
        flow, spent = self._flow(order)
        scores, scoring = timed(flow.score_samples, self.data.test, **options)
        steps = flow.result_.steps if flow.result_ else None
        return self._likelihood(scores, spent, scoring) | {"steps": steps}

    def _scored_by_peer(self, fit: Callable[..., Any]) -> Row:
        train, validation = (list(encoded(self.schema, part)) for part in (self.data.train, self.data.validation))
        peer, spent = timed(fit, train, validation, seed=self.seed)
        scores, scoring = timed(lambda: peer.log_prob(list(encoded(self.schema, self.data.test))).numpy())
        return self._likelihood(scores, spent, scoring) | {"chosen": peer.chosen}

    def _independent(self, *, mixture: bool) -> Row:
        scores, spent = timed(factorised, self.schema, self.data, mixture=mixture, seed=self.seed)
        return self._likelihood(scores, spent, None)

    def _likelihood(self, scores: Rows, spent: float, scoring: float | None) -> Row:
        ways = three_ways(scores, unseen_rows(self.schema, self.data.test))
        return {**ways, "fit_seconds": round(spent, 3), "score_seconds": _per_thousand(scoring, len(scores))}

    def samples(self, part: str) -> dict[str, Callable[[], Row]]:
        """Compare as many sampled rows as there are test rows with these, and training rows with them for a ceiling."""
        n, seed = len(self.data.test), self.seed
        if part == "flow":
            return {
                f"TabularFlow, {order} order": lambda order=order: self._compared(*self._drawing(order))  # type: ignore[misc]
                for order in ("any", "fixed")
            }
        if part == "argn":
            if not installed("TabularARGN", "mostlyai"):
                return {}
            return {"TabularARGN": lambda: self._compared(*timed(argn, self.data, n, self.seconds, seed))}
        train = self.train
        order = np.random.default_rng(seed).permutation(len(train))
        return {
            "training rows": lambda: self._compared(lambda: train[order[:n]], None),
            "Gaussian copula": lambda: self._compared(partial(gaussian_copula, train, n, seed), None),
            "independent, shuffled": lambda: self._compared(partial(shuffled, train, n, seed), None),
        }

    def _drawing(self, order: str) -> tuple[Callable[[], Rows], float]:
        flow, spent = self._flow(order)
        return lambda: matrix(flow.sample(len(self.data.test), random_state=self.seed), self.data.train), spent

    def _compared(self, draw: Callable[[], Rows], spent: float | None) -> Row:
        sample, sampling = timed(draw)
        return {
            **quality(self.test, sample, classes(self.data.train), seed=self.seed),
            "copies": copies(sample, self.train),
            "copies_among_test_rows": copies(self.test, self.train),
            "fit_seconds": None if spent is None else round(spent, 3),
            "sample_seconds": _per_thousand(sampling, len(sample)),
        }

    def imputations(self, part: str) -> dict[str, Callable[[], Row]]:
        """Hide entries of the test rows and fill them in: right classes, errors in training standard deviations."""
        if part == "flow":
            return {
                "TabularFlow, any order": lambda: self._imputed(partial(self._by_flow, "typical")),
                "TabularFlow, any order, means": lambda: self._imputed(partial(self._by_flow, "mean")),
            }
        if part == "argn":
            return {}
        return {
            method: partial(self._imputed, partial(self._by_peer, impute))
            for method, (package, impute) in IMPUTERS.items()
            if installed(method, package)
        }

    def _by_flow(self, strategy: str, hidden: NDArray[np.bool_]) -> tuple[Rows, float]:
        flow, _ = self._flow("any")
        table = self.data.test.mask(hidden)
        filled, spent = timed(flow.impute, table, strategy=strategy, random_state=self.seed)
        return matrix(filled, self.data.train), spent

    def _by_peer(self, impute: Callable[..., Rows], hidden: NDArray[np.bool_]) -> tuple[Rows, float]:
        holes = np.where(hidden, np.nan, self.test)
        return timed(impute, self.train, holes, classes(self.data.train), self.seed)

    def _imputed(self, impute: Callable[[NDArray[np.bool_]], tuple[Rows, float]]) -> Row:
        is_class = classes(self.data.train)
        hidden = (np.random.default_rng(self.seed).random(self.test.shape) < HIDDEN) & ~np.isnan(self.test)
        filled, spent = impute(hidden)
        if np.isnan(filled[hidden]).any():
            raise ValueError(f"{np.isnan(filled[hidden]).sum()} hidden entries of {self.name} were left empty")
        right = (filled == self.test)[:, is_class][hidden[:, is_class]]
        errors = ((filled - self.test) / np.nanstd(self.train, axis=0))[:, ~is_class][hidden[:, ~is_class]]
        return {
            "accuracy": float(right.mean()),
            "rmse": float(np.sqrt(np.mean(errors**2))),
            "mae": float(np.mean(np.abs(errors))),
            "entries": [int(right.size), int(errors.size)],
            "seconds": round(spent, 3),
        }

    def _flow(self, order: str) -> Fit:
        return self._any if order == "any" else self._fixed

    @cached_property
    def _any(self) -> Fit:
        return timed(self._fitted, order="any")

    @cached_property
    def _fixed(self) -> Fit:
        return timed(self._fitted, order="fixed")

    def _fitted(self, **options: Any) -> TabularFlow:
        """Fit a TabularFlow; in limited time with as many steps as it is enough for, which a few steps foretell."""

        def fit(**steps: Any) -> TabularFlow:
            flow = TabularFlow(**self.options, **options, **steps, random_state=self.seed)
            return flow.fit(self.data.train, schema=self.schema, X_validation=self.data.validation)

        if self.seconds is None:
            return fit()
        few = 50
        brief, spent = timed(fit, max_steps=few)
        training = brief.result_.seconds
        return fit(max_steps=int(np.clip(few * (self.seconds - 2 * spent + training) / training, few, 100_000)))

    @cached_property
    def train(self) -> Rows:
        """The training rows as numbers."""
        return matrix(self.data.train, self.data.train)

    @cached_property
    def test(self) -> Rows:
        """The test rows as numbers."""
        return matrix(self.data.test, self.data.train)


def timed(call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, float]:
    """Return what a call returns, and its seconds."""
    started = time.perf_counter()
    result = call(*arguments, **options)
    return result, time.perf_counter() - started


def _per_thousand(seconds: float | None, rows: int) -> float | None:
    return None if seconds is None else round(1000 * seconds / rows, 4)


if __name__ == "__main__":
    main()
