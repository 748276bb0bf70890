"""Latent classes of exchangeable points."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from tessflow.flows import ItemMixture


def build(items=3, dim=2, *, dtype=torch.float64):
    return ItemMixture(items, dim, components=4, classes=5).to(dtype)


def test_log_prob_is_that_of_the_mixture():
    module, x = build(), torch.randn(7, 3, 2, dtype=torch.float64)
    normal = Independent(Normal(module.components.means, module.components.log_scales.exp()), 1)
    total = 0
    for weight, logits in zip(module.class_logits.softmax(-1), module.logits, strict=True):
        total = total + weight * MixtureSameFamily(Categorical(logits=logits), normal).log_prob(x).sum(-1).exp()
    torch.testing.assert_close(module().log_prob(x.flatten(-2)), total.log())


def test_order_does_not_matter():
    module, x = build(), torch.randn(7, 3, 2, dtype=torch.float64)
    torch.testing.assert_close(module().log_prob(x.flip(-2).flatten(-2)), module().log_prob(x.flatten(-2)))


def test_integrates_to_one():
    module, line = build(2, 1), torch.linspace(-12, 12, 400, dtype=torch.float64)
    density = module().log_prob(torch.cartesian_prod(line, line)).exp()
    assert (density.sum() * (line[1] - line[0]) ** 2).item() == pytest.approx(1, abs=1e-6)


def test_samples_have_the_law():
    module = build(2, 1)
    with torch.no_grad():
        module.logits.mul_(6)
        module.components.means.mul_(6)
    x = module().sample((40_000,))
    line = torch.linspace(-15, 15, 300, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    density = module().log_prob(grid).exp() * (line[1] - line[0]) ** 2
    for statistic in (lambda points: points[:, 0] * points[:, 1], lambda points: points[:, 0].square()):
        drawn = statistic(x)
        expected = (density * statistic(grid)).sum()
        assert (drawn.mean() - expected).abs() < 5 * drawn.std() / len(drawn) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_points_have_finite_values_and_gradients(dtype):
    module = build(dtype=dtype)
    value = module().log_prob(torch.tensor([[1e4] * 6, [-1e6, 0, 1e3, 1, 2, 3]], dtype=dtype))
    value.sum().backward()
    assert value.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


def test_weights_that_underflow_leave_values_and_gradients_finite():
    module = build(dtype=torch.float32)
    with torch.no_grad():
        module.logits[:, 0] = -200
        module.components.means[0] = 50
    value = module().log_prob(torch.full((1, 6), 50.0))
    value.sum().backward()
    assert value.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())
