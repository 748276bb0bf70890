"""The measurement of held-out rows: the tables it reads, the peer it rests on, and what it makes of them."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tessflow.tables import TableSchema

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import held_out
from events import three_ways, unseen_rows
from independent import factorised
from mixed_data import Split
from render import held_out as rendered


def test_there_are_21_tables():
    assert len(held_out.TABLES) == 21
    assert set(held_out.KEYS) < set(held_out.TABLES)


@pytest.mark.parametrize("name", held_out.TABLES)
def test_keys_are_text_with_another_value_in_each_row(name):
    for package in getattr(held_out.TABLES[name], "args", ())[:1]:
        if isinstance(package, str) and find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed")
    frame = held_out.load(name)
    assert 20 <= len(frame) <= 10_000
    names = [column for column in frame if frame[column].dtype.kind not in "iufb" and frame[column].is_unique]
    assert names == ([held_out.KEYS[name]] if name in held_out.KEYS else [])


@pytest.mark.parametrize("mixture", [False, True])
def test_probabilities_of_independent_columns_sum_to_one(mixture):
    generator = np.random.default_rng(0)
    count = np.where(generator.random(2000) < 0.3, 0, np.rint(generator.gamma(3, 50, 2000)))
    train = pd.DataFrame({"count": np.where(generator.random(2000) < 0.1, np.nan, count)})
    (column,) = TableSchema.infer(train).columns
    assert column.atoms == (0,)
    schema = TableSchema(columns=(column.model_copy(update={"minimum": 0.0, "beyond": "unseen"}),))
    support = pd.DataFrame({"count": [np.nan, -1, *range(5000)]})
    scores = factorised(schema, Split(train, train[:500], support), mixture=mixture, seed=0)
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-3)
    assert np.exp(scores[:3]) == pytest.approx([0.1, 1 / 4000, 0.27], abs=0.03)


@pytest.mark.parametrize("mixture", [False, True])
def test_an_atom_among_other_numbers_is_as_frequent_as_it_is(mixture):
    generator = np.random.default_rng(0)
    train = pd.DataFrame({"x": np.where(generator.random(4000) < 0.2, 300, generator.poisson(300, 4000))})
    schema = TableSchema.infer(train)
    assert schema.columns[0].atoms == (300,)
    support = pd.DataFrame({"x": range(1000)})
    chances = np.exp(factorised(schema, Split(train, train[:500], support), mixture=mixture, seed=0))
    assert chances.sum() == pytest.approx(1, abs=2e-3)
    assert chances[300] == pytest.approx((train["x"] == 300).mean(), abs=0.003)


@pytest.mark.parametrize("mixture", [False, True])
def test_a_density_of_independent_columns_integrates_to_one_in_the_columns_unit(mixture):
    train = pd.DataFrame({"x": np.random.default_rng(0).exponential(1e-3, 2000)})
    assert TableSchema.infer(train).columns[0].minimum == 0
    grid = np.linspace(0, 0.05, 50_001)
    data = Split(train, train[:500], pd.DataFrame({"x": grid}))
    density = np.exp(factorised(TableSchema.infer(train), data, mixture=mixture, seed=0))
    assert density.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=0.01)


def test_a_number_far_away_has_a_finite_density():
    train = pd.DataFrame({"x": np.random.default_rng(0).normal(size=300), "n": range(300)})
    far = pd.DataFrame({"x": [1e300], "n": [10**15]})
    scores = factorised(TableSchema.infer(train), Split(train, train, far), mixture=True, seed=0)
    assert -1000 < scores[0] < -500


def test_classes_seen_once_make_new_ones_likely():
    words = [*"aabbb", *(f"w{n}" for n in range(5))]
    train = pd.DataFrame({"word": words})
    test = pd.DataFrame({"word": [*sorted(set(words)), "new"]})
    chances = np.exp(factorised(TableSchema.infer(train), Split(train, train, test), mixture=True, seed=0))
    assert chances.sum() == pytest.approx(1)
    assert chances[-1] == pytest.approx(0.5 * 7 / 8, abs=0.05)  # five of ten rows hold what came once


def test_figures_come_three_ways():
    schema = TableSchema.infer(pd.DataFrame({"word": list("aab")}))
    unseen = unseen_rows(schema, pd.DataFrame({"word": list("abc")}))
    assert unseen.tolist() == [False, False, True]
    found = three_ways(np.array([-1.0, -2.0, -6.0]), unseen)
    assert (found["seen_nats"], found["test_nats"], found["unseen_share"]) == (1.5, 3, pytest.approx(1 / 3))
    assert three_ways(np.zeros(2), np.ones(2, bool))["seen_nats"] is None


@pytest.fixture
def tables(monkeypatch):
    """A small table with a key and words of which some come once, and one that nobody can model."""
    generator = np.random.default_rng(0)
    count = generator.poisson(20, 60)
    words = {"name": [f"n{n}" for n in range(60)], "word": [f"w{n}" for n in np.minimum(count, 25)]}
    small = pd.DataFrame({**words, "count": count, "weight": generator.normal(size=60)})
    wrong = pd.DataFrame({"z": np.full(20, 1j)})
    monkeypatch.setattr(held_out, "TABLES", {"small": lambda: small, "wrong": lambda: wrong})
    monkeypatch.setattr(held_out, "KEYS", {"small": "name"})


def test_a_split_is_scored_beside_its_peer(tables):
    run = held_out.measure("small", 0, steps=10)
    assert run["scored"]
    assert (run["rows"], run["columns"], run["key"]) == ([48, 12], 3, "name")
    assert run["measures"]["weight"] == "densities of real numbers"
    assert run["gain"]["all"][0] == pytest.approx(run["independent"]["test_nats"] - run["flow"]["test_nats"])
    assert run["flow"]["unseen_share"] == run["independent"]["unseen_share"]
    assert json.loads(json.dumps(run, allow_nan=False)) == run


def test_what_cannot_be_scored_is_counted(tables):
    runs = [held_out.measure(name, 0, steps=10) for name in ("small", "wrong")]
    assert "complex" in runs[1]["error"]
    page = rendered({"runs": runs, "cross_validation": {"one schema": [-1.0] * 5}})
    assert "1 of 2 splits are scored" in page
    assert "| wrong | 0 of 1 |" in page
    assert "| one schema | -1.00 |" in page


def test_measures_that_differ_between_splits_are_named(tables):
    run = held_out.measure("small", 0, steps=10)
    other = run | {"split": 1, "measures": run["measures"] | {"count": "densities of real numbers"}}
    page = rendered({"runs": [run, other], "cross_validation": {}})
    assert "| small | count | densities of real numbers; probabilities of whole numbers |" in page


def test_a_result_file_goes_on_with_the_same_options_only(tmp_path):
    path = tmp_path / "held_out.json"
    path.write_text(json.dumps({"config": {"steps": 10}, "runs": [{"table": "small"}], "cross_validation": {}}))
    assert held_out._begun(path, 10)["runs"] == [{"table": "small"}]
    with pytest.raises(SystemExit, match=r"steps.*--out"):
        held_out._begun(path, 20)
