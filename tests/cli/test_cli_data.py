"""The commands `tessflow data list` and `tessflow data show`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tessflow.datasets import sample_planar
from tessflow.tables import read_table


def test_data_list_and_show(run):
    said = run("data", "list").stdout
    assert "nursery" in said
    assert "9.4696" in said
    assert "miniboone" in said
    assert "two_spirals" in said
    said = run("data", "show", "nursery", "--out", "nursery.csv").stdout
    assert "10367 training" in said
    assert read_table("nursery.csv").shape == (12960, 8)


def test_data_show_of_real_numbers(run):
    said = run("data", "show", "moons", "--rows", 50, "--seed", 3, "--out", "moons.csv").stdout
    assert "moons: 50 points in the plane, drawn with seed 3" in said
    drawn = pd.read_csv("moons.csv")
    assert drawn.to_numpy() == pytest.approx(sample_planar("moons", 50, seed=3))
    Path("miniboone").mkdir()
    np.save("miniboone/data.npy", np.random.default_rng(0).normal(size=(50, 43)))
    said = run("data", "show", "miniboone", "--data-dir", ".", "--out", "miniboone.csv").stdout
    assert "source: partial, 50 of 36,488 rows" in said
    assert "rows: 41 training, 4 validation, 5 test" in said
    assert pd.read_csv("miniboone.csv").shape == (50, 43)


def test_unknown_sets_are_named(run):
    assert "there is no data set 'nothing'" in run.refused("data", "show", "nothing")
