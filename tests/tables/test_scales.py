"""The scale of numbers: their scores are about normal, and no spread is too small or too large for one."""

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessflow.tables import NumberColumn, TableSchema
from tessflow.tables.scales import quantile_scale, score_of, standard_scale


def number(values, **options):
    return TableSchema.infer(pd.DataFrame({"x": values}), **options).variables[0].number


@pytest.mark.parametrize("scaling", ["quantile", "standard"])
@pytest.mark.parametrize(
    "values",
    [
        np.arange(100) * 1e-300 / 3,
        np.arange(100) * 1e306 / 3 + 1e300,
        1e15 + np.arange(100) / 8,
        np.exp(np.linspace(-600, 600, 100)),
        -(10.0 ** np.arange(-300, 300)),
        [0.5, 5e-324],
        [1.7e308],
        [1.6e308, 1.7e308],
        [1.0, 1.0 + 2**-52],
        [1.5],
    ],
)
def test_tiny_and_huge_spreads_make_finite_scales(values, scaling):
    declared = TableSchema(columns=(NumberColumn(name="x", scaling=scaling),))
    with np.errstate(all="raise", under="ignore"):
        scale = declared.fitted(pd.DataFrame({"x": values})).variables[0].number
    assert np.isfinite([*scale.knots, *scale.scores]).all()
    assert (np.diff(scale.knots) > 0).all()


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60, unique=True),
    st.integers(1, 50),
    st.booleans(),
)
def test_any_numbers_make_a_scale(values, count, whole):
    values = np.unique(np.rint(values) if whole else values)
    for make in (quantile_scale, standard_scale):
        knots, scores = make(values, np.full(len(values), count), whole=whole)
        assert np.isfinite([*knots, *scores]).all()
        assert (np.diff(knots) > 0).all()
        assert (np.diff(scores) > 0).all()


def test_quantile_scores_are_those_of_the_normal_distribution():
    values = np.random.default_rng(0).lognormal(size=20_000)
    scale = number(values)
    scores = np.interp(np.log(values), np.log(scale.knots), scale.scores)
    assert np.abs(np.log(scale.knots) - scale.scores).max() < 0.25
    assert scores.mean() == pytest.approx(0, abs=0.01)
    assert scores.std() == pytest.approx(1, abs=0.02)
    beyond = (values > scale.knots[-1]).sum(), (values < scale.knots[0]).sum()
    assert all(4 <= rows <= 20 for rows in beyond)
    assert len(scale.knots) < 90


def test_the_scale_gives_whole_numbers_their_share_of_the_rows():
    values = np.random.default_rng(0).binomial(60, 0.4, 50_000)
    scale = number(values)
    assert all(knot % 1 == 0.5 for knot in scale.knots)
    cdf = [NormalDist().cdf(score) for score in np.interp(np.arange(10, 40) - 0.5, scale.knots, scale.scores)]
    shares = np.bincount(values, minlength=60)[10:39] / len(values)
    assert np.diff(cdf) == pytest.approx(shares, abs=2e-3)


@pytest.mark.parametrize(("values", "step"), [([1.5, 2.5, 3.25], 0.01), ([1 / 3, 2 / 3, 8 / 7], 1)])
def test_the_standard_scale_is_mean_and_deviation(values, step):
    scale = number(values, scaling="standard")
    mean, deviation = np.mean(values), np.std(values)
    assert np.array(scale.knots) * step == pytest.approx((mean - deviation, mean + deviation))
    assert scale.scores == (-1, 1)


def test_atoms_have_no_part_in_the_scale():
    values = [0.0] * 500 + list(np.random.default_rng(0).normal(size=500) + 100)
    scale = number(values)
    assert scale.atoms == (0,)
    assert min(scale.knots) > 90


def test_one_row_far_away_leaves_the_scale():
    values = np.random.default_rng(0).normal(size=1000)
    inner = slice(5, -5)
    assert number([*values, 1e300]).knots[inner] == pytest.approx(number(values).knots[inner], abs=0.05)


def test_scores_go_on_in_a_straight_line():
    knots, scores = (0.0, 1.0, 3.0), (-1.0, 0.0, 1.0)
    assert [score_of(value, knots, scores) for value in (-2.0, 0.0, 0.5, 2.0, 3.0, 7.0)] == [-3, -1, -0.5, 0.5, 1, 3]
