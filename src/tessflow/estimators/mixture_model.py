"""Which model the options of a MixtureFlow mean, and where it starts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from tessflow.estimators.gaussian_start import fit_gaussians
from tessflow.estimators.options import MixtureOptions
from tessflow.models import DisjointMixture, WarpedMixture, coupling_mixture
from tessflow.randomness import seeded

__all__ = ["build", "single", "started"]


def build(options: MixtureOptions, features: int, gaussians: int | None) -> DisjointMixture | WarpedMixture:
    """Make the module, with seeded weights: of Gaussians under a flow, or of cells if the options have some."""
    common: dict[str, Any] = options.model_dump(include={"layers", "univariate", "hidden_features", "bins"})
    with seeded(options.random_state):
        if options.n_cells is None:
            return WarpedMixture(features, gaussians or 1, learn_gaussians=options.learn_gaussians, **common)
        return coupling_mixture(
            features,
            options.n_cells,
            before=options.before,
            profile=options.profile,
            box=options.box,
            background=options.background,
            whiten=options.profile != "softsign" if options.whiten is None else options.whiten,
            base=options.base,
            learn_anchors=options.learn_anchors,
            **common,
        )


def started(options: MixtureOptions, train: Tensor, validation: Tensor) -> DisjointMixture | WarpedMixture:
    """Make the module, and place its cells or its Gaussians by standardised rows, float64 ``(rows, D)``."""
    if options.n_cells is None:
        start = fit_gaussians(train.numpy(), validation.numpy(), options.random_state)
        warped = cast(WarpedMixture, build(options, train.shape[1], len(start.weights)))
        warped.base.place(*map(torch.from_numpy, start))
        return warped
    model = cast(DisjointMixture, build(options, train.shape[1], None))
    with seeded(options.random_state), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than cells: some stay empty
        model.initialize(train.float(), track=_bar if options.verbose else iter)
    return model


def _bar(batches: Sequence[Tensor]) -> Iterable[Tensor]:
    """Show on the standard error stream how many batches were seen."""
    return track(batches, "placing cells", console=Console(stderr=True))


def single(options: MixtureOptions, n: int) -> dict[str, Any]:
    """Return the arguments of one of several estimators: a seed of its own, and its share of the steps.

    Example:
        >>> from tessflow import MixtureFlow
        >>> several = MixtureOptions.of(MixtureFlow(n_estimators=4, random_state=0).get_params())
        >>> single(several, 1)["max_steps"], single(several, 0)["random_state"] != single(several, 1)["random_state"]
        (500, True)
    """
    seed = np.random.SeedSequence(options.random_state).spawn(n + 1)[n].generate_state(1, np.uint64)[0] >> 1
    steps = max(1, options.max_steps // options.n_estimators)  # models that were saved may have had fewer than one
    return options.model_dump() | {"n_estimators": 1, "random_state": int(seed), "max_steps": steps}
