"""Models of rows of classes and numbers: probabilities add up, samples follow them, and orders mean what they say."""

import itertools
import math

import pytest
import torch
from row_cases import FEW, KINDS, ORDERS, REAL, WHOLE, every_row, numeric, perturbed, some_rows, support
from torch.testing import assert_close

from tessflow.models import MatchedFlow, Number, Restriction, Variable
from tessflow.transforms import PiecewiseLinear

every_order = pytest.mark.parametrize("order", ORDERS, ids=str)


def assert_finite_gradients(model):
    for name, parameter in model.named_parameters():
        if name != "conditionals.dequantizer.log_scale":  # the shape of noise, which exact models do without
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def total(log_prob, weight):
    return (log_prob.exp() * weight).sum().item()


@every_order
def test_probabilities_of_all_rows_sum_to_one(order):
    model = perturbed(order=order)
    rows, weight = every_row()
    assert not model.lower_bound
    assert total(model.log_prob(rows), weight) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("first", [(0,), (1,), (2, 1)], ids=str)
def test_probabilities_sum_to_one_in_orders_of_any_order_models(first):
    model = perturbed(order="any")
    rows, weight = every_row()
    log_prob = model.log_prob_of(rows, first).sum(-1) + model.log_prob_of(rows, given=first).sum(-1)
    assert total(log_prob, weight) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("given", [(), (0,)], ids=str)
def test_means_over_orders_sum_to_one(given):
    model = perturbed(order="any", orders=6)
    rows, weight = every_row([Variable(1) if v in given else FEW[v] for v in range(3)])
    log_prob = model.log_joint(rows, given=given)
    assert total(log_prob, weight) == pytest.approx(1, abs=1e-6)


def test_mean_over_orders_is_that_of_their_probabilities():
    model, y = perturbed(order="any", orders=6), some_rows(10, FEW)
    each = []
    for order in itertools.permutations(range(3)):
        steps = [model.log_prob_of(y, [v], given=order[:n]).squeeze(-1) for n, v in enumerate(order)]
        each.append(torch.stack(steps).sum(0))
    assert_close(model.log_prob(y), torch.stack(each).logsumexp(0) - math.log(6))
    assert_close(model.log_prob(y, orders=1), model.log_prob_of(y).sum(-1))
    # One variable is one factor, in whatever order.
    assert_close(model.log_joint(y, [1], given=[0]), model.log_prob_of(y, [1], given=[0]).squeeze(-1))
    assert_close(model.log_prob(y), perturbed(order="any", orders=100).log_prob(y))


@pytest.mark.parametrize("options", [{"order": "natural"}, {"order": "any", "condition_on": "point"}], ids=str)
def test_models_of_one_order_take_no_mean(options):
    with pytest.raises(ValueError, match="orders is at least 1, and 1 unless"):
        MatchedFlow(FEW, orders=2, **options)


@pytest.mark.parametrize("variable", KINDS, ids=str)
@pytest.mark.parametrize("order", ["natural", "any"])
def test_single_variables_sum_to_one(variable, order):
    model = perturbed((variable,), order=order)
    rows, weight = every_row((variable,))
    rows = rows if variable.number else rows.long()
    assert total(model.log_prob(rows), weight) == pytest.approx(1, abs=1e-6)
    assert model.sample(7).shape == (7, 1 + (variable.number is not None))


