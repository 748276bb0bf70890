"""A run that is killed with SIGKILL and started again ends as the run that was not."""

import csv
import random
import signal
import subprocess
import sys

import noisy_model

PROGRAM = noisy_model.__file__


def start(directory, *, sleep_at_call=0, die_at_replacement=0):
    command = [sys.executable, PROGRAM, str(directory), str(sleep_at_call), str(die_at_replacement)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_after(directory, calls):
    """Kill a run from outside, wherever it is once it has called its objective so often."""
    process = start(directory, sleep_at_call=calls + 4)  # lest it ends before the signal arrives
    for _ in range(calls):
        assert process.stdout.readline() == "call\n", process.stderr.read()
    process.kill()
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL


def timeless_history(directory):
    with open(directory / "history.csv", newline="") as file:
        return [{name: v for name, v in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def test_killed_run_ends_with_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    chance = random.Random(0)
    kill_after(killed, chance.randint(5, 20))
    kill_after(killed, chance.randint(5, 20))
    process = start(killed, die_at_replacement=chance.randint(3, 8))  # a file written and not yet renamed
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert list(killed.glob(".*.new"))
    assert not (killed / "final.safetensors").exists()
    for directory in (killed, whole):
        noisy_model.main(directory)

    for name in ("final.safetensors", "result.txt"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert timeless_history(killed) == timeless_history(whole)
    assert int((whole / "result.txt").read_text().split()[2]) > 0  # steps were skipped on the way
    assert not list(killed.glob(".*.new"))
