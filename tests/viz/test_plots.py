import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from tessflow.geometry import Tessellation, VoronoiTessellation
from tessflow.models import AveragedDensity, WarpedMixture, coupling_mixture
from tessflow.viz import plot_cells, plot_history, plot_mixture_cells


def test_history_has_two_curves_and_a_line_a_reference():
    ax = Figure().subplots()
    history = pd.DataFrame({"step": [10, 20], "training": [-3.0, -2.0], "validation": [-3.1, -2.2]})
    plot_history(history, ax, references={"floor": 1.5, "paper": 2.5})
    train, held_out, *lines = ax.get_lines()
    assert list(train.get_ydata()) == [3.0, 2.0]
    assert list(held_out.get_ydata()) == [3.1, 2.2]
    assert [line.get_ydata()[0] for line in lines] == [1.5, 2.5]
    assert [text.get_text() for text in ax.texts] == ["floor: 1.50", "paper: 2.50"]


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
@pytest.mark.parametrize("cells", [1, 2, 3, 12])
def test_anchors_are_drawn_in_their_own_cells(dim, cells):
    torch.manual_seed(1)
    ax = Figure().subplots()
    tessellation = Tessellation(torch.randn(cells, dim))
    plot_cells(tessellation, ax, labels=[str(k) for k in range(cells)], points=torch.randn(20, dim))
    assert [text.get_text() for text in ax.texts] == [str(k) for k in range(cells)]
    (image,) = ax.images
    left, right, bottom, top = image.get_extent()
    picture = np.asarray(image.get_array())
    *_, anchors = ax.get_lines()
    for k, (x, y) in enumerate(anchors.get_xydata()):
        column = int((x - left) / (right - left) * picture.shape[1])
        row = int((y - bottom) / (top - bottom) * picture.shape[0])
        if dim <= 2 or cells <= 3:  # else the plane may cut another cell below the anchor
            assert picture[row, column] == k % 9


def test_masked_anchors_are_not_drawn():
    ax = Figure().subplots()
    ragged = VoronoiTessellation.random((3, 2), dim=2)
    plot_cells(ragged.variable(1), ax, labels=["yes", "no"])
    assert len(ax.texts) == 2


def test_bad_arguments_are_refused():
    ax = Figure().subplots()
    with pytest.raises(ValueError, match=r"draws one tessellation, got \(4,\) side by side"):
        plot_cells(Tessellation(torch.randn(4, 3, 2)), ax)
    with pytest.raises(ValueError, match="labels must name 3 classes, got 1"):
        plot_cells(Tessellation(torch.randn(3, 2)), ax, labels=["a"])


def test_what_has_no_cells_of_its_own_is_refused():
    several = AveragedDensity([coupling_mixture(2, 3, layers=1), coupling_mixture(2, 3, layers=1)])
    for model, name in ((several, "AveragedDensity"), (WarpedMixture(2, 3, layers=1), "WarpedMixture")):
        with pytest.raises(ValueError, match=rf"got a {name}: .* the model_ of one of estimators_\[i\]\.$"):
            plot_mixture_cells(model, Figure().subplots())
