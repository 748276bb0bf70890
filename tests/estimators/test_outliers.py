"""No row far from all others ruins a fit or a mean: held-out scores hardly change, all likelihoods are in reach."""

from __future__ import annotations

import functools
import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from tessflow import TabularFlow

SMALL = {"dimension": 2, "hidden_features": (16,), "batch_size": 32, "random_state": 0}
BACKBONES = {
    "any order": {"dropout": 0.0, "learning_rate": 0.01, "max_steps": 100},
    "coupling": {"backbone": "coupling", "layers": 2, "max_steps": 100},
}
LARGEST, LEAST = sys.float_info.max, math.ulp(0.0)


def flowers(rows, seed):
    rng = np.random.default_rng(seed)
    is_rose = rng.random(rows) < 0.4
    planted = np.datetime64("2024-01-01", "s") + rng.integers(0, 200, rows).astype("m8[D]")
    return pd.DataFrame(
        {
            "kind": np.where(is_rose, "rose", "aster"),
            "height": rng.normal(3 * is_rose, 1),
            "petals": rng.poisson(50 + 50 * is_rose),
            "planted": planted,
        }
    )


TRAIN, VALIDATION, HELD_OUT = flowers(150, 1), flowers(60, 2), flowers(200, 3)


@functools.cache
def fitted(backbone, place=None, column=None, value=None):
    """A model of rows of which one has an odd value, perhaps, among those of training or of validation."""
    rows = {"training": TRAIN.copy(), "validation": VALIDATION.copy()}
    if place is not None:
        rows[place].loc[7, column] = value
    flow = TabularFlow(**SMALL | BACKBONES[backbone])
    return flow.fit(rows["training"], X_validation=rows["validation"])


@pytest.mark.parametrize(
    ("backbone", "column", "value"),
    [
        ("any order", "height", 1e300),
        ("any order", "petals", 99999),
        ("any order", "planted", np.datetime64("9999-12-31", "s")),
        ("coupling", "height", 99999.0),
        ("coupling", "planted", np.datetime64("9999-12-31", "s")),
    ],
)
@pytest.mark.parametrize("place", ["training", "validation"])
def test_one_odd_row_hardly_changes_the_likelihood_of_the_others(backbone, column, value, place):
    clean, odd = fitted(backbone), fitted(backbone, place, column, value)
    assert clean.result_.best_step > 10  # there is something to choose
    assert odd.score(HELD_OUT, samples=20) == pytest.approx(clean.score(HELD_OUT, samples=20), abs=0.05)
    assert np.isfinite(odd.validation_score_)
    if place == "validation":  # it does count in the plain mean
        assert odd.validation_score_ < clean.validation_score_ - 0.2


@pytest.mark.parametrize("place", ["training", "validation"])
def test_draws_stay_where_the_rows_are(place):
    drawn = fitted("any order", place, "petals", 99999).sample(300)
    assert drawn["petals"].between(0, 300).mean() > 0.98


EXTREMES = [0.0, LEAST, -LEAST, 1e-300, 99999.0, -99999.0, 2.0**53, 1e100, -1e100, 1e300, LARGEST, -LARGEST]
COLUMNS = {
    "reals": np.random.default_rng(0).normal(size=80),
    "whole": np.random.default_rng(0).integers(-900, 900, 80),
    "prices": np.random.default_rng(0).integers(-900, 900, 80) / 100,
    "flags": np.arange(80) % 2 - 1.0,
    "tiny": np.random.default_rng(0).normal(size=80) * 1e-300,
    "huge": np.random.default_rng(0).normal(size=80) * 1e300,
    "far away": 1e15 + np.random.default_rng(0).integers(0, 90, 80).astype(float),
}


@functools.cache
def of_one(name, backbone):
    flow = TabularFlow(**SMALL | BACKBONES[backbone] | {"max_steps": 5})
    return flow.fit(pd.DataFrame({"x": COLUMNS[name], "y": list("abca") * 20}))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", COLUMNS)
def test_no_finite_number_is_a_thousand_nats_away(name, backbone):
    flow = of_one(name, backbone)
    rows = pd.DataFrame({"x": EXTREMES, "y": "a"})
    assert not flow.find_unseen(rows).to_numpy().any()
    scores = flow.score_samples(rows, samples=2)
    assert np.isfinite(scores).all()
    assert scores.min() > -1000
    assert scores[-3] != scores[-2]  # nothing is clamped

    flow.model_.zero_grad()
    encoded = flow.schema_.encode(rows)
    torch.manual_seed(0)
    for part in (encoded, *encoded.split(1)):
        flow.model_.elbo(part).sum().backward()
    gradients = [parameter.grad for parameter in flow.model_.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_nor_is_any_time(backbone):
    flow = fitted(backbone)
    planted = np.array(["0001-01-01", "1677-09-21", "1970-01-01", "2262-04-12", "9999-12-31"], "M8[s]")
    rows = HELD_OUT[:5].assign(planted=planted)
    scores = flow.score_samples(rows, samples=2)
    assert np.isfinite(scores).all()
    assert scores.min() > -1000
    rows = HELD_OUT[:5].assign(height=[-LARGEST, LARGEST, 1e300, -1e300, LEAST], petals=2**62, planted=planted)
    scores = flow.score_samples(rows, samples=2)
    assert scores.min() > -3000  # of three columns


def test_far_rows_keep_a_mean_in_reach():
    """Half of the rows at the end of float64: their mean is still a number that can be compared."""
    flow = fitted("any order")
    rows = HELD_OUT.assign(height=np.where(np.arange(len(HELD_OUT)) % 2, LARGEST, HELD_OUT["height"]))
    assert -1000 < flow.score(rows) < flow.score(HELD_OUT)
    columns = flow.score_columns(rows)
    assert np.isfinite(columns.to_numpy()).all()
