import math
import time

import pytest
import torch
from noisy_model import NoisyModel, rows
from torch import nn

from tessflow.training import TrainingConfig, TrainingDivergedError, evaluate, fit
from tessflow.training.loop import _batches, cut_off_mean


class Gaussian(nn.Module):
    def __init__(self, dimension=1):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(dimension))

    def elbo(self, x):
        return torch.distributions.Normal(self.mean, 1.0, validate_args=False).log_prob(x).sum(-1)


def short(**options):
    defaults = {"max_steps": 30, "batch_size": 16, "warmup_steps": 3, "evaluate_every": 10, "patience": None}
    return TrainingConfig(**{**defaults, **options})


def noisy_run(config, **options):
    torch.manual_seed(0)
    model = NoisyModel()
    return model, fit(model, rows(), rows(20), config, **options)


def same_weights(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_fit_reaches_the_maximum_likelihood():
    x = 3.0 + torch.randn(200, 2)
    model = Gaussian(2)
    result = fit(model, x, x, short(max_steps=300, learning_rate=0.1, weight_decay=0.0))
    torch.testing.assert_close(model.mean.detach(), x.mean(0), atol=0.05, rtol=0)
    assert result.history[-1]["training"] > result.history[0]["training"] + 1
    assert result.best_validation == pytest.approx(cut_off_mean(model.elbo(x)).item(), abs=1e-4)


def test_model_holds_the_best_averaged_weights():
    model, result = noisy_run(short(learning_rate=0.3, max_steps=60))
    best = max(result.history, key=lambda row: row["validation"])
    assert (best["step"], best["validation"]) == (result.best_step, result.best_validation)
    assert cut_off_mean(evaluate(model, rows(20), batch_size=64)).item() == result.best_validation
    assert not model.training


def test_one_odd_row_does_not_choose_the_weights():
    """Its own best mean is far away; the lowest of 20 to 200 rows counts as the next to lowest."""
    x = torch.randn(100, 2)
    odd = torch.cat([x[:39], torch.full((1, 2), 1e3)])
    clean = []
    for rows_ in (x[:39], odd):
        model = Gaussian(2)
        result = fit(model, x, rows_, short(max_steps=200, learning_rate=0.05))
        assert result.best_validation > -20
        clean.append(model.elbo(x).mean().item())
    assert clean[1] == pytest.approx(clean[0], abs=0.05)


@pytest.mark.parametrize("count", [1, 19, 20, 199, 200, 1000])
def test_the_mean_is_cut_off_at_a_half_percent(count):
    values = torch.randn(count, dtype=torch.float64)
    expected = values if count < 20 else values.clamp_min(values.sort().values[count // 200 + 1])
    assert cut_off_mean(values).item() == pytest.approx(expected.mean().item())


def test_evaluation_uses_the_average_and_not_the_last_weights():
    _, slow = noisy_run(short(ema_decay=0.999))
    _, none = noisy_run(short(ema_decay=0.0))
    assert slow.history[-1]["training"] == none.history[-1]["training"]
    assert slow.history[-1]["validation"] != none.history[-1]["validation"]


def test_first_average_is_the_first_update():
    model, config = Gaussian(), short(max_steps=1, learning_rate=0.1)
    fit(model, torch.ones(4, 1), torch.ones(4, 1), config)
    assert model.mean.item() == pytest.approx(config.learning_rate_at(1), rel=1e-4)  # Adam's first step has length 1


def test_same_seed_same_result_and_the_callers_random_state_is_kept():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    weights = Gaussian()
    fit(weights, torch.ones(4, 1), torch.ones(4, 1), short(max_steps=2))
    assert torch.equal(torch.get_rng_state(), state)

    first, result = noisy_run(short())
    torch.rand(7)
    second, again = noisy_run(short())
    other, _ = noisy_run(short(seed=1))
    assert same_weights(first, second)
    assert not same_weights(first, other)
    assert [row["validation"] for row in result.history] == [row["validation"] for row in again.history]


def test_history_has_a_row_for_each_evaluation_and_the_last_step():
    config = short(max_steps=25)
    _, result = noisy_run(config)
    assert [row["step"] for row in result.history] == [10, 20, 25]
    assert [row["learning_rate"] for row in result.history] == [config.learning_rate_at(s) for s in (10, 20, 25)]
    assert all(row["gradient_norm"] > 0 and row["skipped"] == 0 for row in result.history)
    assert result.steps == 25
    assert not result.stopped_early


def test_training_value_is_the_mean_since_the_last_row():
    losses = []

    def objective(model, x):
        values = model.elbo(x)
        if model.training:
            losses.append(-values.mean().item())
        return values

    x = torch.randn(64, 1)
    result = fit(Gaussian(), x, x, short(max_steps=20), objective=objective)
    assert result.history[1]["training"] == pytest.approx(-sum(losses[11:21]) / 10)  # after the pass that sets layers


def test_early_stopping_counts_evaluations_without_improvement():
    train, validation = torch.full((32, 1), 5.0), torch.full((8, 1), -5.0)  # better here is worse there
    model = Gaussian()
    config = short(max_steps=1000, evaluate_every=5, patience=3, learning_rate=0.1)
    result = fit(model, train, validation, config)
    assert result.stopped_early
    assert result.best_step == 0, "the weights it started from"
    assert result.steps == 20


def test_max_seconds_stops_with_an_evaluation():
    def slow(model, x):
        time.sleep(0.01)
        return model.elbo(x)

    x = torch.randn(32, 1)
    result = fit(Gaussian(), x, x, short(max_steps=10_000, max_seconds=0.1), objective=slow)
    assert result.stopped_early
    assert 1 <= result.steps <= 20
    assert result.history[-1]["step"] == result.steps


def test_non_finite_steps_are_skipped_and_counted():
    x = torch.randn(48, 1)
    x[5] = float("nan")
    model = Gaussian()
    result = fit(model, x, torch.randn(8, 1), short(max_steps=30))  # one batch of the three in an epoch has it
    assert result.skipped_steps == 10
    assert result.history[-1]["skipped"] == 10
    assert model.mean.isfinite().all()
    assert all(math.isfinite(row["training"]) for row in result.history)


def test_skipped_step_changes_no_weight():
    model = Gaussian()
    bad = torch.full((4, 1), float("inf"))
    result = fit(model, bad, torch.zeros(4, 1), short(max_steps=9))
    assert result.skipped_steps == 9
    assert model.mean.item() == 0.0
    assert math.isnan(result.history[-1]["training"])


def test_infinite_gradient_of_a_finite_loss_is_skipped():
    model = Gaussian()
    x = torch.randn(4, 1)
    result = fit(model, x, x, short(max_steps=5), objective=lambda m, x: m.elbo(x) - m.mean.abs().sqrt())
    assert result.skipped_steps == 5


def test_ten_bad_steps_in_a_row_stop_with_advice():
    bad = torch.full((4, 1), float("nan"))
    with pytest.raises(TrainingDivergedError, match=r"step 10: .* 10 steps in a row; try a smaller learning_rate"):
        fit(Gaussian(), bad, torch.zeros(4, 1), short())


def test_non_finite_validation_counts_as_the_worst():
    def objective(model, x):
        values = model.elbo(x)
        return values if model.training or model.mean < 0.5 else values.log()  # NaN

    train = torch.full((16, 1), 1.0)
    config = short(max_steps=300, learning_rate=0.05, weight_decay=0.0, ema_decay=0.0)
    model = Gaussian()
    result = fit(model, train, train, config, objective=objective)
    assert math.isnan(result.history[-1]["validation"])
    assert math.isfinite(result.best_validation)
    assert model.mean < 0.5

    with pytest.raises(TrainingDivergedError, match="no evaluation of the validation rows was finite"):
        fit(Gaussian(), train, torch.full((4, 1), math.inf), short())


def test_gradient_is_clipped():
    x = torch.full((16, 1), 100.0)
    steps = {}
    for clip in (1e-9, None):  # so small that the epsilon of Adam takes over
        model = Gaussian()
        fit(model, x, x, short(max_steps=5, gradient_clip=clip, ema_decay=0.0))
        steps[clip] = model.mean.item()
    assert steps[1e-9] < 0.5 * steps[None]


def test_default_objective_is_elbo_and_bf16_runs_under_autocast():
    dtypes = []

    class Net(nn.Linear):
        def elbo(self, x):
            out = self(x)
            dtypes.append(out.dtype)
            return -out.float().square().sum(-1)

    x = torch.randn(16, 2)
    model = Net(2, 2)
    result = fit(model, x, x, short(max_steps=3, precision="bf16-mixed"))
    assert set(dtypes) == {torch.bfloat16}
    assert model.weight.dtype == torch.float32
    assert math.isfinite(result.best_validation)


def test_double_precision_model_stays_so():
    x = torch.randn(16, 1, dtype=torch.float64)
    model = Gaussian().double()
    fit(model, x, x, short(max_steps=3))
    assert model.mean.dtype == torch.float64


def test_progress_bar_goes_to_standard_error(capsys):
    noisy_run(short(), progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "30/30" in captured.err
    assert "validation" in captured.err
    noisy_run(short(), progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("count", "batch_size"), [(10, 3), (10, 5), (4, 100), (1, 1)])
def test_batches_shuffle_every_epoch_and_depend_on_the_step_alone(count, batch_size):
    data = torch.arange(count)
    per_epoch = max(1, count // batch_size)
    iterator = _batches(data, batch_size, seed=2, start=0)
    batches = [next(iterator) for _ in range(3 * per_epoch)]
    for epoch in range(3):
        seen = torch.cat(batches[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert len(seen.unique()) == len(seen) == min(count, per_epoch * batch_size)
    for start in range(3 * per_epoch):
        assert torch.equal(next(_batches(data, batch_size, seed=2, start=start)), batches[start])
    if count == 10:
        assert not torch.equal(batches[0], batches[per_epoch])


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        (torch.zeros(0, 1), torch.zeros(4, 1), "train has no rows"),
        (torch.zeros(4, 1), torch.zeros(0, 1), "validation has no rows"),
        (torch.zeros(4, 1), torch.zeros(4, 2), "give both the same shape"),
        (torch.zeros(4, 1), torch.zeros(4, 1).long(), "give both the same shape and dtype"),
    ],
)
def test_bad_rows(train, validation, message):
    with pytest.raises(ValueError, match=message):
        fit(Gaussian(), train, validation, short())


def test_bad_models():
    x = torch.zeros(4, 1)
    frozen = Gaussian().requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameters"):
        fit(frozen, x, x, short())
    broken = Gaussian()
    nn.init.constant_(broken.mean, float("nan"))
    with pytest.raises(ValueError, match="'mean' of the model is not finite"):
        fit(broken, x, x, short())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_device_is_said_so():
    x = torch.zeros(4, 1)
    with pytest.raises(ValueError, match="no CUDA device"):
        fit(Gaussian(), x, x, short(accelerator="cuda"))
    assert fit(Gaussian(), x, x, short(max_steps=1, accelerator="auto")).steps == 1
