"""Malformed calls of every command, drawn at random, each with the name that its refusal has to hold."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from commands import Commands
from typer.main import get_command
from typer.testing import CliRunner

from tessflow import MixtureFlow
from tessflow.cli import app

ROWS = 40

FITTING = ("--steps", "1", "--hidden-features", "8", "--quiet")

GOOD: dict[str, tuple[tuple[str, ...], ...]] = {
    "schema": (("table.csv", "--out", "new.yaml"),),
    "fit": (
        ("table.csv", "--out", "new", "--schema", "schema.yaml", *FITTING),
        ("numbers.csv", "--out", "new", "--model", "mixture", *FITTING),
    ),
    "info": (("model",), ("mixture",)),
    "score": (("model", "table.csv", "--out", "new.csv"), ("mixture", "numbers.csv", "--out", "new.csv")),
    "sample": (("model", "--out", "new.csv"), ("mixture", "--out", "new.csv")),
    "impute": (("model", "table.csv", "--out", "new.csv"),),
    "check": (("model", "table.csv", "--train", "train.csv", "--rows", "5", "--out", "new.json"),),
    "report": (("model", "--table", "table.csv", "--rows", "5", "--out", "new.html"),),
    "gallery": (("--out", "new", "--sets", "moons", "--seeds", "1", "--jobs", "1", "--steps", "1"),),
    "data list": ((),),
    "data show": (("moons", "--rows", "10", "--out", "new.csv"),),
}
"""Calls of every command that it takes."""

BAD_WORDS = {"weight": "lots", "legs": "four", "born": "yesterday", "chip": "perhaps", "nap": "long"}
"""By column, a word that is none of its values, whatever was seen."""


@dataclass(frozen=True)
class Call:
    """A malformed call.

    Args:
        arguments: What follows ``tessflow``.
        culprits: What the refusal has to hold, each of them.
        fault: What is wrong, in a few words.
    """

    arguments: tuple[str, ...]
    culprits: tuple[str, ...]
    fault: str


def commands() -> dict[str, Any]:
    """Return all commands of the application, by name, read off it."""
    found, groups = {}, [("", get_command(app))]
    for prefix, group in groups:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                groups.append((f"{prefix}{name} ", command))
            else:
                found[prefix + name] = command
    return found


def prepare() -> None:
    """Make, in the working directory, the files and models that the calls name."""
    for name, seed in (("table.csv", 0), ("train.csv", 1)):
        _animals(seed).to_csv(name, index=False)
    Path("schema.yaml").write_text(
        "columns:\n- {name: kind, kind: categorical}\n- {name: weight, kind: number}\n"
        "- {name: legs, kind: number, resolution: 1}\n- {name: born, kind: datetime, resolution: 86400}\n"
        "- {name: chip, kind: boolean}\n- {name: nap, kind: timedelta, resolution: 60}\n"
    )
    rows = np.random.default_rng(0).normal(size=(60, 2))
    numbers = pd.DataFrame(rows, columns=["a", "b"])
    numbers.to_csv("numbers.csv", index=False)
    run = Commands()
    run("fit", "table.csv", "--schema", "schema.yaml", "--out", "model", *FITTING)
    MixtureFlow(2, layers=1, max_steps=1, random_state=0).fit(numbers).save("mixture")
    Path("empty.csv").touch()
    Path("table.txt").write_text("a,b\n1,2\n")
    Path("folder.csv").mkdir()
    for suffix in ("csv", "yaml"):
        Path(f"zero.{suffix}").symlink_to("/dev/zero")
    Path("text.csv").write_bytes(b"kind,weight\ncat,\xff\n")
    Path("broken.parquet").write_bytes(b"PAR1 and no more")
    Path("endless.csv").write_bytes(b"a" * 2**23)
    Path("empty.yaml").touch()
    Path("text.yaml").write_bytes(b"columns:\n- {name: \xff}\n")
    Path("alias.yaml").write_text("columns:\n- &a {name: kind, kind: categorical}\n- *a\n")
    Path("deep.yaml").write_text("[" * 5000)
    Path("folder").mkdir()
    Path("file").write_text("no directory\n")
    for table, columns in (("table", BAD_WORDS), ("numbers", {"a": "lots", "b": "few"})):
        for column, word in columns.items():
            _damaged(table, f"{table}-{column}.csv", column, word)
        _changed(table, f"{table}-less.csv", lambda frame: frame.iloc[:, :-1])
        _changed(table, f"{table}-more.csv", lambda frame: frame.assign(other=1))
        names, rest = Path(f"{table}.csv").read_text().split("\n", 1)
        Path(f"{table}-twice.csv").write_text(f"{names},{names.split(',')[0]}\n{rest}")
        Path(f"{table}-long.csv").write_text(f"{names}\n{rest}1,2,3,4,5,6,7,8\n")
    _damaged("numbers", "numbers-gap.csv", "b", "")
    _damaged("numbers", "numbers-infinite.csv", "b", "inf")
    for name in ("table.csv", "numbers.csv", "train.csv"):
        Path(f"link-to-{name}").symlink_to(name)
        os.link(name, f"twin-of-{name}")


def every() -> list[Call]:
    """Return all malformed calls that are near a good one."""
    known = commands()
    return [call for name in sorted(known) for good in GOOD[name] for call in _malformed(name, known[name], good)]


def draw(count: int, seed: int) -> Iterator[Call]:
    """Draw malformed calls; the same ones for the same seed."""
    rng = random.Random(seed)
    by_kind: dict[tuple[str, str], list[Call]] = {}
    for call in every():
        by_kind.setdefault((call.arguments[0] if call.arguments else "", call.fault.split(":")[0]), []).append(call)
    for _ in range(count):  # commands and faults are drawn first: few have as many options as `fit`
        yield rng.choice(by_kind[rng.choice(sorted(by_kind))])


def faults(call: Call) -> list[str]:
    """Make a call, in the directory of `prepare`, and return what is wrong with how it is refused."""
    before = _contents()
    result = CliRunner().invoke(app, list(call.arguments))
    found = []
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        found.append(f"raised {result.exception!r}")
    if result.exit_code != 2:
        found.append(f"exit code {result.exit_code}")
    lines = [line for line in result.stderr.splitlines() if not line.startswith("tessflow: warning: ")]
    if len(lines) != 1 or not lines[0].startswith("tessflow: "):
        found.append(f"{len(lines)} lines")
    found += [f"no {culprit!r}" for culprit in call.culprits if culprit not in result.stderr]
    if "Traceback" in result.output:
        found.append("a traceback")
    if result.stdout:
        found.append("output")
    if _contents() != before:
        found.append("files changed")
    return [f"tessflow {' '.join(call.arguments)} ({call.fault}): {fault}: {result.stderr[:400]}" for fault in found]


def _animals(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "kind": rng.choice(["cat", "dog"], ROWS),
            "weight": rng.normal(4, 1, ROWS),
            "legs": rng.choice([3, 4], ROWS),
            "born": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 90, ROWS), unit="D"),
            "chip": rng.random(ROWS) < 0.5,
            "nap": pd.Series(pd.to_timedelta(rng.integers(1, 60, ROWS), unit="min")).map(lambda time: str(time)),
        }
    )


def _changed(table: str, name: str, change: Any) -> None:
    change(pd.read_csv(f"{table}.csv", dtype=str)).to_csv(name, index=False)


def _damaged(table: str, name: str, column: str, word: str) -> None:
    frame = pd.read_csv(f"{table}.csv", dtype=str)
    frame.loc[7, column] = word
    frame.to_csv(name, index=False)


def _malformed(name: str, command: Any, good: tuple[str, ...]) -> Iterator[Call]:
    """Return all malformed calls of a command that are near a good one."""
    start = tuple(name.split())
    yield Call((*start, *good, "--no-such-option"), ("--no-such-option",), "unknown option")
    yield Call((*start, *good, "surplus"), ("surplus",), "surplus argument")
    yield Call((*start[:-1], start[-1] + "x"), (start[-1] + "x",), "unknown command")
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    if arguments:
        yield Call(start, (arguments[0].metavar,), "missing argument")
    for parameter in command.params:
        if parameter.param_type_name == "option" and not getattr(parameter, "is_flag", False):
            yield from _bad_options(start, good, parameter)
    if "model" in good and name in ("impute", "check", "report"):
        other = ["mixture" if word == "model" else word for word in good]
        yield Call((*start, *other), ("mixture",), "a model of another kind")
    if "mixture" in good:
        for option, value in (("--given", "a=1"), ("--columns", "a"), ("--unseen", "other"), ("--orders", "1")):
            if option in {parameter.opts[0] for parameter in command.params}:
                yield Call((*start, *good, option, value), (option,), "an option of another model")
    if "numbers.csv" in good:
        for table in ("numbers-gap.csv", "numbers-infinite.csv"):
            other = [table if word == "numbers.csv" else word for word in good]
            yield Call((*start, *other), ("'b'", "row 7"), "a number that is none")
    places = {parameter.name: place for place, parameter in enumerate(arguments)}
    for parameter in command.params:
        if parameter.metavar not in ("TABLE", "FILE", "DIR"):
            continue
        option = parameter.opts[0] if parameter.param_type_name == "option" else None
        place = good.index(option) + 1 if option in good else places.get(parameter.name)
        if place is None:
            if option is None:
                continue
            given, place = (*good, option, ""), len(good) + 1
        else:
            given = good
        paths = (
            _bad_outputs(parameter, command, good)
            if parameter.name == "out"
            else _bad_inputs(
                parameter, given[place], has_model=name != "schema" and (name != "fit" or "--schema" in good)
            )
        )
        for path, culprits, fault in paths:
            yield Call((*start, *given[:place], path, *given[place + 1 :]), culprits, fault)


def _bad_options(start: tuple[str, ...], good: tuple[str, ...], parameter: Any) -> Iterator[Call]:
    """Return calls with a bad value of an option."""
    option = parameter.opts[0]
    kind = parameter.display_type(None)
    if parameter.metavar in ("TABLE", "FILE", "DIR", "WORD", "WIDTHS", "NAME=VALUE", "COLUMN=VALUE"):
        values = {
            "WIDTHS": ("8,x", "0", "-8", "", "99999999999999999999", "8,1000000000000000000"),
            "NAME=VALUE": ("nonsense", "no_such=1", "layers=two", "layers=0", "layers=1.5", f"layers={10**20}"),
            "COLUMN=VALUE": ("x", "no=1", *(f"{column}={word}" for column, word in BAD_WORDS.items()), "weight=5..1"),
        }
        bad = values.get(parameter.metavar, ())
    elif "int" in kind:
        bad = ("abc", "-1", "1.5", "99999999999999999999", "")
    elif "float" in kind:
        bad = ("abc", "nan", "-1", "inf", "")
    elif option in ("--columns", "--given", "--sets"):
        bad = ("no such column", "")
    else:
        bad = ("no such word",)
    clean = list(good)
    if option in clean:
        del clean[clean.index(option) : clean.index(option) + 2]
    for value in bad:
        named = {"--option": "-o", "--columns": repr(value), "COLUMN=VALUE": repr(value.partition("=")[0])}
        culprit = named.get(option, named.get(parameter.metavar, option))
        if option == "--given" and start == ("score",):
            culprit = repr(value)
        if "mixture" in good and option in ("--given", "--columns"):
            culprit = option
        yield Call((*start, *clean, option, value), (culprit,), f"bad value: of {option}")


def _bad_inputs(parameter: Any, good: str, *, has_model: bool) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Return paths that a command cannot read, each with the culprits."""
    if parameter.metavar == "DIR":
        for path in ("nowhere", "file", *(() if parameter.name == "data_dir" else ("folder",))):
            yield path, (path,), "no model"
        return
    if parameter.metavar == "FILE":
        if good == "":  # a mixture has no schema
            yield "schema.yaml", ("--schema",), "an option of another model"
            return
        for path in ("nowhere.yaml", "folder", "empty.yaml", "text.yaml", "alias.yaml", "deep.yaml", "zero.yaml"):
            yield path, (path,), "no schema"
        return
    for path in (
        "nowhere.csv", "folder.csv", "empty.csv", "table.txt", "zero.csv", "/dev/zero", "text.csv", "broken.parquet",
        "endless.csv",
    ):  # fmt: skip
        yield path, (path,), "no table"
    if parameter.name == "table" and good == "":
        return
    table = "numbers" if good == "numbers.csv" else "table"
    for path in ("twice", "long"):
        yield f"{table}-{path}.csv", (f"{table}-{path}.csv",), "malformed table"
    if not has_model:
        return
    columns = {"a": "lots", "b": "few"} if table == "numbers" else BAD_WORDS
    for column, word in columns.items():
        yield f"{table}-{column}.csv", (repr(column), repr(word), "row 7"), "a wrong word"
    last, more = ("b", "other") if table == "numbers" else ("nap", "other")
    yield f"{table}-less.csv", (last,), "a column less"
    yield f"{table}-more.csv", (more,), "a column more"


