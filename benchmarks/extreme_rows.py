"""Rows of extreme values, for `fuzz.py`: numbers of any bits, whole numbers and times of any size, words never seen."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tessflow import MixtureFlow, TabularFlow

__all__ = ["mixture_scores", "table_scores"]

MOST_NATS = 1000.0
"""A finite number, however far away, costs a column less."""


def training_table(rows: int, seed: int) -> pd.DataFrame:
    """Return a table with a column of each kind."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "real": rng.normal(size=rows),
            "price": rng.normal(20, 5, rows).round(2),
            "count": rng.poisson(4, rows),
            "large": rng.integers(0, 2**62, rows),
            "day": np.datetime64("2024-01-01", "s") + rng.integers(0, 300, rows).astype("m8[D]"),
            "lapse": rng.integers(0, 10**6, rows).astype("m8[s]"),
            "word": rng.choice(["a", "b", "c"], rows),
            "flag": rng.random(rows) < 0.3,
        }
    )
    frame.loc[frame.index % 17 == 0, "real"] = np.nan
    return frame


def extreme_table(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return rows of the same columns, of which each value is likely to be extreme."""
    times = rng.integers(-(2**62), 2**62, rows)
    return pd.DataFrame(
        {
            "real": any_floats(rows, rng),
            "price": any_floats(rows, rng),
            "count": any_integers(rows, rng),
            "large": any_integers(rows, rng),
            "day": times.astype("M8[us]"),
            "lapse": times[::-1].copy().astype("m8[us]"),
            "word": rng.choice(["a", "", "\x00", "é" * 50, "nan", "0"], rows),
            "flag": rng.random(rows) < 0.5,
        }
    )


def any_floats(rows: int, rng: np.random.Generator) -> np.ndarray:
    """Return finite numbers of any bits: subnormal, huge, zeros of both signs."""
    bits = rng.integers(0, 2**64, rows, dtype=np.uint64).view(np.float64)
    special = np.array([0.0, -0.0, 5e-324, -5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 2.0**53])
    return np.where(np.isfinite(bits) & (rng.random(rows) < 0.9), bits, rng.choice(special, rows))


def any_integers(rows: int, rng: np.random.Generator) -> np.ndarray:
    """Return whole numbers of any number of bits, and the ends of their range."""
    values = rng.integers(-(2**63), 2**63 - 1, rows) >> rng.integers(0, 63, rows)
    return np.where(rng.random(rows) < 0.9, values, rng.choice([-(2**63), 2**63 - 1, 0, 2**53 + 1], rows))


def table_scores(rows: int, seed: int, *, batch: int = 20_000) -> dict[str, int | float]:
    """Fit a flow to some rows, score extreme ones, and count what is not as promised."""
    rng = np.random.default_rng(seed)
    flow = TabularFlow(max_steps=100, hidden_features=(32,), random_state=seed).fit(training_table(1000, seed))
    worst, not_finite, beyond = 0.0, 0, 0
    for start in range(0, rows, batch):
        columns = flow.score_columns(extreme_table(min(batch, rows - start), rng)).to_numpy()
        not_finite += int((~np.isfinite(columns)).any(1).sum())
        beyond += int((columns < -MOST_NATS).any(1).sum())
        worst = max(worst, float(-columns.min()))
    return {"rows": rows, "not_finite": not_finite, "beyond_bound": beyond, "worst_column_nats": worst}


def mixture_scores(rows: int, seed: int, *, n_cells: int | None = None) -> dict[str, int | float]:
    """Fit a mixture, of Gaussians or cells, to real numbers, score extreme ones, and count what is not finite."""
    rng = np.random.default_rng(seed)
    mixture = MixtureFlow(n_cells, max_steps=50, random_state=seed).fit(rng.normal(size=(500, 3)))
    scores = mixture.score_samples(np.column_stack([any_floats(rows, rng) for _ in range(3)]))
    return {"rows": rows, "not_finite": int((~np.isfinite(scores)).sum()), "worst_row_nats": float(-scores.min())}
