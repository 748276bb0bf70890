"""Disjoint mixtures at extreme points, at their start, and in the interfaces of torch and zuko."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from mixture_cases import (
    BOUNDED,
    KINDS,
    conditional,
    every_dtype,
    every_kind,
    fitted,
    mass_of_the_plane,
    nested,
    perturb,
    rows,
)
from torch import Tensor, nn
from torch.distributions import AffineTransform, Independent, MultivariateNormal, Normal, TransformedDistribution
from torch.testing import assert_close
from zuko.flows import Flow

from tessflow.flows import coupling_flow, coupling_layers
from tessflow.models import DisjointMixture, coupling_mixture

# --- every finite point has a finite density -------------------------------------------------------------------


@torch.no_grad()
def adversarial(mixture: DisjointMixture, n: int, dtype: torch.dtype) -> Tensor:
    """Anchors, walls, vertices and faces, exactly and one rounding off, and numbers of every size, mixed."""
    tessellation = mixture.tessellation()
    anchors, box = tessellation.anchors.double(), mixture.tessellation.box is not None
    (K, D), most = anchors.shape, min(3e38, torch.finfo(dtype).max) if dtype == torch.float32 else 1e300
    i, j = torch.randint(K, (2, n))
    normal = anchors[j] - anchors[i]
    along = torch.randn(n, D, dtype=torch.float64)
    along -= (along * normal).sum(-1, keepdim=True) / normal.square().sum(-1, keepdim=True).clamp_min(1e-9) * normal
    walls = (anchors[i] + anchors[j]) / 2 + 0.1 * along
    faces = 2 * torch.rand(n, D, dtype=torch.float64) - 1
    faces = torch.where(torch.rand(n, D) < 0.4, faces.sign(), faces)
    inside = torch.cat([anchors, walls.clamp(-1, 1) if box else walls, faces])
    special = mixture.from_cells(inside).to(dtype)
    sizes = torch.tensor(
        [0, 5e-45, 1e-40, 1.2e-38, 1e-8, 1, 5, 8.2, 8.3, 30, 1e4, 1e8, 1.8e19, 1.9e19, 1e30, most / 2, most]
    ).double()
    mixed = sizes[torch.randint(len(sizes), (n, D))] * torch.randn(n, D).sign()
    everywhere = torch.randn(n, D).double() * 10 ** (math.log10(most) * (2 * torch.rand(n, D).double() - 1))
    far = (mixed + everywhere).clamp(-most, most).to(dtype)
    swapped = torch.where(torch.rand(n, D) < 0.5, special[torch.randint(len(special), (n,))], far)
    up, down = (torch.nextafter(special, torch.full_like(special, sign)) for sign in (torch.inf, -torch.inf))
    return torch.cat([special, up, down, mixed.to(dtype), far, swapped]).clamp(-most, most)


class TestFinite:
    @every_kind
    @every_dtype
    @pytest.mark.parametrize("D", [1, 2, 8])
    def test_any_point(self, number, D, dtype):
        """Some 300,000 points over all cases."""
        for state in ("placed", "trained"):
            mixture = copy.deepcopy(fitted(number, D, state)).to(dtype)
            x = adversarial(mixture, 400, dtype)
            assert x.isfinite().all()
            with torch.no_grad():
                assert mixture().log_prob(x).isfinite().all()

    @every_kind
    @every_dtype
    @pytest.mark.parametrize("D", [1, 2, 8])
    def test_gradients_at_walls_and_anchors(self, number, D, dtype):
        mixture = copy.deepcopy(fitted(number, D, "trained")).to(dtype)
        x = adversarial(mixture, 200, dtype)
        x = x[x.abs().amax(-1) < 1e3]
        mixture().log_prob(x).mean().backward()
        assert all(parameter.grad.isfinite().all() for parameter in mixture.parameters())

    @every_kind
    def test_gradients_reach_every_parameter(self, number):
        mixture = copy.deepcopy(fitted(number, 3, "perturbed"))
        (-mixture.elbo(rows(200, 3)).mean()).backward()
        for name, parameter in mixture.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name

    def test_fixed_anchors_get_none(self):
        mixture = coupling_mixture(2, 4, layers=1, hidden_features=(8,), learn_anchors=False)
        assert "tessellation.anchors" not in dict(mixture.named_parameters())
        assert "tessellation.anchors" in dict(mixture.named_buffers())

    @pytest.mark.parametrize("make", [conditional, nested])
    def test_gradients_of_nested_and_conditional_mixtures(self, make):
        mixture = make()
        context = torch.randn(50, 3, dtype=torch.float64) if mixture.context else None
        mixture(context).log_prob(rows(50, 2)).mean().backward()
        for name, parameter in mixture.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


# --- initialisation --------------------------------------------------------------------------------------------


class TestInitialization:
    @pytest.mark.parametrize("cells", [1, 2, 8, 40])
    @pytest.mark.parametrize("box", [True, False])
    def test_no_cell_starts_empty(self, cells, box):
        x = rows(max(cells, 40), 2)
        mixture = coupling_mixture(2, cells, layers=1, hidden_features=(8,), box=box).double()
        mixture().log_prob(x)
        assert mixture().assign(x).unique().numel() == cells

    def test_the_first_training_batch_alone_counts(self):
        mixture = coupling_mixture(2, 4, layers=1, hidden_features=(8,)).double()
        mixture().log_prob(rows(100, 2))
        before = copy.deepcopy(mixture.state_dict())
        mixture().log_prob(5 + rows(100, 2))
        assert_close(dict(mixture.state_dict()), dict(before), rtol=0, atol=0)

    def test_evaluation_changes_nothing(self):
        mixture = coupling_mixture(2, 4, layers=1, hidden_features=(8,)).eval()
        before = copy.deepcopy(mixture.state_dict())
        mixture().log_prob(torch.randn(50, 2))
        assert_close(dict(mixture.state_dict()), dict(before), rtol=0, atol=0)

    def test_same_seed_same_start(self):
        x = rows(300, 2)
        starts = []
        for _ in range(2):
            torch.manual_seed(3)
            mixture = coupling_mixture(2, 8, layers=1, hidden_features=(8,)).double()
            starts.append(mixture().log_prob(x).detach())
        assert_close(*starts, rtol=0, atol=0)

    @pytest.mark.parametrize("box", [True, False])
    @pytest.mark.parametrize("n", [0, 1, 3, 8])
    def test_fewer_rows_than_cells(self, n, box):
        mixture = coupling_mixture(2, 8, layers=1, hidden_features=(8,), box=box).double()
        mixture.initialize(rows(n, 2))
        assert mixture.initialized == (n > 0)
        assert_close(mixture.log_weights().exp().sum(), torch.tensor(1.0).double())
        assert mixture.eval()().log_prob(rows(20, 2)).isfinite().all()

    @pytest.mark.parametrize("n", [8, 100])
    def test_equal_rows_leave_no_component_without_a_cell(self, n):
        """Else that component's share of the mass is lost."""
        mixture = coupling_mixture(2, 8, layers=1, hidden_features=(8,)).double()
        mixture().log_prob(torch.ones(n, 2, dtype=torch.float64))
        anchors = mixture.tessellation().anchors
        assert mixture.tessellation().locate(anchors).unique().numel() == 8

    def test_starts_better_than_a_normal(self):
        x = torch.cat([torch.randn(300, 2) * 0.1 + 3 * torch.randn(2) for _ in range(5)]).double()
        one, many = (coupling_mixture(2, k, layers=1, hidden_features=(8,)).double() for k in (1, 30))
        assert many().log_prob(x).mean() > one().log_prob(x).mean() + 0.5


