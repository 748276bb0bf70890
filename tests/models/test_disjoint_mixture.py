"""Mixtures over the cells of a tessellation: they are densities, whatever the profile, box, state and context."""

from __future__ import annotations

import copy
import math
from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, Gamma, Normal, TransformedDistribution
from torch.testing import assert_close
from zuko.flows import Flow

from brute_force import slogdet
from tessflow.flows import coupling_flow, coupling_layers
from tessflow.models import DisjointMixture, coupling_mixture
from tessflow.transforms import ActNorm

KINDS = [
    {"profile": profile, "base": base, "box": box}
    for profile, base in (
        ("cube", "gaussian"),
        ("softsign", "gaussian"),
        ("softsign", "cauchy"),
        ("truncated-gaussian", "gaussian"),
    )
    for box in (True, False)
]
# As in the paper: with a Gaussian background or whitening, the softsign's density is too uneven for a grid.
KINDS = [kind | ({"background": 0.0, "whiten": False} if kind["profile"] == "softsign" else {}) for kind in KINDS]
BOUNDED = {"profile": "cube", "box": True}
PLAIN = BOUNDED | {"background": 0.0, "whiten": False}
IDS = [f"{kind['profile']}-{kind['base']}-{'box' if kind['box'] else 'free'}" for kind in KINDS]
every_kind = pytest.mark.parametrize("number", range(len(KINDS)), ids=IDS)
every_state = pytest.mark.parametrize("state", ["initial", "placed", "perturbed", "trained"])
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def rows(n: int, features: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Two clusters."""
    x = torch.randn(n, features, dtype=dtype)
    return torch.where(x[:, :1] > 0, 0.4 * x + 2, x)


def perturb(module: nn.Module, by: float = 0.1) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(by * torch.randn_like(parameter))


@lru_cache
def fitted(number: int, features: int, state: str, cells: int = 5, before: int = 0) -> DisjointMixture:
    """A mixture in evaluation mode, float64; take a copy to change it."""
    torch.manual_seed(7)
    mixture = coupling_mixture(features, cells, layers=2, before=before, hidden_features=(16,), **KINDS[number])
    mixture.double()
    x = rows(600, features)
    if state != "initial":
        mixture().log_prob(x)
    if state == "perturbed":
        perturb(mixture)
    if state == "trained":
        optimizer = torch.optim.Adam(mixture.parameters(), lr=1e-2)
        for _ in range(8):
            optimizer.zero_grad()
            (-mixture.elbo(x).mean()).backward()
            optimizer.step()
    return mixture.eval()


def conditional(context: int = 3, *, before: bool = False, placed: bool = True) -> DisjointMixture:
    """A mixture in the plane whose weights, component and perhaps first layers depend on a context."""
    component = coupling_flow(2, context=16 + context, layers=2, univariate="spline", hidden_features=(16,))
    first = coupling_layers(2, context=context, layers=2, hidden_features=(16,)) if before else []
    options = BOUNDED | {"before": first, "hidden_features": (16,)}
    mixture = DisjointMixture(2, 4, component, context=context, **options).double()
    if placed:
        x = rows(300, 2)
        mixture(torch.randn(300, context, dtype=torch.float64)).log_prob(x)
        perturb(mixture)
        perturb(mixture.weighting, 0.3)
    return mixture.eval()


def nested() -> DisjointMixture:
    """A mixture whose component is a mixture, told the cell as its context."""
    component = coupling_flow(2, context=16 + 16, layers=2, univariate="spline", hidden_features=(16,))
    inner = DisjointMixture(2, 3, component, context=16, hidden_features=(16,), **BOUNDED)
    mixture = DisjointMixture(2, 4, inner, before=[ActNorm(2)], **BOUNDED).double()
    mixture().log_prob(rows(300, 2))
    perturb(mixture)
    return mixture.eval()


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


def plane(*, box: bool) -> tuple[Tensor, Tensor]:
    """A grid of the plane and the area of its cells: even, or if tails are heavy, wider and wider."""
    edges = torch.linspace(-7, 7, 321, dtype=torch.float64) if box else torch.linspace(-9, 9, 641, dtype=torch.float64)
    line = (edges[1:] + edges[:-1]) / 2
    width = (edges[1:] - edges[:-1]) * (1 if box else line.cosh())
    line = line if box else line.sinh()
    return torch.cartesian_prod(line, line), (width[:, None] * width).flatten()


@torch.no_grad()
def mass_of_the_plane(distribution, *, box: bool = True) -> float:
    points, areas = plane(box=box)
    return float(distribution.log_prob(points).exp() @ areas)


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
        mass, error = mass_by_importance(fitted(number, 10, "perturbed"), centres=3_000, draws=8_000, width=0.45)
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
        n, squares, fine, wall = 20_000, 20, 32, 4.0
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
