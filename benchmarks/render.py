"""Write the tables of benchmarks/README.md and of some pages of docs from the files in benchmarks/results.

python benchmarks/render.py            # write
python benchmarks/render.py --check    # only say whether the page is current
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from pathlib import Path
from typing import Any

import docs_tables
from blocks_page import blocks
from gpu_page import gpu
from many_cells_page import many_cells
from mixed_page import mixed_tables
from page import RESULTS, cells_table, made_by, mean_and_spread, or_dash, table

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
DOCS = HERE.parent / "docs"
# The models of ``held_out.py``.
MODELS = ("flow", "independent")


def main() -> None:
    """Render, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    pages = {
        PAGE: render,
        DOCS / "gallery.md": render_gallery,
        DOCS / "when-to-use.md": render_comparison,
        DOCS / "trust.md": lambda text: _put(text, "trust", docs_tables.trust()),
        DOCS / "fit-a-table.md": lambda text: _put(text, "orders", docs_tables.orders()),
    }
    for page, renderer in pages.items():
        text = page.read_text()
        rendered = renderer(text)
        if not arguments.check:
            page.write_text(rendered)
        elif rendered != text:
            raise SystemExit(f"{page} is not current: run `python benchmarks/render.py`")


def render(text: str) -> str:
    """Put each table between its marks ``<!-- name -->`` and ``<!-- end -->``."""
    for name, part in (
        ("cells", cells()),
        ("likelihoods", likelihoods()),
        ("mixture", mixture()),
        ("profiles", profiles()),
        ("density", density()),
        ("held_out", held_out_tables()),
        ("mixed_tables", mixed_tables()),
        ("training_length", training_length()),
        ("blocks", blocks()),
        ("speed", speed()),
        ("many_cells", many_cells()),
        ("steps", steps()),
        ("training_steps", training_steps()),
        ("gpu", gpu()),
    ):
        text = _put(text, name, part)
    return text


def render_gallery(text: str) -> str:
    """Put the tables of the gallery between their marks, if there are results."""
    if not list((RESULTS / "gallery").glob("*.json")):
        return text
    from tessflow.viz.gallery import read_results, tables

    return _put(text, "gallery", tables(read_results(RESULTS / "gallery")))


def render_comparison(text: str) -> str:
    """Put the tables that compare methods between their marks."""
    for part in (docs_tables.likelihoods, docs_tables.fit_seconds, docs_tables.imputations):
        text = _put(text, part.__name__, part())
    return text


def _put(text: str, name: str, table: str) -> str:
    before, after = text.split(f"<!-- {name} -->\n")
    return f"{before}<!-- {name} -->\n{table}{after[after.index('<!-- end -->') :]}"


def cells() -> str:
    """Tables of the cell transform: one a result file."""
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("cell_transform*.json"))]
    return "\n".join(cells_table(result) + made_by(result) for result in results)


def likelihoods() -> str:
    """One table of all runs of ``table_likelihood.py``."""
    rows = []
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    for result in results:
        if "test_nats" not in result:
            continue
        bound = result["importance_samples"]
        rows.append(
            (
                result["data"],
                f"{result['options']['backbone']}, {_changed(result['command'])}".removesuffix(", "),
                f"{result['test_nats']:.3f} ± {result['test_standard_error']:.3f}",
                f"bound, {bound} samples" if bound else "exact",
                f"{result['steps']:,} / {result['training_seconds']:,.0f}",
                f"{result['independent_columns_nats']:.2f}",
                or_dash(result["paper_nats"], 2),
                or_dash(result["floor_nats"], 3),
            )
        )
    header = ("data", "model", "test nats", "kind", "steps / seconds", "independent columns", "paper, Voronoi", "floor")
    commands = "".join(f"    {result['command']}\n" for result in results if "test_nats" in result)
    last = [result for result in results if "test_nats" in result][-1:]
    return table(header, rows, left=2) + "".join(made_by(result, commands) for result in last)


def density() -> str:
    """Tables of the runs of ``density_estimators.py``: one a result file."""
    paths = sorted(RESULTS.glob("density_estimators*.json"))
    return "\n".join(_density(json.loads(path.read_text())) for path in paths)


def _density(result: dict[str, Any]) -> str:
    """Render a row a set: the mean over its seeds."""
    sets: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for run in result["runs"]:
        sets.setdefault(run["data"], {}).setdefault(run["method"], []).append(run)
    methods = list(next(iter(sets.values())))
    rows = []
    for name, runs in sets.items():
        one = runs[methods[0]]
        truths = [run["truth_nats"] for run in one]
        rows.append(
            (
                name.replace("_", " "),
                f"{one[0]['rows'][0]:,} × {one[0]['columns']}",
                *(mean_and_spread([run["test_nats"] for run in runs[method]]) for method in methods),
                "-" if None in truths else mean_and_spread(truths),
                " / ".join(f"{statistics.mean(run['seconds'] for run in runs[method]):.0f}" for method in methods),
            )
        )
    header = ("data", "training rows × columns", *methods, "truth", "seconds of search")
    return table(header, rows, left=1) + made_by(result)


