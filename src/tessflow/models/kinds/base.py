"""A kind of variable: what makes a distribution of a block of a network's output."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from tessflow.models.variables import Restriction, Variable
from tessflow.randomness import categorical, normal

__all__ = ["ALL", "APART", "Kind", "Values", "draw_class"]

Self = TypeVar("Self", bound="Kind")

ALL = slice(None)

APART = 0.5
"""The standard deviation of logits of components at the start."""


class Values(NamedTuple):
    """Values of variables: codes, int64, and numbers, float64, 0 where there is none; both ``(..., V)``."""

    codes: Tensor
    numbers: Tensor


class Kind(nn.Module, ABC):
    """Variables of one kind: the distribution of each is made of a block of one size.

    Blocks have shape ``(..., V, size)``, values ``(..., V)``, with any batch dimensions, which broadcast; ``of`` picks
    some of the V variables. Log-probabilities are in nats. Of numeric kinds alone, ``limits``, float64
    ``(..., V, 2)``, are numbers between which those of each row are.

    With several components, a distribution is a mixture of C of them. A block then begins with the C unnormalised
    log-weights, which :meth:`parts` takes off.

    Args:
        members: The variables of this kind, by their number in a row.
        variables: What they are.
        components: C.

    Attributes:
        width: The size of the part of a block that one component is made of.
        exact: Whether log-probabilities are exact rather than lower bounds.
        cells: For each variable, how many classes it shows the network as the anchors of cells.
        numeric: Whether its values may be numbers.
    """

    width: int
    exact: bool = True
    numeric: bool = False

    _mask: Tensor
    _reserve: Tensor
    _unseen: Tensor

    def __init__(self, members: Sequence[int], variables: Sequence[Variable], components: int = 1) -> None:
        super().__init__()
        self.members = tuple(members)
        self.variables = tuple(variables)
        self.components = components
        classes = torch.tensor([variable.classes for variable in variables])
        # Asked of tensors, each would wait for a GPU.
        self._ragged = len({variable.classes for variable in variables}) > 1
        self._reserves = any(variable.reserve for variable in variables)
        self._buffer("_mask", torch.arange(int(classes.max())) < classes[:, None])
        self._buffer("_reserve", torch.tensor([variable.reserve for variable in variables], dtype=torch.float64))
        self._buffer("_unseen", classes - 1)

    def _buffer(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    @property
    def cells(self) -> tuple[int, ...]:
        """How many anchors of cells each variable is seen as."""
        return tuple(variable.classes for variable in self.variables)

    @property
    def size(self) -> int:
        """The size of a block."""
        return self.width if self.components == 1 else self.components * (1 + self.width)

    def start(self) -> Tensor:
        """Return blocks that stand for nothing known, ``(V, size)``: components, where there are several, lie apart."""
        if self.components == 1:
            return self._start()
        shape = (len(self.members), self.components)
        parts = self._start()[:, None] + self._apart(*shape)
        return torch.cat([torch.zeros(shape), parts.flatten(-2)], -1)

    def parts(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Split blocks into log-weights, ``(..., C, V)``, not normalised, and components, ``(..., C, V, width)``."""
        count = self.components
        parts = blocks[..., count:].unflatten(-1, (count, self.width))
        return blocks[..., :count].mT, parts.transpose(-3, -2)

    def single(self: Self) -> Self:
        """Return the same variables with the distribution of one component, whose blocks are :meth:`pick`."""
        one = copy.copy(self)
        one.components = 1
        return one

    def pick(self, blocks: Tensor, component: Tensor) -> Tensor:
        """Return the part of one component, ``(...)``, of blocks of one variable, ``(..., size)``."""
        parts = blocks[..., self.components :].unflatten(-1, (self.components, self.width))
        return parts.gather(-2, component[..., None, None].expand(*component.shape, 1, self.width)).squeeze(-2)

    @abstractmethod
    def _start(self) -> Tensor:
        """Return parts of blocks that stand for nothing known, ``(V, width)``."""

    def _apart(self, variables: int, components: int) -> Tensor:
        """Return what moves components apart at the start, ``(V, C, width)``, at random."""
        return APART * normal((variables, components, self.width), torch.zeros(()))

    def see(self, anchors: Tensor, values: Values, of: slice = ALL) -> Tensor:
        """Return what a network sees of values, ``(..., V, D)``, perhaps their cells' anchors, of the same shape."""
        return anchors

    def log_prob(
        self, blocks: Tensor, values: Values, *, limits: Tensor | None = None, samples: int = 1, of: slice = ALL
    ) -> Tensor:
        """Return the log-probabilities of values, ``(..., V)``, or bounds on them.

        Args:
            blocks: Shape ``(..., V, size)``.
            values: Shape ``(..., V)``.
            limits: Shape ``(..., V, 2)``.
            samples: The number of importance samples of a bound; with one, it is differentiable.
            of: Some of the variables.
        """
        if self.components == 1:
            return self._log_prob(blocks, values, limits, samples, of)
        log_weights, log_probs = self.components_of(blocks, values, limits=limits, of=of)
        return (log_weights.log_softmax(-2) + log_probs).logsumexp(-2)

    def components_of(
        self, blocks: Tensor, values: Values, *, limits: Tensor | None = None, of: slice = ALL
    ) -> tuple[Tensor, Tensor]:
        """Return the log-weights of components, not normalised, and what each gives to values: ``(..., C, V)`` both."""
        log_weights, parts = self.parts(blocks)
        limits = None if limits is None else limits[..., None, :, :]
        values = Values(values.codes[..., None, :], values.numbers[..., None, :])
        return log_weights, self._log_prob(parts, values, limits, 1, of)

    @abstractmethod
    def _log_prob(self, blocks: Tensor, values: Values, limits: Tensor | None, samples: int, of: slice) -> Tensor:
        """Return what :meth:`log_prob` does, of single components ``(..., V, width)``."""

    @abstractmethod
    def class_log_probs(self, blocks: Tensor, *, limits: Tensor | None = None, of: slice = ALL) -> Tensor:
        """Return the log-probabilities of all classes, ``(..., V, K)``, ``-inf`` where there is none.

        Class 0 of a number stands for all that are no atoms.

        Raises:
            ValueError: If there are so many that they have no closed form.
        """

    @abstractmethod
    def log_mass(
        self, blocks: Tensor, allowed: Restriction, *, limits: Tensor | None = None, of: slice = ALL
    ) -> Tensor:
        """Return the log-probabilities of what is allowed, ``(..., V)``."""

    @abstractmethod
    def draw(
        self, blocks: Tensor, allowed: Restriction | None = None, *, limits: Tensor | None = None, of: slice = ALL
    ) -> Values:
        """Draw values, perhaps of what is allowed; never the class of what was not seen."""

    @abstractmethod
    def typical(self, blocks: Tensor, allowed: Restriction, *, limits: Tensor | None = None, of: slice = ALL) -> Values:
        """Return the most probable class allowed, or the median: of classes that ascend, and of numbers."""

    def mean(self, blocks: Tensor, allowed: Restriction, *, limits: Tensor | None = None, of: slice = ALL) -> Values:
        """Return the mean of numbers, and of classes what is typical."""
        return self.typical(blocks, allowed, limits=limits, of=of)

    def _first_logits(self) -> Tensor:
        """Return logits of classes that are alike, but for rare ones, ``(V, K)``."""
        logits = torch.zeros(len(self.variables), self._mask.shape[-1])
        for row, variable in zip(logits, self.variables, strict=True):
            row[: variable.classes] = torch.tensor(variable.logits)
        return logits

    def _log_softmax(self, logits: Tensor, of: slice) -> Tensor:
        """Normalise logits ``(..., V, K)``; the class of what was not seen keeps its reserve, and so do numbers."""
        mask, reserve = self._mask[of], self._reserve[of].to(logits.dtype)[:, None]
        if self._ragged:
            logits = logits.masked_fill(~mask, -math.inf)
        log_probs = logits.log_softmax(-1)
        if not self._reserves:
            return log_probs
        place = torch.arange(mask.shape[-1], device=logits.device)
        keeps = place == self._unseen[of][:, None]
        shares = 1 + torch.zeros_like(reserve)
        if self.numeric:
            keeps, shares = keeps | (place == 0), 2 * shares
        rest = log_probs + (-shares * reserve).log1p()
        kept = torch.logaddexp(rest, reserve.clamp_min(1e-30).log().expand_as(rest))
        return torch.where(keeps & (reserve > 0), kept, rest)

    def _mixed_log_softmax(self, blocks: Tensor, of: slice) -> Tensor:
        """Return the log-probabilities of classes by blocks whose components begin with their logits, ``(..., V, K)``.

        A mixture of distributions of classes is one again.
        """
        logits = self._mask.shape[-1]
        if self.components == 1:
            return self._log_softmax(blocks[..., :logits], of)
        log_weights, parts = self.parts(blocks)
        return mixed(log_weights, self._log_softmax(parts[..., :logits], of))

    def _allowed(self, codes: Sequence[int] | None, of: slice) -> Tensor:
        """Return which classes are allowed, boolean ``(V, K)``: by default all but what was not seen."""
        mask = self._mask[of].clone()
        if codes is None:
            place = torch.arange(mask.shape[-1], device=mask.device)
            return mask & ~((place == self._unseen[of][:, None]) & (self._reserve[of] > 0)[:, None])
        chosen = torch.zeros_like(mask)
        chosen[:, list(codes)] = True
        return mask & chosen


def mixed(log_weights: Tensor, log_values: Tensor) -> Tensor:
    """Return the logarithm of a mean of components: ``(..., C, V)`` and ``(..., C, V, K)`` to ``(..., V, K)``."""
    return (log_weights.log_softmax(-2)[..., None] + log_values).logsumexp(-3)


def draw_class(log_probs: Tensor) -> Tensor:
    """Draw classes, ``(..., K)`` to ``(...)``; where none has any probability, any."""
    log_probs = log_probs.double()
    log_probs = log_probs.masked_fill(log_probs.amax(-1, keepdim=True) == -math.inf, 0)
    return categorical(log_probs)
