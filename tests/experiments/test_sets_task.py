"""Models of item sets: one law, one scale."""

import json
import math

import pytest
import torch
from pydantic import ValidationError

from experiments import sets
from experiments.config import read_table
from experiments.sets import Budget, Method, build, entropy_floor, load, run

TINY = Budget(
    steps=3, exact_steps=30, batch_size=32, exact_batch_size=64, hidden_features=(32,), width=8, evaluate_every=15,
    validation_rows=50, samples=10, subset_rows=5,
)  # fmt: skip
METHODS = {
    "independent": Method(model="independent"),
    "dpp": Method(model="dpp", rank=6),
    "matched": Method(model="matched", dim=3),
    "voronoi": Method(model="flow", dequantizer="voronoi", dim=2, scored_rows=20),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return {
        name: run("made", method, TINY, seed=0, directory=tmp_path_factory.mktemp(name), device="cpu")
        for name, method in METHODS.items()
    }


@pytest.mark.parametrize("name", METHODS)
def test_a_result_is_above_the_entropy(runs, name):
    result = runs[name]
    assert result["test"]["nats"] > math.log(12) - 3 * result["test"]["standard_error"]
    assert result["rows"] == ([3200, 20, 20] if name == "voronoi" else [3200, 50, 400])
    assert result["items"] == 12
    assert result["seen_in_training"] == 1.0
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("name", ["independent", "dpp"])
def test_independent_items_know_nothing_of_kinds(runs, name):
    assert runs[name]["kind"] == "exact"
    assert runs[name]["test"]["nats"] == pytest.approx(math.log(math.comb(12, 3)), abs=0.3)


def test_a_bound_tightens(runs):
    result = runs["voronoi"]
    assert result["kind"] == "lower bound"
    assert result["bounds"]["1"] > result["bounds"]["10"] == result["test"]["nats"]
    assert list(result["subset"]) == ["1", "10", "100"]
    assert 0 <= result["repeats"] <= 1


@pytest.mark.parametrize("dequantizer", ["simplex", "binary-argmax"])
@pytest.mark.parametrize("field", ["exclusive", "attention"])
def test_flows_over_other_cells(dequantizer, field):
    model = build(Method(model="flow", dequantizer=dequantizer, field=field), TINY, 5, 3)
    assert model.elbo(torch.tensor([[0, 1, 2], [4, 3, 2]])).shape == (2,)


@pytest.mark.parametrize("draws", [10, 50, 1000])
def test_no_law_has_less_entropy_than_the_floor(draws):
    for weights in (torch.ones(500), torch.arange(1, 501.0) ** -1, torch.arange(1, 501.0) ** -2):
        p = weights.double() / weights.sum()
        seen = 1 - (p * (1 - p) ** draws).sum().item()
        assert entropy_floor(seen, draws) <= -(p * p.log()).sum().item() + 1e-9


def test_the_made_law():
    data = load("made")
    assert data.train.shape == (3200, 3)
    assert (data.train // 4 == data.train[:, :1] // 4).all()
    assert len({tuple(sorted(row)) for row in data.test.tolist()}) == 12


@pytest.mark.parametrize("options", [{"model": "flow"}, {"model": "matched", "dequantizer": "voronoi"}])
def test_refuses_unknown_methods(options):
    with pytest.raises(ValidationError):
        Method(**options)


def test_the_table(runs):
    config = read_table("table2")
    results = {("made", name): [result] for name, result in runs.items() if name in config.methods}
    assert len(results) >= 3
    text = sets.table(config, results)
    for (_, name), (result,) in results.items():
        assert f"| {name} | " in text
        assert f"{result['test']['nats']:.3f}" in text
