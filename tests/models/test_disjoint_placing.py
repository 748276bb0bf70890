"""Where a mixture puts its cells, and what that must not break."""

from __future__ import annotations

import pytest
import torch

from tessflow.flows import coupling_flow
from tessflow.models import DisjointMixture, coupling_mixture
from tessflow.models.placing import k_means
from tessflow.training import TrainingConfig, fit


def mixture(features=2, cells=4, **options):
    torch.manual_seed(0)
    return coupling_mixture(features, cells, layers=1, hidden_features=(8,), **options)


def cells_that_exist(model):
    tessellation = model.tessellation()
    return tessellation.locate(tessellation.anchors).unique().numel()


@pytest.mark.parametrize("box", [True, False])
def test_points_beyond_the_box_share_no_anchor(box):
    model = mixture(1, 8, box=box, profile="cube")
    model.before[0].initialized.fill_(1)
    model.initialize(torch.tensor([[-1.0], [0.0], [1.0], [5.0], [6.0]]))
    assert cells_that_exist(model) == 8


def test_centres_that_round_to_one_are_one_anchor():
    model = mixture(1, 8)
    model.before[0].initialized.fill_(1)
    model.initialize(1e6 + 0.01 * torch.randn(500, 1))
    assert cells_that_exist(model) == 8


@pytest.mark.parametrize("whiten", [True, False])
def test_half_precision_networks(whiten):
    x = torch.randn(100, 2)
    result = fit(mixture(whiten=whiten), x, x, TrainingConfig(max_steps=5, precision="bf16-mixed"))
    assert result.skipped_steps == 0


def test_layers_before_learn_from_the_same_points_also_in_evaluation_mode():
    x = 300 + 50 * torch.randn(500, 2)
    model = mixture(2, 6).eval()
    model.initialize(x)
    assert not model.training
    assert model.before[0].initialized
    assert model.train()().assign(x).unique().numel() == 6


def test_a_nested_mixture_is_placed_too():
    inner = DisjointMixture(2, 3, coupling_flow(2, context=32, layers=1, hidden_features=(8,)), context=16)
    outer = DisjointMixture(2, 4, inner)
    outer.initialize(torch.randn(300, 2))
    assert inner.initialized


@pytest.mark.parametrize("univariate", ["affine", "spline"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_layers_before_leave_every_point_finite(univariate, dtype):
    model = mixture(3, 6, before=2, univariate=univariate).to(dtype)
    model.initialize(torch.randn(300, 3, dtype=dtype))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.tensor([-1.0, 1.0]).repeat(50, 2)[:, :3].to(dtype) * torch.finfo(dtype).max
    assert model.eval()().log_prob(x).isfinite().all()


def test_rows_without_company_do_not_become_spikes():
    """A row to each cell says nothing about the shape of cells."""
    model = mixture(2, 10, whiten=True)
    x = torch.randn(10, 2)
    model.initialize(x)
    near = torch.cdist(model.eval()().sample((1000,)), x).amin(-1)
    assert (near < 1e-3).float().mean() < 0.01


@pytest.mark.parametrize("size", [1e-24, 1.0, 1e19])
def test_many_centres_of_points_of_any_size(size):
    torch.manual_seed(0)
    centres = k_means(size * torch.randn(3000, 1), 1500, passes=1)
    assert centres.shape == (1500, 1)
    assert centres.isfinite().all()
