"""How long a table model is trained by default: so that its learning rate has come down when it has learned."""

import pandas as pd
import pytest

from tessflow import TabularFlow
from tessflow.estimators.architecture import steps_of
from tessflow.tables import TableSchema

SCHEMA = TableSchema.infer(pd.DataFrame({"a": list("xy")}))


def options(**given):
    return TabularFlow(random_state=0, **given)._options(None)


@pytest.mark.parametrize(("rows", "steps"), [(100, 1000), (2000, 1000), (6020, 3010), (100_000, 5000)])
def test_steps_are_passes_over_the_rows(rows, steps):
    assert steps_of(options(), SCHEMA, rows) == steps
    assert steps_of(options(order="fixed"), SCHEMA, rows) == steps


def test_what_is_asked_for_is_done():
    assert steps_of(options(max_steps=7), SCHEMA, 100) == 7
    assert steps_of(options(batch_size=64), SCHEMA, 1000) == 2000
    assert steps_of(options(backbone="coupling"), SCHEMA, 100) == 5000
