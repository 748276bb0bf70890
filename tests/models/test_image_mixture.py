"""The multi-scale flow of images with a mixture at each scale, and bytes under it."""

import copy
import math

import pytest
import torch

from tessflow.models import DequantizedImages, ImageMixture
from tessflow.training import load_weights, save_weights


def mixture(shape=(1, 4, 4), rows=300, std=0.15, **options):
    """A flow whose cells are placed, with weights that are not those of the start."""
    torch.manual_seed(0)
    flow = ImageMixture(shape, **{"cells": 3, "layers": 4, "hidden_channels": 6, "maps": 2, **options}).double()
    flow.initialize(2 * torch.randn(rows, *shape, dtype=torch.float64))
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if "norms" not in name:
                parameter.add_(std * torch.randn_like(parameter))
    return flow.eval()


def wall(flow, rows):
    """Images next to the wall between the first scale's first and last cell."""
    first, last = anchors(flow)[[0, -1]]
    return (0.501 * first + 0.499 * last + 0.0005 * torch.randn(rows, 16).to(first)).reshape(-1, 1, 4, 4)


def anchors(flow):
    """Anchors of the first scale, as points of the space of images."""
    cells = flow.tessellations[0]
    return cells.centre + (cells.mean + cells.spread * cells.anchors) @ cells.basis


@pytest.mark.parametrize("cells", [1, 2])
@torch.no_grad()
def test_the_density_is_that_of_the_samples(cells):
    # The mean of q / p over samples of p is the mass of q, in every component: what p lacks or has twice would show.
    flow = mixture((1, 2, 2), cells=cells, scales=2)
    q = torch.distributions.Normal(torch.zeros(1, 2, 2, dtype=torch.float64), 1.0)

    def number(x):
        return (flow().assign(x) * torch.tensor([cells, 1])).sum(-1)

    x, other = flow().sample((8_000,)), q.sample((8_000,))
    ratio = (q.log_prob(x).flatten(1).sum(-1) - flow().log_prob(x)).exp()
    assert abs(ratio.mean() - 1) < 0.1
    for component in range(cells**2):
        part, expected = ratio * (number(x) == component), (number(other) == component).double().mean()
        error = part.std() / len(part) ** 0.5
        assert error < 0.05
        assert abs(part.mean() - expected) < 5 * error + 0.01


@pytest.mark.parametrize("cells", [1, 5, (3, 1, 2)])
def test_the_log_determinant_is_that_of_the_jacobian(cells):
    flow = mixture(cells=cells)
    x = torch.cat([2 * torch.randn(4, 1, 4, 4, dtype=torch.float64), wall(flow, 4)])
    _, log_det, k = flow.encode(x)
    assert k.unique(dim=0).shape[0] > 1 or cells == 1

    def noise(row):
        return torch.cat([z.flatten() for z in flow.encode(row[None])[0]])

    for row, cell, found, log_prob in zip(x, k, log_det, flow().log_prob(x), strict=True):
        jacobian = torch.autograd.functional.jacobian(noise, row).reshape(16, 16)
        assert math.isclose(jacobian.slogdet()[1].item(), found.item(), abs_tol=1e-6)
        gaussian = torch.distributions.Normal(0, 1).log_prob(noise(row)).sum()
        torch.testing.assert_close(flow.log_weights()[tuple(cell)] + found + gaussian, log_prob)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-3), (torch.float64, 1e-8)])
def test_noise_and_component_give_the_image_back(dtype, tolerance):
    flow = mixture((3, 8, 8), cells=4).to(dtype)
    x = 2 * torch.randn(50, 3, 8, 8, dtype=dtype)
    noise, _, k = flow.encode(x)
    assert [z.shape[1:] for z in noise] == flow.noise_shapes()
    torch.testing.assert_close(flow.decode(noise, k), x, atol=tolerance, rtol=0)


def test_samples_are_in_their_component():
    flow = mixture(cells=3, rows=1000)
    k = torch.cartesian_prod(*[torch.arange(3)] * 3)
    x = flow().component_sample(k)
    assert torch.equal(flow().assign(x), k)
    assert flow().log_prob(x).isfinite().all()


