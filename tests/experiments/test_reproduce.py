"""The smallest row of each table, run again, gives the value in the repository."""

import pytest

from experiments.config import read_table, table_names
from experiments.results import read_result
from experiments.runner import run_row

CHECKED = [name for name in table_names() if read_table(name).check is not None]


@pytest.mark.parametrize("name", CHECKED)
def test_the_smallest_row_reproduces(name, tmp_path):
    table = read_table(name)
    assert table.check is not None
    row = table.rows(only=[table.check.row], seeds=[0])[0]
    committed = read_result(row)
    assert committed is not None
    assert row.is_of(committed["config"]), "run the row again: its configuration has changed"
    again = run_row(row, results=tmp_path / "results", runs=tmp_path / "runs")
    assert again["test"]["nats"] == pytest.approx(committed["test"]["nats"], abs=table.check.tolerance)


def test_every_table_has_a_row_that_is_checked():
    assert all(read_table(name).check is not None for name in table_names())
