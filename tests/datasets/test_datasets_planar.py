import math
import time

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from tessflow.datasets import planar
from tessflow.datasets.planar import planar_entropy, planar_log_density, planar_names, sample_planar

NAMES = planar_names()


def test_names():
    assert [
        *("eight_gaussians", "two_spirals", "checkerboard", "pinwheel", "rings", "moons", "swiss_roll", "circles"),
    ] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_samples_fill_boxes_as_the_density_says(name):
    reach, step, side = planar._find(name).reach, 0.04, 0.4
    grid = planar._grid(reach, step)
    mass = np.exp(planar_log_density(name, grid)) * step**2
    assert mass.sum() == pytest.approx(1, abs=1e-6)

    count = math.ceil(2 * reach / side)

    def boxes(points):
        columns = np.floor((points + reach) / side).astype(int).clip(0, count - 1)
        return columns @ [count, 1]

    n = 20_000
    expected = n * np.bincount(boxes(grid), weights=mass, minlength=count**2)
    seen = np.bincount(boxes(sample_planar(name, n, seed=1)), minlength=count**2)
    assert seen[expected == 0].sum() == 0
    rare = expected < 5
    expected = np.append(expected[~rare], expected[rare].sum() + 1e-9)
    seen = np.append(seen[~rare], seen[rare].sum())
    statistic = ((seen - expected) ** 2 / expected.clip(1)).sum()
    assert len(seen) > 30
    assert chi2.sf(statistic, len(seen) - 1) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_samples_average_to_the_entropy(name):
    scores = -planar_log_density(name, sample_planar(name, 20_000, seed=2))
    error = scores.std() / math.sqrt(len(scores))
    assert abs(scores.mean() - planar_entropy(name)) < 4 * error + 1e-9


def test_entropies_known_in_closed_form():
    assert planar_entropy("checkerboard") == pytest.approx(math.log(32), abs=1e-9)
    # Apart from what neighbours share, an eighth of a Gaussian of deviation 0.5 / 1.414.
    assert planar_entropy("eight_gaussians") == pytest.approx(
        math.log(8) + math.log(2 * math.pi * math.e * (0.5 / 1.414) ** 2), abs=0.01
    )
    # A fifth of a Gaussian of deviations 0.3 and 0.1, twice as large; the twist changes areas by a factor near 1.
    assert planar_entropy("pinwheel") == pytest.approx(
        math.log(5) + math.log(2 * math.pi * math.e * 0.03 * 4), abs=0.01
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_fixes_the_sample(name):
    first, again, other = (sample_planar(name, 50, seed=seed) for seed in (3, 3, 4))
    assert first.shape == (50, 2)
    assert first.dtype == np.float64
    assert (first == again).all()
    assert not (first == other).any()
    assert sample_planar(name, 0, seed=0).shape == (0, 2)


@pytest.mark.parametrize("density", [planar._moons, planar._roll, planar._spirals])
def test_twice_as_many_nodes_change_nothing(density):
    x = torch.from_numpy(np.random.default_rng(0).uniform(-6, 6, size=(500, 2)))
    fine = density(x, nodes=1024)
    torch.testing.assert_close(density(x), fine, rtol=0, atol=1e-6)


def test_the_pinwheel_misses_no_preimage():
    x = torch.from_numpy(np.random.default_rng(0).uniform(-5, 5, size=(500, 2)))
    torch.testing.assert_close(planar._pinwheel(x), planar._pinwheel(x, nodes=2000), rtol=0, atol=1e-6)


def test_values_by_hand():
    ring = -math.log(2 * 2 * math.pi * 0.24**2) - 3**2 / (2 * 0.24**2)  # the outer of two circles, from its centre
    inner = -math.log(2 * 2 * math.pi * 0.24**2) - 1.5**2 / (2 * 0.24**2)
    assert planar_log_density("circles", [[0, 0]])[0] == pytest.approx(np.logaddexp(ring, inner), abs=1e-12)
    alone = -math.log(8 * 2 * math.pi * (0.5 / 1.414) ** 2)
    assert planar_log_density("eight_gaussians", [[4 / 1.414, 0]])[0] == pytest.approx(alone, abs=2e-4)
    # Squares from (-4, 4): a square and its right neighbour, then both above.
    board = [[-3, -3], [-1, -3], [-3, -1], [-1, -1], [3, 3], [4.5, 3], [5, 5]]
    inside = [True, False, False, True, True, False, False]
    assert np.isfinite(planar_log_density("checkerboard", board)).tolist() == inside


@pytest.mark.parametrize("name", NAMES)
def test_far_points_have_a_log_density_too(name):
    far = planar_log_density(name, [[40.0, -30.0], [-400.0, 300.0]])
    assert far[0] < -1e3
    assert far[1] < -1e5
    assert np.isfinite(far).all() != (name == "checkerboard")


@pytest.mark.parametrize("name", NAMES)
def test_twenty_thousand_points_take_seconds(name):
    x = sample_planar(name, 20_000, seed=0)
    start = time.process_time()
    together = planar_log_density(name, x)
    assert time.process_time() - start < 6
    assert together[:7] == pytest.approx(planar_log_density(name, x[:7]), rel=1e-9)


def test_no_points_have_no_densities():
    assert planar_log_density("moons", np.zeros((0, 2))).shape == (0,)


@pytest.mark.parametrize(
    "call",
    [lambda name: sample_planar(name, 1, seed=0), lambda name: planar_log_density(name, [[0, 0]]), planar_entropy],
)
def test_an_unknown_name_is_answered_by_the_known_ones(call):
    with pytest.raises(ValueError, match=r"no density 'two-spirals' in the plane: choose one of .*two_spirals, .*circ"):
        call("two-spirals")


def test_refuses_other_shapes_and_values():
    with pytest.raises(ValueError, match=r"must have the shape \(n, 2\), but has \(3,\)"):
        planar_log_density("moons", [1, 2, 3])
    with pytest.raises(ValueError, match="not finite"):
        planar_log_density("moons", [[1, math.nan]])
    with pytest.raises(ValueError, match="n is -1"):
        sample_planar("moons", -1, seed=0)
