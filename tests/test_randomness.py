"""Random numbers belong to a block and a thread; no random call of torch, of a library or of ours escapes it."""

import ast
import inspect
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import zuko
from torch import distributions as d
from torch import nn
from torch.overrides import get_overridable_functions

import tessflow
from tessflow import randomness
from tessflow.randomness import (
    Dropout,
    Generators,
    draw,
    draws_by_itself,
    generator,
    normal,
    redirected,
    seeded,
    uniform,
)

ONES = torch.ones(40)
HALF = ONES / 2
# A call of every random function of torch, by the name that it has there.
CALLS = {
    "rand": lambda: torch.rand(3, dtype=torch.float64),
    "rand with its device": lambda: torch.rand(3, device="cpu"),
    "randn": lambda: torch.randn(2, 3),
    "randint": lambda: torch.randint(100, (30,)),
    "randperm": lambda: torch.randperm(30),
    "rand_like": lambda: torch.rand_like(ONES),
    "randn_like": lambda: torch.randn_like(ONES, dtype=torch.float64),
    "randint_like": lambda: torch.randint_like(ONES, 100),
    "randint_like between": lambda: torch.randint_like(ONES, low=20, high=100),
    "normal": lambda: torch.normal(ONES, 1.0),
    "bernoulli": lambda: torch.bernoulli(HALF),
    "multinomial": lambda: torch.multinomial(ONES, 20),
    "poisson": lambda: torch.poisson(9 * ONES),
    "binomial": lambda: torch.binomial(9 * ONES, HALF),
    **{
        f"Tensor.{name}": lambda name=name: getattr(ONES.clone(), name)()
        for name in ("cauchy_", "exponential_", "log_normal_", "normal_", "random_", "uniform_", "bernoulli_")
    },
    "Tensor.bernoulli": lambda: HALF.bernoulli(),
    "Tensor.geometric_": lambda: ONES.clone().geometric_(0.1),
    "Tensor.multinomial": lambda: ONES.multinomial(20),
    "pca_lowrank": lambda: torch.pca_lowrank(torch.arange(60.0).reshape(6, 10).sin(), q=2, niter=0)[2],
    "svd_lowrank": lambda: torch.svd_lowrank(torch.arange(60.0).reshape(6, 10).sin(), q=2, niter=0)[2],
    **{f"F.{name}": lambda name=name: getattr(F, name)(ONES, training=True) for name in ("dropout", "alpha_dropout")},
    **{
        f"F.{name}": lambda name=name, dims=dims: getattr(F, name)(torch.ones(2, 40, *[2] * dims), training=True)
        for name, dims in (("dropout1d", 1), ("dropout2d", 2), ("dropout3d", 3), ("feature_alpha_dropout", 1))
    },
    "torch.dropout": lambda: torch.dropout(ONES, 0.5, True),
    "torch.native_dropout": lambda: torch.native_dropout(ONES, 0.5, True)[0],
    "F.gumbel_softmax": lambda: F.gumbel_softmax(ONES),
    "F.rrelu": lambda: F.rrelu(-ONES, training=True),
    "F.fractional_max_pool2d": lambda: F.fractional_max_pool2d(torch.arange(20_000.0).view(1, 8, 50, 50), 2, 18),
    "F.fractional_max_pool3d": lambda: F.fractional_max_pool3d(torch.arange(64_000.0).view(1, 8, 20, 20, 20), 2, 8),
    "attention": lambda: F.scaled_dot_product_attention(*[torch.eye(8)[None]] * 3, dropout_p=0.5),
    "nn.MultiheadAttention": lambda: nn.MultiheadAttention(8, 2, dropout=0.5)(*[torch.eye(8)] * 3)[0].detach(),
    "nn.LSTM": lambda: nn.LSTM(8, 8, 2, dropout=0.5)(torch.eye(8))[0].detach(),
    "weights": lambda: torch.cat([p.flatten() for p in nn.TransformerEncoderLayer(8, 2).parameters()]).detach(),
    "nn.init": lambda: nn.init.trunc_normal_(nn.init.orthogonal_(nn.init.xavier_normal_(torch.empty(8, 8)))),
    "our Dropout": lambda: Dropout(0.5)(ONES),
}
DISTRIBUTIONS = {
    type(it).__name__: it
    for it in (
        *(d.Normal(0.0, ONES), d.Uniform(0 * ONES, 1.0), d.Exponential(ONES), d.Gamma(ONES, 1.0), d.Beta(ONES, 2.0)),
        *(d.Dirichlet(ONES), d.Categorical(ONES), d.Bernoulli(HALF), d.Binomial(9, HALF), d.Poisson(9 * ONES)),
        *(d.StudentT(3 * ONES), d.Cauchy(0.0, ONES), d.Laplace(0.0, ONES), d.Gumbel(0.0, ONES), d.Weibull(1.0, ONES)),
        *(d.Geometric(HALF / 9), d.VonMises(0.0, ONES), d.Multinomial(9, ONES), d.LKJCholesky(4), d.Pareto(1.0, ONES)),
        *(d.MultivariateNormal(ONES, torch.eye(40)), d.Chi2(ONES), d.FisherSnedecor(ONES, ONES), d.HalfCauchy(ONES)),
        *(d.NegativeBinomial(9, HALF), d.OneHotCategorical(ONES)),
        *(d.RelaxedBernoulli(torch.tensor(1.0), HALF), d.Kumaraswamy(ONES, 2.0), d.ContinuousBernoulli(HALF / 2)),
        d.MixtureSameFamily(d.Categorical(ONES), d.Normal(ONES.cumsum(0), 1.0)),
        *(zuko.distributions.GeneralizedNormal(ONES), zuko.distributions.BoxUniform(0 * ONES, ONES)),
        zuko.distributions.Mixture(d.Normal(ONES.cumsum(0), 1.0), ONES),
    )
}
FLOWS = {
    "NSF": lambda: zuko.flows.NSF(3, transforms=1, hidden_features=(8,)),
    "GMM": lambda: zuko.flows.GMM(3, components=2),
    "CNF": lambda: zuko.flows.CNF(3, hidden_features=(8,), exact=False),
    "NICE": lambda: zuko.flows.NICE(3, transforms=2, hidden_features=(8,), randmask=True),
    "GF": lambda: zuko.flows.GF(3, transforms=1),
}
# Made at random where they are made: `seeded` redirects that.
CONSTRUCTED = {("models/matched.py", "_permutation"), ("geometry/voronoi.py", "random")}


