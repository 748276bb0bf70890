"""A damaged model is refused, or gives the numbers that it gave; one that is overwritten is there all the time."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from make_kept_models import DATA, ESTIMATORS, read_rows
from mutations import MUTATIONS, parts, saved_models, try_many, try_one
from tessflow import MixtureFlow
from tessflow.estimators.storage import FORMAT_VERSION, MOST_CONFIG

NAMES = sorted(path.name for path in (DATA / f"format-{FORMAT_VERSION}").iterdir())


WITHOUT_DIGESTS = sorted(path.name for path in (DATA / "format-4").iterdir())


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {saved.name: saved for saved in saved_models(tmp_path_factory.mktemp("saved"))}


def load(path):
    config = json.loads((path / "config.json").read_text())
    return ESTIMATORS[config["estimator"]].load(path)


def change_config(path, **parameters):
    """Change options of a model that has no digest."""
    file = path / "config.json"
    config = json.loads(file.read_text())
    config["parameters"] |= parameters
    file.write_text(json.dumps(config))


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_model_is_refused_by_name_or_gives_the_same_numbers(models, tmp_path, name, mutation):
    chance = Random(f"{name} {mutation}")
    for _ in range(4):
        outcome = try_one(models[name], mutation, chance, tmp_path)
        assert outcome == "refused" or mutation in ("take_of_another_fit", "flip_a_bit")


def test_mutations_are_counted(tmp_path):
    outcomes = try_many(40, 1, tmp_path)
    assert sum(outcomes.values()) == 40
    assert outcomes["refused"] > 30


@pytest.mark.parametrize("name", NAMES)
def test_digests_are_those_of_the_files(models, name):
    files = json.loads((models[name].directory / "config.json").read_text())["files"]
    assert sorted(["config.json", *files]) == [path.name for path in parts(models[name].directory)]
    for file, digest in files.items():
        said = subprocess.run(["sha256sum", models[name].directory / file], capture_output=True, text=True, check=True)
        assert said.stdout.split()[0] == digest
        assert file.split("-")[1].startswith(digest[:12])


def test_layout_of_json_is_no_damage(models, tmp_path):
    saved = models["mixture"]
    shutil.copytree(saved.directory, tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()), indent=8, sort_keys=True))
    np.testing.assert_array_equal(load(tmp_path / "model").score_samples(saved.rows), saved.scores)


def test_links_are_followed(models, tmp_path):
    saved = models["sets"]
    for path in parts(saved.directory):
        (tmp_path / path.name).symlink_to(path)
    np.testing.assert_array_equal(load(tmp_path).score_samples(saved.rows), saved.scores)


def other_sizes(value):
    """Sizes that a tampered configuration may ask for instead of one, or of several."""
    if isinstance(value, tuple):
        return [[10**12], [10**6, 10**6], [*value, 7]]
    return [10**12, 1000] if isinstance(value, int) and not isinstance(value, bool) else []


@pytest.mark.parametrize("name", WITHOUT_DIGESTS)
def test_a_network_that_does_not_belong_to_the_weights_is_refused_at_once(tmp_path, name):
    path = tmp_path / "model"
    shutil.copytree(DATA / "format-4" / name, path)
    model, outcomes = load(path), []
    before, rows = model.get_params(), read_rows(path, model)
    for option in sorted(model._architecture):
        for new in other_sizes(before[option]):
            change_config(path, **{option: new})
            start = time.perf_counter()
            try:
                scores = load(path).score_samples(rows)
            except ValueError as error:
                outcomes.append(str(error))
            else:  # this network has no such option
                np.testing.assert_array_equal(scores, model.score_samples(rows))
            assert time.perf_counter() - start < 20
            change_config(path, **{option: before[option]})
    assert len(outcomes) >= 4
    for sentence in outcomes:
        is_out_of_range = "config.json is damaged (parameters." in sentence
        assert is_out_of_range or ("weights" in sentence and ".safetensors" in sentence)
        assert "\n" not in sentence


@pytest.mark.parametrize("name", WITHOUT_DIGESTS)
def test_weights_that_are_not_finite_are_refused_without_digests_too(tmp_path, name):
    shutil.copytree(DATA / "format-4" / name, tmp_path / "model")
    path = tmp_path / "model" / "weights.safetensors"
    tensors = load_file(path)
    for tensor, values in tensors.items():
        if values.is_floating_point():
            save_file(tensors | {tensor: torch.full_like(values, torch.nan)}, path)
            with pytest.raises(ValueError, match=r"weights.safetensors is damaged \(tensor .* is not finite\)"):
                load(tmp_path / "model")


def test_a_version_before_digests_is_none_to_fall_back_on(models, tmp_path):
    shutil.copytree(models["mixture"].directory, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    for lacking in ({"format_version": 4}, {"digest": None}, {"files": None}, {"digest": None, "files": None}):
        path.write_text(json.dumps(config | lacking))
        with pytest.raises(ValueError, match=r"config.json is damaged"):
            load(tmp_path / "model")


def test_files_that_are_too_large_are_not_read(models, tmp_path):
    shutil.copytree(models["mixture"].directory, tmp_path / "model")
    for name in ("config.json", next((tmp_path / "model").glob("schema-*")).name):
        whole = (tmp_path / "model" / name).read_bytes()
        os.truncate(tmp_path / "model" / name, 1 << 33)
        if name == "config.json":
            with pytest.raises(ValueError, match=f"config.json is larger than {MOST_CONFIG:,} bytes"):
                ESTIMATORS["MixtureFlow"].load(tmp_path / "model")
        (tmp_path / "model" / name).write_bytes(whole)


def test_a_history_is_no_part_of_a_model(models, tmp_path):
    saved = models["mixture"]
    shutil.copytree(saved.directory, tmp_path / "model")
    for text in ("", "step\n1\n", "step,training,validation\n1,a,b\n", "\0", "a\n" * 5):
        (tmp_path / "model" / "history.csv").write_text(text)
        model = load(tmp_path / "model")
        assert model.history_.empty
        np.testing.assert_array_equal(model.score_samples(saved.rows), saved.scores)


@pytest.mark.parametrize(
    ("name", "formats", "rows"),
    [("sets", ("format-4", f"format-{FORMAT_VERSION}"), "rows.json"),
     ("mixture-several", (f"format-{FORMAT_VERSION}",), "rows.csv")],
)  # fmt: skip
def test_a_save_that_is_killed_anywhere_leaves_the_old_model_or_the_new_one(models, tmp_path, name, formats, rows):
    new = models[name].other
    command = [sys.executable, DATA.parent / "kills.py", new, tmp_path]
    olds = [DATA / kind / name for kind in formats]
    said = subprocess.run([*command, *olds], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    lines = [line.split() for line in said.stdout.splitlines()]
    expected = {path.name for path in parts(new)} | {"history.csv", "notes.txt", rows, "scores.json"}
    for old in olds:
        found = [which for kind, which, *_ in lines if kind == old.parent.name]
        left = [set(names) for kind, _, *names in lines if kind == old.parent.name]
        assert found == sorted(found)  # the old one up to some point, and the new one from there on
        assert found.count("0") > 10
        assert found.count("1") > 2
        if old.parent.name == "format-4":  # killed after the last rename, it leaves files of the old names
            left = left[: found.index("1")]
        assert all(names == expected for names in left)


def failing(call, last):
    """A function that fails when it is called for the last time."""
    calls = count(1)

    def counted(*arguments, **options):
        if next(calls) == last:
            raise OSError(28, "No space left on device")
        return call(*arguments, **options)

    return counted


def test_a_save_that_fails_anywhere_leaves_the_old_model_or_the_new_one(models, tmp_path, monkeypatch):
    saved = models["sets"]
    old, new = (load(path) for path in (saved.directory, saved.other))
    old.save(tmp_path)
    for call in ("open", "replace", "fsync", "chmod"):
        failed = 0
        for last in range(1, 9):
            with monkeypatch.context() as patch:
                patch.setattr(os, call, failing(getattr(os, call), last))
                try:
                    new.save(tmp_path)
                except OSError:
                    failed += 1
                    expected = saved.scores
                else:
                    expected = new.score_samples(saved.rows)
            np.testing.assert_array_equal(load(tmp_path).score_samples(saved.rows), expected)
            old.save(tmp_path)
            names = [path.name for path in parts(saved.directory)]
            assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "history.csv"])
        assert failed >= (1 if call == "chmod" else 3)


def test_a_model_that_is_replaced_can_be_read_all_the_time(models, tmp_path):
    saved = models["sets"]
    fits = [load(path) for path in (saved.directory, saved.other)]
    scores = [fit.score_samples(saved.rows).tolist() for fit in fits]
    fits[0].save(tmp_path)
    done = threading.Event()

    def write():
        while not done.is_set():
            for fit in reversed(fits):
                fit.save(tmp_path)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = {scores.index(load(tmp_path).score_samples(saved.rows).tolist()) for _ in range(200)}
    finally:
        done.set()
        thread.join()
    assert seen == {0, 1}
    assert len(list(tmp_path.iterdir())) == 4


def test_two_models_are_not_written_into_one_directory_at_once(models, tmp_path):
    script = (
        f"import sys, time; from tessflow.files import only_writer\n"
        f"with only_writer({str(tmp_path)!r}):\n    print('kept', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"kept\n"
        with pytest.raises(RuntimeError, match="another fit writes into"):
            load(models["sets"].directory).save(tmp_path)
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert [path.name for path in Path(tmp_path).iterdir()] == [".tessflow-lock"]
    load(models["sets"].directory).save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_config_takes_no_files_of_the_user_along(models, tmp_path):
    shutil.copytree(models["sets"].directory, tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    (tmp_path / "model" / "config.json").write_text('{"files": {"notes.txt": "x"}}')
    load(models["sets"].other).save(tmp_path / "model")
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"


def test_a_run_over_a_model_leaves_its_history(models, tmp_path):
    shutil.copytree(models["mixture"].directory, tmp_path / "model")
    before = (tmp_path / "model" / "history.csv").read_bytes()
    MixtureFlow(2, layers=1, max_steps=3, random_state=0).fit(
        np.zeros((30, 2)) + np.arange(30)[:, None], directory=tmp_path / "model"
    )
    assert (tmp_path / "model" / "history.csv").read_bytes() == before
