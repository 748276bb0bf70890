"""Draws of which much is asked: exact in every order, and no more is drawn of a row than it takes to reject it."""

import pytest
import torch
from row_cases import KINDS, ORDERS, perturbed, some_rows

from tessflow.models import Number, Restriction, Variable, drawing

CLASSES = (Variable(3), Variable(4), Variable(2), Variable(3))


def two_restrictions(model):
    """Restrictions of the variables that the model takes first, each of which rejects rows."""
    first, second = model.order.tolist()[:2]
    return {first: Restriction((1,)), second: Restriction((0, 1))}


@pytest.mark.parametrize("order", [*ORDERS[:3], (2, 0, 3, 1), *ORDERS[4:5], {"blocks": 2, "components": 3}], ids=str)
def test_rows_follow_the_probabilities_of_those_in_which_all_restrictions_hold(order):
    model, n = perturbed(CLASSES, order=order), 6000
    allowed = two_restrictions(model)
    rows = torch.cartesian_prod(*(torch.arange(variable.classes) for variable in CLASSES))
    # A model of any order has orders of its own: the rarest restriction is drawn first.
    begin = sorted(allowed, key=lambda v: float(model.conditional(rows[:1], v).log_mass(allowed[v])))
    if model.any_order:
        log_prob = model.log_prob_of(rows, begin[:1]).sum(-1) + model.log_prob_of(rows, begin[1:], begin[:1]).sum(-1)
        expected = (log_prob + model.log_joint(rows, given=begin)).exp()
    else:
        expected = model.log_prob(rows).exp()
    for v, restriction in allowed.items():
        expected = expected * torch.isin(rows[:, v], torch.tensor(restriction.codes))
    expected = expected / expected.sum()
    torch.manual_seed(2)
    drawn = model.sample(n, allowed=allowed)
    place = torch.tensor([24, 6, 3, 1])
    frequency = (drawn * place).sum(-1).bincount(minlength=len(rows)) / n
    assert ((frequency - expected).abs() < 5 * (expected * (1 - expected) / n).sqrt() + 1e-9).all()


def test_what_is_rejected_is_drawn_no_further(monkeypatch):
    model, drawn = perturbed(KINDS, order="any"), {}
    plain = drawing._Rows.draw

    def counted(rows, v, allowed=None):
        drawn[v] = drawn.get(v, 0) + len(rows.codes)
        plain(rows, v, allowed)

    monkeypatch.setattr(drawing._Rows, "draw", counted)
    restrictions = {0: Restriction((1,)), 1: Restriction((0,), low=0.0), 3: Restriction((0,), low=1.5, high=4.5)}
    rows = model.sample(300, allowed=restrictions)
    first, second, third = sorted((drawn[v] for v in restrictions), reverse=True)
    assert first > second > third >= 300
    assert drawn[2] == drawn[4] == len(rows) == 300


def test_no_more_rows_are_proposed_at_once_than_are_held_in_memory(monkeypatch):
    model, sizes = perturbed(KINDS, order="any"), []
    plain = drawing._Rows.__init__

    def counted(rows, model, codes, *rest):
        sizes.append(len(codes))
        plain(rows, model, codes, *rest)

    monkeypatch.setattr(drawing._Rows, "__init__", counted)
    monkeypatch.setattr(drawing, "MOST_PROPOSED", 300)
    rare = {v: Restriction((0,), low=low, high=low + 1) for v, low in ((1, 0.0), (3, 1.5), (4, 20.0))}
    assert len(model.sample(20, allowed=rare)) == 20
    assert max(sizes) == 300


@pytest.mark.parametrize("order", ORDERS[:3], ids=str)
@pytest.mark.parametrize("n", [0, 1])
def test_few_rows(order, n):
    model = perturbed(KINDS, order=order)
    assert model.sample(n).shape == (n, some_rows(1).shape[-1])
    assert model.sample(n, allowed=two_restrictions(model) if order == "any" else {}).shape[0] == n


@pytest.mark.parametrize("order", ["natural", "any"])
def test_what_hardly_ever_comes_true_is_refused(order):
    model = perturbed(KINDS[1:2] + KINDS[3:], order=order)
    far = {v: Restriction((0,), low=low, high=low + 1) for v, low in enumerate((30.0, 100.5, 1000.0))}
    with pytest.raises(ValueError, match="what is allowed of 3 variables came true together in 0 of"):
        model.sample(5, allowed=far)


@pytest.mark.parametrize("order", ["natural", "any"])
def test_what_never_comes_true_is_refused(order):
    positive = Variable(1, Number(knots=(1.0, 2.0), scores=(-1.0, 1.0), low=0.0))
    model = perturbed((positive, Variable(2)), order=order)
    with pytest.raises(ValueError, match="what is allowed of variable 0 has no probability"):
        model.sample(5, allowed={0: Restriction((0,), high=-1.0), 1: Restriction((1,))})


@pytest.mark.parametrize("seed", range(20))
def test_a_model_of_one_order_is_walked_in_it_whatever_is_allowed(seed):
    """A restriction that allows all of the first variable has a mass of 1, but for rounding."""
    torch.manual_seed(seed)
    model = perturbed(CLASSES, order=(2, 0, 3, 1))
    allowed = {0: Restriction((0, 1)), 2: Restriction((0, 1))}
    row = torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.float64)
    with torch.no_grad():
        assert list(drawing._rarest_first(model, *row, [], allowed)) == [2, 0]
