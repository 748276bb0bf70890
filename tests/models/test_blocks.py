"""Blocks of variables, each a mixture of products given the blocks before it."""

import itertools

import pytest
import torch
from row_cases import FEW, KINDS, every_row, perturbed, some_rows
from torch.testing import assert_close

from tessflow.flows.blocks import dealt
from tessflow.flows.staged import StagedPass
from tessflow.models import Ascent, MatchedFlow, Number, Variable

CLASSES = (3, 2, 4, 2)
SHAPES = [(1, 1), (1, 3), (2, 1), (2, 3), (3, 3)]
every_shape = pytest.mark.parametrize(("blocks", "components"), SHAPES)


def every_class():
    return torch.tensor(list(itertools.product(*map(range, CLASSES))))


def test_numbers_in_an_order_are_refused():
    number = Variable(classes=2, number=Number(knots=(0.0, 9.0), scores=(-1.0, 1.0), whole=True))
    with pytest.raises(ValueError, match="cut off at another one of its block leaves no product: no ascents"):
        MatchedFlow((number, number), ascents=(Ascent(0, 1),), blocks=1)


def test_a_block_is_a_mixture_of_products():
    model = perturbed([Variable(k) for k in CLASSES], order=(2, 0, 3, 1), blocks=2, components=3)
    rows, parts = every_class(), model.conditionals
    output = model.bias + model.network(parts.represent(*parts.split(rows)))
    expected = torch.zeros(len(rows)).double()
    for block in ([2, 0], [3, 1]):
        blocks = {n: output[:, parts.block(n)] for n in block}
        joint = sum(blocks[n][:, :3] for n in block).log_softmax(-1)
        for n in block:
            logits = blocks[n][:, 3:].unflatten(-1, (3, CLASSES[n]))
            joint = joint + logits.log_softmax(-1)[torch.arange(len(rows)), :, rows[:, n]]
        expected += joint.logsumexp(-1)
    assert_close(model.log_prob(rows), expected)
    assert_close(model.log_prob_of(rows).sum(-1), expected)


def test_as_many_blocks_as_variables_with_one_product_are_the_plain_model():
    torch.manual_seed(0)
    plain = MatchedFlow(KINDS, hidden_features=(16,))
    torch.manual_seed(0)
    model = MatchedFlow(KINDS, hidden_features=(16,), blocks=len(KINDS), components=1)
    for (name, value), (_, other) in zip(plain.state_dict().items(), model.state_dict().items(), strict=True):
        assert value.equal(other), name


@every_shape
def test_each_variable_sees_what_is_before_its_block_and_in_it(blocks, components):
    model = perturbed([Variable(k) for k in CLASSES], order=(2, 0, 3, 1), blocks=blocks, components=components)
    rank, stage = model.order.argsort().tolist(), model.stage.tolist()
    y = torch.zeros(1, 4, dtype=torch.int64)
    for changed in range(4):
        other = y.clone()
        other[0, changed] = 1
        differs = (model.log_prob_of(y) != model.log_prob_of(other))[0].tolist()
        for n in range(4):
            together = stage[n] == stage[changed] and components > 1 and rank[n] > rank[changed]
            assert differs[n] == (n == changed or stage[n] > stage[changed] or together)


@every_shape
def test_conditionals_are_the_factors(blocks, components):
    model, y = perturbed(KINDS, blocks=blocks, components=components), some_rows(30)
    expected = model.log_prob_of(y)
    for n, place in ((0, None), (1, 5), (2, None), (3, 6), (4, 7)):
        number = torch.zeros(30) if place is None else y[:, place]
        assert_close(model.conditional(y, n).log_prob(y[:, n].long(), number.double()), expected[:, n])


