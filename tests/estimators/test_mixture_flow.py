import json
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
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.utils.estimator_checks import parametrize_with_checks

from tessflow import MixtureFlow, TabularFlow
from tessflow.estimators.gaussian_start import fit_gaussians
from tessflow.estimators.numeric import NumericSchema
from tessflow.estimators.storage import FORMAT_VERSION
from tessflow.models import WarpedMixture

DATA = Path(__file__).parents[1] / "data"
FAST = {"n_cells": 4, "layers": 1, "hidden_features": (8,), "max_steps": 20, "batch_size": 64, "random_state": 0}


def clusters(rows=300, seed=0):
    """Two columns of three clusters, in units of their own."""
    rng = np.random.default_rng(seed)
    middle = np.array([[-4.0, 0.0], [4.0, 3.0], [4.0, -3.0]])[rng.integers(3, size=rows)]
    drawn = middle + rng.normal(size=(rows, 2))
    return pd.DataFrame({"height": 170 + 10 * drawn[:, 0], "year": 2000 + drawn[:, 1]})


@pytest.fixture(scope="module")
def fitted():
    return MixtureFlow(**FAST).fit(clusters())


def test_the_density_integrates_to_one_in_the_units_of_the_data(fitted):
    heights, years = np.linspace(20, 320, 500), np.linspace(1975, 2025, 500)
    grid = pd.DataFrame(np.stack(np.meshgrid(heights, years), -1).reshape(-1, 2), columns=["height", "year"])
    cell = (heights[1] - heights[0]) * (years[1] - years[0])
    assert np.exp(fitted.score_samples(grid)).sum() * cell == pytest.approx(1, abs=2e-3)


def test_it_learns_clusters():
    flow = MixtureFlow(n_cells=4, layers=2, hidden_features=(16,), max_steps=300, random_state=0).fit(clusters(2000))
    test = clusters(2000, seed=1)
    gaussians = GaussianMixture(3, random_state=0).fit(clusters(2000))  # the family that the rows are drawn from
    assert flow.score(test) > gaussians.score(test) - 0.1
    assert flow.score(test) > GaussianMixture(1).fit(clusters(2000)).score(test) + 0.1
    assert flow.validation_score_ == pytest.approx(flow.score(test), abs=0.3)
    assert flow.history_["validation"].max() >= flow.validation_score_  # one odd row in 200 counts for less
    drawn = flow.sample(4000)
    np.testing.assert_allclose(drawn.mean(), test.mean(), atol=3)
    np.testing.assert_allclose(drawn.std(), test.std(), rtol=0.1)


def test_samples_and_cells(fitted):
    drawn = fitted.sample(50)
    assert list(drawn.columns) == ["height", "year"]
    assert list(fitted.feature_names_in_) == ["height", "year"]
    pd.testing.assert_frame_equal(drawn, fitted.sample(50))
    assert not drawn.equals(fitted.sample(50, random_state=1))
    cells = fitted.predict(drawn)
    assert set(cells) <= set(range(4))
    probabilities = fitted.predict_proba(drawn)
    assert probabilities.shape == (50, 4)
    np.testing.assert_array_equal(probabilities.argmax(1), cells)
    np.testing.assert_array_equal(np.sort(probabilities, 1)[:, -2:], [[0, 1]] * 50)
    assert fitted.weights_.shape == (4,)
    assert fitted.weights_.sum() == pytest.approx(1)
    assert 1 <= fitted.cells_with_mass_ <= 4


def test_columns_are_found_by_their_names(fitted):
    rows = clusters(20)
    np.testing.assert_array_equal(fitted.score_samples(rows[["year", "height"]]), fitted.score_samples(rows))
    with pytest.raises(ValueError, match=r"(?s)unseen at fit time.*weight.*now missing.*year"):
        fitted.score(rows.rename(columns={"year": "weight"}))


def test_criteria_are_those_of_gaussian_mixtures(fitted):
    rows = clusters(100)
    total, free = 100 * fitted.score(rows), fitted.n_parameters_
    cells, whitening = 4 * 2, 4 * (2 + 3)
    assert free == sum(parameter.numel() for parameter in fitted.model_.parameters()) + cells + whitening
    assert fitted.aic(rows) == pytest.approx(-2 * total + 2 * free)
    assert fitted.bic(rows) == pytest.approx(-2 * total + free * np.log(100))


def test_units_do_not_matter():
    table = clusters(200).to_numpy()
    flow = MixtureFlow(**FAST).fit(table)
    other = MixtureFlow(**FAST).fit(table * 1e-150 + [1e-149, 0])
    moved = other.score_samples(table * 1e-150 + [1e-149, 0])
    np.testing.assert_allclose(moved, flow.score_samples(table) + 300 * np.log(10), rtol=1e-4)


