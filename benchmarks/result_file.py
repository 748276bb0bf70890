"""A result file that grows row by row: what was measured stays, and a script called again goes on with the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["ResultFile"]

Row = dict[str, Any]


class ResultFile:
    """A JSON file of rows, each with the number of the run that made it; several runs may write to it at a time.

    Args:
        path: The file, made when the first row is added.
        about: What it says before all rows.
        made_by: The run, as :func:`provenance.provenance` tells it.
        measures: Names of its lists of rows.
    """

    def __init__(self, path: Path, about: Row, made_by: Row, measures: Sequence[str]) -> None:
        self.path, self.about, self.made_by, self.measures = path, about, made_by, measures

    def read(self) -> Row:
        """Return what the file holds, or how it begins."""
        if self.path.exists():
            return json.loads(self.path.read_text())
        return {**self.about, "runs": [], **{measure: [] for measure in self.measures}}

    def has(self, measure: str, **key: Any) -> bool:
        """Say whether there is a row with these values."""
        return any(all(row[name] == value for name, value in key.items()) for row in self.read()[measure])

    def add(self, measure: str, row: Row) -> Row:
        """Add a row, with the number of its run, and write the file."""
        content = self.read()
        if self.made_by not in content["runs"]:
            content["runs"].append(self.made_by)
        row = {**row, "run": content["runs"].index(self.made_by)}
        content[measure].append(row)
        written = self.path.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps(content, indent=1) + "\n")
        written.replace(self.path)
        return row
