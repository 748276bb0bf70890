"""What holds of every model: whole codes, full precision, weights that know their options."""

from __future__ import annotations

import pytest
import torch
from every_model import DISCRETE, MODELS, REAL, made
from torch import nn

import tessflow.models
from tessflow.dequantization import VoronoiDequantizer
from tessflow.geometry import VoronoiTessellation
from tessflow.models import (
    KDPP,
    CharacterModel,
    DequantizedFlow,
    DiscreteFlow,
    IndependentColumns,
    MatchedFlow,
    MatchedSets,
    Number,
    Variable,
    coupling_mixture,
)
from tessflow.models.mixed import MixedFlow
from tessflow.training import load_weights, save_weights


def test_there_is_one_of_every_kind():
    public = [getattr(tessflow.models, name) for name in tessflow.models.__all__]
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, nn.Module)}
    assert kinds <= {type(make()) for make, _ in MODELS.values()}


def scores(model, rows):
    """Both log-probabilities that a model has, by the same noise."""
    torch.manual_seed(1)
    values = [model.elbo(rows)]
    if hasattr(model, "log_prob"):
        values.append(model.log_prob(rows))
    return values


@pytest.mark.parametrize("name", DISCRETE)
def test_codes_that_are_not_whole_are_refused(name):
    model, rows = made(name)
    rows = rows.double()
    rows[-1].flatten()[0] = 0.7
    for method in (model.elbo, model.log_prob):
        with pytest.raises(ValueError, match="whole numbers"):
            method(rows)


@pytest.mark.parametrize("name", DISCRETE)
def test_codes_below_0_are_refused(name):
    model, rows = made(name)
    rows = rows.long().clone()
    rows[-1].flatten()[0] = -1
    with pytest.raises(ValueError, match=r"-1|got"):
        model.log_prob(rows)


@pytest.mark.parametrize("name", MODELS)
def test_half_precision_ends_with_the_networks(name):
    model, rows = made(name)
    exact = scores(model, rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = scores(model, rows)
    for value, expected in zip(found, exact, strict=True):
        assert value.dtype in (torch.float32, torch.float64)
        torch.testing.assert_close(value, expected, atol=0.2, rtol=0.05, check_dtype=False)


def test_long_texts_are_scored_alike_in_half_precision():
    torch.manual_seed(0)
    model, y = CharacterModel(27, 200), torch.randint(27, (20, 200))
    exact = model.log_prob(y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.log_prob(y)
    assert (found - exact).abs().max() < 0.3


SMALL = {"hidden_features": (8,)}
NUMBERS = [Number(knots=(0.0, end), scores=(-1.0, 1.0)) for end in (1.0, 2.0)]
# Pairs with the same names and shapes of weights, in which they mean something else.
OPTIONS = {
    "box of a tessellation": [
        lambda box=box: VoronoiTessellation.random((2, 3), 2, box=box) for box in (None, (-1, 1))
    ],
    "walls of a tessellation": [
        lambda end=end: VoronoiTessellation.random((2, 3), 2, box=(-end, end)) for end in (1.0, 3.0)
    ],
    "order of cardinalities": [lambda k=k: VoronoiDequantizer(k, 2, **SMALL) for k in ((2, 3), (3, 2))],
    "profile of cells": [
        lambda profile=profile: VoronoiDequantizer((2, 3), 2, profile=profile, **SMALL)
        for profile in ("softsign", "truncated-gaussian")
    ],
    "box of cells": [
        lambda box=box: DequantizedFlow(nn.Linear(1, 1), VoronoiDequantizer((2, 3), 2, box=box, **SMALL))
        for box in (None, (-3.0, 3.0))
    ],
    "profile of a mixture": [
        lambda profile=profile: coupling_mixture(2, 3, layers=1, profile=profile, **SMALL)
        for profile in ("cube", "truncated-gaussian")
    ],
    "box of a mixture": [lambda box=box: coupling_mixture(2, 3, layers=1, box=box, **SMALL) for box in (True, False)],
    "background of a mixture": [
        lambda share=share: coupling_mixture(2, 3, layers=1, background=share, **SMALL) for share in (0.0, 0.1)
    ],
    "base of a mixture": [
        lambda base=base: coupling_mixture(2, 3, layers=1, profile="softsign", base=base, **SMALL)
        for base in ("cauchy", "gaussian")
    ],
    "numbers of a column": [lambda number=number: MatchedFlow([Variable(1, number)], **SMALL) for number in NUMBERS],
    "numbers of a coupling": [
        lambda number=number: MixedFlow([Variable(1, number)], layers=1, **SMALL) for number in NUMBERS
    ],
    "what is seen": [lambda seen=seen: MatchedFlow((2, 3), condition_on=seen, **SMALL) for seen in ("cell", "point")],
    "blocks": [lambda blocks=blocks: MatchedFlow((2, 3, 2), blocks=blocks, **SMALL) for blocks in (2, 3)],
    "columns": [lambda k=k: IndependentColumns(k) for k in ((2, 3), (3, 2))],
    "temperature": [lambda t=t: DiscreteFlow((3, 3), temperature=t) for t in (0.1, 0.5)],
    "size of sets": [lambda size=size: KDPP(5, size) for size in (2, 3)],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_weights_of_other_options_are_refused(name, tmp_path):
    saved, other = (make() for make in OPTIONS[name])
    path, before = tmp_path / "weights.safetensors", {k: v.clone() for k, v in other.state_dict().items()}
    save_weights(saved, path)
    with pytest.raises(ValueError, match="weights of another model"):
        load_weights(other, path)
    assert all(value.equal(before[name]) for name, value in other.state_dict().items())
    with pytest.raises(RuntimeError, match=r"another model|Missing key"):
        other.load_state_dict(saved.state_dict())


@pytest.mark.parametrize("name", MODELS)
def test_weights_of_the_same_options_are_read(name, tmp_path):
    model, rows = made(name)
    other = MODELS[name][0]().eval()
    save_weights(model, tmp_path / "weights.safetensors")
    load_weights(other, tmp_path / "weights.safetensors")
    assert scores(other, rows)[0].equal(scores(model, rows)[0])
    other.load_state_dict(model.state_dict())
    other.load_state_dict(dict(model.state_dict()))  # as files of older versions, without options


@pytest.mark.parametrize(
    ("saved", "other"),
    [
        (lambda: CharacterModel(3, 2, hidden_features=8), lambda: CharacterModel(3, 9, hidden_features=8)),
        (lambda: MatchedSets(5, 2), lambda: MatchedSets(5, 3)),
        (lambda: MatchedFlow((2, 3), order="any"), lambda: MatchedFlow((2, 3), order="any", orders=4, dropout=0.1)),
    ],
)
def test_options_that_leave_the_meaning_of_weights_may_be_others(saved, other, tmp_path):
    save_weights(saved(), tmp_path / "weights.safetensors")
    load_weights(other(), tmp_path / "weights.safetensors")


@pytest.mark.parametrize("name", REAL)
def test_numbers_far_away_have_a_finite_log_probability(name):
    model, rows = made(name)
    assert model.elbo(rows * 1e6).isfinite().all()
