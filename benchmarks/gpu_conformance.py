"""How far apart a GPU and the processor are: cell maps, dequantizers and models, computed on both.

    benchmarks/gpu.sh --only conformance

The cases are those of the tests: tessellations and hard points of ``tests/cell_cases.py``, every dequantizer of
``tests/dequantization/dequantizer_cases.py``, every model of ``tests/models/model_cases.py``. The reference is torch's
own operations on the processor, in the same dtype. The exit code is 1 if a difference is beyond its tolerance.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from dequantizer_cases import CARDINALITIES, DEQUANTIZERS, build, perturb, rows
from model_cases import MODELS, initialized, sampled
from provenance import provenance
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cell_cases import Case, hard_cases, random_case
from tessflow.geometry import Tessellation
from tessflow.kernels import native
from tessflow.randomness import generator, seeded
from tessflow.transforms import CellTransform, Softsign, TruncatedGaussian

__all__ = ["Check", "Measured", "NoiseOfTheProcessor", "cell_maps", "checks", "dequantizers", "difference", "models"]

PROFILES: dict[str, Callable[[Tensor], Any]] = {"softsign": Softsign, "truncated Gaussian": TruncatedGaussian}
# The arithmetic of a cell map is float64, in which devices differ by some steps; hard points magnify them.
EXACT = {torch.float64: 1e-9, torch.float32: 1e-5}
# A network's is not: the steps of float32 add up over its layers, and the inverse of a map magnifies them.
NETWORK = {torch.float64: 1e-7, torch.float32: 1e-3}


@dataclass(frozen=True)
class Measured:
    """What one case of a check came to: the largest difference between the devices, beside the most it may be."""

    check: str
    case: str
    difference: float
    tolerance: float


@dataclass(frozen=True)
class Check:
    """A check over all of its cases: the largest difference, and the case that has it."""

    check: str
    cases: int
    largest: float
    at: str
    tolerance: float
    passed: bool


def checks(measured: Iterable[Measured]) -> list[Check]:
    """Gather the cases of each check.

    Example:
        >>> checks([Measured("locate", "a", 0.0, 1e-9), Measured("locate", "b", 1.0, 1e-9)])
        [Check(check='locate', cases=2, largest=1.0, at='b', tolerance=1e-09, passed=False)]
    """
    gathered: dict[str, list[Measured]] = {}
    for case in measured:
        gathered.setdefault(case.check, []).append(case)
    worst = {name: max(cases, key=lambda case: case.difference) for name, cases in gathered.items()}
    return [
        Check(name, len(gathered[name]), at.difference, at.case, at.tolerance, at.difference <= at.tolerance)
        for name, at in worst.items()
    ]


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, of numbers beyond 1 as a share of them; infinite where one alone is no number.

    Example:
        >>> difference(torch.tensor([1.5, 200.0, torch.inf]), torch.tensor([1.0, 100.0, torch.inf]))
        1.0
    """
    found, expected = (tensor.detach().cpu().double() for tensor in (found, expected))
    if found.shape != expected.shape:
        return math.inf
    if not found.numel():
        return 0.0
    share = (found - expected).abs() / expected.abs().clamp_min(1)
    share = share.masked_fill((found == expected) | (found.isnan() & expected.isnan()), 0)
    return share.nan_to_num(math.inf, math.inf).max().item()


