import itertools
import math

import pytest
import torch

from tessflow.dequantization import VoronoiDequantizer
from tessflow.flows import coupling_flow
from tessflow.models import DequantizedFlow
from tessflow.training import TrainingConfig, fit

CARDINALITIES = (3, 2)
ROWS = torch.tensor(list(itertools.product(range(3), range(2))))


def make(**options):
    torch.manual_seed(0)
    dequantizer = VoronoiDequantizer(CARDINALITIES, dim=2, hidden_features=(32, 32), **options)
    return DequantizedFlow(coupling_flow(dequantizer.features, layers=4, hidden_features=(32,)), dequantizer)


@pytest.fixture(scope="module")
def trained():
    """A model of a table whose second column follows from its first, give or take."""
    torch.manual_seed(1234)
    model = make()
    first = torch.randint(3, (1000,))
    y = torch.stack([first, (first > 0).long() ^ (torch.rand(1000) < 0.1)], 1)
    fit(model, y, y, TrainingConfig(max_steps=400, batch_size=256, warmup_steps=20, learning_rate=5e-3))
    return model, y


def test_bound_of_a_trained_model_sums_to_nearly_one(trained):
    model, y = trained
    draws = torch.stack([model.elbo(ROWS.repeat(40, 1)).detach() for _ in range(250)]).double().exp()
    draws = draws.reshape(-1, len(ROWS))
    total, error = draws.mean(0).sum().item(), draws.sum(1).std().item() / math.sqrt(len(draws))
    assert total > 0.98
    assert total <= 1 + 4 * error
    assert error < 0.01
    # And it is a good model: the entropy of this table is ln 3 + 0.325 nats.
    assert -model.log_prob(y, samples=200).mean() < math.log(3) + 0.325 + 0.08


def test_samples_follow_the_probabilities(trained):
    model, _ = trained
    n = 20_000
    frequency = (model.sample(n)[:, None] == ROWS).all(-1).double().mean(0)
    probability = model.log_prob(ROWS, samples=4000).double().exp()
    assert ((frequency - probability).abs() < 5 * (probability / n).sqrt() + 5e-3).all()


@pytest.mark.parametrize("profile", ["truncated-gaussian", "softsign"])
def test_bound_of_an_untrained_model_sums_to_at_most_one(profile):
    model = make(profile=profile).eval()
    draws = torch.stack([model.elbo(ROWS.repeat(100, 1)).detach() for _ in range(50)]).double().exp()
    draws = draws.reshape(-1, len(ROWS))
    assert draws.mean(0).sum() <= 1 + 4 * draws.sum(1).std() / math.sqrt(len(draws))


def test_more_samples_tighten_the_bound():
    model = make().eval()
    y = ROWS.repeat(50, 1)
    one, many = (model.log_prob(y, samples=s).mean() for s in (1, 50))
    assert many > one


def test_every_parameter_gets_a_finite_gradient():
    model = make().train()
    model.elbo(ROWS).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_says_that_it_is_a_bound_and_of_what():
    model = make()
    assert model.lower_bound
    assert model.cardinalities == CARDINALITIES


def test_samples_must_be_positive():
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        make().log_prob(ROWS, samples=0)
