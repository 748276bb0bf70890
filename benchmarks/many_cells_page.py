"""The tables of `many_cells.py`."""

from __future__ import annotations

import json

from page import RESULTS, made_by, table

__all__ = ["many_cells"]


def many_cells() -> str:
    """Return a table of searches, a row a number of cells and dimensions, and one of fits."""
    path = RESULTS / "many_cells.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    searches = [
        (
            f"{row['features']}",
            f"{row['cells']:,}",
            row["chosen"],
            *(_ms(row[way][f"{what}_seconds"]) for what in ("locate", "rays") for way in ("scan", "tree")),
            _ms(row["tree"]["first_seconds"]),
            f"{row['other_walls']}",
        )
        for row in result["searches"]
    ]
    fits = [
        (
            f"{row['cells']:,}",
            f"{row['rows']:,}",
            f"{row['placing_seconds']:.1f} s",
            _ms(row["training_seconds"] / row["steps"]),
            f"{row['scored_a_second']:,.0f}",
            f"{row['drawn_a_second']:,.0f}",
            f"{row['peak_bytes'] / 2**20:,.0f} MiB",
        )
        for row in result["fits"]
    ]
    header = (
        "D",
        "K",
        "chosen",
        "locate: scan",
        "locate: tree",
        "rays: scan",
        "rays: tree",
        "tree built",
        "other walls",
    )
    columns = ("K", "rows", "cells placed", "ms a step", "rows scored a second", "rows drawn a second", "memory")
    return table(header, searches, left=3) + "\n" + table(columns, fits, left=0) + made_by(result)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.1f}"
