"""Maps of cells are tested twice where kernels are compiled: by these, and by torch's own operations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tessflow.kernels import native

BOTH_WAYS = {"test_cell_hard_points", "test_cell_transform", "test_cell_rounding", "test_cell_golden"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    random = getattr(metafunc.function, "is_hypothesis_test", False)  # these do not take a second way
    if metafunc.module.__name__.rpartition(".")[2] in BOTH_WAYS and native._library is not None and not random:
        metafunc.fixturenames.append("way")
        metafunc.parametrize("way", ["kernels", "torch"], indirect=True)


@pytest.fixture
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take one of the two ways."""
    if request.param == "torch":
        with native.disabled():
            yield
    else:
        yield
