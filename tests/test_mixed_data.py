"""The measurement of mixed tables: what it reads, and the measures and peers it rests on."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from mixed_data import TABLES, classes, load, matrix, split
from mixed_peers import IMPUTERS, gaussian_copula, installed
from mixed_quality import copies, quality
from result_file import ResultFile


@pytest.fixture
def rows():
    """A class, and a number that nearly follows from it, one time in ten missing."""
    generator = np.random.default_rng(0)
    group = generator.integers(0, 3, 300).astype("float64")
    size = np.where(generator.random(300) < 0.1, np.nan, 10 * group + generator.normal(size=300))
    return np.column_stack([group, size])


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_from_its_package(name):
    package = TABLES[name].package
    if find_spec(package) is None:
        pytest.skip(f"the package {package} is not installed")
    frame = load(name)
    parts = split(frame, 0)
    assert 500 <= len(frame) <= 30_000
    assert classes(frame).any()
    assert not classes(frame).all()
    assert len(parts.train) + len(parts.validation) + len(parts.test) == len(frame)
    assert len(parts.train) == pytest.approx(0.7 * len(frame), abs=2)
    assert (matrix(parts.test, parts.train) == matrix(parts.test, frame))[~np.isnan(matrix(parts.test, frame))].all()


def test_an_absent_package_is_named(monkeypatch):
    monkeypatch.setattr("mixed_data.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps plotnine"):
        load("diamonds")


def test_matrix_writes_classes_dates_and_numbers():
    like = pd.DataFrame(
        {
            "size": pd.Categorical(["l", "s"], ["s", "m", "l"]),
            "day": pd.to_datetime(["1970-01-03", None]),
            "x": [0.3, 1.0],
        }
    )
    other = pd.DataFrame({"x": [0.1 + 0.2, None], "size": ["m", None], "day": ["1970-01-02", None]})
    np.testing.assert_array_equal(matrix(like, like), [[2, 2, 0.3], [0, np.nan, 1]])
    np.testing.assert_array_equal(matrix(other, like), [[1, 1, 0.3], [np.nan, np.nan, np.nan]])


def test_a_table_is_as_good_as_itself_and_better_than_its_shuffled_columns(rows):
    is_class = np.array([True, False])
    shuffled = np.column_stack([rows[:, 0], np.random.default_rng(1).permutation(rows[:, 1])])
    same, other = (quality(rows, sample, is_class, seed=0) for sample in (rows, shuffled))
    assert (same["shapes"], same["trends"], same["missing"]) == (1, 1, 1)
    assert same["told_apart"] <= 0.55
    assert other["shapes"] == pytest.approx(1)
    assert other["trends"] < 0.6
    assert other["told_apart"] > 0.75


def test_shapes_and_trends_are_as_defined():
    real, sample = (np.array(rows, dtype="float64") for rows in ([[0, 0], [0, 1], [1, 2]], [[0, 2], [1, 1], [1, 0]]))
    scores = quality(np.repeat(real, 5, 0), np.repeat(sample, 5, 0), np.array([True, False]), seed=0)
    assert scores["shapes"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores["trends"] == pytest.approx(0)  # no pair of values comes in both
    assert scores["missing"] is None
    numbers = quality(np.repeat(real, 5, 0), np.repeat(sample, 5, 0), np.array([False, False]), seed=0)
    assert numbers["trends"] == pytest.approx(1 - np.sqrt(0.75))  # the correlations are +-sqrt(3/4)


def test_copies_are_the_same_in_all_columns():
    train = np.array([[1.0, np.nan], [0.0, 2.0]])
    assert copies(np.array([[1.0, np.nan], [-0.0, 2.0], [1.0, 2.0], [np.nan, 1.0]]), train) == 0.5


def test_the_copula_keeps_values_missing_ones_and_dependence(rows):
    sample = gaussian_copula(rows, 2000, 0)
    assert np.isin(sample[~np.isnan(sample)], rows).all()
    assert np.isnan(sample).mean(axis=0) == pytest.approx(np.isnan(rows).mean(axis=0), abs=0.02)
    known = sample[~np.isnan(sample).any(axis=1)]
    assert np.corrcoef(known, rowvar=False)[0, 1] > 0.6


@pytest.mark.parametrize("method", IMPUTERS)
def test_imputers_fill_holes_and_nothing_else(rows, method):
    package, impute = IMPUTERS[method]
    if find_spec(package) is None:
        pytest.skip(f"the package {package} is not installed")
    known = rows[~np.isnan(rows).any(axis=1)]
    holes = known.copy()
    holes[:100, 0] = np.nan
    holes[100:200, 1] = np.nan
    filled = impute(rows, holes, np.array([True, False]), 0)
    np.testing.assert_allclose(filled[~np.isnan(holes)], holes[~np.isnan(holes)])
    assert np.isin(filled[:100, 0], [0, 1, 2]).all()
    if method != "most frequent, median":
        assert (filled[:100, 0] == known[:100, 0]).mean() > 0.9
        assert np.abs(filled[100:200, 1] - known[100:200, 1]).mean() < 2


def test_an_absent_peer_is_named(capsys):
    assert installed("boosted trees", "sklearn")
    assert not installed("a peer", "no_such_package")
    assert capsys.readouterr().out == "without a peer, since no_such_package is not installed\n"


def test_a_result_file_says_what_is_still_missing(tmp_path):
    path = tmp_path / "table.json"
    measures = ("likelihood", "samples")
    first = ResultFile(path, {"table": "name"}, {"command": "first"}, measures)
    first.add("likelihood", {"seed": 0, "method": "a", "test_nats": 1.0})
    again = ResultFile(path, {"table": "name"}, {"command": "second"}, measures)
    assert again.has("likelihood", seed=0, method="a")
    assert not again.has("likelihood", seed=1, method="a")
    assert not again.has("samples", seed=0, method="a")
    assert again.add("samples", {"seed": 0, "method": "a"})["run"] == 1
