"""Several mixtures, averaged in probability."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from tessflow import MixtureFlow
from tessflow.files import only_writer

FAST = {"layers": 1, "hidden_features": (8,), "max_steps": 60, "batch_size": 64, "random_state": 0}
KINDS = {
    "cells": FAST | {"n_cells": 3, "n_estimators": 3},
    "Gaussians": FAST | {"n_estimators": 2},
}
ROWS = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 2)) * [1, 50], columns=["x", "y"])


@pytest.fixture(scope="module", params=KINDS)
def flow(request):
    return MixtureFlow(**KINDS[request.param]).fit(ROWS)


def test_the_density_is_the_mean_of_theirs(flow):
    scores = [estimator.score_samples(ROWS) for estimator in flow.estimators_]
    assert len(scores) == flow.n_estimators
    np.testing.assert_allclose(np.exp(flow.score_samples(ROWS)), np.exp(scores).mean(0))
    assert flow.score(ROWS) > np.mean([score.mean() for score in scores])
    assert not np.array_equal(scores[0], scores[1])


def test_each_is_an_estimator_of_its_own_seed_and_share_of_the_steps(flow):
    alone = [clone(estimator).fit(ROWS, X_validation=ROWS[:20]) for estimator in flow.estimators_]
    assert [one.max_steps for one in alone] == [60 // flow.n_estimators] * flow.n_estimators
    assert len({one.random_state for one in alone}) == flow.n_estimators
    validated = MixtureFlow(**flow.get_params()).fit(ROWS, X_validation=ROWS[:20])
    for one, other in zip(alone, validated.estimators_, strict=True):
        np.testing.assert_array_equal(one.score_samples(ROWS), other.score_samples(ROWS))
    assert validated.validation_score_ == pytest.approx(validated.score(ROWS[:20]), abs=1e-6)


def test_a_single_one_is_its_own_estimator():
    single = MixtureFlow(**FAST).fit(ROWS)
    assert single.estimators_ == [single]
    assert single.result_.steps == 60


def test_what_is_counted_is_the_sum(flow):
    assert flow.n_parameters_ == sum(estimator.n_parameters_ for estimator in flow.estimators_)
    assert flow.history_["estimator"].unique().tolist() == list(range(flow.n_estimators))
    assert flow.result_ is None


@pytest.mark.parametrize("asked", ["predict", "predict_proba", "weights_", "cells_with_mass_"])
def test_what_cells_say_is_refused_in_a_sentence_that_names_one(flow, asked):
    with pytest.raises(ValueError, match=rf"^{asked}: \d estimators are averaged, .* take one, as estimators_\[0\]\.$"):
        getattr(flow, asked)(ROWS) if asked.startswith("predict") else getattr(flow, asked)
    one = flow.estimators_[-1]
    assert len(one.predict(ROWS)) == 200
    assert one.weights_.shape == (flow.n_cells or 1,)


def test_draws_are_of_all_and_repeat(flow):
    drawn = flow.sample(500)
    assert drawn.columns.tolist() == ["x", "y"]
    pd.testing.assert_frame_equal(drawn, flow.sample(500))
    assert not drawn.equals(flow.sample(500, random_state=1))
    assert abs(drawn["y"].std() - 50) < 15


def test_it_is_saved_with_all_of_them(flow, tmp_path):
    flow.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    loaded = MixtureFlow.load(tmp_path)
    np.testing.assert_array_equal(loaded.score_samples(ROWS), flow.score_samples(ROWS))
    pd.testing.assert_frame_equal(loaded.sample(30), flow.sample(30))
    assert loaded.validation_score_ == flow.validation_score_
    for one, other in zip(loaded.estimators_, flow.estimators_, strict=True):
        np.testing.assert_array_equal(one.score_samples(ROWS), other.score_samples(ROWS))
        assert one.get_params() == other.get_params()
        assert one.validation_score_ == other.validation_score_
        assert one.cells_with_mass_ == other.cells_with_mass_
        assert one.history_["step"].tolist() == other.history_["step"].tolist()
        one.save(tmp_path / "one")
        np.testing.assert_array_equal(MixtureFlow.load(tmp_path / "one").score_samples(ROWS), other.score_samples(ROWS))


def test_without_its_history_it_is_loaded_all_the_same(flow, tmp_path):
    flow.save(tmp_path)
    (tmp_path / "history.csv").unlink()
    assert all(estimator.history_.empty for estimator in MixtureFlow.load(tmp_path).estimators_)


def test_members_that_are_others_than_the_options_are_damage(flow, tmp_path):
    flow.save(tmp_path)
    loaded = MixtureFlow.load(tmp_path)
    for members in (loaded.members_[:1], (*loaded.members_, loaded.members_[0])):
        loaded.members_ = members
        with pytest.raises(ValueError, match="n_estimators"):
            loaded.save(tmp_path / "other")
    config = json.loads((tmp_path / "config.json").read_text())
    assert len(config["members"]) == flow.n_estimators


@pytest.mark.parametrize("cells", [None, 3])
def test_each_has_at_least_one_step(cells):
    with pytest.raises(ValueError, match=r"^max_steps: it is for all 3 estimators together, .* at least 3, got 2$"):
        MixtureFlow(cells, **FAST | {"n_estimators": 3, "max_steps": 2}).fit(ROWS)
    flow = MixtureFlow(cells, **FAST | {"n_estimators": 3, "max_steps": 3}).fit(ROWS)
    assert [one.max_steps for one in flow.estimators_] == [1, 1, 1]


def test_one_process_fits_in_a_directory(tmp_path):
    def fit():
        return MixtureFlow(**KINDS["cells"]).fit(ROWS, directory=tmp_path)

    whole = fit()
    again = fit()  # all of them are there
    np.testing.assert_array_equal(again.score_samples(ROWS), whole.score_samples(ROWS))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["estimator-0", "estimator-1", "estimator-2"]
    with pytest.raises(ValueError, match="belongs to another training run"):
        MixtureFlow(**KINDS["cells"] | {"random_state": 1}).fit(ROWS, directory=tmp_path)
    with only_writer(tmp_path):
        fit()
