"""A flow that meets its dequantizer: an autoregressive model whose conditionals are built from the same cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from tessflow.configuration import Configured
from tessflow.dequantization.voronoi import ProfileName
from tessflow.flows.blocks import stages
from tessflow.models.blocks import informed_weights
from tessflow.models.conditionals import Conditionals
from tessflow.models.dequantized import importance_bound
from tessflow.models.distribution import VariableDistribution
from tessflow.models.drawing import draw_rows
from tessflow.models.networks import AnyOrderNetwork, MaskedNetwork
from tessflow.models.orders import orders_of
from tessflow.models.scoring import outputs_in_order, score_in_orders, score_rows
from tessflow.models.variables import Ascent, Restriction, Variable
from tessflow.randomness import uniform

__all__ = ["MatchedFlow"]


class MatchedFlow(Configured):
    r"""Model rows of classes and numbers by an autoregressive flow that shares its cells with the dequantizer.

    Every conditional of the flow over x is a disjoint mixture over the cells of its variable,

    .. math:: p(x) = \prod_n \sum_k \pi_k(h_n) \, c_k(x_n) \, 1[x_n \in V_k], \qquad q(x_n | y_n) = c_{y_n}(x_n),

    with components :math:`c_k` (a Gaussian pushed into cell k) that are also the dequantizer's. Densities and Jacobians
    cancel: the bound is :math:`E_q \sum_n \log \pi_{y_n}(h_n)`, from one pass of a network, and loose only as
    far as :math:`\pi` varies inside a cell. If the network sees the cell of each earlier variable (its anchor) instead
    of the point in it, the same sum is the exact log-likelihood; anchors are then embeddings. A number needs no
    dequantizer: its conditional is a disjoint mixture on the line
    (:class:`~tessflow.models.conditionals.Conditionals`).

    The order may be cut into fewer blocks than there are variables. Given the blocks before it, a block is a mixture of
    C products,

    .. math:: p(x_{block} | h) = \sum_c w_c(h) \prod_{n \in block} p_c(x_n | h),

    exact like all the rest: given those before it in its block, too, a variable is a mixture by the responsibilities
    that they leave to the components. Rows are then drawn in as many passes of the network as there are blocks. One
    block is a model of latent classes, which needs no network and has every conditional.

    Rows are int64 codes ``(B, N)``; with M numeric variables, float64 ``(B, N + M)``: all codes, then the numbers.

    Args:
        variables: The variables, or, for one of classes only, their number ``K_n``.
        dim: The dimension ``D`` of a variable's space.
        hidden_features: The widths of the hidden layers: of one masked network (a layer has at least N - 1 units), or,
            for ``order="any"``, of the network that each variable has.
        dropout: The share of hidden units dropped in training.
        order: The order of the variables: ``"natural"``, ``"random"`` (from torch's generator), or a permutation of
            ``0, ..., N-1`` that lists the variables from first to last. With ``"any"``, every row of a training batch
            has an order of its own, and each conditional of some variables given others is one of the model's factors.
        condition_on: ``"point"`` (log-probabilities are lower bounds) or ``"cell"`` (they are exact).
        profile: How noise is pushed into cells; only ``condition_on="point"`` sees it.
        most_logits: Most classes of a variable that has a logit for each. One of more has a flow whose points decode to
            the nearest anchor, and makes log-probabilities lower bounds.
        ascents: Pairs of numeric variables, the first of which is never above the second. Whichever comes second in an
            order is cut off at the other, where that is known, so that every conditional stays a factor.
        orders: Over how many orders a model of ``order="any"`` takes the mean of a row's probability: an exact density,
            and a better one than that of any one of them. Rows are drawn in these orders, too, each row in one. With
            ``condition_on="point"`` it is 1.
        blocks: How many blocks of about one size the order is cut into; by default every variable is one. Not for
            ``order="any"``. Neighbours in the order that say much of each other are better in different blocks
            (:func:`~tessflow.flows.blocks.dealt`).
        components: C, the products of a block. With several, no variable may have more classes than logits.

    Attributes:
        lower_bound: Whether log-probabilities are lower bounds.

    Raises:
        ValueError: If an option is not one of those named or out of its range, or ``order`` is no permutation.

    Example:
        >>> model = MatchedFlow((3, 2), condition_on="cell", hidden_features=(16,))
        >>> y = torch.cartesian_prod(torch.arange(3), torch.arange(2))
        >>> model.log_prob(y).exp().sum()
        tensor(1.0000)
    """

    free_options = ("orders",)
    order: Tensor

    def __init__(
        self,
        variables: Sequence[Variable | int],
        *,
        dim: int = 4,
        hidden_features: Sequence[int] = (512, 512, 512),
        dropout: float = 0.0,
        order: Literal["natural", "random", "any"] | Sequence[int] = "natural",
        condition_on: Literal["point", "cell"] = "cell",
        profile: ProfileName = "truncated-gaussian",
        most_logits: int = 1000,
        ascents: Sequence[Ascent] = (),
        orders: int = 1,
        blocks: int | None = None,
        components: int = 1,
    ) -> None:
        super().__init__()
        if orders < 1 or (orders > 1 and (order != "any" or condition_on == "point")):
            raise ValueError(f"orders is at least 1, and 1 unless order='any' and condition_on='cell', got {orders}.")
        if condition_on not in ("point", "cell"):
            raise ValueError(f"condition_on must be 'point' or 'cell', got {condition_on!r}.")
        if order == "any" and (blocks is not None or components != 1):
            raise ValueError(
                "a model of order='any' takes one variable after another: leave out blocks and components."
            )
        self.variables = tuple(Variable(classes=v) if isinstance(v, int) else v for v in variables)
        n = len(self.variables)
        if not 1 <= (n if blocks is None else blocks) <= n or components < 1:
            raise ValueError(
                f"blocks is between 1 and the number of variables, {n}, and components at least 1, got {blocks} and "
                f"{components}."
            )
        if ascents and blocks not in (None, n):
            raise ValueError("a number that is cut off at another one of its block leaves no product: no ascents.")
        self.any_order = order == "any"
        self.orders = orders
        self.blocks = n if blocks is None else blocks
        self.components = components
        self.conditionals = Conditionals(
            self.variables,
            dim,
            most_logits=most_logits,
            condition_on=condition_on,
            profile=profile,
            ascents=ascents,
            components=components,
        )
        sizes = self.conditionals.sizes
        self.register_buffer("order", torch.arange(n) if self.any_order else _permutation(order, n))
        self.bias = nn.Parameter(self.conditionals.start())
        self.network: AnyOrderNetwork | MaskedNetwork | None = None
        if self.any_order:
            self.network = AnyOrderNetwork(dim, sizes, hidden_features=hidden_features, dropout=dropout)
        elif self.blocks > 1:
            self.network = MaskedNetwork(self.stage, dim, sizes, hidden_features=hidden_features, dropout=dropout)

    @property
    def lower_bound(self) -> bool:
        """Whether log-probabilities are lower bounds rather than exact."""
        return self.conditionals.condition_on == "point" or not self.conditionals.exact

    @property
    def has_every_conditional(self) -> bool:
        """Whether it has the conditionals of any variables given any others, rather than those of its one order."""
        return self.any_order or self.blocks == 1

    @property
    def stage(self) -> Tensor:
        """The block that each variable is in, ``(N,)``."""
        return stages(self._rank, self.blocks)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of classes of each variable."""
        return tuple(variable.classes for variable in self.variables)

    @torch.no_grad()
    def initialize(self, y: Tensor, weights: Tensor | None = None) -> None:
        """Start classes at their frequencies in rows: fewer steps are then needed, above all by latent classes.

        Args:
            y: Rows, shape ``(B, N)`` or ``(B, N + M)``.
            weights: How many rows each counts as, ``(B,)``; 1 by default.
        """
        codes, _ = self.conditionals.split(y)
        self.conditionals.check(codes)
        self.bias.add_(self.conditionals.shift_to(self.bias, codes, weights).to(self.bias))

    def elbo(self, y: Tensor, *, shown: Tensor | None = None) -> Tensor:
        """Return the exact log-likelihood of rows, or one sample of its bound: ``(B,)``, nats, differentiable.

        An any-order model takes a random order for each row.

        Args:
            y: Rows, shape ``(B, N)`` or ``(B, N + M)``.
            shown: What the network is shown in their place, such as rows with values hidden; the rows by default.
        """
        place = None
        if self.any_order:
            place = uniform((y.shape[:-1].numel(), len(self.variables)), self.bias)
        return score_rows(self, y, place, shown=shown).sum(-1)

    @torch.no_grad()
    def log_prob(self, y: Tensor, *, samples: int = 100, orders: int | None = None) -> Tensor:
        """Return log p(y), or its importance-weighted bound if ``lower_bound``.

        Args:
            y: Rows, shape ``(B, N)`` or ``(B, N + M)``.
            samples: The number of importance samples; without effect on an exact model.
            orders: Over how many orders to take the mean; the model's own by default.

        Returns:
            Nats, shape ``(B,)``; of numbers that are not whole, with respect to their unit.
        """
        if self.conditionals.condition_on == "point":
            return importance_bound(self._bound, y, samples)
        return self.log_joint(y, samples=samples, orders=orders)

    @torch.no_grad()
    def log_joint(
        self,
        y: Tensor,
        variables: Sequence[int] | None = None,
        given: Sequence[int] = (),
        *,
        samples: int = 100,
        orders: int | None = None,
    ) -> Tensor:
        r"""Return the log-probability of some variables together, given others.

        It is the mean over K orders :math:`\sigma`,
        :math:`\log \frac{1}{K} \sum_\sigma \prod_n p(y_n \mid y_{given}, y_{before\ n\ in\ \sigma})`.

        Args:
            y: Rows, shape ``(B, N)`` or ``(B, N + M)``. Variables that are not named are not looked at.
            variables: The variables, by number; all that are not given by default.
            given: The variables that are given.
            samples: The number of importance samples of a variable of many classes.
            orders: K at most; the model's own by default. Of few variables there are fewer.

        Returns:
            Nats, shape ``(B,)``.

        Raises:
            ValueError: If the model has one order, and it does not begin with what is given and then what is asked for.
        """
        wanted = [n for n in range(len(self.variables)) if n not in given] if variables is None else list(variables)
        scores = score_in_orders(self, y, self.orders_after(given, wanted, orders), len(given), samples=samples)
        return scores[..., wanted].sum(-1).logsumexp(0) - math.log(len(scores))

    @torch.no_grad()
    def log_prob_of(
        self, y: Tensor, variables: Sequence[int] | None = None, given: Sequence[int] = (), *, samples: int = 100
    ) -> Tensor:
        """Return the log-probability of each of some variables, given others and those of them that come before it.

        Their sum is that of the variables given the others by the model's first order: ``log_joint(..., orders=1)``.

        Args:
            y: Rows, shape ``(B, N)`` or ``(B, N + M)``. Variables that are not named are not looked at.
            variables: The variables, by number; all that are not given by default. They are taken in the model's order.
            given: The variables that are given.
            samples: The number of importance samples of a variable of many classes.

        Returns:
            Nats, shape ``(B, len(variables))``.

        Raises:
            ValueError: If the model has one order, and it does not begin with what is given and then what is asked for.
        """
        wanted = [n for n in range(len(self.variables)) if n not in given] if variables is None else list(variables)
        order = self.order_of(given, wanted).tolist()
        return score_in_orders(self, y, [order], len(given), samples=samples)[0][..., wanted]

    @torch.no_grad()
    def conditional(self, y: Tensor, n: int, known: Tensor | None = None) -> VariableDistribution:
        """Return the distribution of variable ``n`` in each row, given what is known of the others.

        Args:
            y: Rows, shape ``(B, N)`` or ``(B, N + M)``.
            n: The variable.
            known: What is known of the rows, boolean ``(B, N)``; whether ``n`` itself is makes no difference. By
                default the variables before it in the model's order.

        Raises:
            ValueError: If the model has one order, and something else is known.
        """
        parts = self.conditionals
        block, (codes, numbers) = parts.block(n), parts.split(y)
        if known is not None and not self.has_every_conditional:
            raise ValueError("this model has one order of the variables: a model of order='any' has every conditional")
        before = self._rank < self._rank[n]
        known = before.expand(len(y), -1) if known is None else known & (self._rank != self._rank[n])
        limits = parts.limits(n, codes, numbers, known)
        x = parts.represent(codes, numbers)
        if isinstance(self.network, AnyOrderNetwork):
            return parts.at(n, self.bias[block] + self.network.one(n, x, known), limits)
        output = outputs_in_order(self, x).expand(len(x), -1)
        if self.components == 1:
            return parts.at(n, output[:, block], limits)
        sees = known[:, None] & (self._rank < self._rank[:, None])
        components = parts.components_of(output, codes, numbers, sees=sees)
        log_weights = informed_weights(self.stage, *components, known[:, None], slice(n, n + 1)).squeeze(-1)
        return parts.at(n, parts.reweighed(output[:, block], log_weights), limits)

    def order_of(self, given: Sequence[int], wanted: Sequence[int]) -> Tensor:
        """Return an order that begins with the variables given, followed by those wanted.

        Raises:
            ValueError: If the model has one order, and it is no such order, but for the order in a block.
        """
        order, stage = self.order.tolist(), self.stage.tolist()
        chosen = sorted(given, key=order.index) + sorted(wanted, key=order.index)
        if not self.any_order and [stage[n] for n in chosen] != [stage[n] for n in order[: len(chosen)]]:
            raise ValueError(
                "this model has one order of the variables, which begins with others than those given and asked for; "
                "a model of order='any' has every conditional"
            )
        return torch.tensor(chosen, device=self.order.device)

    def orders_after(
        self, given: Sequence[int] = (), wanted: Sequence[int] | None = None, count: int | None = None
    ) -> list[list[int]]:
        """Return the distinct orders of variables, over which the mean is taken, after those that are given.

        Args:
            given: The variables that are given.
            wanted: The variables to follow; all others by default.
            count: How many orders at most; the model's own number by default.

        Raises:
            ValueError: As :meth:`order_of`.
        """
        wanted = [n for n in range(len(self.variables)) if n not in given] if wanted is None else wanted
        first = self.order_of(given, wanted).tolist()
        if not self.any_order:
            return [first]
        begin, rest = first[: len(given)], first[len(given) :]
        tails = [sorted(rest, key=order.index) for order in orders_of(len(self.variables), count or self.orders)]
        return [[*begin, *tail] for n, tail in enumerate(tails) if tail not in tails[:n]]

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        given: Tensor | None = None,
        known: Sequence[int] = (),
        allowed: Mapping[int, Restriction] | None = None,
    ) -> Tensor:
        """Draw ``n`` rows, one variable after another: those that are known, those restricted, and the others.

        Of a model of any order each row takes the others in one of its ``orders``. With one restricted variable nothing
        is rejected. With several, a row is kept with the probability that the later ones of them are allowed, given the
        variables before: draws are exact, for orders that begin with what is known and then what is restricted. A model
        of any order takes the least probable restriction first, given what is known.

        Args:
            n: How many.
            given: One row, shape ``(N,)`` or ``(N + M,)``, of which some variables are known.
            known: Those variables.
            allowed: What is allowed of other variables, by number.

        Returns:
            Rows, ``(n, N)`` int64 or ``(n, N + M)`` float64.

        Raises:
            ValueError: If the model has one order, and it does not begin with what is known, then what is allowed; or
                what is allowed has no probability, or hardly any.
        """
        return draw_rows(self, n, given, known, allowed or {})

    @property
    def _rank(self) -> Tensor:
        """The place of each variable in the order."""
        return self.order.argsort()

    def _bound(self, y: Tensor) -> Tensor:
        return score_rows(self, y).sum(-1)


def _permutation(order: str | Sequence[int], n: int) -> Tensor:
    if order == "natural":
        return torch.arange(n)
    if order == "random":
        return torch.randperm(n)
    if isinstance(order, str) or sorted(order) != list(range(n)):
        raise ValueError(
            f"order must be 'natural', 'random', 'any' or a permutation of 0, ..., {n - 1}, got {order!r}."
        )
    return torch.tensor(order)
