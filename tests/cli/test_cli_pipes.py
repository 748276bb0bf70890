"""Tables that come through pipes, in every command that reads one, and tables that go to standard output."""

import gzip
import os
import subprocess
import sys
import threading
from io import BytesIO
from pathlib import Path

import malformed
import pandas as pd
import pytest
from commands import Commands

READING = [
    (name, good)
    for name, calls in malformed.GOOD.items()
    if any(p.metavar == "TABLE" and p.name != "out" for p in malformed.commands()[name].params)
    for good in calls
]


@pytest.fixture
def run(place, monkeypatch):
    monkeypatch.chdir(place)
    return Commands()


class Pipes:
    """Pipes without a suffix, filled in the background."""

    def __init__(self, folder):
        self.folder, self.threads = folder, []

    def filled(self, content):
        path = self.folder / f"pipe{len(self.threads)}"
        os.mkfifo(path)
        self.threads.append(threading.Thread(target=path.write_bytes, args=(content,)))
        self.threads[-1].start()
        return path

    def join(self):
        for thread in self.threads:
            thread.join(timeout=60)


@pytest.fixture
def pipes(tmp_path):
    pipes = Pipes(tmp_path)
    yield pipes
    pipes.join()


@pytest.mark.parametrize(("name", "good"), READING, ids=lambda part: part if isinstance(part, str) else part[0])
def test_a_table_through_a_pipe_is_the_table(run, pipes, tmp_path, name, good):
    found = []
    for folder in ("file", "pipe"):
        (tmp_path / folder).mkdir()
        arguments = [tmp_path / folder / word if word.startswith("new") else word for word in good]
        if folder == "pipe":
            tables = [word for word in good if word.endswith(".csv") and not word.startswith("new")]
            assert tables
            through = {table: pipes.filled(Path(table).read_bytes()) for table in tables}
            arguments = [through.get(word, word) for word in arguments]
        said = run(name, *arguments).stdout.replace(str(tmp_path / folder), "")
        written = sorted((tmp_path / folder).rglob("*"))
        found.append((said, {file.name: _content(file) for file in written}))
    assert found[0] == found[1]


def _content(file):
    """Return what is in a file; of a model's, the name of each has its digest, and clocks differ."""
    return None if file.is_dir() or file.parent.name == "new" else file.read_bytes()


def test_what_a_pipe_holds_is_seen_from_its_first_bytes(run, pipes):
    frame = pd.read_csv("table.csv")
    frame["born"], frame["nap"] = pd.to_datetime(frame["born"]), pd.to_timedelta(frame["nap"])
    packed, parquet = gzip.compress(Path("table.csv").read_bytes()), BytesIO()
    frame.to_parquet(parquet)
    said = {run("score", "model", pipes.filled(content)).stdout for content in (packed, parquet.getvalue())}
    assert said == {run("score", "model", "table.csv").stdout}


@pytest.mark.parametrize(
    "content", [b"", b"kind,kind\ncat,dog\n", b"kind\n\xff\n", b"kind\n", b"PAR1 and no more", b"\x1f\x8b and no more"]
)
def test_a_message_names_the_pipe(run, pipes, content):
    pipe = pipes.filled(content)
    said = run.refused("schema", pipe)
    assert str(pipe) in said
    assert "/dev/fd" not in said


def test_nothing_is_read_if_the_call_is_wrong(run, tmp_path):
    os.mkfifo(tmp_path / "silent")  # which would be waited for
    assert "--steps" in run.refused("fit", tmp_path / "silent", "--out", tmp_path / "model", "--steps", "0")
    assert "nowhere" in run.refused("score", "nowhere", tmp_path / "silent")


def test_standard_input_and_output(run, redirected):
    filled = run("impute", "model", "table.csv", "--out", "new.csv").stdout.replace("new.csv", "-")
    expected = Path("new.csv").read_bytes()
    Path("new.csv").unlink()
    command = [sys.executable, "-m", "tessflow", "impute", "model", "-", "--out", "-"]
    done = subprocess.run(command, input=Path("table.csv").read_bytes(), capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (0, expected, filled)
    redirected(0, "table.csv", "rb")
    from_file = run("impute", "model", "/dev/stdin", "--out", "-")
    assert (from_file.stdout.encode(), from_file.stderr) == (expected, filled)
    redirected(0, os.devnull, "rb")
    said = run.refused("score", "model", "-")
    assert said.startswith("tessflow: standard input is a device, and holds no table")
    assert not Path("-").exists()


@pytest.mark.parametrize("name", [name for name, good in malformed.GOOD.items() if "--out" in good[0]])
def test_every_file_may_be_standard_output(run, tmp_path, name):
    if name in ("fit", "gallery"):  # which write directories
        return
    *arguments, out = malformed.GOOD[name][0][: malformed.GOOD[name][0].index("--out") + 2]
    run(name, *arguments, tmp_path / out) if " " not in name else run(*name.split(), *arguments, tmp_path / out)
    printed = run(*name.split(), *arguments, "-").stdout
    assert printed == (tmp_path / out).read_text()
