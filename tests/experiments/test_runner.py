"""Runs: done ones are skipped, killed ones go on, failing ones do not stop the others."""

import json

import pytest
from typer.testing import CliRunner

from experiments import discrete
from experiments.__main__ import app
from experiments.bounds import bounds
from experiments.config import Table, read_table
from experiments.results import is_done, read_result
from experiments.runner import run_row, run_rows


def tiny(steps=4, methods=None, data="nursery"):
    budget = {
        "steps": steps,
        "exact_steps": steps,
        "hidden_features": [8],
        "exact_hidden_features": [8],
        "layers": 2,
        "evaluate_every": 4,
        "validation_rows": 20,
        "test_rows": 10,
        "samples": 10,
        "subset_rows": 2,
    }
    return Table.model_validate(
        {
            "name": "tiny",
            "title": "Tiny",
            "task": "discrete",
            "data": {data: {"small": budget, "paper": budget}},
            "methods": methods or {"matched": {"model": "matched"}, "independent": {"model": "independent"}},
        }
    )


@pytest.fixture
def places(tmp_path):
    return {"results": tmp_path / "results", "runs": tmp_path / "runs"}


def test_a_result_says_all_that_is_needed_to_repeat_it(places):
    (row,) = tiny().rows(only=["/matched"])
    result = run_row(row, **places)
    assert result == read_result(row, places["results"])
    assert result["command"] == "python -m experiments run tiny --only nursery/matched --seed 0"
    assert result["config"] == row.config
    assert result["libraries"]["torch"] == result["torch"]
    for key in ("commit", "hardware", "time", "threads", "seconds", "steps", "validation", "test", "source"):
        assert key in result, key


def test_what_is_done_is_skipped_until_the_configuration_changes(places):
    rows = tiny().rows()
    assert len(list(run_rows(rows, **places))) == 2
    assert all(is_done(row, places["results"]) for row in rows)
    assert list(run_rows(rows, **places)) == []
    changed = tiny(steps=5).rows()
    assert [outcome.row.name for outcome in run_rows(changed, **places)] == ["nursery/matched", "nursery/independent"]


def test_a_damaged_result_is_computed_again(places):
    (row,) = tiny().rows(only=["/independent"])
    run_row(row, **places)
    row.path(places["results"], ".json").write_text('{"config": ')
    assert not is_done(row, places["results"])
    assert [outcome.error for outcome in run_rows([row], **places)] == [None]


def test_several_processes_give_the_same_numbers(places, tmp_path):
    rows = tiny().rows()
    one = {outcome.row.name: outcome.result for outcome in run_rows(rows, **places)}
    other = {"results": tmp_path / "other", "runs": tmp_path / "other runs"}
    two = {outcome.row.name: outcome.result for outcome in run_rows(rows, jobs=2, **other)}
    assert {name: result["test"] for name, result in one.items()} == {n: result["test"] for n, result in two.items()}


def test_an_interrupted_run_goes_on_from_its_checkpoint(places, monkeypatch):
    (row,) = tiny(steps=40).rows(only=["/matched"])
    whole = run_row(row, **places)
    steps = []

    class InterruptedRunError(Exception):
        pass

    objective = discrete.MatchedFlow.elbo

    def counted(model, y):
        steps.append(len(y))
        if len(steps) == 25:
            raise InterruptedRunError
        return objective(model, y)

    fresh = {"results": places["results"] / "again", "runs": places["runs"] / "again"}
    monkeypatch.setattr(discrete.MatchedFlow, "elbo", counted)
    with pytest.raises(InterruptedRunError):
        run_row(row, **fresh)
    resumed = run_row(row, **fresh)
    assert resumed["test"] == whole["test"]
    assert len(steps) < 2 * 40


def test_a_run_that_fails_does_not_stop_the_others(places, monkeypatch):
    def broken(*_):
        raise OSError("no such data")

    rows = tiny(methods={"first": {"model": "independent"}, "second": {"model": "matched"}}).rows()
    monkeypatch.setattr(discrete.IndependentColumns, "fit", broken)
    first, second = run_rows(rows, **places)
    assert (first.error, first.result) == ("no such data", None)
    assert second.error is None
    assert second.result is not None


def test_the_command_names_what_it_does_not_know():
    call = CliRunner().invoke(app, ["run", "table9"])
    assert call.exit_code == 2
    assert "there is no table 'table9'" in call.stderr
    assert "Traceback" not in call.stderr


def test_bounds_tighten_and_agree_with_their_definition():
    import torch

    ratios = torch.randn(40, 3, dtype=torch.float64)
    one, ten, all_of_them = (bounds(ratios, count) for count in (1, 10, 40))
    assert torch.allclose(one, ratios.mean(0))
    assert torch.allclose(all_of_them, ratios.exp().mean(0).log())
    assert bool((one <= ten).all() and (ten <= all_of_them).all())


def test_each_method_of_table_1_runs_and_reports_how_tight_its_bound_is(places):
    methods = read_table("table1").methods
    rows = tiny(methods=methods).rows()
    results = {outcome.row.method_name: outcome.result for outcome in run_rows(rows, **places)}
    assert set(results) == set(methods)
    for name, result in results.items():
        assert result is not None, name
        assert result["rows"] == [10367, 20, 10]
        if result["kind"] == "lower bound":
            assert result["bounds"]["1"] >= result["bounds"]["10"] == pytest.approx(result["test"]["nats"])
            assert set(result["subset"]) == {"1", "10", "100"}
        else:
            assert "bounds" not in result
    json.dumps(results, allow_nan=False)


def test_the_census_runs_from_a_file_of_its_format(places, tmp_path, monkeypatch):
    import dataclasses

    import numpy as np
    import pandas as pd

    from tessflow.datasets import catalogue

    generator = np.random.default_rng(0)
    columns = ["caseid", *(f"d{number}" for number in range(68))]
    values = np.column_stack([10_000 + np.arange(400), generator.integers(0, 5, (400, 68))])
    pd.DataFrame(values, columns=columns).to_csv(tmp_path / "USCensus1990.data.txt", index=False)
    about = dataclasses.replace(catalogue.info("uscensus90"), rows=400)
    monkeypatch.setitem(catalogue._CATALOGUE, "uscensus90", about)
    monkeypatch.setenv("TESSFLOW_DATA", str(tmp_path))
    methods = {name: read_table("table1").methods[name] for name in ("matched", "voronoi-2d", "independent")}
    outcomes = list(run_rows(tiny(methods=methods, data="uscensus90").rows(), **places))
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert [outcome.result["rows"] for outcome in outcomes if outcome.result] == [[360, 20, 10]] * 3
    assert {outcome.result["variables"] for outcome in outcomes if outcome.result} == {68}
