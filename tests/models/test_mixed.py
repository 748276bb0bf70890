"""A coupling flow over cells and scores: its bound is one, approaches the likelihood, and its rows are rows."""

import math

import pytest
import torch
from row_cases import KINDS, REAL, TWO_KNOTS, WHOLE, every_row, some_rows
from torch.testing import assert_close

from tessflow.dequantization import VoronoiDequantizer
from tessflow.flows import cell_flow, coupling_flow
from tessflow.models import DequantizedFlow, Number, Variable
from tessflow.models.mixed import MixedFlow
from tessflow.training import TrainingConfig, fit


def make(variables=KINDS, *, seed=0, **options):
    """A model away from its start."""
    torch.manual_seed(seed)
    model = MixedFlow(variables, **({"dim": 2, "hidden_features": (16, 16), "layers": 4} | options))
    with torch.no_grad():
        for parameter in model.flow.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(scope="module")
def learned():
    """A model, and rows it has not seen: a class; an atom, or about ten times the class; one of four numbers."""
    torch.manual_seed(0)
    n = 4000
    first, is_atom = torch.randint(2, (n,)), torch.rand(n) < 0.5
    number = torch.where(is_atom, 0, 10.0 * first + torch.randn(n))
    rows = torch.stack([first, is_atom, torch.zeros(n), number, torch.randint(4, (n,))], -1).double()
    scale = Number((-1.0, 1.0, 9.0, 11.0), (-1.2, -0.3, 0.3, 1.2))
    steps = Number((-0.5, 0.5, 1.5, 2.5, 3.5), (-2.0, -0.67, 0.0, 0.67, 2.0), whole=True)
    model = MixedFlow((2, Variable(2, scale), Variable(1, steps)), dim=1, layers=8, hidden_features=(32, 32))
    config = TrainingConfig(max_steps=400, batch_size=256, warmup_steps=20, learning_rate=5e-3)
    fit(model, rows[:3000], rows[3000:], config)
    return model.eval(), rows[3000:]


def test_bound_of_all_rows_sums_to_at_most_one_and_nearly_to_it(learned):
    model, _ = learned
    rows, weight = every_row(model.variables)
    near = (rows[:, 4] > -6) & (rows[:, 4] < 10) & (rows[:, 3].abs() < 100)
    rows, weight = rows[near], weight[near]
    # An average of ratios has no bias: many approach 1, and their logarithm stays below it.
    many = torch.stack([(model.log_prob(rows, samples=10).double().exp() * weight).sum() for _ in range(12)])
    error = many.std().item() / math.sqrt(len(many))
    assert error < 0.02
    assert many.mean().item() == pytest.approx(1, abs=3 * error)
    few = torch.stack([model.log_prob(rows, samples=1).double() for _ in range(20)]).mean(0).exp()
    assert 0.5 < (few * weight).sum() < 1


def test_numbers_alone_have_an_exact_density():
    model = make((Variable(1, REAL),))
    assert not model.lower_bound
    rows, weight = every_row((Variable(1, REAL),))
    assert (model.log_prob(rows).double().exp() * weight).sum().item() == pytest.approx(1, abs=1e-4)
    assert model.log_prob(rows, samples=1).equal(model.log_prob(rows, samples=20))


@pytest.mark.parametrize("variables", [KINDS, KINDS[:2], (Variable(1, WHOLE),), (Variable(3, TWO_KNOTS), 1)], ids=str)
def test_the_bound_is_a_bound(variables):
    assert make(variables).lower_bound


def test_more_samples_tighten_the_bound():
    model = make()
    rows = some_rows(500)
    one, many = (model.log_prob(rows, samples=samples).mean() for samples in (1, 50))
    assert many > one


def test_rows_drawn_are_rows():
    model = make()
    rows = model.sample(3000)
    assert rows.shape == (3000, 8)
    assert rows.dtype == torch.float64
    codes, numbers = rows[:, :5].long(), rows[:, 5:]
    assert (codes < torch.tensor(model.cardinalities)).all()
    assert (codes >= 0).all()
    is_number = codes[:, [1, 3, 4]] == 0
    assert (numbers[~is_number] == 0).all()
    assert (numbers[is_number][:100] != 0).any()
    assert numbers[:, 1].equal(numbers[:, 1].round())
    assert (numbers[:, 0] != numbers[:, 0].round()).all()
    assert model.log_prob(rows, samples=2).isfinite().all()


def test_samples_follow_the_probabilities():
    variables = (Variable(2), Variable(2, WHOLE))
    model, n = make(variables), 20_000
    rows, _ = every_row(variables)
    rows = rows[rows[:, 2].abs() < 12]
    frequency = (model.sample(n)[:, None] == rows).all(-1).double().mean(0)
    # At random weights networks that see walls make ratios vary much: fewer samples leave a gap.
    probability = model.log_prob(rows, samples=50_000).double().exp()
    assert ((frequency - probability).abs() < 5 * (probability / n).sqrt() + 3e-3).all()