@every_order
def test_samples_follow_the_probabilities(order):
    model, n = perturbed(order=order), 20_000
    y = model.sample(n)
    assert y.dtype == torch.float64
    assert (y[:, 4][y[:, 2] == 0] == y[:, 4][y[:, 2] == 0].round()).all()
    assert (y[:, 3][y[:, 1] > 0] == 0).all()
    assert (y[:, 4][y[:, 2] > 0] == 0).all()
    rows, weight = every_row()
    probability = model.log_prob(rows).exp() * weight
    # Frequencies of classes, of whole numbers, and of numbers between the quartiles of the scale.
    ends = torch.tensor([-1.0, 0.0, 0.5, 4.0], dtype=torch.float64)

    def cell(y):
        real = torch.where(y[:, 1] > 0, -1, torch.bucketize(y[:, 3].contiguous(), ends))
        whole = torch.where(y[:, 2] > 0, -1, y[:, 4].clamp(-5, 14) + 5)
        return (y[:, 0] * 6 + real + 1) * 21 + whole + 1

    expected = torch.zeros(252, dtype=torch.float64).index_add(0, cell(rows).long(), probability)
    frequency = cell(y).long().bincount(minlength=252) / n
    error = (expected * (1 - expected) / n).sqrt()
    assert ((frequency - expected).abs() < 5 * error + 1e-4).all()


@every_order
def test_numbers_drawn_have_the_distribution_of_their_cdf(order):
    torch.manual_seed(3)
    model, n = perturbed(order=order), 4000
    y = model.sample(n)
    y = y[y[:, 1] == 0]
    u = model.conditional(y, 1).cdf(y[:, 3]).sort().values
    # The statistic of Kolmogorov and Smirnov.
    assert (u - torch.arange(1, len(u) + 1) / len(u)).abs().max() < 1.7 / math.sqrt(len(u))


CONDITIONS = [
    {"allowed": {1: Restriction((0,), low=-1.0, high=0.5)}},
    {"allowed": {0: Restriction((1,))}},
    {"allowed": {0: Restriction((1,)), 2: Restriction((0,), low=1.5, high=6.5)}},
    {"allowed": {2: Restriction((0, 1), high=4.5), 1: Restriction((0,), low=0.0)}},
    {"known": [0]},
    {"known": [2]},
    {"known": [0, 2], "allowed": {1: Restriction((1, 0), low=0.5)}},
    {"known": [1], "allowed": {2: Restriction((0,), low=1.5, high=6.5), 0: Restriction((0, 1))}},
]


@pytest.mark.parametrize(
    "options", [{"order": "any"}, {"order": "any", "orders": 4}, {"blocks": 1, "components": 3}], ids=str
)
@pytest.mark.parametrize("condition", CONDITIONS, ids=str)
def test_conditional_samples_follow_the_renormalised_probabilities(condition, options):
    model, n = perturbed(**options), 5000
    known, allowed = condition.get("known", []), condition.get("allowed", {})
    row = torch.tensor([1, 0, 0, 0.3, 2], dtype=torch.float64)
    y = model.sample(n, given=row, known=known, allowed=allowed)
    # What is drawn from: the variables known, then those restricted, the rarest first, then the others.
    where = torch.isin(torch.arange(3), torch.tensor(known, dtype=torch.int64))[None]
    masses = {v: float(model.conditional(row[None], v, where).log_mass(allowed[v])) for v in sorted(allowed)}
    begin = sorted(masses, key=lambda v: masses[v]) if model.any_order else sorted(allowed)
    columns = {0: [0], 1: [1, 3], 2: [2, 4]}
    rows, weight = every_row([Variable(1) if v in known else FEW[v] for v in range(3)], reach=20)
    if known:
        numbers = [v for v in numeric(FEW) if v not in known]
        full = row.repeat(len(rows), 1)
        full[:, [v for v in range(3) if v not in known]] = rows[:, [v for v in range(3) if v not in known]]
        full[:, [columns[v][1] for v in numbers]] = rows[:, 3:]
        rows = full
    log_prob = torch.zeros(())
    for place, v in enumerate(begin):
        log_prob = log_prob + model.log_prob_of(rows, [v], given=[*known, *begin[:place]]).squeeze(-1)
    rest = [v for v in range(3) if v not in known and v not in begin]
    if rest:
        log_prob = log_prob + model.log_joint(rows, rest, given=[*known, *begin])
    probability = log_prob.exp() * weight
    for rows_of in (rows, y):
        inside = torch.ones(len(rows_of), dtype=torch.bool)
        for v, restriction in allowed.items():
            code = rows_of[:, v]
            inside &= torch.isin(code, torch.tensor(restriction.codes).double())
            if v in numeric(FEW):
                x = rows_of[:, columns[v][1]]
                inside &= (code > 0) | ((x > restriction.low) & (x <= restriction.high))
        if rows_of is rows:
            probability = probability * inside / (probability * inside).sum()
        else:
            assert inside.all()
    for variable in known:
        assert (y[:, columns[variable]] == row[columns[variable]]).all()
    # Bounds are knots of the scale, where pieces of quadrature end.
    ends = torch.tensor([-1.0, 0.0, 0.5, 4.0], dtype=torch.float64)

    def cell(y):
        real = torch.where(y[:, 1] > 0, -1, torch.bucketize(y[:, 3].contiguous(), ends))
        whole = torch.where(y[:, 2] > 0, -1, y[:, 4].clamp(-1, 8) + 1)
        return ((y[:, 0] * 6 + real + 1) * 11 + whole + 1).long()

    expected = torch.zeros(132, dtype=torch.float64).index_add(0, cell(rows), probability)
    error = (expected * (1 - expected) / n).sqrt()
    assert ((cell(y).bincount(minlength=132) / n - expected).abs() < 5 * error + 1e-3).all()


