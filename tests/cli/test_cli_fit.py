"""The command `tessflow fit`: its options, what it prints, and what it overwrites."""

import errno
import json
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tessflow import TabularFlow
from tessflow.files import only_writer
from tessflow.tables import TableSchema, write_table
from tessflow.training import loop

TABLE = pd.DataFrame({"colour": ["red", "blue", "red", None] * 5, "eggs": [1, 2, 2, 2] * 5})
TINY = ("--hidden-features", "8", "--dimension", 2)
FIT = ("fit", "table.csv", "--out", "model", *TINY)
ONE = ("--steps", 1)


@pytest.fixture
def run(run):
    write_table(TABLE, "table.csv")
    return run


def test_it_prints_each_column_and_what_training_reached(run):
    result = run(*FIT, "--steps", 8)
    lines = result.stderr.splitlines()
    assert lines[0] == "colour  categorical  probabilities of 2 classes; missing"
    assert lines[1].startswith("eggs    number       probabilities of whole numbers")
    model = TabularFlow.load("model")
    assert f"held-out log-likelihood: {model.validation_score_:.4f} nats a row" in result.stdout
    assert "training: 8 steps in" in result.stdout
    assert result.stdout.endswith("the model is in model\n")
    run(*FIT, "--steps", 8)  # it is there already
    assert "of another max_steps" in run.refused(*FIT, "--steps", 9)


def test_options_left_away_are_the_estimators_own(run):
    run("fit", "table.csv", "--out", "model", *ONE)
    parameters = TabularFlow.load("model").get_params()
    assert parameters == TabularFlow(max_steps=1, random_state=0, verbose=True).get_params()


def test_every_argument_of_an_estimator_can_be_set(run):
    flags = {
        "backbone": "autoregressive", "order": "fixed", "orders": 1, "scaling": "standard", "dimension": 3,
        "profile": "softsign", "dropout": 0.25, "layers": 2, "steps": 1, "batch-size": 7, "learning-rate": 0.02,
        "weight-decay": 0.5, "validation-fraction": 0.3, "patience": 4, "max-levels": 5, "max-categories": 6,
        "unseen": "error", "seed": 9, "device": "cpu", "hidden-features": "8,4",
    }  # fmt: skip
    further = {"condition_on": "cell", "warm_start": "true", "blocks": 2, "components": 3, "network": "mlp"}
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    run(
        "fit",
        "table.csv",
        "--out",
        "model",
        "--quiet",
        *words,
        *(part for name, value in further.items() for part in ("-o", f"{name}={value}")),
    )
    names = {"steps": "max_steps", "seed": "random_state", "device": "accelerator"}
    expected = {names.get(name, name.replace("-", "_")): value for name, value in flags.items()}
    expected |= further | {"hidden_features": (8, 4), "warm_start": True, "verbose": False}
    assert TabularFlow.load("model").get_params() == expected