def test_samples_follow_the_weights():
    flow = mixture(cells=2, scales=2)
    x = flow().sample((4000,))
    assert x.shape == (4000, 1, 4, 4)
    k = flow().assign(x)
    shares = (2 * k[:, 0] + k[:, 1]).bincount(minlength=4) / 4000
    torch.testing.assert_close(shares.double(), flow.log_weights().exp().flatten(), atol=0.04, rtol=0)
    assert flow().sample().shape == (1, 4, 4)
    assert flow().sample((0,)).shape == (0, 1, 4, 4)


def test_cells_are_those_of_the_nearest_anchor():
    flow = mixture(cells=4)
    cells = flow.tessellations[0]
    x = 2 * torch.randn(100, 1, 4, 4, dtype=torch.float64)
    steps = (x.reshape(-1, 1, 16) - anchors(flow)) @ cells.basis.T / cells.spread
    assert torch.equal(flow().assign(x)[:, 0], steps.square().sum(-1).argmin(1))


def test_only_next_to_walls_are_images_moved():
    flow = mixture(cells=4)
    cells = flow.tessellations[0]
    x = anchors(flow).reshape(-1, 1, 4, 4) + 0.01 * torch.randn(4, 1, 4, 4, dtype=torch.float64)
    h, log_det, k = cells(x)
    torch.testing.assert_close(h, x, atol=1e-12, rtol=0)
    torch.testing.assert_close(log_det, torch.zeros_like(log_det), atol=1e-12, rtol=0)
    assert k.tolist() == [0, 1, 2, 3]
    x = wall(flow, 4)
    h, log_det, _ = cells(x)
    assert (log_det > 1).all()
    step = (h - x).flatten(1)
    assert step.norm() > 0.01
    torch.testing.assert_close(step @ cells.basis.T @ cells.basis, step)  # in the span of the anchors' differences


def test_in_training_cells_follow_the_points():
    flow = mixture(cells=4).train()
    cells = flow.tessellations[0]
    x = 2 * torch.randn(300, 1, 4, 4, dtype=torch.float64)
    before = flow.eval()().assign(x)[:, 0]
    flow.train()
    for _ in range(400):
        cells(0.1 * x + 7)
    assert (flow.eval()().assign(0.1 * x + 7)[:, 0] == before).float().mean() > 0.8


def test_clusters_are_found():
    torch.manual_seed(0)
    centres = 3 * torch.randn(3, 1, 4, 4)
    label = torch.arange(300) % 3
    flow = ImageMixture((1, 4, 4), cells=3, layers=2, hidden_channels=4)
    x = centres[label] + 0.3 * torch.randn(300, 1, 4, 4)
    flow().log_prob(x)  # in training mode the first batch places the cells
    assert flow.initialized
    k = flow().assign(x)[:, 0]
    assert len({(a, b) for a, b in zip(label.tolist(), k.tolist(), strict=True)}) == 3
    assert flow.log_weights().exp().sum().item() == pytest.approx(1)


def test_fewer_distinct_images_than_cells():
    flow = ImageMixture((1, 4, 4), cells=5, layers=2, hidden_channels=4)
    x = torch.randn(2, 1, 4, 4).repeat(3, 1, 1, 1)
    flow.initialize(x)
    assert flow().log_prob(x).isfinite().all()
    assert flow().assign(x)[:, 0].unique().numel() == 2


def test_training_improves_it_and_reaches_every_parameter():
    torch.manual_seed(0)
    flow = ImageMixture((1, 8, 8), cells=2, layers=4, hidden_channels=8)
    x = torch.randn(200, 1, 8, 8).cumsum(-1)
    flow.initialize(x)
    start = flow.elbo(x).mean().item()
    optimizer = torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(30):
        optimizer.zero_grad()
        (-flow.elbo(x).mean()).backward()
        optimizer.step()
    assert flow.elbo(x).mean() > start + 5
    for name, parameter in flow.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_far_images_and_walls_are_finite():
    flow = mixture().float()
    middle = anchors(flow)[:2].mean(0).reshape(1, 1, 4, 4)
    x = torch.cat([middle, 1e3 * torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)]).requires_grad_()
    log_prob = flow().log_prob(x)
    assert log_prob.isfinite().all()
    assert torch.autograd.grad(log_prob.sum(), x)[0].isfinite().all()