@pytest.mark.parametrize("order", ["natural", "random", (4, 2, 0, 3, 1)], ids=str)
def test_each_variable_sees_earlier_ones_only(order):
    model = perturbed(KINDS, order=order)
    rank = model.order.argsort().tolist()
    y = torch.zeros(1, 8, dtype=torch.float64)
    for variable, column, value in [(0, 0, 1), (1, 5, 0.7), (3, 3, 2), (3, 6, 3), (4, 4, 1), (4, 7, 12.5)]:
        other = y.clone()
        other[0, column] = value
        differs = (model.log_prob_of(y) != model.log_prob_of(other))[0].tolist()
        # The third variable has one class.
        assert differs == [n == variable or (rank[n] > rank[variable] and n != 2) for n in range(5)]


def test_any_order_models_see_what_is_known_in_each_row():
    model = perturbed(KINDS, order="any")
    known, y = torch.rand(12, 5) < 0.5, some_rows(12)
    columns = {0: (0,), 1: (1, 5), 2: (2,), 3: (3, 6), 4: (4, 7)}
    for n in range(5):
        block = model.conditional(y, n, known).block
        for row in range(12):
            assert_close(model.conditional(y[row : row + 1], n, known[row : row + 1]).block, block[row : row + 1])
        for changed in (0, 1, 3, 4):
            other = some_rows(12)
            keep = [c for m, cs in columns.items() if m != changed for c in cs]
            other[:, keep] = y[:, keep]
            same = (other == y).all(-1)
            differs = (block != model.conditional(other, n, known).block).any(-1)
            may = known[:, changed] & ~same & (changed != n)
            assert not (differs & ~may).any()
            assert differs.sum() >= 0.6 * may.sum()  # numbers far out look alike


def test_the_rule_of_chains_holds_in_any_order_models():
    model = perturbed(KINDS, order="any")
    y = some_rows(50)
    joint = model.log_prob_of(y, [0, 3], given=[1])
    assert joint.shape == (50, 2)
    first, second = model.log_prob_of(y, [0], given=[1]), model.log_prob_of(y, [3], given=[1, 0])
    # given=[1, 0] is read in the order 0, 1: another factorisation, so only the first factor need agree ...
    assert_close(joint[:, :1], first)
    assert second.shape == (50, 1)
    # ... and where both are read in one order, so do the others.
    joint = model.log_prob_of(y, [3, 4], given=[0])
    assert_close(joint, torch.cat([model.log_prob_of(y, [3], given=[0]), model.log_prob_of(y, [4], given=[0, 3])], 1))
    assert_close(model.log_prob_of(y).sum(-1), model.log_prob(y))


