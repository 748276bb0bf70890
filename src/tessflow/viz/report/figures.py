"""The figures of the report, drawn as inline SVG: their colours are those of the page, light or dark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from tessflow.tables import NumericColumn
from tessflow.viz.report.compare import Marginal
from tessflow.viz.report.svg import Scale, element, figure, shorten, text, ticks, time_ticks

__all__ = ["draw_bars", "draw_heat_map", "draw_history", "draw_histogram"]

_WIDTH = 360
# Most bars; classes beyond are "other".
_BARS = 15


def draw_history(history: pd.DataFrame) -> Markup:
    """Draw training and validation loss, in nats a row, against steps."""
    steps = history["step"].to_numpy(np.float64)
    losses = {"train": -history["training"].to_numpy(np.float64), "held": -history["validation"].to_numpy(np.float64)}
    finite = np.concatenate([loss[np.isfinite(loss)] for loss in losses.values()])
    # The first evaluations may be far above all others.
    low, high = float(finite.min()), float(min(finite.max(), 2 * np.quantile(finite, 0.9) - finite.min()))
    high = high if high > low else low + 1.0
    margin = 0.05 * (high - low)
    height = 220
    x = Scale(min(0.0, steps.min()), steps.max(), 52, _WIDTH - 12)
    y = Scale(low - margin, high + margin, height - 36, 8)
    axes = _axes(x, y, ticks(x.low, x.high, whole=True), ticks(y.low, y.high))
    parts = [axes, text(_WIDTH / 2, height - 4, "step", "middle")]
    for name, loss in losses.items():
        dots = [(float(x(a)), float(max(y(b), y.end))) for a, b in zip(steps, loss, strict=True) if np.isfinite(b)]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in dots)
        parts.append(element("polyline", points=points, class_=f"line {name}"))
        if len(dots) < 30:
            parts += [element("circle", cx=a, cy=b, r=2.5, class_=name) for a, b in dots]
    return figure(_WIDTH, height, "Negative log-likelihood of training and held-out rows over training steps", *parts)


def draw_bars(marginal: Marginal, title: str) -> Markup:
    """Draw the shares of classes: the most frequent, in their order if they have one, and all others together."""
    order = np.argsort(-marginal.classes.first, kind="stable")
    shown, others = order[:_BARS], order[_BARS:]
    if len(others) == 1:
        shown, others = order, order[:0]
    if marginal.ordered:
        shown = np.sort(shown)
    labels = [marginal.labels[k] for k in shown] + [f"other ({len(others)})"] * bool(len(others))
    series = {
        name: [*shares[shown], *([shares[others].sum()] if len(others) else [])]
        for name, shares in (("real", marginal.classes.real), ("drawn", marginal.classes.drawn))
        if shares is not None
    }
    left, tall, bar = 112, 26 if len(series) > 1 else 18, 9
    x = Scale(0.0, max(max(values[: len(shown)]) for values in series.values()) or 1.0, left, _WIDTH - 50)
    parts = []
    for i, label in enumerate(labels):
        top = 4 + i * tall
        words = shorten(label, 15)
        parts.append(element("g", element("title", label), text(left - 6, top + tall / 2, words, "end")))
        for s, (name, values) in enumerate(series.items()):
            y, end = float(top + s * bar), float(x(values[i]) if i < len(shown) else x.start)  # "other" has no bar
            parts.append(element("rect", x=float(left), y=y, width=end - left, height=float(bar - 1), class_=name))
            parts.append(text(end + 4, y + bar - 1.5, f"{values[i]:.1%}", class_="small"))
    return figure(_WIDTH, 8 + len(labels) * tall, title, *parts)


def draw_histogram(marginal: Marginal, column: NumericColumn, title: str) -> Markup:
    """Draw the shares of rows in the bins of their numbers: real rows filled, drawn rows a line; others are marked."""
    edges, bins, marked = marginal.edges, marginal.bins, marginal.places
    assert edges is not None
    assert bins is not None
    assert marked is not None
    height = 170
    highest = max(float(shares.max()) for shares in (bins.drawn, bins.real) if shares is not None) or 1.0
    x, y = Scale(edges[0], edges[-1], 44, _WIDTH - 12), Scale(0.0, 1.08 * highest, height - 34, 8)
    places, unit = time_ticks(column, edges[0], edges[-1])
    percents = [(place, f"{100 * place:.3g}%") for place, _ in ticks(0.0, y.high, 3)]
    parts = [_axes(x, y, places, percents)]
    if unit:
        parts.append(text(_WIDTH / 2, height - 3, unit, "middle"))
    if bins.real is not None:
        parts.append(element("polygon", points=_steps(edges, bins.real, x, y), class_="real"))
    parts.append(element("polyline", points=_steps(edges, bins.drawn, x, y), class_="line drawn"))
    for label, place in zip(marginal.labels, marked, strict=True):
        if np.isfinite(place):
            parts.append(_mark(x, y, float(place), label))
    return figure(_WIDTH, height, title, *parts)


def draw_heat_map(values: NDArray[np.float64], names: Sequence[str], title: str, *, limit: float = 1.0) -> Markup:
    """Draw a square table of numbers from ``-limit`` to ``limit``; those of neither sign leave a gap."""
    count = len(names)
    size = min(10.0, max(6.5, (_WIDTH - 92) / count - 1))
    labels = [shorten(name, 13) for name in names]
    room = 0.64 * size * max(map(len, labels)) + 8
    side = min(44.0, (_WIDTH - room - 4) / count)
    font = f"font-size:{size:.1f}px"
    parts = []
    for i, label in enumerate(labels):
        middle = room + (i + 0.5) * side + 0.35 * size
        parts.append(text(room - 4, middle, label, "end", style=font))
        parts.append(
            element("text", label, transform=f"translate({middle:.1f} {room - 4:.1f}) rotate(-90)", style=font)
        )
    square = {"width": side - 0.5, "height": side - 0.5}
    for i, j in np.ndindex(count, count):
        value, place = values[i, j], {"x": room + j * side, "y": room + i * side}
        if np.isnan(value):
            continue
        kind = "less" if value < 0 else "more"
        hover = element("title", f"{names[i]}, {names[j]}: {value:.2f}")
        shade = f"{0.75 * min(1.0, abs(value) / limit):.3f}"  # under words that can still be read
        parts.append(element("rect", hover, class_=f"heat {kind}", fill_opacity=shade, **place, **square))
        if side >= 26:
            words = f"{round(value, 2) + 0.0:.2f}"  # no -0.00
            parts.append(text(place["x"] + side / 2, place["y"] + side / 2 + 3, words, "middle", class_="small"))
    return figure(_WIDTH, room + count * side + 4, title, *parts)


def _axes(x: Scale, y: Scale, below: list[tuple[float, str]], beside: list[tuple[float, str]]) -> Markup:
    parts = [element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis")]
    for place, words in beside:
        level = float(y(place))
        parts.append(element("line", x1=x.start, x2=x.end, y1=level, y2=level, class_="grid"))
        parts.append(text(x.start - 5, level + 4, words, "end"))
    for place, words in below:
        at = float(x(place))
        # Words at the end of the axis would be cut off.
        anchor = "end" if at > x.end - 14 else "middle"
        parts.append(element("line", x1=at, x2=at, y1=y.start, y2=y.start + 4, class_="axis"))
        parts.append(text(min(at, x.end + 8) if anchor == "middle" else x.end + 8, y.start + 16, words, anchor))
    return element("g", *parts)


def _mark(x: Scale, y: Scale, place: float, label: str) -> Markup:
    """Mark a number; an arrow points to one beyond the axis."""
    at = float(min(max(x(place), x.start), x.end))
    words = shorten(label, 16)
    if place < x.low or place > x.high:
        words = f"← {words}" if place < x.low else f"{words} →"
    near_end = at > (x.start + x.end) / 2
    line = element("line", x1=at, x2=at, y1=y.start, y2=y.end, class_="mark")
    return element("g", line, text(at - 4 if near_end else at + 4, y.end + 6, words, "end" if near_end else "start"))


def _steps(edges: NDArray[np.float64], shares: NDArray[np.float64], x: Scale, y: Scale) -> str:
    across = np.repeat(edges, 2)
    up = np.concatenate([[0.0], np.repeat(shares, 2), [0.0]])
    return " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(across, up, strict=True))
