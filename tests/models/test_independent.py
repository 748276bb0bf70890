import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from tessflow.datasets import independent_columns_nats
from tessflow.models import IndependentColumns

CARDINALITIES = (3, 1, 4, 2)
ROWS = torch.tensor(list(itertools.product(*map(range, CARDINALITIES))))


def fitted(rows=50):
    y = (torch.rand(rows, len(CARDINALITIES)) ** 2 * torch.tensor(CARDINALITIES)).long()
    return IndependentColumns(CARDINALITIES).double().fit(y), y


def test_agrees_with_the_reference_of_data_frames():
    model, y = fitted()
    _, test = fitted(rows=40)
    # Every class occurs, so that both know the same alphabets.
    y = torch.cat([y, ROWS])
    expected = independent_columns_nats(pd.DataFrame(y.numpy()), pd.DataFrame(test.numpy()))
    assert -model.fit(y).log_prob(test).mean().item() == pytest.approx(expected, abs=1e-12)


def test_classes_never_seen_have_half_a_count():
    model = IndependentColumns((2, 3)).double().fit(torch.tensor([[0, 1], [0, 1]]))
    p = model.log_prob(torch.tensor([[0, 1], [1, 2]])).exp()
    np.testing.assert_allclose(p, [2.5 / 3 * 2.5 / 3.5, 0.5 / 3 * 0.5 / 3.5])


def test_is_uniform_before_fit():
    log_p = IndependentColumns(CARDINALITIES).double().log_prob(ROWS)
    assert log_p.tolist() == pytest.approx([-np.log(24)] * 24)


def test_probabilities_are_exact_and_sum_to_one():
    model, _ = fitted()
    assert not model.lower_bound
    assert model.log_prob(ROWS).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_log_prob_keeps_the_shape_of_a_batch():
    model, _ = fitted()
    assert torch.equal(model.log_prob(ROWS.reshape(6, 4, -1)), model.log_prob(ROWS).reshape(6, 4))
    assert model.log_prob(ROWS[:0]).shape == (0,)


def test_samples_follow_the_probabilities():
    model, _ = fitted()
    n = 20_000
    frequency = (model.sample(n)[:, None] == ROWS).all(-1).double().mean(0)
    probability = model.log_prob(ROWS).exp()
    assert frequency.sum() == pytest.approx(1)
    assert ((frequency - probability).abs() < 5 * (probability / n).sqrt()).all()


def test_the_fit_is_where_gradients_vanish():
    model, y = fitted(rows=100_000)
    model.elbo(y).mean().backward()
    assert model.logits.grad.abs().max() < 1e-4


def test_refuses_what_is_no_class():
    model, _ = fitted()
    with pytest.raises(ValueError, match=r"variable 1 has values 0, \.\.\., 0"):
        model.fit(torch.tensor([[0, 1, 0, 0]]))
    with pytest.raises(ValueError, match=r"y must have shape \(..., 4\)"):
        model.log_prob(torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="at least one class"):
        IndependentColumns((3, 0))
    with pytest.raises(ValueError, match="at least one class"):
        IndependentColumns(())
