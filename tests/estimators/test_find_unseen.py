"""Which values of rows were not seen in training."""

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from tessflow import TabularFlow

TRAIN = pd.DataFrame({"coat": ["no", "yes"] * 20, "legs": [4, 2] * 20, "wet": [True] * 40})
ROWS = pd.DataFrame({"coat": ["no", "perhaps"], "legs": [3, float("inf")], "wet": [None, True]}, index=["a", "b"])


@pytest.fixture(scope="module")
def flow():
    return TabularFlow(max_steps=1, hidden_features=(8,), random_state=0).fit(TRAIN)


def test_of_all_columns(flow):
    expected = pd.DataFrame({"coat": [False, True], "legs": [False, True], "wet": [True, False]}, index=["a", "b"])
    expected.columns = expected.columns.astype(object)
    assert_frame_equal(flow.find_unseen(ROWS), expected)
    assert not flow.find_unseen(TRAIN).to_numpy().any()


def test_of_some_columns_that_suffice(flow):
    found = flow.find_unseen(ROWS[["wet", "coat"]], columns=["wet", "coat"])
    assert_frame_equal(found, flow.find_unseen(ROWS)[["wet", "coat"]])
    assert flow.find_unseen(ROWS, columns=[]).shape == (2, 0)
    with pytest.raises(ValueError, match="there is no column 'size'"):
        flow.find_unseen(ROWS, columns=["size"])
    with pytest.raises(ValueError, match="no column 'legs'"):
        flow.find_unseen(ROWS[["coat"]], columns=["legs"])
