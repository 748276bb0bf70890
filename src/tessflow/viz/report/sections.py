"""What the sections with figures and comparisons show."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray
from torch import Tensor

from tessflow.estimators import TabularFlow
from tessflow.geometry import VoronoiTessellation
from tessflow.models import MatchedFlow
from tessflow.tables import NumericColumn, TableSchema
from tessflow.viz.report.baselines import score_independent
from tessflow.viz.report.cells import draw_cells, in_the_plane
from tessflow.viz.report.compare import Marginal, associations, marginal
from tessflow.viz.report.figures import draw_bars, draw_heat_map, draw_histogram
from tessflow.viz.report.rows import Rows, class_labels, show
from tessflow.viz.report.svg import shorten

__all__ = [
    "Card", "Cells", "Comparison", "Likelihood", "Score", "Unseen", "cells_section", "comparison_section",
    "likelihood_section", "unseen_section",
]  # fmt: skip

# Columns that are drawn, and columns whose cells are.
COLUMNS, CELLS = 30, 12
# Fewer rows are not worth halving; columns of which it is said what was not seen, and values of each.
_FEWEST, _NAMED, _SHOWN = 4, 10, 3


@dataclass(frozen=True)
class Score:
    """The log-likelihood of some rows.

    Args:
        name: The model.
        mean: Its mean over all of them, in nats.
        seen: Its mean over those with nothing unseen; None if there is none.
        behind: How far the model is below the fitted one,
        error: and the standard error of that.
    """

    name: str
    mean: float
    seen: float | None
    behind: float | None = None
    error: float | None = None

    @property
    def bits(self) -> float:
        """The mean in bits."""
        return self.mean / math.log(2)


@dataclass(frozen=True)
class Unseen:
    """What was not seen in training.

    Args:
        rows: Rows with something unseen.
        share: Their share.
        rest: Mean log-likelihood of the other rows; None if there is none.
        columns: Columns that have some: in how many rows, and which values.
        more: How many more columns have some.
    """

    rows: int
    share: float
    rest: float | None
    columns: list[tuple[str, int, str]]
    more: int


@dataclass(frozen=True)
class Likelihood:
    """Likelihoods of the same rows by the model and by two simple ones; and by column, if the model says.

    Args:
        train_rows: Rows that the simple ones were fitted to.
        test_rows: Rows that were scored.
        unseen_rows: Those of them with something unseen.
        scores: The likelihoods.
        by_column: Of each column: by the fitted model, and by the two.
    """

    train_rows: int
    test_rows: int
    unseen_rows: int
    scores: list[Score]
    by_column: list[tuple[str, float, float, float]]


@dataclass(frozen=True)
class Card:
    """A figure of one column, and words below it."""

    title: str
    picture: Markup
    notes: list[str]


@dataclass(frozen=True)
class Comparison:
    """What is drawn of the columns, and of their pairs."""

    columns: int
    chosen_by_difference: bool
    marginals: list[Card]
    associations: list[Card]


@dataclass(frozen=True)
class Cells:
    """The cells of some columns of classes, of which there are ``columns``, in ``dimension`` dimensions."""

    columns: int
    dimension: int
    cards: list[Card]


def unseen_section(found: pd.DataFrame, table: pd.DataFrame, scores: NDArray[np.float64]) -> Unseen:
    """Say how much of some rows was not seen in training.

    Args:
        found: Which values were not.
        table: The rows.
        scores: Their log-likelihoods.
    """
    some = found.any(axis=1).to_numpy()
    names = [name for name in found.columns if found[name].any()]
    columns = [(str(name), int(found[name].sum()), _some(table.loc[found[name], name])) for name in names[:_NAMED]]
    return Unseen(
        rows=int(some.sum()),
        share=float(some.mean()),
        rest=_mean(scores[~some]),
        columns=columns,
        more=len(names) - len(columns),
    )


def _some(values: pd.Series) -> str:
    words = list(dict.fromkeys(map(show, values)))
    return ", ".join(shorten(word, 40) for word in words[:_SHOWN]) + ", …" * (len(words) > _SHOWN)


def likelihood_section(
    schema: TableSchema,
    encoded: Tensor,
    scores: NDArray[np.float64],
    unseen: NDArray[np.bool_],
    by_column: pd.DataFrame | None,
    rng: np.random.Generator,
) -> Likelihood | None:
    """Fit the baselines to one half of some rows and score the other half by all; None if there are too few rows."""
    if len(encoded) < _FEWEST:
        return None
    order = rng.permutation(len(encoded))
    half = order[len(order) // 2 :]
    train, test = encoded[order[: len(order) // 2]], encoded[half]
    scores, unseen = scores[half], unseen[half]
    independent, mixtures = (score_independent(schema, train, test, mixtures=mixed) for mixed in (False, True))
    rows = [Score("tessflow", float(scores.mean()), _mean(scores[~unseen]))]
    for name, by_other in (("independent columns", independent), ("Gaussian mixtures", mixtures)):
        other = by_other.sum(1)
        gap = scores - other
        error = float(gap.std(ddof=1)) / math.sqrt(len(gap))
        rows.append(Score(name, float(other.mean()), _mean(other[~unseen]), float(gap.mean()), error))
    columns = []
    if by_column is not None:
        means = by_column.iloc[half].mean().to_numpy()
        columns = [
            (str(name), float(mean), float(a), float(b))
            for name, mean, a, b in zip(schema.names, means, independent.mean(0), mixtures.mean(0), strict=True)
        ]
    return Likelihood(len(train), len(test), int(unseen.sum()), rows, columns)


def _mean(scores: NDArray[np.float64]) -> float | None:
    return float(scores.mean()) if len(scores) else None


def comparison_section(schema: TableSchema, drawn: Rows, real: Rows | None) -> Comparison:
    """Draw what columns hold, and which go together: all, or those in which real and drawn rows differ most."""
    marginals = [marginal(schema, n, drawn, real) for n in range(len(schema.columns))]
    if len(marginals) > COLUMNS and real is not None:
        marginals.sort(key=lambda one: one.by_chance(len(drawn)) - one.distance)
    marginals = marginals[:COLUMNS]
    places = sorted(one.column for one in marginals)
    cards = [_marginal_card(schema, one, len(drawn)) for one in marginals]
    pairs = _association_cards(schema, drawn, real, places) if len(places) > 1 else []
    return Comparison(len(schema.columns), real is not None, cards, pairs)


def _marginal_card(schema: TableSchema, one: Marginal, rows: int) -> Card:
    column = schema.columns[one.column]
    whose = "drawn rows" if one.classes.real is None else "real and drawn rows"
    notes = []
    if one.classes.real is not None:
        notes.append(f"Total variation distance: {one.distance:.3f}, by chance about {one.by_chance(rows):.3f}")
    if one.places is None or not isinstance(column, NumericColumn):
        return Card(str(column.name), draw_bars(one, f"Shares of the values of {column.name} in {whose}"), notes)
    for k, (label, place) in enumerate(zip(one.labels, one.places, strict=True)):
        real = "" if one.classes.real is None else f"{one.classes.real[k]:.1%} of real rows, "
        label = label.capitalize() if np.isnan(place) else label
        notes.append(f"{label}: {real}{one.classes.drawn[k]:.1%} of drawn rows")
    return Card(str(column.name), draw_histogram(one, column, f"Histogram of {column.name} in {whose}"), notes)


def _association_cards(schema: TableSchema, drawn: Rows, real: Rows | None, places: list[int]) -> list[Card]:
    names = [str(schema.names[n]) for n in places]
    of_drawn = associations(schema, drawn, places)
    drawn_card = Card("Drawn rows", draw_heat_map(of_drawn, names, "Associations of columns in drawn rows"), [])
    if real is None:
        return [drawn_card]
    of_real = associations(schema, real, places)
    gap = of_drawn - of_real
    off = ~np.eye(len(names), dtype=bool)
    limit = max(0.2, float(np.nanmax(np.abs(gap[off]), initial=0.0)))
    mean = np.abs(gap[off])[~np.isnan(gap[off])]
    notes = [f"Full colour at {limit:.2f}"]
    if len(mean):
        notes.append(f"Mean size of the difference over pairs: {mean.mean():.3f}")
    np.fill_diagonal(gap, np.nan)
    picture = draw_heat_map(gap, names, "Associations in drawn rows less those in real rows", limit=limit)
    real_card = Card("Real rows", draw_heat_map(of_real, names, "Associations of columns in real rows"), [])
    return [real_card, drawn_card, Card("Drawn less real", picture, notes)]


def cells_section(model: TabularFlow, rows: Rows) -> Cells:
    """Draw the cells of the columns of classes, of those with most classes if they are many."""
    places, columns = _tessellated(model), model.schema_.columns
    several = [n for n in places if not columns[n].numeric and columns[n].unseen > 1]
    chosen = sorted(several, key=lambda n: -columns[n].cardinality)
    cards = []
    for n in chosen[:CELLS]:
        column = columns[n]
        shares = np.bincount(rows.codes[:, n], minlength=column.cardinality) / len(rows)
        tessellation, place = places[n]
        points = in_the_plane(tessellation.variable(place).anchors)
        picture = draw_cells(points, class_labels(column), shares, f"Cells of the classes of {column.name}")
        cards.append(Card(str(column.name), picture, []))
    return Cells(len(chosen), model.dimension_, cards)


def _tessellated(model: TabularFlow) -> dict[int, tuple[VoronoiTessellation, int]]:
    """Return which columns have cells: in which tessellation, and where in it."""
    flow = model.model_
    if isinstance(flow, MatchedFlow):
        parts = flow.conditionals
        cells = parts.dequantizer.tessellation
        return {n: (cells, n) for n in range(len(parts.variables)) if n not in parts.uncelled}
    if flow.dequantizer is None:
        return {}
    return {n: (flow.dequantizer.tessellation, place) for place, n in enumerate(flow.classed)}
