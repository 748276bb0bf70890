"""Table 4: rows keep their units whatever is done to them, and every model is trained and scored."""

import json

import numpy as np
import pooch
import pytest
import torch
import zuko
from PIL import Image
from pydantic import ValidationError
from torch.distributions import MultivariateNormal, Normal

from experiments.config import Table, read_table
from experiments.continuous import (
    Budget,
    ExactWhenScored,
    Method,
    build,
    gaussian_clusters,
    load,
    run,
    standardise,
    table,
)
from experiments.runner import run_rows

TINY = {
    "rows": (400, 50, 150),
    "steps": 4,
    "continuous_steps": 2,
    "evaluate_every": 2,
    "layers": 2,
    "hidden_features": (8,),
    "transforms": 2,
    "wide_features": (16,),
}
MODELS = ("gaussian", "coupling", "mixture", "realnvp", "maf", "nsf", "ffjord")


def method(model):
    return Method(model=model, cells=3 if model == "mixture" else None)


def do(data, model, directory, **changes):
    directory.mkdir(exist_ok=True)
    return run(data, method(model), Budget(**TINY | changes), seed=0, directory=directory, device="cpu")


def tiny_table(*sets, methods=("gaussian", "coupling")):
    data = {name: {"small": TINY, "paper": TINY} for name in sets}
    options = {model: {"model": model} for model in methods}
    return Table.model_validate({"name": "tiny", "title": "", "task": "continuous", "data": data, "methods": options})


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A directory of files that TESSFLOW_DATA names, and nothing to download."""

    def refuse(*args, **options):
        raise ConnectionError("no network")

    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("TESSFLOW_DATA", str(folder))
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setattr(pooch, "retrieve", refuse)
    return folder


@pytest.mark.parametrize("whiten", [True, False])
def test_likelihoods_of_standardised_rows_are_those_of_the_rows(whiten):
    x = torch.randn(500, 3, dtype=torch.float64) @ torch.tensor([[9, 1, 0], [0, 0.01, 0.02], [0, 0, 2.0]]).double() + 7
    (z, held_out), log_scale = standardise([x, x[:20]], whiten=whiten)
    covariance = torch.cov(x.T)
    expected = MultivariateNormal(x.mean(0), covariance if whiten else covariance.diagonal().diag()).log_prob(x[:20])
    found = Normal(0.0, 1.0).log_prob(held_out).sum(-1) - log_scale
    assert torch.allclose(found.double(), expected, atol=1e-3)
    reached = torch.cov(z.T)
    assert torch.allclose(
        reached if whiten else reached.diagonal(), torch.eye(3) if whiten else torch.ones(3), atol=1e-3
    )


def test_columns_that_depend_on_others_cannot_be_whitened():
    x = torch.randn(100, 2)
    with pytest.raises(ValueError, match="column 3 is constant, or with whiten a linear function"):
        standardise([torch.cat([x, torch.zeros(100, 1)], 1)], whiten=True)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("whiten", [True, False])
def test_every_model_is_trained_and_scored(model, whiten, tmp_path):
    result = do("gaussians-8d", model, tmp_path / "run", whiten=whiten)
    assert result["kind"] == "exact"
    assert result["rows"] == [400, 50, 150]
    assert result["test"]["nats"] == pytest.approx(result["true"]["nats"] + result["kl_nats"], abs=1e-4)
    assert result["kl_nats"] > 3 * result["kl_standard_error"]
    assert np.mean(result["test_blocks"]) == pytest.approx(result["test"]["nats"], abs=0.3)
    assert (result["steps"] > 0) == (result["parameters"] > 0) == (model != "gaussian")
    json.dumps(result, allow_nan=False)


def test_a_run_that_is_made_again_gives_the_same(tmp_path):
    first, other, resumed = (do("gaussians-8d", "mixture", tmp_path / name) for name in ("a", "b", "a"))
    assert first["test"] == other["test"] == resumed["test"]
    assert resumed["seconds"] == first["seconds"]


def test_training_brings_a_mixture_nearer_to_the_truth(tmp_path):
    rows = {"rows": (2000, 200, 500)}
    short = do("gaussians-8d", "mixture", tmp_path / "short", **rows)
    longer = do("gaussians-8d", "mixture", tmp_path / "longer", steps=60, **rows)
    assert longer["kl_nats"] < short["kl_nats"] - 0.1


def test_the_gaussian_has_the_covariance_of_the_training_rows(tmp_path):
    data = load("gaussians-8d", Budget(**TINY))
    train, test = torch.from_numpy(data.train).double(), torch.from_numpy(data.test).double()
    expected = -MultivariateNormal(train.mean(0), torch.cov(train.T)).log_prob(test)
    result = do("gaussians-8d", "gaussian", tmp_path, whiten=False)
    assert result["test"]["nats"] == pytest.approx(expected.mean().item(), abs=1e-4)


def test_the_clusters_are_always_the_same():
    torch.manual_seed(1)
    first = gaussian_clusters()
    torch.manual_seed(2)
    rows = torch.from_numpy(load("gaussians-8d", Budget(steps=1, rows=(4000, 1, 1))).train).double()
    assert torch.equal(first.log_prob(rows), gaussian_clusters().log_prob(rows))
    assert torch.allclose(rows.mean(0), first.mean, atol=5 * first.stddev.max().item() / 4000**0.5)
    assert np.array_equal(rows.numpy(), load("gaussians-8d", Budget(steps=1, rows=(4000, 1, 1))).train)


def test_a_continuous_flow_is_scored_with_the_exact_trace():
    flow = ExactWhenScored(5, hidden_features=(8,))
    reference = zuko.flows.CNF(5, hidden_features=(8,), exact=True)
    reference.load_state_dict(flow.state_dict())
    x = torch.randn(4, 5)
    assert torch.allclose(flow.eval()().log_prob(x), reference.eval()().log_prob(x), atol=1e-5)
    assert torch.equal(flow().log_prob(x), flow().log_prob(x))
    assert not torch.equal(flow.train()().log_prob(x), flow().log_prob(x))


def test_part_of_a_published_set_is_called_partial(files, tmp_path):
    (files / "miniboone").mkdir()
    np.save(files / "miniboone" / "data.npy", np.random.default_rng(0).normal(size=(300, 43)))
    result = do("miniboone", "coupling", tmp_path / "run", validation_rows=20)
    assert result["source"].startswith("partial, 300 of 36,488 rows")
    assert result["rows"] == [243, 20, 30]


def test_patches_are_drawn_from_the_images(files, tmp_path):
    for part, count in (("train", 3), ("test", 1)):
        (files / "bsds300" / "images" / part).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng(number).integers(256, size=(20, 30), dtype=np.uint8)
            Image.fromarray(pixels).save(files / "bsds300" / "images" / part / f"{number}.jpg")
    result = do("bsds300-patches", "mixture", tmp_path / "run", whiten=True)
    assert result["source"].startswith("newly drawn with seed 0 from 3 + 1 images")
    assert (result["features"], result["rows"]) == (63, [400, 50, 150])


def test_data_that_cannot_be_had_are_told_in_a_sentence(files, tmp_path):
    rows = tiny_table("power", "bsds300-patches", methods=("gaussian",)).rows()
    errors = [outcome.error for outcome in run_rows(rows, results=tmp_path / "results", runs=tmp_path / "runs")]
    assert "data.tar.gz could not be downloaded" in errors[0]
    assert errors[1] is not None
    assert errors[1].startswith("the images of BSDS300 are not on this machine: put BSDS300-images.tgz into")
    with pytest.raises(ValueError, match="must say how many rows"):
        load("gaussians-8d", Budget(steps=1))
    with pytest.raises(ValueError, match="no continuous data set 'gaussians'"):
        load("gaussians", Budget(steps=1))


@pytest.mark.parametrize("options", [{"model": "mixture"}, {"model": "maf", "cells": 3}, {"model": "maf", "layers": 3}])
def test_options_that_do_not_fit_a_model_are_refused(options):
    with pytest.raises(ValidationError):
        Method(**options)


def test_all_methods_of_the_table_can_be_built():
    for row in [*read_table("table4").rows(), *read_table("table4").rows(preset="paper", only=["gaussians-8d/"])]:
        build(row.method, row.budget, 6)


def test_the_table_shows_signs_gains_and_what_is_missing():
    def result(nats, **more):
        values = {"nats": nats, "standard_error": 0.5}
        return {
            "test": values,
            "train": {"nats": nats - 1, "standard_error": 0.5},
            "test_blocks": [nats - 1.0, nats + 1.0],
            "steps": 10,
            "milliseconds_per_step": 12.34,
            "parameters": 1234,
            "source": "somewhere",
            "rows": [1000, 100, 10],
            "features": 8,
            "whiten": True,
        } | more

    config = tiny_table("power", "bsds300-patches", "gaussians-8d")
    text = table(
        config,
        {
            ("bsds300-patches", "coupling"): [result(-150.0)],
            ("bsds300-patches", "gaussian"): [result(-100.0, steps=0)],
            ("gaussians-8d", "coupling"): [result(13.0, true={"nats": 11.5, "standard_error": 0.1}), result(15.0)],
        },
    )
    assert "| method | bsds300-patches ↑ | gain | ms a step | gaussians-8d ↓ | gain | ms a step |" in text
    assert "| coupling | 150.00 ± 0.50 | - | 12.3 | 14.00 ± 0.50 | - | 12.3 |" in text
    assert "| gaussian | 100.00 ± 0.50 | -50.00 ± 0.00 | - | - | - | - |" in text
    assert "| the density itself | - | - | - | 11.50 ± 0.10 | - | - |" in text
    assert "| coupling | 151.00 ± 0.50 | 1,234 | 13.00 ± 0.50 | 1,234 |" in text
    assert "No results here: power." in text
    assert "- gaussians-8d: somewhere; 1,000 / 100 / 10 rows of 8 numbers; an affine map" in text
    assert "makes the training rows' covariance the identity; seeds: 2" in text
    assert "| disjoint mixture | 0.52 | 12.63 | 16.16 | 10.24 | 156.59 |" in text
    assert "do not compare" in text
