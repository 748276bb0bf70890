"""The coupling flow."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

from tessflow.flows import coupling_flow, coupling_layers

RICHER = ({"sharpness": 4.0}, {"base": "mixture", "components": 3}, {"sharpness": 4.0, "context": 2})

every_kind = pytest.mark.parametrize("univariate", ["affine", "spline"])


def build(features, univariate, *, perturb=0.0, **options):
    flow = coupling_flow(features, layers=4, univariate=univariate, hidden_features=(8, 8), **options).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(perturb * torch.randn_like(parameter))
    return flow.eval()


@every_kind
@pytest.mark.parametrize("features", [1, 2, 3, 6])
def test_starts_as_a_standard_normal(features, univariate):
    x = 2 * torch.randn(50, features, dtype=torch.float64)
    log_prob = build(features, univariate)().log_prob(x)
    torch.testing.assert_close(log_prob, Normal(0.0, 1.0).log_prob(x).sum(-1), rtol=1e-9, atol=1e-9)


@every_kind
@pytest.mark.parametrize("features", [1, 2])
def test_density_integrates_to_one(features, univariate):
    flow = build(features, univariate, perturb=0.3)
    line = torch.linspace(-16, 16, 321, dtype=torch.float64)
    grid = torch.cartesian_prod(*[line] * features).reshape(-1, features)
    with torch.no_grad():
        density = flow().log_prob(grid).exp()
    assert density.std() > 0
    assert abs(density.sum() * (line[1] - line[0]) ** features - 1) < 1e-2


@every_kind
@pytest.mark.parametrize("features", [1, 2, 3, 6])
def test_inverse_undoes_the_transform(features, univariate):
    transform = build(features, univariate, perturb=0.3)().transform
    x = torch.randn(50, features, dtype=torch.float64)
    z, log_det = transform.call_and_ladj(x)
    assert (z - x).abs().amax(0).min() > 1e-3, "every feature is moved"
    back, log_det_back = transform.inv.call_and_ladj(z)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_det_back, -log_det)
    jacobian = torch.autograd.functional.jacobian(transform, x[0])
    torch.testing.assert_close(log_det[0], jacobian.slogdet().logabsdet)


@every_kind
@pytest.mark.parametrize("options", RICHER)
def test_richer_flows_stay_exact(univariate, options):
    flow = build(2, univariate, perturb=0.3, **options)
    context = torch.tensor([0.5, -1.0], dtype=torch.float64)[: options.get("context", 0)]
    density = flow(context) if len(context) else flow()
    line = torch.linspace(-16, 16, 321, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        mass = density.log_prob(grid).exp().sum() * (line[1] - line[0]) ** 2
        x = density.sample((500,))
    assert abs(mass - 1) < 1e-2
    transform = density.transform
    z, log_det = transform.call_and_ladj(x)
    torch.testing.assert_close(transform.inv(z), x, rtol=1e-6, atol=1e-6)
    jacobian = torch.autograd.functional.jacobian(transform, x[0])
    torch.testing.assert_close(log_det[0], jacobian.slogdet().logabsdet)


@pytest.mark.parametrize("options", RICHER)
def test_richer_flows_have_gradients_everywhere(options):
    flow = build(4, "affine", perturb=0.1, **options)
    x = torch.tensor([[0.0] * 4, [1e3] * 4, [-1e6] * 4], dtype=torch.float64)
    context = (torch.zeros(3, 2, dtype=torch.float64),) if "context" in options else ()
    flow(*context).log_prob(x).sum().backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_sharp_network_learns_a_step_that_a_smooth_one_does_not():
    # Two bits that are equal, as points on two sides of walls at 0.
    sides = torch.randint(2, (512, 1)) * 2.0 - 1
    x = sides * torch.rand(512, 2)

    def learned(sharpness):
        torch.manual_seed(0)
        flow = coupling_flow(2, layers=4, hidden_features=(32,), sharpness=sharpness)
        optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
        for _ in range(200):
            optimizer.zero_grad()
            (-flow().log_prob(x).mean()).backward()
            optimizer.step()
        return flow().log_prob(x).mean().item()

    assert learned(4.0) > learned(0.0) + 0.05


@every_kind
def test_samples_have_the_shape_asked_for(univariate):
    assert build(3, univariate)().sample((4, 5)).shape == (4, 5, 3)


def test_the_four_masks_take_turns():
    masks = [layer.mask.tolist() for layer in coupling_layers(5, layers=6, hidden_features=(4,))]
    even, first = [True, False, True, False, True], [True, True, True, False, False]
    odd, last = [not keep for keep in even], [not keep for keep in first]
    assert masks == [even, odd, first, last, even, odd]


@every_kind
@pytest.mark.parametrize("features", [1, 3])
def test_layers_given_context_start_as_the_identity(features, univariate):
    x, context = torch.randn(7, features), torch.randn(7, 2)
    for layer in coupling_layers(features, context=2, univariate=univariate, hidden_features=(8,)):
        torch.testing.assert_close(layer(context)(x), x)


@every_kind
def test_layers_depend_on_their_context(univariate):
    layer = coupling_layers(3, context=2, univariate=univariate, hidden_features=(8,))[0]
    torch.nn.init.normal_(layer.hyper[-2].weight)
    x = torch.zeros(3)
    assert not layer(torch.zeros(2))(x).equal(layer(torch.ones(2))(x))


def test_half_precision_ends_with_the_networks():
    flow = coupling_flow(4, layers=4, hidden_features=(8,)).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert flow().log_prob(torch.randn(5, 4)).dtype == torch.float32
        assert flow().sample((5,)).dtype == torch.float32


def test_first_training_batch_sets_the_scale():
    flow = coupling_flow(2, layers=2, hidden_features=(8,))
    x = 100 + 50 * torch.randn(500, 2)
    flow.train()
    assert flow().log_prob(x).mean() > -15
    torch.testing.assert_close(flow().transform(x).mean(0), torch.zeros(2), atol=1e-3, rtol=0)


def test_state_dict_round_trip():
    flow, other = build(3, "spline", perturb=0.3), build(3, "spline")
    other.load_state_dict(flow.state_dict())
    x = torch.randn(5, 3, dtype=torch.float64)
    assert other().log_prob(x).equal(flow().log_prob(x))


def test_unknown_layers_are_refused():
    with pytest.raises(ValueError, match="univariate must be 'affine' or 'spline', got 'cubic'"):
        coupling_flow(2, univariate="cubic")
