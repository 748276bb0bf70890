import itertools
import math

import pytest
import torch

from tessflow.dequantization import BinaryArgmaxDequantizer, SharedDequantizer, SimplexDequantizer, VoronoiDequantizer
from tessflow.flows import equivariant_flow
from tessflow.models import DequantizedFlow, SetFlow
from tessflow.training import TrainingConfig, fit

DEQUANTIZERS = {
    "voronoi": lambda items: VoronoiDequantizer((items,), dim=2, noise="gaussian", hidden_features=(16,)),
    "binary-argmax": lambda items: BinaryArgmaxDequantizer((items,), noise="gaussian", hidden_features=(16,)),
    "simplex": lambda items: SimplexDequantizer((items,), noise="gaussian", hidden_features=(16,)),
}
every_dequantizer = pytest.mark.parametrize("name", DEQUANTIZERS)


def make(name="voronoi", items=6, size=2, *, perturb=0.1, **options):
    torch.manual_seed(0)
    dequantizer = SharedDequantizer(DEQUANTIZERS[name](items), size)
    flow = equivariant_flow(size, dequantizer.dim, **({"width": 16, "components": 8, "tolerance": 1e-4} | options))
    with torch.no_grad():
        for parameter in flow.transform.parameters():
            parameter.add_(perturb * torch.randn_like(parameter))
    return SetFlow(flow, dequantizer).eval()


def pairs(rows):
    """Two items of one of two kinds of three: six sets, all as likely."""
    kind = 3 * torch.randint(2, (rows, 1))
    return torch.rand(rows, 3).argsort(-1)[:, :2] + kind


def multisets(items, size):
    return torch.tensor(list(itertools.combinations_with_replacement(range(items), size)))


@every_dequantizer
def test_bound_of_all_multisets_sums_to_at_most_one(name):
    model = make(name, items=3, size=3)
    rows = multisets(3, 3)
    with torch.no_grad():
        ratios = model.elbo(rows.repeat(600, 1)).reshape(600, len(rows)).double().exp()
    total, error = ratios.mean(0).sum(), ratios.sum(1).std() / len(ratios) ** 0.5
    assert total <= 1 + 4 * error
    assert total > 0.3


def test_learns_which_items_come_together():
    model, y = make(perturb=0.0, components=12), pairs(1000)
    model.initialize(y, steps=150, batch_size=64)
    torch.manual_seed(1)
    config = TrainingConfig(max_steps=100, batch_size=64, warmup_steps=10, learning_rate=1e-2, evaluate_every=100)
    fit(model, y, y[:100], config)
    rows = multisets(6, 2)
    log_prob = model.eval().log_prob(rows, samples=100)
    seen = (rows[:, 0] != rows[:, 1]) & (rows[:, 0] // 3 == rows[:, 1] // 3)
    # Six equally likely sets; independent items are a ln 18 = 2.89, not counting repeats ln 15 = 2.71.
    assert math.log(6) - 0.05 < -log_prob[seen].mean() < math.log(15) - 0.3
    frequencies = (model.sample(4000, distinct=False).sort(-1).values[:, None] == rows).all(-1).double().mean(0)
    torch.testing.assert_close(frequencies, log_prob.double().exp(), rtol=0.2, atol=0.02)
    drawn = model.sample(500)
    assert (drawn[:, 0] != drawn[:, 1]).all()


@every_dequantizer
def test_initialization_learns_frequencies(name):
    y = torch.multinomial(torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0]), 3000, replacement=True).reshape(1000, 3)
    model = make(name, items=5, size=3, perturb=0.0)
    before = model.elbo(y).mean()
    model.initialize(y, steps=200, batch_size=64)
    frequencies = torch.bincount(y.flatten()) / y.numel()
    orders = DequantizedFlow(model.flow, model.dequantizer)
    entropy = -3 * (frequencies * frequencies.log()).sum()
    log_prob = orders.log_prob(y, samples=20).mean()
    assert before < log_prob
    assert -entropy - 0.4 < log_prob < -entropy + 0.1
    assert all(parameter.grad is None for parameter in model.parameters())


def test_order_within_a_row_is_without_effect():
    model = make(items=6, size=3)
    y = torch.tensor([[5, 0, 2], [1, 1, 4]])
    model.initialize(y, steps=200)
    forward, other = (model.log_prob(rows, samples=4000) for rows in (y, y[:, [2, 0, 1]]))
    torch.testing.assert_close(forward, other, rtol=0, atol=0.1)


def test_a_set_has_the_probability_of_all_its_orders():
    model = make(items=6, size=3)
    y = torch.tensor([[0, 1, 2], [3, 3, 5], [4, 4, 4]])
    torch.manual_seed(1)
    sets = model.elbo(y)
    torch.manual_seed(1)
    rows = DequantizedFlow(model.flow, model.dequantizer).elbo(y)
    torch.testing.assert_close(sets - rows, torch.tensor([6.0, 3.0, 1.0]).log())


def test_no_rows():
    model = make()
    assert model.log_prob(torch.zeros(0, 2, dtype=torch.int64)).shape == (0,)


def test_double_precision():
    model = make().double()
    assert model.log_prob(torch.tensor([[0, 1]]), samples=2).dtype == torch.float64
    assert model.elbo(torch.tensor([[0, 1]])).dtype == torch.float64


def test_sets_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="after 100 draws, 5 of 5 sets still have an item twice"):
        make(items=1).sample(5)
    assert make(items=1).sample(5, distinct=False).shape == (5, 2)


def test_needs_one_item_dequantizer_and_rows():
    with pytest.raises(TypeError, match="dequantizer must be a SharedDequantizer, got VoronoiDequantizer"):
        SetFlow(equivariant_flow(2, 2), VoronoiDequantizer((3, 3), dim=2))
    with pytest.raises(ValueError, match="y must hold at least one set"):
        make().initialize(torch.zeros(0, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"variable 1 has values 0, ..., 5, got y\[..., 1\] from 1 to 6"):
        make().initialize(torch.tensor([[0, 6], [0, 1]]))


def test_initialization_places_companions_side_by_side():
    model = make(items=6)
    model.initialize(pairs(500), steps=0)
    first_axis = model.dequantizer.each.anchor(torch.arange(6)[:, None])[:, 0, 0]
    assert first_axis[:3].sign().sum().abs() == 3
    assert first_axis[3:].sign().equal(-first_axis[:3].sign())
