import itertools
import math

import pytest
import torch

from tessflow.models import MatchedFlow
from tessflow.training import TrainingConfig, fit

CARDINALITIES = (3, 1, 4, 2)


def every_row(cardinalities=CARDINALITIES):
    return torch.tensor(list(itertools.product(*map(range, cardinalities))))


def make(seed=0, **options):
    torch.manual_seed(seed)
    model = MatchedFlow(CARDINALITIES, dim=3, hidden_features=(32, 32), **options).eval()
    # Away from the uniform start.
    for parameter in model.network[-1].parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    torch.nn.init.normal_(model.bias)
    return model


ORDERS = ["natural", "random", (2, 0, 3, 1)]


@pytest.mark.parametrize("order", ORDERS)
def test_exact_probabilities_sum_to_one(order):
    model = make(order=order, condition_on="cell").double()
    assert not model.lower_bound
    assert model.log_prob(every_row()).exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("profile", ["truncated-gaussian", "softsign"])
def test_bound_sums_to_at_most_one(order, profile):
    model = make(order=order, condition_on="point", profile=profile)
    assert model.lower_bound
    draws = torch.stack([model.elbo(every_row()).detach() for _ in range(400)]).double().exp()
    total, error = draws.sum(1).mean().item(), draws.sum(1).std().item() / 20
    # The estimate of each p(y) is unbiased, so many samples come close to 1 and their bound stays below it.
    assert total == pytest.approx(1, abs=4 * error + 1e-6)
    assert error < 0.05
    few = torch.stack([model.log_prob(every_row(), samples=2) for _ in range(50)]).mean(0).exp().sum()
    assert few <= 1


def test_more_samples_tighten_the_bound():
    model = make(condition_on="point")
    y = every_row().repeat(20, 1)
    one, many = (model.log_prob(y, samples=s).mean() for s in (1, 100))
    assert many > one


@pytest.mark.parametrize("condition_on", ["cell", "point"])
@pytest.mark.parametrize("order", ORDERS)
def test_log_prob_of_samples_matches_their_frequency(order, condition_on):
    model = make(order=order, condition_on=condition_on)
    n = 20_000
    y = model.sample(n)
    assert (y < torch.tensor(CARDINALITIES)).all()
    assert (y >= 0).all()
    rows = every_row()
    frequency = (y[:, None] == rows).all(-1).double().mean(0)
    probability = model.log_prob(rows, samples=3000).double().exp()
    error = (probability * (1 - probability) / n).sqrt()
    assert ((frequency - probability).abs() < 5 * error + 2e-3).all()


@pytest.mark.parametrize("order", ORDERS)
def test_each_variable_sees_earlier_ones_only(order):
    model = make(order=order, condition_on="cell")
    rank = model.order.argsort().tolist()
    y = torch.tensor([[0, 0, 0, 0]])
    for changed in (0, 2, 3):  # the second variable has one class
        other = y.clone()
        other[0, changed] = 1
        differs = (model.log_prob_of(y) != model.log_prob_of(other))[0].tolist()
        later = [n == changed or (rank[n] > rank[changed] and CARDINALITIES[n] > 1) for n in range(4)]
        assert differs == later


def test_narrow_layers_lose_no_column():
    model = MatchedFlow((2,) * 12, hidden_features=(3, 3), dim=1).eval()
    torch.nn.init.normal_(model.network[-1].weight)
    y = torch.zeros(12, 12, dtype=torch.int64)
    y[:11, :11] = torch.eye(11, dtype=torch.int64)  # the last row has all values 0
    last = model.log_prob_of(y)[:, -1]
    assert (last[:-1] != last[-1]).all()


@pytest.mark.parametrize("condition_on", ["cell", "point"])
def test_values_that_are_no_class_are_refused(condition_on):
    model = make(condition_on=condition_on)
    with pytest.raises(ValueError, match=r"variable 3 has values 0, \.\.\., 1, got"):
        model.log_prob(torch.tensor([[0, 0, 0, 2]]))
    with pytest.raises(ValueError, match=r"y must have shape \(\.\.\., 4\), got \(\d+, 3\)"):
        model.log_prob(torch.tensor([[0, 0, 0]]))


def test_batches_of_any_shape():
    model = make(condition_on="point")
    y = every_row().reshape(2, 12, 4)
    assert model.log_prob(y, samples=3).shape == (2, 12)
    assert model.log_prob(y[:, :0], samples=3).shape == (2, 0)


def test_starts_as_independent_uniform_columns():
    model = MatchedFlow((3, 4))
    torch.testing.assert_close(model.log_prob(every_row((3, 4))), torch.full((12,), -math.log(12)))


def test_single_variable():
    model = MatchedFlow((3,))
    assert model.log_prob(torch.arange(3)[:, None]).exp().sum().item() == pytest.approx(1)
    assert model.sample(5).shape == (5, 1)


def test_every_parameter_gets_a_finite_gradient():
    model = make(condition_on="point").train()
    model.elbo(every_row()).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_fits_a_dependence_that_independent_columns_miss():
    torch.manual_seed(0)
    first = torch.arange(3).repeat(200)
    y = torch.stack([first, (first + 1) % 3], 1)
    model = MatchedFlow((3, 3), hidden_features=(32,))
    result = fit(model, y, y, TrainingConfig(max_steps=200, batch_size=128, warmup_steps=10, learning_rate=1e-2))
    assert math.log(3) - 1e-3 < -result.best_validation < math.log(3) + 0.05


@pytest.mark.parametrize("condition_on", ["cell", "point"])
def test_trained_model_sums_to_one(condition_on):
    torch.manual_seed(0)
    first = torch.randint(3, (500,))
    y = torch.stack([first, (first * 2) % 3, torch.randint(2, (500,))], 1)
    model = MatchedFlow((3, 3, 2), hidden_features=(32,), dim=2, condition_on=condition_on)
    fit(model, y, y, TrainingConfig(max_steps=300, batch_size=128, warmup_steps=10, learning_rate=1e-2))
    total = model.log_prob(every_row((3, 3, 2)), samples=3000).double().exp().sum().item()
    assert 0.98 < total < 1 + (1e-5 if condition_on == "cell" else 0.02)


def test_gives_the_same_numbers_after_saving_and_loading():
    model, other = make(seed=0, order="random"), make(seed=1, order="random")
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.log_prob(every_row()), model.log_prob(every_row()), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"condition_on": "cells"}, "condition_on must be 'point' or 'cell', got 'cells'"),
        ({"order": (0, 0, 1, 2)}, "order must be 'natural', 'random', 'any' or a permutation"),
        ({"order": "alphabetical"}, "order must be"),
        ({"profile": "tanh"}, "profile must be one of"),
        ({"dim": 0}, "dim must be at least 1, got 0"),
    ],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        MatchedFlow(CARDINALITIES, **options)
