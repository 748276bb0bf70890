"""k-DPP and independent items, against enumeration."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tessflow.models import KDPP, IndependentItems, log_elementary_symmetric

LAWS = {
    "independent": lambda: IndependentItems(6, 3),
    "low rank": lambda: KDPP(6, 3, rank=4),
    "full rank": lambda: KDPP(6, 3, rank=6),
    "smallest rank": lambda: KDPP(6, 3, rank=3),
    "one item": lambda: KDPP(6, 1, rank=2),
    "all items": lambda: IndependentItems(3, 3),
}


def perturbed(name, dtype=torch.float64):
    torch.manual_seed(0)
    law = LAWS[name]().to(dtype)
    for parameter in law.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return law


def subsets(items, size):
    return torch.combinations(torch.arange(items), size).reshape(-1, size)


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=9), st.data())
@settings(deadline=None, max_examples=30)
def test_elementary_symmetric_polynomials(log_values, data):
    k = data.draw(st.integers(0, len(log_values)))
    products = [math.fsum(chosen) for chosen in itertools.combinations(log_values, k)]
    expected = torch.tensor(products, dtype=torch.float64).logsumexp(0)
    found = log_elementary_symmetric(torch.tensor(log_values, dtype=torch.float64), k)
    torch.testing.assert_close(found, expected)


def test_polynomials_of_batches_and_far_values():
    values = torch.randn(2, 3, 7, dtype=torch.float64)
    found = log_elementary_symmetric(values, 4)
    assert found.shape == (2, 3)
    torch.testing.assert_close(found[1, 2], log_elementary_symmetric(values[1, 2], 4))
    # All products would be 0 or infinite in float32.
    far = torch.full((100,), 60.0)
    torch.testing.assert_close(log_elementary_symmetric(far, 4), torch.tensor(240 + math.log(math.comb(100, 4))))
    torch.testing.assert_close(log_elementary_symmetric(-far, 4), torch.tensor(-240 + math.log(math.comb(100, 4))))
    with pytest.raises(ValueError, match="k must be between 0 and the number of values, 3, got 4"):
        log_elementary_symmetric(torch.zeros(3), 4)


def test_the_gradient_of_a_polynomial_is_a_chance():
    values = torch.randn(6, dtype=torch.float64, requires_grad=True)
    log_elementary_symmetric(values, 3).backward()
    rows = subsets(6, 3)
    chance = values.detach()[rows].sum(-1).softmax(0)
    included = torch.zeros(6, dtype=torch.float64).index_add(0, rows.flatten(), chance.repeat_interleave(3))
    torch.testing.assert_close(values.grad, included)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LAWS)
def test_probabilities_sum_to_one(name, dtype):
    law = perturbed(name, dtype)
    log_prob = law.log_prob(subsets(law.items, law.size))
    assert log_prob.dtype == dtype
    assert log_prob.isfinite().all()
    assert log_prob.double().exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert not law.lower_bound


def test_a_dpp_is_determinants():
    law = perturbed("low rank")
    factor = law.directions.detach() * law.log_lengths.detach().exp()[:, None]
    kernel = factor @ factor.mT
    determinants = torch.stack([torch.det(kernel[row][:, row]) for row in subsets(6, 3)])
    torch.testing.assert_close(law.log_prob(subsets(6, 3)).exp(), determinants / determinants.sum())


@pytest.mark.parametrize("name", ["independent", "low rank", "full rank", "smallest rank"])
@pytest.mark.parametrize("known", [[4], [5, 1], [2, 0, 3]])
def test_what_is_given_conditions(name, known):
    law, known = perturbed(name), torch.tensor(known)
    others = torch.arange(6)[~torch.isin(torch.arange(6), known)]
    rest = others[subsets(len(others), 3 - len(known))] if len(known) < 3 else torch.empty(1, 0, dtype=torch.int64)
    found = law.log_prob(rest, given=known)
    joint = law.log_prob(torch.cat([known.expand(len(rest), -1), rest], -1))
    torch.testing.assert_close(found, joint.log_softmax(0))


@pytest.mark.parametrize("known", [[], [4]])
@pytest.mark.parametrize("spread", [5.0, 0.0])
@pytest.mark.parametrize("noise", [1.0, 1e-3])
def test_kernels_near_low_rank_and_of_far_lengths(spread, noise, known):
    torch.manual_seed(0)
    law, known = KDPP(8, 4, rank=8), torch.tensor(known, dtype=torch.int64)
    with torch.no_grad():
        law.log_lengths.normal_(std=spread)
        law.directions.copy_(torch.randn(8, 2) @ torch.randn(2, 8) + noise * torch.randn(8, 8))
    rows = torch.arange(8)[~torch.isin(torch.arange(8), known)][subsets(8 - len(known), 4 - len(known))]
    log_prob = law.log_prob(rows, given=known)
    assert log_prob.dtype == torch.float32
    assert log_prob.double().exp().sum().item() == pytest.approx(1, abs=1e-5)
    law.elbo(subsets(8, 4)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in law.parameters())
    drawn, counts = law.sample(2000, given=known).sort(-1).values.unique(dim=0, return_counts=True)
    expected = 2000 * law.log_prob(drawn, given=known).exp()
    assert ((counts - expected).abs() < 5 * expected.sqrt() + 1).all()


@pytest.mark.parametrize("known", [None, [4], [5, 1]])
@pytest.mark.parametrize("name", LAWS)
def test_sets_are_drawn_as_often_as_they_should(name, known):
    law, n = perturbed(name), 20_000
    known = torch.tensor([] if known is None else known, dtype=torch.int64)[: law.size - 1]
    known = known[known < law.items]
    torch.manual_seed(1)
    drawn = law.sample(n, given=known)
    assert drawn.shape == (n, law.size - len(known))
    rows, counts = drawn.sort(-1).values.unique(dim=0, return_counts=True)
    expected = n * law.log_prob(rows, given=known).exp()
    assert ((counts - expected).abs() < 5 * expected.sqrt() + 1).all()


@pytest.mark.parametrize("name", LAWS)
def test_gradients(name):
    law = perturbed(name)
    rows = subsets(law.items, law.size)[:2]
    torch.testing.assert_close(law.elbo(rows), law.log_prob(rows))
    law.elbo(rows).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in law.parameters())
    # A step along the gradient raises the likelihood by its square.
    squares = sum(parameter.grad.square().sum() for parameter in law.parameters())
    before, step = law.elbo(rows).sum(), 1e-6
    with torch.no_grad():
        for parameter in law.parameters():
            parameter += step * parameter.grad
    torch.testing.assert_close(law.elbo(rows).sum() - before, step * squares, rtol=1e-3, atol=1e-12)


def test_equal_eigenvalues_have_a_finite_gradient():
    law = KDPP(4, 2, rank=4)
    with torch.no_grad():
        law.directions.copy_(torch.eye(4))
    law.elbo(subsets(4, 2)).sum().backward()
    assert law.directions.grad.isfinite().all()
    assert law.log_prob(subsets(4, 2)).exp().tolist() == pytest.approx([1 / 6] * 6)


def test_independent_items_are_the_most_likely():
    torch.manual_seed(0)
    rows = perturbed("independent").sample(5000)
    law = IndependentItems(6, 3).double().initialize(rows)
    best = law.log_prob(rows).mean()
    law.elbo(rows).mean().backward()
    assert law.logits.grad.abs().max() < 1e-3  # but for the half time that each item is added
    truth = perturbed("independent").log_prob(rows).mean()
    assert best > truth - 1e-4


def test_a_dpp_starts_from_frequencies():
    torch.manual_seed(0)
    rows = IndependentItems(20, 3).initialize(subsets(5, 3)).sample(1000)  # nearly none of the last items
    law = KDPP(20, 3, rank=15)
    before = law.log_prob(rows).mean()
    assert law.initialize(rows).log_prob(rows).mean() > before + 1


@pytest.mark.parametrize("law", [IndependentItems(5, 3), KDPP(5, 3, rank=4)], ids=["independent", "dpp"])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 1, 2], [3, 4, 3]], r"holds an item once, but a row is \[3, 4, 3\]"),
        ([[0, 1]], "sets have 3 items, got rows of 2"),
        ([[0, 1, 5]], "from 5 to 5"),
        ([[-1, 1, 2]], "from -1 to -1"),
    ],
)
def test_rows_that_are_no_sets(law, rows, message):
    for scored in (law.log_prob, law.elbo, law.initialize):
        with pytest.raises(ValueError, match=message):
            scored(torch.tensor(rows))


def test_wrong_sizes():
    for law in (IndependentItems, KDPP):
        with pytest.raises(ValueError, match="between 1 and all 3 items, got size 4"):
            law(3, 4)
    with pytest.raises(ValueError, match="rank must be at least the size of a set, 3, got 2"):
        KDPP(5, 3, rank=2)
    assert IndependentItems(5, 3).sample(0).shape == KDPP(5, 3).sample(0).shape == (0, 3)
    assert KDPP(5, 3).log_prob(torch.empty(0, 3, dtype=torch.int64)).shape == (0,)
