"""The mixture of Gaussians that a flow starts from."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from tessflow.estimators import gaussian_start
from tessflow.estimators.gaussian_start import fit_gaussians, stacking_weights


def rings(rows, seed):
    rng = np.random.default_rng(seed)
    angle, radius = 2 * np.pi * rng.random(rows), rng.choice([0.7, 1.6], rows)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.05 * rng.normal(size=(rows, 2))


def score(start, rows):
    """The mean log-likelihood, by another library."""
    parts = zip(start.weights, start.means, start.roots, strict=True)
    densities = [w * multivariate_normal(m, np.linalg.inv(root.T @ root)).pdf(rows) for w, m, root in parts]
    return np.log(np.sum(densities, 0)).mean()


def test_it_is_ahead_of_single_mixtures_on_rows_that_neither_saw():
    train, validation, test = rings(800, 0), rings(300, 1), rings(2000, 2)
    found = score(fit_gaussians(train, validation, seed=0), test)
    for size in (5, 8, 12, 20, 30):
        assert found > GaussianMixture(size, random_state=0).fit(train).score(test)


@pytest.mark.parametrize("distance", [10, 1e2, 1e3, 1e4])
def test_clusters_far_apart_are_as_narrow_as_they_are(distance):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1400, 2)) + distance * rng.integers(0, 2, (1400, 1))
    spread, train, test = rows[:400].std(0), rows[:400], rows[400:]
    standard = (rows - train.mean(0)) / spread
    found = score(fit_gaussians(standard[:320], standard[320:400], seed=0), standard[400:]) - np.log(spread).sum()
    assert found > GaussianMixture(2, random_state=0).fit(train).score(test) - 0.2


def floors(rows, monkeypatch):
    """The floors that are tried for a table."""
    tried = set()
    fitted = gaussian_start._fitted

    def seen(rows, kind, seed):
        tried.add(kind.floor)
        return fitted(rows, kind, seed)

    monkeypatch.setattr(gaussian_start, "_fitted", seen)
    rows = (rows - rows.mean(0)) / rows.std(0)
    fit_gaussians(rows[:300], rows[300:], seed=0)
    return tried


def test_a_lower_floor_is_tried_only_where_it_holds_up_more_than_rounding(monkeypatch):
    rng = np.random.default_rng(0)
    noise, side = rng.normal(size=(400, 2)), rng.integers(0, 2, (400, 1))
    assert floors(noise + 1e4 * side, monkeypatch) == {gaussian_start.FLOOR, gaussian_start.LOW_FLOOR}
    for rows in (noise, noise + 5 * side, (noise + 5 * side).round(), np.where(noise > 0, 0, noise + 1e4 * side)):
        assert floors(rows, monkeypatch) == {gaussian_start.FLOOR}


def test_a_kind_has_no_more_numbers_than_half_of_those_in_the_rows():
    for count, features in [(10, 1), (10, 3), (40, 20), (300, 5)]:
        for covariances in get_args(gaussian_start.Covariances):
            for size in gaussian_start._sizes(np.zeros((count, features)), covariances):
                mixture = GaussianMixture(size, covariance_type=covariances)
                mixture.fit(np.random.default_rng(0).normal(size=(max(count, size), features)))
                assert 2 * (mixture.means_.size + free(mixture.covariances_, covariances)) <= count * features


def free(covariances, kind):
    """How many numbers of covariances are free, as they are symmetric."""
    if kind in ("diag", "spherical"):
        return covariances.size
    features = covariances.shape[-1]
    return covariances.size // features**2 * features * (features + 1) // 2


def test_seeds():
    rows = rings(200, 0)
    one, again, other = (fit_gaussians(rows[:150], rows[150:], seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(*pair) for pair in zip(one, again, strict=True))
    assert not np.array_equal(one.means[:1], other.means[:1])


@pytest.mark.parametrize("shape", [(1, 3), (2, 1), (3, 2), (6, 5), (40, 30)])
def test_few_rows(shape):
    rows = np.random.default_rng(0).normal(size=shape)
    start = fit_gaussians(rows, rows[:1], seed=0)
    assert np.isfinite(score(start, rows))
    assert start.weights.sum() == pytest.approx(1)
    assert (start.weights > 0).all()


def test_few_distinct_rows():
    rows = np.repeat([[0.0, 0.0], [1.0, 1.0]], 30, axis=0)
    assert np.isfinite(score(fit_gaussians(rows, rows, seed=0), rows))


def test_the_time_of_em_is_bounded(monkeypatch):
    monkeypatch.setattr(gaussian_start, "MOST_ROWS", 100)
    monkeypatch.setattr(gaussian_start, "MOST_PRODUCTS", 100 * 2 * 2 * 3)
    sizes = []
    fitted = gaussian_start._fitted

    def seen(rows, kind, seed):
        sizes.append((len(rows), kind.size, kind.covariances))
        return fitted(rows, kind, seed)

    monkeypatch.setattr(gaussian_start, "_fitted", seen)
    fit_gaussians(rings(500, 0), rings(100, 1), seed=0)
    assert {count for count, _, _ in sizes} == {100}
    assert max(size for _, size, covariances in sizes if covariances in ("full", "tied")) == 3
    assert max(size for _, size, covariances in sizes) <= 5


def test_stacking_weights_are_the_likeliest():
    rng = np.random.default_rng(0)
    scores = np.log(rng.random((3, 200)) + np.array([[0.2], [0.1], [0.0]]))
    weights = stacking_weights(scores, steps=2000)

    def likelihood(w):
        return np.log(w @ np.exp(scores)).mean()

    assert weights.sum() == pytest.approx(1)
    assert all(likelihood(weights) >= likelihood(other) - 1e-6 for other in rng.dirichlet(np.ones(3), 500))


def test_stacking_weights_of_densities_far_apart_are_finite():
    assert stacking_weights(np.array([[-1e300, -5.0], [-2.0, -1e300]])).tolist() == pytest.approx([0.5, 0.5])
    assert stacking_weights(np.array([[-1e300], [-2.0]])).tolist() == [0, 1]
