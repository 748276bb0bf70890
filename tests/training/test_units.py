"""Training ends alike in any unit of the data, and never below where it began."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tessflow.flows import coupling_flow
from tessflow.models import DisjointMixture, ImageMixture, WarpedMixture, coupling_mixture
from tessflow.training import TrainingConfig, evaluate, fit
from tessflow.training.loop import _groups
from tessflow.transforms import ActNorm

SMALL = {"hidden_features": (8,), "layers": 2}


class Flow(nn.Module):
    """A flow with the objective that training looks for."""

    def __init__(self, **options):
        super().__init__()
        self.flow = coupling_flow(2, **SMALL, **options)

    def elbo(self, x):
        return self.flow().log_prob(x)


def nested():
    component = coupling_mixture(2, 2, context=16, embedding=8, **SMALL)
    component.component = coupling_flow(2, context=8 + 16, **SMALL)
    return DisjointMixture(2, 3, component, before=[ActNorm(2)])


def raw(**options):
    """Without layers before the cells, which then lie among the data."""
    return DisjointMixture(2, 3, coupling_flow(2, context=16, **SMALL), **options)


def placed():
    """Gaussians at the rows, of which none is in the same units as the others' parameters."""
    model = WarpedMixture(2, 3, **SMALL)
    model.base.place(torch.ones(3) / 3, torch.tensor([[0.0, 0], [4, 4], [2, 2]]), torch.eye(2).expand(3, 2, 2))
    return model


MODELS = {
    "flow": Flow,
    "flow with a mixture": lambda: Flow(base="mixture", components=3),
    "flow of splines": lambda: Flow(univariate="spline"),
    "mixture": lambda: coupling_mixture(2, 3, **SMALL),
    "mixture behind layers": lambda: coupling_mixture(2, 3, before=2, **SMALL),
    "mixture in a box": lambda: coupling_mixture(2, 3, box=True, profile="cube", whiten=True, **SMALL),
    "nested mixture": nested,
    "mixture of raw data": raw,
    "mixture of raw data that moves": lambda: raw(learn_anchors=True, whiten=True),
    "mixture of Gaussians that are placed": placed,
    "images": lambda: ImageMixture((1, 4, 4), cells=3, layers=2, hidden_channels=4),
}


def rows(name, n=200):
    torch.manual_seed(0)
    x = torch.randn(n, *((1, 4, 4) if name == "images" else (2,)), dtype=torch.float64)
    x[: n // 2] += 4
    return x


@pytest.mark.parametrize("scale", [1e-3, 50.0])
@pytest.mark.parametrize("name", MODELS)
def test_what_decays_does_not_depend_on_the_units_of_the_data(name, scale):
    """Once the first batch has set it."""
    found = []
    for unit, offset in ((1.0, 0.0), (scale, 7000 * scale)):
        torch.manual_seed(1)
        model = MODELS[name]().double()
        torch.manual_seed(2)
        with torch.no_grad():
            model.elbo(unit * rows(name) + offset)
        decayed = [group["params"] for group in _groups(model, 0.01) if group["weight_decay"]]
        names = {parameter: key for key, parameter in model.named_parameters()}
        found.append({names[parameter]: parameter.detach() for group in decayed for parameter in group})
    assert found[0].keys() == found[1].keys()
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], atol=1e-6, rtol=1e-6, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize(("offset", "scale"), [(300, 1), (2000, 1), (1e5, 1), (0, 1e-4), (-50, 1e4)])
def test_a_fit_ends_alike_in_any_unit(offset, scale):
    ends = []
    for unit, middle in ((1.0, 0.0), (scale, offset)):
        torch.manual_seed(0)
        train, validation = (unit * torch.randn(n, 2) + middle for n in (1000, 500))
        torch.manual_seed(1)
        model = coupling_mixture(2, 4, **SMALL)
        result = fit(model, train, validation, TrainingConfig(max_steps=60, evaluate_every=20, batch_size=128))
        ends.append(result.best_validation + 2 * torch.tensor(unit).log().item())
    assert ends[1] == pytest.approx(ends[0], abs=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_a_fit_never_ends_below_where_it_began(name):
    train, validation = rows(name).float(), rows(name).float().flip(0)
    torch.manual_seed(3)
    model = MODELS[name]()
    start = copy.deepcopy(model)
    config = TrainingConfig(max_steps=6, evaluate_every=2, learning_rate=5.0, warmup_steps=0, batch_size=64)
    result = fit(model, train, validation, config)
    assert result.best_step == 0
    assert all(row["validation"] < result.best_validation for row in result.history)
    assert evaluate(model, validation).mean() > evaluate(start, validation).mean() - 1e-3
    assert evaluate(model, validation).mean() > result.history[-1]["validation"]


def test_patience_is_with_the_steps_and_not_with_the_start():
    class Drifting(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = nn.Parameter(torch.zeros(()))

        def elbo(self, x):
            return -(x - self.mean).square().flatten()

    train, validation = torch.full((8, 1), -5.0), torch.full((8, 1), 5.0)
    config = TrainingConfig(max_steps=100, evaluate_every=1, patience=3, learning_rate=0.1, warmup_steps=0)
    result = fit(Drifting(), train, validation, config)
    assert (result.best_step, result.steps, result.stopped_early) == (0, 4, True)
