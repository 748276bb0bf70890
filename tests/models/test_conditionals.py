"""Distributions of single variables: masses, draws, restrictions, medians, and values of any size."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from row_cases import KINDS, REAL, TWO_KNOTS, WHOLE, every_row, some_rows, support
from torch.testing import assert_close

from tessflow.models import MatchedFlow, Number, Restriction, Variable
from tessflow.models.conditionals import Conditionals

NUMERIC = [n for n, variable in enumerate(KINDS) if variable.number is not None]
INF = math.inf


COMPONENTS = [1]


@pytest.fixture(params=[1, 3], ids=["", "mixtures"], scope="module", autouse=True)
def _components(request):
    """All that is made here: once as it is, once as mixtures of three."""
    COMPONENTS[0] = request.param


def make(variables=KINDS, *, rows=1, seed=0, **options):
    """Distributions, and a block of the network's output for each variable."""
    torch.manual_seed(seed)
    parts = Conditionals(variables, 3, **{"components": COMPONENTS[0], **options})
    output = parts.start().double() + 0.5 * torch.randn(rows, sum(parts.sizes), dtype=torch.float64)
    return parts.double(), output


def values(parts, output, n):
    """All values of variable n, and the log-probability and the weight of each."""
    codes, numbers, weight = support(parts.variables[n], reach=300)
    rows_codes = torch.zeros(len(codes), len(parts.variables), dtype=torch.int64)
    rows_numbers = torch.zeros(len(codes), len(parts.numeric), dtype=torch.float64)
    rows_codes[:, n] = codes
    if n in parts.numeric:
        rows_numbers[:, parts.numeric.index(n)] = numbers
    log_prob = parts.log_prob(output.expand(len(codes), -1), rows_codes, rows_numbers)[:, n]
    return codes, numbers, log_prob, weight


one_component = pytest.mark.usefixtures("single")


@pytest.fixture
def single():
    """For what looks into a block, or what has no mixtures."""
    if COMPONENTS[0] > 1:
        pytest.skip("of single distributions")


@pytest.mark.parametrize("n", range(len(KINDS)))
def test_each_variable_sums_to_one(n):
    parts, output = make()
    _, _, log_prob, weight = values(parts, output, n)
    assert (log_prob.exp() * weight).sum().item() == pytest.approx(1, abs=1e-6)


RESTRICTIONS = [
    (0, Restriction((0, 2))),
    (1, Restriction((0,), low=-0.3, high=2.0)),
    (1, Restriction((0,), low=5.0)),
    (3, Restriction((0,), low=1.5, high=6.5)),
    (3, Restriction((0, 2), high=2.5)),
    (3, Restriction((1,))),
    (3, Restriction((0,), low=3.5, high=4.5)),
    (4, Restriction((1, 0), low=12.0, high=14.5)),
]


@pytest.mark.parametrize(("n", "allowed"), RESTRICTIONS, ids=str)
def test_mass_is_that_of_what_is_allowed(n, allowed):
    parts, output = make()
    block = output[:, parts.block(n)]
    mass = parts.at(n, block).log_mass(allowed).exp()
    assert mass.shape == (1,)
    classes = parts.at(n, block).class_log_probs().exp()[0]
    expected = sum(classes[code] for code in allowed.codes)
    if 0 in allowed.codes and n in NUMERIC:
        ends = torch.tensor([allowed.low, allowed.high], dtype=torch.float64).clamp(-1e9, 1e9)
        below, above = parts.at(n, block.expand(2, -1)).cdf(ends)
        expected = expected + classes[0] * (above - below - 1)
    assert_close(mass[0], expected)
    if KINDS[n].number is None or KINDS[n].number.whole:
        codes, numbers, log_prob, _ = values(parts, output, n)
        inside = torch.isin(codes, torch.tensor(allowed.codes))
        inside &= (codes > 0) | (KINDS[n].number is None) | ((numbers > allowed.low) & (numbers < allowed.high))
        assert mass.item() == pytest.approx(log_prob[inside].exp().sum().item(), rel=1e-6)


