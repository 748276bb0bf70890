import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tessflow.models import DiscreteFlow, IndependentColumns
from tessflow.training import TrainingConfig, fit

CARDINALITIES = (3, 1, 4, 2, 6)


def every_row(cardinalities=CARDINALITIES):
    return torch.tensor(list(itertools.product(*map(range, cardinalities))))


def make(cardinalities=CARDINALITIES, *, seed=0, **options):
    """A model in float64 whose layers and base are far from the start."""
    torch.manual_seed(seed)
    model = DiscreteFlow(cardinalities, **({"hidden_features": (16, 16)} | options)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return model


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("layers", [1, 4, 7])
def test_exact_probabilities_sum_to_one(scale, layers):
    model = make(scale=scale, layers=layers)
    assert not model.lower_bound
    assert model.log_prob(every_row()).exp().sum().item() == pytest.approx(1, abs=1e-12)
    # The layers do something: this is not the base alone.
    assert (model.log_prob(every_row()) - model.base.log_prob(every_row())).abs().max() > 0.1


@st.composite
def models(draw):
    cardinalities = draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    return make(cardinalities, seed=draw(st.integers(0, 99)), scale=draw(st.booleans()), layers=draw(st.integers(1, 5)))


@given(models())
def test_sampling_inverts_the_layers(model):
    y = (torch.rand(40, len(model.cardinalities)) * torch.tensor(model.cardinalities)).long()
    # Of base samples that are where the layers take y, the model's samples are y itself.
    z = moved(model, y)
    assert (z < torch.tensor(model.cardinalities)).all()
    model.base.sample = lambda n: z
    assert torch.equal(model.sample(len(y)), y)


def moved(model, y):
    """Where the layers take rows, found by likelihoods alone: under this base, each class of a column has its own."""
    columns = []
    for n, classes in enumerate(model.cardinalities):
        probe = IndependentColumns(model.cardinalities).double()
        first = sum(model.cardinalities[:n])
        with torch.no_grad():
            probe.logits[first : first + classes] = torch.arange(classes).double()
        log_p = torch.arange(classes).double().log_softmax(0)
        rest = -sum(math.log(k) for m, k in enumerate(model.cardinalities) if m != n)
        base, model.base = model.base, probe
        columns.append((model.log_prob(y)[:, None] - rest - log_p).abs().argmin(-1))
        model.base = base
    return torch.stack(columns, -1)


@pytest.mark.parametrize("scale", [False, True])
def test_samples_follow_the_probabilities(scale):
    model = make((3, 1, 4, 2), scale=scale)
    n = 20_000
    rows = every_row((3, 1, 4, 2))
    frequency = (model.sample(n)[:, None] == rows).all(-1).double().mean(0)
    probability = model.log_prob(rows).exp()
    assert frequency.sum().item() == pytest.approx(1)
    assert ((frequency - probability).abs() < 5 * (probability / n).sqrt()).all()


@pytest.mark.parametrize("scale", [False, True])
def test_every_parameter_gets_a_finite_gradient(scale):
    torch.manual_seed(0)
    model = DiscreteFlow((3, 5, 4, 2), layers=5, hidden_features=(16,), scale=scale)
    y = every_row((3, 5, 4, 2))
    model.initialize(y[: len(y) // 3])
    model.elbo(y).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_gradients_are_those_of_the_product_of_one_hot_vectors():
    # One layer that moves the second variable by a shift and a multiplier that a network chooses from the first.
    J, K, temperature = 7, 5, 0.5
    model = make((J, K), seed=1, layers=1, scale=True, temperature=temperature)
    y = every_row((J, K))[::3]
    model.elbo(y).sum().backward()
    got = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()

    h = model.layers[0].network(torch.eye(J).double()[y[:, 0]])
    choices = []
    for logits in (h[:, :K], torch.nn.functional.pad(h[:, K:], (1, 0), value=-math.inf)):
        soft = (logits / temperature).softmax(-1)
        choices.append(torch.eye(K).double()[logits.argmax(-1)] + soft - soft.detach())
    assert all(len(choice.argmax(-1).unique()) > 1 for choice in choices)
    x = torch.eye(K).double()[y[:, 1]]
    shift, multiplier, old, new = torch.meshgrid(*(torch.arange(K),) * 4, indexing="ij")
    table = ((shift + multiplier * old) % K == new).double()
    z = torch.einsum("bm,bs,by,msyz->bz", *choices, x, table)
    log_p = model.base.log_table()
    (log_p[0, y[:, 0]] + (z * log_p[1, :K]).sum(-1)).sum().backward()
    for gradient, parameter in zip(got, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def correlated(rows=2000, classes=3):
    """Two columns, the second the first plus one, but for one row in ten."""
    first = (torch.rand(rows) ** 1.5 * classes).long()
    noise = torch.randint(classes, (rows,)) * (torch.rand(rows) < 0.1)
    return torch.stack([first, (first + 1 + noise) % classes], -1)


@pytest.mark.parametrize("scale", [False, True])
def test_training_beats_independent_columns(scale):
    y = correlated()
    model = DiscreteFlow((3, 3), layers=2, hidden_features=(32,), scale=scale)
    model.initialize(y)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        (-model.elbo(y[torch.randint(len(y), (256,))]).mean()).backward()
        optimizer.step()
    independent = -IndependentColumns((3, 3)).fit(y).log_prob(y).mean()
    joint = torch.bincount(3 * y[:, 0] + y[:, 1]).double() / len(y)
    entropy = -torch.special.xlogy(joint, joint).sum()
    loss = -model.log_prob(y).mean()
    assert independent > entropy + 0.5
    assert loss < entropy + 0.1
    assert loss >= entropy - 1e-5


def test_trains_with_the_common_loop():
    y = correlated()
    model = DiscreteFlow((3, 3), layers=2, hidden_features=(32,))
    before = model.log_prob(y).mean()
    fit(model, y, y, TrainingConfig(max_steps=100, learning_rate=1e-2, warmup_steps=10, ema_decay=0.9))
    assert model.log_prob(y).mean() > before + 0.3


def test_initialize_fits_the_base_behind_the_layers():
    y = every_row()[::3]
    model = make()
    before = model.log_prob(y).mean()
    model.initialize(y)
    after = model.log_prob(y).mean()
    assert after > before
    expected = IndependentColumns(CARDINALITIES).double().fit(moved(model, y)).log_prob(moved(model, y))
    torch.testing.assert_close(model.log_prob(y), expected)


def test_log_prob_is_elbo_and_keeps_the_shape_of_a_batch():
    model = make((3, 2))
    y = every_row((3, 2)).reshape(2, 3, 2)
    assert model.log_prob(y, samples=7).shape == (2, 3)
    assert torch.equal(model.log_prob(y), model.elbo(y).detach())
    assert not model.log_prob(y).requires_grad
    assert model.log_prob(y[:0]).shape == (0, 3)


def test_many_classes_and_variables():
    cardinalities = tuple(range(31, 101))
    model = DiscreteFlow(cardinalities, scale=True, hidden_features=(16,))
    y = model.sample(8)
    assert y.shape == (8, 70)
    assert model.elbo(y).isfinite().all()


def test_state_is_what_is_learned_and_returns():
    model, other = make(seed=0), make(seed=1)
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.log_prob(every_row()), model.log_prob(every_row()))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"temperature": 0.0}, "temperature must be positive, got 0"),
        ({"cardinalities": (2, 0)}, "every variable needs at least one class"),
    ],
)
def test_refuses_impossible_options(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        DiscreteFlow(**({"cardinalities": (2, 2)} | options))


def test_refuses_what_is_no_class():
    # The padding of a variable with fewer classes than others is no class of it.
    with pytest.raises(ValueError, match=r"variable 3 has values 0, \.\.\., 1, got"):
        make().log_prob(torch.tensor([[0, 0, 0, 2, 0]]))


@pytest.mark.parametrize("scale", [False, True])
def test_from_the_identity_it_starts_as_independent_columns_and_learns(scale):
    torch.manual_seed(0)
    y = torch.stack([torch.randint(4, (500,)).clamp_max(2) for _ in range(6)], -1)
    model = DiscreteFlow((3,) * 6, hidden_features=(16,), scale=scale, identity=True)
    model.initialize(y)
    torch.testing.assert_close(model.log_prob(y), IndependentColumns((3,) * 6).fit(y).log_prob(y))
    model.elbo(y).sum().backward()
    assert any(layer.network[-1].weight.grad.abs().sum() > 0 for layer in model.layers)
