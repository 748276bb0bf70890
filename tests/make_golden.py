"""Makes ``tests/data/golden_cells.npz`` from the brute-force reference: ``python tests/make_golden.py``.

A configuration holds inputs and weights; for each profile the forward map ``y`` of ``x`` into the cells
``index`` with the gradients of ``sum(y * weight_y) + sum(log_det * weight_l)``, and the same of the inverse
at points ``q`` inside the cells ``q_index``. The script compares with 120-digit arithmetic before it writes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from brute_force import PROFILES, BruteForce, Exact
from cell_cases import Case, random_case

PATH = Path(__file__).parent / "data" / "golden_cells.npz"
CONFIGS = {
    "box": {"N": (3,), "K": 5, "D": 2, "box": True},
    "unbounded": {"N": (2,), "K": 4, "D": 3},
    "line_box": {"N": (2,), "K": 5, "D": 1, "box": True},
    "line_unbounded": {"N": (2,), "K": 3, "D": 1},
    "single_box": {"N": (2,), "K": 1, "D": 3, "box": True},
    "single_unbounded": {"N": (2,), "K": 1, "D": 2},
    "ragged_box": {"N": (4,), "K": 7, "D": 2, "box": True, "mask": True},
    "ragged_unbounded": {"N": (4,), "K": 6, "D": 4, "mask": True},
    "eight_box": {"N": (1,), "K": 9, "D": 8, "box": True},
    "eight_unbounded": {"N": (2,), "K": 4, "D": 8},
    "no_variables": {"N": (), "K": 6, "D": 2},
    "grid_of_variables": {"N": (2, 2), "K": 3, "D": 2, "box": True},
}


def inner_points(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Points uniform in ``(-1.5, 1.5)^D`` with the cell each falls in, off the walls and inside the box."""
    reference = BruteForce(**case.cells())
    q = 3 * torch.rand(4000, *case.anchors.shape[:-2], case.anchors.shape[-1], dtype=torch.float64) - 1.5
    index = reference.nearest(q)
    clear = reference.clearance(q - reference.own(index), index)
    order = (clear < 0.02).double().argsort(dim=0, stable=True)[:6]
    q = q.gather(0, order[..., None].expand(*order.shape, q.shape[-1]))
    return q, index.gather(0, order)


def record(outputs: tuple[torch.Tensor, torch.Tensor], weights: tuple, leaves: dict[str, torch.Tensor]) -> dict:
    """Both outputs and the gradients of their weighted sum."""
    total = sum((w * output).sum() for w, output in zip(weights, outputs, strict=True))
    grads = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    named = {f"grad_{name}": grad for name, grad in zip(leaves, grads, strict=True)}
    return {"y": outputs[0], "log_det": outputs[1], **named}


def check(case: Case, profile: str, z: torch.Tensor, log_det: torch.Tensor) -> None:
    """Compares the first batch row with 120-digit arithmetic."""
    N = case.anchors.shape[:-2]
    for n in np.ndindex(*N):
        cell = Exact(
            case.anchors[n].tolist(),
            int(case.index[0][n]),
            *(None if t is None else t[n].tolist() for t in (case.lower, case.upper, case.mask)),
        )
        exact_z, exact_log_det = cell.forward(profile, case.x[0][n].tolist(), float(case.scale[0][n]))
        torch.testing.assert_close(
            z[0][n], torch.tensor([float(c) for c in exact_z], dtype=z.dtype), rtol=1e-12, atol=1e-12
        )
        torch.testing.assert_close(float(log_det[0][n]), float(exact_log_det), rtol=1e-12, atol=1e-12)


def main() -> None:
    """Writes the file."""
    torch.manual_seed(20)
    arrays: dict[str, torch.Tensor] = {}
    for number, (name, config) in enumerate(CONFIGS.items()):
        case = random_case(**config, batch=(6,), seed=number)
        q, q_index = inner_points(case)
        weights = (torch.randn_like(case.x), torch.randn_like(case.scale))
        inputs = {**case.leaves(), "index": case.index, "mask": case.mask, "q": q, "q_index": q_index}
        inputs |= {"weight_y": weights[0], "weight_l": weights[1]}
        arrays |= {f"{name}/{key}": value for key, value in inputs.items() if value is not None}
        for profile in PROFILES:
            leaf = case.with_grad()
            reference = BruteForce(**leaf.cells())
            outputs = reference.forward(profile, leaf.x, leaf.index, leaf.scale)
            check(case, profile, outputs[0].detach(), outputs[1].detach())
            forward = record(outputs, weights, leaf.leaves())
            point = q.clone().requires_grad_()
            outputs = reference.inverse(profile, point, q_index, leaf.scale)
            inverse = record(outputs, weights, {**leaf.leaves(), "x": point})
            arrays |= {f"{name}/{profile}/forward/{key}": value for key, value in forward.items()}
            arrays |= {f"{name}/{profile}/inverse/{key}": value for key, value in inverse.items()}
    PATH.parent.mkdir(exist_ok=True)
    np.savez_compressed(PATH, **{key: value.detach().numpy() for key, value in arrays.items()})
    print(f"{PATH.name}: {len(arrays)} arrays, {PATH.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
