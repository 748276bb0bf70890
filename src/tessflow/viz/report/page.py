"""The page: its sections, put together and written."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from sklearn.utils.validation import check_is_fitted

from tessflow.estimators import TabularFlow
from tessflow.files import write_atomically
from tessflow.tables import TableSource, TableWarning
from tessflow.tables.frames import as_frame
from tessflow.viz.report.facts import describe_columns, describe_model
from tessflow.viz.report.figures import draw_history
from tessflow.viz.report.rows import Rows, draw_rows
from tessflow.viz.report.sections import cells_section, comparison_section, likelihood_section, unseen_section
from tessflow.viz.report.surprises import shown_names, surprising_rows

__all__ = ["write_report"]


def write_report(
    model: TabularFlow,
    path: str | os.PathLike[str],
    *,
    table: pd.DataFrame | TableSource | None = None,
    rows: int = 2000,
    seed: int = 0,
) -> Path:
    """Write a report on a fitted model: one HTML page that needs no network and no other file.

    It says what was fitted and how training went; draws what the model draws, and the cells it learned. With a table
    it also compares likelihoods with those of two simple models, drawn rows with real ones, and lists the real rows
    that surprise the model most, and why.

    Args:
        model: A fitted model.
        path: Where the page goes.
        table: Rows with the columns of the training data, best such that the model has not seen; or a
            :class:`~tessflow.tables.TableSource`, which is read in batches.
        rows: How many rows are drawn from the model, and at most looked at in the table: a random choice, if it has
            more.
        seed: Of all draws: the same call writes the same page.

    Returns:
        The path.

    Raises:
        ValueError: If the table has no rows, or does not fit the model's schema; or ``rows`` is below 1.

    Example:
        >>> from tempfile import mkdtemp
        >>> rows = pd.DataFrame({"coat": ["yes", "no"] * 20, "season": ["winter", "summer"] * 20})
        >>> model = TabularFlow(max_steps=10, hidden_features=(16,), random_state=0).fit(rows)
        >>> write_report(model, Path(mkdtemp()) / "report.html", table=rows).name
        'report.html'
    """
    check_is_fitted(model)
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}.")
    context = _context(model, table, rows, seed)
    environment = Environment(
        loader=PackageLoader("tessflow.viz.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["nats"] = _nats
    page = environment.get_template("page.html").render(context)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, page.encode())
    return target


def _nats(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{round(value, 3) + 0.0:.3f}"  # no -0.000


def _context(model: TabularFlow, table: pd.DataFrame | TableSource | None, rows: int, seed: int) -> dict[str, Any]:
    """Return what the template shows."""
    schema, rng = model.schema_, np.random.default_rng(seed)
    context: dict[str, Any] = {
        "names": [str(name) for name in schema.names],
        "shown": [],
        "facts": describe_model(model),
        "columns": describe_columns(schema),
        "history": draw_history(model.history_) if len(model.history_) else None,
        "lower_bound": model.lower_bound_,
        "autoregressive": model.has_conditionals_,
        "any_order": getattr(model.model_, "any_order", False),
        "table_rows": 0,
        "looked_at": 0,
        "likelihood": None,
        "surprising": [],
    }
    real = None
    if table is not None:
        source = table if isinstance(table, TableSource) else as_frame(table)[0]
        context["table_rows"] = count = source.count_rows() if isinstance(source, TableSource) else len(source)
        if not count:
            raise ValueError("the table of the report has no rows: give at least one.")
        places = np.sort(rng.permutation(count)[:rows])
        if isinstance(source, TableSource):
            frame, _ = source.rows_at(places, schema.encode, schema)
        else:
            frame = source.iloc[places]
        context["looked_at"] = rows = len(frame)
        frame = schema.align(frame)
        scores = model.score_samples(frame)  # which warns of values not seen: once is enough
        encoded, unseen = schema.encode(frame), model.find_unseen(frame)
        real = Rows.of(schema, encoded)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TableWarning)
            by_column = model.score_columns(frame) if context["autoregressive"] else None
            context["surprising"] = surprising_rows(model, frame, scores, by_column)
        context["score"] = float(scores.mean())
        context["unseen"] = unseen_section(unseen, frame, scores)
        some = unseen.any(axis=1).to_numpy()
        context["likelihood"] = likelihood_section(schema, encoded, scores, some, by_column, rng)
        context["shown"] = [str(name) for name in shown_names(schema, frame)]
    drawn = draw_rows(model, rows, seed)
    context["drawn_rows"] = rows
    context["comparison"] = comparison_section(schema, drawn, real)
    context["cells"] = cells_section(model, drawn if real is None else real)
    return context
