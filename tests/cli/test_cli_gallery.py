"""The command `tessflow gallery`, with few steps on few rows."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tessflow.cli import app
from tessflow.viz import gallery


class FewRows(gallery.GalleryConfig):
    hidden_features: tuple[int, ...] = (8,)
    train_rows: int = 600
    validation_rows: int = 200
    test_rows: int = 300


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, code=0):
        result = CliRunner().invoke(app, ["gallery", *map(str, arguments)])
        assert result.exit_code == code, result.output
        return result

    return run


def test_gallery_trains_once_and_shows_tables(run, monkeypatch):
    monkeypatch.setattr(gallery, "GalleryConfig", FewRows)
    options = ["--sets", "moons", "--seeds", 2, "--jobs", 1, "--steps", 3, "--layers", 1, "--cells", 3]
    said = run(*options, "--out", "here").stdout
    assert "moons, seed 0: done\nmoons, seed 1: done\n" in said
    assert "entropy" in said
    assert "pictures and tables: here/README.md" in said
    results = sorted(Path("here/results").iterdir())
    assert [path.name for path in results] == ["moons-0.json", "moons-1.json"]
    assert json.loads(results[0].read_text())["config"]["cells"] == 3
    assert set(os.listdir("here")) == {"README.md", "moons.png", "overview.png", "results", "weights"}
    times = [path.stat().st_mtime_ns for path in results]
    assert "done" not in run(*options, "--out", "here").stdout
    assert [path.stat().st_mtime_ns for path in results] == times


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sets", "moons,sun"], "there is no set 'sun': choose some of"),
        (["--steps", 0], "--steps"),
        (["--sets", "moons", "--out", "file"], "file"),
    ],
)
def test_errors_are_one_sentence(run, arguments, sentence):
    Path("file").touch()
    result = run(*arguments, "--jobs", 1, code=2)
    assert result.stderr.startswith("tessflow: ")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert os.listdir() == ["file"]