@pytest.mark.parametrize(("n", "allowed"), RESTRICTIONS, ids=str)
def test_draws_are_inside_and_follow_the_renormalised_distribution(n, allowed):
    size = 5000
    parts, output = make()
    block = output[:, parts.block(n)].expand(size, -1)
    codes, numbers = parts.at(n, block).draw(allowed)
    assert torch.isin(codes, torch.tensor(allowed.codes)).all()
    assert (numbers[codes > 0] == 0).all()
    is_number = (codes == 0) & (n in NUMERIC)
    drawn = numbers[is_number]
    assert ((drawn >= allowed.low) & (drawn <= allowed.high)).all()
    # Classes ...
    mass = parts.at(n, block[:1]).log_mass(allowed)
    for code in allowed.codes:
        part = Restriction((code,), allowed.low, allowed.high) if code == 0 else Restriction((code,))
        p = (parts.at(n, block[:1]).log_mass(part) - mass).exp().item()
        assert abs((codes == code).double().mean().item() - p) < 5 * math.sqrt(p * (1 - p) / size) + 1e-9
    if not is_number.any():
        return
    # ... and numbers: the statistic of Kolmogorov and Smirnov, at halves for whole ones.
    half = 0.5 if KINDS[n].number.whole else 0.0
    ends = torch.tensor([allowed.low, allowed.high], dtype=torch.float64).clamp(-1e9, 1e9)
    low, high = parts.at(n, block[:2]).cdf(ends)
    x = drawn.sort().values
    u = (parts.at(n, block[: len(x)]).cdf(x + half) - low) / (high - low)
    share = torch.searchsorted(x, x, right=True) / len(x)
    assert (u - share).abs().max() < 1.7 / math.sqrt(len(x))
    if half:
        assert drawn.equal(drawn.round())


@pytest.mark.parametrize("n", NUMERIC)
def test_cdf_is_the_sum_of_what_is_below(n):
    parts, output = make()
    codes, numbers, log_prob, weight = values(parts, output, n)
    is_number = codes == 0
    share = (log_prob.exp() * weight)[is_number] / parts.at(n, output[:, parts.block(n)]).class_log_probs()[0, 0].exp()
    for x in (REAL.knots[1], REAL.knots[2], 2.5, 12.5, TWO_KNOTS.knots[1]):
        if x % 1 != 0.5 if KINDS[n].number.whole else x not in KINDS[n].number.knots:
            continue  # sums end at halves, quadrature at knots
        below = share[numbers[is_number] < x].sum().item()
        cdf = parts.at(n, output[:, parts.block(n)]).cdf(torch.tensor([x], dtype=torch.float64))
        assert cdf.item() == pytest.approx(below, abs=1e-6)


def test_typical_values_are_the_likeliest_class_and_the_median():
    parts, output = make(rows=200)
    for n, variable in enumerate(KINDS):
        block = output[:, parts.block(n)]
        allowed = Restriction(tuple(range(variable.classes)))
        codes, x = parts.at(n, block).typical(allowed)
        if n not in NUMERIC:
            assert codes.equal(parts.at(n, block).class_log_probs().argmax(-1))
            continue
        assert (codes == 0).all()  # the classes of these variables are no atoms
        if variable.number.whole:
            assert x.equal(x.round())
            assert (parts.at(n, block).cdf(x + 0.5) >= 0.5).all()
            assert (parts.at(n, block).cdf(x - 0.5) <= 0.5).all()
        else:
            assert_close(parts.at(n, block).cdf(x), torch.full_like(x, 0.5))


def test_typical_values_are_allowed():
    parts, output = make(rows=50)
    codes, numbers = parts.at(3, output[:, parts.block(3)]).typical(Restriction((1, 2)))
    assert (codes > 0).all()
    assert (numbers == 0).all()


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    real=finite,
    whole=st.integers(-(10**18), 10**18).map(float) | st.integers(-50, 50).map(float),
    codes=st.tuples(st.integers(0, 1), st.integers(0, 2)),
    spread=st.floats(0, 30),
    order=st.sampled_from(["natural", "any"]),
)
def test_no_finite_row_gives_nan(real, whole, codes, spread, order):
    torch.manual_seed(0)
    model = MatchedFlow((Variable(2, REAL), Variable(3, WHOLE), 2), order=order, dim=2, hidden_features=(16,))
    with torch.no_grad():
        model.bias += spread * torch.randn_like(model.bias)
    y = torch.tensor([[*codes, 1, 0 if codes[0] else real, 0 if codes[1] else whole]], dtype=torch.float64)
    elbo = model.elbo(y)
    assert not elbo.isnan().any()
    assert elbo < 100
    if elbo.isfinite():
        elbo.sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is None or not parameter.grad.isnan().any(), name
    for n in range(3):
        code, number = model.conditional(y, n).draw()
        assert number.isfinite().all()
        assert ((code >= 0) & (code < 3)).all()


