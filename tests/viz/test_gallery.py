import json
import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch.distributions import Independent, Normal

from tessflow.models import coupling_mixture
from tessflow.viz import evaluate_density, plot_density, plot_mixture_cells, plot_points
from tessflow.viz.gallery import (
    MODELS,
    GalleryConfig,
    build_model,
    draw_overview,
    draw_set,
    is_done,
    read_results,
    tables,
    train_gallery,
    train_pair,
    write_page,
)

TINY = GalleryConfig(
    layers=1, cells=4, hidden_features=(8,), bins=4, steps=4, train_rows=600, validation_rows=200, test_rows=300
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("gallery")
    return train_pair("moons", 0, TINY, directory), directory


def made(name="moons", seed=0, nats=(2.0, 1.5, 1.8, 1.0), **changes):
    model = {"kl_nats": 0.1, "kl_standard_error": 0.01, "impossible": False, "seconds": 1.0, "parameters": 1000}
    models = {kind: {**model, "test_nats": -value} for kind, value in zip(MODELS, nats, strict=True)}
    return {
        "set": name,
        "seed": seed,
        "config": GalleryConfig().model_dump(mode="json"),
        "entropy_nats": 0.75,
        "models": models,
        "hardware": "a computer",
        "torch": "2.5",
        **changes,
    }


# ---- pictures of one thing


def test_a_density_is_evaluated_where_its_pixels_are():
    normal = Independent(Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.3, 0.5])), 1)
    density = evaluate_density(normal.log_prob, limits=(-4, 4), resolution=160)
    assert density.sum() * (8 / 160) ** 2 == pytest.approx(1, abs=1e-3)
    row, column = np.unravel_index(density.argmax(), density.shape)
    assert (column + 0.5) * 8 / 160 - 4 == pytest.approx(1.0, abs=0.03)
    assert (row + 0.5) * 8 / 160 - 4 == pytest.approx(-2.0, abs=0.03)
    for drawn in (normal.log_prob, density):
        ax = Figure().subplots()
        plot_density(drawn, ax, highest=2.0, resolution=160)
        (image,) = ax.images
        assert np.allclose(image.get_array(), density)
        assert image.get_clim() == (0, 2)
        assert ax.get_aspect() == 1


@pytest.mark.parametrize("cells", [1, 2, 12, 60])
def test_cells_of_a_mixture_are_those_that_it_finds(cells):
    mixture = coupling_mixture(2, cells, layers=1).eval()
    mixture.initialize(torch.randn(2000, 2) * torch.tensor([2.0, 0.5]))
    ax = Figure().subplots()
    plot_mixture_cells(mixture, ax, limits=(-3, 3), points=torch.zeros(5, 2), resolution=90)
    colours = np.asarray(ax.images[0].get_array())
    line = (torch.arange(90) + 0.5) / 15 - 3
    found = mixture().assign(torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)).numpy()
    assert len(np.unique(found)) > cells / 2
    for axis in (0, 1):  # colours change exactly at walls
        walls = np.diff(found, axis=axis) != 0
        assert np.array_equal(np.diff(colours, axis=axis) != 0, walls)
    points, anchors = ax.get_lines()
    assert len(points.get_xdata()) == 5
    where = torch.from_numpy(anchors.get_xydata().copy()).float()
    assert mixture().assign(where).tolist() == list(range(cells))


def test_mixtures_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="of two features without context, got 3 features"):
        plot_mixture_cells(coupling_mixture(3, 4, layers=1), Figure().subplots())


def test_points_are_drawn_in_the_same_frame():
    ax = Figure().subplots()
    plot_points(torch.randn(7, 2), ax, limits=(-1, 1))
    assert len(ax.get_lines()[0].get_xdata()) == 7
    assert ax.get_xlim() == (-1, 1)


# ---- training


def test_a_result_says_what_was_measured(trained):
    result, directory = trained
    assert json.loads((directory / "results" / "moons-0.json").read_text()) == result
    assert result["command"].startswith("tessflow gallery --sets moons --seeds 1 --layers 1 --cells 4")
    assert str(directory) not in json.dumps(result)
    assert list(result["models"]) == list(MODELS)
    for kind, model in result["models"].items():
        assert model["steps"] == TINY.steps
        assert math.isfinite(model["test_nats"])
        # Both means are of the same rows: what is left is the truth's own mean.
        assert -model["test_nats"] - model["kl_nats"] == pytest.approx(result["entropy_nats"], abs=0.2)
        assert model["kl_nats"] > 0
        assert model["kl_standard_error"] > 0
        assert not model["impossible"]
        assert ("cells_with_mass" in model) == kind.endswith("mixture")
    assert result["models"]["spline mixture"]["cells_with_mass"] == 4


