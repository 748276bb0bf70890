"""Densities that are peers in the benchmark of mixed tables: they are distributions, and beat no true one."""

import sys
import warnings
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from events import Column, encoded
from mixed_peers import DENSITIES

from tessflow.tables import TableSchema


@pytest.fixture(params=DENSITIES)
def fit(request):
    package, fit = DENSITIES[request.param]
    if find_spec(package) is None:
        pytest.skip(f"the package {package} is not installed")
    return fit


def fitted(fit, frame):
    schema = TableSchema.infer(frame)
    train, validation = (list(encoded(schema, part)) for part in (frame[:-100], frame[-100:]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of packages
        return schema, fit(train, validation, seed=0)


def every_row(schema, values):
    """All rows of codes; code 0 of a column of numbers stands for each of the values."""
    options = []
    for variable in schema.variables:
        codes = [(code, 0.0) for code in range(variable.classes) if variable.number is None or code]
        options.append(codes + [(0, float(x)) for x in values if variable.number and x not in variable.number.atoms])
    columns = zip(schema.variables, zip(*product(*options), strict=True), strict=True)
    return [
        Column(variable, *(torch.tensor(part) for part in map(list, zip(*pairs, strict=True))))
        for variable, pairs in columns
    ]


def doubles(columns):
    return [Column(column.variable, column.codes, column.numbers.double()) for column in columns]


def test_probabilities_of_all_rows_sum_to_one(fit):
    generator = np.random.default_rng(0)
    a = generator.integers(0, 3, 400)
    b = np.where(generator.random(400) < 0.1, None, np.array(list("xy"))[(a + generator.integers(0, 2, 400)) % 2])
    schema, peer = fitted(fit, pd.DataFrame({"a": a.astype(str), "b": b, "c": generator.random(400) < 0.1 + a / 4}))
    rows = every_row(schema, ())
    assert len(rows[0].codes) == 4 * 4 * 3  # with something not seen
    assert peer.log_prob(doubles(rows)).exp().sum() == pytest.approx(1, abs=1e-9)


def test_probabilities_of_whole_numbers_spikes_and_gaps_sum_to_one(fit):
    generator = np.random.default_rng(0)
    group = generator.integers(0, 2, 600)
    count = np.where(generator.random(600) < 0.3, 0, generator.poisson(20 + 15 * group)).astype("float64")
    count[generator.random(600) < 0.1] = np.nan
    schema, peer = fitted(fit, pd.DataFrame({"group": group.astype(str), "count": count}))
    assert schema.variables[1].number.atoms == (0.0,)
    total = peer.log_prob(doubles(every_row(schema, range(-20_000, 20_000)))).exp().sum()
    assert total == pytest.approx(1, abs=2e-4)  # the tail of the background goes on


def test_densities_integrate_to_one(fit):
    generator = np.random.default_rng(0)
    group = generator.integers(0, 2, 600)
    schema, peer = fitted(fit, pd.DataFrame({"group": group.astype(str), "x": generator.normal(3 * group, 1)}))
    x = np.arange(-60, 60, 0.004) + 0.002
    total = peer.log_prob(doubles(every_row(schema, x))).exp()
    codes = every_row(schema, x)[1].codes
    assert total[codes == 0].sum() * 0.004 + total[codes > 0].sum() == pytest.approx(1, abs=3e-3)


def test_no_peer_beats_the_truth(fit):
    generator = np.random.default_rng(0)

    def drawn(n):
        a = generator.integers(0, 4, n)
        b = np.where(generator.random(n) < 0.8, a, generator.integers(0, 4, n))
        x = generator.normal(b, 0.5)
        log_prob = -np.log(4) + np.log(0.8 * (a == b) + 0.05)
        log_prob += -0.5 * ((x - b) / 0.5) ** 2 - np.log(0.5 * np.sqrt(2 * np.pi))
        return pd.DataFrame({"a": a.astype(str), "b": b.astype(str), "x": x}), log_prob

    schema, peer = fitted(fit, drawn(3000)[0])
    test, truth = drawn(5000)
    lost = truth - peer.log_prob(list(encoded(schema, test))).numpy()
    error = lost.std() / np.sqrt(len(lost))
    assert lost.mean() > -3 * error
    assert lost.mean() < 0.3
