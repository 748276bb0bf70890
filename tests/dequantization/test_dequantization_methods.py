"""What is particular to each dequantization method."""

from __future__ import annotations

import math

import pytest
import torch
from dequantizer_cases import build, perturb, rows, support

from tessflow.dequantization import (
    ArgmaxDequantizer,
    BinaryArgmaxDequantizer,
    ConditionalNoise,
    OrdinalDequantizer,
    SimplexDequantizer,
    StandardNoise,
    VoronoiDequantizer,
)
from tessflow.geometry import VoronoiTessellation


@pytest.mark.parametrize(
    ("method", "dims"),
    [
        (OrdinalDequantizer, {1: 1, 2: 1, 3: 1, 5: 1, 8: 1}),
        (ArgmaxDequantizer, {1: 1, 2: 2, 3: 3, 5: 5, 8: 8}),
        (BinaryArgmaxDequantizer, {1: 1, 2: 1, 3: 2, 5: 3, 8: 3}),
        (SimplexDequantizer, {1: 1, 2: 1, 3: 2, 5: 4, 8: 7}),
    ],
)
def test_the_largest_cardinality_sets_the_dimension(method, dims):
    for k, dim in dims.items():
        assert method((k, 1), hidden_features=(4,)).dim == dim


@pytest.mark.parametrize(
    ("method", "preset"),
    [
        (ArgmaxDequantizer, VoronoiTessellation.argmax),
        (BinaryArgmaxDequantizer, VoronoiTessellation.binary_argmax),
        (SimplexDequantizer, VoronoiTessellation.simplex),
    ],
)
@pytest.mark.parametrize("cardinalities", [(1,), (2, 2), (7, 1, 4, 3, 2)], ids=str)
def test_decoding_finds_the_nearest_fixed_anchor(method, preset, cardinalities):
    dequantizer = method(cardinalities, noise="standard").double()
    x = 3 * torch.randn(2000, len(cardinalities), dequantizer.dim, dtype=torch.float64)
    assert dequantizer.quantize(x).equal(preset(cardinalities).double()().locate(x))


def test_ordinal_decoding_rounds_down_to_an_existing_value():
    dequantizer = OrdinalDequantizer((4,), hidden_features=(4,))
    x = torch.tensor([-1e30, -0.1, 0.0, 0.9, 1.0, 2.5, 3.999, 4.0, 77.0, 1e30])[:, None, None]
    assert dequantizer.quantize(x).flatten().tolist() == [0, 0, 0, 0, 1, 2, 3, 3, 3, 3]
    inside = dequantizer.contains(x, dequantizer.quantize(x)).flatten()
    assert inside.tolist() == [False] * 2 + [True] * 5 + [False] * 3
    x = 5 * torch.randn(1000, 1, 1)
    assert dequantizer.quantize(x).equal(VoronoiTessellation.ordinal((4,))().locate(x - 0.5))


def test_uniform_noise_is_uniform():
    q = OrdinalDequantizer((300,), noise="uniform")(torch.tensor([299]))
    x, log_prob = q.rsample_with_log_prob((20_000,))
    assert (log_prob == 0).all()
    share = (x - 299).flatten().sort().values
    assert (share - torch.linspace(0, 1, 20_000)).abs().max() < 1.95 / math.sqrt(20_000)  # Kolmogorov, 99.9 %


@pytest.mark.parametrize("noise", ["uniform", "variational"])
def test_rounding_does_not_reach_the_next_integer(noise):
    dequantizer = OrdinalDequantizer((100_000,), noise=noise, hidden_features=(4,))
    y = rows((100_000,), 20_000)
    assert dequantizer.quantize(dequantizer(y).sample()).equal(y)


def test_ordinal_noise_is_one_of_two():
    with pytest.raises(ValueError, match="noise must be 'uniform' or 'variational', got 'standard'"):
        OrdinalDequantizer((3,), noise="standard")


def test_argmax_thresholds_noise_at_the_winner():
    dequantizer = ArgmaxDequantizer((4, 2), noise="standard").double()
    u = torch.randn(2, 4, dtype=torch.float64)
    x = dequantizer.cells(torch.tensor([2, 0]))(u)
    expected = u[0, 2] - torch.log1p(torch.exp(u[0, 2] - u[0]))
    expected[2] = u[0, 2]
    torch.testing.assert_close(x[0], expected)
    assert x[1, [0, 2, 3]].equal(u[1, [0, 2, 3]]), "coordinates without a class are left alone"