def test_latent_classes_have_every_conditional():
    model, y = perturbed(blocks=1, components=3), some_rows(20, FEW)
    assert model.has_every_conditional
    rows, weight = every_row()
    joint = model.log_prob(rows)
    for known in ([1], [0, 2]):
        n = 0 if 0 not in known else 1
        given = torch.zeros(20, 3, dtype=torch.bool)
        given[:, known] = True
        number = torch.zeros(20).double() if n == 0 else y[:, 3]
        found = model.conditional(y, n, given).log_prob(y[:, n].long(), number)
        assert_close(found, model.log_joint(y, [n], known))
        assert_close(found, model.log_joint(y, [*known, n]) - model.log_joint(y, known))
    here = (rows[:, 2] == 1) & (rows[:, 0] == 1)
    row = torch.tensor([[1.0, 0, 1, 0, 0]], dtype=torch.float64)
    summed = (joint[here].exp() * weight[here]).sum()
    assert_close(model.log_joint(row, [0, 2]).exp()[0], summed, atol=1e-6, rtol=0)


def test_a_model_of_blocks_answers_only_its_own_questions():
    model = perturbed([Variable(k) for k in CLASSES], order=(2, 0, 3, 1), blocks=2, components=3)
    y = every_class()
    assert_close(model.log_joint(y, [0, 2]), model.log_joint(y, [0]) + model.log_joint(y, [2], given=[0]))
    with pytest.raises(ValueError, match="this model has one order"):
        model.log_joint(y, [3])
    with pytest.raises(ValueError, match="this model has one order"):
        model.conditional(y, 3, torch.ones(len(y), 4, dtype=torch.bool))


def test_a_sample_takes_a_pass_a_block(monkeypatch):
    model, stages = perturbed([Variable(2)] * 12, blocks=3, components=2), []
    output = StagedPass.output
    monkeypatch.setattr(StagedPass, "output", lambda self, stage, x: stages.append(stage) or output(self, stage, x))
    model.sample(10)
    assert stages == [0, 1, 2]


@every_shape
def test_starts_at_the_frequencies_of_classes(blocks, components):
    model = MatchedFlow((3, 2, 2), blocks=blocks, components=components, hidden_features=(8,)).double()
    y = torch.tensor([[0, 0, 1]] * 6 + [[1, 0, 0]] * 3 + [[2, 1, 1]]).repeat(20, 1)
    model.initialize(y, torch.ones(200))
    if components > 1:  # which lie apart around them
        assert not model.bias[model.components : model.components + 3].allclose(model.bias[-3:])
        return
    first = torch.tensor([[0, 0, 0], [1, 1, 1]])
    expected = torch.tensor([[0.6, 0.9, 0.3], [0.3, 0.1, 0.7]]).double().log()
    assert_close(model.log_prob_of(first), expected, atol=0.1, rtol=0)


def test_blocks_have_about_one_size():
    for n, blocks in itertools.product(range(1, 12), range(1, 12)):
        if blocks <= n:
            model = MatchedFlow((2,) * n, order=dealt(range(n), blocks), blocks=blocks, hidden_features=(4,))
            assert model.stage.tolist() == [place % blocks for place in range(n)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"blocks": 0}, "blocks is between 1 and the number of variables, 4, and components at least 1, got 0 and 1"),
        ({"blocks": 5}, "blocks is between 1 and the number of variables"),
        ({"components": 0}, "components at least 1, got None and 0"),
        ({"blocks": 2, "order": "any"}, "leave out blocks and components"),
        ({"components": 2, "order": "any"}, "leave out blocks and components"),
        ({"components": 2, "most_logits": 3}, "variable 2 has 4 classes, more than most_logits=3"),
    ],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        MatchedFlow(CLASSES, **options)


@every_shape
def test_every_parameter_gets_a_finite_gradient(blocks, components):
    model = MatchedFlow(KINDS, blocks=blocks, components=components, hidden_features=(16, 16), dim=2).train()
    far = torch.tensor([[0, 0, 0, 2, 0, 1e30, 0, -1e30], [1, 0, 0, 0, 0, -1e30, 1e6, 1e30]], dtype=torch.float64)
    for y in (some_rows(64), far):
        model.zero_grad()
        model.elbo(y).mean().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all(), name
