"""Float32 at the hard points: at anchors, on walls, at vertices, nearly equal anchors, extreme radii.

Values are compared with float64 on the same float32 inputs, to ``1e-5`` relative to one plus the value.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from brute_force import PROFILES, BruteForce, Exact
from cell_cases import Case, hard_cases
from tessflow.geometry import Tessellation
from tessflow.transforms import CellTransform, Softsign, TruncatedGaussian

MAKE = {"softsign": Softsign, "truncated_gaussian": TruncatedGaussian}
HARD = hard_cases()
EPS = torch.finfo(torch.float32).eps


def transform(case: Case, profile: str) -> CellTransform:
    return CellTransform(Tessellation(**case.cells()), case.index, profile=MAKE[profile](case.scale))


def centred(case: Case) -> tuple[Case, Tensor]:
    """The case in float64 with every point's own anchor moved to the origin, one tessellation a point."""
    case = case.to(torch.float64)
    own = case.anchors[case.index]
    walls = {k: getattr(case, k) - own for k in ("lower", "upper") if getattr(case, k) is not None}
    return replace(case, anchors=case.anchors - own[:, None], x=case.x - own, **walls), own


def reference(case: Case, profile: str, direction: str) -> tuple[Tensor, Tensor]:
    """Brute force about the own anchor, and the softsign's limit at the anchor itself."""
    at_anchor = (case.x == 0).all(-1)
    x = torch.where(at_anchor[:, None], torch.ones_like(case.x), case.x)
    move = getattr(BruteForce(**case.cells()), direction)
    y, log_det = move(profile, x, case.index, case.scale)
    limit = case.x.shape[-1] * case.scale.log() * (1 if direction == "forward" else -1)
    return torch.where(at_anchor[:, None], 0.0, y), torch.where(at_anchor, limit, log_det)


def close(got: Tensor, exact: Tensor) -> bool:
    return bool(((got.double() - exact).abs() <= 1e-5 * (1 + exact.abs())).all())


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", HARD)
class TestHardPoints:
    def test_forward(self, name, profile):
        exact, own = centred(HARD[name])
        z, log_det = transform(HARD[name], profile).call_and_ladj(HARD[name].x)
        expected = reference(exact, profile, "forward")
        assert close(z, own + expected[0])
        smooth = (exact.x != 0).any(-1) | (profile == "softsign")
        assert close(log_det[smooth], expected[1][smooth])
        assert log_det.isfinite().all()

    def test_inverse(self, name, profile):
        """At the float32 points the forward map gives, as far as they are inside of their cell."""
        z = transform(HARD[name], profile)(HARD[name].x)
        exact, own = centred(replace(HARD[name], x=z))
        inside = BruteForce(**exact.cells()).clearance(exact.x, exact.index) > 1e-10
        x, log_det = transform(HARD[name], profile).inv.call_and_ladj(z)
        expected = reference(exact, profile, "inverse")
        assert close(x[inside], (own + expected[0])[inside])
        inside &= (exact.x != 0).any(-1) | (profile == "softsign")
        assert close(log_det[inside], expected[1][inside])

    def test_there_and_back(self, name, profile):
        """``z -> x -> z`` is well conditioned everywhere in a closed cell, on its walls too."""
        c = transform(HARD[name], profile)
        z = c(HARD[name].x)
        x, log_det = c.inv.call_and_ladj(z)
        assert x.isfinite().all()
        assert log_det.isfinite().all()
        assert ((c(x) - z).abs() <= 1e-5 * (1 + z.abs())).all()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("direction", ["forward", "inverse"])
    def test_gradients_are_finite(self, name, profile, direction, dtype):
        case = HARD[name].to(dtype)
        if direction == "inverse":
            case = replace(case, x=transform(case, profile)(case.x))
        case = case.with_grad()
        c = transform(case, profile)
        y, log_det = (c if direction == "forward" else c.inv).call_and_ladj(case.x)
        for output in (y, log_det):
            grads = torch.autograd.grad(
                output.sum(), list(case.leaves().values()), retain_graph=True, allow_unused=True
            )
            for leaf, grad in zip(case.leaves(), grads, strict=True):
                assert grad is None or grad.isfinite().all(), leaf

    def test_stays_in_its_cell(self, name, profile):
        """No other anchor is nearer than the own one by more than a rounding of ``z``."""
        case = HARD[name]
        z = transform(case, profile)(case.x).double()
        distance = (z[..., None, :] - case.anchors.double()).norm(dim=-1)
        own = distance.gather(-1, case.index[..., None]).squeeze(-1)
        rounding = 4 * EPS * (z.norm(dim=-1) + case.anchors[case.index].double().norm(dim=-1))
        assert (own <= distance.amin(-1) + rounding).all()
        if case.lower is not None:
            assert ((z >= case.lower) & (z <= case.upper)).all()


@pytest.mark.parametrize("D", [1, 2, 7, 63])
def test_log_det_at_the_anchor(D):
    """The softsign is smooth there with slope ``scale``."""
    anchors = torch.randn(4, D)
    scale = torch.tensor([0.5, 1.0, 2.0, 9.0])
    c = CellTransform(Tessellation(anchors), torch.arange(4), profile=Softsign(scale))
    for t, sign in ((c, 1), (c.inv, -1)):
        y, log_det = t.call_and_ladj(anchors)
        assert torch.equal(y, anchors)
        torch.testing.assert_close(log_det, sign * D * scale.log())


def test_truncated_gaussian_at_the_anchor_is_between_its_limits():
    """Its slope there depends on the direction: at most the scale, at least what the nearest wall leaves."""
    anchors = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    c = CellTransform(Tessellation(anchors), torch.tensor(0), profile=TruncatedGaussian(torch.tensor(1.0)))
    log_det = c.call_and_ladj(anchors[0])[1].item()
    nearest = torch.tensor(0.5)
    assert torch.log(-torch.expm1(-(nearest**2) / 2)).item() - 1e-5 <= log_det <= 1e-5


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("radius", [1e-8, 1e-3, 0.3, 4.0, 30.0, 1e3, 1e8])
@pytest.mark.parametrize("box", [None, 0.8, 40.0])
def test_against_120_digits(profile, radius, box):
    """Float32 at extreme radii; the walls of the large box are many scales away."""
    anchors = torch.tensor([[0.0, 0.0], [1.0, 0.25], [-30.0, 2.0]])
    directions = torch.tensor([[0.6, 0.8], [-0.8, 0.6], [0.0, -1.0]])
    wall = None if box is None else torch.full((2,), box)
    case = Case(
        anchors if box != 0.8 else anchors[:1],
        radius * directions,
        torch.zeros(3, dtype=torch.long),
        torch.tensor([0.5, 1.0, 4.0]),
        None if wall is None else -wall,
        wall,
    )
    z, log_det = transform(case, profile).call_and_ladj(case.x)
    walls = (None, None) if wall is None else (case.lower.tolist(), case.upper.tolist())
    cell = Exact(case.anchors.tolist(), 0, *walls)
    for i in range(3):
        exact_z, exact_log_det = cell.forward(profile, case.x[i].tolist(), case.scale[i].item())
        exact_z = torch.tensor([float(c) for c in exact_z], dtype=torch.float64)
        exact_log_det = torch.tensor(float(exact_log_det), dtype=torch.float64)
        assert close(z[i], exact_z)
        assert close(log_det[i], exact_log_det)
