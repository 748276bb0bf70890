"""The Makefile says in one line what is wrong with the Python it should use."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

OLD = """#!/bin/sh
[ "$1" = -c ] && exec {python} -c "import sys; sys.version_info = (3, 9, 18); $2"
echo Python 3.9.18
"""
NO_VENV = """#!/bin/sh
[ "$1" = -c ] && exec {python} -c "import sys; sys.modules['ensurepip'] = None; $2"
exec {python} "$@"
"""


def make(directory, *arguments):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, directory)
    # The tests may themselves run under make, whose children say more.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    return subprocess.run(
        ["make", *arguments], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("target", ["demo", "test"])
@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, "was not found"),
        ("#!/bin/sh\nexit 1\n", "is not a working Python"),
        (OLD, "is Python 3.9.18: tessflow needs Python 3.10 or newer"),
        (NO_VENV, "lacks venv or ensurepip"),
    ],
    ids=["absent", "broken", "old", "no-venv"],
)
def test_an_unfit_python_is_refused_in_one_line(tmp_path, target, script, message):
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    if script is not None:
        python.write_text(script.format(python=sys.executable))
        python.chmod(0o755)
    outcome = make(tmp_path, target, f"PYTHON={python}")
    assert outcome.returncode != 0
    assert message in outcome.stderr
    assert len((outcome.stdout + outcome.stderr).splitlines()) == 1
    assert not (tmp_path / ".venv").exists()


def test_make_alone_lists_the_targets(tmp_path):
    outcome = make(tmp_path)
    assert outcome.returncode == 0
    assert {line.split()[1] for line in outcome.stdout.splitlines()} == set(
        ["help", "demo", "gallery", "test", "lint", "format", "bench", "clean"]
    )


def test_every_constraint_is_an_exact_version():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.partition(" ;")[0] for line in lines if not line.startswith("#")]
    assert "torch==2.13.0" in pins
    assert all(pin.count("==") == 1 and "://" not in pin for pin in pins)
