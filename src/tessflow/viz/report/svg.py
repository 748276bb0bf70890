"""Inline SVG: elements, axes and ticks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from tessflow.tables import NumericColumn
from tessflow.viz.report.rows import value_of

__all__ = ["Scale", "element", "figure", "shorten", "text", "ticks", "time_ticks"]


def element(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element, with its children and the values of its attributes escaped.

    Args:
        name: Its name.
        children: Elements or text.
        attributes: Names, with ``_`` for ``-`` and a last one ignored, and values.

    Example:
        >>> element("text", "<a>", x=1 / 3, class_="mute")
        Markup('<text x="0.33" class="mute">&lt;a&gt;</text>')
    """
    pairs = Markup("")
    for key, value in attributes.items():
        words = f"{value:.2f}" if isinstance(value, float) else value
        pairs += Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), words)
    return Markup("<{0}{1}>{2}</{0}>").format(name, pairs, Markup("").join(children))  # type: ignore[arg-type]


def figure(width: int, height: float, label: str, *children: Markup) -> Markup:
    """Return a picture that is as wide as there is room, and read out as ``label``."""
    box = f"0 0 {width} {height:g}"
    limit = f"max-width:{1.3 * width:g}px"
    return element("svg", element("title", label), *children, viewBox=box, role="img", style=limit)


def text(x: float, y: float, words: str, anchor: str = "start", **attributes: object) -> Markup:
    """Return words at a place: their ``start``, ``middle`` or ``end`` is there."""
    return element("text", words, x=float(x), y=float(y), text_anchor=anchor, **attributes)


def shorten(words: str, length: int) -> str:
    """Leave out the middle of words that are too long: names that begin alike often end differently.

    Example:
        >>> shorten("evergreen oak 12", 10)
        'evergr… 12'
    """
    if len(words) <= length:
        return words
    tail = length // 3
    return f"{words[: length - 1 - tail]}…{words[len(words) - tail :]}"


@dataclass(frozen=True)
class Scale:
    """A linear map from numbers, ``low`` to ``high``, to pixels, ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a number."""
        return self.start + (self.end - self.start) * (value - self.low) / ((self.high - self.low) or 1.0)


def ticks(low: float, high: float, count: int = 4, *, whole: bool = False) -> list[tuple[float, str]]:
    """Return round numbers in a range, perhaps whole ones only, and the words for them.

    Example:
        >>> ticks(0.0, 110.0)
        [(0.0, '0'), (30.0, '30'), (60.0, '60'), (90.0, '90')]
    """
    found = MaxNLocator(count, integer=whole).tick_values(low, high)
    places = [float(place) for place in found if low <= place <= high]
    if len(places) < 2:
        return [(place, _digits(place, 4)) for place in places]
    step = places[1] - places[0]
    places = [place if abs(place) > 1e-9 * step else 0.0 for place in places]
    for digits in range(3, 18):
        words = [_digits(place, digits) for place in places]
        if np.allclose([float(word) for word in words], places, rtol=0, atol=step / 100):
            break
    return list(zip(places, words, strict=True))


def _digits(number: float, digits: int) -> str:
    """Write a number with so many digits, without a power of ten if it is of common size."""
    if number and not 1e-4 <= abs(number) < 1e7:
        return f"{number:.{digits}g}"
    return np.format_float_positional(number, precision=digits, fractional=False, trim="-")


def time_ticks(column: NumericColumn, low: float, high: float) -> tuple[list[tuple[float, str]], str]:
    """Return the ticks of a numeric column, and the unit that their words are in, or "" for its own."""
    if column.kind == "timedelta":
        units = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
        name, unit = next((u for u in units if high - low >= 2 * u[1]), units[-1])
        return [(place * unit, words) for place, words in ticks(low / unit, high / unit)], name
    if column.kind == "datetime":
        by_day = high - low > 2 * 86400
        places = [low + (high - low) * share for share in (1 / 6, 1 / 2, 5 / 6)]
        days, clocks = zip(*(pd.Timestamp(value_of(column, x)).isoformat().split("T") for x in places), strict=True)
        short = days if by_day else [clock[:8] for clock in clocks]
        return list(zip(places, short, strict=True)), "" if by_day else days[1]
    return ticks(low, high, whole=column.whole and column.resolution.is_integer()), ""