# --- the interfaces of torch and zuko ----------------------------------------------------------------------------


class TestInterfaces:
    @pytest.mark.parametrize("shape", [(), (7,), (3, 2)], ids=str)
    def test_batches(self, shape):
        distribution = fitted(0, 2, "trained")()
        x = torch.randn(*shape, 2, dtype=torch.float64)
        assert distribution.log_prob(x).shape == distribution.assign(x).shape == shape
        assert distribution.component_log_prob(x).shape == shape
        assert distribution.sample(shape).shape == (*shape, 2)
        assert (distribution.batch_shape, distribution.event_shape) == ((), (2,))

    @pytest.mark.parametrize("shape", [(5,), (4, 5)], ids=str)
    def test_batches_of_contexts(self, shape):
        distribution = conditional()(torch.randn(*shape, 3, dtype=torch.float64))
        assert distribution.batch_shape == shape
        assert distribution.sample((2,)).shape == (2, *shape, 2)
        assert distribution.log_prob(torch.zeros(6, *shape, 2).double()).shape == (6, *shape)

    def test_each_point_is_given_its_own_context(self):
        mixture, context = conditional(before=True), torch.randn(5, 3, dtype=torch.float64)
        x = rows(5, 2)
        one_by_one = [mixture(c).log_prob(y) for c, y in zip(context, x, strict=True)]
        assert_close(mixture(context).log_prob(x), torch.stack(one_by_one))

    def test_expand(self):
        wide = fitted(0, 2, "trained")().expand((3,))
        assert wide.batch_shape == (3,)
        assert wide.sample((4,)).shape == (4, 3, 2)
        assert wide.log_prob(torch.zeros(2).double()).shape == (3,)
        context = torch.randn(5, 3, dtype=torch.float64)
        wide = conditional()(context).expand((4, 5))
        assert wide.sample().shape == (4, 5, 2)
        assert wide.log_prob(torch.zeros(4, 5, 2).double()).shape == (4, 5)

    @pytest.mark.parametrize("D", [1, 2])
    def test_empty_batch(self, D):
        assert fitted(0, D, "trained")().log_prob(torch.zeros(0, D).double()).shape == (0,)

    def test_empty_sample(self):
        assert fitted(0, 2, "trained")().sample((0,)).shape == (0, 2)

    def test_base_of_a_flow(self):
        mixture = fitted(0, 2, "trained")
        flow = Flow(coupling_layers(2, layers=2, hidden_features=(8,)), copy.deepcopy(mixture)).double()
        x = rows(20, 2)
        assert_close(flow().log_prob(x), mixture().log_prob(x))  # the layers start as the identity
        perturb(flow)
        assert flow().sample((5,)).shape == (5, 2)
        sample, log_prob = flow().rsample_and_log_prob((5,))
        assert_close(flow().log_prob(sample), log_prob, rtol=1e-4, atol=1e-4)
        assert abs(mass_of_the_plane(flow()) - 1) < 0.03

    def test_base_of_a_conditional_flow(self):
        layers = coupling_layers(2, context=3, layers=2, hidden_features=(8,))
        flow = Flow(layers, conditional()).double()
        context = torch.randn(5, 3, dtype=torch.float64)
        assert flow(context).log_prob(torch.zeros(4, 5, 2).double()).shape == (4, 5)
        assert flow(context).sample((4,)).shape == (4, 5, 2)

    def test_under_a_transformed_distribution(self):
        mixture = fitted(0, 2, "trained")
        pushed = TransformedDistribution(mixture(), [AffineTransform(1.0, 2.0, event_dim=1)], validate_args=True)
        x = rows(20, 2)
        assert_close(pushed.log_prob(1 + 2 * x), mixture().log_prob(x) - 2 * math.log(2))
        assert pushed.expand((3,)).sample((4,)).shape == (4, 3, 2)

    @every_kind
    def test_float32_and_float64_agree(self, number):
        mixture = fitted(number, 3, "trained")
        x = rows(300, 3, torch.float32)
        single = copy.deepcopy(mixture).float()().log_prob(x)
        assert single.dtype == torch.float32
        error = (single.double() - mixture().log_prob(x.double())).abs()
        assert error.median() < 1e-5
        assert (error < 1e-2).float().mean() > 0.95  # but for points so near a wall that they change sides

    @every_kind
    def test_training_mode_gives_the_same_numbers(self, number):
        mixture = fitted(number, 2, "trained")
        x = rows(20, 2)
        assert_close(copy.deepcopy(mixture).train()().log_prob(x), mixture().log_prob(x), rtol=0, atol=0)

    @every_kind
    def test_state_dict_round_trip(self, number, tmp_path):
        mixture = fitted(number, 3, "perturbed", before=1)
        torch.save(mixture.state_dict(), tmp_path / "state.pt")
        other = coupling_mixture(3, 5, layers=2, before=1, hidden_features=(16,), **KINDS[number]).double().train()
        other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        x = rows(20, 3)
        assert_close(other().log_prob(x), mixture().log_prob(x), rtol=0, atol=0)

    def test_elbo_is_the_log_likelihood(self):
        mixture, x = fitted(0, 2, "trained"), rows(20, 2)
        assert_close(mixture.elbo(x), mixture().log_prob(x), rtol=0, atol=0)

    def test_reprs_name_the_options(self):
        mixture = fitted(0, 2, "trained")
        assert "cells=5" in repr(mixture)
        assert "profile='cube'" in repr(mixture())

    def test_bounded_cells_tile_exactly_the_cube_in_float64(self):
        """A wall 1e-10 inside of the cube's face has a layer of the cube beyond it, where mass is counted twice."""
        tessellation = coupling_mixture(2, 3, layers=1, **BOUNDED).double().tessellation()
        assert (tessellation.upper == 1).all()
        assert (tessellation.lower == -1).all()


