"""Disjoint mixtures are densities: they integrate to one, samples follow them, and their parts add up."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from mixture_cases import (
    BOUNDED,
    IDS,
    KINDS,
    PLAIN,
    conditional,
    every_kind,
    every_state,
    fitted,
    mass_of_the_plane,
    nested,
    perturb,
    plane,
    rows,
)
from torch import Tensor, nn
from torch.distributions import Gamma, Normal
from torch.testing import assert_close

from brute_force import slogdet
from tessflow.flows import coupling_flow
from tessflow.models import DisjointMixture, coupling_mixture

# --- quadrature and importance sampling ----------------------------------------------------------------------


def pieces(breaks: Tensor) -> tuple[Tensor, Tensor]:
    """Points and weights of the tanh-sinh rule between breaks, and of the exp-sinh rule outside of them."""
    t = torch.linspace(-3.2, 3.2, 200, dtype=torch.float64)
    s, weight = math.pi / 2 * t.sinh(), (t[1] - t[0]) * math.pi / 2 * t.cosh()
    half = breaks.diff()[:, None] / 2
    points = [(breaks[:-1, None] + half * (1 + s.tanh())).flatten()]
    weights = [(half * weight / s.cosh().square()).flatten()]
    t = torch.linspace(-4.2, 4.2, 400, dtype=torch.float64)
    far = (math.pi / 2 * t.sinh()).exp()
    weight = (t[1] - t[0]) * math.pi / 2 * t.cosh() * far
    points += [breaks[-1] + far, breaks[0] - far]
    return torch.cat(points)[:, None], torch.cat([*weights, weight, weight])


@torch.no_grad()
def mass_on_the_line(mixture: DisjointMixture) -> float:
    """Integrate piece by piece: densities may have kinks at anchors and jumps at walls."""
    anchors = mixture.tessellation().anchors.double().flatten().sort().values
    breaks = torch.cat([anchors, (anchors[1:] + anchors[:-1]) / 2]).sort().values
    points, weights = pieces(mixture.from_cells(breaks[:, None]).flatten().double())
    return float(mixture().log_prob(points).exp() @ weights)


@torch.no_grad()
def mass_by_importance(mixture: DisjointMixture, *, centres: int, draws: int, width: float) -> tuple[float, float]:
    """Estimate and standard error, from Cauchy distributions around points that the mixture itself gave."""
    sample = mixture().sample((centres,))
    spread = width * (sample - sample.median(0).values).abs().median(0).values
    D = sample.shape[1]
    radius = Gamma(torch.tensor(0.5).double(), torch.tensor(0.5).double()).sample((draws, 1)).rsqrt()
    x = sample[torch.randint(centres, (draws,))] + spread * radius * torch.randn(draws, D, dtype=torch.float64)
    square = torch.cdist(x / spread, sample / spread).square()
    constant = math.lgamma((D + 1) / 2) - (D + 1) / 2 * math.log(math.pi) - spread.log().sum() - math.log(centres)
    proposal = constant + (-(D + 1) / 2 * square.log1p()).logsumexp(-1)
    ratio = (mixture().log_prob(x) - proposal).exp()
    return float(ratio.mean()), float(ratio.std() / draws**0.5)


class TestIntegratesToOne:
    @every_kind
    @every_state
    def test_on_the_line(self, number, state):
        assert abs(mass_on_the_line(fitted(number, 1, state)) - 1) < 2e-3

    @every_kind
    @pytest.mark.parametrize("state", ["placed", "trained"])
    def test_on_the_plane(self, number, state):
        assert abs(mass_of_the_plane(fitted(number, 2, state)(), box=KINDS[number]["box"]) - 1) < 0.03

    @pytest.mark.parametrize("box", [True, False])
    @pytest.mark.parametrize("profile", ["cube", "softsign", "truncated-gaussian"])
    @pytest.mark.parametrize("extras", [{"background": 0.0}, {"whiten": False}, {"background": 0.3}], ids=str)
    def test_with_and_without_background_and_whitening(self, profile, box, extras):
        mixture = coupling_mixture(1, 4, layers=1, hidden_features=(8,), profile=profile, box=box, **extras).double()
        mixture().log_prob(rows(300, 1))
        perturb(mixture)
        assert abs(mass_on_the_line(mixture.eval()) - 1) < 1e-3

    @every_kind
    @pytest.mark.parametrize(("D", "state"), [(3, "initial"), (5, "perturbed")])
    def test_in_more_dimensions(self, number, D, state):
        mass, error = mass_by_importance(fitted(number, D, state), centres=1_000, draws=4_000, width=0.6)
        assert error < 0.15
        assert abs(mass - 1) < 4 * error

    @pytest.mark.parametrize("number", [0, 3, 4, 7], ids=[IDS[i] for i in (0, 3, 4, 7)])
    def test_in_ten_dimensions(self, number):
        mass, error = mass_by_importance(fitted(number, 10, "perturbed"), centres=2_000, draws=10_000, width=0.45)
        assert error < 0.2
        assert abs(mass - 1) < 4 * error

    @pytest.mark.parametrize("number", [0, 5], ids=[IDS[0], IDS[5]])
    def test_after_layers_before_the_cells(self, number):
        mixture = fitted(number, 3, "perturbed", before=1)
        mass, error = mass_by_importance(mixture, centres=2_000, draws=8_000, width=0.6)
        assert error < 0.08
        assert abs(mass - 1) < 4 * error

    @pytest.mark.parametrize("before", [False, True])
    def test_given_a_context(self, before):
        mixture = conditional(before=before)
        for context in torch.randn(2, 3, dtype=torch.float64):
            assert abs(mass_of_the_plane(mixture(context)) - 1) < 0.03

    def test_nested(self):
        assert abs(mass_of_the_plane(nested()()) - 1) < 0.03

    def test_wide_components_of_bounded_cells(self):
        """Were there a layer of the cube beyond the walls, the component's tail would be spread over it."""
        component = coupling_flow(1, context=16, layers=1, hidden_features=(4,))
        mixture = DisjointMixture(1, 3, component, **PLAIN).double().eval()
        nn.init.constant_(component.transform.transforms[0].hyper[-2].bias, -0.5)
        assert abs(mass_on_the_line(mixture) - 1) < 1e-2


