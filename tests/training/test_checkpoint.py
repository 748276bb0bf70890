import csv
import json
import random
import signal
import threading

import pytest
import torch
from noisy_model import CONFIG, NoisyModel, rows
from safetensors import safe_open
from torch import nn

from tessflow.files import only_writer
from tessflow.training import fit, save_weights
from tessflow.training.weights import read_tensors, write_tensors

SHORT = CONFIG.model_copy(update={"max_steps": 13})


class Interrupted(BaseException):
    pass


def interrupt():
    raise Interrupted


def run(directory, config=SHORT, *, stop_at=None, stop=interrupt, model=None, train=None, validation=None, resume=True):
    calls = 0

    def objective(model, batch):
        nonlocal calls
        calls += model.training and torch.is_grad_enabled()  # without gradients the first batch sets layers
        if calls == stop_at:
            stop()
        return model.elbo(batch)

    torch.manual_seed(0)
    model = NoisyModel() if model is None else model
    train = rows(poisoned=True) if train is None else train
    validation = rows(20) if validation is None else validation
    result = fit(model, train, validation, config, objective=objective, directory=directory, resume=resume)
    return model, result, calls


def counters(directory):
    return json.loads(read_tensors(directory / "checkpoint.safetensors")[1]["counters"])


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
    assert calls == SHORT.max_steps
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
    for name in (".checkpoint.safetensors.a1b2c3d4.new", ".history.csv.a1b2c3d4.new", ".mine.csv.a1b2c3d4.new"):
        (tmp_path / name).write_bytes(b"half a file")
    run(tmp_path)
    assert [path.name for path in tmp_path.glob(".*")] == [".mine.csv.a1b2c3d4.new"]


def test_every_changed_bit_and_number_is_refused(tmp_path):
    run(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    whole, chance = path.read_bytes(), random.Random(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in [chance.randrange(header, len(whole)) for _ in range(40)]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"checkpoint.safetensors is damaged"):
            run(tmp_path)
    for before, after in ((rb"\"step\": 13", rb"\"step\": 10"), (rb"\"best_step\": 1", rb"\"best_step\": 2")):
        assert before in whole
        path.write_bytes(whole.replace(before, after))
        with pytest.raises(ValueError, match=r"checkpoint.safetensors is damaged"):
            run(tmp_path)
    path.write_bytes(whole)
    run(tmp_path)


def test_a_checkpoint_of_the_format_before_belongs_to_another_run(tmp_path):
    run(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    tensors, metadata = read_tensors(path)
    identity = json.loads(metadata["identity"]) | {"format version": 1}
    del metadata["digest"]
    write_tensors(path, tensors, metadata | {"identity": json.dumps(identity)})
    with pytest.raises(ValueError, match=r"belongs to another training run \(another format version\); delete it"):
        run(tmp_path)


def test_a_run_that_is_not_to_resume_replaces_the_checkpoint_when_it_has_its_own(tmp_path):
    run(tmp_path, SHORT.model_copy(update={"seed": 1}))
    old = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(Interrupted):
        run(tmp_path, stop_at=2, resume=False)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == old
    _, _, calls = run(tmp_path, resume=False)
    assert calls == SHORT.max_steps
    assert counters(tmp_path)["finished"]


def test_another_writer_is_refused(tmp_path):
    def second():
        with pytest.raises(RuntimeError, match=f"another fit writes into {tmp_path}: wait for it, or choose another"):
            run(tmp_path)

    with only_writer(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        run(tmp_path)  # the same thread may


def test_checkpoints_are_made_by_time(tmp_path, monkeypatch):
    monkeypatch.setattr("tessflow.training.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(tmp_path, SHORT.model_copy(update={"checkpoint_every": 500}), stop_at=6)
    assert counters(tmp_path)["step"] == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint(tmp_path, number):
    class Terminated(BaseException):
        pass

    def terminate(*_):
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        expected = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        with pytest.raises(expected) as raised:
            run(tmp_path, stop_at=5, stop=lambda: signal.raise_signal(number))
        assert signal.getsignal(signal.SIGTERM) is terminate
    finally:
        signal.signal(signal.SIGTERM, before)
    if number == signal.SIGINT:
        assert str(raised.value) == f"interrupted: {tmp_path}/checkpoint.safetensors holds the training up to step 5"
    assert counters(tmp_path)["step"] == 5
    model, result, calls = run(tmp_path)
    assert calls == SHORT.max_steps - 5
    whole, whole_result, _ = run(tmp_path / "whole")
    assert timeless(result) == timeless(whole_result)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), whole.state_dict().values(), strict=True))


def test_a_second_signal_has_its_effect_at_once(tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_at=2, stop=twice)
    assert not (tmp_path / "checkpoint.safetensors").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
