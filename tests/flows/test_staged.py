"""Masked networks, stage after stage."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tessflow.flows.staged import StagedNetwork, StagedPass

# Which of 3 stages each of 6 inputs belongs to; not in order, so that units have to be sorted.
STAGE = torch.tensor([2, 0, 1, 1, 0, 2])


def wild(adjacency, **options):
    torch.manual_seed(0)
    network = StagedNetwork(adjacency, hidden_features=(9, 7), **options).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network.eval()


def stages_of(network, known, x, stages):
    passed = StagedPass(network, known)
    return [passed.output(stage, torch.where(known <= stage, x, torch.nan)) for stage in range(stages)]


@pytest.mark.parametrize("nested", [True, False])
def test_outputs_of_all_stages_are_those_of_one_pass(nested):
    """What is not known yet is NaN: no output may look at it, nor multiply it by 0."""
    rows = STAGE.repeat_interleave(2)
    adjacency, known = rows[:, None] > STAGE, STAGE + 1
    if not nested:  # beside earlier stages, a part of its own that no other stage sees
        adjacency = torch.cat([adjacency, rows[:, None] == STAGE], 1)
        known = torch.cat([known, STAGE])
    network, x = wild(adjacency), torch.randn(5, len(known), dtype=torch.float64)
    expected = network(x)
    for stage, output in enumerate(stages_of(network, known, x, 3)):
        assert_close(output, expected[:, rows == stage])


def test_a_stage_may_be_left_out():
    network, x = wild(STAGE[:, None] > STAGE), torch.randn(5, 6, dtype=torch.float64)
    passed = StagedPass(network, STAGE + 1)
    assert_close(passed.output(0, x), network(x)[:, STAGE == 0])
    assert_close(passed.output(2, x), network(x)[:, STAGE == 2])


def test_starts_at_zero_and_no_input_goes_unseen():
    adjacency = torch.arange(40)[:, None] > torch.arange(40)
    network = StagedNetwork(adjacency, hidden_features=(3,))
    assert network(torch.randn(2, 40)).abs().max() == 0
    with torch.no_grad():
        network[-1].weight.fill_(1)
    jacobian = torch.autograd.functional.jacobian(network, torch.randn(40))
    assert (jacobian != 0).equal(adjacency)


def test_masks_may_come_from_another_network():
    """Weights of a model with another order are loaded with the order."""
    other = torch.tensor([0, 1, 2, 2, 1, 0])
    network, loaded = wild(STAGE[:, None] > STAGE), wild(other[:, None] > other)
    loaded.load_state_dict(network.state_dict())
    x = torch.randn(5, 6, dtype=torch.float64)
    for stage, output in enumerate(stages_of(loaded, STAGE + 1, x, 3)):
        assert_close(output, network(x)[:, stage == STAGE])
