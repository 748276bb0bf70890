"""The command line, with a model of independent columns in the place of the flow."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.base import BaseEstimator
from typer.testing import CliRunner

import tessflow
from tessflow.cli import app
from tessflow.datasets import sample_planar
from tessflow.estimators import TabularFlow
from tessflow.tables import TableSchema, read_table, write_table

TABLE = pd.DataFrame({"colour": ["red", "blue", "red", None], "eggs": [1, 2, 2, 2]})


class StandIn(BaseEstimator):
    """Independent columns behind the interface of TabularFlow."""

    lower_bound_ = False
    validation_score_ = -2.25
    history_ = pd.DataFrame({"step": [100, 200], "validation": [-2.25, -2.5], "seconds": [1.5, 3.0]})
    max_levels, scaling = 64, "quantile"

    def __init__(self, backbone="autoregressive", *, max_steps=200, random_state=None, verbose=False):
        self.backbone, self.max_steps = backbone, max_steps
        self.random_state, self.verbose = random_state, verbose

    @property
    def model_(self):
        return torch.nn.ParameterList(self.shares_)

    def fit(self, X, y=None, *, directory=None):
        if self.backbone not in ("autoregressive", "coupling"):
            raise ValueError(f"backbone is 'autoregressive' or 'coupling',\ngot {self.backbone!r}")
        if self.max_steps == 130:
            raise KeyboardInterrupt
        self.schema_ = TableSchema.infer(X)
        codes = self.schema_.encode(X).numpy()
        self.shares_ = [torch.tensor(np.bincount(codes[:, n]) / len(codes)) for n in range(codes.shape[1])]
        Path(directory).mkdir(exist_ok=True)
        Path(directory, "checkpoint.safetensors").touch()
        return self

    def save(self, path):
        Path(path, "config.json").write_text(json.dumps(self.get_params()))
        Path(path, "schema.json").write_text(self.schema_.model_dump_json())
        save_file({str(n): p for n, p in enumerate(self.shares_)}, Path(path, "weights.safetensors"))

    @classmethod
    def load(cls, path):
        model = cls(**json.loads(Path(path, "config.json").read_text()))
        model.schema_ = TableSchema.model_validate_json(Path(path, "schema.json").read_text())
        weights = load_file(Path(path, "weights.safetensors"))
        model.shares_ = [weights[str(n)] for n in range(len(weights))]
        return model

    def score_samples(self, X, *, samples=None):
        codes = self.schema_.encode(X).numpy()
        return sum(np.log(p.numpy()[codes[:, n]]) for n, p in enumerate(self.shares_))

    def sample(self, n, *, random_state=None):
        random = np.random.default_rng(random_state)
        return self.schema_.decode(np.stack([random.choice(len(p), n, p=p) for p in self.shares_], axis=1))


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(tessflow, "TabularFlow", StandIn, raising=False)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_table(TABLE, tmp_path / "table.csv")

    def run(*arguments, code=0):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        return result

    return run


def refusal(run, *arguments):
    """The one sentence that a refused command says."""
    result = run(*arguments, code=2)
    assert result.stdout == ""
    assert result.stderr.startswith("tessflow: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_fit_score_sample_info(run, tmp_path):
    said = run("fit", "table.csv", "--out", "model").stdout
    assert "held-out log-likelihood: -2.2500 nats a row (-3.2461 bits), exact\n" in said
    assert "training: 200 steps in 3 seconds" in said
    assert "the model is in model" in said

    expected = 2 * math.log(1 / 2) + 2 * math.log(1 / 4) + 3 * math.log(3 / 4) + math.log(1 / 4)
    said = run("score", "model", "table.csv", "--out", "scores.csv").stdout
    assert f"mean log-likelihood: {expected / 4:.4f} nats" in said
    scores = pd.read_csv("scores.csv")["log_likelihood"]
    assert scores[2] == pytest.approx(math.log(1 / 2) + math.log(3 / 4))
    assert f"standard error {scores.sem():.4f} nats, 4 rows, exact" in said

    run("sample", "model", "-n", 50, "--seed", 1, "--out", "drawn.parquet")
    drawn = read_table(tmp_path / "drawn.parquet")
    assert set(drawn["eggs"]) == {1, 2}
    assert run("sample", "model", "-n", 50, "--seed", 1).stdout == drawn.to_csv(index=False)

    said = run("info", "model").stdout
    for part in ("colour", "categorical", "'blue', 'red', missing", "exact", "backbone='autoregressive'"):
        assert part in said
    assert "held-out log-likelihood: -2.2500 nats" in said
    assert "5 parameters" in said


def test_the_flow_itself(run, monkeypatch):
    monkeypatch.setattr(tessflow, "TabularFlow", TabularFlow)
    write_table(pd.concat([TABLE] * 25), "table.csv")
    for steps in (["--steps", 8], ["--steps", 8]):  # the second time it is there already
        said = run("fit", "table.csv", "--out", "model", "--dimension", 2, *steps).stdout
        assert "nats a row" in said
        assert "training: 8 steps" in said
    assert "of another max_steps" in refusal(run, "fit", "table.csv", "--out", "model", "--dimension", 2, "--steps", 9)
    assert "100 rows" in run("score", "model", "table.csv", "--samples", 2).stdout
    drawn = run("sample", "model", "-n", 20, "--seed", 3).stdout
    assert drawn == run("sample", "model", "-n", 20, "--seed", 3).stdout
    assert drawn.count("\n") == 21
    assert "dimension=2" in run("info", "model").stdout
    Path("model/weights.safetensors").write_bytes(Path("model/weights.safetensors").read_bytes()[:-8])
    assert "weights.safetensors is damaged" in refusal(run, "info", "model")


def test_quiet_says_nothing(run):
    assert run("fit", "table.csv", "--out", "model", "--quiet").output == ""


def test_options_left_away_are_the_estimators_own(run):
    run("fit", "table.csv", "--out", "model", "--steps", 7)
    config = json.loads(Path("model/config.json").read_text())
    assert config == {"backbone": "autoregressive", "max_steps": 7, "random_state": 0, "verbose": True}


def test_the_same_command_may_run_again_and_another_is_refused(run):
    run("fit", "table.csv", "--out", "model")
    run("fit", "table.csv", "--out", "model", "--quiet")
    assert "of another backbone" in refusal(run, "fit", "table.csv", "--out", "model", "--backbone", "coupling")
    write_table(TABLE.replace("red", "pink"), "other.csv")
    assert "of another table" in refusal(run, "fit", "other.csv", "--out", "model")
    Path("model/checkpoint.safetensors").unlink()
    assert "without a checkpoint" in refusal(run, "fit", "table.csv", "--out", "model")
    run("fit", "other.csv", "--out", "model", "--force")
    assert "pink" in run("sample", "model").stdout


def test_a_killed_run_is_taken_up(run):
    Path("model").mkdir()
    for left in ("history.csv", "checkpoint.safetensors.tmp", "checkpoint.safetensors", "weights.safetensors"):
        Path("model", left).touch()
        run("fit", "table.csv", "--out", "model", "--quiet")
        for file in Path("model").iterdir():
            file.unlink()


def test_directories_of_others_are_left_alone(run):
    Path("photos").mkdir()
    Path("photos/cat.jpg").touch()
    for force in ([], ["--force"]):
        assert "photos is not empty" in refusal(run, "fit", "table.csv", "--out", "photos", *force)
    assert os.listdir("photos") == ["cat.jpg"]
    assert "table.csv is a file" in refusal(run, "fit", "table.csv", "--out", "table.csv")


def test_a_refused_table_leaves_the_old_model(run):
    run("fit", "table.csv", "--out", "model")
    pd.DataFrame({"pair": [[1, 2], [3, 4]]}).to_parquet("nested.parquet")
    assert "'pair' holds nested values" in refusal(run, "fit", "nested.parquet", "--out", "model", "--force")
    assert "red" in run("sample", "model", "-n", 50).stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fit", "nowhere.csv", "--out", "model"], "nowhere.csv: there is no such file"),
        (["fit", "empty.csv", "--out", "model"], "empty.csv is empty"),
        (["fit", "other.csv", "--out", "model"], "seem to be separated by ';'"),
        (["fit", "table.csv", "--out", "model", "--backbone", "x"], "or 'coupling', got 'x'"),
        (["score", "fitted", "new.csv"], "column 'colour' has in row 1 (counted from 0) the value 'green'"),
        (["score", "fitted", "extra.csv"], "1 missing: 'eggs'; 1 unknown: 'nest'"),
        (["score", "nowhere", "table.csv"], "nowhere/config.json: No such file or directory"),
        (["score", "fitted", "table.csv", "--out", "no/scores.csv"], "no/scores.csv: could not be written"),
        (["sample", "fitted", "--out", "sample.txt"], "its suffix must be .csv"),
        (["data", "show", "nothing"], "there is no data set 'nothing'"),
    ],
)
def test_errors_are_one_sentence(run, arguments, sentence):
    run("fit", "table.csv", "--out", "fitted")
    Path("empty.csv").touch()
    Path("other.csv").write_text("a;b\n1;2\n")
    Path("new.csv").write_text("colour,eggs\nred,1\ngreen,2\n")
    Path("extra.csv").write_text("colour,nest\nred,1\n")
    before = sorted(os.listdir())
    assert sentence in refusal(run, *arguments)
    assert sorted(os.listdir()) == before


def test_a_full_disk_is_one_sentence(run, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "model/weights.safetensors")

    monkeypatch.setattr(StandIn, "save", full)
    sentence = refusal(run, "fit", "table.csv", "--out", "model")
    assert sentence == "tessflow: model/weights.safetensors: No space left on device\n"


def test_debug_shows_the_traceback(run):
    said = run("--debug", "fit", "nowhere.csv", "--out", "model", code=2).stderr
    assert "Traceback" in said
    assert said.splitlines()[-1] == "tessflow: nowhere.csv: there is no such file"


def test_an_interrupted_fit_says_how_to_go_on(run):
    said = run("fit", "table.csv", "--out", "model", "--steps", 130, code=130).stderr
    assert "goes on from the last checkpoint in model" in said


def test_an_interrupted_draw_says_so(run, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    run("fit", "table.csv", "--out", "model")
    monkeypatch.setattr(StandIn, "sample", interrupt)
    assert run("sample", "model", code=130).stderr == "tessflow: interrupted\n"


def test_a_delimiter_is_passed_on(run):
    Path("other.csv").write_text("a\tb\n1\t2\n")
    run("fit", "other.csv", "--out", "model", "--delimiter", "\\t")
    assert run("sample", "model", "-n", 1).stdout == "a,b\n1,2\n"


def test_strings_of_digits_stay_strings(run):
    write_table(pd.DataFrame({"code": ["1", "2", "x"]}), "codes.csv")
    run("fit", "codes.csv", "--out", "model")
    Path("some.csv").write_text("code\n1\n2\n")
    assert "2 rows" in run("score", "model", "some.csv").stdout


def test_data_list_and_show(run):
    said = run("data", "list").stdout
    assert "nursery" in said
    assert "9.4696" in said
    assert "miniboone" in said
    assert "two_spirals" in said
    said = run("data", "show", "nursery", "--out", "nursery.csv").stdout
    assert "10367 training" in said
    assert read_table("nursery.csv").shape == (12960, 8)


def test_data_show_of_real_numbers(run):
    said = run("data", "show", "moons", "--rows", 50, "--seed", 3, "--out", "moons.csv").stdout
    assert "moons: 50 points in the plane, drawn with seed 3" in said
    drawn = pd.read_csv("moons.csv")
    assert drawn.to_numpy() == pytest.approx(sample_planar("moons", 50, seed=3))
    Path("miniboone").mkdir()
    np.save("miniboone/data.npy", np.random.default_rng(0).normal(size=(50, 43)))
    said = run("data", "show", "miniboone", "--data-dir", ".", "--out", "miniboone.csv").stdout
    assert "source: partial, 50 of 36,488 rows" in said
    assert "rows: 41 training, 4 validation, 5 test" in said
    assert pd.read_csv("miniboone.csv").shape == (50, 43)


def start(*arguments, setup="", **options):
    program = f"import sys, tessflow; {setup}; from tessflow.cli import main; main()"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE, **options)


WITH_STAND_IN = f"sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_cli; "
WITH_STAND_IN += "tessflow.TabularFlow = test_cli.StandIn"


def test_help_does_not_wait_for_torch():
    setup = "import atexit; atexit.register(lambda: print('torch' in sys.modules, 'pandas' in sys.modules))"
    process = start("--help", setup=setup)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "sample" in said
    assert said.splitlines()[-1] == "False False"


def test_a_closed_pipe_is_quiet(run):
    run("fit", "table.csv", "--out", "model")
    process = start("sample", "model", "-n", 200_000, setup=WITH_STAND_IN)
    assert process.stdout.readline() == "colour,eggs\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait(timeout=60)
    process.stderr.close()


def test_ctrl_c_ends_with_130_and_a_sentence(run):
    setup = (
        WITH_STAND_IN
        + "; import time; test_cli.StandIn.fit = lambda *_, **__: print('on', flush=True) or time.sleep(60)"
    )
    process = start("fit", "table.csv", "--out", "model", setup=setup)
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaint.count("\n") == 1
    assert "goes on from the last checkpoint" in complaint
    assert said == ""
