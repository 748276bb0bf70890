"""A table of experiments as a file declares it: data sets with budgets, and methods."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

__all__ = ["PRESETS", "TABLES", "Check", "Data", "Preset", "Row", "Table", "read_table", "table_names"]

TABLES = Path(__file__).parent / "tables"

Preset = Literal["small", "quarter", "half", "hour", "paper"]
PRESETS: tuple[Preset, ...] = get_args(Preset)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(_Record):
    """A data set of a table: how many seeds, and what all methods may spend on it.

    Args:
        seeds: The number of seeds.
        small: The budget that two cores have time for, as the task's `Budget` takes it.
        quarter: About a quarter of an hour of one core, where a table has it;
        half: about half an hour;
        hour: and about an hour.
        paper: The budget of the paper.
    """

    seeds: int = Field(default=1, ge=1)
    small: Any
    quarter: Any = None
    half: Any = None
    hour: Any = None
    paper: Any


class Check(_Record):
    """The row that continuous integration runs again.

    Args:
        row: Its name, `data/method`.
        tolerance: How far its test value may be from the result in the repository, in nats.
    """

    row: str
    tolerance: float = Field(gt=0)


class Table(_Record):
    """A table of experiments: every method on every data set, with the data set's budget.

    Args:
        name: The file's name.
        title: What it shows.
        task: The module of this package that runs it; it has the models `Method` and `Budget`.
        data: Data sets by name.
        methods: Methods by name, each a `Method` of the task.
        skip: Rows, `data/method`, that are not run.
        check: The row that continuous integration runs again.
    """

    name: str
    title: str
    task: Literal["discrete", "quantized", "planar", "continuous", "sets", "text", "images"]
    data: dict[str, Data]
    methods: dict[str, Any]
    skip: tuple[str, ...] = ()
    check: Check | None = None

    @property
    def module(self) -> ModuleType:
        """The module of the task."""
        return importlib.import_module(f"experiments.{self.task}")

    @model_validator(mode="after")
    def _check_options(self) -> Table:
        for name, data in self.data.items():
            for preset in PRESETS:
                if getattr(data, preset) is None:
                    continue
                _validated(self.module.Budget, getattr(data, preset), f"data: {name}: {preset}")
        for name, method in self.methods.items():
            _validated(self.module.Method, method, f"methods: {name}")
        rows = {f"{data}/{method}" for data in self.data for method in self.methods}
        for row in (*self.skip, *([self.check.row] if self.check else [])):
            if row not in rows:
                raise ValueError(f"there is no row '{row}' of a data set and a method")
        return self

    @field_validator("methods", "data")
    @classmethod
    def _check_names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not name.replace("-", "").isalnum():
                raise ValueError(f"the name '{name}' may have letters, digits and hyphens only")
        return value

    def rows(
        self, *, preset: Preset = "small", only: Sequence[str] = (), seeds: Sequence[int] | None = None
    ) -> list[Row]:
        """List the runs.

        Args:
            preset: Which budget.
            only: Names `data/method`, `data/` or `/method`; empty for all.
            seeds: Seeds; `None` for those that the table names.

        Raises:
            ValueError: A name of `only` fits no row.
        """
        budgeted = [name for name, data in self.data.items() if getattr(data, preset) is not None]
        pairs = [(data, method) for data in budgeted for method in self.methods if f"{data}/{method}" not in self.skip]
        for wanted in only:
            if not any(_fits(pair, wanted) for pair in pairs):
                names = ", ".join(map("/".join, pairs))
                raise ValueError(f"{self.name} has no row '{wanted}': choose among {names}")
        return [
            Row(self, data, method, preset, seed)
            for data, method in pairs
            if not only or any(_fits((data, method), wanted) for wanted in only)
            for seed in (range(self.data[data].seeds) if seeds is None else dict.fromkeys(seeds))
        ]


def _fits(pair: tuple[str, str], wanted: str) -> bool:
    data, method = pair
    return wanted in (f"{data}/{method}", f"{data}/", data, f"/{method}")


@dataclass(frozen=True)
class Row:
    """One run: a method on a data set with a seed.

    Args:
        table: Its table.
        data: Name of the data set.
        method_name: Name of the method.
        preset: Which budget.
        seed: Seed of all that is random in it.
    """

    table: Table
    data: str
    method_name: str
    preset: Preset
    seed: int

    @property
    def name(self) -> str:
        """`data/method`."""
        return f"{self.data}/{self.method_name}"

    @property
    def method(self) -> Any:
        """The `Method` of the task."""
        return self.table.module.Method.model_validate(self.table.methods[self.method_name])

    @property
    def budget(self) -> Any:
        """The `Budget` of the task."""
        return self.table.module.Budget.model_validate(getattr(self.table.data[self.data], self.preset))

    @property
    def config(self) -> dict[str, Any]:
        """All that the result depends on but the code, JSON-able."""
        return {
            "preset": self.preset,
            "method": self.method.model_dump(mode="json"),
            "budget": self.budget.model_dump(mode="json"),
        }

    def is_of(self, config: Any) -> bool:
        """Say whether a configuration, as `config` gives it, is this row's; what it lacks is at its default."""
        module = self.table.module
        try:
            method = module.Method.model_validate(config["method"])
            budget = module.Budget.model_validate(config["budget"])
        except (ValidationError, KeyError, TypeError):
            return False
        return (config.get("preset"), method, budget) == (self.preset, self.method, self.budget)

    def path(self, directory: Path, suffix: str = "") -> Path:
        """Return where a file of this row is, under the directory of its kind."""
        part = self.table.name if self.preset == "small" else f"{self.table.name}-{self.preset}"
        return directory / part / self.data / f"{self.method_name}-{self.seed}{suffix}"


def table_names() -> list[str]:
    """Return the names of all tables."""
    return sorted(path.stem for path in TABLES.glob("*.yaml"))


def read_table(name: str) -> Table:
    """Read a table.

    Raises:
        ValueError: There is no such table, or its file is wrong; the message says where.
    """
    if name not in table_names():
        raise ValueError(f"there is no table '{name}': choose one of {', '.join(table_names())}")
    path = TABLES / f"{name}.yaml"
    try:
        contents = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(contents, dict):
        raise ValueError(f"{path.name} must be a mapping with title, task, data and methods")
    return _validated(Table, {"name": name, **contents}, path.name)


def _validated(model: Any, value: Any, where: str) -> Any:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ": ".join(map(str, (where, *first["loc"])))
        raise ValueError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from error