def mixture() -> str:
    """Tables of ``mixture_likelihood.py``: one a result file."""
    paths = sorted(RESULTS.glob("mixture_likelihood*.json"))
    return "\n".join(_mixture(json.loads(path.read_text())) for path in paths)


def _mixture(result: dict[str, Any]) -> str:
    lines: dict[tuple[str, ...], list[str]] = {}
    for row in result["rows"]:
        key = (str(row["features"]), row["univariate"], row["task"].replace("+", " + "), row["method"])
        missing = row["seconds"] is None
        text = "-" if missing else f"{row['seconds'] * 1e3:.1f} ({or_dash(row['ratio_to_one'], 2)})"
        lines.setdefault(key, []).append(text)
    header = ("D", "component", "task", "mixture", *(f"K = {cells}" for cells in result["config"]["cells"]))
    return table(header, [(*key, *line) for key, line in lines.items()], left=4) + made_by(result)


def profiles() -> str:
    """One table of the run of ``mixture_profiles.py``: a row a model, a column a set."""
    path = RESULTS / "mixture_profiles.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    models: dict[str, list[str]] = {}
    for row in result["rows"]:
        lost, worst = (or_dash(row[name], digits) for name, digits in (("nats_above_truth", 3), ("worst_row_nats", 0)))
        models.setdefault(row["model"], []).append(f"{lost} ({worst})")
    sets = list(dict.fromkeys(row["set"].replace("_", " ") for row in result["rows"]))
    return table(("model", *sets), [(model, *cells) for model, cells in models.items()], left=1) + made_by(result)


def steps() -> str:
    """One table of the run of ``step_time.py``: a row a model."""
    path = RESULTS / "step_time.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    first: dict[str, float] = {}
    rows = []
    for row in result["rows"]:
        floor = first.setdefault(row["group"], row["milliseconds"])
        rows.append((row["group"], row["model"], f"{row['milliseconds']:.1f}", f"{row['milliseconds'] / floor:.2f}"))
    return table(("models", "", "ms a step", "ratio"), rows, left=2) + made_by(result)


def training_steps() -> str:
    """One table of the run of ``training_step.py``: a row a model, beside the version before."""
    path = RESULTS / "training_step.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    rows = [
        (
            row["case"],
            f"{row['now']:.1f}",
            or_dash(row.get("before")),
            or_dash(row.get("before", 0) / row["now"] or None, 2),
        )
        for row in result["rows"]
    ]
    return table(("model", "ms a step", "before", "times as fast"), rows, left=1) + made_by(result)


def _changed(command: str) -> str:
    """Return the options of a command that its row has no other column for."""
    found = re.search(r"--set (.*?)(?= --|$)", command)
    return found[1].strip() if found else ""


def held_out_tables() -> str:
    """Tables of the run of ``held_out.py``, if there is one."""
    path = RESULTS / "held_out.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    return held_out(result) + made_by(result)


def held_out(result: dict[str, Any]) -> str:
    """Render a row a table, means over its splits, and say what was scored and which measures differ."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for run in result["runs"]:
        tables.setdefault(run["table"], []).append(run)
    rows, differing = [], []
    for name, runs in tables.items():
        scored = [run for run in runs if run["scored"]]
        cells = ["-"] * 8
        if scored:
            gains = [_mean_of(scored, "gain", "seen"), _mean_of(scored, "gain", "all")]
            ways = [_mean_of(scored, model, way) for way in ("seen_nats", "test_nats") for model in MODELS]
            cells = [
                f"{sum(scored[0]['rows']):,} × {scored[0]['columns']}",
                f"{_mean_of(scored, 'flow', 'unseen_share')[0]:.1%}",
                *(or_dash(value, 2) for value, _ in ways),
                *(f"{or_dash(gain, 2)} ± {or_dash(error, 2)}" for gain, error in gains),
            ]
            differing += [(name, column, texts) for column, texts in _measures(scored) if len(texts) > 1]
        rows.append((name.replace("_", " "), f"{len(scored)} of {len(runs)}", *cells))
    header = ("data", "scored", "rows × columns", "rows with something unseen", "flow, nothing unseen",
              "independent, nothing unseen", "flow, all rows", "independent, all rows", "gain, nothing unseen",
              "gain, all rows")  # fmt: skip
    text = table(header, rows, left=1)
    scored_splits = sum(run["scored"] for run in result["runs"])
    text += f"\n{scored_splits} of {len(result['runs'])} splits are scored, each with a finite number for each row.\n"
    if folds := result["cross_validation"]:
        scores = [(name, *(f"{score:.2f}" for score in values)) for name, values in folds.items()]
        titles = ("`cross_val_score(TabularFlow(), penguins, cv=5)`", *(f"fold {fold + 1}" for fold in range(5)))
        text += "\n" + table(titles, scores, left=1)
    if differing:
        lines = [(name.replace("_", " "), column, "; ".join(texts)) for name, column, texts in differing]
        text += "\n" + table(("data", "column with another measure in some splits", "measures"), lines, left=3)
    return text


def _mean_of(runs: list[dict[str, Any]], *keys: str) -> tuple[float | None, float | None]:
    """Return the means over runs of a value, or of a value and its standard error."""
    values = [run[keys[0]][keys[1]] for run in runs]
    pairs = [value if isinstance(value, list) else [value, None] for value in values]
    firsts, seconds = ([pair[place] for pair in pairs if pair[place] is not None] for place in (0, 1))
    return statistics.mean(firsts) if firsts else None, statistics.mean(seconds) if seconds else None


def _measures(runs: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return the measures that each column has in some runs."""
    return [(name, sorted({run["measures"][name] for run in runs})) for name in runs[0]["measures"]]


