"""What a model learns of values that were not seen: values of training rows are hidden at random."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tessflow.models import MatchedFlow
from tessflow.models.variables import Variable
from tessflow.randomness import generator, uniform

__all__ = ["Hiding"]

# How many rows show the network something not seen instead of one of their values.
SHOWN = 0.02


class Hiding:
    r"""An objective of training rows in which some values count as something not seen.

    A class that c of n rows hold is hidden in one of them with the probability :math:`d / c`, where
    :math:`d = n_1 / (V + 1)`, V is the number of classes seen, and :math:`n_1` that of classes seen once. In all,
    :math:`n_1 / n` of the values are hidden: as many as new rows may be expected to hold that were not seen (Good,
    1953), and each class loses as much. What was not seen is then a class like others, which depends on the row. In one
    row of fifty the network is shown something not seen in place of one value, so that it knows how to read that.

    Args:
        variables: The variables of a row.
        rows: The training rows, ``(B, N)`` or ``(B, N + M)``.
        weights: How many rows each counts as, ``(B,)``; 1 by default.
    """

    def __init__(self, variables: tuple[Variable, ...], rows: Tensor, weights: Tensor | None = None) -> None:
        self.unseen = torch.tensor([-1 if v.unseen is None else v.unseen for v in variables])
        most = max(variable.classes for variable in variables)
        self.chances = torch.zeros(len(variables), most)
        self.numeric = [n for n, variable in enumerate(variables) if variable.number is not None]
        for n, variable in enumerate(variables):
            if variable.unseen is None or variable.number is not None:
                continue
            counts = torch.bincount(rows[:, n].long(), weights, minlength=most).double()
            seen = int((counts > 0).sum())
            discount = float(((counts > 0) & (counts < 2)).sum()) / (seen + 1)
            self.chances[n] = (discount / counts.clamp_min(1)).float()
            self.chances[n, variable.unseen] = 0

    def __call__(self, model: Any, rows: Tensor) -> Tensor:
        """Return the objective of rows; in evaluation, of the rows as they are."""
        if not model.training:
            return model.elbo(rows)
        width = len(self.unseen)
        unseen, chances = self.unseen.to(rows.device), self.chances.to(rows.device)
        codes = rows[:, :width].long()
        chance = chances.expand(len(rows), -1, -1).gather(-1, codes[..., None]).squeeze(-1)
        rows = self._hidden(rows, codes, uniform(chance.shape, chance) < chance, unseen)
        if not isinstance(model, MatchedFlow):
            return model.elbo(rows)
        place = torch.randint(width, (len(rows), 1), device=rows.device, generator=generator(rows.device))
        one = place == torch.arange(width, device=rows.device)
        one &= uniform((len(rows), 1), chance) < SHOWN
        return model.elbo(rows, shown=self._hidden(rows, rows[:, :width].long(), one, unseen))

    def _hidden(self, rows: Tensor, codes: Tensor, hide: Tensor, unseen: Tensor) -> Tensor:
        """Return rows in which some values are something not seen."""
        hide = hide & (unseen >= 0)
        codes = torch.where(hide, unseen, codes)
        numbers = rows[:, codes.shape[1] :]
        if numbers.shape[1]:
            numbers = numbers.masked_fill(hide[:, self.numeric], 0)
        return torch.cat([codes.to(rows.dtype), numbers], -1)
