"""The map of a cell in Triton is torch's, by Triton's interpreter on the processor; and it compiles for GPUs."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest
import torch
from kernel_cases import PROFILES, Case
from torch.testing import assert_close

from tessflow.kernels import cuda, native
from tessflow.transforms import CellTransform, TruncatedGaussian, fused

triton = pytest.importorskip("triton", reason="Triton is not installed: pip install 'tessflow[gpu]'")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
# The interpreter computes by numpy, which warns of what GPUs do in silence.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
by_interpreter = pytest.mark.skipif(not INTERPRETED, reason="runs in a process of its own, see test_by_interpreter")


def test_by_interpreter():
    """Triton decides when it is imported whether kernels are interpreted: hence another process."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "not compiles and not by",
    ]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout


@pytest.fixture
def kernels_of_gpus(monkeypatch):
    monkeypatch.setattr(native, "usable", lambda *_, **__: native.enabled())
    monkeypatch.setattr(fused, "_kernels", lambda _: cuda)


def assert_torchs(case: Case, profile, *, inverse: bool, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    for each, other in case.beside_torchs(profile, inverse=inverse):
        assert_close(each, other, rtol=rtol, atol=atol * max(other.abs().max().item(), 1))


@by_interpreter
@pytest.mark.usefixtures("kernels_of_gpus")
@pytest.mark.parametrize("shape", [(5, 2, 3, 4), (33, 1, 40, 2), (1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("inverse", [False, True], ids=["into", "out of"])
def test_map_and_gradients_are_torchs(shape, inverse):
    for profile, box, masked in itertools.product(PROFILES, [False, True], [False, True]):
        assert_torchs(Case(shape, box=box, masked=masked, wide=box != masked), profile, inverse=inverse)


@by_interpreter
@pytest.mark.usefixtures("kernels_of_gpus")
@pytest.mark.parametrize("side", ["lower", "upper"])
def test_a_box_may_have_one_side(side):
    case = Case((20, 2, 5, 3), box=True)
    case.walls = (case.walls[0], None) if side == "lower" else (None, case.walls[1])
    case.x = 5 * case.x
    for profile in PROFILES:
        assert_torchs(case, profile, inverse=False)


@by_interpreter
@pytest.mark.usefixtures("kernels_of_gpus")
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8, 1e4, 1e8, 3e38, float("inf")])
def test_extreme_points_are_torchs(size):
    case = Case((20, 1, 30, 3), box=size >= 1e4)
    case.x = case.cells().anchors[torch.arange(1), case.index] + size * case.x.sign()
    for profile in PROFILES:
        assert_torchs(case, profile, inverse=False, rtol=1e-4, atol=1e-4)


@by_interpreter
@pytest.mark.usefixtures("kernels_of_gpus")
def test_points_on_walls_and_beyond_are_torchs():
    for profile, beyond in itertools.product(PROFILES, [1.0, 1 + 1e-7, 1.5]):
        case = Case((4, 1, 2, 1))
        case.anchors, case.index = torch.tensor([[[0.0], [2.0]]]), torch.zeros(4, 1, dtype=torch.int64)
        case.x = torch.full((4, 1, 1), beyond)
        transform = CellTransform(case.cells(), case.index, profile=profile(case.scale))
        found = transform.inv.call_and_ladj(case.x)
        with native.disabled():
            expected = transform.inv.call_and_ladj(case.x)
        for each, other in zip(found, expected, strict=True):
            assert_close(each, other, rtol=1e-4, atol=1e-4)


@by_interpreter
@pytest.mark.usefixtures("kernels_of_gpus")
def test_what_is_no_number_stays_none_and_no_rows_are_none():
    case = Case((20, 2, 30, 3))
    case.x[3, 1, 2] = torch.nan
    for profile in PROFILES:
        z, log_det = CellTransform(case.cells(), case.index, profile=profile(case.scale)).call_and_ladj(case.x)
        assert log_det.isnan().nonzero().tolist() == [[3, 1]]
        assert z[3, 1].isnan().all()
    z, log_det = CellTransform(case.cells(), case.index[:0]).call_and_ladj(case.x[:0])
    assert (z.shape, log_det.shape) == ((0, 2, 3), (0, 2))


@by_interpreter
@pytest.mark.usefixtures("kernels_of_gpus")
def test_an_index_of_no_cell_has_no_numbers_and_changes_no_sum():
    case = Case((20, 2, 5, 3), box=True)
    case.of_z[3], case.of_log_det[3] = 0, 0
    without = case.results(TruncatedGaussian, inverse=False)
    case.of_z[3], case.of_log_det[3] = 1, 1
    case.index[3] = torch.tensor([5, -1])
    z, log_det, _, _, *sums = case.results(TruncatedGaussian, inverse=False)
    assert z[3].isnan().all()
    assert log_det.isnan().nonzero().tolist() == [[3, 0], [3, 1]]
    for each, other in zip(sums, without[4:], strict=True):
        assert_close(each, other)


def test_what_the_kernel_does_not_know_is_refused():
    case = Case((3, 1, 4, 2))
    cells = native.Cells(case.anchors, weights=torch.zeros(1, 4))
    with pytest.raises(NotImplementedError, match="power cells"):
        cuda.cell_map(case.x, case.scale, cells, case.index, 1, False)


def test_is_not_used_on_the_processor_and_never_when_turned_off(monkeypatch):
    assert not cuda.usable(torch.zeros(2))
    assert not cuda.usable(torch.zeros(2), torch.zeros(2, device="meta"))
    with native.disabled():
        assert not native.enabled()


@pytest.mark.skipif(INTERPRETED, reason="kernels are interpreted here")
@pytest.mark.filterwarnings("ignore::UserWarning")  # Triton's own, on how it will round in later releases
@pytest.mark.parametrize(("capability", "inverse"), [(80, False), (90, True)])
def test_compiles_for_gpus(capability, inverse, monkeypatch, tmp_path):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from tessflow.kernels import triton_cells

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kinds = dict.fromkeys(["index", "wall", "first"], "*i64") | {"mask": "*u8"}
    kinds |= dict.fromkeys(["of_anchors", "of_lower", "of_upper"], "*fp64")
    kinds |= dict.fromkeys(["rows", "n", "k", "d"], "i32")
    for kernel, gaussian in itertools.product(
        [triton_cells.forward_kernel, triton_cells.backward_kernel], [True, False]
    ):
        options = {"GAUSSIAN": gaussian, "INVERSE": inverse, "MASKED": gaussian, "UPPER": True, "LOWER": gaussian}
        options |= {"WIDE": gaussian, "ROWS": 32, "CELLS": 32}
        options = {name: option for name, option in options.items() if name in kernel.arg_names}
        points = dict.fromkeys(["x", "z", "log_det", "of_x", "of_z", "of_log_det"], "*fp64" if gaussian else "*fp32")
        signature = {name: {**kinds, **points}.get(name, "*fp32") for name in kernel.arg_names}
        signature |= dict.fromkeys(options, "constexpr")
        source = ASTSource(fn=kernel, signature=signature, constexprs=options)
        built = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"enable_fp_fusion": False})
        assert built.asm["cubin"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("inverse", [False, True], ids=["into", "out of"])
def test_on_a_gpu_it_is_the_processors(inverse):
    case = Case((200, 3, 70, 4), box=True, masked=True)
    transform = CellTransform(case.cells(), case.index, profile=TruncatedGaussian(case.scale))
    x = transform(case.x) if inverse else case.x
    there = CellTransform(
        fused.Tessellation(*(t.cuda() for t in (case.anchors, *case.walls, case.mask))),
        case.index.cuda(),
        profile=TruncatedGaussian(case.scale.cuda()),
    )
    assert fused.takes(there.tessellation, there.profile, x.cuda())
    found = there.inv.call_and_ladj(x.cuda()) if inverse else there.call_and_ladj(x.cuda())
    expected = transform.inv.call_and_ladj(x) if inverse else transform.call_and_ladj(x)
    for each, other in zip(found, expected, strict=True):
        assert_close(each.cpu(), other, rtol=1e-5, atol=1e-5)
