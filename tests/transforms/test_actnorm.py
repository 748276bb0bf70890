"""Activation normalisation."""

from __future__ import annotations

import pytest
import torch

from tessflow.transforms import ActNorm


@pytest.fixture
def batch():
    return torch.randn(200, 3) * torch.tensor([0.1, 2.0, 30.0]) + torch.tensor([5.0, -1.0, 0.0])


def test_first_training_batch_is_normalised(batch):
    norm = ActNorm(3)
    z = norm()(batch)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)
    assert norm.initialized
    before = norm.log_deviation.clone()
    norm()(10 * batch)
    assert norm.log_deviation.equal(before), "later batches change nothing"


def test_leading_dimensions_are_all_rows(batch):
    norm, other = ActNorm(3), ActNorm(3)
    norm()(batch)
    other()(batch.reshape(10, 20, 3))
    torch.testing.assert_close(norm.log_deviation, other.log_deviation)


def test_evaluation_initializes_nothing(batch):
    norm = ActNorm(3).eval()
    assert norm()(batch).equal(batch)
    assert not norm.initialized


def test_inverse_initializes_nothing(batch):
    norm = ActNorm(3)
    assert norm().inv(batch).equal(batch)
    assert not norm.initialized


def test_an_empty_batch_initializes_nothing():
    norm = ActNorm(3)
    assert norm()(torch.empty(0, 3)).shape == (0, 3)
    assert not norm.initialized
    assert norm.mean.isfinite().all()


def test_constant_features_keep_their_scale():
    norm = ActNorm(2)
    z = norm()(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    assert z[:, 1].equal(torch.zeros(2))
    assert norm.log_deviation[1] == 0


def test_round_trip_and_log_det(batch):
    norm = ActNorm(3).double()
    x = batch.double()
    z = norm()(x)
    transform = norm()
    torch.testing.assert_close(transform.inv(z), x)
    jacobian = torch.autograd.functional.jacobian(transform, x[0])
    log_det = transform.log_abs_det_jacobian(x, z)
    assert log_det.shape == (200,)
    torch.testing.assert_close(log_det[0], jacobian.slogdet().logabsdet)
    torch.testing.assert_close(transform.inv.log_abs_det_jacobian(z, x), -log_det)


def test_gradients_flow_from_the_first_batch_on(batch):
    norm = ActNorm(3)
    norm()(batch).square().sum().backward()
    assert norm.shift.grad.isfinite().all()
    assert norm.log_scale.grad.isfinite().all()
    assert norm.log_scale.grad.any()


def test_a_loaded_module_knows_that_it_is_initialized(batch):
    norm, other = ActNorm(3), ActNorm(3)
    norm()(batch)
    other.load_state_dict(norm.state_dict())
    assert other.initialized
    other()(100 * batch + 3)
    assert other.log_deviation.equal(norm.log_deviation)


def test_what_was_saved_with_shift_and_scale_in_units_of_the_data_is_read(batch):
    old = {"shift": torch.tensor([-5.0, 1.0, 0.5]), "log_scale": torch.tensor([2.0, -0.7, -3.4])}
    norm = ActNorm(3)
    norm.load_state_dict(old | {"initialized": torch.ones((), dtype=torch.bool)})
    assert norm()(batch).equal((batch + old["shift"]) * old["log_scale"].exp())
    assert old["shift"].any(), "the tensors given are left as they are"


@pytest.mark.parametrize("scale", [1e-20, 1e-4, 1.0, 1e20])
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_any_unit_is_normalised(batch, scale, offset):
    z = ActNorm(3).double()()(scale * (batch.double() + offset))
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(3, dtype=torch.float64))
