"""The page of results says what the result files say."""

import json
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_the_page_is_rendered_from_the_result_files(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", ["render.py", "--check"])
    runpy.run_path(str(BENCHMARKS / "render.py"), run_name="__main__")


def test_it_has_both_tables():
    page = (BENCHMARKS / "README.md").read_text()
    assert "| 256, 1, 10000, 16 | truncated-gaussian |" in page
    assert "| mushroom | coupling" in page


def test_all_held_out_rows_are_scored():
    path = BENCHMARKS / "results" / "held_out.json"
    if not path.exists():
        pytest.skip("held_out.py was not run")
    runs = json.loads(path.read_text())["runs"]
    assert sum(run["scored"] for run in runs) == len(runs) == 105
    assert "105 of 105 splits are scored" in (BENCHMARKS / "README.md").read_text()
