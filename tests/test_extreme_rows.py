"""A small part of `benchmarks/fuzz.py`: rows of extreme values have finite likelihoods, each column above its bound."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from extreme_rows import any_floats, any_integers, extreme_table, mixture_scores, table_scores

pytestmark = pytest.mark.filterwarnings("ignore::tessflow.tables.TableWarning")


def test_rows_of_a_table():
    found = table_scores(2_000, seed=1, batch=1_000)
    assert (found["not_finite"], found["beyond_bound"]) == (0, 0)
    assert 500 < found["worst_column_nats"] < 1_000


@pytest.mark.filterwarnings("ignore:invalid value encountered in reduce")  # scikit-learn sums them to see NaN
@pytest.mark.parametrize("n_cells", [None, 16])
def test_rows_of_a_mixture(n_cells):
    found = mixture_scores(2_000, seed=1, n_cells=n_cells)
    assert found["not_finite"] == 0
    assert found["worst_row_nats"] > 1e20


def test_the_values_are_extreme():
    rng = np.random.default_rng(0)
    floats, integers = np.abs(any_floats(10_000, rng)), any_integers(10_000, rng)
    assert np.isfinite(floats).all()
    assert (floats > 1e300).any()
    assert ((floats > 0) & (floats < 1e-300)).any()
    assert (integers.min(), integers.max()) == (-(2**63), 2**63 - 1)
    assert extreme_table(100, rng)["day"].dt.year.nunique() > 50
