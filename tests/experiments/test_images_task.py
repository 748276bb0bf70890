"""Flows of images with and without mixtures."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from experiments import images
from experiments.config import read_table
from experiments.images import Budget, Method, build, run
from experiments.training import parameter_count

TINY = Budget(
    steps=8, batch_size=32, layers=2, hidden_channels=4, maps=2, placing_rows=200, validation_rows=50, test_rows=60,
    evaluate_every=4, samples=10, subset_rows=5,
)  # fmt: skip
METHODS = {"baseline": Method(), "mixture-5": Method(cells=3)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    found = {}
    for name, method in METHODS.items():
        directory = tmp_path_factory.mktemp(name)
        found[name] = run("bars", method, TINY, seed=0, directory=directory, device="cpu"), directory
    return found


@pytest.mark.parametrize("name", METHODS)
def test_a_result(runs, name):
    result, directory = runs[name]
    bits = 64 * np.log(2)
    assert result["kind"] == "lower bound"
    assert result["rows"] == [5500, 50, 60]
    assert result["bits"]["test"] == pytest.approx(result["test"]["nats"] / bits)
    assert result["bits"]["standard_error"] == pytest.approx(result["test"]["standard_error"] / bits)
    assert result["bits"]["test"] > result["entropy_bits"] == 4.0625
    assert np.mean(result["test_blocks"]) == pytest.approx(result["bits"]["test"], abs=1e-4)
    assert result["bounds"]["1"] > result["bounds"]["10"]
    assert np.load(directory / "samples.npy").shape == (64, 1, 8, 8)
    json.dumps(result, allow_nan=False)


def test_the_use_of_components(runs):
    result, directory = runs["mixture-5"]
    assert result["components"] == 27
    assert 1 < result["components_used"] <= 27
    assert 0 < result["component_nats"] <= np.log(27)
    assert [len(shares) for shares in result["shares"]] == [3, 3, 3]
    assert sum(result["shares"][0]) == pytest.approx(1, abs=1e-3)
    real, samples = (np.load(directory / f"component_{name}.npy") for name in ("images", "samples"))
    assert real.shape == samples.shape
    assert runs["baseline"][0]["components_used"] == 1


def test_the_same_seed_gives_the_same_value(runs, tmp_path):
    again = run("bars", METHODS["mixture-5"], TINY, seed=0, directory=tmp_path, device="cpu")
    assert again["test"] == runs["mixture-5"][0]["test"]
    assert again["bounds"] == runs["mixture-5"][0]["bounds"]


def test_training_helps(runs, tmp_path):
    longer = run("bars", Method(), TINY.model_copy(update={"steps": 40}), seed=0, directory=tmp_path, device="cpu")
    assert longer["bits"]["test"] < runs["baseline"][0]["bits"]["test"] - 0.1


def test_wider_has_as_many_parameters():
    mixture, plain, wider = (
        parameter_count(build(method, TINY, (1, 8, 8))) for method in (Method(cells=3), Method(), Method(wide_as=3))
    )
    assert plain < mixture <= wider < 1.3 * mixture


def test_refuses_unknown_methods():
    with pytest.raises(ValidationError):
        Method(cells=0)


def test_the_table(runs):
    config = read_table("images")
    results = {("bars", name): [result] for name, (result, _) in runs.items()}
    results["mnist", "baseline"] = [{**runs["baseline"][0], "bounds": {"1": 1.5, "10": 1.25, "100": 1.125}}]
    for name in METHODS:
        runs[name][0]["bounds"].setdefault("100", 1.0)
    text = images.table(config, results)
    assert f"| bars | baseline | {runs['baseline'][0]['bits']['test']:.3f} ± " in text
    assert "| mnist | baseline | 5 | 1.500 | 1.250 | 1.125 | - | - | - |" in text
    assert "The entropy of bars is 4.0625 bits a dimension." in text
    assert "No results here: fashion-mnist, kuzushiji-mnist, cifar10." in text
    assert images.table(config, {})


def test_the_pictures(runs, tmp_path):
    from experiments.images_figures import draw_components, draw_samples

    class Row:
        name = "bars/mixture-5"
        method_name = "mixture-5"

        def path(self, directory, suffix=""):
            return runs["mixture-5"][1] if not suffix else directory / "none.json"

    draw_samples([Row(), Row()], tmp_path).savefig(tmp_path / "samples.png")
    draw_components(Row(), tmp_path).savefig(tmp_path / "components.png")
    assert images.figures(read_table("images"), tmp_path / "runs", tmp_path / "out") == []