def test_weights_come_back(tmp_path):
    flow = mixture()
    save_weights(flow, tmp_path / "weights.safetensors")
    other = ImageMixture((1, 4, 4), cells=3, layers=4, hidden_channels=6, maps=2).double().eval()
    load_weights(other, tmp_path / "weights.safetensors")
    x = torch.randn(5, 1, 4, 4, dtype=torch.float64)
    assert torch.equal(flow().log_prob(x), other().log_prob(x))
    assert torch.equal(copy.deepcopy(flow)().log_prob(x), other().log_prob(x))
    assert "cells=(3, 3, 3)" in repr(flow)
    assert "cells=(3, 3, 3)" in repr(flow())


def test_batches_of_any_shape():
    flow = mixture()
    x = torch.randn(2, 5, 1, 4, 4, dtype=torch.float64)
    assert flow().log_prob(x).shape == (2, 5)
    assert flow().assign(x).shape == (2, 5, 3)
    torch.testing.assert_close(flow().log_prob(x)[1, 2], flow().log_prob(x[1, 2]))
    assert flow().log_prob(x[:0]).shape == (0, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (1, 6, 8)}, "multiples of 4, got 6 x 8"),
        ({"cells": 0}, "must be at least 1"),
        ({"scales": 0}, "must be at least 1"),
        ({"cells": (2, 2)}, "must be one number or 3"),
    ],
)
def test_refuses_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        ImageMixture(**{"shape": (1, 4, 4), **options})


def test_refuses_images_of_another_size():
    flow = mixture()
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 1, 4, 4\), got \(3, 1, 4, 5\)"):
        flow().log_prob(torch.zeros(3, 1, 4, 5))
    with pytest.raises(ValueError, match="must be finite"):
        flow.initialize(torch.full((3, 1, 4, 4), math.nan))


def test_the_probabilities_of_bytes_sum_to_the_mass_in_their_range():
    torch.manual_seed(0)
    model = DequantizedImages(ImageMixture((1, 1, 1), scales=1, layers=2, hidden_channels=4))
    y = torch.arange(256, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    model.initialize(y.repeat(4, 1, 1, 1))
    model.eval()
    with torch.no_grad():
        total = model.log_prob(y, samples=200).exp().sum().item()
        share = model.flow().sample((8_000,)).sigmoid()
    lowest, highest = (model.to_real(some)[0].sigmoid().item() for some in (y[:1], y[-1:]))
    inside = ((share > lowest) & (share < highest)).float().mean().item()
    assert total == pytest.approx(inside, abs=0.03)
    assert total <= 1.01


def test_the_bound_tightens_and_its_jacobian_is_right():
    torch.manual_seed(0)
    model = DequantizedImages(mixture((1, 4, 4)).float())
    y = torch.randint(256, (50, 1, 4, 4), dtype=torch.uint8)
    with torch.no_grad():
        assert model.log_prob(y, samples=50).mean() > model.log_prob(y).mean()
    torch.manual_seed(1)
    v, log_det = model.to_real(y)
    assert torch.equal(model.to_bytes(v), y)
    torch.manual_seed(1)
    real = y.float().requires_grad_()
    again = model.to_real(real)[0]
    slope = torch.autograd.grad(again.sum(), real)[0]
    torch.testing.assert_close(slope.log().flatten(1).sum(-1), log_det, atol=1e-3, rtol=1e-4)
    assert model.sample((3,)).shape == (3, 1, 4, 4)


def test_an_image_too_far_to_be_squared_does_not_spoil_the_cells():
    flow = mixture((1, 4, 4)).train()
    before = copy.deepcopy(flow.state_dict())
    far = torch.randn(4, 1, 4, 4, dtype=torch.float64)
    far[0] = 1e300
    flow().log_prob(far)
    name = "tessellations.0.mean"
    assert torch.equal(flow.state_dict()[name], before[name])
    assert flow.eval()().log_prob(torch.randn(3, 1, 4, 4, dtype=torch.float64)).isfinite().all()


@pytest.mark.parametrize(
    ("value", "samples", "message"),
    [(300, 1, "values from 0 to 255, got 300"), (-3, 1, "got -3"), (7, 0, "samples must be at least 1, got 0")],
)
def test_refuses_what_is_no_byte(value, samples, message):
    model = DequantizedImages(mixture((1, 4, 4)).float())
    with pytest.raises(ValueError, match=message):
        model.log_prob(torch.full((2, 1, 4, 4), value), samples=samples)
