"""Any table, any row: 21 real tables are fitted on four fifths of their rows, and the last fifth is scored, all of it.

    OMP_NUM_THREADS=1 python benchmarks/held_out.py --jobs 2                              # all tables, five splits each
    python benchmarks/held_out.py --tables penguins mpg --splits 2 --steps 300 --out /tmp/try.json

A split is fitted as a new user would: the table as `pd.read_csv` or scikit-learn reads it, with its dtypes, and
`TabularFlow` with its defaults. Only text that names rows, with another value in each, is declared as a key. What the
training rows did not hold is the event "something not seen", of which nats are given three ways. Beside the flow are
independent columns (`independent.py`) with the same events, the same training rows and the same validation rows.

The result file is written after each split; called again, the script goes on with what is not in it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import torch
from events import three_ways, unseen_rows
from independent import factorised
from mixed_data import Split, file_of
from numpy.typing import NDArray
from provenance import provenance
from render import held_out
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_linnerud, load_wine
from sklearn.model_selection import cross_val_score, train_test_split
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tessflow import TabularFlow
from tessflow.estimators.base import split_places
from tessflow.provenance import commit
from tessflow.tables import ClassColumn, KeyColumn, NumericColumn, TableSchema

RESULT = Path(__file__).parent / "results" / "held_out.json"
# Of a table with more rows than the first so many are taken, at random, as the second says.
LARGE, TAKEN = 10_000, 5_000


def _csv(package: str, path: str) -> pd.DataFrame:
    return pd.read_csv(file_of(package, path))


def _of_sklearn(loader: Callable[..., Any], **options: Any) -> pd.DataFrame:
    return loader(as_frame=True, **options).frame


# Left out of plotnine: Anscombe's quartet (invented), faithfuld (a density on a grid), presidential (11 rows) and
# penguins (again); of scikit-learn: digits (images).
TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    **{
        name: partial(_csv, "plotnine", f"data/{name}.csv")
        for name in (
            "diamonds", "economics", "economics_long", "faithful", "huron", "luv_colours", "meat", "midwest", "mpg",
            "msleep", "mtcars", "pageviews", "seals", "txhousing",
        )
    },
    "penguins": partial(_csv, "palmerpenguins", "data/penguins.csv"),
    "penguins_raw": partial(_csv, "palmerpenguins", "data/penguins-raw.csv"),
    "iris": partial(_of_sklearn, load_iris),
    "wine": partial(_of_sklearn, load_wine),
    "breast_cancer": partial(_of_sklearn, load_breast_cancer),
    "diabetes": partial(_of_sklearn, load_diabetes, scaled=False),
    "linnerud": partial(_of_sklearn, load_linnerud),
}  # fmt: skip
# Text with another value in every row, declared as keys.
KEYS = {
    "economics": "date",
    "luv_colours": "col",
    "meat": "date",
    "msleep": "name",
    "mtcars": "name",
    "pageviews": "date_hour",
}


def main() -> None:
    """Score all splits that the result file lacks, and print what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tables", nargs="+", default=list(TABLES), choices=TABLES, metavar="NAME", help=", ".join(TABLES)
    )
    parser.add_argument("--splits", type=int, default=5, help="how many, each with its own seed")
    parser.add_argument("--steps", type=int, help="most training steps; by default TabularFlow's own")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--out", type=Path, default=RESULT, help="the result file")
    arguments = parser.parse_args()
    steps = arguments.steps
    result = _begun(arguments.out, steps)
    done = {(run["table"], run["split"]) for run in result["runs"] if run["scored"]}
    wanted = [pair for pair in product(arguments.tables, range(arguments.splits)) if pair not in done]
    wanted.sort(key=lambda pair: -len(load(pair[0])))  # what takes longest, first
    context = get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures: dict[Future[Any], str] = {pool.submit(measure, *pair, steps): "runs" for pair in wanted}
        if "penguins" in arguments.tables:
            for one_schema in (False, True):
                name = "one schema" if one_schema else "a schema a fold"
                if name not in result["cross_validation"]:
                    futures[pool.submit(cross_validate, steps, one_schema=one_schema)] = name
        for future in as_completed(futures):
            part, name = future.result(), futures[future]
            if name == "runs":
                same = (part["table"], part["split"])
                result["runs"] = [run for run in result["runs"] if (run["table"], run["split"]) != same] + [part]
                result["runs"].sort(key=lambda run: (list(TABLES).index(run["table"]), run["split"]))
            else:
                result["cross_validation"][name] = part
            _write(arguments.out, result)
            print(json.dumps({name: part} if name != "runs" else part)[:300], flush=True)
    print(held_out(result))


