"""Models that an earlier version saved are read, and give the scores that they gave then."""

from __future__ import annotations

import functools
import json

import numpy as np
import pandas as pd
import pytest

from make_kept_models import DATA, ESTIMATORS, MODELS, SINCE, SMALL, read_rows
from tessflow import TabularFlow
from tessflow.estimators.storage import FORMAT_VERSION, OLDEST

KEPT = sorted(path.parent.relative_to(DATA).as_posix() for path in DATA.glob("format-*/*/config.json"))


@functools.cache
def kept(name):
    """The model, and the rows beside it."""
    estimator = json.loads((DATA / name / "config.json").read_text())["estimator"]
    model = ESTIMATORS[estimator].load(DATA / name)
    return model, read_rows(DATA / name, model)


def test_there_is_one_of_each_estimator_and_format():
    formats = range(OLDEST, FORMAT_VERSION + 1)
    expected = {f"format-{number}/{name}" for number in formats for name in MODELS if number >= SINCE.get(name, OLDEST)}
    assert expected <= set(KEPT)
    assert {type(kept(name)[0]).__name__ for name in KEPT} == set(ESTIMATORS)


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_model_is_small(name):
    assert sum(file.stat().st_size for file in (DATA / name).iterdir()) < 60_000


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_model_gives_the_scores_that_it_gave(name):
    model, rows = kept(name)
    scores = json.loads((DATA / name / "scores.json").read_text())
    np.testing.assert_allclose(model.score_samples(rows), scores, rtol=1e-4, atol=1e-4)
    assert np.isfinite(model.validation_score_)
    assert model.options_.random_state == SMALL["random_state"]
    assert len(model.history_) > 0


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_model_draws_rows(name):
    model, rows = kept(name)
    drawn = model.sample(20)
    assert len(drawn) == 20
    assert np.isfinite(model.score_samples(drawn)).all()
    if isinstance(drawn, pd.DataFrame):
        assert drawn.columns.tolist() == [name for name in rows.columns if name != "trip"]
    if isinstance(model, TabularFlow):
        assert not model.find_unseen(drawn).to_numpy().any()
        assert (drawn["start"] <= drawn["end"]).all()


@pytest.mark.parametrize("name", [name for name in KEPT if name.endswith("any-order")])
def test_a_kept_model_answers_what_is_asked_of_columns(name):
    model, rows = kept(name)
    filled = model.impute(rows)
    pd.testing.assert_series_equal(filled["trip"], rows["trip"])
    assert filled.notna().all(axis=None)
    assert filled["boat"].tolist()[0] == "ferry"
    assert (model.sample(5, given={"boat": "raft"})["boat"] == "raft").all()
    chances = model.conditional(rows, "boat").probabilities()
    assert chances.columns.tolist() == ["canoe", "kayak", "raft", "missing", "unseen"]


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_model_can_be_saved_again(name, tmp_path):
    model, rows = kept(name)
    model.save(tmp_path / "again")
    again = type(model).load(tmp_path / "again")
    np.testing.assert_array_equal(again.score_samples(rows), model.score_samples(rows))
