"""Where commands write: never onto what they read, found out before any work; into pipes and through links."""

import os
import re
import stat
import threading
from pathlib import Path

import malformed
import pytest
from commands import Commands

from tessflow.cli.outputs import PATHS

FAULTS = ("an input as output", "a file of a model as output", "an output in no directory", "a directory as output")


@pytest.fixture
def run(place, monkeypatch):
    monkeypatch.chdir(place)
    return Commands()


@pytest.mark.parametrize(
    "parameter",
    [
        pytest.param(parameter, id=f"{name} {parameter.opts[0]}")
        for name, command in malformed.commands().items()
        for parameter in command.params
        if parameter.display_type(None) == "<path>"
    ],
)
def test_every_path_says_what_it_names(parameter):
    assert parameter.metavar in PATHS


def test_no_command_writes_onto_what_it_reads(run):
    calls = [call for call in malformed.every() if call.fault in FAULTS]
    writing = {name for name, command in malformed.commands().items() if any(p.name == "out" for p in command.params)}
    tried = {call.arguments[0] for call in calls}
    assert tried == {name.split()[0] for name in writing - {"fit", "gallery"}}  # which write directories
    assert [fault for call in calls for fault in malformed.faults(call)] == []


READING = [
    (name, call)
    for name, calls in malformed.GOOD.items()
    for call in calls
    if "--out" in call and any(word in ("table.csv", "numbers.csv") for word in call) and name != "fit"
]


@pytest.mark.parametrize(("name", "call"), READING, ids=lambda part: part if isinstance(part, str) else part[0])
def test_no_command_writes_onto_what_is_its_standard_input(run, redirected, name, call):
    table = next(word for word in call if word in ("table.csv", "numbers.csv"))
    before = Path(table).read_bytes()
    redirected(0, table, "rb")
    words = [table if word.startswith("new") else "-" if word == table else word for word in call]
    assert re.match(rf"tessflow: --out {table} is (TABLE|--table) -, which is read", run.refused(name, *words))
    assert Path(table).read_bytes() == before


@pytest.mark.parametrize("out", ["-", "/dev/stdout", "/dev/fd/1"])
def test_no_command_appends_to_what_it_reads(run, redirected, out):
    redirected(1, "numbers.csv", "ab")
    assert f"--out {out} is TABLE numbers.csv" in run.refused("score", "mixture", "numbers.csv", "--out", out)


def test_a_fit_does_not_overwrite_its_standard_input(run, redirected):
    redirected(0, "model/history.csv", "rb")
    assert "TABLE - is a file that --out model would" in run.refused("fit", "-", "--out", "model", "--force", "--quiet")


@pytest.mark.parametrize("command", ["schema", "score", "sample", "impute", "check", "report", "data show"])
@pytest.mark.parametrize("out", ["/dev/stdout", "/dev/fd/1", "rows.csv"])
def test_no_sentence_lands_in_what_is_written_to_any_name_of_standard_output(run, redirected, tmp_path, command, out):
    Path(tmp_path / "rows.csv").touch()
    expected = run(*WRITING[command], "--out", "-")
    out = tmp_path / out if out == "rows.csv" else out
    redirected(1, tmp_path / "rows.csv", "ab")
    said = run(*WRITING[command], "--out", out)
    assert said.stdout == expected.stdout
    assert said.stderr.replace(str(out), "-") == expected.stderr


def test_a_fit_does_not_overwrite_its_table_in_the_directory_of_a_model(run):
    said = run.refused("fit", "model/history.csv", "--out", "model", "--force", "--quiet")
    assert said.startswith("tessflow: TABLE model/history.csv is a file that --out model would overwrite")


def test_a_file_of_ones_own_beside_a_model_is_written_again(run):
    for _ in range(2):
        run("score", "model", "table.csv", "--out", "model/scores.csv")
    Path("model/scores.csv").unlink()


def test_it_is_refused_before_anything_is_loaded(run):
    assert "--out table.csv is TABLE table.csv" in run.refused("score", "nowhere", "table.csv", "--out", "table.csv")


def test_a_gallery_is_not_put_among_other_files(run):
    assert "--out folder.csv" in run.refused("gallery", "--out", make("folder.csv/README.md").parent)


def make(name):
    path = Path(name)
    path.write_text("mine\n")
    return path


WRITING = {
    "schema": ("schema", "table.csv"),
    "score": ("score", "mixture", "numbers.csv"),
    "sample": ("sample", "mixture"),
    "impute": ("impute", "model", "table.csv"),
    "check": ("check", "model", "table.csv", "--rows", "5"),
    "report": ("report", "model", "--rows", "5"),
    "data show": ("data", "show", "moons", "--rows", "5"),
}


def test_every_command_that_writes_a_file_is_here():
    writing = {name for name, command in malformed.commands().items() if any(p.name == "out" for p in command.params)}
    assert set(WRITING) == writing - {"fit", "gallery"}


@pytest.mark.parametrize("command", WRITING)
def test_links_are_followed_permissions_stay_and_pipes_are_filled(run, tmp_path, command):
    target = tmp_path / "target.csv"
    target.write_text("old\n")
    target.chmod(0o640)
    link, pipe = tmp_path / "link.csv", tmp_path / "pipe.csv"
    link.symlink_to(target)
    os.mkfifo(pipe)
    run(*WRITING[command], "--out", link)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.read_text() != "old\n"

    heard = []
    listener = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    listener.start()
    run(*WRITING[command], "--out", pipe)
    listener.join(timeout=60)
    assert heard == [target.read_text()]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.csv", "pipe.csv", "target.csv"]