@given(knot=st.floats(-1e12, 1e12), width=st.floats(1e-6, 1e3), seed=st.integers(0, 5))
def test_densities_of_scales_of_any_size_integrate_to_one(knot, width, seed):
    scale = Number((knot, knot + width * max(1.0, abs(knot))), (-1.0, 1.0))
    parts, output = make((Variable(1, scale), Variable(1, REAL)), seed=seed)
    _, _, log_prob, weight = values(parts, output, 0)
    assert (log_prob.exp() * weight).sum().item() == pytest.approx(1, abs=1e-3)


@one_component
def test_scales_of_different_numbers_of_knots_do_not_disturb_each_other():
    together, output = make()
    y = some_rows(40)
    codes, numbers = together.split(y)
    log_prob = together.log_prob(output.expand(40, -1), codes, numbers)
    for m, n in enumerate(NUMERIC):
        alone = Conditionals((KINDS[n],), 3, components=COMPONENTS[0]).double()
        block = output[:, together.block(n)]
        own = torch.cat([block[:, : KINDS[n].classes], block[:, -41:]], 1)  # without logits that others have more
        of_one = alone.log_prob(own.expand(40, -1), codes[:, n, None], numbers[:, m, None])
        assert_close(of_one[:, 0], log_prob[:, n])


def test_adjacent_knots_continue():
    """Knots one step of float64 apart, beside a longer scale."""
    near = Number((2.0**53 - 1, 2.0**53), (-1.0, 1.0))
    parts, output = make((Variable(1, near), Variable(1, REAL)))
    numbers = torch.tensor([[2.0**53, 0.0], [2.0**54, 0.0], [0.0, 0.0], [2.0**60, 0.0]], dtype=torch.float64)
    log_prob = parts.log_prob(output.expand(4, -1), torch.zeros(4, 2, dtype=torch.int64), numbers)
    assert not log_prob.isnan().any()
    assert (log_prob < 10).all()


@one_component
def test_what_is_seen_of_one_variable_is_what_is_seen_of_rows():
    parts, _ = make((*KINDS, Variable(9)), most_logits=5)
    y = some_rows(30)
    codes = torch.cat([y[:, :5], torch.randint(9, (30, 1))], 1).long()
    numbers = y[:, 5:]
    seen = parts.represent(codes, numbers)
    assert seen.shape == (30, 6, 3)
    for n in range(6):
        assert_close(parts.represent_one(n, codes, numbers), seen[:, n])
    # Numbers differ in what is seen of them.
    near = (numbers[:, 0] > -3) & (numbers[:, 0] < 10)
    assert near.sum() > 5
    assert len(seen[near, 1].unique(dim=0)) == near.sum()


def test_rows_are_joined_from_codes_and_numbers():
    parts, _ = make()
    y = some_rows(5)
    codes, numbers = parts.split(y)
    assert codes.dtype == torch.int64
    assert parts.join(codes, numbers).equal(y)
    classes = Conditionals((Variable(2), Variable(3)), 3)
    codes = torch.tensor([[1, 2]])
    assert classes.join(*classes.split(codes)).equal(codes)


@one_component
def test_many_classes_have_no_single_probabilities():
    parts, output = make((Variable(7), Variable(2)), most_logits=5, rows=10)
    block = output[:, parts.block(0)]
    with pytest.raises(ValueError, match="variable 0 has too many classes for each to have a probability"):
        parts.at(0, block).class_log_probs()
    with pytest.raises(ValueError, match="variable 0 has too many classes for a choice of a few"):
        parts.at(0, block).draw(Restriction((0, 1)))
    codes, numbers = parts.at(0, block).draw()
    assert ((codes >= 0) & (codes < 7)).all()
    assert (numbers == 0).all()


