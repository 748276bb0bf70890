import pytest

from tessflow.models.orders import average_over, orders_of


@pytest.mark.parametrize("variables", [1, 2, 3, 4, 30])
def test_orders_are_distinct_permutations_that_begin_with_the_natural_one(variables):
    orders = orders_of(variables, 16)
    assert orders[0] == list(range(variables))
    assert all(sorted(order) == orders[0] for order in orders)
    assert len({tuple(order) for order in orders}) == len(orders) == min(16, {1: 1, 2: 2, 3: 6}.get(variables, 16))


def test_fewer_orders_are_the_first_of_more():
    assert all(orders_of(7, count) == orders_of(7, 20)[:count] for count in range(1, 20))


def test_orders_come_with_their_reverses():
    orders = orders_of(9, 8)
    assert all(one == other[::-1] for one, other in zip(orders[::2], orders[1::2], strict=True))


def test_orders_stay_the_same_for_ever():
    assert orders_of(5, 4)[2:] == [[2, 0, 1, 3, 4], [4, 3, 1, 0, 2]]


def test_wide_tables_have_fewer_orders():
    counts = [average_over(variables) for variables in range(1, 300)]
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[15], counts[-1]) == (8, 8, 1)
