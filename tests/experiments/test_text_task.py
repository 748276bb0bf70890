"""Models of characters whose entropy is known."""

import json
import lzma
import math

import numpy as np
import pytest
from pydantic import ValidationError

from experiments import text
from experiments.config import read_table
from experiments.text import Budget, Method, markov_text, run
from experiments.training import parameter_count

TINY = Budget(
    steps=20, batch_size=64, hidden_features=16, embedding=8, evaluate_every=10, validation_rows=50, test_rows=100,
    samples=10, subset_rows=5,
)  # fmt: skip
METHODS = read_table("table3").methods
RUN = ["voronoi-2", "voronoi-4", "binary-argmax", "ordinal", "ordinal-points", "matched-4", "categorical"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Models of the made text, with hardly any training."""
    return {
        name: run(
            "markov", Method(**METHODS[name]), TINY, seed=0, directory=tmp_path_factory.mktemp(name), device="cpu"
        )
        for name in RUN
    }


@pytest.mark.parametrize("name", RUN)
def test_a_result(runs, name):
    result = runs[name]
    assert result["rows"] == [22500, 50, 100]
    assert result["bits"] == pytest.approx(result["test"]["nats"] / 16 / math.log(2))
    assert result["bits"] > 1.7
    assert result["floor_nats"] == markov_text(1000)[1]
    assert len(result["text"]) == 32
    assert set(result["text"]) <= set("abcde")
    assert "nan" not in json.dumps(result, allow_nan=False)
    exact = name.startswith(("matched", "categorical"))
    assert result["kind"] == ("exact" if exact else "lower bound")
    if not exact:
        assert result["subset"]["1"] >= result["subset"]["10"]


def test_every_row_has_the_same_network():
    of_positions = [options for options in METHODS.values() if options["model"] != "blocks"]
    models = [text.build(Method(**options), TINY, 27, 256) for options in of_positions]
    networks = [getattr(model, "flow", model) for model in models]
    assert len({parameter_count(network.lstm) for network in networks}) == 1
    assert len({parameter_count(network.logits) for network in networks if hasattr(network, "logits")}) == 1


def test_training_comes_near_the_entropy(tmp_path):
    budget = TINY.model_copy(update={"steps": 100, "test_rows": 1000})
    for name, tolerance in (("voronoi-4", 0.06), ("categorical", 0.03)):
        result = run("markov", Method(**METHODS[name]), budget, seed=0, directory=tmp_path / name, device="cpu")
        floor = result["floor_nats"] / 16 / math.log(2)
        assert abs(result["bits"] - floor) < tolerance


def test_the_same_seed_gives_the_same_value(runs, tmp_path):
    again = run("markov", Method(**METHODS["voronoi-4"]), TINY, seed=0, directory=tmp_path / "a", device="cpu")
    assert again["test"] == runs["voronoi-4"]["test"]
    assert again["text"] == runs["voronoi-4"]["text"]
    other = run("markov", Method(**METHODS["voronoi-4"]), TINY, seed=1, directory=tmp_path / "b", device="cpu")
    assert other["test"] != again["test"]


def test_a_part_of_text8_is_said_to_be_one(tmp_path, monkeypatch):
    words = np.random.default_rng(0).choice(list(b" abcdefghijklmnopqrstuvwxyz"), 20_000).astype(np.uint8)
    (tmp_path / "text8.xz").write_bytes(lzma.compress(words.tobytes()))
    monkeypatch.setenv("TESSFLOW_DATA", str(tmp_path))
    budget = TINY.model_copy(update={"steps": 2, "evaluate_every": 2, "batch_size": 4})
    result = run("text8", Method(**METHODS["voronoi-4"]), budget, seed=0, directory=tmp_path / "run", device="cpu")
    assert result["source"].startswith("PARTIAL: the first 20,000 of 100,000,000 characters")
    assert len(result["text"]) == 512
    page = text.table(read_table("table3"), {("text8", "voronoi-4"): [result]})
    assert "PARTIAL" in page
    assert "```text" in page


def test_the_entropy_is_that_of_the_rows():
    """The add-one estimate of a first-order model on many rows comes near it from above."""
    made, entropy = markov_text()
    train, _, test = made.rows()
    pairs = np.full((5, 5), 1.0)
    np.add.at(pairs, (train[:, :-1].flatten(), train[:, 1:].flatten()), 1)
    first = np.bincount(train.flatten(), minlength=5) / train.size
    given = pairs / pairs.sum(1, keepdims=True)
    nats = -np.log(first[test[:, 0]]) - np.log(given[test[:, :-1], test[:, 1:]]).sum(1)
    assert abs(nats.mean() - entropy) < 4 * nats.std() / len(nats) ** 0.5


@pytest.mark.parametrize(
    "options", [{"model": "mixture"}, {"model": "matched", "dequantizer": "voronoi"}, {"model": "lstm"}]
)
def test_refuses_unknown_methods(options):
    with pytest.raises(ValidationError):
        Method(**options)


def test_the_table(runs):
    results = {("markov", name): [result] for name, result in runs.items()}
    results["markov", "voronoi-4"] *= 2
    page = text.table(read_table("table3"), results)
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.split("\n\n")[0].splitlines()]
    assert header == ["test bits a character", "markov", "text8", "enwik8", "*paper, text8*", "*paper, enwik8*"]
    bits = {row[0]: row[1:] for row in rows}
    assert bits["voronoi-4"] == [f"{runs['voronoi-4']['bits']:.3f} ± 0.000", "-", "-", "1.37", "1.41"]
    assert bits["categorical"][0].startswith(f"{runs['categorical']['bits']:.3f} (")
    assert bits["*floor: the entropy*"][0] == "1.829"
    assert "Samples" not in page
    assert text.table(read_table("table3"), {}).startswith("| test bits a character |")