def of_seed(call, seed, *, outside):
    """What a call gives within a block, from any state outside, which stays as it is."""
    torch.manual_seed(outside)
    state = torch.get_rng_state()
    with seeded(seed):
        result = call()
    assert torch.equal(torch.get_rng_state(), state)
    return result


def assert_seeded(call):
    first = of_seed(call, 3, outside=0)
    assert torch.equal(of_seed(call, 3, outside=1), first)
    assert not torch.equal(of_seed(call, 4, outside=0), first)


@pytest.mark.parametrize("name", CALLS)
def test_every_random_call_draws_from_the_block(name):
    assert_seeded(CALLS[name])


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_distribution_draws_from_the_block(name):
    assert_seeded(lambda: DISTRIBUTIONS[name].sample((4,)))
    with seeded(3):
        first = DISTRIBUTIONS[name].sample((4,))
    with seeded(3, redirect=False):
        assert torch.equal(draw(DISTRIBUTIONS[name], (4,)), first)


@pytest.mark.parametrize("name", FLOWS)
def test_flows_of_zuko_draw_from_the_block(name):
    assert_seeded(lambda: torch.cat([p.flatten() for p in FLOWS[name]().parameters()]).detach())
    flow = FLOWS[name]()
    assert_seeded(lambda: draw(flow(), (4,)))
    if name == "CNF":
        assert_seeded(lambda: flow().log_prob(torch.ones(4, 3)).detach())


def test_no_random_function_of_torch_is_forgotten():
    """A new one, of which the name or the documentation says that it is, is in none of the lists."""
    words = re.compile(
        r"rand(?!__)|drop|bernoulli|multinomial|poisson$|binomial|_gamma$|rrelu|gumbel|fractional|lowrank"
    )
    listed = {*randomness._LIKE, *randomness._TAKES_GENERATOR, *randomness._TAKES_NONE}
    functions = {function for of_one in get_overridable_functions().values() for function in of_one}
    takes = {f for f in functions if re.search(r"\bgenerator\b", f"{_signature(f)} {f.__doc__ or ''}")}
    named = {f for f in functions if words.search(f.__name__)}
    assert {f.__name__ for f in (takes | named) - listed} == set()


def _signature(function):
    try:
        return inspect.signature(function)
    except ValueError:
        return ""


def test_a_block_continues_where_its_generators_were():
    generators = Generators(5)
    with seeded(5):
        whole = torch.rand(4), F.dropout(ONES)
    with seeded(generators):
        first = torch.rand(2)
    with seeded(generators):
        assert torch.equal(torch.cat([first, torch.rand(2)]), whole[0])
        assert torch.equal(F.dropout(ONES), whole[1])


def test_blocks_within_each_other_end_with_the_outer_one():
    with seeded(1):
        outer = [torch.rand(2), torch.rand(2)]
    with seeded(1):
        assert torch.equal(torch.rand(2), outer[0])
        with seeded(2, redirect=False):
            torch.rand(2, generator=generator())
        with pytest.raises(RuntimeError), seeded(2):
            raise RuntimeError
        assert torch.equal(torch.rand(2), outer[1])
    assert generator() is None


def test_outside_of_a_block_torch_draws_as_ever():
    torch.manual_seed(0)
    first = torch.rand(2)
    torch.manual_seed(0)
    with redirected():
        assert torch.equal(draw(d.Uniform(torch.zeros(2), 1.0)), first)


def test_a_generator_of_the_caller_is_kept():
    with seeded(0):
        assert torch.equal(
            torch.rand(3, generator=torch.Generator().manual_seed(8)),
            of_seed(lambda: torch.rand(3), 8, outside=0),
        )


