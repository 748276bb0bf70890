"""The command line as a whole: help, errors, warnings, interrupts and pipes."""

import errno
import signal
import subprocess
import sys
import warnings

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from tessflow import TabularFlow
from tessflow.cli import OneSentenceErrors
from tessflow.tables import TableWarning, write_table

TINY = ("--steps", 1, "--hidden-features", "8", "--dimension", 2)


@pytest.fixture
def model(run):
    """A model in the directory of the commands."""
    table = pd.DataFrame({"colour": ["red", "blue", "red", None], "eggs": [1, 2, 2, 2]})
    write_table(table, "table.csv")
    run("fit", "table.csv", "--out", "model", "--quiet", *TINY)


def test_a_full_disk_is_one_sentence(run, monkeypatch, model):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "other/weights.safetensors")

    monkeypatch.setattr(TabularFlow, "save", full)
    sentence = run.refused("fit", "table.csv", "--out", "other", "--quiet", *TINY)
    assert sentence == "tessflow: other/weights.safetensors: No space left on device\n"


def test_debug_shows_the_traceback(run):
    said = run("--debug", "fit", "nowhere.csv", "--out", "model", code=2).stderr
    assert "Traceback" in said
    assert said.splitlines()[-1] == "tessflow: nowhere.csv: there is no such file"


def test_version(run):
    assert run("--version").stdout.startswith("tessflow 0.")


def test_a_warning_is_one_line_and_said_once():
    app = typer.Typer(cls=OneSentenceErrors, pretty_exceptions_enable=False)

    @app.command()
    def warn():
        for _ in range(2):
            warnings.warn("column 'id' looks\n like a key", TableWarning, stacklevel=1)

    @app.callback()
    def options(*, debug: bool = False): ...

    for _ in range(2):  # and again by the next command
        result = CliRunner().invoke(app, ["warn"])
        assert result.stderr == "tessflow: warning: column 'id' looks like a key\n"


def test_an_interrupted_fit_promises_no_checkpoint_that_is_not_there(run, model, monkeypatch):
    monkeypatch.setattr(TabularFlow, "fit", interrupt)
    assert run("fit", "table.csv", "--out", "other", code=130).stderr == "tessflow: interrupted\n"


def test_an_interrupted_draw_says_so(run, model, monkeypatch):
    monkeypatch.setattr(TabularFlow, "sample", interrupt)
    assert run("sample", "model", code=130).stderr == "tessflow: interrupted\n"


def interrupt(*_, **__):
    raise KeyboardInterrupt


def start(*arguments, setup="pass"):
    program = f"import sys, tessflow; {setup}; from tessflow.cli import main; main()"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def test_help_does_not_wait_for_torch():
    setup = "import atexit; atexit.register(lambda: print('torch' in sys.modules, 'pandas' in sys.modules))"
    process = start("--help", setup=setup)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "sample" in said
    assert said.splitlines()[-1] == "False False"


def test_a_closed_pipe_is_quiet(run, model):
    process = start("sample", "model", "-n", 20_000)
    assert process.stdout.readline() == "colour,eggs\n", process.stderr.read()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait(timeout=60)
    process.stderr.close()


def test_ctrl_c_ends_with_130_and_a_sentence(run, model):
    wait = "lambda *_, **__: print('on', flush=True) or time.sleep(60)"
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # a job in the background ignores it
    setup = f"import signal, time; {heard}; tessflow.TabularFlow.fit = {wait}"
    process = start("fit", "table.csv", "--out", "other", setup=setup)
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaint.count("\n") == 1
    assert "goes on from the last checkpoint" in complaint
    assert said == ""