class TestErrors:
    @pytest.mark.parametrize(("cells", "features"), [(0, 2), (2, 0)])
    def test_sizes(self, cells, features):
        with pytest.raises(ValueError, match=f"must be at least 1, got {features} and {cells}"):
            DisjointMixture(features, cells, nn.Identity())

    def test_profile(self):
        with pytest.raises(ValueError, match=r"profile must be one of 'cube', .*, got 'ball'\."):
            coupling_mixture(2, 3, profile="ball")

    def test_missing_context(self):
        with pytest.raises(ValueError, match=r"needs a context of shape \(\.\.\., 3\), got none\."):
            conditional(placed=False)()

    def test_context_of_another_size(self):
        with pytest.raises(ValueError, match=r"needs a context of shape \(\.\.\., 3\), got shape \(5, 2\)\."):
            conditional(placed=False)(torch.zeros(5, 2))


# --- components that ignore their context ----------------------------------------------------------------------


class Ignorant(nn.Module):
    """A user's module."""

    def __init__(self, distribution):
        super().__init__()
        self.distribution = distribution

    def forward(self, c):
        return self.distribution()


def placed_inner() -> DisjointMixture:
    inner = coupling_mixture(2, 3, layers=1, hidden_features=(8,))
    inner().log_prob(torch.randn(100, 2))
    return inner


