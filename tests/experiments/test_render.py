"""The pages say what the result files say."""

import json

from typer.testing import CliRunner

from experiments.__main__ import app
from experiments.config import read_table
from experiments.render import PAGES, markdown, mean_and_spread, read_results, render_text


def test_the_pages_are_rendered_from_the_result_files():
    call = CliRunner().invoke(app, ["render", "--check"])
    assert call.exit_code == 0, call.stderr


def test_a_page_that_is_not_current_is_seen(tmp_path, monkeypatch):
    from experiments import render

    page = tmp_path / "page.md"
    page.write_text("<!-- table table1 -->\nan old table\n<!-- end -->\nthe end\n")
    monkeypatch.setattr(render, "PAGES", (page,))
    assert render.render_pages(write=False) == ["page.md"]
    assert "an old table" in page.read_text()
    assert render.render_pages(write=True) == ["page.md"]
    assert "an old table" not in page.read_text()
    assert page.read_text().endswith("<!-- end -->\nthe end\n")
    assert render.render_pages(write=False) == []


def test_results_of_another_configuration_are_not_shown(tmp_path):
    table = read_table("table1")
    (row,) = table.rows(only=["nursery/independent"], seeds=[0])
    path = row.path(tmp_path, ".json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"config": row.config, "seed": 0}))
    assert list(read_results(table, tmp_path)) == [("nursery", "independent")]
    path.write_text(json.dumps({"config": row.config | {"preset": "paper"}, "seed": 0}))
    assert read_results(table, tmp_path) == {}


def test_a_preset_has_a_table_of_its_own(tmp_path):
    table = read_table("table1")
    (row,) = table.rows(only=["connect4/independent"], seeds=[0], preset="quarter")
    path = row.path(tmp_path, ".json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"config": row.config, "seed": 0}))
    assert read_results(table, tmp_path) == {}
    assert list(read_results(table, tmp_path, "quarter")) == [("connect4", "independent")]


def test_text_without_marks_stays_as_it_is():
    assert render_text("no table here") == "no table here"


def test_tables_of_markdown():
    assert markdown(("a", "b"), [("x", "1")]) == "| a | b |\n| --- | ---: |\n| x | 1 |\n"
    assert mean_and_spread([1.0]) == "1.000"
    assert mean_and_spread([1.0, 3.0], digits=1) == "2.0 ± 1.4"
    assert all(page.exists() for page in PAGES)
