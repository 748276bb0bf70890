"""The mean of several densities."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from tessflow.models import AveragedDensity, WarpedMixture
from tessflow.randomness import seeded


def at(place):
    model = WarpedMixture(1, 1, layers=1)
    model.base.place(torch.ones(1), torch.full((1, 1), float(place)), torch.full((1, 1, 1), 10.0))
    return model.double()


def test_its_density_is_the_mean_of_theirs():
    members = [at(-3), at(0), at(4)]
    x = torch.linspace(-5, 5, 50, dtype=torch.float64)[:, None]
    expected = torch.stack([member.elbo(x).exp() for member in members]).mean(0)
    assert_close(AveragedDensity(members).elbo(x).exp(), expected)


def test_it_draws_from_all_of_them_alike_and_in_no_order():
    model = AveragedDensity([at(-3), at(0), at(4)])
    with seeded(0, redirect=False):
        drawn = model.sample(9000).squeeze(-1)
    which = (drawn > -1.5).long() + (drawn > 2).long()
    assert (which.bincount() - 3000).abs().max() < 200
    assert (which[:100].bincount(minlength=3) > 15).all()


def test_a_draw_may_be_of_one_member_alone():
    with seeded(0, redirect=False):
        assert AveragedDensity([at(0), at(1), at(2), at(3)]).sample(1).shape == (1, 1)
