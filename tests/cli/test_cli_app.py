"""The command line as a whole: help, errors, warnings, interrupts and pipes."""

import errno
import pathlib
import re
import signal
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from typer.testing import CliRunner

import tessflow
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
    assert re.match(r"tessflow 0\.\S+ \(kernels: (C\+\+|torch), .+\)$", run("--version").stdout)


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
    assert complaint == "tessflow: interrupted\n"  # there is no checkpoint to promise
    assert said == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample"], "Missing argument 'DIR' (see tessflow sample --help)"),
        (["sample", "model", "--no-such"], "--no-such"),
        (["sample", "model", "-n", "some"], "'--rows' / '-n'"),
        (["sample", "model", "-n", 10**20], "'--rows' / '-n'"),
        (["fit", "table.csv", "--out", "new", "--batch-size", 10**20], "--batch-size is out of range"),
        (["simple"], "No such command 'simple'"),
        (["--no-such"], "--no-such"),
    ],
)
def test_a_command_line_that_is_none_is_one_line(run, arguments, words):
    assert words in run.refused(*arguments)


def test_no_arguments_show_the_help(run):
    assert "impute" in run(code=2).output


def test_too_little_memory_is_said_with_what_was_asked(run, model):
    widths = "3000000,3000000"
    said = run.refused("fit", "table.csv", "--out", "new", "--quiet", "--steps", 7, "--hidden-features", widths)
    assert said.startswith(f"tessflow: there is not enough memory for --hidden-features {widths}")


@pytest.mark.parametrize("error", [KeyError("step"), AttributeError("no"), AssertionError(), RecursionError("deep")])
def test_a_bug_is_called_one_and_shows_its_traceback_on_demand(run, model, monkeypatch, error):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr(TabularFlow, "sample", broken)
    said = run("sample", "model", code=70).stderr
    assert said.count("\n") == 1
    assert f"this is a bug in tessflow ({type(error).__name__}" in said
    assert "--debug" in said
    assert "Traceback" in run("--debug", "sample", "model", code=70).stderr


def test_a_history_of_other_columns_is_none(run, model):
    pathlib.Path("model/history.csv").write_text("epoch,loss\n1,nothing\n")
    assert "parameters" in run("info", "model").stdout
    run("report", "model", "--rows", 5)


def by_a_library():
    """Return functions that let a library refuse something: in Python, in C, and through a function of ours."""
    return {
        "numpy": lambda: np.zeros(2) + np.zeros(3),
        "torch": lambda: torch.zeros(2) @ torch.zeros(3),
        "pandas": lambda: pd.DataFrame({"a": [1, 2]}).set_axis(["b", "c"], axis=1),
        "python": lambda: int("lots"),
        "our call": lambda: tessflow.files.sha256(None),
    }


@pytest.mark.parametrize("fault", by_a_library())
def test_what_a_library_refuses_is_a_bug_and_no_refusal(run, model, monkeypatch, fault):
    monkeypatch.setattr(TabularFlow, "sample", lambda *_, **__: by_a_library()[fault]())
    assert "this is a bug in tessflow" in run("sample", "model", code=70).stderr


def test_what_we_refuse_is_refused_however_deep_it_is_raised(run, model, monkeypatch):
    flow = TabularFlow.load("model")
    for refuse in (
        lambda: flow.sample(0),
        lambda: tessflow.files.read_small("model", 1),
        lambda: list(tessflow.tables.read_batches("nowhere.csv")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules["tessflow.cli.sample"], "load_model", lambda _, refuse=refuse: refuse())
            assert "bug" not in run.refused("sample", "model")
