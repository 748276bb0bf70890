"""The matched model of sets, against enumeration of orders."""

import itertools
import math

import pytest
import torch

from tessflow.models import IndependentItems, MatchedSets, matched_sets
from tessflow.training import TrainingConfig, fit


def perturbed(items=6, size=3, dtype=torch.float64, **options):
    """A model away from its start."""
    torch.manual_seed(0)
    model = MatchedSets(items, size, **({"dim": 2, "hidden_features": (8, 8)} | options)).to(dtype).eval()
    for name, parameter in model.named_parameters():
        if name != "anchors":
            torch.nn.init.normal_(parameter, std=0.7)
    return model


def subsets(items, size):
    return torch.combinations(torch.arange(items), size).reshape(-1, size)


def log_chance_of_order(model, order, given=()):
    """Multiply the chances of items, one after another, each given those before: marginals of one missing item."""
    total = torch.zeros(1, dtype=torch.float64)
    for n, item in enumerate(order):
        before = torch.tensor([*given, *order[:n]], dtype=torch.int64)
        shorter = MatchedSets(model.items, len(before) + 1, dim=2, hidden_features=(8, 8)).double().eval()
        shorter.load_state_dict(model.state_dict())
        total += shorter.log_prob(torch.tensor([[item]]), given=before)
    return total.item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_probabilities_sum_to_one(size, dtype):
    model = perturbed(size=size, dtype=dtype)
    log_prob = model.log_prob(subsets(6, size))
    assert log_prob.dtype == dtype
    assert log_prob.double().exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert not model.lower_bound


def test_a_set_has_the_chances_of_all_its_orders():
    model = perturbed()
    for row in ([0, 1, 2], [5, 3, 1]):
        orders = [log_chance_of_order(model, order) for order in itertools.permutations(row)]
        assert max(orders) - min(orders) > 0.01  # orders differ, and the sum does not
        expected = math.log(math.fsum(map(math.exp, orders)))
        assert model.log_prob(torch.tensor([row])).item() == pytest.approx(expected)
        assert model.log_prob(torch.tensor([row[::-1]])).item() == pytest.approx(expected)


def test_what_is_given_comes_first():
    model = perturbed(size=4)
    given, others = torch.tensor([4, 0]), torch.tensor([1, 2, 3, 5])
    rest = others[subsets(4, 2)]
    log_prob = model.log_prob(rest, given=given)
    assert log_prob.exp().sum().item() == pytest.approx(1)
    for row, found in zip(rest.tolist(), log_prob.tolist(), strict=True):
        orders = [log_chance_of_order(model, order, (4, 0)) for order in itertools.permutations(row)]
        assert found == pytest.approx(math.log(math.fsum(map(math.exp, orders))))


@pytest.mark.parametrize("given", [None, [4], [5, 1]])
def test_sets_are_drawn_as_often_as_they_should(given):
    model, n = perturbed(), 20_000
    given = None if given is None else torch.tensor(given)
    torch.manual_seed(1)
    drawn = model.sample(n, given=given)
    assert drawn.shape == (n, 3 - (0 if given is None else len(given)))
    rows, counts = drawn.sort(-1).values.unique(dim=0, return_counts=True)
    expected = n * model.log_prob(rows, given=given).exp()
    assert ((counts - expected).abs() < 5 * expected.sqrt() + 1).all()


def test_a_random_order_gives_a_bound():
    model = perturbed()
    rows = subsets(6, 3)
    torch.manual_seed(0)
    draws = torch.stack([model.elbo(rows) for _ in range(500)])
    exact = model.log_prob(rows)
    torch.testing.assert_close(draws.exp().mean(0), exact.exp(), rtol=0.2, atol=0)
    assert (draws.mean(0) <= exact + 1e-9).all()


def test_sets_too_large_to_sum_have_a_bound(monkeypatch):
    model = perturbed(items=8, size=4)
    rows = subsets(8, 4)
    exact = model.log_prob(rows)
    monkeypatch.setattr(matched_sets, "_MOST_SUMMED", 2)
    assert model.lower_bound
    torch.manual_seed(0)
    torch.testing.assert_close(model.log_prob(rows, samples=500), exact, rtol=0, atol=0.2)
    assert model.log_prob(rows, samples=1).mean() < exact.mean()
    given = torch.tensor([7, 3])  # the two others can be summed
    assert model.log_prob(torch.tensor([[0, 1]]), given=given).item() == pytest.approx(
        model.log_prob(torch.tensor([[1, 0]]), given=given).item()
    )


def test_scoring_in_parts_changes_nothing(monkeypatch):
    model, rows = perturbed(), subsets(6, 3)
    whole = model.log_prob(rows)
    monkeypatch.setattr(matched_sets, "_CHUNK", 1)
    torch.testing.assert_close(model.log_prob(rows), whole)


def test_it_starts_from_frequencies():
    torch.manual_seed(0)
    rows = IndependentItems(30, 3).initialize(subsets(6, 3)).sample(2000)
    started = MatchedSets(30, 3).eval().initialize(rows).log_prob(rows).mean()
    best = IndependentItems(30, 3).initialize(rows).log_prob(rows).mean()
    assert started == pytest.approx(best.item(), abs=0.1)
    assert started > MatchedSets(30, 3).eval().log_prob(rows).mean() + 1


def test_it_learns_what_goes_together():
    # Three of one kind of four: twelve sets, all as likely.
    random = torch.Generator().manual_seed(0)
    kinds = torch.randint(3, (2000, 1), generator=random)
    rows = torch.rand(2000, 4, generator=random).argsort(-1)[:, :3] + 4 * kinds
    torch.manual_seed(0)
    model = MatchedSets(12, 3, dim=4, hidden_features=(32,), dropout=0.0).initialize(rows)
    fit(model, rows, rows[:200], TrainingConfig(max_steps=300, learning_rate=2e-2, ema_decay=0.9))
    assert -model.log_prob(rows).mean().item() == pytest.approx(math.log(12), abs=0.05)
    drawn = model.sample(500)
    assert (drawn // 4 == drawn[:, :1] // 4).all(-1).double().mean() > 0.95


def test_gradients_are_finite():
    model = perturbed(dropout=0.5).train()
    model.elbo(torch.tensor([[0, 1, 2], [5, 4, 3]])).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("rows", "given", "message"),
    [
        ([[0, 1, 1]], None, r"holds an item once, but a row is \[0, 1, 1\]"),
        ([[0, 1]], None, "sets have 3 items, got rows of 2"),
        ([[0, 1]], [1], "holds an item once"),
        ([[0, 1, 6]], None, "from 6 to 6"),
    ],
)
def test_rows_that_are_no_sets(rows, given, message):
    with pytest.raises(ValueError, match=message):
        perturbed().log_prob(torch.tensor(rows), given=None if given is None else torch.tensor(given))


def test_wrong_sizes():
    with pytest.raises(ValueError, match="between 1 and all 3 items, got size 4"):
        MatchedSets(3, 4)
    with pytest.raises(ValueError, match="hidden_features must name the width of one hidden layer"):
        MatchedSets(5, 3, hidden_features=())
    assert perturbed().sample(0).shape == (0, 3)
    assert perturbed().log_prob(torch.empty(0, 3, dtype=torch.int64)).shape == (0,)
