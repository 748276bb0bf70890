"""A scikit-learn estimator for the density of numeric tables."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from tessflow.estimators.base import FlowEstimator, split_rows
from tessflow.estimators.mixture_model import build, single, started
from tessflow.estimators.numeric import NumericSchema, require_numbers
from tessflow.estimators.options import MixtureOptions
from tessflow.estimators.storage import MixtureConfig, MixtureMember, run_directories
from tessflow.files import only_writer
from tessflow.models import AveragedDensity
from tessflow.models.disjoint import MixtureProfile
from tessflow.randomness import draw
from tessflow.training import evaluate

__all__ = ["MixtureFlow"]

Self = TypeVar("Self", bound="MixtureFlow")

# Rows times numbers that a scoring or sampling pass holds at once.
_CHUNK = 1 << 22


class MixtureFlow(FlowEstimator):
    r"""The density of a table of real numbers: a mixture that a flow makes better than it was fitted.

    There are two kinds. By default coupling layers bend a mixture of Gaussians with full covariances
    (:class:`~tessflow.models.WarpedMixture`). It is fitted by EM beforehand, several of the best sizes and kinds of
    covariances together, and the layers start as the identity. What training does is kept if it gains more than two
    standard errors on the validation rows: the density is never behind the Gaussians there.

    With ``n_cells``, the space is cut into Voronoi cells, each with a weight :math:`p(k)` and a density of its own, a
    coupling flow that fills the cell and ends at its walls (:func:`~tessflow.models.coupling_mixture`). A point is in
    one cell, so :math:`\log p(x) = \log p(k) + \log p(x | k)` is exact at the cost of one component.

    Columns are standardised inside; likelihoods are those of the numbers as they were given.

    A density has no bound where rows repeat or lie in a plane: a column with one value is refused, and where many rows
    are the same, held-out likelihoods grow with training and compare no models.

    Args:
        n_cells: Number of cells; ``None`` for Gaussians instead. 1 makes it a plain coupling flow.
        n_estimators: How many mixtures, each with a seed of its own, the density is the mean of.
        layers: Coupling layers, in each cell if there are some.
        before: Coupling layers before the cells, which bend their walls.
        univariate: Whether a coupling layer moves numbers by a ``"spline"`` or an ``"affine"`` map.
        profile: How a density is laid into a cell: ``"truncated-gaussian"``, ``"cube"``, or the paper's
            ``"softsign"``; see :class:`~tessflow.models.DisjointMixture`, also for the next three.
        box: Whether cells are bounded: they then tile a cube that all space is mapped to.
        background: The share of each cell's density that is a plain Gaussian.
        whiten: Whether a cell's density starts from the mean and covariance of its rows; ``None`` for yes, but not with
            the softsign, whose cells give their rows none.
        base: What the component of a cell starts from, ``"gaussian"`` or ``"cauchy"``, which has heavier tails and goes
            with the softsign; ``None`` for the one that the profile needs.
        hidden_features: Widths of the networks' hidden layers.
        bins: Bins of a spline.
        learn_anchors: Whether training moves the anchors that k-means placed, without seeing rows change cells.
        learn_gaussians: Whether training moves the Gaussians.
        max_steps: Most optimizer steps, of all estimators together, and at least one for each.
        batch_size: Rows a step.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled weight decay.
        validation_fraction: Share of rows set aside to choose Gaussians and the best weights, unless ``fit`` is given
            some.
        patience: Evaluations, one an epoch (but between 10 and 100 steps), without improvement after which training
            stops; ``None`` for never.
        random_state: Seed of everything random in ``fit`` and, by default, in ``sample``.
        accelerator: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        verbose: Whether to show progress.

    Attributes:
        options_: The options as they were used (:class:`~tessflow.estimators.options.MixtureOptions`).
        schema_: Names, means and scales of the columns (:class:`~tessflow.estimators.numeric.NumericSchema`).
        model_: The fitted :class:`~tessflow.models.WarpedMixture` or :class:`~tessflow.models.DisjointMixture`, or the
            :class:`~tessflow.models.AveragedDensity` of several, of standardised rows; trained in float32, then
            float64.
        estimators_: The mixtures that the density is the mean of, each a fitted ``MixtureFlow``.
        weights_: The probability of each cell, :math:`p(k)`, shape ``(n_cells,)``; without cells all space is one.
        cells_with_mass_: How many cells hold at least a share 1 / (10 ``n_cells``) of the training rows.
        lower_bound_: ``False``: ``score_samples`` is exact.
        n_parameters_: How many numbers were fitted, for ``aic`` and ``bic``.
        result_: What training did (:class:`~tessflow.training.TrainingResult`); ``None`` for a loaded model, or
            several.
        history_: One row an evaluation, a DataFrame; of several with the column ``estimator``.
        validation_score_: Mean log-likelihood of the validation rows, in nats.
        n_features_in_: Number of columns.
        feature_names_in_: Their names, if all are strings.

    Example:
        >>> left, right = np.random.default_rng(0).normal([[[-3]], [[3]]], 1, (2, 200, 2))
        >>> flow = MixtureFlow(layers=2, max_steps=100, random_state=0).fit(np.concatenate([left, right]))
        >>> bool(flow.score_samples([[3, 3]]) > flow.score_samples([[0, 0]]))
        True
        >>> cells = MixtureFlow(4, layers=2, max_steps=100, random_state=0).fit(np.concatenate([left, right]))
        >>> cells.sample(5).shape, cells.predict(left).shape, cells.weights_.shape
        ((5, 2), (200,), (4,))
    """

    _options_type = MixtureOptions
    _config_type = MixtureConfig
    _schema_type = NumericSchema
    _architecture = frozenset(
        {"n_cells", "layers", "before", "univariate", "profile", "box", "background", "whiten", "base"}
        | {"hidden_features", "bins", "learn_anchors", "learn_gaussians"}
    )
    _facts = ("members",)

    members_: tuple[MixtureMember, ...]
    lower_bound_ = False

    def __init__(
        self,
        n_cells: int | None = None,
        *,
        n_estimators: int = 1,
        layers: int = 4,
        before: int = 0,
        univariate: Literal["spline", "affine"] = "spline",
        profile: MixtureProfile = "truncated-gaussian",
        box: bool = False,
        background: float = 0.005,
        whiten: bool | None = None,
        base: Literal["gaussian", "cauchy"] | None = None,
        hidden_features: Sequence[int] = (64, 64),
        bins: int = 8,
        learn_anchors: bool = False,
        learn_gaussians: bool = True,
        max_steps: int = 2000,
        batch_size: int = 256,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.01,
        validation_fraction: float = 0.1,
        patience: int | None = 20,
        random_state: int | np.random.RandomState | None = None,
        accelerator: Literal["cpu", "cuda", "auto"] = "cpu",
        verbose: bool = False,
    ) -> None:
        self.n_cells = n_cells
        self.n_estimators = n_estimators
        self.layers = layers
        self.before = before
        self.univariate = univariate
        self.profile = profile
        self.box = box
        self.background = background
        self.whiten = whiten
        self.base = base
        self.hidden_features = hidden_features
        self.bins = bins
        self.learn_anchors = learn_anchors
        self.learn_gaussians = learn_gaussians
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.accelerator = accelerator
        self.verbose = verbose

    @property
    def estimators_(self) -> list[MixtureFlow]:
        """The mixtures that the density is the mean of; the estimator itself if it is one."""
        check_is_fitted(self)
        return self._estimators if self.options_.n_estimators > 1 else [self]

    @property
    def weights_(self) -> NDArray[np.float64]:
        """The probability of each cell, shape ``(n_cells,)``."""
        self._require_one("weights_")
        if self.options_.n_cells is None:
            return np.ones(1)
        return self.model_.log_weights().detach().exp().cpu().numpy()

    @property
    def cells_with_mass_(self) -> int:
        """How many cells hold at least a tenth of an even share of the training rows."""
        self._require_one("cells_with_mass_")
        return self.members_[0].cells_with_mass

    @property
    def n_parameters_(self) -> int:
        """How many numbers were fitted, anchors and what whitens the cells included."""
        if self.options_.n_estimators > 1:
            return sum(estimator.n_parameters_ for estimator in self.estimators_)
        numbers = sum(parameter.numel() for parameter in self.model_.parameters())
        if self.options_.n_cells is None:
            return numbers
        columns = len(self.schema_.columns)
        cells = self.options_.n_cells
        anchors = 0 if self.options_.learn_anchors else cells * columns
        return numbers + anchors + (self.model_.whitening is not None) * cells * (columns * (columns + 3) // 2)

    def fit(
        self: Self,
        X: Any,
        y: Any = None,
        *,
        X_validation: Any = None,
        directory: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Fit the density of the rows of ``X``.

        Args:
            X: A DataFrame or an array of finite numbers, ``(rows, columns)``, of at least two rows.
            y: Ignored; there for scikit-learn.
            X_validation: Rows that choose the best weights; by default a random share of ``X``.
            directory: Where checkpoints and the history go; of several estimators in directories ``estimator-0`` and
                so on. A fit that was killed, called again with the same arguments, goes on from the last checkpoint
                and ends with the same weights.

        Raises:
            ValueError: If an option is out of range, a column holds one value only or anything but finite numbers, or
                ``X_validation`` has other columns than ``X``.
        """
        options = self._options(directory)
        X = require_numbers(X)
        # A DataFrame is refused in our words, which name its columns; an array in scikit-learn's.
        schema = NumericSchema.infer(X) if isinstance(X, pd.DataFrame) else None
        array = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        schema = NumericSchema.infer(array) if schema is None else schema
        encoded = schema.encode(array)
        rows = (
            split_rows(encoded, options.validation_fraction, options.random_state)
            if X_validation is None
            else (encoded, self._encode(X_validation, schema))
        )
        if options.n_estimators == 1:
            self._fit_one(rows, schema, options, directory)
        else:
            self._fit_several(rows, schema, options, directory)
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the exact log-likelihood of each row, in nats.

        Args:
            X: Rows with the columns of the training data.

        Returns:
            Array of shape ``(rows,)``.

        Raises:
            ValueError: If columns are missing or unknown, or a value is not a finite number.
        """
        check_is_fitted(self)
        rows = self._encode(X, self.schema_)
        return self._evaluate(rows, lambda model, rows: model.elbo(rows)) - self.schema_.log_scale

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return the cell that each row is in, from 0 to ``n_cells - 1``, shape ``(rows,)``.

        Raises:
            ValueError: If the density is the mean of several, which have cells of their own.
        """
        check_is_fitted(self)
        self._require_one("predict")
        rows = self._encode(X, self.schema_)
        return np.zeros(len(rows), np.int64) if self.options_.n_cells is None else self._evaluate(rows, _cell)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each cell given each row, shape ``(rows, n_cells)``.

        Cells are disjoint: the one that the row is in has probability 1, all others 0.

        Raises:
            ValueError: If the density is the mean of several, which have cells of their own.
        """
        check_is_fitted(self)
        self._require_one("predict_proba")
        cells = self.predict(X)
        return (cells[:, None] == np.arange(self.options_.n_cells or 1)).astype(np.float64)

    def aic(self, X: Any) -> float:
        """Return Akaike's criterion for the rows, in nats: -2 log p(X) + 2 ``n_parameters_``; lower is better."""
        return float(-2 * self.score_samples(X).sum() + 2 * self.n_parameters_)

    def bic(self, X: Any) -> float:
        """Return the Bayesian criterion for the n rows: -2 log p(X) + ``n_parameters_`` log n; lower is better."""
        scores = self.score_samples(X)
        return float(-2 * scores.sum() + self.n_parameters_ * np.log(len(scores)))

    @classmethod
    def load(cls: type[Self], path: str | os.PathLike[str]) -> Self:
        """Read a model that :meth:`save` wrote, as :meth:`FlowEstimator.load` does, with all of its estimators."""
        estimator = super().load(path)
        if estimator.options_.n_estimators > 1:
            estimator._estimators = [estimator._part(n) for n in range(estimator.options_.n_estimators)]
        return estimator

    def _fit_one(
        self,
        rows: tuple[Tensor, Tensor],
        schema: NumericSchema,
        options: MixtureOptions,
        directory: str | os.PathLike[str] | None,
    ) -> None:
        """Fit a single mixture to encoded rows, and choose by others."""
        model = started(options, *rows)
        start = copy.deepcopy(model) if options.n_cells is None else None
        train, validation = (part.float() for part in rows)
        self._train(
            model,
            schema,
            (train, validation),
            options,
            max_steps=options.max_steps,
            learning_rate=options.learning_rate,
            objective=lambda model, rows: model.elbo(rows) - schema.log_scale,
            evaluate_every=min(max(len(train) // options.batch_size, 10), 100),
            directory=directory,
        )
        if start is not None:
            self._keep_start_unless_better(self._finished(start), rows[1])
        with_mass = 1
        if options.n_cells is not None:
            counts = np.bincount(self._evaluate(rows[0], _cell), minlength=options.n_cells)
            with_mass = int((counts * 10 * options.n_cells >= len(rows[0])).sum())
        gaussians = self.model_.base.components if options.n_cells is None else None
        member = MixtureMember(cells_with_mass=with_mass, gaussians=gaussians, validation_score=self.validation_score_)
        self.members_ = (member,)

    def _keep_start_unless_better(self, start: nn.Module, validation: Tensor) -> None:
        """Go back to the Gaussians unless training gained more than two standard errors on the validation rows."""
        start.to(next(self.model_.parameters()).device)
        before, after = (evaluate(model, validation).cpu().numpy() for model in (start, self.model_))
        gains = after - before
        if len(gains) > 1 and gains.mean() <= 2 * gains.std(ddof=1) / np.sqrt(len(gains)):
            self.model_ = start
            self.validation_score_ = float(before.mean()) - self.schema_.log_scale
            if self.result_ is not None:
                self.result_ = replace(self.result_, best_step=0, best_validation=self.validation_score_)

    def _fit_several(
        self,
        rows: tuple[Tensor, Tensor],
        schema: NumericSchema,
        options: MixtureOptions,
        directory: str | os.PathLike[str] | None,
    ) -> None:
        """Fit one mixture after the other, each with its share of the steps."""
        estimators: list[MixtureFlow] = [MixtureFlow(**single(options, n)) for n in range(options.n_estimators)]
        places: Sequence[Path | None] = [None] * len(estimators)
        if directory is not None:
            Path(directory).mkdir(parents=True, exist_ok=True)
            places = run_directories(Path(directory), len(estimators))
        with nullcontext() if directory is None else only_writer(directory):
            for estimator, place in zip(estimators, places, strict=True):
                estimator._resume = self._resume
                estimator._fit_one(rows, schema, estimator._options(place), place)
        model = self._finished(AveragedDensity(estimator.model_ for estimator in estimators))
        self._adopt(schema, model, options, 0.0)
        scores = self._evaluate(rows[1], lambda model, rows: model.elbo(rows)) - schema.log_scale
        self.validation_score_ = float(scores.mean())
        self.members_ = tuple(estimator.members_[0] for estimator in estimators)
        self.result_ = None
        histories = [estimator.history_.assign(estimator=n) for n, estimator in enumerate(estimators)]
        self.history_ = pd.concat(histories, ignore_index=True)
        self._estimators = estimators

    def _part(self, n: int) -> MixtureFlow:
        """Return one of several estimators that were loaded."""
        part = MixtureFlow(**single(self.options_, n))
        part._adopt(self.schema_, self.model_.members[n], part._options(None), self.members_[n].validation_score)
        part.members_ = (self.members_[n],)
        part.result_ = None
        history = self.history_
        part.history_ = history[history["estimator"] == n].reset_index(drop=True) if "estimator" in history else history
        return part

    def _require_one(self, what: str) -> None:
        check_is_fitted(self)
        if (count := self.options_.n_estimators) > 1:
            raise ValueError(
                f"{what}: {count} estimators are averaged, each with cells of its own: take one, as estimators_[0]."
            )

    def _encode(self, X: Any, schema: NumericSchema) -> Tensor:
        X = schema.align(X)
        if isinstance(X, pd.DataFrame):  # names are compared before any value is looked at
            validate_data(self, X, reset=False, skip_check_array=True)
        array = validate_data(self, require_numbers(X), dtype=np.float64, reset=False)
        return schema.encode(array)

    def _draw(self, rows: int) -> Tensor:
        return self.model_.sample(rows) if self.options_.n_estimators > 1 else draw(self.model_(), (rows,))

    def _chunk(self) -> int:
        options, columns = self.options_, len(self.schema_.columns)
        models = getattr(self.model_, "members", [self.model_])
        gaussians = 0 if options.n_cells else max(model.base.components for model in models)
        return max(1, min(4096, _CHUNK // (columns * (3 * options.bins + columns * max(gaussians, 1)))))

    @staticmethod
    def _build(options: MixtureOptions, schema: NumericSchema, gaussians: int | None = None) -> nn.Module:
        return build(options, len(schema.columns), gaussians)

    @classmethod
    def _rebuild(cls, config: MixtureConfig, schema: NumericSchema) -> nn.Module:
        models = [cls._build(config.parameters, schema, member.gaussians) for member in config.members]
        return models[0] if len(models) == 1 else AveragedDensity(models)

    @staticmethod
    def _finished(model: nn.Module) -> nn.Module:
        return model.double().eval()


def _cell(model: Any, rows: Tensor) -> Tensor:
    return model().assign(rows)
