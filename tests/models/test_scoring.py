"""Rows scored in an order of their own each, and all in one order, which is faster: the numbers are the same."""

import pytest
import torch
from row_cases import KINDS, REAL, WHOLE, perturbed, some_rows
from torch.testing import assert_close

from tessflow.models import Variable, scoring
from tessflow.models.scoring import score_in_orders, score_rows
from tessflow.models.variables import Ascent

# Numbers that are never above another, so that what is seen cuts them off.
LIMITED = (Variable(3), Variable(1, REAL), Variable(2, WHOLE), Variable(1, REAL))
MODELS = {
    "every kind": lambda: (perturbed(KINDS, order="any"), some_rows(20)),
    "cut off": lambda: (perturbed(LIMITED, order="any", ascents=(Ascent(1, 3),)), in_order(some_rows(20, LIMITED))),
    "many classes": lambda: (perturbed((Variable(40), Variable(3)), order="any", most_logits=39), classes()),
}
every_model = pytest.mark.parametrize("name", MODELS)


def in_order(y):
    """Rows in which the second variable is not above the fourth."""
    ends = y[:, [4, 6]].sort(-1).values
    y[:, [4, 6]] = ends
    return y


def classes():
    return torch.stack([torch.randint(count, (20,)) for count in (40, 3)], -1)


def one_by_one(model, y, order, *, samples=1):
    """The log-probabilities in one order, which is given as each row's own."""
    place = torch.full((len(model.variables),), len(model.variables))
    place[order] = torch.arange(len(order))
    return score_rows(model, y, place.expand(len(y), -1), samples=samples)


@every_model
@torch.no_grad()
def test_all_rows_in_one_order_score_as_rows_each_in_that_order(name):
    model, y = MODELS[name]()
    count = len(model.variables)
    orders = [list(range(count)), *torch.rand(4, count).argsort(-1).tolist()]
    for order in orders:
        torch.manual_seed(1)
        found = score_in_orders(model, y, [order])[0]
        torch.manual_seed(1)
        assert_close(found, one_by_one(model, y, order))
    if model.conditionals.exact:
        assert_close(score_in_orders(model, y, orders), torch.stack([one_by_one(model, y, order) for order in orders]))


@pytest.mark.parametrize(("order", "given"), [([4, 1], 1), ([3, 0, 2], 2), ([1], 0)], ids=str)
@torch.no_grad()
def test_what_is_left_out_is_not_looked_at_and_what_is_given_is_seen(order, given):
    model, y = perturbed(KINDS, order="any"), some_rows(20)
    expected = one_by_one(model, y, order)[:, order[given:]]
    other = some_rows(20)
    columns = {0: [0], 1: [1, 5], 2: [2], 3: [3, 6], 4: [4, 7]}
    seen = [column for n in order for column in columns[n]]
    other[:, seen] = y[:, seen]
    assert_close(score_in_orders(model, other, [order], given)[0][:, order[given:]], expected)


@pytest.mark.parametrize("options", [{"order": "any", "orders": 4}, {"order": (4, 2, 0, 3, 1)}, {"blocks": 2}], ids=str)
def test_rows_are_scored_alone_as_among_others(options, monkeypatch):
    model, y = perturbed(KINDS, **options), some_rows(20)
    whole = model.log_prob(y)
    monkeypatch.setattr(scoring, "_ROWS", 7)
    assert_close(model.log_prob(y), whole)
    assert_close(model.log_prob(y[3:4]), whole[3:4])
    assert model.log_prob(y[:0]).shape == (0,)


def test_scores_can_be_differentiated():
    model = perturbed((Variable(3), Variable(4), Variable(2)), order="any")
    y = torch.tensor([[0, 3, 1], [2, 1, 0]])
    score_rows(model, y).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert any(p.grad is not None and (p.grad != 0).any() for p in model.parameters())


def test_rows_may_have_several_batch_dimensions():
    model = perturbed((Variable(3), Variable(4), Variable(2)), order="any")
    y = torch.stack([torch.randint(count, (2, 3)) for count in (3, 4, 2)], -1)
    assert_close(model.log_prob(y), model.log_prob(y.view(6, 3)).view(2, 3))
    assert_close(model.log_prob_of(y), model.log_prob_of(y.view(6, 3)).view(2, 3, 3))
