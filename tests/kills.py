"""Save a model over others, and kill the process at every step of it: the old model is there, or the new one.

    python kills.py NEW FOLDER OLD ...

Each line says of one kill: the layout of the old model, 0 if that is there and 1 if the new one is, and what files are.
"""

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from make_kept_models import ESTIMATORS, read_rows

STEPS = ("open", "replace", "unlink", "fsync", "chmod")


def main() -> None:
    """Print a line a kill."""
    new, folder, *olds = map(Path, sys.argv[1:])
    os.fsync = lambda _: None  # a step like the others, and what a process wrote outlives it without
    for old in olds:
        for place, found, names in kills(old, new, folder / old.parent.name):
            print(place, found, *names)


def kills(old: Path, new: Path, folder: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Save the new model over copies of the old one, killed one step later each time, until it is not killed."""
    estimator = ESTIMATORS[json.loads((new / "config.json").read_text())["estimator"]]
    models = [estimator.load(path) for path in (old, new)]
    rows = read_rows(old, models[0])
    scores = [model.score_samples(rows) for model in models]

    def which(path: Path) -> int:
        found = estimator.load(path).score_samples(rows)
        (place,) = [n for n, score in enumerate(scores) if np.array_equal(score, found)]
        return place

    for last in itertools.count(1):
        path = folder / str(last)
        shutil.copytree(old, path)
        (path / "notes.txt").write_text("mine")
        child = os.fork()
        if child == 0:
            steps = itertools.count(1)
            for name in STEPS:
                setattr(os, name, deadly(getattr(os, name), steps, last))
            models[1].save(path)
            os._exit(0)
        killed = os.waitpid(child, 0)[1] != 0
        found = which(path)
        models[1].save(path)
        assert which(path) == 1
        assert (path / "notes.txt").read_text() == "mine"
        yield old.parent.name, found, [entry.name for entry in path.iterdir()]
        if not killed:
            return


def deadly(call: Callable[..., Any], steps: Iterator[int], last: int) -> Callable[..., Any]:
    """Return a function that kills the process at the last step."""

    def counted(*arguments: Any, **options: Any) -> Any:
        if next(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)

    return counted


if __name__ == "__main__":
    main()
