"""`benchmarks/gpu.sh` at tiny sizes on the processor: all of its parts run, and its checks find what differs."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from dequantizer_cases import perturb
from torch.utils._python_dispatch import TorchDispatchMode

import tessflow
from cell_cases import Case
from tessflow.dequantization import base as dequantization

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import gpu_conformance
import gpu_row
import gpu_steps
from gpu import RESULTS
from gpu_page import NONE, gpu

ROOT = Path(__file__).parents[1]
HERE = torch.device("cpu")


def script(*options):
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(Path(tessflow.__file__).parents[1])}
    call = [str(ROOT / "benchmarks" / "gpu.sh"), *map(str, options)]
    return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """The directory that a trial wrote."""
    out = tmp_path_factory.mktemp("gpu")
    done = script("--device", "cpu", "--tiny", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("all parts ended well")
    return out


def test_all_parts_run_without_a_gpu(trial):
    found = {path.stem: json.loads(path.read_text()) for path in trial.glob("*.json")}
    assert set(found) == {"conformance", "cell_transform", "steps", "row"}
    assert all(check["passed"] for check in found["conformance"]["checks"])
    modes = {step["mode"]: step for step in found["steps"]["steps"]}
    assert "CUDA" in modes.pop("captured")["failed"]
    assert set(modes) == {"plain", "compiled", "reduce-overhead"}
    assert all(step["milliseconds"] > 0 for step in modes.values())
    small, paper = found["row"]["rows"]
    assert small["test"]["nats"] > 0
    assert paper["budget_steps"] > 1000
    assert "cut_off" in paper
    assert str(ROOT) not in "".join(path.read_text() for path in trial.glob("*.json"))


def test_a_page_is_rendered_from_what_it_wrote(trial, tmp_path):
    page = gpu(trial)
    for text in ("| locate, float64 |", "| plain |", "torch.cuda.Stream requires CUDA", "cut off"):
        assert text in page
    assert gpu(tmp_path) == NONE


def test_only_figures_of_a_gpu_are_among_the_results():
    for path in RESULTS.glob("*.json"):
        assert "cuda" in json.loads(path.read_text()), path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param([], "no CUDA device", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")),
        (["--device", "cpu"], "add --tiny"),
        (["--device", "cpu", "--tiny", "--out", RESULTS], "choose another --out"),
    ],
)
def test_what_cannot_run_is_refused_in_one_sentence(options, says):
    done = script(*options)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def failed(measured):
    return {check.check for check in gpu_conformance.checks(measured) if not check.passed}


def test_a_device_that_maps_otherwise_fails(monkeypatch):
    monkeypatch.setattr(Case, "on", lambda self, _: replace(self, scale=self.scale * 1.001))
    found = failed(gpu_conformance.cell_maps(HERE))
    assert {"map into cells, softsign, float32", "map out of cells, truncated Gaussian, float64"} <= found
    assert "gradients of points, float64" in found
    assert not any(check.startswith(("locate", "gauge")) for check in found)


def test_a_device_with_other_weights_fails(monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, to: perturb(self) if isinstance(to, torch.device) else self)
    assert "dequantizers, draws and log q, float32" in failed(gpu_conformance.dequantizers(HERE, ["voronoi, D = 2"]))
    assert "models, log p(y), float32" in failed(gpu_conformance.models(HERE, ["matched", "cells, mlp"]))


def test_no_number_differs_from_one():
    numbers = torch.tensor([1.0, 2.0])
    assert gpu_conformance.difference(torch.tensor([1.0, torch.nan]), numbers) == torch.inf
    assert gpu_conformance.difference(torch.tensor([torch.inf, 2.0]), numbers) == torch.inf
    assert gpu_conformance.difference(numbers[:1], numbers) == torch.inf


class Looks(TorchDispatchMode):
    """Collects the operations whose result depends on values, or that copy from Python: both wait for a GPU."""

    names = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "lift_fresh")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.found += [str(func)] * any(name in str(func) for name in self.names)
        return func(*args, **kwargs or {})


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch's own call, at an import
@pytest.mark.parametrize("case", gpu_steps.CASES)
def test_a_step_looks_at_no_value_once_it_is_captured(case, monkeypatch):
    step = gpu_steps.make_step(case, "plain", HERE, tiny=True)
    step()
    monkeypatch.setattr(dequantization, "_can_look", lambda _: False)  # as while a CUDA graph is captured
    monkeypatch.setattr(F, "one_hot", lambda y, classes: (y[..., None] == torch.arange(classes)).long())  # as on a GPU
    with Looks() as looks:
        step()
    assert looks.found == []


def test_what_takes_too_long_is_told():
    found = gpu_steps.in_a_process("MixtureFlow, 20 columns", "plain", HERE, tiny=True, seconds=0)
    assert found == {"failed": "no step within 0 seconds"}


def test_a_run_is_cut_off_and_ctrl_c_is_not_mistaken_for_it():
    with pytest.raises(gpu_row.CutOff), gpu_row.at_most(0.01):
        time.sleep(5)
    with pytest.raises(KeyboardInterrupt), gpu_row.at_most(60):
        raise KeyboardInterrupt
    with gpu_row.at_most(None):
        pass