def test_an_offset_costs_no_digits():
    noise = np.round(1e-3 * np.random.default_rng(0).normal(size=(500, 2)) * 2**20) / 2**20
    near, far = (MixtureFlow(**FAST).fit(offset + noise) for offset in (0, 2.0**30))
    assert far.score(2.0**30 + noise) == pytest.approx(near.score(noise), abs=1e-3)
    np.testing.assert_allclose(far.sample(1000).std(0), noise.std(0), rtol=0.3)


def test_points_far_out_have_a_finite_log_likelihood(fitted):
    far = pd.DataFrame({"height": [1e9, -1e300, 1e308], "year": [1e9, 1e300, -1e308]})
    for flow in (fitted, MixtureFlow(**FAST | {"n_cells": None}).fit(clusters())):
        assert np.isfinite(flow.score_samples(far)).all()


def test_without_cells_it_is_never_behind_the_gaussians_it_starts_from():
    train, validation, test = clusters(800), clusters(300, seed=1), clusters(4000, seed=2)
    flow = MixtureFlow(random_state=0, max_steps=100, hidden_features=(8,)).fit(train, X_validation=validation)
    encoded = [flow.schema_.encode(rows.to_numpy()).numpy() for rows in (train, validation)]
    start = WarpedMixture(2, flow.model_.base.components, layers=1).double()
    start.base.place(*map(torch.from_numpy, fit_gaussians(*encoded, seed=0)))
    before = float(start.elbo(torch.from_numpy(encoded[1])).mean().detach()) - flow.schema_.log_scale
    assert flow.validation_score_ >= before - 1e-3
    assert flow.score(test) > max(GaussianMixture(k, random_state=0).fit(train).score(test) for k in (1, 2, 5)) - 0.01


@pytest.mark.parametrize("gains", [False, True])
def test_training_is_kept_if_it_gains_more_than_its_error(gains):
    rng = np.random.default_rng(0)
    train, validation = (rng.random((rows, 2)) if gains else rng.normal(size=(rows, 2)) for rows in (1500, 800))
    flow = MixtureFlow(layers=2, hidden_features=(16,), max_steps=200, random_state=0)
    flow.fit(train, X_validation=validation)
    assert (flow.result_.best_step > 0) == gains
    assert flow.validation_score_ == pytest.approx(flow.score(validation), abs=1e-5)


def test_without_cells_all_space_is_one():
    flow = MixtureFlow(**FAST | {"n_cells": None}).fit(clusters())
    assert flow.weights_.tolist() == [1]
    assert flow.cells_with_mass_ == 1
    assert flow.predict(clusters(5)).tolist() == [0] * 5
    assert flow.predict_proba(clusters(5)).tolist() == [[1]] * 5
    assert flow.n_parameters_ == sum(parameter.numel() for parameter in flow.model_.parameters())


@pytest.mark.parametrize("shape", [(2, 1), (2, 3), (5, 2), (50, 1)])
def test_small_tables(shape):
    table = np.random.default_rng(0).normal(size=shape)
    for cells in (16, None):
        flow = MixtureFlow(**FAST | {"n_cells": cells}).fit(table)
        assert np.isfinite(flow.score_samples(table)).all()
        assert flow.sample(3).shape == (3, shape[1])


def test_few_distinct_rows():
    table = np.array([[0.0, 0.0], [1.0, 1.0]] * 30)
    flow = MixtureFlow(**FAST).fit(table)
    assert np.isfinite(flow.score(table))
    assert flow.cells_with_mass_ == 2


@pytest.mark.parametrize(
    "options",
    [
        {"univariate": "affine", "before": 1},
        {"profile": "truncated-gaussian", "box": False},
        {"profile": "softsign", "base": "cauchy", "learn_anchors": False},
        {"n_cells": 1},
        {"n_cells": None},
        {"n_cells": None, "learn_gaussians": False, "univariate": "affine"},
    ],
)
def test_options(tmp_path, options):
    flow = MixtureFlow(**FAST | options).fit(clusters())
    assert np.isfinite(flow.score_samples(clusters(seed=1))).all()
    flow.save(tmp_path)
    loaded = MixtureFlow.load(tmp_path)
    np.testing.assert_array_equal(loaded.score_samples(clusters()), flow.score_samples(clusters()))


