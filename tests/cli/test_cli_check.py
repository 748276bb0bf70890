"""The commands `tessflow check` and `tessflow report`."""

import json
from pathlib import Path

from tessflow.tables import read_table, write_table


def test_check_prints_and_writes_figures(zoo, tmp_path):
    said = zoo(
        "check", "model", "test.csv", "--train", "train.csv", "--rows", 60, "--out", tmp_path / "check.json"
    ).stdout
    assert said.startswith("60 of 120 rows, drawn with seed 0")
    assert "weight" in said
    assert json.loads((tmp_path / "check.json").read_text())["rows"] == 60


def test_check_counts_unseen_values_or_refuses_them(zoo, tmp_path):
    rows = read_table("test.csv")
    rows.loc[3, "kind"] = "cow"
    write_table(rows, tmp_path / "new.csv")
    assert "kind" in zoo("check", "model", tmp_path / "new.csv", "--rows", 30).stdout
    said = zoo.refused("check", "model", tmp_path / "new.csv", "--unseen", "error")
    assert "the value 'cow', which was not seen in training" in said


def test_report_is_one_page(zoo, tmp_path):
    page = tmp_path / "page.html"
    assert str(page) in zoo("report", "model", "--table", "test.csv", "--out", page, "--rows", 60).stdout
    assert "weight" in Path(page).read_text()
