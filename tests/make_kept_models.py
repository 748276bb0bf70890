"""Makes small models of each estimator, which every later version reads: ``python tests/make_kept_models.py``.

A directory of ``tests/data/format-4`` holds what ``save`` wrote, rows (``rows.csv``, or sets in ``rows.json``), and
their log-likelihoods (``scores.json``). Kept models are never made again: a new format gets a directory of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tessflow import MixtureFlow, SetEstimator, TabularFlow
from tessflow.estimators.storage import FORMAT_VERSION
from tessflow.tables import TableSchema, read_table

DATA = Path(__file__).parent / "data"
ESTIMATORS = {estimator.__name__: estimator for estimator in (TabularFlow, MixtureFlow, SetEstimator)}
SMALL = {"max_steps": 60, "batch_size": 32, "random_state": 0}


def trips(rows: int = 160) -> pd.DataFrame:
    """A table with a column of each kind, missing values, spikes, an order, a bound and a key."""
    rng = np.random.default_rng(0)
    start = np.datetime64("2024-03-01", "us") + rng.integers(0, 90, rows).astype("m8[D]")
    boat = rng.choice(["canoe", "kayak", "raft"], rows, p=[0.5, 0.3, 0.2])
    people = rng.poisson(np.where(boat == "raft", 8, 2), rows) + 1
    return pd.DataFrame(
        {
            "trip": [f"t{n:03}" for n in range(rows)],
            "boat": np.where(rng.random(rows) < 0.05, None, boat),
            "water": pd.Categorical(rng.choice(["calm", "quick"], rows), ["calm", "quick", "wild"], ordered=True),
            "guided": people > 5,
            "people": people,
            "price": (people * 9.95).round(2),
            "rain": np.where(rng.random(rows) < 0.6, 0.0, rng.exponential(4.0, rows)),
            "height": pd.Series(rng.normal(0, 1, rows)).mask(rng.random(rows) < 0.1),
            "start": start,
            "end": start + rng.integers(0, 5, rows).astype("m8[D]"),
            "rest": rng.integers(1, 90, rows).astype("m8[m]").astype("m8[s]"),
        }
    )


def scored_trips() -> pd.DataFrame:
    """Rows as in training, and some with what was not seen, beyond, or far away."""
    table = trips()[:16].copy().astype({"people": float})
    table.loc[0, ["boat", "people"]] = ["ferry", 40]
    table.loc[1, ["boat", "height"]] = [None, None]
    table.loc[2, ["rain", "price"]] = [-1.0, None]
    table.loc[3, ["height", "end"]] = [1e9, pd.Timestamp("2199-12-31")]
    table.loc[4, "water"] = "wild"
    return table


def tabular(rows: pd.DataFrame, **options: Any) -> TabularFlow:
    schema = TableSchema.infer(rows.drop(columns="trip")).to_yaml()
    schema += "- {name: trip, kind: key}\norder: [start <= end]\n"
    return TabularFlow(dimension=2, hidden_features=(8,), **SMALL | options).fit(
        rows, schema=TableSchema.from_yaml(schema)
    )


def any_order() -> tuple[Any, pd.DataFrame]:
    return tabular(trips()), scored_trips()


def coupling() -> tuple[Any, pd.DataFrame]:
    return tabular(trips(), backbone="coupling", layers=1), scored_trips()


def mixture() -> tuple[Any, pd.DataFrame]:
    rng = np.random.default_rng(0)
    centres = rng.choice([-2.0, 2.0], (300, 1))
    rows = pd.DataFrame(centres + rng.normal(size=(300, 2)) / 2, columns=["x", "y"])
    flow = MixtureFlow(3, layers=2, hidden_features=(8,), bins=4, **SMALL).fit(rows)
    return flow, pd.concat([rows[:8], 3 * rows[8:16]])


def several() -> tuple[Any, pd.DataFrame]:
    _, rows = mixture()
    rng = np.random.default_rng(1)
    train = pd.DataFrame(rng.choice([-2.0, 2.0], (120, 1)) + rng.normal(size=(120, 2)) / 2, columns=["x", "y"])
    return MixtureFlow(n_estimators=2, layers=1, hidden_features=(8,), bins=4, **SMALL).fit(train), rows


def sets() -> tuple[Any, list[list[str]]]:
    rng = np.random.default_rng(0)
    items = np.array(["bread", "butter", "jam", "milk", "tea"])
    rows = [items[np.sort(rng.permutation(5)[:2])].tolist() for _ in range(200)]
    return SetEstimator(dimension=4, width=8, **SMALL).fit(rows), rows[:16]


SINCE = {"mixture-several": 5}
"""The first format that has a model of this kind, where it is not the oldest that is read."""

MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "tabular-any-order": any_order,
    "tabular-coupling": coupling,
    "mixture": mixture,
    "mixture-several": several,
    "sets": sets,
}


def read_rows(path: Path, model: Any) -> Any:
    """Read the rows of a kept model."""
    if isinstance(model, SetEstimator):
        return json.loads((path / "rows.json").read_text())
    return read_table(path / "rows.csv", schema=model.schema_ if isinstance(model, TabularFlow) else None)


def main() -> None:
    """Write those that are not there yet."""
    for name, make in MODELS.items():
        path = DATA / f"format-{FORMAT_VERSION}" / name
        if path.exists():
            print(f"{path.relative_to(DATA)}: kept")
            continue
        model, rows = make()
        model.save(path)
        if isinstance(rows, pd.DataFrame):
            rows.to_csv(path / "rows.csv", index=False)
        else:
            (path / "rows.json").write_text(json.dumps(rows) + "\n")
        scores = model.score_samples(read_rows(path, model))
        np.testing.assert_allclose(scores, model.score_samples(rows), rtol=1e-6)  # as from the rows themselves
        (path / "scores.json").write_text(json.dumps(scores.tolist(), indent=1) + "\n")
        size = sum(file.stat().st_size for file in path.iterdir())
        print(f"{path.relative_to(DATA)}: {size / 1000:.0f} kB, scores from {scores.min():.1f} to {scores.max():.1f}")


if __name__ == "__main__":
    main()