@pytest.mark.parametrize("order", ["any", (2, 0, 1), {"blocks": 1, "components": 3}], ids=str)
def test_marginals_agree_with_summing_the_joint(order):
    model = perturbed(order=order)
    rows, weight = every_row()
    joint = model.log_prob_of(rows, [2]).sum(-1) + model.log_prob_of(rows, [0, 1], given=[2]).sum(-1)
    codes, numbers, _ = support(FEW[2])
    row = torch.zeros(1, 5, dtype=torch.float64)
    for code, number in [(0, 0.0), (0, 3.0), (0, -2.0), (1, 0.0)]:
        row[0, 2], row[0, 4] = code, number
        here = (rows[:, 2] == code) & (rows[:, 4] == number)
        assert model.log_prob_of(row, [2]).exp().item() == pytest.approx(total(joint[here], weight[here]), rel=1e-6)
    assert len(codes) == len(numbers)


@every_order
def test_variables_that_are_not_named_are_not_looked_at(order):
    model = perturbed(order=order)
    first, *others = model.order.tolist()
    y, noise = some_rows(20, FEW), some_rows(20, FEW)
    columns = [first] + ([3 + numeric(FEW).index(first)] if first in numeric(FEW) else [])
    noise[:, columns] = y[:, columns]
    assert model.log_prob_of(y, [first]).equal(model.log_prob_of(noise, [first]))
    with_first = model.log_prob_of(y, [others[0]], given=[first])
    assert with_first.shape == (20, 1)


def test_one_order_answers_only_its_own_questions():
    model = perturbed(order=(2, 0, 1))
    with pytest.raises(ValueError, match="this model has one order of the variables"):
        model.log_prob_of(some_rows(2, FEW), [0])
    with pytest.raises(ValueError, match="this model has one order"):
        model.log_prob_of(some_rows(2, FEW), [2], given=[0])


@pytest.mark.parametrize("order", ["natural", "any"])
@pytest.mark.parametrize("factor", [1000.0, 1e-6])
def test_log_densities_are_those_of_the_unit(order, factor):
    y = some_rows(30)
    is_number = y[:, 1] == 0
    model = perturbed(KINDS, order=order)
    other = Number(tuple(factor * knot for knot in REAL.knots), REAL.scores)
    scaled = perturbed((*KINDS[:1], Variable(1, other), *KINDS[2:]), order=order)
    y_scaled = y.clone()
    y_scaled[:, 5] *= factor
    shift = scaled.log_prob_of(y_scaled) - model.log_prob_of(y)
    assert_close(shift[:, 1], torch.where(is_number, -math.log(factor), 0.0).double())
    assert_close(shift[:, [0, 2, 3, 4]], torch.zeros(30, 4, dtype=torch.float64))


@pytest.mark.parametrize("order", ["natural", "any"])
def test_starts_as_independent_columns_of_uniform_cells(order):
    model = MatchedFlow(KINDS, order=order, hidden_features=(16, 16), dim=2).eval()
    y = some_rows(40)
    contributions = model.log_prob_of(y)
    other = some_rows(40)
    other[:, [0, 1, 5]] = y[:, [0, 1, 5]]
    assert_close(contributions[:, [0, 1]], model.log_prob_of(other)[:, [0, 1]])
    classes = torch.tensor([3, 3, 2])
    atoms = torch.tensor([[0, 0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 2, 1, 0, 0, 0]], dtype=torch.float64)
    assert_close(model.log_prob_of(atoms)[:, [0, 3]], -classes[[0, 1]].log().expand(2, 2))
    # Between the knots of the scale every thirty-second of N(0, 1) is as probable.
    block = model.conditional(y[:1], 1).block
    levels = torch.arange(1, 32, dtype=torch.float64) / 32
    scale = PiecewiseLinear(torch.tensor(REAL.knots), torch.tensor(REAL.scores))
    x = scale.inv(torch.special.ndtri(levels).float()).double()
    assert_close(model.conditionals.at(1, block.expand(31, -1)).cdf(x), levels, atol=1e-5, rtol=0)