def test_threads_have_numbers_of_their_own():
    def numbers(seed):
        with seeded(seed):
            return torch.cat([torch.cat([torch.rand(1), F.dropout(ONES)]) for _ in range(100)])

    alone = [numbers(seed) for seed in range(8)]
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(pool.map(numbers, range(8)), alone, strict=True):
            assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients_pass_through_redirected_calls():
    x = torch.ones(40, requires_grad=True)
    with seeded(0):
        (torch.randn_like(x) * F.dropout(x)).sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad == 0).any()
    assert (x.grad != 0).any()


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 0.999999, 1.0])
def test_dropout_drops_its_share_and_keeps_the_mean(p):
    with seeded(0):
        dropped = Dropout(p)(torch.ones(300, 1001))
    assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=0.003)
    if p < 0.9:
        assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    assert len(dropped.unique()) <= 2
    assert torch.equal(Dropout(p).eval()(ONES), ONES)


def test_dropout_works_under_vmap():
    dropped = torch.func.vmap(Dropout(0.3), randomness="different")(torch.ones(40, 500))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)


def test_dropout_decides_for_each_value_alone():
    """Four decisions come from one draw of bits: neighbours are as independent as others."""
    with seeded(0):
        dropped = (Dropout(0.3)(torch.ones(100_000, 8)) == 0).double()
    assert (dropped.mT.corrcoef() - torch.eye(8)).abs().max() < 0.02


def test_classes_are_drawn_with_their_probabilities():
    logits = torch.tensor([[0.0, 1.0, -torch.inf], [2.0, 0.0, 0.0]])
    drawn = randomness.categorical(logits, (20_000,))
    assert drawn.shape == (20_000, 2)
    shares = torch.stack([F.one_hot(column, 3).double().mean(0) for column in drawn.mT])
    assert torch.allclose(shares, logits.softmax(-1).double(), atol=0.015)
    assert randomness.categorical(logits[:0]).shape == (0,)
    assert randomness.categorical(logits, (0, 2)).shape == (0, 2, 2)
    assert randomness.categorical(logits[0]).shape == ()


def test_what_is_not_ours_may_draw_by_itself():
    class Mine(nn.Module):
        pass

    assert draws_by_itself(Mine())
    assert draws_by_itself(lambda model, rows: rows)
    assert not draws_by_itself(nn.LSTMCell(1, 1))


SOURCES = sorted(Path(tessflow.__file__).parent.rglob("*.py"))
RANDOM = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson", "binomial"}
RANDOM |= {f"{name}_like" for name in ("rand", "randn", "randint")}
RANDOM |= {"bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_"}
LAYERS = {"dropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "pca_lowrank", "svd_lowrank"}
STATES = {"manual_seed", "fork_rng", "set_rng_state", "get_rng_state", "seed"}


def _calls(tree, inside=()):
    for node in ast.iter_child_nodes(tree):
        name = getattr(node, "name", None) if isinstance(node, ast.FunctionDef) else None
        within = (*inside, name) if name else inside
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node, within
        yield from _calls(node, within)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCES[0].parent)))
def test_every_source_names_its_generator(path):
    """Random calls outside of constructors do, and none but `randomness` uses torch's state."""
    place = path.relative_to(Path(tessflow.__file__).parent).as_posix()
    if place == "randomness.py":
        return
    for call, functions in _calls(ast.parse(path.read_text())):
        name, of = call.func.attr, ast.unparse(call.func.value)
        where = f"{place}:{call.lineno}: {of}.{name}"
        of_torch = name in RANDOM and (of == "torch" or name.endswith("_") or name == "multinomial") and of != "nn.init"
        made = "__init__" in functions or any((place, function) in CONSTRUCTED for function in functions)
        if of_torch and not made:
            assert "generator" in {keyword.arg for keyword in call.keywords}, where
        assert not (of in ("nn", "F", "torch.nn", "torch.nn.functional") and name in LAYERS), where
        assert not (of in ("torch", "torch.random", "torch.cuda") and name in STATES), where


@pytest.mark.parametrize("outer", [True, False])
def test_blocks_in_blocks_draw_from_the_inner_seed(outer):
    def drawn():
        return torch.cat([F.dropout(torch.ones(50)), torch.rand(3), torch.rand_like(torch.ones(3))])

    with seeded(1):
        expected = drawn()
    with seeded(0, redirect=outer):
        with seeded(1), redirected(), redirected():
            found = drawn()
        assert torch.equal(found, expected)
        with redirected():
            assert not torch.equal(drawn(), expected)


def test_a_generator_that_is_given_is_used():
    given = torch.Generator().manual_seed(3)
    expected = torch.poisson(torch.ones(5), given)
    with seeded(0):
        assert torch.equal(torch.poisson(torch.ones(5), given.manual_seed(3)), expected)


@pytest.mark.parametrize("draws", [uniform, normal])
def test_noise_of_any_shape_can_be_compiled(draws):
    compiled = torch.compile(lambda x: draws(x.shape, x), backend="eager", dynamic=True)
    for shape in ((3, 4), (5, 6)):
        assert compiled(torch.zeros(shape)).shape == shape