COMPONENTS = {
    "an inner mixture without context": placed_inner,
    "an inner mixture with context": lambda: DisjointMixture(
        2, 3, coupling_flow(2, context=32, layers=1), context=16, **BOUNDED
    ),
    "a flow with context": lambda: coupling_flow(2, context=16, layers=1, hidden_features=(8,)),
    "a user's Gaussian": lambda: Ignorant(lambda: MultivariateNormal(torch.zeros(2), torch.eye(2))),
    "a user's independent one": lambda: Ignorant(lambda: Independent(Normal(torch.zeros(2), torch.ones(2)), 1)),
    "a user's flow": lambda: Ignorant(coupling_flow(2, layers=1, hidden_features=(8,))),
    "a user's batch of one": lambda: Ignorant(lambda: MultivariateNormal(torch.zeros(1, 2), torch.eye(2))),
}


@pytest.mark.parametrize("name", COMPONENTS)
@pytest.mark.parametrize("whiten", [False, True])
def test_each_point_is_a_draw_of_its_own(name, whiten):
    torch.manual_seed(0)
    mixture = DisjointMixture(2, 4, COMPONENTS[name](), whiten=whiten).double()
    mixture.initialize(torch.randn(200, 2, dtype=torch.float64))
    for shape in ((2000,), (40, 50)):
        x = mixture.eval()().sample(shape)
        assert x.shape == (*shape, 2)
        assert len(x.reshape(-1, 2).unique(dim=0)) == 2000
    assert mixture().log_prob(x).shape == (40, 50)


@pytest.mark.parametrize("option", ["box", "whiten", "learn_anchors"])
@pytest.mark.parametrize("value", [(-3.0, 3.0), 1, "yes", None])
def test_what_is_true_or_false_is_nothing_else(option, value):
    with pytest.raises(ValueError, match=f"{option} must be True or False, got "):
        coupling_mixture(2, 3, **{option: value})
