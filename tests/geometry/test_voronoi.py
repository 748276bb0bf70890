"""The learnable tessellation and its presets."""

from __future__ import annotations

import pytest
import torch

from tessflow.geometry import VoronoiTessellation

RAGGED = (7, 1, 4, 2)


def points(n, dim, spread=3.0):
    return spread * torch.randn(2000, n, dim)


def test_ordinal_cells_round_to_an_existing_value():
    x = 5 * torch.randn(2000, 4, 1)
    expected = x.squeeze(-1).round().clamp_min(0).minimum(torch.tensor(RAGGED) - 1).long()
    assert VoronoiTessellation.ordinal(RAGGED)().locate(x).equal(expected)


def test_argmax_cells_are_the_largest_coordinates():
    x = points(4, 7)
    index = VoronoiTessellation.argmax(RAGGED)().locate(x)
    for n, k in enumerate(RAGGED):
        assert index[:, n].equal(x[:, n, :k].argmax(-1))


def test_binary_argmax_cells_are_orthants():
    x = points(2, 3)
    index = VoronoiTessellation.binary_argmax((8, 2))().locate(x)
    bits = (x > 0).long()
    assert index[:, 0].equal(bits[:, 0] @ torch.tensor([1, 2, 4]))
    assert index[:, 1].equal(bits[:, 1, 0])


def test_binary_argmax_without_all_code_words_takes_the_nearest():
    x = points(1, 3)
    tessellation = VoronoiTessellation.binary_argmax((5,))
    assert tessellation.anchors.shape == (1, 5, 3)
    assert tessellation().locate(x).squeeze(-1).equal(torch.cdist(x[:, 0], tessellation.anchors[0]).argmin(-1))


@pytest.mark.parametrize("k", [2, 3, 4, 9])
def test_simplex_is_regular(k):
    corners = VoronoiTessellation.simplex((k,)).anchors[0]
    assert corners.shape == (k, k - 1)
    torch.testing.assert_close(corners.norm(dim=-1), torch.ones(k))
    torch.testing.assert_close(corners.mean(0), torch.zeros(k - 1), atol=1e-6, rtol=0)
    distances = torch.pdist(corners)
    torch.testing.assert_close(distances, distances[:1].expand_as(distances))


def test_first_corners_of_a_simplex_differ_in_the_first_coordinates_only():
    corners = VoronoiTessellation.simplex((6,)).anchors[0]
    for k in range(1, 7):
        rest = corners[:k, k - 1 :]
        assert rest.equal(rest[:1].expand_as(rest))
        first = corners[:k, : k - 1]
        torch.testing.assert_close(first.mean(0), torch.zeros(k - 1), atol=1e-6, rtol=0)


def test_simplex_cells_are_nearest_corners():
    x = points(4, 6)
    tessellation = VoronoiTessellation.simplex(RAGGED)
    index = tessellation().locate(x)
    for n, k in enumerate(RAGGED):
        corners = tessellation.anchors[n, :k]
        assert index[:, n].equal(torch.cdist(x[:, n].double(), corners.double()).argmin(-1))


@pytest.mark.parametrize("preset", ["ordinal", "argmax", "binary_argmax", "simplex"])
@pytest.mark.parametrize("cardinalities", [(1,), (2,), RAGGED], ids=str)
def test_presets_have_no_parameters_and_decode_their_own_anchors(preset, cardinalities):
    tessellation = getattr(VoronoiTessellation, preset)(cardinalities)
    assert not list(tessellation.parameters())
    index = tessellation().locate(tessellation.anchors.transpose(0, 1))
    for n, k in enumerate(cardinalities):
        assert index[:k, n].equal(torch.arange(k))


