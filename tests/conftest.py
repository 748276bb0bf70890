"""Shared by all tests: puts ``tests/`` on the path (for the brute-force reference), seeds torch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

settings.register_profile("tessflow", deadline=None, derandomize=True, max_examples=30, database=None)
settings.load_profile("tessflow")
torch.set_num_threads(1)  # the tensors of tests are small


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1234)
