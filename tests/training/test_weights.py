import os
import stat

import pytest
import torch
from noisy_model import NoisyModel
from torch import nn

from tessflow.training import load_weights, save_weights


def test_round_trip_keeps_every_bit(tmp_path):
    model, other = NoisyModel(), NoisyModel()
    with torch.no_grad():
        model.running.fill_(0.1)
        model.calls.fill_(7)
    save_weights(model, tmp_path / "weights.safetensors")
    load_weights(other, tmp_path / "weights.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    assert os.listdir(tmp_path) == ["weights.safetensors"]


def test_loaded_weights_do_not_depend_on_the_file(tmp_path):
    model, path = nn.Linear(2, 2), tmp_path / "weights.safetensors"
    save_weights(model, path)
    contents = path.read_bytes()
    load_weights(model, path)
    with torch.no_grad():
        model.weight.fill_(1.0)
    assert path.read_bytes() == contents


def test_tied_weights(tmp_path):
    def tied():
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        model[1].weight = model[0].weight
        return model

    model, other = tied(), tied()
    save_weights(model, tmp_path / "weights.safetensors")
    load_weights(other, tmp_path / "weights.safetensors")
    assert torch.equal(other[1].weight, model[0].weight)


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_truncated_file(tmp_path, keep):
    path = tmp_path / "weights.safetensors"
    save_weights(nn.Linear(2, 2), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"weights.safetensors is damaged"):
        load_weights(nn.Linear(2, 2), path)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            nn.Linear(3, 2),
            r"'weight' is torch.float32 \(2, 2\) in the file and torch.float32 \(2, 3\) in the model",
        ),
        (nn.Linear(2, 2, bias=False), r"'bias' is .* in the file and absent in the model"),
        (nn.PReLU(2), "'weight' is"),
        (nn.Linear(2, 2).double(), r"torch.float32 .* torch.float64"),
    ],
)
def test_weights_of_another_model(tmp_path, module, message):
    save_weights(nn.Linear(2, 2), tmp_path / "weights.safetensors")
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_weights(module, tmp_path / "weights.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_weights(nn.Linear(2, 2), tmp_path / "weights.safetensors")


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    save_weights(nn.Linear(2, 2), path)
    contents = path.read_bytes()

    def full(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_weights(nn.Linear(2, 2), path)
    assert path.read_bytes() == contents
    assert os.listdir(tmp_path) == ["weights.safetensors"]


def test_file_permissions_follow_the_umask(tmp_path):
    save_weights(nn.Linear(2, 2), tmp_path / "weights.safetensors")
    (tmp_path / "plain").write_bytes(b"")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1
