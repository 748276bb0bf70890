"""Models of two variables whose probabilities are known."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from experiments import quantized
from experiments.config import read_table
from experiments.quantized import Budget, Method, run
from tessflow.datasets import quantized_entropy, quantized_independent_nats, quantized_pmf

TINY = Budget(
    steps=30, batch_size=64, layers=2, hidden_features=(16,), train_rows=2000, validation_rows=500, evaluate_every=15,
    samples=100, subset_rows=5,
)  # fmt: skip
METHODS = {
    "voronoi": Method(model="voronoi"),
    "voronoi-paper": Method(model="voronoi", profile="softsign", box=(-1.0, 1.0)),
    "matched": Method(model="matched"),
    "discrete-flow": Method(model="discrete-flow"),
    "independent": Method(model="independent"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Every model of the smallest data set, with hardly any training: result and directory."""
    found = {}
    for name, method in METHODS.items():
        directory = tmp_path_factory.mktemp(name)
        found[name] = run("cluster3", method, TINY, seed=0, directory=directory, device="cpu"), directory
    return found


@pytest.mark.parametrize("name", METHODS)
def test_a_result_is_the_expectation_over_all_cells(runs, name):
    result, directory = runs[name]
    target, pmf = quantized_pmf("cluster3"), np.load(directory / "pmf.npy")
    assert pmf.shape == (3, 3)
    cross_entropy = -np.log(pmf[target > 0]).mean()
    assert result["test"] == {"nats": pytest.approx(cross_entropy), "standard_error": 0.0}
    assert result["kl_nats"] == pytest.approx(cross_entropy - math.log(4))
    assert result["kl_nats"] > 0
    assert result["sum"] == pytest.approx(pmf.sum())
    assert result["cells"] == 9
    assert result["rows"] == [2000, 500, 0]
    assert result["validation"]["standard_error"] > 0
    assert "nan" not in json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("name", ["matched", "discrete-flow", "independent"])
def test_exact_models_sum_to_one(runs, name):
    result = runs[name][0]
    assert result["kind"] == "exact"
    assert result["sum"] == pytest.approx(1, abs=1e-5)
    assert "bounds" not in result


@pytest.mark.parametrize("name", ["voronoi", "voronoi-paper"])
def test_bounds_sum_to_at_most_one_and_tighten(runs, name):
    result = runs[name][0]
    assert result["kind"] == "lower bound"
    assert 0 < result["sum_standard_error"] < 0.5
    assert result["sum"] < 1 + 4 * result["sum_standard_error"]
    bounds = result["bounds"]
    assert list(bounds) == ["1", "10", "100", "1000"]
    assert bounds["1"] > bounds["10"] > bounds["100"] == result["test"]["nats"]
    assert bounds["1000"] == pytest.approx(bounds["100"], abs=0.1)


def test_independent_columns_are_as_good_as_can_be(runs):
    best = quantized_independent_nats("cluster3")
    assert runs["independent"][0]["independent_nats"] == best
    assert runs["independent"][0]["test"]["nats"] == pytest.approx(best, abs=0.01)


def test_the_same_seed_gives_the_same_value(runs, tmp_path):
    again = run("cluster3", METHODS["voronoi"], TINY, seed=0, directory=tmp_path / "a", device="cpu")
    assert again["test"] == runs["voronoi"][0]["test"]
    other = run("cluster3", METHODS["voronoi"], TINY, seed=1, directory=tmp_path / "b", device="cpu")
    assert other["test"] != again["test"]


def test_training_comes_near_the_target(tmp_path):
    budget = TINY.model_copy(update={"steps": 300})
    result = run("cluster3", METHODS["matched"], budget, seed=0, directory=tmp_path, device="cpu")
    assert result["kl_nats"] < 0.01


def test_with_enough_samples_no_subset_is_needed(tmp_path):
    budget = TINY.model_copy(update={"samples": 1000})
    result = run("cluster3", METHODS["voronoi"], budget, seed=0, directory=tmp_path, device="cpu")
    assert result["bounds"]["1000"] == result["test"]["nats"]


@pytest.mark.parametrize(
    "options", [{"model": "coupling"}, {"model": "voronoi", "dims": 2}, {"model": "voronoi", "dim": 0}]
)
def test_refuses_unknown_methods(options):
    with pytest.raises(ValidationError):
        Method(**options)


@pytest.fixture
def config():
    return read_table("quantized2d")


def test_the_table(runs, config):
    results = {("cluster3", name): [result] for name, (result, _) in runs.items()}
    results["cluster3", "voronoi"] *= 2
    text = quantized.table(config, results)
    divergences, details = text.split("\n\n")
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in divergences.splitlines()]
    assert header == ["data", "entropy", "independent columns", *config.methods]
    row = dict(zip(header, next(row for row in rows if row[0] == "cluster3"), strict=True))
    assert (row["entropy"], row["independent columns"]) == ("1.386", "2.079")
    assert row["matched"] == f"{runs['matched'][0]['kl_nats']:.3f}"
    assert row["voronoi"] == f"{runs['voronoi'][0]['kl_nats']:.3f} ± 0.000"
    assert [row[0] for row in rows] == list(config.data)
    assert f"{quantized_entropy('pinwheel'):.3f}" in divergences
    assert len(details.splitlines()) == 2 + 4  # independent columns have none
    assert "| cluster3 | matched | 1.000 |  |" in details


@dataclass
class _Row:
    """What the figures need of a row."""

    method_name: str
    method: Method
    budget: Budget
    directory: object
    seed: int = 0

    def path(self, runs):
        return self.directory


def test_the_picture(runs, tmp_path):
    from experiments.quantized_figures import draw

    rows = [_Row(name, METHODS[name], TINY, directory) for name, (_, directory) in runs.items()]
    state = torch.get_rng_state()
    figure = draw("cluster3", rows, tmp_path)
    assert (torch.get_rng_state() == state).all()
    titles = [ax.get_title() for ax in figure.axes]
    assert "target\nentropy 1.39 nats" in titles
    assert f"voronoi\nKL ≤ {runs['voronoi'][0]['kl_nats']:.3f}, sum {runs['voronoi'][0]['sum']:.3f}" in titles
    assert f"matched\nKL = {runs['matched'][0]['kl_nats']:.3f}, sum 1.000" in titles
    assert sum("first variable" in title for title in titles) == 2  # of the two flows over cells in the plane
    figure.savefig(tmp_path / "picture.png")


def test_without_runs_there_are_no_figures(config, tmp_path):
    assert quantized.figures(config, tmp_path / "runs", tmp_path / "out") == []
