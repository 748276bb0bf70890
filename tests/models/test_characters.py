"""Exact models of sequences of symbols, and the bound beside them."""

import pytest
import torch
from torch.testing import assert_close

from tessflow.dequantization import (
    BinaryArgmaxDequantizer,
    OrdinalDequantizer,
    SharedDequantizer,
    StandardNoise,
    VoronoiDequantizer,
)
from tessflow.flows import RecurrentMixture
from tessflow.models import CharacterModel, DequantizedFlow
from tessflow.training import TrainingConfig, fit


def all_rows(classes, length):
    return torch.cartesian_prod(*[torch.arange(classes)] * length).reshape(-1, length)


def build(dim, **options):
    model = CharacterModel(3, 3, dim=dim, **{"hidden_features": 8, "embedding": 4} | options)
    with torch.no_grad():
        model.logits.weight.mul_(6)
    return model


@pytest.mark.parametrize("dim", [None, 1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probabilities_sum_to_one_and_samples_have_them(dim, dtype):
    torch.manual_seed(0)
    model = build(dim, layers=2).to(dtype)
    rows = all_rows(3, 3)
    probabilities = model.log_prob(rows).exp()
    assert probabilities.dtype == dtype
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-5)
    drawn = model.sample(20_000)
    counts = (drawn @ torch.tensor([9, 3, 1])).bincount(minlength=27) / 20_000
    assert (counts - probabilities).abs().max() < 5 * 0.5 / 20_000**0.5
    assert probabilities.std() > 0.005


@pytest.mark.parametrize("dim", [None, 4])
def test_a_symbol_depends_on_those_before_alone(dim):
    model = build(dim)
    y = torch.tensor([[0, 2, 1], [0, 2, 2]])
    assert_close(model.log_prob(y[:, :2])[0], model.log_prob(y[:, :2])[1])
    assert model.log_prob(torch.tensor([[0, 2], [1, 2]])).diff().abs() > 1e-4


def test_it_is_exact_and_differentiable():
    model = build(4)
    y = all_rows(3, 3)
    assert not model.lower_bound
    assert model.cardinalities == (3, 3, 3)
    assert_close(model.elbo(y).detach(), model.log_prob(y))
    model.elbo(y).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_matched_and_categorical_are_one_network_once_anchors_are_far_apart():
    plain, matched = build(None), build(2)
    matched.load_state_dict(plain.state_dict(), strict=False)
    y = all_rows(3, 3)
    matched.components.place(torch.randn(9, 3, 2) * 1e-2 + torch.tensor([[0.0, 0], [1, 0], [0, 1]]))
    assert_close(matched.log_prob(y), plain.log_prob(y))


def test_errors():
    with pytest.raises(ValueError, match="must be at least 1"):
        CharacterModel(3, 2, dim=0)
    with pytest.raises(ValueError, match=r"variable 1 has values 0, ..., 2, got y\[..., 1\] from 0 to 3"):
        build(None).log_prob(torch.tensor([[0, 0], [0, 3]]))


DEQUANTIZERS = {
    "voronoi": lambda: VoronoiDequantizer((3,), dim=2, noise="gaussian", hidden_features=(8,)),
    "binary argmax": lambda: BinaryArgmaxDequantizer((3,), noise="gaussian", hidden_features=(8,)),
    "ordinal": lambda: OrdinalDequantizer((3,), hidden_features=(8,)),
}


@pytest.mark.parametrize(("name", "reads"), [*((name, "components") for name in DEQUANTIZERS), ("voronoi", "points")])
def test_bounds_over_all_rows_sum_to_at_most_one(name, reads):
    """And to almost one, with many samples of noise, since the cells of a trained mixture hold its mass."""
    torch.manual_seed(0)
    each = DEQUANTIZERS[name]()
    flow = RecurrentMixture(each.dim, 2, components=3, hidden_features=8, embedding=4, reads=reads)
    flow.place(each(torch.arange(3)[:, None]).sample((100,)).squeeze(-2))
    model = DequantizedFlow(flow, SharedDequantizer(each, 2))
    y = torch.tensor([[0, 1], [1, 2], [2, 0], [2, 1]])
    config = TrainingConfig(max_steps=150, batch_size=64, learning_rate=4e-2, patience=None, evaluate_every=50)
    fit(model, y.repeat(64, 1), y, config)
    total = model.log_prob(all_rows(3, 2), samples=1000).exp()
    assert 0.9 < total.sum() < 1.03
    assert total.sum() - model.log_prob(y, samples=1000).exp().sum() < 0.15
    assert_close(model.log_prob(y, samples=1000).exp(), torch.full((4,), 0.25), atol=0.06, rtol=0)
    drawn = {tuple(row) for row in model.sample(200).tolist()}
    assert {tuple(row) for row in y.tolist()} <= drawn


def test_rows_of_text_are_scored_a_few_draws_at_a_time():
    """A hundred samples of long rows at once would take gigabytes."""
    seen = []

    class Counting(StandardNoise):
        def forward(self, y):
            seen.append(y.numel())
            return super().forward(y)

    each = VoronoiDequantizer((27,), dim=1, noise=Counting(1))
    flow = RecurrentMixture(1, 256, components=2, hidden_features=2, embedding=2)
    model = DequantizedFlow(flow, SharedDequantizer(each, 256))
    assert model.log_prob(torch.randint(27, (100, 256)), samples=21).isfinite().all()
    assert sum(seen) == 100 * 256 * 21
    assert max(seen) <= 2**18
