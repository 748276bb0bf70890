"""The order of the columns of a model of one order."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from tessflow import TabularFlow
from tessflow.estimators import order_search
from tessflow.estimators.order_search import best_order, candidate_orders, entropies
from tessflow.models import Number, Variable

FAST = {"max_steps": 20, "hidden_features": (16,), "random_state": 0}


def table(rows=400):
    """Columns of ascending entropy, last to first."""
    rng = np.random.default_rng(0)
    rare = rng.random(rows) < 0.05
    return pd.DataFrame({"number": rng.normal(size=rows).round(3), "five": rng.integers(5, size=rows), "rare": rare})


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr(order_search, "MOST_STEPS", 4)


def test_entropies_are_those_of_codes_and_numbers():
    number = Number((0.0, 9.0), (-1.0, 1.0))
    rows = torch.tensor([[0, 1, 3.0], [0, 0, 0.0], [1, 0, 7.0], [1, 0, 8.0]], dtype=torch.float64)
    found = entropies(rows, (Variable(2), Variable(2, number)))
    assert found == pytest.approx([np.log(2), np.log(4)])


def test_candidates_are_distinct_and_begin_with_that_of_the_table():
    frame = table()
    flow = TabularFlow(**FAST).fit(frame)
    variables = flow.schema_.variables
    orders = candidate_orders(flow.schema_.encode(frame), variables)
    assert orders[:2] == [[0, 1, 2], [2, 1, 0]]
    assert len({tuple(order) for order in orders}) == len(orders) <= 4
    assert all(sorted(order) == [0, 1, 2] for order in orders)


def test_the_best_on_validation_rows_is_chosen(monkeypatch):
    def fit(model, *rows, **options):
        return SimpleNamespace(best_validation=-float(model.order[0]))  # the best begins with the first column

    monkeypatch.setattr(order_search, "fit", fit)
    monkeypatch.setattr(order_search, "candidate_orders", lambda *_, **__: [[1, 2, 0], [0, 2, 1], [2, 1, 0]])
    rows = torch.randint(2, (50, 3))
    assert best_order(rows, rows, (Variable(2),) * 3) == [0, 2, 1]


def test_the_callers_random_state_is_kept(brief):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    rows = torch.randint(2, (50, 3))
    torch.set_rng_state(state)
    best_order(rows, rows, (Variable(2),) * 3)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("order", ["any", "fixed", "table", None])
def test_a_saved_model_keeps_its_order(order, monkeypatch, tmp_path):
    monkeypatch.setattr("tessflow.estimators.order_search.best_order", lambda *rows, **options: [2, 0, 1])
    frame = table()
    flow = TabularFlow(order=order, **FAST).fit(frame)
    names = ("rare", "number", "five") if order == "fixed" else ("number", "five", "rare")
    assert flow.order_ == names
    flow.save(tmp_path)
    loaded = TabularFlow.load(tmp_path)
    assert loaded.order_ == names
    np.testing.assert_array_equal(loaded.score_samples(frame), flow.score_samples(frame))
    pd.testing.assert_frame_equal(loaded.score_columns(frame), flow.score_columns(frame))
    if order == "fixed":  # what is given comes first in its own order
        assert np.isfinite(loaded.score_samples(frame, columns=["number"], given=["rare"])).all()
        with pytest.raises(ValueError, match="this model has one order"):
            loaded.score_samples(frame, given=["number"])


def test_the_coupling_backbone_has_no_order():
    assert TabularFlow("coupling", layers=1, **FAST).fit(table()).order_ is None


def test_verbose_fits_say_the_order(brief, capsys):
    TabularFlow(order="fixed", verbose=True, **FAST).fit(table())
    assert "order of the columns: " in capsys.readouterr().err


def test_a_fit_that_goes_on_finds_the_same_order(brief, tmp_path):
    once = TabularFlow(order="fixed", **FAST).fit(table(), directory=tmp_path)
    again = TabularFlow(order="fixed", **FAST).fit(table(), directory=tmp_path)
    assert once.order_ == again.order_
    np.testing.assert_array_equal(once.score_samples(table()), again.score_samples(table()))
