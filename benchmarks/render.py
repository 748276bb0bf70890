"""Write the tables of benchmarks/README.md from the files in benchmarks/results.

python benchmarks/render.py            # write
python benchmarks/render.py --check    # only say whether the page is current
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE, RESULTS = HERE / "README.md", HERE / "results"


def main() -> None:
    """Render, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    text = PAGE.read_text()
    rendered = render(text)
    if arguments.check:
        if rendered != text:
            raise SystemExit(f"{PAGE} is not current: run `python benchmarks/render.py`")
    else:
        PAGE.write_text(rendered)


def render(text: str) -> str:
    """Put each table between its marks ``<!-- name -->`` and ``<!-- end -->``."""
    for name, table in (("cells", cells()), ("likelihoods", likelihoods())):
        before, after = text.split(f"<!-- {name} -->\n")
        text = f"{before}<!-- {name} -->\n{table}{after[after.index('<!-- end -->') :]}"
    return text


def cells() -> str:
    """Tables of the cell transform: one a result file."""
    return "\n".join(_cells(json.loads(path.read_text())) for path in sorted(RESULTS.glob("cell_transform*.json")))


def _cells(result: dict[str, Any]) -> str:
    tasks: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in result["rows"]:
        tasks.setdefault((", ".join(map(str, row["shape"])), row["method"]), {})[row["task"]] = row
    rows = []
    for (shape, method), task in tasks.items():
        if method in ("floor", "paper"):
            continue
        forward, both, inverse = (task[name] for name in ("forward", "forward+backward", "inverse"))
        rows.append(
            (
                shape,
                method.replace("_", "-"),
                *(f"{row['ratio_to_floor']:.1f}" for row in (forward, both, inverse)),
                *(_or_dash(row.get("times_faster_than_paper")) for row in (forward, both)),
                f"{forward['peak_bytes'] / 2**20:.1f} ({forward['floor_peak_bytes'] / 2**20:.1f})",
                f"{forward['floor_seconds'] * 1e3:.2f}",
            )
        )
    header = ("B, N, K, D", "profile", "forward", "forward + backward", "inverse", "paper: forward",
              "paper: forward + backward", "peak MiB (floor)", "floor, ms")  # fmt: skip
    return _table(header, rows, left=2) + _made_by(result)


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
                _or_dash(result["paper_nats"], 2),
                _or_dash(result["floor_nats"], 3),
            )
        )
    header = ("data", "model", "test nats", "kind", "steps / seconds", "independent columns", "paper, Voronoi", "floor")
    commands = "".join(f"    {result['command']}\n" for result in results if "test_nats" in result)
    last = [result for result in results if "test_nats" in result][-1:]
    return _table(header, rows, left=2) + "".join(_made_by(result, commands) for result in last)


def _changed(command: str) -> str:
    """Return the options of a command that its row has no other column for."""
    found = re.search(r"--set (.*?)(?= --|$)", command)
    return found[1].strip() if found else ""


def _made_by(result: dict[str, Any], commands: str | None = None) -> str:
    environment = "".join(f"{name}={value} " for name, value in result.get("environment", {}).items())
    commands = commands or f"    {environment}{result['command']}\n"
    return f"\n{result['hardware']}, {result['threads']} thread(s), torch {result['torch']}:\n\n{commands}\n"


def _or_dash(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    def lines() -> Iterator[str]:
        yield f"| {' | '.join(header)} |"
        yield f"|{'|'.join(['---'] * left + ['---:'] * (len(header) - left))}|"
        for row in rows:
            yield f"| {' | '.join(row)} |"

    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    main()
