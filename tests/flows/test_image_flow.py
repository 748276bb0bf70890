"""Coupling layers of images."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pixel_unshuffle

from tessflow.flows import ImageCouplings


def couplings(shape=(1, 4, 4), **options):
    """Layers with weights that are not those of the start."""
    torch.manual_seed(0)
    layers = ImageCouplings(shape, **{"layers": 4, "hidden_channels": 6, "maps": 2, **options}).double()
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.normal_(std=0.2)
    return layers


@settings(deadline=None, max_examples=10)
@given(st.sampled_from([(1, 4, 4), (2, 2, 6), (3, 3, 5), (2, 1, 1)]), st.integers(1, 5), st.integers(0, 2))
def test_the_inverse_and_the_log_determinant(shape, layers, classes):
    module = couplings(shape, layers=layers, classes=[3] * classes, squeeze=shape[1] % 2 == 0)
    x, k = torch.randn(4, *shape, dtype=torch.float64), torch.randint(3, (4, classes))
    y, log_det = module(k).call_and_ladj(x)
    assert y.shape == (4, *module.out_shape)
    torch.testing.assert_close(module(k).inv(y), x)
    for row, kind, expected in zip(x, k, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda row, kind=kind: module(kind)(row), row)
        assert math.isclose(jacobian.reshape(x[0].numel(), -1).slogdet()[1], expected.item(), abs_tol=1e-8)


def test_batches_of_any_shape_and_dtype():
    module = couplings(classes=[3]).float()
    x, k = torch.randn(2, 5, 1, 4, 4), torch.randint(3, (2, 5, 1))
    y, log_det = module(k).call_and_ladj(x)
    assert y.shape == (2, 5, 4, 2, 2)
    assert y.dtype == torch.float32
    torch.testing.assert_close(log_det[1, 3], module(k[1, 3]).call_and_ladj(x[1, 3])[1])
    assert module(torch.tensor([1]))(x).shape == y.shape  # one class for all
    assert module(k[:0])(x[:0]).shape == (0, 5, 4, 2, 2)


def test_layers_start_as_actnorm_alone():
    torch.manual_seed(0)
    module = ImageCouplings((1, 6, 6), classes=[2], layers=3)
    x, k = 5 + 3 * torch.randn(50, 1, 6, 6), torch.randint(2, (50, 1))
    y = module(k)(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std((0, 2, 3), correction=0), torch.ones(4))
    norm = pixel_unshuffle(x, 2) - pixel_unshuffle(x, 2).mean((0, 2, 3), keepdim=True)
    torch.testing.assert_close(y, norm / norm.square().mean((0, 2, 3), keepdim=True).sqrt(), atol=1e-4, rtol=1e-4)


def test_networks_are_told_positions_and_classes():
    module = couplings((1, 8, 8), classes=[2])
    x = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    y = module(torch.tensor([[0]]))(x)
    assert (y - module(torch.tensor([[1]]))(x)).abs().min() > 0
    inside = y[0, :, 1:-1, 1:-1]  # the same input everywhere, away from the border
    assert (inside[:, 0, 0] - inside[:, 0, 1]).abs().max() > 1e-3


def test_the_first_two_masks_are_a_checkerboard():
    squeezed, plain = ImageCouplings((1, 4, 4), layers=4), ImageCouplings((1, 4, 4), layers=4, squeeze=False)
    board = (torch.arange(4)[:, None] + torch.arange(4)) % 2 == 0
    assert torch.equal(plain.masks[0, 0].bool(), board)
    back = torch.nn.functional.pixel_shuffle(squeezed.masks, 2)[:, 0].bool()
    assert torch.equal(back[0], board)
    assert torch.equal(back[1], ~board)
    assert not (squeezed.masks[2].bool() & squeezed.masks[3].bool()).any()  # each half is moved given the other
    assert squeezed.masks[3].bool()[:2].all()


def test_every_parameter_has_a_gradient():
    module = couplings(classes=[2, 3])
    x, k = torch.randn(8, 1, 4, 4, dtype=torch.float64), torch.arange(8)[:, None] % torch.tensor([2, 3])
    y, log_det = module(k).call_and_ladj(x)
    (y.square().sum() + log_det.sum()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 3, 4), {}, "even height and width, got 3 x 4"),
        ((0, 4, 4), {}, "at least 1"),
        ((1, 4, 4), {"layers": 0}, "at least 1"),
        ((1, 4, 4), {"maps": 0}, "at least 1"),
    ],
)
def test_refuses_impossible_sizes(shape, options, message):
    with pytest.raises(ValueError, match=message):
        ImageCouplings(shape, **options)


def test_refuses_missing_classes():
    module = ImageCouplings((1, 4, 4), classes=[2, 2])
    with pytest.raises(ValueError, match=r"classes of shape \(\.\.\., 2\), got none"):
        module()
    with pytest.raises(ValueError, match=r"got shape \(3, 1\)"):
        module(torch.zeros(3, 1, dtype=torch.int64))