def test_further_options_are_numbers_words_lists_and_null(run):
    words = ["hidden_features=[8, 4]", "learning_rate=1e-3", "patience=null", "condition_on=cell", "dropout=0"]
    run("fit", "table.csv", "--out", "model", "-q", *ONE, *(part for word in words for part in ("-o", word)))
    found = TabularFlow.load("model").get_params()
    assert {name: found[name] for name in ("hidden_features", "learning_rate", "patience", "dropout")} == {
        "hidden_features": (8, 4), "learning_rate": 1e-3, "patience": None, "dropout": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-o", "colour=red"], "-o: --model table has no option 'colour'; it has accelerator, backbone, batch_size"),
        (["-o", "dropout"], "-o takes NAME=VALUE, got 'dropout'"),
        (["-o", "dropout=much"], "-o dropout: input should be a valid number, got 'much'"),
        (["-o", "dropout=true"], "-o dropout: input should be a valid number, got True"),
        (["-o", "layers='2'"], "-o layers: input should be a valid integer, got '2'"),
        (["-o", "layers=2.5"], "-o layers: input should be a valid integer, got 2.5"),
        (["-o", "hidden_features=8"], "-o hidden_features: input should be a list, such as [64, 64], got 8"),
        (["-o", "learning_rate=2024-01-01"], "-o learning_rate: input should be a valid number, got '2024-01-01'"),
        (["-o", "layers=2", "-o", "layers=2"], "-o gives layers twice"),
        (["-o", "layers=2", "--layers", 2], "layers is given twice, by --layers and by -o"),
        (["-o", "random_state=2"], "-o does not set random_state: write --seed"),
        (["-o", "dropout=1.5"], "dropout: input should be less than 1, got 1.5"),
        (["--hidden-features", "8;8"], "--hidden-features is widths with commas between them, such as 64,64"),
        (["--hidden-features", "8,0"], "--hidden-features: every width must be at least 1"),
        (["--learning-rate", "nan"], "--learning-rate: input should be a finite number"),
        (["--unseen", "drop"], "--unseen must be 'other' or 'error', got 'drop'"),
        (["--model", "mixture", "--unseen", "other"], "--unseen belongs to --model table, not to --model mixture"),
        (["--model", "mixture", "-o", "order=any"], "-o: --model mixture has no option 'order'; it has"),
        (["--model", "mixture", "--stream"], "--stream goes with --model table"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read_or_deleted(run, arguments, sentence):
    run("fit", "table.csv", "--out", "model", "-q", *ONE)
    before = {path: path.stat().st_mtime_ns for path in Path("model").iterdir()}
    assert sentence in run.refused("fit", "table.csv", "--out", "model", "--force", *arguments)
    assert {path: path.stat().st_mtime_ns for path in Path("model").iterdir()} == before


def test_quiet_says_nothing(run):
    names = pd.DataFrame({"name": [f"bird {n}" for n in range(150)], "eggs": range(150), "sex": ["f", "m", "NA"] * 50})
    names["length"] = [*map(str, range(149)), "long"]
    write_table(names, "names.csv")
    for options in ([], ["--stream"]):
        assert run("fit", "names.csv", "--out", "model", *TINY, *ONE, "--quiet", "--force", *options).output == ""


def test_columns_that_are_probably_meant_otherwise_are_named(run):
    words = pd.DataFrame({"name": [f"bird {n}" for n in range(150)], "sex": ["f", "m", "NA"] * 50})
    words["length"] = [*map(str, range(149)), "long"]
    write_table(words, "words.csv")
    for options in ([], ["--stream"]):
        said = run("fit", "words.csv", "--out", "model", *TINY, *ONE, "--force", *options).stderr
        before_training = said[: said.index("step 1/1")].splitlines()
        for sentence in (
            "tessflow: warning: column 'length' is read as text, because 1 of its 150 words is no number: 'long' in",
            "tessflow: warning: column 'name' has another value in every row",
            "tessflow: warning: column 'sex' has 'NA' among its words: if that is a missing value, read it with",
        ):
            assert sum(line.startswith(sentence) for line in before_training) == said.count(sentence) == 1
    said = run("fit", "words.csv", "--out", "other", *TINY, *ONE, "--na", "NA").stderr
    assert "sex     categorical  probabilities of 2 classes; missing" in said
    assert "'NA'" not in said


def test_the_same_command_may_run_again_and_another_is_refused(run):
    run(*FIT, *ONE)
    run(*FIT, *ONE, "--quiet")
    assert "of another backbone" in run.refused(*FIT, *ONE, "--backbone", "coupling")
    write_table(TABLE.replace("red", "pink"), "other.csv")
    other = ("fit", "other.csv", "--out", "model", *TINY, *ONE)
    assert "of another table" in run.refused(*other)
    Path("model/checkpoint.safetensors").unlink()
    assert "without a checkpoint" in run.refused(*FIT, *ONE)
    run(*other, "--force")
    assert TabularFlow.load("model").schema_.columns[0].values == ("blue", "pink")


def test_other_rows_of_the_same_kind_are_refused(run):
    run(*FIT, *ONE)
    write_table(TABLE.assign(colour=TABLE["colour"].to_numpy()[::-1]), "table.csv")
    refusal = run(*FIT, *ONE, code=2).stderr.splitlines()[-1]
    assert "another training run" in refusal or "of another table" in refusal


def test_a_killed_run_is_taken_up(run):
    Path("model").mkdir()
    for left in ("history.csv", ".checkpoint.safetensors.a1b2c3d4.new", ".tessflow-lock"):
        Path("model", left).touch()
        run(*FIT, *ONE, "--quiet")
        for file in Path("model").iterdir():
            file.unlink()
    run(*FIT, *ONE, "--quiet")
    Path("model/config.json").unlink()
    run(*FIT, *ONE, "--quiet")


def test_a_damaged_model_is_made_again_from_its_checkpoint_as_the_refusal_says(run):
    run(*FIT, *ONE, "--quiet")
    whole = {file.name: file.read_bytes() for file in Path("model").iterdir()}
    for name in whole:
        if name.startswith(("weights", "schema", "config")):
            Path("model", name).write_bytes(b"{}")
            said = run.refused(*FIT, *ONE, "--quiet")
            assert f"model/{name} is damaged" in said
            assert "without config.json the same command makes it again from the checkpoint there" in said
            Path("model/config.json").unlink()
            run(*FIT, *ONE, "--quiet")
            assert {file.name: file.read_bytes() for file in Path("model").iterdir()}[name] == whole[name]
    assert Path("model/config.json").exists()


def scores():
    return TabularFlow.load("model").score_samples(TABLE)


@pytest.mark.parametrize(
    "refused",
    [
        ["--steps", 0], ["--profile", "foo"], ["--device", "cuda"], ["--learning-rate", "-1"], ["--order", "fixed",
        "--backbone", "coupling"], ["--schema", "absent.yaml"], ["--stream", "--schema", "absent.yaml"],
        ["--learning-rate", 1e30, "--steps", 50, "--batch-size", 4],
    ],
)  # fmt: skip
def test_a_forced_fit_that_fails_leaves_the_old_model(run, refused):
    run(*FIT, *ONE)
    before = scores()
    run(*FIT, "--force", *refused, code=2)
    np.testing.assert_array_equal(scores(), before)
    run("fit", "absent.csv", "--out", "model", "--force", code=2)
    np.testing.assert_array_equal(scores(), before)
    assert not list(Path("model").glob(".*"))


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "config.json"])
def test_a_full_disk_leaves_the_old_model(run, monkeypatch, name):
    run(*FIT, *ONE)
    before, replace = scores(), os.replace

    def full(source, target):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert "No space left on device" in run(*FIT, "--steps", 3, "--force", code=2).stderr
    np.testing.assert_array_equal(scores(), before)
    if name == "config.json":  # the same command goes on from the checkpoint, which is newer than the model
        run(*FIT, "--steps", 3, "--quiet")
        assert TabularFlow.load("model").max_steps == 3


