"""Rows a second of TabularFlow: training, scoring, sampling, imputing; and what a table of many rows takes.

    python benchmarks/table_speed.py                    # 10 and 50 columns, any and fixed order
    python benchmarks/table_speed.py --against OLD/src  # the same, beside another version's
    python benchmarks/table_speed.py --stream 10000000  # a Parquet file of so many rows, read in batches
    python benchmarks/table_speed.py --classes 10000    # a column of so many strings: logits or anchors

Half of the columns are numbers, half have ten classes; all depend on a hidden one. The result file holds medians:
of CPU time with one thread, of the time that passes with more.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import torch
from provenance import provenance

from tessflow import TabularFlow
from tessflow.cli.score import score_table
from tessflow.tables import TableSource

RESULTS = Path(__file__).parent / "results"
BATCH = 256
# What is asked of rows that are drawn: five numbers between near bounds.
RANGES = {f"x{n}": (-0.25, 0.25) for n in (1, 3, 5, 7, 9)}
# Rows of a large table that are scored: the time is in proportion.
SCORED = 500_000


def main() -> None:
    """Measure, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--rows", type=int, default=4096, help="rows to score, sample and impute")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--stream", type=int, metavar="ROWS", help="instead, stream a table of so many rows, 10 columns"
    )
    parser.add_argument("--classes", type=int, metavar="K", help="instead, a column of K strings beside another")
    parser.add_argument("--stream-steps", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--matmul", default="highest", help="torch.set_float32_matmul_precision: highest, high, medium")
    parser.add_argument("--against", metavar="SRC", type=Path, help="the sources of another version, measured as well")
    parser.add_argument("--print", action="store_true", help="print the measures only: no result file")
    parser.add_argument("--name", help="of the result file; by default table_speed or table_stream")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision(arguments.matmul)
    result: dict[str, Any] = {**provenance(), "threads": arguments.threads, "batch_size": BATCH}
    if arguments.stream:
        result |= stream(arguments.stream, arguments.stream_steps)
    elif arguments.classes:
        result["classes"] = classes(arguments.classes, arguments.steps)
    else:
        result["rows"], result["matmul"] = arguments.rows, arguments.matmul
        if arguments.against is not None:
            result["before"] = of_version(arguments.against)
        result["speed"] = [
            speed(columns, order, arguments.rows, arguments.steps, arguments.repeats)
            for columns in arguments.columns
            for order in ("any", "table")
        ]
        if arguments.print:
            print(json.dumps(result["speed"]))
            return
    name = arguments.name or (
        "table_stream" if arguments.stream else "table_classes" if arguments.classes else "table_speed"
    )
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def of_version(sources: Path) -> list[dict[str, Any]]:
    """Measure another version of the package by this script, with the same arguments."""
    if not (sources / "tessflow").is_dir():
        raise SystemExit(f"--against: {sources} holds no package tessflow: give the src folder of another version.")
    started = [sys.executable, __file__, *sys.argv[1:], "--print"]
    place = started.index("--against")
    run = subprocess.run(
        [*started[:place], *started[place + 2 :]],
        env={**os.environ, "PYTHONPATH": str(sources.resolve())},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(run.stdout)


def speed(columns: int, order: str, rows: int, steps: int, repeats: int) -> dict[str, Any]:
    """Measure one table and one order."""
    table = draw(np.random.default_rng(0), max(rows, 2000), columns)
    flow = TabularFlow(order=order, max_steps=steps, random_state=0)  # type: ignore[arg-type]
    fits = [flow.fit(table).result_ for _ in range(repeats)]
    training = statistics.median(fit.seconds for fit in fits if fit is not None)
    table = table[:rows]
    holes = table.mask(np.random.default_rng(1).random(table.shape) < 0.2)
    measured: dict[str, Any] = {
        "columns": columns,
        "order": order,
        "parameters": sum(parameter.numel() for parameter in flow.model_.parameters()),
        "fit_rows_per_second": round(steps * BATCH / training),
        "score_rows_per_second": round(rows / median(lambda: flow.score_samples(table), repeats)),
        "sample_rows_per_second": round(rows / median(lambda: flow.sample(rows), repeats)),
    }
    if order == "any":
        one = median(lambda: flow.score_samples(table, orders=1), repeats)
        measured["score_one_order_rows_per_second"] = round(rows / one)
        measured["impute_rows_per_second"] = round(rows / median(lambda: flow.impute(holes), repeats))
        measured["ranges_seconds"] = median(lambda: flow.sample(50, given=RANGES), 1)
    return measured


def classes(count: int, steps: int) -> list[dict[str, Any]]:
    """Fit a column of many strings, of Zipf's frequencies, beside one that follows from it: logits against anchors."""
    rng = np.random.default_rng(0)
    chances = 1 / np.arange(1, count + 1)
    value = np.concatenate([np.arange(count), rng.choice(count, 4 * count, p=chances / chances.sum())])
    table = pd.DataFrame({"word": [f"w{v}" for v in value], "group": value % 7})
    train, test = table[: len(table) - count], table[len(table) - count :]
    measured = []
    # One class more is for what was not seen; most strings are in a training row.
    for method, most in (("logits", count + 1), ("anchors", count // 2)):
        flow = TabularFlow(max_steps=steps, max_categories=most, patience=None, random_state=0).fit(train)
        training = flow.result_.seconds if flow.result_ is not None else 0.0
        started = time.perf_counter()
        scores = flow.score_samples(test[:1000])
        measured.append(
            {
                "method": method,
                "count": count,
                "parameters": sum(parameter.numel() for parameter in flow.model_.parameters()),
                "fit_rows_per_second": round(steps * BATCH / training),
                "score_rows_per_second": round(1000 / (time.perf_counter() - started)),
                "steps": steps,
                "test_nats": -float(scores.mean()),
                "lower_bound": flow.lower_bound_,
            }
        )
    return measured


def stream(rows: int, steps: int) -> dict[str, Any]:
    """Write a Parquet file, fit it, and score others of its kind, in batches."""
    with tempfile.TemporaryDirectory() as directory:
        path, few = Path(directory) / "rows.parquet", Path(directory) / "few.parquet"
        to_score = min(rows, SCORED)
        write(path, rows, seed=0)
        write(few, to_score, seed=1)
        megabytes = path.stat().st_size / 1e6
        before = peak()
        flow = TabularFlow(max_steps=steps, random_state=0)
        started = time.perf_counter()
        flow.fit(path)
        fitted = time.perf_counter() - started
        training = flow.result_.seconds if flow.result_ is not None else 0.0
        started = time.perf_counter()
        scores = score_table(flow, TableSource(few)).scores
        scoring = time.perf_counter() - started
        return {
            "stream_rows": rows,
            "file_megabytes": round(megabytes),
            "read_and_encode_seconds": round(fitted - training, 1),
            "training_seconds": round(training, 1),
            "steps": steps,
            "scored_rows": to_score,
            "score_rows_per_second": round(to_score / scoring),
            "mean_log_likelihood": float(scores.mean()),
            "peak_memory_megabytes_before": before,
            "peak_memory_megabytes": peak(),
        }


def write(path: Path, rows: int, *, seed: int) -> None:
    """Write a table of 10 columns, a part at a time."""
    rng, writer = np.random.default_rng(seed), None
    for start in range(0, rows, 1 << 18):
        batch = pa.Table.from_pandas(draw(rng, min(1 << 18, rows - start), 10), preserve_index=False)
        writer = writer or pyarrow.parquet.ParquetWriter(path, batch.schema)
        writer.write_table(batch)
    if writer is not None:
        writer.close()


def draw(rng: np.random.Generator, rows: int, columns: int) -> pd.DataFrame:
    """Draw a table of numbers and classes."""
    hidden = rng.normal(size=rows)
    table: dict[str, Any] = {}
    for n in range(columns):
        values = hidden + rng.normal(scale=0.5, size=rows)
        table[f"x{n}"] = values if n % 2 else np.clip(np.floor(2 * values + 5), 0, 9).astype("int8").astype(str)
    return pd.DataFrame(table)


def median(call: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of calls: of CPU time with one thread, of the time that passes with more."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds = []
    for _ in range(repeats):
        started = clock()
        call()
        seconds.append(clock() - started)
    return statistics.median(seconds)


def peak() -> int:
    """Return the most memory that the process has held, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
