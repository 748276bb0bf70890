"""The mixture of Gaussians that a flow starts from: fitted by EM, chosen and weighted by validation rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

__all__ = ["GaussianStart", "fit_gaussians", "stacking_weights"]

Floats: TypeAlias = NDArray[np.float64]
Covariances: TypeAlias = Literal["full", "tied", "diag", "spherical"]

SIZES = (1, 2, 3, 5, 8, 12, 20, 30, 50)
# Sizes in a row that are no better than a smaller one, after which larger ones are not tried.
NO_BETTER = 2
# Floors of the variances of standardised rows, the second for mixtures that the first holds up.
FLOOR, LOW_FLOOR = 1e-5, 1e-9
# So many floors are the least variance of a mixture that is not held up.
CLEAR = 10
# A value with this share of the rows is an atom, on which a smaller floor would only make a higher spike.
ATOM = 0.1
# The best kinds of mixtures (size, covariances and floor) that are taken, each fitted from so many starts.
KINDS, STARTS = 4, 4
# A kind that has less weight is left out.
LEAST_WEIGHT = 0.02
# Rows that EM sees, and the products of numbers that a step of it may take.
MOST_ROWS, MOST_PRODUCTS = 10_000, 200_000_000


class _Kind(NamedTuple):
    size: int
    covariances: Covariances
    floor: float


_Found: TypeAlias = dict[_Kind, tuple[float, GaussianMixture]]


class GaussianStart(NamedTuple):
    """A mixture of K Gaussians of D features.

    Args:
        weights: Positive, with the sum 1, ``(K,)``.
        means: ``(K, D)``.
        roots: Lower-triangular roots of the precisions, ``(K, D, D)``.
    """

    weights: Floats
    means: Floats
    roots: Floats


def fit_gaussians(train: Floats, validation: Floats, seed: int) -> GaussianStart:
    """Fit mixtures of several sizes and kinds of covariances, and mix the best of them, each from several starts.

    The mixtures are compared by the validation rows, which also weight the kinds that are taken
    (:func:`stacking_weights`). A kind has no more numbers than half of those in the rows.

    No variance is below a floor, which keeps few rows from a Gaussian too narrow for others. Clusters that are narrow
    beside the distance between them need a lower one. It is tried for the best mixtures that reach the floor, unless a
    column has atoms or coarse steps.

    Args:
        train: Standardised rows to fit, ``(n, D)``.
        validation: Rows to choose by, ``(m, D)``.
        seed: Seed of the starts.

    Returns:
        All Gaussians together; N(0, I) if there are too few rows for any.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(300, 2)) + 5 * np.arange(300)[:, None] % 10
        >>> start = fit_gaussians(rows[:200], rows[200:], seed=0)
        >>> start.means.shape[1:], start.roots.shape[1:], bool(np.isclose(start.weights.sum(), 1))
        ((2,), (2, 2), True)
    """
    random = np.random.RandomState(np.random.SeedSequence(seed).generate_state(8))
    if len(train) > MOST_ROWS:
        train = train[random.permutation(len(train))[:MOST_ROWS]]
    starts = random.randint(2**31, size=STARTS)
    first = _search(train, validation, FLOOR, starts[0])
    kinds = sorted(first, key=lambda kind: -first[kind][0])[:KINDS]
    if _is_finer(train, FLOOR):
        kinds = [_lowered(kind, first, train, validation, starts[0]) for kind in kinds]
    if not kinds:
        features = train.shape[1]
        return GaussianStart(np.ones(1), np.zeros((1, features)), np.eye(features)[None])
    groups = []
    for kind in kinds:
        others = (_fitted(train, kind, start) for start in starts[1:])
        groups.append([first[kind][1], *(fitted for fitted in others if fitted is not None)])
    scores = [_log_sum([one.score_samples(validation) for one in group], 0) - np.log(len(group)) for group in groups]
    shares = stacking_weights(np.stack(scores))
    shares = np.where(shares >= LEAST_WEIGHT, shares, 0)
    mixed = [(share / len(group), one) for share, group in zip(shares, groups, strict=True) if share for one in group]
    weights = np.concatenate([share * one.weights_ for share, one in mixed]).clip(np.finfo(np.float32).tiny)
    means = np.concatenate([one.means_ for _, one in mixed])
    return GaussianStart(weights / weights.sum(), means, np.concatenate([_roots(one) for _, one in mixed]))


def stacking_weights(scores: Floats, steps: int = 100) -> Floats:
    r"""Return the weights of densities that make their mixture likeliest on rows that none of them was fitted to.

    Expectation-maximisation, :math:`w_j \leftarrow \frac{1}{m} \sum_i w_j p_j(x_i) / \sum_k w_k p_k(x_i)` (Smyth &
    Wolpert, 1999). It starts at equal weights, and few steps keep close to them what hardly matters.

    Args:
        scores: Log-densities, ``(densities, m)``.
        steps: How many steps.

    Returns:
        Weights, ``(densities,)``, with the sum 1.

    Example:
        >>> stacking_weights(np.log([[0.9, 0.8, 0.9], [0.1, 0.2, 0.1]])).round(2)
        array([1., 0.])
    """
    log_weights = np.full(len(scores), -np.log(len(scores)))
    for _ in range(steps):
        joint = scores + log_weights[:, None]
        log_weights = _log_sum(joint - _log_sum(joint, 0), 1) - np.log(scores.shape[1])
    return np.exp(log_weights)


def _search(train: Floats, validation: Floats, floor: float, seed: int) -> _Found:
    """Fit one mixture of each kind with a floor, and score it by the validation rows."""
    found: _Found = {}
    for covariances in get_args(Covariances):
        best, since = -np.inf, 0
        for size in _sizes(train, covariances):
            kind = _Kind(size, covariances, floor)
            fitted = _fitted(train, kind, seed)
            if fitted is None or since == NO_BETTER:
                break
            score = fitted.score(validation)
            found[kind] = score, fitted
            best, since = max(best, score), 0 if score > best else since + 1
    return found


def _lowered(kind: _Kind, found: _Found, train: Floats, validation: Floats, seed: int) -> _Kind:
    """Return a kind with the lower floor if the other holds it up, and it gains more than two standard errors."""
    mixture = found[kind][1]
    if _least_variance(mixture) >= CLEAR * kind.floor:
        return kind
    lower = kind._replace(floor=LOW_FLOOR)
    fitted = _fitted(train, lower, seed)
    if fitted is None:
        return kind
    gains = fitted.score_samples(validation) - mixture.score_samples(validation)
    if len(gains) < 2 or gains.mean() <= 2 * gains.std(ddof=1) / np.sqrt(len(gains)):
        return kind
    found[lower] = fitted.score(validation), fitted
    return lower


def _least_variance(mixture: GaussianMixture) -> float:
    """Return the least variance of a Gaussian of a mixture in any direction."""
    return float(np.linalg.norm(_roots(mixture), 2, axis=(1, 2)).max() ** -2)


def _is_finer(rows: Floats, variance: float) -> bool:
    """Return whether no column has atoms, and rounding to steps of h adds less than a variance: h^2 / 12."""
    for column in rows.T:
        values, counts = np.unique(column, return_counts=True)
        if counts.max() > ATOM * len(rows) or np.median(np.diff(values)) ** 2 / 12 > variance:
            return False
    return True


def _sizes(rows: Floats, covariances: Covariances) -> Iterator[int]:
    """Return the sizes for which there are rows and time enough."""
    count, features = rows.shape
    # Those of each Gaussian, and those that all have together.
    shared = features * (features + 1) // 2 if covariances == "tied" else 0
    numbers = {
        "full": features * (features + 3) // 2,
        "tied": features,
        "diag": 2 * features,
        "spherical": features + 1,
    }
    products = count * features * (features if covariances in ("full", "tied") else 1)
    most = min((count * features // 2 - shared) // numbers[covariances], MOST_PRODUCTS // products)
    return (size for size in SIZES if size <= most)


def _fitted(rows: Floats, kind: _Kind, seed: int) -> GaussianMixture | None:
    """Fit one mixture; None if it cannot be, with fewer rows than Gaussians, or one that collapses."""
    mixture = GaussianMixture(kind.size, covariance_type=kind.covariances, reg_covar=kind.floor, random_state=seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return mixture.fit(rows)
    except ValueError:
        return None


def _log_sum(scores: Any, axis: int) -> Floats:
    return np.asarray(np.logaddexp.reduce(scores, axis=axis))


def _roots(mixture: Any) -> Floats:
    """Return lower-triangular roots of the precisions, ``(K, D, D)``, whatever the covariances are."""
    size, features = mixture.means_.shape
    root = mixture.precisions_cholesky_
    if mixture.covariance_type == "full":
        return np.swapaxes(root, 1, 2)
    if mixture.covariance_type == "tied":
        return np.repeat(root.T[None], size, 0)
    return np.eye(features) * (root[:, None, None] if root.ndim == 1 else root[:, None, :])