def training_length() -> str:
    """One table of the run of ``training_length.py``: a row a table, means over its seeds."""
    path = RESULTS / "training_length.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    fits: dict[str, dict[int | None, list[dict[str, Any]]]] = {}
    for row in result["fits"]:
        fits.setdefault(row["data"], {}).setdefault(row["max_steps"], []).append(row)
    rows = []
    for name, lengths in fits.items():
        seconds = {steps: statistics.mean(row["fit_seconds"] for row in runs) for steps, runs in lengths.items()}
        nats = {steps: statistics.mean(row["test_nats"] for row in runs) for steps, runs in lengths.items()}
        fixed = [steps for steps in lengths if steps is not None]
        best = min(fixed, key=lambda steps: nats[steps])
        behind = [
            own["test_nats"] - other["test_nats"] for own, other in zip(lengths[None], lengths[best], strict=False)
        ]
        rows.append(
            (
                name,
                *(mean_and_spread([row["test_nats"] for row in lengths[steps]]) for steps in (None, *fixed)),
                mean_and_spread(behind),
                f"{statistics.mean(row['steps'] for row in lengths[None]):,.0f}",
                f"{seconds[None]:.0f} / {seconds[best]:.0f}",
            )
        )
    titles = ("data", "default", *(f"max_steps={steps}" for steps in fixed), "default behind the best of these",
              "steps of the default", "seconds: default / best")  # fmt: skip
    return table(titles, rows, left=1) + made_by(result["runs"][-1])


def speed() -> str:
    """Tables of the speed of `TabularFlow`, and of what a large file takes."""
    text = []
    for path in sorted(RESULTS.glob("table_speed*.json")):
        result = json.loads(path.read_text())
        names = {
            "fit_rows_per_second": "training",
            "score_rows_per_second": "scoring",
            "score_one_order_rows_per_second": "scoring, orders=1",
            "sample_rows_per_second": "sampling",
            "impute_rows_per_second": "imputing",
        }
        versions = [("before", run) for run in result.get("before", [])] + [("now", run) for run in result["speed"]]
        rows = [
            (
                str(run["columns"]),
                run["order"],
                version,
                f"{run['parameters']:,}",
                *(f"{run[key]:,}" if key in run else "-" for key in names),
                f"{run['ranges_seconds']:.1f} s" if "ranges_seconds" in run else "-",
            )
            for version, run in sorted(versions, key=lambda pair: (pair[1]["columns"], pair[1]["order"]))
        ]
        header = ("columns", "order", "version", "parameters", *names.values(), "five ranges")
        text.append(table(header, rows, left=3) + made_by(result))
    for path in sorted(RESULTS.glob("table_stream*.json")):
        result = json.loads(path.read_text())
        row = (
            f"{result['stream_rows']:,}",
            f"{result['file_megabytes']:,} MB",
            f"{result['read_and_encode_seconds']:,.0f} s",
            f"{result['training_seconds']:,.0f} s, {result['steps']:,} steps",
            f"{result['score_rows_per_second']:,} rows a second",
            f"{result['peak_memory_megabytes_before']:,} / {result['peak_memory_megabytes']:,} MB",
        )
        header = ("rows", "file", "reading twice, encoding", "training", "scoring", "memory before / at most")
        text.append(table(header, [row], left=0) + made_by(result))
    for path in sorted(RESULTS.glob("table_classes*.json")):
        result = json.loads(path.read_text())
        lines = [
            (
                f"{run['count']:,}",
                run["method"],
                f"{run['parameters']:,}",
                f"{run['fit_rows_per_second']:,}",
                f"{run['score_rows_per_second']:,}",
                f"{run['steps']:,}",
                f"{run['test_nats']:.2f}" + (" (a bound)" if run["lower_bound"] else ""),
            )
            for run in result["classes"]
        ]
        columns = ("classes", "method", "parameters", "training", "scoring", "steps", "test nats")
        text.append(table(columns, lines, left=2) + made_by(result))
    return "\n".join(text)


if __name__ == "__main__":
    main()