class NoiseOfTheProcessor(TorchFunctionMode):
    """Draw on the processor what a model draws on a device, so that it sees the same noise on every device.

    Around a block of :func:`tessflow.randomness.seeded`, in which each draw names its generator.

    Example:
        >>> with NoiseOfTheProcessor(), seeded(0):
        ...     torch.rand(2, device="cpu")  # the same on any other device
        tensor([0.4963, 0.7682])
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") is None:
            return func(*args, **kwargs)
        device = kwargs["generator"].device
        kwargs["generator"] = generator("cpu")
        if kwargs.get("device") is not None:
            kwargs["device"] = "cpu"
        drawn = func(*(value.cpu() if isinstance(value, Tensor) else value for value in args), **kwargs)
        return args[0].copy_(drawn) if func.__name__.endswith("_") else drawn.to(device)


def cell_maps(device: torch.device) -> Iterator[Measured]:
    """Compare cells, gauges, the map both ways and its gradients."""
    options = itertools.product(((3, 5, 3), (2, 40, 2), (1, 6, 1)), (False, True), (False, True))
    smooth = {
        f"random, {k} cells in {d} dimensions{', box' * box}{', masked' * mask}": random_case(
            (n,), k, d, (64,), box=box, mask=mask
        )
        for (n, k, d), box, mask in options
    }
    for dtype, points in (
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.float32, torch.float64),
    ):
        tolerance, of_cells = EXACT[points], EXACT[dtype]  # gradients of cells have their dtype
        kind = str(points).removeprefix("torch.") + " in cells of float32" * (points != dtype)
        for name, case in (smooth | hard_cases()).items():
            case = case.to(dtype)
            case = replace(case, x=case.x.to(points))
            there = case.on(device)
            with native.disabled():
                expected = _cells(case)
            for part, value in _cells(there).items():
                yield Measured(f"{part}, {kind}", name, difference(value, expected[part]), tolerance)
            for profile in PROFILES:
                with native.disabled():
                    mapped = _map(case, profile, case.x, inverse=False)
                found = _map(there, profile, there.x, inverse=False)
                differs = max(map(difference, found, mapped))
                yield Measured(f"map into cells, {profile}, {kind}", name, differs, tolerance)
                if name not in smooth:  # at walls and corners the inverse is infinite, and gradients have two sides
                    continue
                with native.disabled():
                    back = _map(case, profile, mapped[0], inverse=True)
                found = _map(there, profile, mapped[0].to(device), inverse=True)
                differs = max(map(difference, found, back))
                yield Measured(f"map out of cells, {profile}, {kind}", name, differs, tolerance)
                for inverse, x in ((False, case.x), (True, mapped[0])):
                    with native.disabled():
                        slopes = _gradients(case, profile, x, inverse=inverse)
                    found_slopes = _gradients(there, profile, x.to(device), inverse=inverse)
                    for of, slope in found_slopes.items():
                        allowed = tolerance if of == "points" else of_cells
                        yield Measured(f"gradients of {of}, {kind}", name, difference(slope, slopes[of]), allowed)


def _cells(case: Case) -> dict[str, Tensor]:
    """Return distances to located anchors, gauges and clearances."""
    cells = Tessellation(**case.cells())
    rays = cells.rays(case.index, point=case.x)
    index = cells.locate(case.x)
    # Of anchors that are equally near any may be found: what is compared is how near it is.
    chosen = case.anchors.expand(*index.shape, *case.anchors.shape[-2:])
    nearest = chosen.gather(-2, index[..., None, None].expand(*index.shape, 1, cells.dim)).squeeze(-2)
    distance = (case.x.double() - nearest.double()).norm(dim=-1)
    if case.mask is not None:
        exists = case.mask.expand(*index.shape, cells.num_cells).gather(-1, index[..., None]).squeeze(-1)
        distance = distance.masked_fill(~exists, math.inf)
    return {"locate": distance, "gauge": rays.gauge(), "clearance": rays.clearance()}


def _map(case: Case, profile: str, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
    into = CellTransform(Tessellation(**case.cells()), case.index, profile=PROFILES[profile](case.scale))
    return into.inverse_and_ladj(x) if inverse else into.call_and_ladj(x)


def _gradients(case: Case, profile: str, x: Tensor, *, inverse: bool) -> dict[str, Tensor]:
    """Return the gradients of points, anchors, scales and walls for fixed gradients of the results."""
    leaves = case.with_grad()
    x = x.detach().clone().requires_grad_()
    outputs = _map(leaves, profile, x, inverse=inverse)
    wanted = leaves.leaves() | {"x": x}
    weights = [torch.linspace(-1, 1, output.numel()).reshape(output.shape).to(output) for output in outputs]
    names = {"x": "points", "scale": "scales", "lower": "the box", "upper": "the box"}
    found = torch.autograd.grad(outputs, list(wanted.values()), weights)
    return {names.get(name, name): gradient for name, gradient in zip(wanted, found, strict=True)}


def dequantizers(device: torch.device, names: Iterable[str] = tuple(DEQUANTIZERS)) -> Iterator[Measured]:
    """Compare the densities of dequantizers, and look whether draws are in their cells and follow their seed."""
    cardinalities = CARDINALITIES[-1]
    for name, (dtype, tolerance) in itertools.product(names, NETWORK.items()):
        kind = str(dtype).removeprefix("torch.")
        with seeded(0):
            here = build(name, cardinalities, dtype=dtype)
            y = rows(cardinalities, 64)
        there = copy.deepcopy(here).to(device)
        x, log_q = _draw(here, y)
        differs = max(map(difference, _draw(there, y.to(device)), (x, log_q)))
        yield Measured(f"dequantizers, draws and log q, {kind}", name, differs, tolerance)
        if dtype == torch.float64:  # a step of float32 next to a wall is a long way in R^D
            differs = difference(there(y.to(device)).log_prob(x.to(device)), here(y).log_prob(x))
            yield Measured(f"dequantizers, log q of given points, {kind}", name, differs, tolerance)
        draws = []
        for _ in range(2):
            with seeded(1):
                draws.append(there(y.to(device)).rsample())
        missed = (there.quantize(draws[0]).cpu() != y).double().sum().item()
        yield Measured("dequantizers, draws in other cells", f"{name}, {kind}", missed, 0.0)
        yield Measured("dequantizers, one seed, two draws", f"{name}, {kind}", difference(*draws), 0.0)


@torch.no_grad()
def _draw(dequantizer: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    with NoiseOfTheProcessor(), seeded(2):
        return dequantizer(y).rsample_with_log_prob()


def models(device: torch.device, names: Iterable[str] = tuple(MODELS)) -> Iterator[Measured]:
    """Compare the log-probabilities of models of the same weights and noise, and look at their draws."""
    for name in names:
        make, data = MODELS[name]
        with seeded(0):
            model = initialized(make(), data).train()
            model.elbo(data)  # the first batch sets layers
            perturb(model, 0.02).eval()
        for dtype, tolerance in NETWORK.items():
            here = copy.deepcopy(model).to(dtype)
            values = data.to(dtype) if data.is_floating_point() and data.dtype == torch.float32 else data
            there = copy.deepcopy(here).to(device)
            kind = str(dtype).removeprefix("torch.")
            differs = difference(_log_prob(there, values.to(device)), _log_prob(here, values))
            yield Measured(f"models, log p(y), {kind}", name, differs, tolerance)
        draws = []
        for _ in range(2):
            with seeded(1), torch.no_grad():
                draws.append(sampled(there, 16).cpu())
        no_row = draws[0].shape[1:] != data.shape[1:] or not _log_prob(here, draws[0]).isfinite().all()
        yield Measured("models, draws without a likelihood", name, float(no_row), 0.0)
        yield Measured("models, one seed, two draws", name, difference(*draws), 0.0)


@torch.no_grad()
def _log_prob(model: nn.Module, data: Tensor) -> Tensor:
    with NoiseOfTheProcessor(), seeded(2):
        return model.elbo(data)  # type: ignore[operator]


def main() -> None:
    """Check all, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    options = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False  # else convolutions of float32 numbers keep ten bits of them
    result = provenance(options.device)
    found = checks(
        itertools.chain(
            cell_maps(options.device),
            dequantizers(options.device),
            models(options.device),
        )
    )
    for check in found:
        mark = "ok  " if check.passed else "FAIL"
        print(f"{mark} {check.check}: {check.largest:.1e} of {check.tolerance:.0e}, in {check.cases} cases")
        if not check.passed:
            print(f"     the worst: {check.at}")
    options.out.write_text(json.dumps(result | {"checks": [asdict(check) for check in found]}, indent=1) + "\n")
    if not all(check.passed for check in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
