"""What the estimators share: options, seeds, rows set aside, training, sampling, and a directory on disk."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from tessflow.estimators.bounded import built_within
from tessflow.estimators.options import FitOptions
from tessflow.estimators.storage import ModelConfig, ModelDirectory
from tessflow.randomness import Generators, seeded
from tessflow.training import TrainingConfig, TrainingResult, evaluate, fit
from tessflow.training.checkpoint import CONFIG
from tessflow.training.evaluation import Objective
from tessflow.training.loop import Weights
from tessflow.training.weights import adopt_tensors

__all__ = ["FlowEstimator", "RandomState", "split_places", "split_rows", "take_rows", "weighted_mean"]

Self = TypeVar("Self", bound="FlowEstimator")

RandomState: TypeAlias = (
    "int | np.random.SeedSequence | np.random.Generator | np.random.RandomState | Generators | None"
)
"""What a draw is seeded with."""


class FlowEstimator(DensityMixin, BaseEstimator, ABC):
    """A density over the rows of a table: a schema that encodes rows, and a module that is trained on them.

    A subclass names its types below, and says how to build the module, score rows and draw them.

    Attributes:
        options_: The options as they were used.
        schema_: The columns: ``names``, ``from_array``, ``decode``.
        model_: The fitted :class:`torch.nn.Module`.
        result_: What training did (:class:`~tessflow.training.TrainingResult`); ``None`` for a loaded model.
        history_: One row an evaluation, a DataFrame.
        validation_score_: Mean log-likelihood of the validation rows, in nats.
    """

    _options_type: ClassVar[type[FitOptions]]
    _config_type: ClassVar[type[ModelConfig]]
    _schema_type: ClassVar[type[BaseModel]]
    # Options that make a checkpoint that of another model.
    _architecture: ClassVar[frozenset[str]]
    # Further fields of the configuration: attributes of the same name and an underscore.
    _facts: ClassVar[tuple[str, ...]] = ()
    # Whether a fit goes on from a checkpoint that is in its directory.
    _resume: bool = True

    options_: Any
    schema_: Any
    model_: Any
    result_: TrainingResult | None
    history_: pd.DataFrame
    validation_score_: float

    def __sklearn_tags__(self) -> Tags:
        """Say to scikit-learn that the same call gives the same numbers."""
        tags = super().__sklearn_tags__()
        tags.non_deterministic = False
        return tags

    @abstractmethod
    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the log-likelihood of each row, in nats."""

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-likelihood of the rows, in nats; see :meth:`score_samples`."""
        return float(self.score_samples(X).mean())

    @staticmethod
    @abstractmethod
    def _build(options: Any, schema: Any) -> nn.Module:
        """Make the module, with seeded weights."""

    def _draw(self, rows: int) -> Tensor:
        """Draw encoded rows, ``(rows, columns)``."""
        return self.model_.sample(rows)

    @abstractmethod
    def _chunk(self) -> int:
        """Return how many rows a scoring or sampling pass holds at once."""

    def sample(self, n_samples: int = 1, *, random_state: RandomState = None) -> Any:
        """Draw rows.

        Args:
            n_samples: How many.
            random_state: Seed of the draw, or a ``SeedSequence``, ``Generator`` or ``RandomState`` of numpy; by default
                that of the estimator, so that the same call gives the same rows. See :meth:`sample_batches` for more.

        Returns:
            A DataFrame with the columns of the training data; an array if that was one.

        Raises:
            ValueError: If ``n_samples`` is no integer of at least 1.
        """
        check_is_fitted(self)
        return self._decoded(n_samples, random_state, self._draw)

    def sample_batches(
        self, n_samples: int, batch_size: int = 10_000, *, random_state: RandomState = None, **options: Any
    ) -> Iterator[Any]:
        """Draw rows part by part, in memory for one part: independent of each other, and the same for the same seed.

        Args:
            n_samples: How many in all.
            batch_size: How many a part; the last may have fewer. Other sizes give other rows.
            random_state: As in :meth:`sample`: seed of all parts together.
            **options: Further arguments of :meth:`sample`, such as ``given``.

        Returns:
            An iterator over what :meth:`sample` returns.

        Raises:
            ValueError: If ``n_samples`` or ``batch_size`` is no integer of at least 1; or, with the first part, as
                :meth:`sample`.

        Example:
            >>> from tessflow import MixtureFlow
            >>> numbers = np.random.default_rng(0).normal(size=(100, 2))
            >>> flow = MixtureFlow(2, layers=2, max_steps=10, random_state=0).fit(numbers)
            >>> [part.shape for part in flow.sample_batches(1000, 400)]
            [(400, 2), (400, 2), (200, 2)]
        """
        check_is_fitted(self)
        _require_count("n_samples", n_samples)
        _require_count("batch_size", batch_size)
        generators = self._generators(random_state)
        sizes = (min(batch_size, n_samples - start) for start in range(0, n_samples, batch_size))
        return (self.sample(size, random_state=generators, **options) for size in sizes)

    def _decoded(self, n_samples: int, random_state: RandomState, draw: Callable[[int], Tensor]) -> Any:
        """Draw encoded rows, a few at a time, and decode them."""
        _require_count("n_samples", n_samples)
        with seeded(self._generators(random_state), redirect=False):
            chunks = torch.arange(n_samples).split(self._chunk())
            drawn = torch.cat([draw(len(chunk)).cpu() for chunk in chunks])
        return self.schema_.decode(drawn)

    def _generators(self, random_state: RandomState) -> Generators:
        """Return what a call draws from: by the estimator's own seed, if none is given."""
        if isinstance(random_state, Generators):
            return random_state
        return Generators(self.options_.random_state if random_state is None else _seed(random_state))

    def _evaluate(self, rows: Tensor, objective: Objective) -> NDArray[Any]:
        """Return the value of an objective of the fitted model for each of some encoded rows."""
        seed = self.options_.random_state
        return evaluate(self.model_, rows, objective=objective, batch_size=self._chunk(), seed=seed).cpu().numpy()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a directory: ``config.json``, and the schema and weights that it names.

        A model that is there stays whole until the new one is.

        Args:
            path: The directory, made if it does not exist.

        Raises:
            RuntimeError: If another process or thread writes there.
            OSError: If a file cannot be written.
        """
        check_is_fitted(self)
        config = self._config_type(
            library_version=version("tessflow"),
            parameters=self.options_,
            validation_score=self.validation_score_,
            **{name: getattr(self, f"{name}_") for name in self._facts},
        )
        ModelDirectory(Path(path)).write(config, self.schema_, self.model_, self.history_)

    @classmethod
    def load(cls: type[Self], path: str | os.PathLike[str]) -> Self:
        """Read a model that :meth:`save` wrote, onto the CPU. Runs no code from the directory.

        Args:
            path: The directory.

        Raises:
            FileNotFoundError: If there is no complete model in the directory.
            ValueError: If the model is damaged, of another estimator, or was written by a newer, unknown version.
        """
        directory = ModelDirectory(Path(path))
        config, schema, weights, file = directory.read(cls._config_type, cls._schema_type)
        sizes = config.parameters.model_dump(include=cls._architecture)
        try:
            with built_within(weights, sizes):
                model = cls._finished(cls._rebuild(config, schema))
        except (ValueError, ArithmeticError, LookupError, MemoryError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{directory.path / CONFIG} does not belong to {file.name} ({reason}): fit again"
            ) from error
        adopt_tensors(model, weights, file)
        estimator = cls(**config.parameters.model_dump())
        for name in cls._facts:
            setattr(estimator, f"{name}_", getattr(config, name))
        estimator._adopt(schema, model, config.parameters, config.validation_score)
        estimator.result_ = None
        estimator.history_ = directory.read_history()
        return estimator

    def _options(self, directory: str | os.PathLike[str] | None) -> Any:
        """Check the constructor's arguments, and draw the seed if there is none."""
        parameters = self.get_params(deep=False)
        # A run that is to be resumed has to start the same way every time.
        random_state = parameters["random_state"]
        seed = 0 if random_state is None and directory is not None else _seed(random_state)
        return self._options_type.of(parameters | {"random_state": seed})

    def _train(
        self,
        model: nn.Module,
        schema: Any,
        rows: tuple[Tensor, Tensor],
        options: Any,
        *,
        max_steps: int,
        learning_rate: float,
        objective: Objective | None = None,
        evaluate_every: int = 100,
        directory: str | os.PathLike[str] | None = None,
        weights: Weights = (None, None),
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        """Train on the first rows, choose on the second, and keep what came of it.

        What is in `identity`, and the architecture, is what a checkpoint has to share.
        """
        config = TrainingConfig(
            max_steps=max_steps,
            batch_size=options.batch_size,
            learning_rate=learning_rate,
            weight_decay=options.weight_decay,
            patience=options.patience,
            evaluate_every=evaluate_every,
            seed=options.random_state,
            accelerator=options.accelerator,
        )
        result = fit(
            model,
            *rows,
            config,
            weights=weights,
            objective=objective,
            directory=directory,
            options={**options.model_dump(mode="json", include=self._architecture), **(identity or {})},
            resume=self._resume,
            progress=options.verbose,
        )
        score = evaluate(model, rows[1], objective=objective, batch_size=4 * options.batch_size, seed=config.seed)
        self._adopt(schema, self._finished(model), options, weighted_mean(score.double(), weights[1]))
        self.result_ = result
        self.history_ = pd.DataFrame(result.history)

    def _adopt(self, schema: Any, model: nn.Module, options: Any, validation_score: float) -> None:
        self.schema_ = schema
        self.model_ = model
        self.options_ = options
        self.validation_score_ = validation_score
        self.n_features_in_ = len(schema.names)
        if not schema.from_array and all(isinstance(name, str) for name in schema.names):
            self.feature_names_in_ = np.array(schema.names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_  # of an earlier fit

    @classmethod
    def _rebuild(cls, config: Any, schema: Any) -> nn.Module:
        """Make the module whose weights are on the disk."""
        return cls._build(config.parameters, schema)

    @staticmethod
    def _finished(model: nn.Module) -> nn.Module:
        """Bring a module into the state in which it is used."""
        return model.eval()


def split_places(rows: int, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Set a random share of rows aside, at least one and never all: the places of both; a single row is on both sides.

    Example:
        >>> [len(part) for part in split_places(10, 0.1, seed=0)]
        [9, 1]
    """
    if rows == 1:
        return np.zeros(1, np.int64), np.zeros(1, np.int64)
    held_out = min(max(1, round(fraction * rows)), rows - 1)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).numpy()
    return order[held_out:], order[:held_out]


def split_rows(rows: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split encoded rows as :func:`split_places` does."""
    kept, aside = split_places(len(rows), fraction, seed)
    return rows[kept], rows[aside]


def take_rows(table: Any, places: NDArray[np.int64]) -> Any:
    """Return some rows of a DataFrame, an array or a list."""
    if isinstance(table, pd.DataFrame):
        return table.iloc[places]
    return [table[place] for place in places] if isinstance(table, (list, tuple)) else np.asanyarray(table)[places]


def weighted_mean(scores: Any, weights: Tensor | None) -> float:
    """Return the mean of scores of rows, ``(rows,)``, weighted if they have weights."""
    if weights is None:
        return float(scores.mean())
    return float((weights * torch.as_tensor(scores).double().cpu()).sum() / weights.sum())


def _require_count(name: str, count: int) -> None:
    if not isinstance(count, Integral) or not 1 <= count < 2**63:
        raise ValueError(f"{name} must be an integer of at least 1 and below 2^63, got {count!r}.")


def _seed(random_state: RandomState) -> int:
    if isinstance(random_state, Integral):
        if not 0 <= random_state < 2**63:
            raise ValueError(f"random_state: it must be at least 0 and below 2^63, got {random_state}.")
        return int(random_state)
    if isinstance(random_state, np.random.SeedSequence):
        return int(random_state.generate_state(1, np.uint64)[0] >> 1)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63))
    return int(check_random_state(random_state).randint(2**31))
