import csv
import json

import pytest
import torch
from noisy_model import CONFIG, NoisyModel, rows
from safetensors import safe_open
from torch import nn

from tessflow.training import fit, save_weights

SHORT = CONFIG.model_copy(update={"max_steps": 13})


class Interrupted(BaseException):
    pass


def run(directory, config=SHORT, *, stop_at=None, model=None, train=None, validation=None):
    calls = 0

    def objective(model, batch):
        nonlocal calls
        calls += model.training
        if calls == stop_at:
            raise Interrupted
        return model.elbo(batch)

    torch.manual_seed(0)
    model = NoisyModel() if model is None else model
    train = rows(poisoned=True) if train is None else train
    validation = rows(20) if validation is None else validation
    result = fit(model, train, validation, config, objective=objective, directory=directory)
    return model, result, calls


def timeless(result):
    return repr([{k: v for k, v in row.items() if k != "seconds"} for row in result.history])


def test_resumed_run_is_the_run_that_was_not_interrupted(tmp_path):
    model, result, _ = run(tmp_path / "whole")
    for stop in range(1, SHORT.max_steps + 1):
        with pytest.raises(Interrupted):
            run(tmp_path / f"{stop}", stop_at=stop)
        resumed, again, _ = run(tmp_path / f"{stop}")
        for name, tensor in model.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], tensor), (stop, name)
        assert timeless(again) == timeless(result)
        assert (again.best_step, again.skipped_steps) == (result.best_step, result.skipped_steps)


def test_run_without_a_directory_is_the_same_run(tmp_path):
    model, _, _ = run(tmp_path)
    other, _, _ = run(None)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_finished_run_returns_at_once(tmp_path):
    model, result, calls = run(tmp_path)
    again, same, no_calls = run(tmp_path)
    assert calls == 1 + SHORT.max_steps  # the first sets layers that a batch sets
    assert no_calls == 0
    assert repr(same) == repr(result)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_history_file_holds_the_rows_of_the_result(tmp_path):
    _, result, _ = run(tmp_path)
    with open(tmp_path / "history.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == [
        "step", "training", "validation", "learning_rate", "gradient_norm", "seconds", "skipped",
    ]  # fmt: skip
    rows_read = [{name: float(value) for name, value in row.items()} for row in table]
    rows_kept = [{name: float(value) for name, value in row.items()} for row in result.history]
    assert repr(rows_read) == repr(rows_kept)  # as text, because some means are NaN: all their steps were skipped


def test_checkpoint_is_one_safetensors_file_with_readable_metadata(tmp_path):
    run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.safetensors", "history.csv"]
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as file:
        parts = {name.split(".")[0] for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    assert parts == {"model", "average", "best", "optimizer", "random"}
    assert json.loads(metadata["identity"])["config"]["max_steps"] == 13
    assert json.loads(metadata["counters"])["step"] == 13


def wider():
    model = NoisyModel()
    model.net[0], model.net[3] = nn.Linear(3, 9), nn.Linear(9, 3)
    return model


def smooth():
    model = NoisyModel()
    model.net[1] = nn.SiLU()
    return model


def partly_frozen():
    model = NoisyModel()
    model.net[0].requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"config": SHORT.model_copy(update={"learning_rate": 0.5})},
            r"learning_rate is 0.002 there and 0.5 here",
        ),
        ({"train": rows(poisoned=True) + 1}, "another training data"),
        ({"validation": rows(19)}, "another validation data"),
        ({"model": wider()}, r"tensor 'model.net.0.weight' is torch.float32 \(8, 3\) in the file"),
        ({"model": smooth()}, "another model structure"),
        ({"model": partly_frozen()}, "another model structure"),
    ],
)
def test_checkpoint_of_another_run_is_refused(tmp_path, change, message):
    run(tmp_path)
    with pytest.raises(ValueError, match=rf"checkpoint.safetensors belongs to another .*{message}.*; delete it"):
        run(tmp_path, **change)


@pytest.mark.parametrize("contents", [b"", b"nonsense", None])
def test_damaged_checkpoint_is_refused(tmp_path, contents):
    run(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100] if contents is None else contents)
    with pytest.raises(ValueError, match=r"checkpoint.safetensors is damaged .*; delete it .* another directory"):
        run(tmp_path)


def test_foreign_safetensors_file_is_refused(tmp_path):
    save_weights(nn.Linear(2, 2), tmp_path / "checkpoint.safetensors")
    with pytest.raises(ValueError, match=r"checkpoint.safetensors is damaged or no training checkpoint"):
        run(tmp_path)


def test_rest_of_a_killed_write_does_no_harm(tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, stop_at=8)
    (tmp_path / "checkpoint.safetensors.tmp").write_bytes(b"half a file")
    run(tmp_path)
    assert not (tmp_path / "checkpoint.safetensors.tmp").exists()
