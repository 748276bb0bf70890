"""What holds of every transform: a log-determinant for each point, and no NaN at infinity."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import IndependentTransform
from torch.testing import assert_close

import tessflow.transforms
from tessflow.geometry import Intervals, Tessellation
from tessflow.transforms import (
    ActNorm,
    CellTransform,
    CubeCellTransform,
    GaussianToCube,
    GroupWhitening,
    IntervalTransform,
    LogisticMixtureTransform,
    PiecewiseLinear,
    Retessellation,
    Softsign,
    TruncatedGaussian,
)


def whitening():
    found = GroupWhitening(2, 2)
    found.initialize(torch.randn(50, 2) @ torch.tensor([[3.0, 1.0], [0.0, 1.0]]), torch.arange(50) % 2)
    return found


def act_norm():
    found = ActNorm(2)
    found.initialize(3 + 2 * torch.randn(50, 2))
    return found()


def cells(**walls):
    return Tessellation(torch.tensor([[-0.5, 0.0], [0.5, 0.3], [0.4, -0.4]]), **walls)


BOX = {"lower": torch.full((2,), -1.0), "upper": torch.full((2,), 2.0)}
TRANSFORMS = {
    "ActNorm": act_norm,
    "CellTransform": lambda: CellTransform(cells(), 1),
    "CellTransform, Softsign": lambda: CellTransform(cells(), 1, profile=Softsign(2.0)),
    "CellTransform, boxed": lambda: CellTransform(cells(**BOX), 1, profile=TruncatedGaussian(0.5)),
    "CubeCellTransform": lambda: CubeCellTransform(cells(), 1),
    "CubeCellTransform, boxed": lambda: CubeCellTransform(cells(**BOX), 1),
    "GaussianToCube": GaussianToCube,
    "GroupWhitening": lambda: whitening()(torch.ones((), dtype=torch.int64)),
    "IntervalTransform": lambda: IntervalTransform(Intervals(torch.tensor([0.0, 1.0])), torch.tensor(1)),
    "LogisticMixtureTransform": lambda: LogisticMixtureTransform(
        torch.zeros(2), torch.tensor([-1.0, 2.0]), torch.tensor([0.0, -1.0])
    ),
    "PiecewiseLinear": lambda: PiecewiseLinear(torch.tensor([0.0, 1.0, 3.0]), torch.tensor([0.0, 1.0, 2.0])),
    "Retessellation": lambda: Retessellation(cells(), Tessellation(cells().anchors.flip(-1))),
    "Retessellation, boxed": lambda: Retessellation(cells(**BOX), Tessellation(cells().anchors.flip(-1), **BOX)),
    "Retessellation, line": lambda: Retessellation(
        Intervals(torch.zeros(3)), Intervals(torch.tensor([0.0, 1.0, -2.0]))
    ),
}
# Those of the line take one coordinate.
SIZES = {"IntervalTransform": 1, "Retessellation, line": 1}


def points(name, *shape):
    torch.manual_seed(0)
    return 1.8 * torch.rand(*shape, SIZES.get(name, 2)) - 0.9


def test_there_is_one_of_every_kind():
    kinds = set(tessflow.transforms.__all__) - {"Profile", "Softsign", "TruncatedGaussian"}
    assert kinds == {name.split(",")[0] for name in TRANSFORMS}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_point_of_a_row_has_its_log_determinant(name):
    transform, x = TRANSFORMS[name](), points(name, 5, 4)
    axes = 1 - transform.domain.event_dim
    z = transform(x)
    each = transform.log_abs_det_jacobian(x, z)
    assert each.shape == x.shape[: 3 - transform.domain.event_dim]
    rows = IndependentTransform(transform, 1 + axes)
    assert_close(rows.log_abs_det_jacobian(x, z), each.flatten(1).sum(1))
    assert_close(rows.inv.log_abs_det_jacobian(z, x), -each.flatten(1).sum(1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", [name for name in TRANSFORMS if "Cell" in name])
def test_infinite_points_have_no_density(name, dtype):
    inf = torch.inf
    x = torch.tensor([[inf, 0.0], [-inf, 0.1], [0.2, inf], [inf, inf], [-inf, inf]], dtype=dtype)
    transform = TRANSFORMS[name]()
    for direction in (transform, transform.inv):
        image, log_det = direction.call_and_ladj(x)
        assert not image.isnan().any()
        assert (log_det == -inf).all()
    pushed = TransformedDistribution(Independent(Normal(torch.zeros(2), 1.0), 1), [transform], validate_args=False)
    assert not pushed.log_prob(x).isnan().any()
    pushed = TransformedDistribution(Independent(Normal(torch.zeros(2), 1.0), 1), [transform], validate_args=True)
    with pytest.raises(ValueError, match="support"):
        pushed.log_prob(x)


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if "Whitening" not in name])
def test_infinite_points_make_no_nan(name):
    x = torch.tensor([[torch.inf, 0.0], [0.5, -torch.inf]])[..., : SIZES.get(name, 2)]
    z = TRANSFORMS[name]()(x)
    assert not z.isnan().any()
    assert not TRANSFORMS[name]().log_abs_det_jacobian(x, z).isnan().any()
