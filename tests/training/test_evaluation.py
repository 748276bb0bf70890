import pytest
import torch
from noisy_model import NoisyModel, rows

from tessflow.training import evaluate


def test_values_are_the_rows_own_in_evaluation_mode():
    model = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Dropout(0.5))
    data = torch.randn(10, 3)

    def objective(model, x):
        return model(x).squeeze(-1)

    values = evaluate(model, data, objective=objective, batch_size=3)
    torch.testing.assert_close(values, model[0](data).squeeze(-1).detach())
    assert not values.requires_grad
    assert model.training


def test_common_random_numbers_and_the_callers_random_state():
    model, data = NoisyModel(), rows()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = evaluate(model, data, batch_size=16)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(evaluate(model, data, batch_size=16), first)
    assert not torch.equal(evaluate(model, data, batch_size=16, seed=1), first)


def test_mode_is_restored_after_an_error():
    model = NoisyModel()
    with pytest.raises(ValueError, match="one value per row"):
        evaluate(model, rows(), objective=lambda model, y: model.elbo(y).mean())
    assert model.training


def test_no_rows_give_no_values():
    assert evaluate(NoisyModel(), rows(0)).shape == (0,)
