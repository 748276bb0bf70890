"""Malformed calls of every command: refused in one line that names what is wrong, and no file is touched."""

import malformed
import pytest


def test_every_command_has_a_good_call():
    assert set(malformed.commands()) == set(malformed.GOOD)


def test_the_same_seed_draws_the_same_calls(place, monkeypatch):
    monkeypatch.chdir(place)
    assert list(malformed.draw(20, seed=1)) == list(malformed.draw(20, seed=1))


@pytest.mark.parametrize("seed", range(4))
def test_malformed_calls_are_refused_in_one_line(place, monkeypatch, seed):
    monkeypatch.chdir(place)
    assert [fault for call in malformed.draw(15, seed) for fault in malformed.faults(call)] == []
