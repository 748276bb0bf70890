import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from tessflow import TabularFlow
from tessflow.tables import TableWarning

DATA = Path(__file__).parents[1] / "data"
FAST = {"max_steps": 60, "batch_size": 64, "hidden_features": (16,), "random_state": 0}


def weather(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    season = rng.choice(["spring", "summer", "autumn", "winter"], rows)
    wet = np.where(season == "summer", rng.random(rows) < 0.1, rng.random(rows) < 0.6)
    frame = pd.DataFrame({"season": season, "wet": wet, "umbrellas": (wet * rng.integers(1, 3, rows)).astype("int8")})
    frame["size"] = pd.Categorical(rng.choice(["S", "M"], rows), categories=["S", "M", "L"], ordered=True)
    frame["note"] = np.where(rng.random(rows) < 0.3, None, "ok")
    return frame


@pytest.fixture(scope="module")
def fitted():
    return TabularFlow(**FAST).fit(weather())


def test_samples_have_the_columns_dtypes_and_values_of_the_table(fitted):
    table, drawn = weather(), fitted.sample(500)
    assert drawn.columns.equals(table.columns)
    assert drawn.dtypes.equals(table.dtypes)
    assert len(drawn) == 500
    for name in table:
        assert set(drawn[name].dropna()) <= set(table[name].dropna())
    assert "L" in drawn["size"].cat.categories
    assert drawn["note"].isna().any()


def test_same_seed_same_numbers(fitted):
    again = TabularFlow(**FAST).fit(weather())
    pd.testing.assert_frame_equal(again.sample(20), fitted.sample(20))
    np.testing.assert_array_equal(again.score_samples(weather(seed=1)), fitted.score_samples(weather(seed=1)))
    assert not fitted.sample(20).equals(fitted.sample(20, random_state=7))


def test_fitting_and_scoring_leave_the_global_random_state_alone(fitted):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    TabularFlow(**FAST).fit(weather(40)).score(weather(40))
    fitted.sample(3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "bound"),
    [({}, False), ({"condition_on": "point"}, True), ({"backbone": "coupling", "layers": 2}, True)],
)
def test_probabilities_over_the_whole_support(options, bound):
    table = pd.DataFrame({"a": list("xyzx") * 20, "b": [0, 1, 1, 0] * 20})
    flow = TabularFlow(**FAST | options).fit(table)
    assert flow.lower_bound_ is bound
    support = pd.DataFrame(list(itertools.product("xyz?", range(-60, 60))), columns=["a", "b"])
    support = support.astype({"b": "Int64"})
    support = pd.concat([support, pd.DataFrame({"a": list("xyz?"), "b": pd.array([None] * 4, "Int64")})])
    with pytest.warns(TableWarning, match="column 'a' holds something not seen"):
        total = np.exp(flow.score_samples(support, samples=500)).sum()
    assert total == pytest.approx(1, abs=0.05 if bound else 1e-3)
    with pytest.warns(TableWarning, match="column 'a' holds something not seen in training in 25% of the rows"):
        assert flow.score(support) == pytest.approx(flow.score_samples(support).mean())


@pytest.mark.parametrize("backbone", ["autoregressive", "coupling"])
def test_saves_and_loads(tmp_path, backbone):
    flow = TabularFlow(backbone, layers=2, **FAST).fit(weather())
    flow.save(tmp_path / "model")
    loaded = TabularFlow.load(tmp_path / "model")
    names = sorted(path.name.partition("-")[0] for path in (tmp_path / "model").iterdir())
    assert names == ["config.json", "history.csv", "schema", "weights"]
    np.testing.assert_array_equal(loaded.score_samples(weather()), flow.score_samples(weather()))
    pd.testing.assert_frame_equal(loaded.sample(30), flow.sample(30))
    assert loaded.validation_score_ == flow.validation_score_
    assert list(loaded.feature_names_in_) == list(flow.feature_names_in_)