def load(name: str) -> pd.DataFrame:
    """Read a table, or a random part of a large one."""
    frame = TABLES[name]()
    return frame.sample(TAKEN, random_state=0).reset_index(drop=True) if len(frame) > LARGE else frame


def measure(name: str, split: int, steps: int | None) -> dict[str, Any]:
    """Fit one split and score its test rows; what goes wrong is part of the result."""
    run: dict[str, Any] = {"table": name, "split": split, "commit": commit(), "scored": False}
    started = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
            warnings.simplefilter("always")
            run |= _measured(load(name), KEYS.get(name), split, steps)
        run["warnings"] = sorted({str(warning.message) for warning in caught})
    except Exception as error:  # it is what is measured here
        run["error"] = f"{type(error).__name__}: {error}"
    return run | {"seconds": round(time.perf_counter() - started, 1)}


def _measured(frame: pd.DataFrame, key: str | None, split: int, steps: int | None) -> dict[str, Any]:
    train, test = train_test_split(frame, test_size=0.2, random_state=split)
    flow = TabularFlow(max_steps=steps, random_state=split)
    flow.fit(train, schema=None if key is None else _with_key(TableSchema.infer(train), key))
    scores, unseen = flow.score_samples(test), unseen_rows(flow.schema_, test)
    fitted, chosen = split_places(len(train), flow.options_.validation_fraction, flow.options_.random_state)
    data = Split(train.iloc[fitted], train.iloc[chosen], test)
    others = factorised(flow.schema_, data, mixture=True, seed=split)
    return {
        "scored": bool(np.isfinite(scores).all() and np.isfinite(others).all()),
        "rows": [len(train), len(test)],
        "columns": len(flow.schema_.columns),
        "key": key,
        "steps": flow.result_.steps if flow.result_ else None,
        "flow": three_ways(scores, unseen),
        "independent": three_ways(others, unseen),
        "gain": {"seen": _mean(scores[~unseen] - others[~unseen]), "all": _mean(scores - others)},
        "unseen": {name: share for name, share in flow.find_unseen(test).mean().items() if share},
        "measures": measures(flow.schema_),
    }


def _with_key(schema: TableSchema, key: str) -> TableSchema:
    """Declare a key; the classes are left to the rows that are trained on, as they are without a schema."""
    columns = tuple(
        column.model_copy(update={"values": ()}) if isinstance(column, ClassColumn) else column
        for column in schema.columns
        if column.name != key
    )
    return TableSchema(columns=columns, keys=(KeyColumn(name=key),))


def _mean(differences: NDArray[np.float64]) -> list[float | None]:
    """Return the mean of differences of rows, and its standard error."""
    if not len(differences):
        return [None, None]
    return [float(differences.mean()), float(differences.std() / math.sqrt(len(differences)))]


def measures(schema: TableSchema) -> dict[str, str]:
    """Say what log-likelihoods of each column are: of real numbers, atoms alone have probabilities."""
    found = {}
    for column in schema.columns:
        measure = column.measure if isinstance(column, NumericColumn) else "probabilities of classes"
        if isinstance(column, NumericColumn) and not column.whole and column.atoms:
            measure += f", but for {', '.join(map(str, column.shown_atoms))}"
        found[str(column.name)] = measure
    return found


def cross_validate(steps: int | None, *, one_schema: bool) -> list[float]:
    """Return the scores of scikit-learn's cross-validation of the penguins, five folds in the order of the rows."""
    frame = load("penguins")
    params = {"schema": TableSchema.infer(frame)} if one_schema else None
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")  # two folds lack a species
        flow = TabularFlow(max_steps=steps, random_state=0)
        return [float(score) for score in cross_val_score(flow, frame, cv=5, params=params)]


def _begun(path: Path, steps: int | None) -> dict[str, Any]:
    """Return a result file that was begun with the same options, or a new one."""
    result: dict[str, Any] = {"config": {"steps": steps}, "runs": [], "cross_validation": {}}
    if path.exists():
        begun = json.loads(path.read_text())
        if begun["config"] != result["config"]:
            raise SystemExit(f"{path} was made with {begun['config']}: name another file by --out, or remove it.")
        result = begun
    return {**result, **provenance(), "scikit-learn": sklearn.__version__}


def _write(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_suffix(".partial")
    partial_path.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(partial_path, path)


if __name__ == "__main__":
    main()
