"""No model draws from torch's own state within `seeded`, whether it trains, scores, draws or is placed."""

import inspect

import pytest
import torch
from model_cases import MODELS, initialized, sampled
from torch import nn

import tessflow.models
from tessflow.flows import AttentionField, equivariant_flow
from tessflow.models import MatchedFlow, Restriction
from tessflow.randomness import seeded


def uses(model, rows):
    """Everything that a model draws for."""
    initialized(model, rows).train()
    objective = model.elbo(rows)
    objective.sum().backward()
    model.eval()
    yield objective.detach()
    yield model.elbo(rows).detach()
    with torch.no_grad():
        if hasattr(model, "log_prob"):
            yield model.log_prob(rows, **({"samples": 3} if "samples" in _arguments(model.log_prob) else {}))
        yield sampled(model, 5)
        if isinstance(model, MatchedFlow) and model.has_every_conditional:
            number = Restriction((0,), low=-1.0, high=2.0)
            yield model.sample(5, allowed={0: Restriction((0, 1)), 1: number})


def _arguments(function):
    return inspect.signature(function).parameters


@pytest.mark.parametrize("name", MODELS)
def test_no_draw_of_a_model_escapes(name):
    make, rows = MODELS[name]
    results = []
    for outside in (0, 1):
        torch.manual_seed(outside)
        state = torch.get_rng_state()
        with seeded(7):
            model = make()
        with seeded(8, redirect=False):
            results.append(list(uses(model, rows)))
        assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_every_model_is_tried():
    tried = {type(part) for make, _ in MODELS.values() for part in make().modules()}
    models = {kind for kind in vars(tessflow.models).values() if inspect.isclass(kind) and issubclass(kind, nn.Module)}
    assert models <= tried


def test_hutchinsons_probe_is_seeded():
    flow = equivariant_flow(3, 2, field=AttentionField(2, width=8), base="gaussian").train()
    state = torch.get_rng_state()
    with seeded(0, redirect=False):
        flow().log_prob(torch.ones(4, 6))
    assert torch.equal(torch.get_rng_state(), state)