def test_a_damaged_model_is_one_sentence(tmp_path, fitted):
    with pytest.raises(FileNotFoundError, match="holds no complete model"):
        TabularFlow.load(tmp_path / "nowhere")
    for name, damage, sentence in [
        ("config.json", '{"format_version": 99}', r"config.json has format version 99.* newer tessflow"),
        ("config.json", '{"format_ver', r"config.json is damaged"),
        ("config.json", '{"format_version": 4, "parameters": {}}', r"config.json is damaged \(library_version"),
        ("config.json", '{"format_version": 3}', r"format version 3, and models are read from 4 on: fit it again"),
        ("schema", "{}", r"schema-.*.json is damaged \(its digest is not the one that config.json holds\)"),
        ("weights", "no", r"weights-.*.safetensors is damaged"),
    ]:
        path = tmp_path / f"{name}-{len(damage)}"
        fitted.save(path)
        (file,) = path.glob(f"{name}*")
        file.write_text(damage)
        with pytest.raises(ValueError, match=sentence):
            TabularFlow.load(path)


def test_damage_of_a_model_without_digests_is_one_sentence(tmp_path):
    kept = DATA / "format-4" / "tabular-coupling"
    for name, damage, sentence in [
        ("schema.json", "{}", r"schema.json is damaged \(columns: Field required\)"),
        ("weights.safetensors", "no", r"weights.safetensors is damaged"),
    ]:
        shutil.copytree(kept, tmp_path / name)
        (tmp_path / name / name).write_text(damage)
        with pytest.raises(ValueError, match=sentence):
            TabularFlow.load(tmp_path / name)
    shutil.copytree(kept, tmp_path / "other")
    path = tmp_path / "other" / "weights.safetensors"
    save_file(load_file(path) | {"extra": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="weights of another model"):
        TabularFlow.load(tmp_path / "other")


def test_numpy_options_are_saved_as_json_has_them(tmp_path):
    options = FAST | {"hidden_features": np.array([8, 8]), "dimension": np.int64(2), "dropout": np.float32(0.5)}
    TabularFlow(**options).fit(weather(30), directory=tmp_path).save(tmp_path)
    assert TabularFlow.load(tmp_path).hidden_features == (8, 8)


def test_two_threads_give_the_same_numbers_twice():
    # Gradients of gathered rows must be summed in a fixed order; it takes a wide table to see that they are not.
    script = """
import numpy as np, torch
from tessflow import TabularFlow
torch.set_num_threads(2)
table = np.random.default_rng(0).integers(0, 3, (600, 42))
for condition_on in ("cell", "point"):
    fits = [TabularFlow(condition_on=condition_on, max_steps=5, random_state=0).fit(table) for _ in range(2)]
    one, two = (fit.model_.state_dict() for fit in fits)
    assert all(torch.equal(one[name], two[name]) for name in one), condition_on
"""
    passive = {"OMP_WAIT_POLICY": "passive"}  # threads that wait leave the cores to other tests
    subprocess.run([sys.executable, "-c", script], env=os.environ | passive, check=True)


def test_refitting_forgets_column_names():
    flow = TabularFlow(**FAST).fit(weather(20))
    flow.fit(np.array([[0, 1], [1, 0]] * 5))
    assert not hasattr(flow, "feature_names_in_")


def test_a_lost_history_does_not_matter(tmp_path, fitted):
    fitted.save(tmp_path)
    (tmp_path / "history.csv").write_text("")
    assert TabularFlow.load(tmp_path).history_.empty


def test_validation_rows_can_be_given():
    flow = TabularFlow(**FAST).fit(weather(), X_validation=weather(seed=1))
    assert flow.validation_score_ == pytest.approx(flow.score(weather(seed=1)), abs=1e-4)


def test_small_tables():
    one_row = pd.DataFrame({"a": ["x"], "b": [1]})
    flow = TabularFlow(**FAST).fit(one_row)
    assert -2.5 < flow.score(one_row) < 0  # after one row, as much is left for what was not seen
    pd.testing.assert_frame_equal(flow.sample(2), pd.concat([one_row] * 2, ignore_index=True))
    one_column = pd.DataFrame({"a": list("xyxx")})
    assert TabularFlow(**FAST).fit(one_column).sample(3).shape == (3, 1)


def test_array_in_array_out():
    table = np.array([[0, 1], [1, 0]] * 20)
    flow = TabularFlow(**FAST).fit(table)
    drawn = flow.sample(5)
    assert isinstance(drawn, np.ndarray)
    assert drawn.dtype == table.dtype
    assert not hasattr(flow, "feature_names_in_")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"backbone": "transformer"}, "^backbone: input should be 'autoregressive' or 'coupling', got 'transformer'$"),
        ({"validation_fraction": 1.5}, "^validation_fraction: input should be less than 1, got 1.5$"),
        ({"max_steps": 0}, "^max_steps: input should be greater than or equal to 1, got 0$"),
        ({"dimension": 2.5}, "^dimension: "),
        ({"learning_rate": -1}, "^learning_rate: "),
        ({"random_state": -1}, "^random_state: "),
        ({"hidden_features": 16}, "^hidden_features: "),
        ({"hidden_features": ()}, "^hidden_features: "),
        ({"hidden_features": (0,)}, "^hidden_features: every width must be at least 1"),
        ({"profile": "tanh"}, "^profile: "),
    ],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        TabularFlow(**FAST | options).fit(weather(20))


