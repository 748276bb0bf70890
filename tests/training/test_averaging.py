import copy

import pytest
import torch
from torch import nn

from tessflow.training.averaging import update_average


class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("started", torch.tensor(False))
        self.register_buffer("bounds", torch.tensor([-torch.inf, 1.0]))


def test_average_follows_its_definition():
    model = Stateful()
    average = copy.deepcopy(model)
    expected = torch.zeros(2)
    for updates in range(30):
        with torch.no_grad():
            for tensor in (model.weight, model.mean, model.scratch):
                tensor.copy_(torch.randn(2))
            model.mean.copy_(model.weight)
            model.count += 1
            model.started.fill_(True)
        decay = min(0.6, updates / (updates + 9))
        expected = decay * expected + (1 - decay) * model.weight.detach()
        update_average(average, model, decay=0.6, updates=updates)
        torch.testing.assert_close(average.weight.detach(), expected)
        torch.testing.assert_close(average.mean, expected)
        assert average.count == model.count
        assert average.started.item() is True
        assert torch.equal(average.bounds, model.bounds)


def test_initial_weights_leave_no_trace():
    model = Stateful()
    average = copy.deepcopy(model)
    with torch.no_grad():
        average.weight.fill_(1e6)
    update_average(average, model, decay=0.999, updates=0)
    assert torch.equal(average.weight, model.weight)


@pytest.mark.parametrize("updates", [0, 1, 1000])
def test_constant_weights_are_kept_exactly(updates):
    model = nn.Linear(5, 5)
    average = copy.deepcopy(model)
    update_average(average, model, decay=0.999, updates=updates)
    assert torch.equal(average.weight, model.weight)
