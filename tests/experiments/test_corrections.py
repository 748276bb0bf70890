"""Readings of a likelihood that are wrong, and by how much."""

import json

import pytest

from experiments import corrections


@pytest.fixture(scope="module")
def measured():
    return corrections.measure(steps=20, rows=40, samples=20)


def test_noise_moves_the_importance_weighted_bound_and_not_the_mean_of_one_sample_bounds(measured):
    plain, noisy = measured["noise"]["0.0"], measured["noise"]["2.0"]
    assert noisy["one_sample"] == pytest.approx(plain["one_sample"], abs=0.3)
    assert noisy["importance_weighted"] < plain["importance_weighted"] - 0.5
    assert plain["importance_weighted"] == pytest.approx(measured["ragged_nats"])


def test_the_lowest_of_many_noisy_readings_is_too_low(measured):
    best = measured["best_of_many"]
    assert best["nats_gained"] == pytest.approx(-2.75 * best["noise"], abs=0.1 * best["noise"])


def test_cells_of_classes_that_do_not_exist_take_mass(measured):
    assert 0.01 < measured["padded_mass_on_missing_classes"] < 1
    assert measured["padded_nats"] > measured["floor_nats"]


def test_the_page_has_the_figures(measured, tmp_path):
    path = tmp_path / "corrections.json"
    assert corrections.page(path) == "No results yet.\n"
    path.write_text(json.dumps(measured))
    page = corrections.page(path)
    assert f"{measured['padded_nats']:.3f}" in page
    assert f"{measured['noise']['2.0']['importance_weighted']:.3f}" in page
