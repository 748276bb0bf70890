"""Weights of rows: whole ones are like repeated rows, zero is like no row, and their scale hardly matters."""

import numpy as np
import pandas as pd
import pytest
import torch

from tessflow import TabularFlow
from tessflow.estimators.order_search import entropies
from tessflow.estimators.weighting import checked_weights, shared_weights
from tessflow.tables import TableSchema, tally
from tessflow.training import TrainingConfig, fit
from tessflow.training.loop import cut_off_mean

SMALL = {"max_steps": 20, "hidden_features": (16,), "random_state": 0}
CELLS = pd.DataFrame({"coat": ["red", "blue", "green"]})


def mixed(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"kind": rng.choice(list("abc"), rows), "size": rng.normal(size=rows).round(2)})
    frame["eggs"] = pd.array(rng.poisson(3, rows), "Int64")
    frame.loc[frame.index % 9 == 0, "eggs"] = pd.NA
    frame["rain"] = np.where(rng.random(rows) < 0.3, 0, rng.exponential(size=rows))
    frame["when"] = np.datetime64("2024-01-01", "s") + rng.integers(0, 90, rows).astype("m8[D]")
    return frame


def same_weights(one, other):
    states = one.model_.state_dict(), other.model_.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_three_cells_have_the_probabilities_of_repeated_rows():
    weights, options = [5000, 3000, 2000], SMALL | {"max_steps": 300}
    weighted = TabularFlow(**options).fit(CELLS, sample_weight=weights)
    repeated = TabularFlow(**options).fit(CELLS.loc[np.repeat(range(3), weights)])
    assert weighted.schema_ == repeated.schema_
    assert np.exp(weighted.score_samples(CELLS)) == pytest.approx([0.5, 0.3, 0.2], abs=0.02)
    assert weighted.score_samples(CELLS) == pytest.approx(repeated.score_samples(CELLS), abs=0.06)
    assert weighted.validation_score_ == pytest.approx(repeated.validation_score_, abs=0.05)


def test_a_schema_of_weights_is_that_of_repeated_rows(monkeypatch):
    table, weights = mixed(), np.random.default_rng(1).integers(1, 5, 200)
    repeated = table.loc[np.repeat(table.index, weights)]
    for scaling in ("quantile", "standard"):
        found = TableSchema.infer(table, weights=weights.astype(float), scaling=scaling)
        assert found == TableSchema.infer(repeated, scaling=scaling)
    assert TableSchema.infer(table, weights=weights / 2.0).columns[0].rows == round(weights.sum() / 2)
    monkeypatch.setattr(tally, "DISTINCT", 100)  # a sample, here of all rows
    sampled = TableSchema.infer(table, weights=weights.astype(float)).columns[1]
    assert sampled == TableSchema.infer(repeated).columns[1]


def test_weights_of_zero_and_one_choose_rows_bit_for_bit():
    table, chosen = mixed(), np.random.default_rng(1).random(200) < 0.6
    by_weight = TabularFlow(**SMALL).fit(table, sample_weight=np.where(chosen, 0.25, 0))
    assert same_weights(by_weight, TabularFlow(**SMALL).fit(table[chosen]))
    assert by_weight.schema_ == TabularFlow(**SMALL).fit(table[chosen]).schema_
    row = TabularFlow(**SMALL).fit(table, sample_weight=[0, 2.5, *[0] * 198])
    assert row.schema_.columns[0].values == (table["kind"][1],)


def test_weighted_fits_resume_and_do_not_mix(tmp_path):
    table, weights = mixed(), np.random.default_rng(1).random(200)
    fits = [TabularFlow(**SMALL).fit(table, sample_weight=weights, directory=tmp_path / "a") for _ in range(2)]
    assert same_weights(*fits)
    assert same_weights(fits[0], TabularFlow(**SMALL).fit(table, sample_weight=pd.Series(weights, table.index[::-1])))
    with pytest.raises(ValueError, match="belongs to another training run"):
        TabularFlow(**SMALL).fit(table, sample_weight=weights**2, directory=tmp_path / "a")
    with pytest.raises(ValueError, match="belongs to another training run"):
        TabularFlow(**SMALL).fit(table, directory=tmp_path / "a")


