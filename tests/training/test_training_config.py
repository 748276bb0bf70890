import math

import pytest
from pydantic import ValidationError

from tessflow.training import TrainingConfig


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_steps", 0),
        ("max_steps", 2.5),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.inf),
        ("warmup_steps", -1),
        ("weight_decay", -0.1),
        ("gradient_clip", 0.0),
        ("ema_decay", 1.0),
        ("evaluate_every", 0),
        ("patience", 0),
        ("checkpoint_every", 0),
        ("max_seconds", 0.0),
        ("seed", -1),
        ("accelerator", "abacus"),
        ("precision", "16-mixed"),
        ("learning_rte", 0.1),
    ],
)
def test_bad_option_is_named(option, value):
    with pytest.raises(ValidationError, match=option):
        TrainingConfig(**{option: value})


def test_config_is_frozen_and_survives_json():
    config = TrainingConfig(max_steps=7, patience=None)
    with pytest.raises(ValidationError):
        config.max_steps = 8
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("max_steps", [1, 2, 50, 2000])
@pytest.mark.parametrize("warmup", [0, 1, 100])
def test_learning_rate_warms_up_then_decays_to_almost_zero(max_steps, warmup):
    config = TrainingConfig(max_steps=max_steps, warmup_steps=warmup, learning_rate=0.5)
    rates = [config.learning_rate_at(step) for step in range(1, max_steps + 1)]
    top = rates.index(max(rates))
    assert all(0 < rate <= 0.5 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(
        0.5 * 0.5 * (1 - math.cos(math.pi / (max_steps + 1 - min(warmup, max_steps // 2))))
    )