def test_pairs_that_are_done_are_left_alone(trained, monkeypatch):
    _, directory = trained
    assert is_done("moons", 0, TINY, directory)
    assert list(train_gallery(["moons"], [0], TINY, directory)) == []
    assert not is_done("moons", 1, TINY, directory)
    assert not is_done("moons", 0, TINY.model_copy(update={"steps": 5}), directory)
    weights = directory / "weights" / "moons-0-affine-flow.safetensors"
    aside = weights.rename(weights.with_suffix(".aside"))
    assert not is_done("moons", 0, TINY, directory)
    aside.rename(weights)


def test_two_processes_compute_what_one_does(trained, tmp_path):
    result, _ = trained
    done = train_gallery(["moons", "rings"], [0], TINY, tmp_path, jobs=2)
    assert sorted(done) == [("moons", 0), ("rings", 0)]
    (again, other) = read_results(tmp_path / "results")
    assert other["set"] == "moons"
    for kind in MODELS:
        assert other["models"][kind]["test_nats"] == result["models"][kind]["test_nats"]
        assert other["models"][kind]["test_nats"] != again["models"][kind]["test_nats"]


def test_the_random_state_and_threads_stay(tmp_path):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train_pair("moons", 3, TINY, tmp_path)
    assert torch.get_num_threads() == threads
    assert torch.get_rng_state().equal(state)


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no set 'sun': choose some of eight_gaussians, "):
        next(train_gallery(["sun"], [0], TINY, tmp_path))
    with pytest.raises(ValueError, match="there is no model 'affine': choose one of affine flow, "):
        build_model("affine", TINY)


# ---- tables and page


def test_tables_show_means_and_spreads():
    results = [made(), made(seed=1, nats=(2.2, 1.5, 1.6, 1.0)), made("swiss_roll", nats=(3.0, 3.0, 3.0, 3.5))]
    text = tables(results)
    assert "| set | affine flow | spline flow | affine mixture | spline mixture | entropy |" in text
    assert "| moons | 2.100 ± 0.141 | 1.500 ± 0.000 | 1.700 ± 0.141 | 1.000 ± 0.000 | 0.750 |" in text
    assert "seeds a set: 1 to 2." in text
    assert "| moons | -0.400 ± 0.283 | -0.500 ± 0.000 |" in text
    assert "| swiss roll | +0.000 | +0.500 |" in text
    assert "IMPOSSIBLY" not in text


def test_a_score_above_the_truth_raises_the_alarm():
    result = made()
    result["models"]["spline flow"]["impossible"] = True
    assert "moons, seed 0: IMPOSSIBLY GOOD are spline flow." in tables([result])


def test_results_of_other_options_are_not_mixed(tmp_path):
    with pytest.raises(ValueError, match="holds no results of the gallery"):
        read_results(tmp_path)
    for seed, config in enumerate((GalleryConfig(), GalleryConfig(steps=10))):
        result = made(seed=seed, config=config.model_dump(mode="json"))
        (tmp_path / f"moons-{seed}.json").write_text(json.dumps(result))
    with pytest.raises(ValueError, match="results of different options"):
        read_results(tmp_path)
    assert [result["seed"] for result in read_results(tmp_path, GalleryConfig(steps=10))] == [1]


def test_a_picture_has_the_truth_and_four_models(trained):
    result, directory = trained
    figure = draw_set(result, directory, resolution=20)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[0] == f"truth\n{result['entropy_nats']:.3f} nats"
    assert titles[4] == f"spline mixture\n{-result['models']['spline mixture']['test_nats']:.3f} nats"
    assert len({ax.images[0].get_clim() for ax in figure.axes[:5]}) == 1
    assert [len(ax.images) for ax in figure.axes[5:]] == [0, 0, 0, 1, 1]
    overview = draw_overview([result], directory, resolution=20)
    assert [ax.get_ylabel() for ax in overview.axes] == ["true density", *MODELS]


def test_the_page_shows_pictures_and_tables(trained):
    _, directory = trained
    text = write_page(TINY, directory)
    page = (directory / "README.md").read_text()
    assert text in page
    for picture in ("overview.png", "moons.png"):
        assert f"]({picture})" in page
        assert (directory / picture).read_bytes().startswith(b"\x89PNG")
