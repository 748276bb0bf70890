import math

import numpy as np
import pandas as pd
import pytest

from tessflow.tables import TableSchema
from tessflow.viz.report.baselines import score_independent

ROWS = 500


def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "real": rng.normal(3, 2, ROWS),
            "share": np.where(rng.random(ROWS) < 0.2, 1.0, rng.beta(2, 2, ROWS)),
            "counts": np.where(rng.random(ROWS) < 0.3, 300, rng.poisson(300, ROWS)),
            "bounded": np.where(rng.random(ROWS) < 0.3, 0, rng.poisson(3, ROWS)),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 40, ROWS), unit="D"),
            "kind": rng.choice(["a", "b", None], ROWS),
        }
    )


def schema():
    declared = TableSchema.from_yaml("""
columns:
- {name: real, kind: number}
- {name: share, kind: number, atoms: [1], minimum: 0, maximum: 1}
- {name: counts, kind: number, resolution: 1, atoms: [300]}
- {name: bounded, kind: number, resolution: 1, atoms: [0, 5], minimum: 0, maximum: 40, beyond: unseen}
- {name: day, kind: datetime, resolution: 86400, atoms: [1704067200], minimum: 1704067200, maximum: 1707523200}
- {name: kind, kind: categorical}
""")
    return declared.fitted(table())


def probabilities(name, values, *, mixtures, train=None):
    """What the baseline gives to values of a column."""
    columns = schema()
    rows = columns.encode(table().iloc[:1].drop(columns=name).merge(pd.DataFrame({name: values}), how="cross"))
    train = columns.encode(table()) if train is None else train
    return np.exp(score_independent(columns, train, rows, mixtures=mixtures)[:, columns.position(name)])


@pytest.mark.parametrize("mixtures", [False, True])
def test_baselines_are_distributions(mixtures):
    def total(name, values):
        return probabilities(name, values, mixtures=mixtures).sum()

    # What lies beyond these numbers has some of the background.
    real = (np.arange(9000) + 0.5) / 100 - 40
    assert 0.01 * total("real", real) + total("real", [np.nan]) == pytest.approx(1, abs=1e-3)
    assert total("counts", np.arange(-2000, 4000)) + total("counts", [np.inf]) == pytest.approx(1, abs=1e-3)
    # Bounds leave nothing beyond.
    middles = (np.arange(10_000) + 0.5) / 10_000
    assert total("share", middles) / 10_000 + total("share", [1.0, np.nan]) == pytest.approx(1, abs=2e-4)
    assert total("bounded", range(41)) + total("bounded", [41]) == pytest.approx(1, abs=1e-6)
    assert total("day", [*pd.date_range("2024-01-01", "2024-02-10"), pd.NaT]) == pytest.approx(1, abs=1e-6)
    assert total("kind", ["a", "b", None, "c"]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("mixtures", [False, True])
def test_an_atom_on_a_grid_has_the_smooth_part_as_well(mixtures):
    counts = (table()["counts"] == 300).mean()
    around = probabilities("counts", [299, 301], mixtures=mixtures).mean()
    assert probabilities("counts", [300], mixtures=mixtures)[0] == pytest.approx(counts + around, abs=0.01)


@pytest.mark.parametrize("mixtures", [False, True])
def test_no_value_has_a_probability_of_zero(mixtures):
    reserve = 1 / (2 * (ROWS + 1))
    for name, values in (("kind", ["new"]), ("real", [None]), ("bounded", [-7]), ("day", [pd.NaT])):
        assert probabilities(name, values, mixtures=mixtures)[0] >= reserve
    far = probabilities("real", [1e300, -1e300, 1e5], mixtures=mixtures)
    assert np.log(far).min() > -1000
    few = schema().encode(table().head(3))
    assert np.isfinite(np.log(probabilities("counts", [0, 10**12, np.inf], mixtures=mixtures, train=few))).all()


def test_what_is_unseen_is_as_frequent_as_in_the_rows_fitted_to():
    some = schema().encode(table().assign(kind=["new", "a", "b", "a", "b"] * (ROWS // 5)))
    chance = probabilities("kind", ["new", "newer"], mixtures=True, train=some)
    assert chance == pytest.approx([0.2, 0.2], abs=0.005)


@pytest.mark.parametrize("scaling", ["quantile", "standard"])
def test_mixtures_find_two_peaks(scaling):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": np.concatenate([rng.normal(-50, 1, 500), rng.normal(50, 1, 500)])})
    columns = TableSchema.infer(frame, scaling=scaling)
    rows = columns.encode(frame)
    scores = score_independent(columns, rows, rows, mixtures=True)
    exact = -math.log(2) - 0.5 * math.log(2 * math.pi * math.e)
    assert scores.mean() == pytest.approx(exact, abs=0.1)
