"""Networks that see what comes before: a walk through the variables gives what one pass gives."""

import pytest
import torch
from torch.testing import assert_close

from tessflow.models.networks import AnyOrderNetwork, MaskedNetwork

SIZES = (3, 1, 4, 3, 2)
ORDER = torch.tensor([2, 0, 4, 1, 3])
every_kind = pytest.mark.parametrize("kind", ["masked", "any"])


def make(kind, width=32):
    torch.manual_seed(0)
    if kind == "any":
        network = AnyOrderNetwork(2, SIZES, width=width, blocks=2, dropout=0.0)
        for head in network.heads.values():
            torch.nn.init.normal_(head)
    else:
        network = MaskedNetwork(ORDER, 2, SIZES, hidden_features=(width, width), dropout=0.0)
        torch.nn.init.normal_(network[-1].weight)
    return network.eval().double()


def parts(output):
    return output.split(SIZES, -1)


@every_kind
@torch.no_grad()
def test_a_walk_gives_what_one_pass_gives(kind):
    network, x = make(kind), torch.randn(6, 5, 2, dtype=torch.float64)
    expected = parts(network(x, ORDER))
    walk = network.walk(torch.zeros_like(x))
    for n in ORDER.tolist():
        assert_close(walk.output(n), expected[n])
        walk.step(n, x[:, n])


@torch.no_grad()
def test_a_walk_in_any_order_is_that_order():
    network, x = make("any", width=64), torch.randn(3, 5, 2, dtype=torch.float64)
    for order in torch.rand(4, 5).argsort(-1):
        expected, walk = parts(network(x, order)), network.walk(x)
        for n in order.tolist():
            assert_close(walk.output(n), expected[n])
            walk.step(n, x[:, n])


@every_kind
def test_outputs_are_functions_of_what_comes_before(kind):
    network = make(kind)
    x = torch.randn(1, 5, 2, dtype=torch.float64, requires_grad=True)
    rank = ORDER.argsort().tolist()
    for n, output in enumerate(parts(network(x, ORDER))):
        (gradient,) = torch.autograd.grad(output.square().sum(), x, retain_graph=True)
        sees = (gradient != 0).any(-1)[0].tolist()
        assert sees == [rank[other] < rank[n] for other in range(5)]


@torch.no_grad()
def test_orders_of_rows_are_their_own():
    network, x = make("any"), torch.randn(8, 5, 2, dtype=torch.float64)
    orders = torch.rand(8, 5).argsort(-1)
    together = network(x, orders)
    for row in range(8):
        assert_close(network(x[row : row + 1], orders[row]), together[row : row + 1])


@torch.no_grad()
def test_variables_not_in_the_order_are_not_seen():
    network, x = make("any"), torch.randn(4, 5, 2, dtype=torch.float64)
    other = x.clone()
    other[:, [1, 2]] = torch.nan
    some = torch.tensor([3, 0, 4])
    for n in (3, 0, 4):
        seen = parts(network(x, some))[n]
        assert_close(parts(network(other, some))[n], seen)
        # The same as in a longer order that begins so.
        assert_close(parts(network(x, torch.tensor([3, 0, 4, 2, 1])))[n], seen)


@every_kind
def test_starts_at_zero(kind):
    if kind == "any":
        network = AnyOrderNetwork(2, SIZES, width=16, blocks=1, dropout=0.1)
    else:
        network = MaskedNetwork(ORDER, 2, SIZES, hidden_features=(16,), dropout=0.1)
    assert network(torch.randn(3, 5, 2), ORDER).eq(0).all()


@pytest.mark.parametrize("width", [1, 20, 33, 100])
def test_any_width_will_do(width):
    network = AnyOrderNetwork(2, SIZES, width=width, blocks=1, dropout=0.0)
    assert network(torch.zeros(2, 5, 2), ORDER).shape == (2, 13)


@every_kind
def test_dropout_is_of_training_only(kind):
    torch.manual_seed(0)
    options = {"any": {"width": 16, "blocks": 1}, "masked": {"hidden_features": (16,)}}[kind]
    first = () if kind == "any" else (ORDER,)
    network = (AnyOrderNetwork if kind == "any" else MaskedNetwork)(*first, 2, SIZES, dropout=0.5, **options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(3, 5, 2)
    assert not network.train()(x, ORDER).equal(network(x, ORDER))
    assert network.eval()(x, ORDER).equal(network(x, ORDER))