def test_validation_rows_that_are_given_have_no_weights():
    flow = TabularFlow(**SMALL).fit(CELLS, sample_weight=[50, 30, 20], X_validation=CELLS)
    assert flow.validation_score_ == pytest.approx(flow.score(CELLS), abs=1e-5)
    assert flow.schema_.columns[0].rows == 100


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ([1, 2], r"sample_weight has shape \(2,\) for 3 rows"),
        (np.ones((3, 1)), r"sample_weight has shape \(3, 1\) for 3 rows"),
        (1.0, r"sample_weight has shape \(\) for 3 rows"),
        ([1, -1, 1], r"sample_weight is -1.0 in row 1 \(counted from 0\)"),
        ([1, 1, np.nan], r"sample_weight is nan in row 2"),
        ([np.inf, 1, 1], r"sample_weight is inf in row 0"),
        ([0, 0, 0], "sample_weight is zero in every row"),
        (["many", 1, 1], "sample_weight is one number a row"),
        ([1j, 1, 1], "sample_weight is one number a row .complex numbers are no weights"),
    ],
)
def test_bad_weights_are_refused(weights, sentence):
    with pytest.raises(ValueError, match=sentence):
        TabularFlow(**SMALL).fit(CELLS, sample_weight=weights)


def test_weights_of_a_file_are_refused(tmp_path):
    CELLS.to_csv(tmp_path / "coats.csv", index=False)
    with pytest.raises(ValueError, match=r"sample_weight is for a table in memory, and X is .*coats.csv"):
        TabularFlow(**SMALL).fit(tmp_path / "coats.csv", sample_weight=[1, 2, 3])


def test_a_weighted_score_is_that_of_repeated_rows():
    table, counts = mixed(), np.arange(200) % 3
    flow = TabularFlow(**SMALL).fit(table)
    repeated = flow.score(table.loc[table.index.repeat(counts)])
    assert flow.score(table, sample_weight=counts) == pytest.approx(repeated)
    with pytest.raises(ValueError, match=r"sample_weight has shape \(3,\) for 200 rows"):
        flow.score(table, sample_weight=[1, 2, 3])


def test_extreme_weights():
    assert checked_weights([1e308, 1e308, 0, 1e-300], 4).tolist() == pytest.approx([1e15, 1e15, 0, 0])
    assert checked_weights([1e-320, 3e-320], 2) == pytest.approx([0.5, 1.5], rel=0.01)
    flow = TabularFlow(**SMALL).fit(CELLS, sample_weight=[1e12, 1, 1e-9])
    assert np.isfinite(flow.score_samples(CELLS)).all()
    train, validation = shared_weights(np.full(2000, 3.0), 0.1, seed=0)
    assert (train + validation == 3).all()
    assert validation.sum() == 600
    assert [part.tolist() for part in shared_weights(np.array([0.5]), 0.1, seed=0)] == [[0.5], [0.5]]


def test_a_weighted_mean_is_that_of_repeated_values():
    values, counts = torch.randn(300), torch.randint(1, 4, (300,))
    for rows in (300, 6):
        whole = cut_off_mean(values[:rows].repeat_interleave(counts[:rows]))
        assert cut_off_mean(values[:rows], counts[:rows].double()).item() == pytest.approx(whole.item(), abs=1e-12)


class Mean(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(1))

    def elbo(self, x):
        return -((x - self.mean) ** 2).sum(-1)


def test_batches_are_unbiased():
    rows, weights = torch.tensor([[0.0], [1.0]]), torch.tensor([1.0, 3.0], dtype=torch.float64)
    model, config = Mean(), TrainingConfig(max_steps=300, learning_rate=0.05, batch_size=7, weight_decay=0.0)
    fit(model, rows, rows, config, weights=(weights, weights))
    assert model.mean.item() == pytest.approx(0.75, abs=0.03)
    with pytest.raises(ValueError, match=r"weights have shape \(2,\) for 3 rows"):
        fit(model, torch.zeros(3, 1), rows, config, weights=(weights, None))


def test_the_search_for_an_order_weighs_rows():
    table, counts = mixed(), torch.randint(1, 4, (200,))
    schema = TableSchema.infer(table)
    rows = schema.encode(table)
    repeated = entropies(rows.repeat_interleave(counts, 0), schema.variables)
    assert entropies(rows, schema.variables, counts.double()) == pytest.approx(repeated)
