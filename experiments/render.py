"""Tables of Markdown from files of results: of experiments/README.md and docs/results.md."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from experiments.config import Preset, Table, read_table
from experiments.results import RESULTS, read_result

__all__ = ["PAGES", "markdown", "mean_and_spread", "read_results", "render_pages", "render_text"]

ROOT = Path(__file__).parents[1]
PAGES = (Path(__file__).parent / "README.md", ROOT / "docs" / "results.md")

_BLOCK = re.compile(r"<!-- (table|made|corrections)(?: (\S+))?(?: (\S+))? -->\n.*?<!-- end -->", re.DOTALL)


def render_pages(*, write: bool) -> list[str]:
    """Render the pages, or only compare.

    Args:
        write: Whether to write them.

    Returns:
        The names of the pages that were not current.
    """
    stale = []
    for page in PAGES:
        text = page.read_text()
        rendered = render_text(text)
        if rendered != text:
            stale.append(page.name)
            if write:
                page.write_text(rendered)
    return stale


def render_text(text: str, results: Path = RESULTS) -> str:
    """Put each table between its marks, ``<!-- table NAME PRESET -->`` and ``<!-- end -->``.

    The preset is "small" if it is left out; ``made`` says how a table was made.
    """

    def put(match: re.Match[str]) -> str:
        kind, name, preset = match.groups()
        body = _body(kind, name, cast("Preset", preset or "small"), results)
        return f"{match[0].splitlines()[0]}\n{body}<!-- end -->"

    return _BLOCK.sub(put, text)


def _body(kind: str, name: str, preset: Preset, results: Path) -> str:
    if kind == "corrections":
        from experiments.corrections import page

        return page()
    table = read_table(name)
    found = read_results(table, results, preset)
    return str(table.module.table(table, found)) if kind == "table" else made(found)


def read_results(
    table: Table, directory: Path = RESULTS, preset: Preset = "small"
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Read all results of a table with its present configuration, seed after seed, by data set and method."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.rows(preset=preset, seeds=[0]):
        files = row.path(directory).parent.glob(f"{row.method_name}-*.json")
        seeds = sorted(int(seed) for path in files if (seed := path.stem.removeprefix(f"{row.method_name}-")).isdigit())
        results = [read_result(again, directory) for again in table.rows(preset=preset, only=[row.name], seeds=seeds)]
        if runs := [result for result in results if result is not None and row.is_of(result.get("config"))]:
            found[row.data, row.method_name] = runs
    return found


def made(results: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """Say on what hardware, with what code and in how much time results were made."""
    runs = [result for some in results.values() for result in some]
    if not runs:
        return "No results yet.\n"
    hardware, libraries, commits = (
        sorted({text(run) for run in runs})
        for text in (
            lambda run: f"{run['hardware']}, {run['threads']} thread(s) a run",
            lambda run: ", ".join(f"{name} {version}" for name, version in run["libraries"].items()),
            lambda run: re.sub(r"(\w{7})\w*", r"\1", run["commit"] or "unknown", count=1),
        )
    )
    hours = sum(run["seconds"] for run in runs) / 3600
    return (
        f"{len(runs)} runs, {hours:.1f} hours of training in all; {'; '.join(hardware)}; "
        f"{'; '.join(libraries)}; commits {', '.join(commits)}.\n"
    )


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return a Markdown table whose first columns are aligned to the left, the others to the right."""
    lines = [header, ["---"] * left + ["---:"] * (len(header) - left), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def mean_and_spread(values: Sequence[float], digits: int = 3) -> str:
    """Return the mean and, of several values, their standard deviation."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"