# --- samples -------------------------------------------------------------------------------------------------


class TestSamples:
    @every_kind
    def test_cells_have_their_weights(self, number):
        mixture = fitted(number, 3, "perturbed")
        with torch.no_grad():
            share = mixture().assign(mixture().sample((20_000,))).bincount(minlength=5) / 20_000
            weights = mixture.log_weights().exp()
        assert ((share - weights).abs() < 4 * (weights * (1 - weights) / 20_000).sqrt()).all()

    @every_kind
    def test_they_follow_the_density(self, number):
        """Counts in squares of the plane against the density summed over a fine grid."""
        mixture = fitted(number, 2, "perturbed")
        n, squares, fine, wall = 20_000, 20, 12, 4.0
        line = wall * ((torch.arange(squares * fine, dtype=torch.float64) + 0.5) * 2 / (squares * fine) - 1)
        with torch.no_grad():
            density = mixture().log_prob(torch.cartesian_prod(line, line)).exp()
            sample = mixture().sample((n,))
        mass = density.reshape(squares, fine, squares, fine).sum((1, 3)) * (line[1] - line[0]) ** 2
        place = ((sample / wall + 1) / 2 * squares).floor().long()
        inside = ((place >= 0) & (place < squares)).all(-1)
        counts = (place[inside] @ torch.tensor([squares, 1])).bincount(minlength=squares**2).reshape(mass.shape)
        enough = n * mass > 10
        deviation = (counts - n * mass).square() / (n * mass)
        assert enough.sum() > 20
        assert deviation[enough].mean() < 1.6  # of chi-squared, about 1

    @every_kind
    @pytest.mark.parametrize("D", [1, 2, 8])
    def test_every_component_stays_in_its_cell(self, number, D):
        mixture = copy.deepcopy(fitted(number, D, "perturbed")).float()
        k = torch.randint(5, (20_000,))
        with torch.no_grad():
            z = mixture.component_sample(k)
            x = mixture.from_cells(mixture.into(k, mixture.tessellation())(z))
        assert x.dtype == torch.float32
        assert (mixture().assign(x) != k).float().mean() < 1e-3

    def test_a_context_is_followed(self):
        mixture = conditional()
        context = torch.randn(2, 3, dtype=torch.float64)
        with torch.no_grad():
            k = mixture(context).assign(mixture(context).sample((20_000,)))
            share = nn.functional.one_hot(k, 4).double().mean(0)
            weights = mixture.log_weights(context).exp()
        assert (weights[0] - weights[1]).abs().max() > 0.01
        assert (share - weights).abs().max() < 0.02

    def test_nested_components_are_followed(self):
        mixture = nested()
        mean = mixture().sample((20_000,)).mean(0)
        points, areas = plane(box=True)
        with torch.no_grad():
            expected = (mixture().log_prob(points).exp() * areas) @ points
        assert_close(mean, expected, rtol=0, atol=0.05)