def _bad_outputs(parameter: Any, command: Any, good: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Return paths that a command may not write to, each with the culprits."""
    if parameter.metavar == "DIR":
        yield "file", ("file",), "no directory"
        yield "file/new", ("file",), "no directory"
        yield "folder.csv/../file", ("file",), "no directory"
        yield ".", (". is not empty",), "a directory of others"
        return
    yield "folder.csv", ("folder.csv",), "a directory as output"
    yield "nowhere/new.csv", ("nowhere",), "an output in no directory"
    if parameter.metavar == "TABLE":
        yield "new.txt", ("new.txt",), "an output without suffix"
    read = [path for path in good if Path(path).suffix in (".csv", ".yaml") and not path.startswith("new")]
    for path in read:
        for same in (path, f"link-to-{path}", f"twin-of-{path}"):
            if Path(same).exists():
                yield same, ("--out", same), "an input as output"
    models = [path for path in good if path in ("model", "mixture")]
    for model in models:
        for file in os.listdir(model):
            yield f"{model}/{file}", (f"{model}/{file}",), "a file of a model as output"


def _contents() -> dict[str, str]:
    """Return a digest of every regular file below the working directory, and what others are."""
    found = {}
    for folder, directories, names in os.walk("."):
        for name in (*directories, *names):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            is_file = stat.S_ISREG(mode)
            found[str(path)] = hashlib.md5(path.read_bytes()).hexdigest() if is_file else str(stat.S_IFMT(mode))
    return found
