"""Shared by all tests: puts ``tests/`` on the path (for the brute-force reference), seeds torch."""

from __future__ import annotations

import signal

import pytest
import torch
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("tessflow", deadline=None, derandomize=True, max_examples=30, database=None)
settings.load_profile("tessflow")
torch.set_num_threads(1)  # the tensors of tests are small


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1234)