def test_binary_argmax_spells_bits_in_signs():
    dequantizer = BinaryArgmaxDequantizer((6, 2), noise="standard")
    x = dequantizer(torch.tensor([[5, 1], [3, 0]])).sample((100,))
    assert (x[:, 0, 0].sign() == torch.tensor([1, -1, 1])).all()
    assert (x[:, 1, 0].sign() == torch.tensor([1, 1, -1])).all()
    assert (x[:, 0, 1, 0] > 0).all()
    assert {-1.0, 1.0} == set(x[:, 0, 1, 1].sign().tolist()), "a further dimension is left alone"


def test_orthants_without_a_class_have_no_density_and_are_decoded_to_a_class():
    dequantizer = BinaryArgmaxDequantizer((3,), noise="standard")
    x = torch.tensor([[[2.0, 1.0]], [[1.0, 2.0]]])  # signs ++ would spell class 3
    assert dequantizer.quantize(x).flatten().tolist() == [1, 2]
    for y in range(3):
        assert (dequantizer(torch.tensor([y])).log_prob(x) == -torch.inf).all()


def test_points_outside_the_box_have_no_density():
    dequantizer = VoronoiDequantizer((1,), 2, box=(-1.0, 1.0), noise="standard")
    q = dequantizer(torch.tensor([0]))
    assert q.log_prob(torch.tensor([[0.5, 1.01]])) == -torch.inf
    assert q.log_prob(torch.tensor([[0.5, 0.99]])).isfinite()


def test_simplex_noise_sets_the_lead_over_each_other_corner():
    dequantizer = SimplexDequantizer((4,), noise="standard").double()
    corners = VoronoiTessellation.simplex((4,)).double()().anchors[0]
    u = torch.randn(50, 1, 3, dtype=torch.float64)
    x, log_det = dequantizer.cells(torch.tensor([1])).call_and_ladj(u)
    lead = x @ (corners[1] - corners).mT * math.sqrt(3 / 4)  # a unit vector's projection has this length
    torch.testing.assert_close(lead[..., [0, 2, 3]], torch.nn.functional.softplus(u), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(log_det, torch.nn.functional.logsigmoid(u).sum(-1) - math.log(4) / 2)


def test_simplex_leaves_further_dimensions_alone():
    dequantizer = SimplexDequantizer((5, 2), noise="standard")
    u = torch.randn(2, 4)
    assert dequantizer.cells(torch.tensor([0, 1]))(u)[1, 1:].equal(u[1, 1:])


@pytest.mark.parametrize("method", [ArgmaxDequantizer, BinaryArgmaxDequantizer, SimplexDequantizer])
def test_many_classes(method):
    dequantizer = method((500, 3), noise="standard")
    y = rows((500, 3), 300)
    x, log_prob = dequantizer(y).rsample_with_log_prob()
    assert dequantizer.quantize(x).equal(y)
    torch.testing.assert_close(dequantizer(y).log_prob(x), log_prob, rtol=1e-3, atol=0.1)


@pytest.mark.parametrize("noise", [StandardNoise(6), ConditionalNoise((3, 2), 6, hidden_features=(8, 8))])
def test_noise_starts_as_standard_normal(noise):
    q = noise(support((3, 2)))
    u = torch.randn(6, 6)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(-1)
    torch.testing.assert_close(q.log_prob(u), expected)


def test_conditional_noise_tells_every_row_of_values_apart():
    noise = perturb(ConditionalNoise((3, 2, 1), 4, hidden_features=(8, 8)), 0.3)
    log_prob = noise(support((3, 2, 1))).log_prob(torch.ones(6, 4))
    assert log_prob.unique().numel() == 6


def test_voronoi_options_are_checked():
    with pytest.raises(ValueError, match="profile must be one of 'truncated-gaussian', 'softsign', got 'flat'"):
        VoronoiDequantizer((3,), profile="flat")
    with pytest.raises(ValueError, match="learn_box=True needs a box"):
        VoronoiDequantizer((3,), learn_box=True)


def test_voronoi_samples_of_a_masked_class_cannot_occur():
    dequantizer = build("voronoi, D = 2", (5, 2), dtype=torch.float32)
    code = dequantizer.quantize(10 * torch.randn(5000, 2, 2))
    assert code[:, 1].max() == 1
