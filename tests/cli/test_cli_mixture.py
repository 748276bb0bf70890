"""The command line with models of real numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tessflow import MixtureFlow
from tessflow.cli import app
from tessflow.tables import TableSource, read_batches, write_table

FIT = ("fit", "table.csv", "--out", "model", "--model", "mixture", "--cells", 4, "--layers", 1, "--steps", 8)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    write_table(pd.DataFrame({"height": rng.normal(170, 10, 80), "eggs": rng.integers(0, 9, 80)}), "table.csv")

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


def test_fit_score_sample_info(run):
    for _ in range(2):  # the second time it is there already
        said = run(*FIT).stdout
        assert "training: 8 steps" in said
        assert "the model is in model" in said
    model = MixtureFlow.load("model")
    assert (model.n_cells, model.layers, model.random_state) == (4, 1, 0)

    table = pd.read_csv("table.csv")
    said = run("score", "model", "table.csv", "--out", "scores.csv").stdout
    assert f"mean log-likelihood: {model.score(table):.4f} nats" in said
    assert "80 rows, exact" in said
    np.testing.assert_allclose(pd.read_csv("scores.csv")["log_likelihood"], model.score_samples(table))

    run("sample", "model", "-n", 5, "--seed", 1, "--out", "drawn.csv")
    pd.testing.assert_frame_equal(pd.read_csv("drawn.csv"), model.sample(5, random_state=1))

    said = run("info", "model").stdout
    column = model.schema_.columns[0]
    for part in ("height", f"{column.mean:.6g}", f"{column.scale:.6g}", "exact", "n_cells=4", "training: 8 steps"):
        assert part in said
    assert f"cells: {model.cells_with_mass_} of 4 hold at least 2.5% of the training rows; weights are between" in said
    parameters = sum(parameter.numel() for parameter in model.model_.parameters())
    assert f"size: {parameters:,} parameters" in said


def test_gaussians(run):
    said = run("fit", "table.csv", "--out", "model", "--model", "mixture", "--layers", 1, "--steps", 8).stdout
    assert "training: 8 steps" in said
    model = MixtureFlow.load("model")
    assert model.n_cells is None
    assert f"Gaussians: {model.model_.base.components}" in run("info", "model").stdout


def test_several(run):
    for _ in range(2):  # the second time they are there already
        assert "the model is in model" in run(*FIT, "--estimators", 2).stdout
    assert "of another n_estimators" in refusal(run, *FIT)
    model = MixtureFlow.load("model")
    table = pd.read_csv("table.csv")
    assert f"mean log-likelihood: {model.score(table):.4f} nats" in run("score", "model", "table.csv").stdout
    run("sample", "model", "-n", 5, "--out", "drawn.csv")
    pd.testing.assert_frame_equal(pd.read_csv("drawn.csv"), model.sample(5))
    said = run("info", "model").stdout
    assert "training: 8 steps" in said
    for n, estimator in enumerate(model.estimators_):
        assert f"estimator {n}, cells: {estimator.cells_with_mass_} of 4 hold" in said
    said = refusal(run, "score", "model", "table.csv", "--out", "model/estimator-0/history.csv")
    assert "is a file of DIR model, which is read" in said
    run(*FIT, "--force")
    assert MixtureFlow.load("model").n_estimators == 1


def test_checkpoints_of_another_number_of_estimators_are_removed_once_the_model_is_saved(run):
    for estimators in (4, 2, 1, 3):
        run(*FIT, "--estimators", estimators, "--force")
        runs = [Path("model")] if estimators == 1 else [Path("model", f"estimator-{n}") for n in range(estimators)]
        assert set(Path("model").rglob("checkpoint.safetensors")) == {at / "checkpoint.safetensors" for at in runs}
        assert sorted(Path("model").glob("estimator-*")) == sorted(set(runs) - {Path("model")})
    Path("model/estimator-2/notes.txt").write_text("mine")
    run("fit", "table.csv", "--out", "model", "--steps", 1, "--hidden-features", 8, "--force")
    assert [path.name for path in Path("model").rglob("estimator-*/*")] == ["notes.txt"]


@pytest.mark.parametrize("file", ["notes.txt", "config.json", None])
def test_a_folder_with_the_name_of_an_estimator_makes_no_directory_ours(run, file):
    inside = Path("theirs/estimator-0")
    inside.mkdir(parents=True)
    Path("theirs/thesis.txt").write_text("theirs")
    if file is not None:
        (inside / file).write_text("theirs")
    assert "theirs is not empty and holds no tessflow model" in refusal(run, *FIT[:3], "theirs", *FIT[4:])


def test_a_fit_that_was_killed_before_its_first_checkpoint_begins_anew(run):
    Path("model/estimator-0").mkdir(parents=True)
    Path("model/estimator-0/.tessflow-lock").touch()
    run(*FIT, "--estimators", 2)


def test_several_that_were_begun_go_on(run):
    run(*FIT, "--estimators", 2)
    Path("model/config.json").unlink()
    first = Path("model/estimator-0/checkpoint.safetensors")
    before = first.stat().st_mtime_ns
    Path("model/estimator-1/checkpoint.safetensors").unlink()
    run(*FIT, "--estimators", 2)
    assert first.stat().st_mtime_ns == before
    for left in Path("model").iterdir():  # as if it was killed in its first steps
        left.unlink() if left.is_file() else None
    for left in Path("model").glob("*/checkpoint.safetensors"):
        left.unlink()
    run(*FIT, "--estimators", 2)


def test_quiet_says_nothing(run):
    assert run(*FIT, "--quiet").output == ""


def test_another_model_is_not_overwritten(run):
    run(*FIT)
    assert "of another n_cells" in refusal(run, *FIT, "--cells", 5)
    write_table(pd.read_csv("table.csv").iloc[1:], "table.csv")
    assert "of another table" in refusal(run, *FIT)
    Path("classes.csv").write_text("a,b\n1,2\n2,1\n")
    assert "holds a MixtureFlow, not a TabularFlow" in refusal(run, "fit", "classes.csv", "--out", "model")
    run(*FIT, "--force")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["table.csv", "--backbone", "coupling"], "--backbone belongs to --model table, not to --model mixture"),
        (["table.csv", "--dimension", 2], "--dimension belongs to --model table"),
        (["table.csv", "--model", "table", "--cells", 4], "--cells belongs to --model mixture"),
        (["table.csv", "--model", "table", "--estimators", 4], "--estimators belongs to --model mixture"),
        (["table.csv", "--estimators", 0], "--estimators: input should be greater than or equal to 1, got 0"),
        (
            ["table.csv", "--profile", "cube"],
            "--profile: it is for a mixture with cells, and this one has no cells",
        ),
        (["table.csv", "--model", "forest"], "--model must be 'table' or 'mixture', got 'forest'"),
        (["table.csv", "--profile", "tanh"], "profile: input should be 'cube', 'softsign' or 'truncated-gaussian'"),
        (["words.csv"], "column 'colour' holds 'red', which is no number"),
        (["gaps.csv"], "column 'height' has a missing value in row 1 (counted from 0)"),
        (["same.csv"], "column 'height' has the value 2 in every row"),
    ],
)
def test_errors_are_one_sentence(run, arguments, sentence):
    Path("words.csv").write_text("height,colour\n1.5,red\n2.5,blue\n")
    Path("gaps.csv").write_text("height,eggs\n1.5,1\n,2\n")
    Path("same.csv").write_text("height,eggs\n2,1\n2,2\n")
    assert sentence in refusal(run, "fit", "--out", "model", "--model", "mixture", *arguments)
    assert not Path("model").exists()


def test_a_table_to_score_is_checked(run):
    run(*FIT)
    Path("words.csv").write_text("height,eggs\n1.5,many\n")
    assert "column 'eggs' holds 'many', which is no number" in refusal(run, "score", "model", "words.csv")
    Path("other.csv").write_text("height,nests\n1.5,2\n")
    assert "(1 missing: 'eggs'; 1 unknown: 'nests')" in refusal(run, "score", "model", "other.csv")
    MixtureFlow(2, layers=1, max_steps=1, random_state=0).fit(np.random.default_rng(0).random((20, 3))).save("array")
    assert "other.csv has 2 columns, but the model has 3" in refusal(run, "score", "array", "other.csv")


@pytest.mark.parametrize("kind", ["mixture", "table"])
def test_a_file_is_scored_batch_by_batch(run, monkeypatch, kind):
    if kind == "mixture":
        run(*FIT)
    else:
        run("fit", "table.csv", "--out", "model", "--steps", 2, "--hidden-features", "8")
    whole = run("score", "model", "table.csv", "--out", "whole.csv").stdout
    sizes = []

    def batches(source, schema=None):
        for batch in read_batches(source.path, schema=schema, rows=30):
            sizes.append(len(batch))
            yield batch

    def read(source, schema=None):
        raise AssertionError("the file was read whole")

    monkeypatch.setattr(TableSource, "batches", batches)
    monkeypatch.setattr(TableSource, "read", read)
    assert run("score", "model", "table.csv", "--out", "parts.csv").stdout == whole
    assert sizes == [30, 30, 20]
    pd.testing.assert_frame_equal(pd.read_csv("parts.csv"), pd.read_csv("whole.csv"), rtol=1e-5)

    table = pd.read_csv("table.csv")
    table.loc[70, "height"] = np.inf
    write_table(table.astype({"height": object}).replace({"height": {np.inf: "inf"}}), "odd.csv")
    if kind == "mixture":
        assert "in the rows from number 60 on" in refusal(run, "score", "model", "odd.csv")


@pytest.mark.parametrize("options", [(), ("--cells", "2"), ("--estimators", "2")])
def test_a_table_of_one_row_is_refused(run, tmp_path, options):
    (tmp_path / "one.csv").write_text("a,b\n1,2\n")
    said = refusal(run, "fit", "one.csv", "--out", "new", "--model", "mixture", *options)
    assert "the table has one row: a density needs two at least" in said
    assert not Path("new").exists()
