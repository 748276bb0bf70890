"""Shared by the tests of the command line: commands in an empty directory, and beside a small model."""

import os

import malformed
import pytest
from commands import Commands, animals

from tessflow.tables import write_table


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Commands in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return Commands()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory of the files and models that malformed calls name."""
    place = tmp_path_factory.mktemp("malformed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        malformed.prepare()
    return place


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A directory with train.csv, test.csv, and a model of the first; not to be written to."""
    folder = tmp_path_factory.mktemp("animals")
    write_table(animals(), folder / "train.csv")
    write_table(animals(seed=1), folder / "test.csv")
    options = ["--steps", "60", "--hidden-features", "32,32", "--quiet"]
    Commands()("fit", folder / "train.csv", "--out", folder / "model", *options)
    return folder


@pytest.fixture
def zoo(folder, monkeypatch):
    """Commands in the directory of animals."""
    monkeypatch.chdir(folder)
    return Commands()


@pytest.fixture
def redirected():
    """Open a file as standard input or output, as a shell does."""
    kept = {descriptor: os.dup(descriptor) for descriptor in (0, 1)}

    def redirect(descriptor, path, mode):
        with open(path, mode) as file:
            os.dup2(file.fileno(), descriptor)

    yield redirect
    for descriptor, copy in kept.items():
        os.dup2(copy, descriptor)
        os.close(copy)