def test_a_forced_fit_starts_anew(run):
    run(*FIT, *ONE)
    before = Path("model/checkpoint.safetensors").stat().st_mtime_ns
    run(*FIT, *ONE)
    assert Path("model/checkpoint.safetensors").stat().st_mtime_ns == before
    run(*FIT, *ONE, "--force")
    assert Path("model/checkpoint.safetensors").stat().st_mtime_ns > before


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_an_interrupted_fit_promises_a_checkpoint_only_if_there_is_one(run, monkeypatch, force):
    before = None
    if force:
        run(*FIT, *ONE)
        before = scores()

    def signalled(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return evaluate(*arguments, **options)

    for module, name in ((TableSchema, "read"), (loop, "evaluate")):
        evaluate = getattr(module, name)
        with monkeypatch.context() as patch:
            patch.setattr(module, name, signalled)
            said = run(*FIT, "--steps", 9, *force, code=130).stderr.splitlines()[-1]
        same = "the same command without --force" if force else "the same command"
        assert said == {
            "read": "tessflow: interrupted",
            "evaluate": "tessflow: interrupted: model/checkpoint.safetensors holds the training up to step 1, and "
            f"{same} goes on from there",
        }[name]  # fmt: skip
    if force:
        np.testing.assert_array_equal(scores(), before)
    run(*FIT, "--steps", 9, "--quiet")
    assert TabularFlow.load("model").max_steps == 9


def test_a_second_fit_into_a_directory_is_refused(run):
    refusals = []

    def second():
        refusals.extend(run.refused(*FIT, *ONE, *force) for force in ([], ["--force"]))

    Path("model").mkdir()
    with only_writer("model"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    said = "tessflow: another fit writes into model: wait for it, or choose another directory\n"
    assert refusals == [said] * 2
    assert list(Path("model").iterdir()) == []


def test_refused_tables_leave_no_directory(run):
    Path("words.csv").write_text("a\n")
    run("fit", "words.csv", "--out", "some/new/model", code=2)
    assert not Path("some").exists()


def test_directories_of_others_are_left_alone(run):
    Path("photos").mkdir()
    Path("photos/cat.jpg").touch()
    for force in ([], ["--force"]):
        assert "photos is not empty" in run.refused("fit", "table.csv", "--out", "photos", *force)
    assert os.listdir("photos") == ["cat.jpg"]
    assert "table.csv is a file" in run.refused("fit", "table.csv", "--out", "table.csv")


@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_a_refused_table_leaves_the_old_model(run, stream):
    run(*FIT, *ONE)
    pd.DataFrame({"pair": [[1, 2], [3, 4]]}).to_parquet("nested.parquet")
    said = run.refused("fit", "nested.parquet", "--out", "model", "--force", *stream)
    assert "'pair' holds nested values" in said
    assert "red" in run("sample", "model", "-n", 50).stdout


def test_a_delimiter_is_passed_on(run):
    Path("other.csv").write_text("a\tb\n" + "1\t2\n" * 40)
    for more in ([], ["--stream"]):
        run("fit", "other.csv", "--out", "model", "--delimiter", "\\t", *TINY, *ONE, "--force", *more)
        assert run("sample", "model", "-n", 1).stdout == "a,b\n1,2\n"


def test_stream_needs_no_table_in_memory(run):
    said = run(*FIT, "--stream", "--steps", 5)
    assert "held-out log-likelihood" in said.stdout
    assert "colour  categorical" in said.stderr
    assert len(run("sample", "model", "-n", 3).stdout.splitlines()) == 4
    run(*FIT, "--stream", "--steps", 5)
    assert "of another dropout" in run.refused(*FIT, "--stream", "--steps", 5, "--dropout", 0.2)


def test_a_schema_is_followed_and_checked(run):
    text = run("schema", "table.csv").stdout
    edited = Path("edited.yaml")
    edited.write_text(text.split("- name: eggs")[0] + "- {name: eggs, kind: key}\n")
    run(*FIT, "--schema", edited, *ONE, "--quiet")
    schema = TabularFlow.load("model").schema_
    assert (schema.names, [key.name for key in schema.keys]) == (("colour",), ["eggs"])

    other = ("fit", "table.csv", "--schema", edited, "--out", "other")
    edited.write_text(text.replace("name: eggs", "name: feet"))
    assert "1 missing: 'feet'; 1 unknown: 'eggs'" in run.refused(*other)
    edited.write_text(text.replace("kind: number", "kind: whole"))
    assert "column 'eggs': kind: must be categorical, ordinal, boolean, number, datetime" in run.refused(*other)
    edited.write_text(text.replace("kind: number", "kind: integer"))
    assert "got 'integer'" in run.refused(*other)
    edited.write_text(text + "order: [eggs < colour]\n")
    assert "an order is written 'start <= end'" in run.refused(*other)
    edited.write_text(text + "order: [eggs <= colour]\n")
    assert "order eggs <= colour needs two columns of numbers or times" in run.refused(*other)
    assert "--schema belongs to --model table" in run.refused(*other, "--model", "mixture")
    assert not Path("other").exists()


def test_a_row_that_breaks_an_order_is_refused(run):
    days = pd.date_range("2024-01-01", periods=20)
    frame = pd.DataFrame({"start": days, "end": days + pd.Timedelta("1D")})
    frame.loc[7, "end"] = pd.Timestamp("2020-01-01")
    write_table(frame, "spans.csv")
    Path("spans.yaml").write_text(TableSchema.infer(frame).to_yaml() + "order: [start <= end]\n")
    said = run("fit", "spans.csv", "--schema", "spans.yaml", "--out", "model", *ONE, code=2).stderr
    assert "the order start <= end is broken in row" in said.splitlines()[-1]
    assert not Path("model/config.json").exists()


def test_what_schema_writes_is_what_fit_takes(run):
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, 200), unit="D")
    frame = pd.DataFrame(
        {
            "id": [f"{n:05}" for n in range(200)],
            "size": pd.Series(rng.choice(["S", "M", "1.10"], 200)),
            "price": rng.gamma(1, 30, 200).round(2),
            "rooms": rng.integers(0, 5, 200),
            "wet": rng.random(200) < 0.5,
            "start": days,
            "end": days + pd.to_timedelta(rng.integers(0, 9, 200), unit="D"),
        }
    )
    frame.loc[::9, "price"] = None
    write_table(frame, "rows.csv")
    text = run("schema", "rows.csv", "--out", "rows.yaml").stderr
    assert "column 'id' has another value in every row" in text
    written = Path("rows.yaml").read_text()
    assert written.endswith("# order:\n# - start <= end\n")
    assert "minimum: 0.0" in written
    rest = written.replace("# order:\n# -", "order:\n-").split("- name: size")[1]
    Path("rows.yaml").write_text("columns:\n- {name: id, kind: key}\n- name: size" + rest)
    run("fit", "rows.csv", "--schema", "rows.yaml", "--out", "model", *TINY, *ONE, "--quiet")
    schema = TabularFlow.load("model").schema_
    assert schema.order == (("start", "end"),)
    assert TableSchema.from_yaml(schema.to_yaml()).order == schema.order
    drawn = TabularFlow.load("model").sample(50)
    assert (drawn["start"] <= drawn["end"]).all()
    (path,) = Path("model").glob("schema-*.json")
    assert json.loads(path.read_text())["keys"] == [{"name": "id", "kind": "key"}]
