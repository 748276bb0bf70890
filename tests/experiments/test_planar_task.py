"""Figure 6: the models of the gallery, one run a model."""

import json

import pytest

from experiments.config import read_table
from experiments.planar import Budget, Method, run, table
from tessflow.datasets import planar_entropy, planar_names

TINY = Budget(
    layers=1, cells=4, hidden_features=(8,), bins=4, steps=4, train_rows=600, validation_rows=200, test_rows=300
)


def do(model, directory, data="eight-gaussians", budget=TINY):
    directory.mkdir(exist_ok=True)
    return run(data, Method(model=model), budget, seed=0, directory=directory, device="cpu")


@pytest.mark.parametrize("model", ["affine flow", "spline flow", "affine mixture", "spline mixture"])
def test_every_model_is_scored_against_the_truth(model, tmp_path):
    result = do(model, tmp_path / "run")
    assert result["kind"] == "exact"
    assert result["rows"] == [600, 200, 300]
    assert result["entropy_nats"] == planar_entropy("eight_gaussians")
    # Untrained, it is no better than the truth; both are the same rows', so their difference is the divergence.
    assert result["kl_nats"] > 3 * result["kl_standard_error"]
    assert result["test"]["nats"] == pytest.approx(result["entropy_nats"] + result["kl_nats"], abs=0.3)
    assert result["validation"]["nats"] == pytest.approx(result["test"]["nats"], abs=0.5)
    assert ("cells_with_mass" in result) == model.endswith("mixture")
    json.dumps(result, allow_nan=False)


def test_a_run_that_is_made_again_gives_the_same(tmp_path):
    first, other, resumed = (do("affine mixture", tmp_path / name) for name in ("a", "b", "a"))
    assert first["test"] == other["test"] == resumed["test"]
    assert resumed["seconds"] == first["seconds"]


def test_training_brings_a_model_nearer_to_the_truth(tmp_path):
    longer = do("affine mixture", tmp_path / "longer", budget=TINY.model_copy(update={"steps": 60}))
    assert longer["kl_nats"] < do("affine mixture", tmp_path / "short")["kl_nats"] - 0.1


def test_the_table_has_all_densities_and_models():
    config = read_table("figure6")
    assert {name.replace("-", "_") for name in config.data} == set(planar_names())
    assert len(config.rows()) == 96

    def result(nats):
        measured = {"milliseconds_per_step": 10 * nats, "parameters": 12345}
        return {"test": {"nats": nats, "standard_error": 0.1}, "entropy_nats": 1.25, **measured}

    text = table(
        config, {("moons", "affine-flow"): [result(2.0), result(3.0)], ("rings", "spline-flow"): [result(4.0)]}
    )
    assert "| density | affine-flow | spline-flow | affine-mixture | spline-mixture | entropy |" in text
    assert "| moons | 2.500 ± 0.707 | - | - | - | 1.250 |" in text
    assert "| rings | - | 4.000 | - | - | 1.250 |" in text
    assert "| circles | - | - | - | - | - |" in text
    assert "| ms a step | 20.0 | 40.0 | - | - |  |" in text
    assert "| parameters | 12,345 | 12,345 | - | - |  |" in text