# --- the density's parts -------------------------------------------------------------------------------------


class TestParts:
    @every_kind
    def test_log_prob_is_component_and_weight(self, number):
        mixture = fitted(number, 3, "perturbed")
        x = rows(50, 3)
        weight = mixture.log_weights()[mixture().assign(x)]
        assert_close(mixture().log_prob(x), mixture().component_log_prob(x) + weight)

    @every_kind
    @pytest.mark.parametrize("D", [1, 3])
    def test_component_by_its_jacobian(self, number, D):
        mixture = fitted(number, D, "perturbed", before=0 if D == 1 else 1)
        x = rows(50, D)
        k, tessellation = mixture().assign(x), mixture.tessellation()

        def back(x: Tensor) -> Tensor:
            return mixture.into(k, tessellation).inv(mixture.to_cells(x)[0])

        expected = mixture.component_log_prob(back(x), k) + slogdet(back, x)
        assert_close(mixture().component_log_prob(x), expected, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("univariate", ["affine", "spline"])
    @pytest.mark.parametrize("D", [1, 2, 5])
    def test_one_cell_of_a_cube_is_the_component(self, univariate, D):
        """If its anchor is the middle."""
        options = PLAIN | {"univariate": univariate, "hidden_features": (8,)}
        mixture = coupling_mixture(D, 1, layers=2, **options).double().eval()
        mixture.tessellation.place(torch.zeros(1, D, dtype=torch.float64))
        perturb(mixture.component)
        x = torch.randn(100, D, dtype=torch.float64).clamp(-2, 2)
        expected = mixture.component(mixture.embedding.weight.expand(100, -1)).log_prob(x)
        assert_close(mixture().log_prob(x), expected, rtol=0, atol=1e-6)

    def test_even_squares_start_as_a_normal(self):
        """Four squares, each evenly filled and equally likely, are the cube evenly filled."""
        mixture = coupling_mixture(2, 4, layers=2, hidden_features=(8,), **BOUNDED).double().eval()
        mixture.tessellation.place(torch.cartesian_prod(*[torch.tensor([-0.5, 0.5]).double()] * 2))
        nn.init.constant_(mixture.log_scale, math.log(0.5))
        x = torch.randn(200, 2, dtype=torch.float64)
        assert_close(mixture().log_prob(x), Normal(0.0, 1.0).log_prob(x).sum(-1), rtol=0, atol=1e-5)

    def test_weights_are_shares_of_the_first_batch(self):
        x = rows(500, 2)
        mixture = coupling_mixture(2, 6, layers=1, hidden_features=(8,)).double()
        mixture().log_prob(x)
        counts = mixture().assign(x).bincount(minlength=6)
        assert_close(mixture.log_weights().exp(), (counts + 1.0).double() / 506)
