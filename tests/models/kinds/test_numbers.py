"""Numbers with atoms, bounds, limits and a background: probabilities add up, and all questions agree."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from tessflow.models import Ascent, MatchedFlow, Number, Restriction, Variable
from tessflow.models.conditionals import Conditionals
from tessflow.models.kinds import Values

INF = math.inf
KNOTS, SCORES = (-0.5, 20.5, 80.5, 200.5), (-2.0, -0.5, 0.6, 2.5)
ATOMS = (0.0, 10.0, 20.0, 300.0)

# Every option that changes the mathematics of a number.
NUMBERS = {
    "whole": Number(KNOTS, SCORES, whole=True),
    "whole with atoms": Number(KNOTS, SCORES, whole=True, atoms=ATOMS),
    "whole with a background": Number(KNOTS, SCORES, whole=True, atoms=ATOMS, background=0.01),
    "whole with bounds": Number(KNOTS, SCORES, whole=True, atoms=ATOMS, background=0.01, low=-0.5, high=400.5),
    "whole with infinities": Number(KNOTS, SCORES, whole=True, atoms=(-INF, 7.0, INF), background=0.01),
    "real": Number(KNOTS, SCORES, background=0.01),
    "real with atoms": Number(KNOTS, SCORES, atoms=(0.0, 42.5), background=0.01),
    "real with bounds": Number(KNOTS, SCORES, atoms=(0.0, 42.5), background=0.01, low=0.0, high=150.0),
}
every_number = pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS)


def variable(number, reserve=0.01):
    """Its numbers and atoms, a missing value, and something not seen."""
    return Variable(classes=1 + len(number.atoms) + 2, number=number, reserve=reserve)


COMPONENTS = [1]


@pytest.fixture(params=[1, 3], ids=["", "mixtures"], scope="module", autouse=True)
def _components(request):
    """All that is made here: once as it is, once as mixtures of three."""
    COMPONENTS[0] = request.param


def make(number, *, rows=1, seed=0, reserve=0.01):
    torch.manual_seed(seed)
    variables = (variable(number, reserve), Variable(3, reserve=reserve))
    parts = Conditionals(variables, 3, components=COMPONENTS[0]).double()
    output = parts.start().double() + 0.5 * torch.randn(rows, sum(parts.sizes), dtype=torch.float64)
    return parts, output[:, parts.block(0)]


def law_of(number, **options):
    parts, block = make(number, **options)
    return parts.at(0, block)


def values(number, reach):
    """All codes and numbers of a whole variable within reach, each event once."""
    codes = torch.arange(1, 1 + len(number.atoms) + 2)
    x = torch.arange(-reach, reach + 1, dtype=torch.float64)
    x = x[(x > number.low) & (x < number.high) & ~torch.isin(x, torch.tensor(number.atoms, dtype=torch.float64))]
    return torch.cat([torch.zeros(len(x), dtype=torch.int64), codes]), torch.cat([x, torch.zeros(len(codes)).double()])


def log_prob(law, codes, numbers):
    """Log-probabilities of values, of every block the same."""
    shape = (len(law.block), len(codes))
    return type(law)(
        law.kind, law.of, law.block[:, None], None if law.limits is None else law.limits[:, None]
    ).log_prob(codes.expand(shape), numbers.expand(shape))


def whole(names=NUMBERS):
    return pytest.mark.parametrize(
        "number", [n for n in names.values() if n.whole], ids=[k for k in names if names[k].whole]
    )


def test_ten_thousand_whole_numbers_and_forty_atoms_sum_to_one():
    torch.manual_seed(1)
    atoms = tuple(sorted({float(x) for x in torch.randint(0, 5000, (40,))}))
    number = Number(
        (-0.5, 900.5, 4000.5), (-2.0, 0.1, 1.9), whole=True, atoms=atoms, low=-0.5, high=9999.5, background=1e-3
    )
    law = law_of(number, rows=5)
    total = log_prob(law, *values(number, 10_000)).logsumexp(-1)
    assert_close(total.exp(), torch.ones(5).double(), atol=1e-6, rtol=0)


@whole()
def test_whole_numbers_atoms_missing_and_unseen_sum_to_one(number):
    law = law_of(number, rows=3)
    total = log_prob(law, *values(number, 20_000)).exp().sum(-1)
    # What the background puts beyond.
    assert (total <= 1 + 1e-9).all()
    assert (total >= 1 - 2 * number.background * (0 if number.bounded else 0.1) - 1e-6).all()


@pytest.mark.parametrize("name", [name for name, number in NUMBERS.items() if not number.whole])
def test_real_numbers_atoms_missing_and_unseen_sum_to_one(name):
    number = NUMBERS[name]
    law = law_of(number)
    classes = torch.arange(1, 1 + len(number.atoms) + 2)
    mass = log_prob(law, classes, torch.zeros(len(classes)).double()).exp().sum()
    low, high = max(number.low, -3000.0), min(number.high, 3000.0)
    edges = torch.linspace(low, high, 400_001, dtype=torch.float64)
    middles = (edges[1:] + edges[:-1]) / 2
    density = log_prob(law, torch.zeros(len(middles), dtype=torch.int64), middles).exp().sum() * (edges[1] - edges[0])
    beyond = 0 if number.bounded else 0.01 * 0.15
    assert 1 - beyond - 1e-3 < (mass + density).item() < 1 + 1e-3


@every_number
def test_class_probabilities_are_those_of_the_values(number):
    law = law_of(number, rows=4)
    chances = law.class_log_probs().exp()
    assert_close(chances.sum(-1), torch.ones(4).double())
    codes = torch.arange(1, chances.shape[-1])
    assert_close(chances[:, 1:], log_prob(law, codes, torch.zeros(len(codes)).double()).exp())


@every_number
def test_the_reserve_is_kept_for_what_was_not_seen_and_for_numbers(number):
    parts, block = make(number, reserve=0.05)
    count = COMPONENTS[0]
    logits = block[:, count * (count > 1) :].unflatten(-1, (count, -1))  # of each component
    # Class 0 is as good as impossible.
    logits[..., : variable(number).classes] = -1e3 * torch.eye(variable(number).classes)[0]
    law = parts.at(0, block)
    logits[..., variable(number).classes - 1] = -1e3
    chances = law.class_log_probs().exp()
    assert chances[0, -1] == pytest.approx(0.05)
    number_part = law.log_mass(Restriction((0,), low=0.5, high=1.5)).exp()
    assert number_part > 1e-8


@every_number
def test_the_distribution_function_sums_what_is_below(number):
    law = law_of(number, rows=3)
    half = 0.5 if number.whole else 0.0
    numbers = law.class_log_probs()[:, : 1 + len(number.atoms)].exp().sum(-1)
    for x in (-30.0, 0.0, 7.0, 10.0, 19.0, 42.5 if not number.whole else 42.0, 300.0):
        point = torch.full((3,), x, dtype=torch.float64)
        below, up_to = law.below_and_up_to(point)
        assert (below <= up_to + 1e-12).all()
        at = up_to - below
        code = 1 + number.atoms.index(x) if x in number.atoms else 0
        expected = log_prob(law, torch.tensor([code]), torch.tensor([0.0 if code else x]).double()).exp()[:, 0]
        if not number.low <= x <= number.high:
            expected = torch.zeros(3).double()
        if number.whole or code:
            assert_close(at * numbers, expected, atol=1e-9, rtol=1e-6)
        else:
            assert_close(at, torch.zeros(3).double(), atol=1e-9, rtol=0)
        mass = law.log_mass(Restriction((0,), low=-INF, high=x + half)).exp()
        atoms_at_infinity = -INF in number.atoms
        assert_close(mass, up_to * numbers, atol=1e-9, rtol=1e-6)
        assert not atoms_at_infinity or (up_to > 0).all()
    assert_close(law.cdf(torch.full((3,), INF).double()), torch.ones(3).double())


@every_number
def test_quantiles_are_the_least_numbers_that_reach_a_level(number):
    law = law_of(number, rows=200)
    half = 0.5 if number.whole else 0.0
    atoms = torch.tensor([math.nan, *number.atoms, math.nan, math.nan], dtype=torch.float64)
    for level in (0.001, 0.05, 0.3, 0.5, 0.77, 0.999):
        codes, numbers = law.quantile(level)
        x = torch.where(codes == 0, numbers, atoms[codes])
        assert not x.isnan().any()
        assert (law.cdf(x + half) >= level - 1e-7).all()
        assert (law.cdf(x - half, open_end=True) <= level + 1e-7).all()
        if number.whole:
            assert (codes[torch.isin(x, atoms)] > 0).all()


@every_number
def test_draws_follow_the_probabilities(number):
    torch.manual_seed(0)
    n = 5000
    law = law_of(number)
    big = type(law)(law.kind, law.of, law.block.expand(n, -1))
    codes, numbers = big.draw()
    assert (codes < variable(number).classes - 1).all()  # nothing that was not seen
    chances = law.class_log_probs().exp()[0, :-1]
    chances = chances / chances.sum()
    frequency = codes.bincount(minlength=len(chances)) / n
    error = (chances * (1 - chances) / n).sqrt()
    assert ((frequency - chances).abs() < 5 * error + 0.01 * number.background * 100).all()
    drawn = numbers[codes == 0]
    assert ((drawn > number.low) & (drawn < number.high)).all()
    assert (numbers[codes > 0] == 0).all()
    if number.whole:
        assert drawn.equal(drawn.round())
        assert not torch.isin(drawn, torch.tensor(number.atoms, dtype=torch.float64)).any()
    # The probability integral transform, drawn between its ends, is uniform.
    atoms = torch.tensor([math.nan, *number.atoms, math.nan, math.nan], dtype=torch.float64)
    x = torch.where(codes == 0, numbers, atoms[codes])
    x = x[x.isfinite()]
    if not any(map(math.isinf, number.atoms)):
        some = type(law)(law.kind, law.of, law.block.expand(len(x), -1))
        below, up_to = some.below_and_up_to(x)
        u = (below + (up_to - below) * torch.rand(len(x))).sort().values
        assert (u - torch.arange(1, len(x) + 1) / len(x)).abs().max() < 1.8 / math.sqrt(len(x)) + number.background


RESTRICTIONS = [
    Restriction((0,), low=-0.5, high=30.5),
    Restriction((0,), low=9.5, high=10.5),
    Restriction((0, 2), low=50.5, high=60.5),
    Restriction((2,)),
    Restriction((1, 3)),
    Restriction((0,), points=(3.0, 55.0)),
    Restriction((0, 2), points=(3.0,)),
]


@pytest.mark.parametrize("name", [name for name, n in NUMBERS.items() if n.atoms == ATOMS])
@pytest.mark.parametrize("allowed", RESTRICTIONS, ids=str)
def test_mass_and_draws_of_what_is_allowed(name, allowed):
    torch.manual_seed(0)
    number, n = NUMBERS[name], 3000
    law = law_of(number)
    codes, numbers = values(number, 1000)
    atoms = torch.tensor([math.nan, *number.atoms, math.nan, math.nan], dtype=torch.float64)
    x = torch.where(codes == 0, numbers, atoms[codes])
    if allowed.points:
        inside = torch.isin(x, torch.tensor(allowed.points, dtype=torch.float64))
    else:
        inside = (x > allowed.low) & (x < allowed.high) & (0 in allowed.codes)
    inside |= torch.isin(codes, torch.tensor([code for code in allowed.codes if code]))
    expected = log_prob(law, codes[inside], numbers[inside]).exp().sum()
    assert law.log_mass(allowed).exp().item() == pytest.approx(expected.item(), rel=1e-6)
    drawn, at = type(law)(law.kind, law.of, law.block.expand(n, -1)).draw(allowed)
    events = set(zip(codes[inside].tolist(), numbers[inside].tolist(), strict=True))
    assert set(zip(drawn.tolist(), at.tolist(), strict=True)) <= events


@pytest.mark.parametrize("low", [60.0, 60.0 + 1e-12, 60.0 - 1e-12])
def test_where_limits_leave_one_real_number_it_is_drawn(low):
    torch.manual_seed(0)
    law = law_of(NUMBERS["real with bounds"])
    limits = torch.tensor([low, 60.0], dtype=torch.float64)
    law = type(law)(law.kind, law.of, law.block.expand(500, -1), limits.expand(500, 2))
    codes, numbers = law.draw()
    missing = codes == 3
    assert 0 < missing.sum() < 500
    assert (codes[~missing] == 0).all()
    assert_close(numbers[~missing], torch.full_like(numbers[~missing], 60))
    assert (law.quantile(0.5)[0] == 0).all()
    assert_close(law.quantile(0.5)[1], torch.full((500,), 60.0, dtype=torch.float64))


def test_sums_by_strata_are_those_of_all_numbers():
    for name in ("whole with atoms", "whole with bounds", "real with atoms", "real with bounds"):
        law = law_of(NUMBERS[name], rows=5)
        numbers, log_weights = law.strata(64)
        p = law.class_log_probs()[:, 0].exp()
        each = torch.stack([law.log_prob(torch.zeros(5, dtype=torch.int64), x) for x in numbers])
        assert_close((each + log_weights).logsumexp(0).exp(), p, atol=0.02, rtol=0.1)


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(x=finite, spread=st.floats(0, 30), name=st.sampled_from([n for n in NUMBERS if NUMBERS[n].background]))
def test_no_finite_number_is_below_a_thousand_nats(x, spread, name):
    number = NUMBERS[name]
    torch.manual_seed(0)
    parts = Conditionals((variable(number),), 2)
    output = (parts.start() + spread * torch.randn(1, sum(parts.sizes))).requires_grad_()
    x = min(max(round(x) if number.whole else x, number.low + 0.5), number.high - 0.5)
    numbers = torch.tensor([[x]], dtype=torch.float64)
    found = parts.log_prob(output, torch.zeros(1, 1, dtype=torch.int64), numbers)
    assert -1000 < found.item() < 100
    found.sum().backward()
    assert output.grad.isfinite().all()


def test_far_numbers_differ_and_their_tail_is_a_density():
    law = law_of(NUMBERS["real"])
    x = torch.tensor([1e5, 1e10, 1e100, 1e300, -1e300], dtype=torch.float64)
    found = log_prob(law, torch.zeros(5, dtype=torch.int64), x)[0]
    assert found.diff()[:3].lt(-5).all()
    # ... that falls like 1 / (|x| log² |x|).
    assert (found[3] - found[2]).item() == pytest.approx(-200 * math.log(10) - 2 * math.log(300 / 100), abs=0.2)


def test_many_batch_dimensions_are_one_dimension_more():
    """A mixture of C products: blocks (B, C, V, size) and values (B, 1, V)."""
    torch.manual_seed(0)
    both = (variable(NUMBERS["whole with bounds"]), variable(NUMBERS["whole with atoms"]))
    parts = Conditionals((*both, variable(NUMBERS["real"]), Variable(4), Variable(4)), 2).double()
    for kind in parts.kinds:
        blocks = torch.randn(6, 3, len(kind.members), kind.size, dtype=torch.float64)
        codes = torch.randint(2, (6, 1, len(kind.members)))
        values = Values(codes, torch.where(codes == 0, 5.0, 0.0).double())
        together = kind.log_prob(blocks, values)
        assert together.shape == (6, 3, len(kind.members))
        for c, v in itertools.product(range(3), range(len(kind.members))):
            of = slice(v, v + 1)
            alone = kind.log_prob(blocks[:, c, of], Values(codes[:, 0, of], values.numbers[:, 0, of]), of=of)
            assert_close(together[:, c, v], alone[:, 0])


DAYS = Number((-0.5, 10.5, 20.5), (-1.5, 0.0, 1.5), whole=True, atoms=(3.0,), background=1e-3, low=-0.5, high=30.5)
HOURS = Number((-0.5, 240.5, 480.5), (-1.5, 0.0, 1.5), whole=True, atoms=(72.0,), background=1e-3, low=-0.5, high=743.5)
ORDERED = (Variable(4, DAYS, reserve=0.01), Variable(3, HOURS, reserve=0.01), Variable(2))


def ordered_model(order):
    torch.manual_seed(0)
    model = MatchedFlow(ORDERED, order=order, dim=2, hidden_features=(16,), ascents=(Ascent(0, 1, ratio=24.0),))
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def ordered_rows():
    """All rows that keep the order: days, hours, and a class."""
    days = [(0, float(x)) for x in range(31) if x != 3] + [(1, 0.0), (2, 0.0), (3, 0.0)]
    hours = [(0, float(x)) for x in range(744) if x != 72] + [(1, 0.0), (2, 0.0)]

    def place(pair, atom):
        return pair[1] if pair[0] == 0 else atom if pair[0] == 1 else None

    rows = []
    for day, hour in itertools.product(days, hours):
        first, second = place(day, 3.0), place(hour, 72.0)
        if first is None or second is None or 24 * first <= second:
            rows += [[day[0], hour[0], c, day[1], hour[1]] for c in (0, 1)]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("order", ["natural", "any", (1, 2, 0)], ids=str)
def test_whichever_comes_second_is_cut_off_at_the_other(order):
    model, rows = ordered_model(order), ordered_rows()
    assert model.log_prob(rows).exp().sum().item() == pytest.approx(1, abs=1e-6)
    y = model.sample(3000)
    both = (y[:, 0] <= 1) & (y[:, 1] <= 1)
    first = torch.where(y[:, 0] == 1, 3.0, y[:, 3])
    second = torch.where(y[:, 1] == 1, 72.0, y[:, 4])
    assert both.sum() > 500
    assert (24 * first <= second)[both].all()


def test_every_conditional_of_an_order_stays_a_factor():
    model, rows = ordered_model("any"), ordered_rows()
    one = model.log_prob_of(rows, [0, 2]).sum(-1) + model.log_prob_of(rows, [1], given=[0, 2]).sum(-1)
    other = model.log_prob_of(rows, [1, 2]).sum(-1) + model.log_prob_of(rows, [0], given=[1, 2]).sum(-1)
    for total in (one, other):
        assert total.exp().sum().item() == pytest.approx(1, abs=1e-6)
    known = torch.tensor([[True, False, True]])
    law = model.conditional(rows[:1], 1, known)
    codes, numbers = law.quantile(0.001)
    assert (torch.where(codes == 1, 72.0, numbers) >= 24 * rows[0, 3]).all()