def test_ranges_of_hardly_any_probability_are_drawn_from():
    parts, output = make(rows=100)
    for n, low, high in [(1, 1e3, 1.001e3), (3, 499.5, 502.5), (4, -INF, -1e4), (1, 1e8, INF)]:
        codes, numbers = parts.at(n, output[:, parts.block(n)]).draw(Restriction((0,), low, high))
        assert (codes == 0).all()
        assert ((numbers >= low) & (numbers <= high)).all()
        if KINDS[n].number.whole:
            assert numbers.equal(numbers.round())


@pytest.mark.parametrize("most", [1e9, 1e12, 1e15, 1e18])
def test_whole_numbers_beyond_those_that_float64_tells_apart_have_probabilities(most):
    parts, output = make((Variable(1, Number((0.0, 1.0, most), (-1.0, 0.0, 2.0), whole=True)), Variable(1, WHOLE)))
    x = most * torch.tensor([0.1, 0.4, 0.77, 1.1], dtype=torch.float64).round(decimals=2)
    numbers = torch.stack([x.round(), 0 * x], -1)
    codes = torch.zeros(4, 2, dtype=torch.int64)
    log_prob = parts.log_prob(output.expand(4, -1), codes, numbers)[:, 0]
    wide = most * 1e-5
    block = output[:, parts.block(0)].expand(4, -1)
    below, above = (parts.at(0, block).cdf(numbers[:, 0] + end) for end in (-wide, wide))
    assert_close(log_prob, ((above - below) / (2 * wide)).log(), rtol=0, atol=1e-3)
    few = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    below, above = (parts.at(0, block[:2]).cdf(few[:, 0] + end) for end in (-0.5, 0.5))
    assert_close(parts.log_prob(output.expand(2, -1), codes[:2], few)[:, 0], (above - below).log())


@pytest.mark.parametrize("end", [-1e12 - 0.5, -1e12 + 0.5, -1e3 - 0.5, 1e12 + 0.5, 1e12 + 1.5])
@pytest.mark.parametrize("count", [1, 2, INF])
def test_whole_numbers_drawn_next_to_a_bound_are_whole(end, count):
    """Where the density piles up at a bound, quantiles are rounded to the half itself."""
    parts, output = make(rows=5000)
    block = output[:, parts.block(3)]
    allowed = Restriction((0,), end - count, end) if end < 0 else Restriction((0,), end, end + count)
    _, numbers = parts.at(3, block).draw(allowed)
    assert numbers.equal(numbers.round())
    assert ((numbers > allowed.low) & (numbers < allowed.high)).all()


def test_the_sum_over_rows_is_the_product_of_independent_columns():
    variables = (Variable(2), Variable(2, WHOLE))
    parts, output = make(variables)
    rows, weight = every_row(variables)
    log_prob = parts.log_prob(output.expand(len(rows), -1), *parts.split(rows))
    assert log_prob.shape == (len(rows), 2)
    assert (log_prob.sum(-1).exp() * weight).sum().item() == pytest.approx(1, abs=1e-6)


def test_typical_is_the_median_of_numbers_and_atoms_together():
    torch.manual_seed(0)
    atoms = (0.3, -2.0)
    real = replace(REAL, atoms=atoms)
    model = MatchedFlow((Variable(3, real), Variable(4, ordered=True)), order="any", dim=2, hidden_features=(8,))
    parts = model.double().eval().conditionals
    block = model.bias[parts.block(0)].detach() + 2 * torch.randn(200, parts.sizes[0], dtype=torch.float64)
    law = parts.at(0, block)
    code, number = law.typical(Restriction((0, 1, 2)))
    assert code.bincount(minlength=3).min() > 5
    value = torch.where(code == 0, number, torch.tensor([math.nan, *atoms], dtype=torch.float64)[code])
    assert (law.cdf(value, open_end=True) <= 0.5 + 1e-6).all()
    assert (law.cdf(value) >= 0.5 - 1e-6).all()

    block = torch.randn(50, 4, dtype=torch.float64)
    median, _ = parts.at(1, block).typical(Restriction((0, 1, 2)))
    chances = block[:, :3].softmax(-1).cumsum(-1)
    assert (chances.gather(1, median[:, None])[:, 0] >= 0.5).all()
    assert ((median == 0) | (chances.gather(1, (median - 1).clamp_min(0)[:, None])[:, 0] < 0.5)).all()