def test_bad_tables_are_refused(fitted):
    with pytest.raises(TypeError, match="'height' mixes values of types int, str"):
        TabularFlow(**FAST).fit(weather(20).assign(height=[1, "tall"] * 10))
    with pytest.raises(ValueError, match=r"'season'.*'monsoon'"):
        fitted.score(weather(5).assign(season="monsoon"), unseen="error")
    assert np.isfinite(fitted.score(weather(5).assign(season="monsoon")))
    with pytest.raises(ValueError, match="1 missing: 'wet'"):
        fitted.score(weather(5).drop(columns="wet"))
    with pytest.raises(ValueError, match="X has no rows to score"):
        fitted.score(weather(5)[:0])
    with pytest.raises(ValueError, match=r"n_samples must be an integer of at least 1 and below 2\^63, got 0"):
        fitted.sample(0)
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        TabularFlow(condition_on="point", **FAST).fit(weather(20)).score(weather(5), samples=0)


def test_not_fitted(tmp_path):
    for use in (lambda flow: flow.sample(1), lambda flow: flow.score(weather(5)), lambda flow: flow.save(tmp_path)):
        with pytest.raises(NotFittedError):
            use(TabularFlow())


def test_another_model_does_not_resume(tmp_path):
    TabularFlow(**FAST).fit(weather(50), directory=tmp_path)
    with pytest.raises(ValueError, match="profile is truncated-gaussian there and softsign here"):
        TabularFlow(profile="softsign", **FAST).fit(weather(50), directory=tmp_path)


SCRIPT = """
import sys, torch
sys.path.insert(0, {tests!r})
from test_tabular_flow import fit_and_save
from tessflow.training import loop
torch.set_num_threads(1)
loop.CHECKPOINT_SECONDS = 0
fit_and_save({directory!r})
"""


def fit_and_save(directory):
    flow = TabularFlow(max_steps=200, batch_size=32, hidden_features=(64,), random_state=0)
    flow.fit(weather(), directory=directory).save(directory)


def test_killed_and_started_again_it_ends_with_the_same_weights(tmp_path):
    script = SCRIPT.format(tests=os.path.dirname(__file__), directory=str(tmp_path / "killed"))
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed" / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    for name in ("killed", "whole"):
        fit_and_save(tmp_path / name)
    for kind in ("weights", "config", "schema"):
        (killed,), (whole,) = (list((tmp_path / name).glob(f"{kind}*")) for name in ("killed", "whole"))
        assert (killed.name, killed.read_bytes()) == (whole.name, whole.read_bytes())


@parametrize_with_checks([TabularFlow(**FAST | {"max_steps": 5})])
def test_sklearn_conventions(estimator, check):
    check(estimator)


def test_clone_keeps_all_options():
    flow = TabularFlow("coupling", dimension=2, dropout=0.1, accelerator="auto")
    assert clone(flow).get_params() == flow.get_params()


def test_matches_the_entropy_of_independent_fair_columns():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.integers(0, [2, 3, 4], (2000, 3)), columns=list("abc"))
    flow = TabularFlow(max_steps=200, hidden_features=(16,), random_state=0).fit(table)
    fresh = pd.DataFrame(rng.integers(0, [2, 3, 4], (2000, 3)), columns=list("abc"))
    assert -flow.score(fresh) == pytest.approx(math.log(24), abs=0.02)
    assert -flow.score(fresh) > math.log(24) - 1e-3
