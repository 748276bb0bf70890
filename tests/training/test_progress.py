"""What is shown of a run: the same quantities with the same sign, and a time left that the run keeps to."""

import pytest
import torch
from noisy_model import NoisyModel

from tessflow.training import TrainingConfig, fit
from tessflow.training import progress as shown
from tessflow.training.counters import Counters


def run(config):
    torch.manual_seed(0)
    x = torch.randint(3, (64, 3))
    return fit(NoisyModel(), x, x, config, progress=True)


@pytest.mark.parametrize("plain", [False, True])
def test_the_end_says_what_happened_in_a_terminal_and_in_a_notebook(plain, monkeypatch, capsys):
    if plain:
        monkeypatch.setattr(shown.Console, "is_jupyter", True, raising=False)
        monkeypatch.setattr(shown, "find_spec", lambda name: None)
    result = run(TrainingConfig(max_steps=30, evaluate_every=5, warmup_steps=0))
    out, err = capsys.readouterr()
    assert out == ""
    last = result.history[-1]
    assert f"training {last['training']:.3f}  validation {last['validation']:.3f}" in err
    assert "30/30" in err
    assert err.rstrip().endswith(result.summary)
    assert f"step {result.best_step}, validation {result.best_validation:.3f} nats" in result.summary


def test_an_early_stop_is_said():
    result = run(TrainingConfig(max_steps=1000, evaluate_every=1, patience=1, learning_rate=1e-9))
    assert result.summary.startswith(f"{result.steps} steps in")
    assert "stopped early; kept" in result.summary


def test_time_left_is_that_of_the_steps_left():
    config = TrainingConfig(max_steps=100)
    assert shown.time_left(Counters(), config) is None
    assert shown.time_left(Counters(step=20, seconds=10.0), config) == pytest.approx(40)
    assert shown.time_left(Counters(step=20, seconds=10.0), config.model_copy(update={"max_seconds": 15.0})) == 5
    assert shown.time_left(Counters(step=20, seconds=10.0, finished=True), config) == 0
