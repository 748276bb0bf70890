"""Distributions of single variables, each made of a block of a network's output."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from tessflow.dequantization import VoronoiDequantizer
from tessflow.dequantization.base import require_classes, whole_codes
from tessflow.dequantization.voronoi import ProfileName
from tessflow.models.distribution import VariableDistribution
from tessflow.models.kinds import Kind, Numbers, Values, kinds_of
from tessflow.models.variables import Ascent, Variable

__all__ = ["Conditionals"]


class Conditionals(nn.Module):
    """Turn a network's output into a distribution of each variable, and values into the network's input.

    Variables are sorted into kinds (:mod:`tessflow.models.kinds`), which are put side by side here.

    Args:
        variables: The variables.
        dim: The dimension ``D`` in which values are seen.
        most_logits: Most classes of a variable that has logits.
        condition_on: ``"cell"``: a class is seen as its anchor; ``"point"``: as a point drawn in its cell.
        profile: How points are drawn in cells.
        ascents: Pairs of numeric variables, the first of which is never above the second.
        components: Of how many distributions C each is a mixture.

    Attributes:
        sizes: The size of each variable's block.
        numeric: The variables that may be numbers.
        uncelled: The variables whose classes have no cells here, since they are too many.
        exact: Whether log-probabilities of values are exact rather than lower bounds.
    """

    _num_classes: Tensor
    _place: Tensor
    _celled: Tensor

    def __init__(
        self,
        variables: Sequence[Variable],
        dim: int,
        *,
        most_logits: int = 1000,
        condition_on: str = "cell",
        profile: ProfileName = "truncated-gaussian",
        ascents: Sequence[Ascent] = (),
        components: int = 1,
    ) -> None:
        super().__init__()
        self.variables = tuple(variables)
        self.dim = dim
        self.components = components
        self.condition_on = condition_on
        self.ascents = tuple(ascents)
        kinds = kinds_of(
            self.variables, dim, most_logits=most_logits, limited=bool(self.ascents), components=components
        )
        self.kinds = nn.ModuleList(kinds)
        self._kinds = tuple(kinds)
        self.numeric = [n for n, variable in enumerate(self.variables) if variable.number is not None]
        self.exact = all(kind.exact for kind in kinds)
        # Where each variable is: its kind, and its place there.
        self._where = {n: (kind, place) for kind in kinds for place, n in enumerate(kind.members)}
        kept = [self._where[n] for n in range(len(self.variables))]
        self.sizes = [kind.size for kind, _ in kept]
        self._starts = [0, *itertools.accumulate(self.sizes)][:-1]
        cells = [kind.cells[place] for kind, place in kept]
        self.dequantizer = VoronoiDequantizer(cells, dim, profile=profile, noise="standard")
        self.uncelled = [n for n, count in enumerate(cells) if count < self.variables[n].classes]
        self._buffer("_num_classes", torch.tensor([variable.classes for variable in self.variables]))
        self._buffer("_celled", self._num_classes == torch.tensor(cells))
        members = [n for kind in kinds for n in kind.members]
        self._buffer("_place", torch.tensor(members).argsort())
        for number, kind in enumerate(kinds):
            slots = torch.tensor([self._starts[n] for n in kind.members])[:, None] + torch.arange(kind.size)
            self._buffer(f"_slots_{number}", slots.flatten())
            self._buffer(f"_members_{number}", torch.tensor(kind.members))
            numbers = [self.numeric.index(n) for n in kind.members] if kind.numeric else []
            self._buffer(f"_numbers_{number}", torch.tensor(numbers, dtype=torch.int64))

    def _buffer(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    def start(self) -> Tensor:
        """Return a first output, shape ``(sum(sizes),)``: classes that are alike, and scores of N(0, 1)."""
        output = torch.zeros(sum(self.sizes))
        for number, kind in enumerate(self._kinds):
            output[self._index("slots", number).cpu()] = kind.start().flatten().to(output)
        return output

    def shift_to(self, output: Tensor, codes: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return what moves an output, ``(sum(sizes),)``, to the frequencies of classes that have logits.

        Args:
            output: The output.
            codes: Shape ``(B, N)``.
            weights: How many rows each counts as, ``(B,)``; 1 by default.
        """
        shift = torch.zeros(sum(self.sizes))
        for n, variable in enumerate(self.variables):
            if n in self.uncelled:
                continue
            first = torch.tensor(variable.logits)
            counts = torch.bincount(codes[:, n], weights, minlength=variable.classes).cpu() + first.softmax(0)
            kind, block = self._where[n][0], shift[self.block(n)]
            present = output[self.block(n)].detach().cpu()
            parts, logits = (part[kind.components if kind.components > 1 else 0 :] for part in (block, present))
            now = logits.view(-1, kind.width)[:, : variable.classes].mean(0).log_softmax(0)
            parts.view(-1, kind.width)[:, : variable.classes] += counts.log() - counts.sum().log() - now
        return shift

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Split encoded rows into codes ``(B, N)``, int64, and numbers ``(B, M)``, float64."""
        n = len(self.variables)
        return whole_codes(rows[..., :n]), rows[..., n:].double()

    def join(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Undo :meth:`split`."""
        return torch.cat([codes.double(), numbers], -1) if self.numeric else codes

    def check(self, codes: Tensor) -> None:
        """Raise a ValueError unless codes ``(B, N)`` are classes of their variables."""
        require_classes(codes, self._num_classes)

    def represent(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return what the network sees of rows, ``(B, N, D)``."""
        celled = codes * self._celled
        x = self.dequantizer(celled).rsample() if self.condition_on == "point" else self.dequantizer.anchor(celled)
        if len(self._kinds) == 1:
            return self._kinds[0].see(x, self._values(0, codes, numbers))
        for number, kind in enumerate(self._kinds):
            members = self._index("members", number)
            anchors = x.index_select(-2, members)
            seen = kind.see(anchors, self._values(number, codes, numbers))
            if seen is not anchors:
                x = x.index_copy(-2, members, seen)
        return x

    def represent_one(self, n: int, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return what the network sees of variable ``n`` of rows, ``(B, D)``."""
        if self.condition_on == "point":
            return self.represent(codes, numbers)[..., n, :]
        kind, of = self._kind(n)
        code = codes[..., n, None]
        anchors = self.dequantizer.tessellation().anchors[n, code * self._celled[n]]
        return kind.see(anchors, Values(code, self._number(n, numbers)), of).squeeze(-2)

    def log_prob(
        self, output: Tensor, codes: Tensor, numbers: Tensor, *, sees: Tensor | None = None, samples: int = 1
    ) -> Tensor:
        """Return the log-probability, or the bound on it, of each variable.

        Args:
            output: What a network gave for the rows, shape ``(B, sum(sizes))``.
            codes: Shape ``(B, N)``.
            numbers: Shape ``(B, M)``.
            sees: Which variables, last, each variable is given, boolean ``(N, N)`` or ``(B, N, N)``; it matters where
                one is never above another.
            samples: The number of importance samples of a bound; with one, it is differentiable.

        Returns:
            Nats, shape ``(B, N)``.
        """
        limits = None if not self.ascents or sees is None else self._all_limits(codes, numbers, sees)
        return self._in_place(
            [
                kind.log_prob(blocks, values, limits=of_kind, samples=samples)
                for kind, blocks, values, of_kind in self._by_kind(output, codes, numbers, limits)
            ]
        )

    def components_of(self, output: Tensor, codes: Tensor, numbers: Tensor, *, sees: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-weights of each variable's components, not normalised, and what each gives to its value.

        Args:
            output: What a network gave for the rows, shape ``(B, sum(sizes))``.
            codes: Shape ``(B, N)``.
            numbers: Shape ``(B, M)``.
            sees: As in :meth:`log_prob`.

        Returns:
            Nats, shape ``(B, C, N)`` both.
        """
        limits = self._all_limits(codes, numbers, sees) if self.ascents else None
        found = [
            kind.components_of(blocks, values, limits=of_kind)
            for kind, blocks, values, of_kind in self._by_kind(output, codes, numbers, limits)
        ]
        log_weights, log_probs = zip(*found, strict=True)
        return self._in_place(log_weights), self._in_place(log_probs)

    def reweighed(self, block: Tensor, log_weights: Tensor) -> Tensor:
        """Return a block, ``(B, size)``, whose components have other log-weights, ``(B, C)``."""
        return torch.cat([log_weights, block[..., self.components :]], -1)

    def block(self, n: int) -> slice:
        """Return where the block of variable ``n`` stands in the output."""
        return slice(self._starts[n], self._starts[n] + self.sizes[n])

    def at(
        self, n: int, block: Tensor, limits: Tensor | None = None, *, component: Tensor | None = None
    ) -> VariableDistribution:
        """Return the distribution of variable ``n`` that a block, ``(B, size)``, stands for.

        Args:
            n: The variable.
            block: Its block.
            limits: As :meth:`limits` gives them.
            component: Which component alone counts in each row, ``(B,)``; all by default.
        """
        kind, of = self._kind(n)
        if component is not None:
            kind, block = kind.single(), kind.pick(block, component)
        return VariableDistribution(kind, of, block, limits)

    def limits(self, n: int, codes: Tensor, numbers: Tensor, known: Tensor | Sequence[int]) -> Tensor | None:
        """Return between which numbers variable ``n`` is, given what is known of rows, ``(B, 2)``; ``None`` for any.

        Args:
            n: The variable.
            codes: Shape ``(B, N)``.
            numbers: Shape ``(B, M)``.
            known: Which variables are known, boolean ``(B, N)``, or their numbers.
        """
        limits = None
        for ascent in self.ascents:
            if n not in (ascent.first, ascent.second):
                continue
            other = ascent.second if n == ascent.first else ascent.first
            place = self.locate(other, codes, numbers)
            if isinstance(known, Tensor):
                place = place.where(known[..., other], math.nan)
            elif other not in known:
                continue
            limits = self._narrowed(limits, n, ascent, place)
        return limits

    def are_in_order(self, n: int, other: int) -> bool:
        """Return whether one of two variables is never above the other."""
        return any({n, other} == {ascent.first, ascent.second} for ascent in self.ascents)

    def locate(self, n: int, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return the numbers of variable ``n``, atoms among them, ``(B,)``; NaN where a row has none."""
        kind, of = self._kind(n)
        if not isinstance(kind, Numbers):
            raise ValueError(f"variable {n} holds classes, not numbers.")
        return kind.locate(Values(codes[..., n, None], self._number(n, numbers)), of).squeeze(-1)

    def _narrowed(self, limits: Tensor | None, n: int, ascent: Ascent, other: Tensor) -> Tensor:
        """Cut limits of variable ``n`` off at another, where that is no NaN."""
        number = self.variables[n].number
        assert number is not None
        is_second = n == ascent.second
        bound = other * ascent.ratio if is_second else other / ascent.ratio
        if number.whole:  # but for rounding
            slack = 1e-9 * bound.abs().clamp_min(1)
            bound = (bound - slack).ceil() - 0.5 if is_second else (bound + slack).floor() + 0.5
        bound = bound.where(~bound.isnan(), -math.inf if is_second else math.inf)
        if limits is None:
            limits = torch.stack([torch.full_like(bound, -math.inf), torch.full_like(bound, math.inf)], -1)
        low, high = limits.unbind(-1)
        return torch.stack([torch.maximum(low, bound), high] if is_second else [low, torch.minimum(high, bound)], -1)

    def _all_limits(self, codes: Tensor, numbers: Tensor, sees: Tensor) -> Tensor:
        """Return the limits of all numbers, ``(B, M, 2)``, each given the variables that it sees."""
        sees = sees.expand(*codes.shape[:-1], -1, -1)
        columns = []
        for n in self.numeric:
            limits = self.limits(n, codes, numbers, sees[..., n, :])
            if limits is None:
                ends = torch.tensor([-math.inf, math.inf], dtype=torch.float64, device=codes.device)
                limits = ends.expand(*codes.shape[:-1], -1)
            columns.append(limits)
        return torch.stack(columns, -2)

    def _by_kind(
        self, output: Tensor, codes: Tensor, numbers: Tensor, limits: Tensor | None
    ) -> Iterator[tuple[Kind, Tensor, Values, Tensor | None]]:
        """Yield the kinds, with the blocks, the values and the limits of their variables."""
        for number, kind in enumerate(self._kinds):
            values = self._values(number, codes, numbers)
            blocks = self._select(output, "slots", number).unflatten(-1, (len(kind.members), kind.size))
            of_kind = limits[..., self._index("numbers", number), :] if limits is not None and kind.numeric else None
            yield kind, blocks, values, of_kind

    def _in_place(self, parts: Sequence[Tensor]) -> Tensor:
        """Put what the kinds gave for their variables, last, into the order of the variables."""
        return parts[0] if len(parts) == 1 else torch.cat(list(parts), -1).index_select(-1, self._place)

    def _kind(self, n: int) -> tuple[Kind, slice]:
        kind, place = self._where[n]
        return kind, slice(place, place + 1)

    def _number(self, n: int, numbers: Tensor) -> Tensor:
        if n in self.numeric:
            return numbers[..., self.numeric.index(n), None]
        return numbers.new_zeros(*numbers.shape[:-1], 1)

    def _values(self, number: int, codes: Tensor, numbers: Tensor) -> Values:
        """Return the values of the variables of a kind."""
        of_kind = self._select(codes, "members", number)
        if not self._kinds[number].numeric:
            return Values(of_kind, numbers.new_zeros(1))
        return Values(of_kind, self._select(numbers, "numbers", number))

    def _select(self, rows: Tensor, name: str, number: int) -> Tensor:
        index = self._index(name, number)
        return rows if len(self._kinds) == 1 else rows.index_select(-1, index)

    def _index(self, name: str, number: int) -> Tensor:
        return getattr(self, f"_{name}_{number}")
