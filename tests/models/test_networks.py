"""Networks that see what comes before: a walk through the variables gives what one pass gives."""

import pytest
import torch
from torch.testing import assert_close

from tessflow.models.networks import AnyOrderNetwork, MaskedNetwork

SIZES = (3, 1, 4, 3, 2)
ORDER = torch.tensor([2, 0, 4, 1, 3])
every_kind = pytest.mark.parametrize("kind", ["masked", "any"])


def make(kind, width=32, dropout=0.0):
    torch.manual_seed(0)
    options = {"hidden_features": (width, width), "dropout": dropout}
    if kind == "any":
        network = AnyOrderNetwork(2, SIZES, **options)
        for head in network.heads.values():
            torch.nn.init.normal_(head)
    else:
        network = MaskedNetwork(ORDER.argsort(), 2, SIZES, **options)
        torch.nn.init.normal_(network[-1].weight)
    return network.eval().double()


def sees(order):
    """What each variable sees in an order, or in each row's own."""
    place = order.argsort(-1)
    return place[..., None, :] < place[..., :, None]


def run(network, x, order=ORDER):
    return network(x) if isinstance(network, MaskedNetwork) else network(x, sees(order))


def parts(output):
    return output.split(SIZES, -1)


@every_kind
@torch.no_grad()
def test_a_walk_gives_what_one_pass_gives(kind):
    network, x = make(kind), torch.randn(6, 5, 2, dtype=torch.float64)
    expected = parts(run(network, x))
    walk = network.walk(torch.zeros_like(x), ORDER.argsort())
    for n in ORDER.tolist():
        assert_close(walk.output(n), expected[n])
        walk.step(n, x[:, n])


# As wide as what is seen of two variables, and of all five: a layer adds to an input as wide as itself.
every_width = pytest.mark.parametrize("width", [6, 15, 64])


@every_width
@torch.no_grad()
def test_one_order_for_all_rows_is_that_order(width):
    network, x = make("any", width=width), torch.randn(3, 5, 2, dtype=torch.float64)
    for order in torch.rand(4, 5).argsort(-1):
        expected, walk = parts(run(network, x, order)), network.walk(torch.zeros_like(x), order.argsort())
        for n in order.tolist():
            assert_close(walk.output(n), expected[n])
            walk.step(n, x[:, n])
        assert_close(parts(network.in_order(x, order.tolist())), expected)


@every_width
@torch.no_grad()
def test_an_order_may_leave_variables_out_and_begin_with_some_that_need_no_output(width):
    network, x = make("any", width=width), torch.randn(3, 5, 2, dtype=torch.float64)
    order = torch.tensor([3, 1, 4, 0, 2])
    expected = [part if n in (1, 4) else 0 * part for n, part in enumerate(parts(run(network, x, order)))]
    x[:, [0, 2]] = torch.nan
    assert_close(parts(network.in_order(x, [3, 1, 4], given=1)), tuple(expected))


@every_kind
def test_outputs_are_functions_of_what_comes_before(kind):
    network = make(kind)
    x = torch.randn(1, 5, 2, dtype=torch.float64, requires_grad=True)
    rank = ORDER.argsort().tolist()
    for n, output in enumerate(parts(run(network, x))):
        (gradient,) = torch.autograd.grad(output.square().sum(), x, retain_graph=True)
        seen = (gradient != 0).any(-1)[0].tolist()
        assert seen == [rank[other] < rank[n] for other in range(5)]


@torch.no_grad()
def test_orders_of_rows_are_their_own():
    network, x = make("any"), torch.randn(8, 5, 2, dtype=torch.float64)
    orders = torch.rand(8, 5).argsort(-1)
    together = run(network, x, orders)
    for row in range(8):
        assert_close(run(network, x[row : row + 1], orders[row]), together[row : row + 1])


@torch.no_grad()
def test_what_is_not_seen_makes_no_difference_nor_does_the_order_of_what_is():
    network, x = make("any"), torch.randn(4, 5, 2, dtype=torch.float64)
    other = x.clone()
    other[:, [1, 2]] = torch.nan
    seen = torch.tensor([True, False, False, True, False])
    alone = network.one(4, x, seen.expand(4, -1))
    assert_close(network.one(4, other, seen.expand(4, -1)), alone)
    for order in ([3, 0, 4, 2, 1], [0, 3, 4, 1, 2]):
        assert_close(parts(run(network, x, torch.tensor(order)))[4], alone)


@every_kind
def test_starts_at_zero(kind):
    options = {"hidden_features": (16,), "dropout": 0.1}
    network = (
        AnyOrderNetwork(2, SIZES, **options) if kind == "any" else MaskedNetwork(ORDER.argsort(), 2, SIZES, **options)
    )
    assert run(network, torch.randn(3, 5, 2)).eq(0).all()


@every_kind
def test_dropout_is_of_training_only(kind):
    network, x = make(kind, dropout=0.5), torch.randn(3, 5, 2, dtype=torch.float64)
    assert not run(network.train(), x).equal(run(network, x))
    assert run(network.eval(), x).equal(run(network, x))