@pytest.mark.parametrize("n", NUMERIC)
def test_the_mean_is_that_of_many_draws_of_numbers(n):
    parts, output = make(rows=1, seed=2)
    atoms = torch.tensor((math.nan, *KINDS[n].number.atoms, *[math.nan] * KINDS[n].classes), dtype=torch.float64)
    numbers = Restriction((0, *range(1, 1 + len(KINDS[n].number.atoms))))
    block = output[:, parts.block(n)]
    codes, drawn = parts.at(n, block.expand(20_000, -1)).draw(numbers)
    drawn = torch.where(codes == 0, drawn, atoms[codes])
    code, mean = parts.at(n, block).mean(numbers)
    mean = torch.where(code == 0, mean, atoms[code])
    assert abs(mean - drawn.mean()) < 0.03 * drawn.std() + (0.5 if KINDS[n].number.whole else 0)
    assert not KINDS[n].number.whole or mean == mean.round()


@one_component
def test_the_mean_of_a_closed_number_is_one_that_was_seen():
    atoms = (0.0, 5.0, 10.0)
    variables = (Variable(5, replace(WHOLE, atoms=atoms, closed=True)),)
    parts, output = make(variables, rows=100)
    codes, _ = parts.at(0, output).mean(Restriction((0, 1, 2, 3)))
    chances = output[:, 1:4].softmax(-1)
    expected = (chances * torch.tensor(atoms)).sum(-1)
    assert codes.min() >= 1
    assert ((torch.tensor(atoms)[codes - 1] - expected).abs() <= 2.5 + 1e-6).all()


# Log-likelihoods of blocks that waves fill, as they were before kinds of variables had classes of their own.
BEFORE = [
    [-1.4974367076, -1.1477321023, 0.0, -3.0835679408, -3.9432317084, -1.1570848876],
    [-1.0169790647, -7.258432166, 0.0, -6.7298786507, -5.0066803489, -2.5709524423],
    [-2.0349158174, -19.8882116786, 0.0, -0.5882681002, -0.2480398557, -0.9412624676],
]


@one_component
def test_log_likelihoods_are_those_of_before():
    variables = (*KINDS, Variable(4))
    parts = Conditionals(variables, 3).double()
    output = torch.zeros(3, sum(parts.sizes), dtype=torch.float64)

    def wave(n, size, row):
        return torch.sin(torch.arange(size, dtype=torch.float64) * 1.7 + row + n)

    for n, variable in enumerate(variables):
        for row in range(3):
            block = output[row, parts.block(n)]
            block[: variable.classes] = wave(n, variable.classes, row)
            if variable.number is not None:
                block[-41:] = 0.7 * wave(n + 10, 41, row)
    rows = [[0, 0, 0, 0, 0, 1, 0.3, 4, 25.0], [1, 0, 0, 0, 0, 3, -7.0, 12, 8.0], [2, 0, 0, 2, 1, 0, 90.0, 0, 0.0]]
    log_prob = parts.log_prob(output, *parts.split(torch.tensor(rows, dtype=torch.float64)))
    assert_close(log_prob, torch.tensor(BEFORE, dtype=torch.float64), rtol=0, atol=1e-9)


@one_component
@pytest.mark.parametrize("most_logits", [100, 5], ids=["logits", "anchors"])
def test_something_not_seen_starts_as_likely_as_is_expected(most_logits):
    for expected in (1e-3, 0.2, 0.9):
        parts = Conditionals((Variable(31, reserve=1e-4, rare=((30, expected),)),), 2, most_logits=most_logits)
        found = parts.log_prob(parts.start()[None], torch.tensor([[30]]), torch.zeros(1, 0)).exp()
        assert found.item() == pytest.approx(expected, rel=2e-3, abs=2e-4)