def test_log_densities_are_those_of_the_unit():
    scaled = Variable(1, Number(tuple(1000 * knot for knot in REAL.knots), REAL.scores))
    model, other = make((Variable(1, REAL), Variable(1, TWO_KNOTS))), make((scaled, Variable(1, TWO_KNOTS)))
    rows = some_rows(50, model.variables)
    rescaled = rows * torch.tensor([1, 1, 1000, 1])
    assert_close(other.log_prob(rescaled), model.log_prob(rows) - math.log(1000))


@pytest.mark.parametrize("network", [None, "residual"])
def test_without_numbers_it_is_the_flow_of_classes(network):
    torch.manual_seed(0)
    model = MixedFlow((3, 2), dim=2, layers=4, hidden_features=(16,), network=network).eval()
    torch.manual_seed(0)
    dequantizer = VoronoiDequantizer((3, 2), 2, noise="gaussian", hidden_features=(16,))
    options = {"layers": 4, "hidden_features": (16,)}
    flow = cell_flow(dequantizer, **options)
    if network is None:
        flow = coupling_flow(4, **options, sharpness=4.0, base="mixture")
    classes = DequantizedFlow(flow, dequantizer).eval()
    assert set(model.state_dict()) == set(classes.state_dict())
    model.load_state_dict(classes.state_dict())
    y = torch.cartesian_prod(torch.arange(3), torch.arange(2))
    results = []
    for each in (model, classes):
        torch.manual_seed(1)
        results.append((each.log_prob(y, samples=5), each.sample(20)))
    assert results[0][0].equal(results[1][0])
    assert results[0][1].equal(results[1][1])


def test_one_class_is_enough():
    model = MixedFlow((1, 1), dim=2, layers=4, hidden_features=(16,)).eval()
    assert model.sample(3).equal(torch.zeros(3, 2, dtype=torch.int64))
    assert model.log_prob(model.sample(3), samples=500).abs().max() < 0.2


def test_every_parameter_gets_a_finite_gradient():
    model = make().train()
    atoms = torch.tensor([[0, 0, 0, 1, 1, 0.5, 0, 0], [2, 0, 0, 2, 1, -0.5, 0, 0]], dtype=torch.float64)
    for rows in (some_rows(64), atoms):
        model.zero_grad()
        model.elbo(rows).mean().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("size", [1e6, 1e30, 1e300])
def test_far_numbers_are_improbable_but_numbers(size):
    rows = some_rows(4)
    rows[:, 1] = 0
    rows[:, 5] = size
    assert not make().log_prob(rows, samples=3).isnan().any()


def test_values_that_are_no_class_are_refused():
    rows = some_rows(2)
    rows[1, 0] = 3
    with pytest.raises(ValueError, match=r"has values 0, \.\.\., 2, got"):
        make().log_prob(rows)


def test_gives_the_same_numbers_after_saving_and_loading():
    model, other = make(seed=0), make(seed=1)
    other.load_state_dict(model.state_dict())
    torch.manual_seed(0)
    rows = model.sample(10)
    torch.manual_seed(0)
    assert other.sample(10).equal(rows)


def test_learns_a_known_distribution(learned):
    model, rows = learned
    entropy = 2 * math.log(2) + math.log(4) + 0.5 * 0.5 * math.log(2 * math.pi * math.e)
    loss = -model.log_prob(rows, samples=100).mean().item()
    assert entropy - 0.1 < loss < entropy + 0.3
    drawn = model.sample(4000)
    assert drawn[:, 1].mean().item() == pytest.approx(0.5, abs=0.05)
    some = drawn[drawn[:, 1] == 0]
    assert ((some[:, 3] - 10 * some[:, 0]).abs() < 3).double().mean() > 0.75
    assert ((drawn[:, 4] >= 0) & (drawn[:, 4] <= 3)).double().mean() > 0.9


def test_marginals_of_a_row_with_all_kinds_of_values_are_seen():
    """No part of a row is without effect."""
    model = make()
    rows = some_rows(1)
    rows[0] = torch.tensor([0, 0, 0, 0, 0, 0.5, 3, 12.0])
    here = model.log_prob(rows, samples=3000)
    for column, value in [(0, 1), (3, 2), (4, 1), (5, 3.0), (6, 8), (7, 29.0)]:
        other = rows.clone()
        other[0, column] = value
        if column in (3, 4):
            other[0, {3: 6, 4: 7}[column]] = 0
        assert (model.log_prob(other, samples=3000) - here).abs() > 1e-2