@pytest.mark.parametrize("learn_box", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_anchors_stay_in_the_box_whatever_the_optimizer_does(learn_box, dtype):
    module = VoronoiTessellation.random(RAGGED, dim=3, box=(-2.0, 3.0), learn_box=learn_box).to(dtype)
    before = module()
    assert before.lower.allclose(torch.tensor(-2, dtype=dtype))
    assert before.upper.allclose(torch.tensor(3, dtype=dtype))
    for size in (1, 10, 100, 1e4):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(size * torch.randn_like(parameter))
        cells = module()
        assert (cells.lower <= 0.5).all()
        assert (cells.upper >= 0.5).all()
        if not learn_box:
            assert (cells.anchors > cells.lower[:, None]).all()
            assert (cells.anchors < cells.upper[:, None]).all()
        assert (cells.anchors >= cells.lower[:, None]).all()
        assert (cells.anchors <= cells.upper[:, None]).all()


def test_the_box_moves_only_when_learned():
    for learn_box in (False, True):
        module = VoronoiTessellation.random((3, 2), dim=2, box=(0.0, 1.0), learn_box=learn_box)
        assert {name for name, _ in module.named_parameters()} == ({"anchors", "room"} if learn_box else {"anchors"})
        cells = module()
        (cells.anchors.sum() + cells.upper.square().sum()).backward()
        assert all(p.grad.isfinite().all() and p.grad.any() for p in module.parameters())


def test_anchors_start_where_they_were_put():
    anchors = torch.rand(2, 4, 3)
    torch.testing.assert_close(VoronoiTessellation(anchors)().anchors, anchors)
    torch.testing.assert_close(VoronoiTessellation(anchors, box=(-0.1, 1.1))().anchors, anchors, atol=1e-5, rtol=0)


def test_anchors_that_do_not_exist_may_lie_anywhere():
    anchors = torch.full((1, 2, 2), 0.5)
    anchors[0, 1] = torch.nan
    cells = VoronoiTessellation(anchors, mask=torch.tensor([[True, False]]), box=(0.0, 1.0))()
    assert cells.anchors.isfinite().all()
    assert (cells.locate(torch.rand(50, 1, 2)) == 0).all()


def test_random_cells_are_seeded_by_torch_and_within_the_middle_of_a_box():
    torch.manual_seed(1)
    first = VoronoiTessellation.random((3, 2), dim=2)
    torch.manual_seed(1)
    assert first.anchors.equal(VoronoiTessellation.random((3, 2), dim=2).anchors)
    boxed = VoronoiTessellation.random((50,), dim=2, box=(0.0, 4.0))().anchors
    assert ((boxed >= 1 - 1e-4) & (boxed <= 3 + 1e-4)).all()


def test_state_dict_round_trip():
    module, other = (VoronoiTessellation.random(RAGGED, dim=2, box=(-1.0, 1.0), learn_box=True) for _ in range(2))
    other.load_state_dict(module.state_dict())
    x = torch.rand(100, 4, 2)
    assert other().locate(x).equal(module().locate(x))


def test_one_variable_has_its_existing_anchors_only():
    module = VoronoiTessellation.random((5, 2), dim=3, box=(-1.0, 1.0))
    alone = module.variable(1)
    assert alone.anchors.equal(module().anchors[1, :2])
    assert alone.lower.shape == (3,)
    x = torch.rand(100, 2, 3)
    assert alone.locate(x[:, 1]).equal(module().locate(x)[:, 1])


def test_repr():
    assert "shape=(2, 3, 4), box=None, learned=True" in repr(VoronoiTessellation.random((3, 2), dim=4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VoronoiTessellation(torch.zeros(2, 1), box=(1.0, -1.0)), r"lower < upper, got \(1.0, -1.0\)"),
        (lambda: VoronoiTessellation(torch.ones(2, 1), box=(0.0, 1.0)), "strictly inside the box"),
        (lambda: VoronoiTessellation(torch.ones(2, 1), learn_box=True), "needs a box"),
        (lambda: VoronoiTessellation.random((3, 0), dim=2), "at least one class"),
        (lambda: VoronoiTessellation.argmax((3, 0)), "at least one class"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
