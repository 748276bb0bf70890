"""What flows start from."""

import pytest
import torch

from tessflow.flows.bases import Box, Gaussian
from tessflow.randomness import seeded

LOW, HIGH = torch.tensor([-1.0, 2.0]), torch.tensor([0.5, 5.0])


@pytest.mark.parametrize("base", [Gaussian(LOW, HIGH), Box(LOW, HIGH)], ids=["gaussian", "box"])
def test_draws_are_those_of_the_distribution_and_of_the_block(base):
    state = torch.get_rng_state()
    with seeded(0, redirect=False):
        drawn = base.expand((3,)).sample((20_000,))
        again = base.rsample((5,))
    assert torch.equal(torch.get_rng_state(), state)
    assert drawn.shape == (20_000, 3, 2)
    assert again.shape == (5, 2)
    of_one = base.base_dist
    assert torch.allclose(drawn.mean((0, 1)), of_one.mean, atol=0.06)
    assert torch.allclose(drawn.std((0, 1)), of_one.stddev, atol=0.06)
    assert base.log_prob(drawn).isfinite().all()


def test_gradients_pass_through_draws():
    scale = torch.ones(2, requires_grad=True)
    Gaussian(LOW, scale).rsample((4,)).sum().backward()
    assert (scale.grad != 0).all()