def test_saves_and_loads(tmp_path, fitted):
    fitted.save(tmp_path / "model")
    loaded = MixtureFlow.load(tmp_path / "model")
    names = sorted(path.name.partition("-")[0] for path in (tmp_path / "model").iterdir())
    assert names == ["config.json", "history.csv", "schema", "weights"]
    np.testing.assert_array_equal(loaded.score_samples(clusters()), fitted.score_samples(clusters()))
    pd.testing.assert_frame_equal(loaded.sample(30), fitted.sample(30))
    assert loaded.validation_score_ == fitted.validation_score_
    assert loaded.cells_with_mass_ == fitted.cells_with_mass_
    assert list(loaded.feature_names_in_) == list(fitted.feature_names_in_)
    assert loaded.get_params() == fitted.get_params()


def test_one_kind_does_not_load_the_other(tmp_path, fitted):
    fitted.save(tmp_path / "numbers")
    table = TabularFlow(max_steps=2, hidden_features=(8,), random_state=0).fit(np.eye(4, dtype=int))
    table.save(tmp_path / "classes")
    with pytest.raises(ValueError, match=r"holds a MixtureFlow, not a TabularFlow: load it with MixtureFlow\.load"):
        TabularFlow.load(tmp_path / "numbers")
    with pytest.raises(ValueError, match="holds a TabularFlow, not a MixtureFlow"):
        MixtureFlow.load(tmp_path / "classes")


def test_a_mixture_of_the_format_before_is_refused(tmp_path, fitted):
    fitted.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("format_version") == FORMAT_VERSION
    (tmp_path / "config.json").write_text(json.dumps(config | {"format_version": 3}))
    with pytest.raises(ValueError, match="format version 3, and models are read from 4 on: fit it again"):
        MixtureFlow.load(tmp_path)


def test_a_damaged_schema_is_one_sentence(tmp_path):
    shutil.copytree(DATA / "format-4" / "mixture", tmp_path / "model")
    path = tmp_path / "model" / "schema.json"
    path.write_text(path.read_text().replace('"scale": ', '"scale": -'))
    with pytest.raises(ValueError, match=r"schema.json is damaged \(columns\.0\.scale: .*\): fit the model again"):
        MixtureFlow.load(tmp_path / "model")


def test_same_seed_same_numbers_and_the_global_state_is_left_alone(fitted):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = MixtureFlow(**FAST).fit(clusters())
    np.testing.assert_array_equal(again.score_samples(clusters()), fitted.score_samples(clusters()))
    again.sample(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_validation_rows_can_be_given():
    flow = MixtureFlow(**FAST).fit(clusters(), X_validation=clusters(seed=1))
    assert flow.validation_score_ == pytest.approx(flow.score(clusters(seed=1)), abs=1e-4)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}), "^column 'b' holds 'x', which is no number: "),
        (pd.DataFrame({"a": [1, None, 2]}, dtype="Int64"), "^column 'a' has a missing value in row 1 "),
        (pd.DataFrame({"a": [1.0, 2.0, -np.inf]}), "^column 'a' has an infinite value in row 2 "),
        (pd.DataFrame({"a": pd.to_datetime(["2020-01-01", "2021-01-01"])}), "^column 'a' holds Timestamp"),
        (pd.DataFrame({"a": [1, 2], "b": [3, 3]}), "^column 'b' has the value 3 in every row, "),
        (pd.DataFrame({"a": pd.Series([], dtype=str)}), "^column 'a' holds .*, which is no number"),
        (np.array([[1.0, 7.0], [2.0, 7.0]]), "^column 1 has the value 7 in every row, "),
        (np.array([[-1e308], [1e308]]), "^column 0 spans more than float64 holds"),
        (np.array([[1.0, 2.0]]), r"^Found array with 1 sample\(s\)"),
        ([[1.0, np.nan], [2.0, 3.0]], "^Input X contains NaN"),
    ],
)
def test_bad_tables_are_refused(table, sentence):
    with pytest.raises(ValueError, match=sentence):
        MixtureFlow(**FAST).fit(table)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n_cells": 0}, "^n_cells: input should be greater than or equal to 1, got 0$"),
        ({"univariate": "cubic"}, "^univariate: input should be 'spline' or 'affine', got 'cubic'$"),
        ({"profile": "tanh"}, "^profile: "),
        ({"bins": 1}, "^bins: "),
        ({"hidden_features": (0,)}, "^hidden_features: every width must be at least 1"),
        ({"learning_rate": 0}, "^learning_rate: "),
        ({"n_estimators": 0}, "^n_estimators: input should be greater than or equal to 1, got 0$"),
        (
            {"learn_gaussians": False},
            "^learn_gaussians: it is for a mixture without cells, and this one has cells, got False$",
        ),
        *(
            ({"n_cells": None, name: value}, f"^{name}: it is for a mixture with cells, and this one has no cells, ")
            for name, value in {
                "before": 1,
                "profile": "cube",
                "box": True,
                "background": 0.1,
                "whiten": True,
                "base": "cauchy",
                "learn_anchors": True,
            }.items()
        ),
    ],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        MixtureFlow(**FAST | options).fit(clusters(20))


