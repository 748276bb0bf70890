"""A scikit-learn estimator for the distribution of sets of items."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tessflow.dequantization import SharedDequantizer, VoronoiDequantizer
from tessflow.estimators.base import FlowEstimator, RandomState, split_rows
from tessflow.estimators.items import ItemSchema, read_sets
from tessflow.estimators.options import Depth, FitOptions
from tessflow.estimators.storage import ModelConfig
from tessflow.flows import equivariant_flow
from tessflow.models import KDPP, IndependentItems, MatchedSets, SetFlow
from tessflow.randomness import seeded

__all__ = ["SetConfig", "SetEstimator", "SetOptions"]

Self = TypeVar("Self", bound="SetEstimator")

_RATES = {"matched": 1e-2, "flow": 2e-3, "dpp": 1e-2}
_DIMENSIONS = {"matched": 64, "flow": 6}
# Items that JSON keeps as they are.
_SAVED = (str, int, float)
# Rows times items that a scoring or sampling pass holds at once.
_CHUNK = 1 << 22


class SetOptions(FitOptions):
    """The constructor arguments of :class:`~tessflow.SetEstimator` that are saved with a model, as JSON holds them."""

    max_steps: int = Field(ge=1)
    model: Literal["matched", "flow", "dpp", "independent"]
    dimension: Depth | None
    width: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    rank: int = Field(ge=1)
    learning_rate: float | None = Field(gt=0)


class SetConfig(ModelConfig):
    """What ``config.json`` holds of a :class:`~tessflow.SetEstimator`."""

    estimator: Literal["SetEstimator"] = "SetEstimator"
    parameters: SetOptions


class SetEstimator(FlowEstimator):
    """The distribution of unordered sets of items, all of one size.

    Items are strings, whole numbers or anything hashable; a row is a list, tuple, set or array of different items.

    Args:
        model: ``"matched"`` (:class:`~tessflow.models.MatchedSets`, the most accurate: items drawn one after another);
            ``"flow"`` (:class:`~tessflow.models.SetFlow`: the paper's continuous flow over Voronoi cells, slow);
            ``"dpp"`` (:class:`~tessflow.models.KDPP`: items that repel those like them); or ``"independent"``
            (:class:`~tessflow.models.IndependentItems`: by the items' frequencies, to compare with).
        dimension: The dimension of the space that items' cells tile; ``None`` for 64 in a matched model, 6 in a flow.
        width: Width of the hidden layers of the same two.
        layers: Number of hidden layers of a matched model.
        dropout: Share of hidden units dropped while training a matched model.
        rank: The rank of the kernel of a determinantal process.
        max_steps: Most optimizer steps; independent items take none.
        batch_size: Rows a step.
        learning_rate: Peak learning rate; ``None`` for 1e-2, and 2e-3 of a flow.
        weight_decay: Decoupled weight decay.
        validation_fraction: Share of rows set aside to choose the best weights, unless ``fit`` is given some.
        patience: Evaluations without improvement after which training stops; ``None`` for never.
        random_state: Seed of everything random in ``fit`` and, by default, in ``sample``, ``score_samples`` and
            ``complete``.
        accelerator: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        verbose: Whether to show progress.

    Attributes:
        options_: The options as they were used (:class:`~tessflow.estimators.sets.SetOptions`).
        schema_: The items and the size of a set (:class:`~tessflow.estimators.items.ItemSchema`).
        items_: The items, an object array of shape ``(K,)``.
        model_: The fitted :class:`torch.nn.Module`.
        lower_bound_: Whether ``score_samples`` gives lower bounds: of a flow, or of sets of more than 8 items.
        result_: What training did (:class:`~tessflow.training.TrainingResult`); ``None`` for a loaded model, and for
            independent items.
        history_: One row an evaluation, a DataFrame.
        validation_score_: Mean log-likelihood of the validation rows, in nats; of a flow, its bound from one sample.
        n_features_in_: The size of a set.

    Example:
        >>> baskets = [["bread", "butter"], ["tea", "milk"]] * 50 + [["bread", "tea"]] * 10
        >>> sets = SetEstimator(width=16, max_steps=300, random_state=0).fit(baskets)
        >>> sets.complete(["butter"], n_suggestions=1)["items"][0]
        ['bread']
        >>> sets.score_samples([["bread", "butter"]]) > sets.score_samples([["milk", "butter"]])
        array([ True])
    """

    _options_type = SetOptions
    _config_type = SetConfig
    _schema_type = ItemSchema
    _architecture = frozenset({"model", "dimension", "width", "layers", "dropout", "rank"})

    def __init__(
        self,
        model: Literal["matched", "flow", "dpp", "independent"] = "matched",
        *,
        dimension: int | None = None,
        width: int = 128,
        layers: int = 1,
        dropout: float = 0.5,
        rank: int = 64,
        max_steps: int = 2000,
        batch_size: int = 512,
        learning_rate: float | None = None,
        weight_decay: float = 0.01,
        validation_fraction: float = 0.1,
        patience: int | None = 10,
        random_state: int | np.random.RandomState | None = None,
        accelerator: Literal["cpu", "cuda", "auto"] = "cpu",
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.dimension = dimension
        self.width = width
        self.layers = layers
        self.dropout = dropout
        self.rank = rank
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.accelerator = accelerator
        self.verbose = verbose

    def fit(
        self: Self,
        X: Any,
        y: Any = None,
        *,
        X_validation: Any = None,
        directory: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Fit the distribution of sets.

        Args:
            X: Sets of one size: a list of lists, tuples, sets or arrays of different items, or a 2-D array.
            y: Ignored; there for scikit-learn.
            X_validation: Sets that choose the best weights; by default a random share of ``X``.
            directory: Where checkpoints and the history go. A fit that was killed, called again with the same
                arguments, goes on from the last checkpoint and ends with the same weights.

        Raises:
            TypeError: If a row is no collection of hashable items.
            ValueError: If an option is out of range, there is no row, rows have an item twice or different sizes, or
                ``X_validation`` has no row, or an item that ``X`` has not.
        """
        options = self._options(directory)
        schema = ItemSchema.infer(X)
        encoded = schema.encode(X)
        train, validation = (
            split_rows(encoded, options.validation_fraction, options.random_state)
            if X_validation is None
            else (encoded, schema.encode(X_validation))
        )
        if len(validation) == 0:
            raise ValueError("X_validation has no sets: give at least one, or None to set some of X aside.")
        model: Any = self._build(options, schema)
        with seeded(options.random_state):
            if isinstance(model, SetFlow):
                model.initialize(train, steps=min(1000, options.max_steps))
            else:
                model.initialize(train)
        if options.model == "independent":  # that was all
            self._adopt(schema, self._finished(model), options, math.nan)
            self.result_, self.history_ = None, pd.DataFrame()
        else:
            self._train(
                model,
                schema,
                (train, validation),
                options,
                max_steps=options.max_steps,
                learning_rate=options.learning_rate or _RATES[options.model],
                evaluate_every=min(max(len(train) // options.batch_size, 10), 100),
                directory=directory,
            )
        if options.model != "flow":  # trained on one random order, and scored by all
            self.validation_score_ = float(self._scores(validation, samples=1).mean())
        return self

    def score_samples(self, X: Any, *, samples: int = 10) -> NDArray[np.float64]:
        """Return the log-probability of each unordered set, in nats: exact, or a lower bound if ``lower_bound_``.

        Args:
            X: Sets of the size and the items of the training data.
            samples: Importance samples a row where it is a bound; more make it tighter.

        Returns:
            Array of shape ``(rows,)``. The same call gives the same numbers.

        Raises:
            TypeError: If a row is no collection of hashable items.
            ValueError: If a row has another size, an item twice or an item that was not seen in training, or
                ``samples`` is no integer of at least 1.
        """
        check_is_fitted(self)
        _require_counts(samples=samples)
        return self._scores(self.schema_.encode(X), samples)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-probability of the sets, in nats; see :meth:`score_samples`.

        Raises:
            ValueError: As :meth:`score_samples`, or if there is no row.
        """
        scores = self.score_samples(X)
        if len(scores) == 0:
            raise ValueError("X has no sets to score: give at least one.")
        return float(scores.mean())

    def complete(
        self,
        items: Iterable[Any],
        *,
        n_suggestions: int = 5,
        draws: int = 1000,
        samples: int = 10,
        random_state: RandomState = None,
    ) -> pd.DataFrame:
        """Suggest what is missing from a set, the most probable first.

        If one item is missing, all candidates are compared, and probabilities are as exact as those of sets. If several
        are, the suggestions are the most probable of those found in a number of draws, which also give the probability
        of what is there: an estimate, unless items are independent or of a determinantal process.

        Args:
            items: The items that are there.
            n_suggestions: The most suggestions.
            draws: The number of draws if several items are missing.
            samples: Importance samples of a set, of a flow.
            random_state: Seed of the draws, as in :meth:`sample`; by default that of the estimator.

        Returns:
            A DataFrame with the columns ``items``, a list of the missing items, and ``probability``, that these are
            what is missing.

        Raises:
            TypeError: If ``items`` is no collection of hashable items.
            ValueError: If nothing is missing, an item is there twice or was not seen in training, ``n_suggestions``,
                ``draws`` or ``samples`` is no integer of at least 1, or several items are missing and the model is a
                flow.

        Example:
            >>> baskets = [["bread", "butter", "jam"], ["tea", "milk", "jam"]] * 50
            >>> sets = SetEstimator(width=16, max_steps=300, random_state=0).fit(baskets)
            >>> sets.complete(["tea"])["items"][0]
            ['jam', 'milk']
        """
        check_is_fitted(self)
        _require_counts(n_suggestions=n_suggestions, draws=draws, samples=samples)
        (there,) = read_sets([items])
        missing = self.schema_.size - len(there)
        if missing < 1:
            raise ValueError(f"sets have {self.schema_.size} items, got {len(there)}: nothing is missing.")
        if missing > 1 and isinstance(self.model_, SetFlow):
            raise ValueError(f"a flow suggests one missing item, not {missing}: fit with model='matched'.")
        device = next(self.model_.parameters()).device
        given = torch.tensor([self.schema_.code(item, "the set") for item in there], dtype=torch.int64, device=device)
        with seeded(self._generators(random_state), redirect=False):
            if missing == 1:
                everything = torch.arange(len(self.schema_.items), device=device)
                candidates = everything[~torch.isin(everything, given)][:, None]
                log_joint = self._log_joint(candidates, given, samples)
                log_chances = log_joint.log_softmax(0)
            else:
                drawn = self.model_.sample(draws, given=given).sort(-1).values
                candidates, counts = drawn.unique(dim=0, return_counts=True)
                log_joint = self._log_joint(candidates, given, samples)
                # The probability of what is there is the mean ratio of the joint to what was drawn from, and at least
                # that of the sets found.
                ratios = log_joint - self.model_.log_prob(candidates, given=given, samples=samples)
                log_there = (ratios + counts.log()).logsumexp(0) - math.log(draws)
                log_chances = log_joint - log_there.maximum(log_joint.logsumexp(0))
        best = log_chances.sort(descending=True, stable=True).indices[:n_suggestions]
        chances = log_chances[best].double().exp().cpu().numpy()
        return pd.DataFrame({"items": self.schema_.decode(candidates[best].cpu()), "probability": chances})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a directory: ``config.json``, and the schema and weights that it names.

        A model that is there stays whole until the new one is.

        Args:
            path: The directory, made if it does not exist.

        Raises:
            TypeError: If items are no strings or numbers.
            RuntimeError: If another process or thread writes there.
            OSError: If a file cannot be written.
        """
        check_is_fitted(self)
        if others := [item for item in self.schema_.items if type(item) not in (*_SAVED, bool)]:
            kind = type(others[0]).__name__
            raise TypeError(f"item {others[0]!r} is a {kind}, which no file keeps: fit with strings or numbers.")
        super().save(path)

    def _scores(self, rows: Tensor, samples: int) -> NDArray[np.float64]:
        return self._evaluate(rows, lambda model, part: model.log_prob(part, samples=samples)).astype(np.float64)

    def _log_joint(self, others: Tensor, given: Tensor, samples: int) -> Tensor:
        """Return the log-probability of sets of the items that are given and others, ``(B, k - j)``."""
        sets = torch.cat([given.expand(len(others), -1), others], -1)
        return torch.cat([self.model_.log_prob(chunk, samples=samples) for chunk in sets.split(self._chunk())])

    def _adopt(self, schema: ItemSchema, model: nn.Module, options: SetOptions, validation_score: float) -> None:
        super()._adopt(schema, model, options, validation_score)
        self.lower_bound_ = bool(model.lower_bound)
        self.items_ = np.empty(len(schema.items), dtype=object)
        self.items_[:] = schema.items

    def _chunk(self) -> int:
        return max(1, min(4096, _CHUNK // len(self.schema_.items)))

    @staticmethod
    def _build(options: SetOptions, schema: ItemSchema) -> nn.Module:
        items, size = len(schema.items), schema.size
        dim = options.dimension or _DIMENSIONS.get(options.model, 1)

        def flow() -> nn.Module:
            each = VoronoiDequantizer((items,), dim, noise="gaussian", hidden_features=(options.width,))
            return SetFlow(equivariant_flow(size, dim, width=options.width), SharedDequantizer(each, size))

        def matched() -> nn.Module:
            widths = (options.width,) * options.layers
            return MatchedSets(items, size, dim=dim, hidden_features=widths, dropout=options.dropout)

        kinds: dict[str, Callable[[], nn.Module]] = {
            "matched": matched,
            "flow": flow,
            "dpp": lambda: KDPP(items, size, rank=options.rank),
            "independent": lambda: IndependentItems(items, size),
        }
        with seeded(options.random_state):
            return kinds[options.model]()


def _require_counts(**counts: int) -> None:
    for name, count in counts.items():
        if not isinstance(count, Integral) or count < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {count!r}.")