@pytest.mark.parametrize("order", ["natural", "any"])
def test_every_parameter_gets_a_finite_gradient(order):
    torch.manual_seed(0)
    model = MatchedFlow(KINDS, order=order, hidden_features=(16, 16), dim=2).train()
    for name, parameter in model.named_parameters():
        if "heads" in name or name.startswith("network.4"):
            torch.nn.init.normal_(parameter, std=0.1)
    atoms = torch.tensor([[0, 0, 0, 1, 1, 0.5, 0, 0], [2, 0, 0, 2, 1, -0.5, 0, 0]], dtype=torch.float64)
    far = torch.tensor([[0, 0, 0, 2, 0, 1e30, 0, -1e30], [1, 0, 0, 0, 0, -1e30, 1e6, 1e30]], dtype=torch.float64)
    for y in (some_rows(64), atoms, far):
        model.zero_grad()
        loss = model.elbo(y).mean()
        assert loss.isfinite()
        loss.backward()
        assert_finite_gradients(model)


@pytest.mark.parametrize("order", ["natural", "any"])
def test_a_million_whole_numbers_keep_their_accuracy_in_float32(order):
    whole = Number(knots=(-0.5, 999_999.5), scores=(-3.0, 3.0), whole=True)
    variables = (Variable(2), Variable(1, whole))
    exact = perturbed(variables, order=order)
    model = MatchedFlow(variables, order=order, dim=3, hidden_features=(16, 16)).eval()
    model.load_state_dict(exact.state_dict())
    y = torch.zeros(50_000, 3, dtype=torch.float64)
    y[:, 2] = torch.arange(700_000, 750_000)
    conditional = [m.log_prob_of(y, [1], given=[0]).double().exp() for m in (exact, model)]
    assert_close(conditional[1], conditional[0], rtol=2e-4, atol=0)
    block = exact.conditional(y[:1], 1).block
    ends = torch.tensor([699_999.5, 749_999.5], dtype=torch.float64)
    below, above = exact.conditionals.at(1, block.expand(2, -1)).cdf(ends).tolist()
    assert conditional[0].sum().item() == pytest.approx(above - below, rel=1e-9)


@pytest.mark.parametrize("order", ["natural", "random", "any"])
def test_gives_the_same_numbers_after_saving_and_loading(order):
    model, y = perturbed(KINDS, order=order), some_rows(20)
    other = perturbed(KINDS, seed=1, order=order if order == "any" else model.order.tolist())
    assert not other.log_prob(y).equal(model.log_prob(y))
    other.load_state_dict(model.state_dict())
    assert other.log_prob(y).equal(model.log_prob(y))


@pytest.mark.parametrize("order", ["natural", "any"])
def test_a_variable_of_many_classes_among_numbers(order):
    torch.manual_seed(0)
    variables = (Variable(2), Variable(7), Variable(2, WHOLE))
    model = MatchedFlow(variables, order=order, most_logits=5, dim=3, hidden_features=(16, 16)).eval()
    assert model.lower_bound
    rows = torch.zeros(14, 4, dtype=torch.float64)
    rows[:, :2], rows[:, 2] = torch.cartesian_prod(torch.arange(2), torch.arange(7)), 1
    bound = total(model.log_prob_of(rows, [0, 1], samples=1000).sum(-1), 1)
    assert 0.9 < bound < 1.1
    y = model.sample(8000)
    frequency = y[:, 1].long().bincount(minlength=7) / 8000
    some = torch.zeros(7, 4, dtype=torch.float64)
    some[:, 1], some[:, 2] = torch.arange(7), 1
    # At its start the model's variables are independent.
    assert ((frequency - model.log_prob_of(some, [0, 1], samples=4000)[:, 1].exp()).abs() < 0.03).all()
    model.train().elbo(y[:50]).mean().backward()
    assert_finite_gradients(model)