def test_bad_calls_are_refused(fitted, tmp_path):
    with pytest.raises(ValueError, match=r"n_samples must be an integer of at least 1 and below 2\^63, got 0"):
        fitted.sample(0)
    with pytest.raises(ValueError, match="column 'year' has a missing value in row 0"):
        fitted.score(clusters(3).assign(year=[None, 1.0, 2.0]))
    with pytest.raises(ValueError, match="has 3 features"):
        MixtureFlow(**FAST).fit(clusters(20).to_numpy()).score(np.zeros((2, 3)))
    for use in (lambda flow: flow.sample(), lambda flow: flow.bic(clusters(5)), lambda flow: flow.save(tmp_path)):
        with pytest.raises(NotFittedError):
            use(MixtureFlow())


def test_another_model_does_not_resume(tmp_path):
    MixtureFlow(**FAST).fit(clusters(50), directory=tmp_path)
    with pytest.raises(ValueError, match="profile is truncated-gaussian there and softsign here"):
        MixtureFlow(**FAST, profile="softsign").fit(clusters(50), directory=tmp_path)


SCRIPT = """
import sys, torch
sys.path.insert(0, {tests!r})
from test_mixture_flow import fit_and_save
from tessflow.training import loop
torch.set_num_threads(1)
loop.CHECKPOINT_SECONDS = 0
fit_and_save({options!r}, {directory!r})
"""


def fit_and_save(options, directory):
    MixtureFlow(**FAST | options).fit(clusters(), directory=directory).save(directory)


@pytest.mark.parametrize(
    ("options", "begun"),
    [
        ({"max_steps": 200}, "checkpoint.safetensors"),
        ({"max_steps": 200, "n_estimators": 2, "n_cells": None}, "estimator-1/checkpoint.safetensors"),
    ],
)
def test_killed_and_started_again_it_ends_with_the_same_weights(tmp_path, options, begun):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    script = SCRIPT.format(tests=os.path.dirname(__file__), directory=str(killed), options=options)
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not (killed / begun).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = {path: path.stat().st_mtime_ns for path in killed.glob("estimator-0/*")}
    fit_and_save(options, killed)
    assert all(path.stat().st_mtime_ns == before for path, before in done.items())  # it was not trained again
    fit_and_save(options, whole)
    for kind in ("weights", "config", "schema"):
        (one,), (other,) = (list(directory.glob(f"{kind}*")) for directory in (killed, whole))
        assert (one.name, one.read_bytes()) == (other.name, other.read_bytes())


@parametrize_with_checks([MixtureFlow(**FAST), MixtureFlow(**FAST | {"n_cells": None, "max_steps": 2})])
def test_sklearn_accepts_it(estimator, check):
    check(estimator)


def test_clone_keeps_all_options():
    flow = MixtureFlow(7, before=2, profile="softsign", bins=4)
    assert clone(flow).get_params() == flow.get_params()


@pytest.mark.parametrize("dtype", [bool, object])
def test_truth_values_are_no_numbers(dtype):
    frame = pd.DataFrame({"a": [1, 2], "b": np.array([True, False], dtype=dtype)})
    with pytest.raises(ValueError, match="column 'b' holds True, which is no number"):
        NumericSchema.infer(frame)


def test_schema_of_numbered_columns():
    frame = pd.DataFrame({0: [1, 2], 1: [3.5, 2.5]})
    schema = NumericSchema.infer(frame)
    assert schema.names == (0, 1)
    pd.testing.assert_frame_equal(schema.decode(schema.encode(frame.to_numpy(float))), frame.astype(float))
    assert NumericSchema.model_validate_json(schema.model_dump_json()) == schema


def test_clusters_far_apart_are_not_behind_two_gaussians():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1400, 2)) + 1e4 * rng.integers(0, 2, (1400, 1))
    flow = MixtureFlow(layers=2, max_steps=100, random_state=0).fit(rows[:400])
    assert flow.score(rows[400:]) > GaussianMixture(2, random_state=0).fit(rows[:400]).score(rows[400:]) - 0.2


def test_many_cells(capsys):
    rows = np.random.default_rng(0).normal(size=(3000, 2))
    flow = MixtureFlow(1500, layers=1, hidden_features=(8,), max_steps=5, random_state=0, verbose=True).fit(rows)
    assert "placing cells" in capsys.readouterr().err
    proba = flow.predict_proba(rows[:10])
    assert proba.shape == (10, 1500)
    assert (proba.argmax(-1) == flow.predict(rows[:10])).all()
    assert (proba.sum(-1) == 1).all()
    assert np.isfinite(flow.score_samples(rows)).all()
