import math

import numpy as np
import pandas as pd
import pytest

from tessflow.datasets import independent_columns_nats, split_rows


def test_split_is_a_partition_in_the_order_of_the_permutation():
    frame = pd.DataFrame({"line": np.arange(101)})
    parts = split_rows(frame, seed=7)
    assert [len(part) for part in parts] == [80, 10, 11]
    order = np.random.RandomState(7).permutation(101)
    np.testing.assert_array_equal(pd.concat(parts)["line"], order)
    assert all(part.index.equals(pd.RangeIndex(len(part))) for part in parts)


def test_blank_lines_take_part_in_the_permutation_and_vanish():
    frame = pd.DataFrame({"line": np.arange(100)})
    parts = split_rows(frame, seed=7, blank_lines=1)
    order = np.random.RandomState(7).permutation(101)
    np.testing.assert_array_equal(pd.concat(parts)["line"], order[order < 100])
    assert sum(map(len, parts)) == 100


def test_independent_columns_of_uniform_rows_cost_the_log_of_their_number():
    frame = pd.DataFrame({"a": [0, 1] * 50, "b": ["u", "v", "w", "x"] * 25})
    assert independent_columns_nats(frame, frame) == pytest.approx(math.log(8))


def test_independent_columns_smooth_values_not_seen_in_training():
    train = pd.DataFrame({"a": pd.Categorical(["u", "u", None])})
    test = pd.DataFrame({"a": pd.Categorical(["v", None])})
    expected = -(math.log(0.5 / 4.5) + math.log(1.5 / 4.5)) / 2
    assert independent_columns_nats(train, test) == pytest.approx(expected)


def test_independent_columns_refuse_other_columns_and_no_rows():
    frame = pd.DataFrame({"a": [0, 1]})
    with pytest.raises(ValueError, match=r"train has columns \['a'\] but test has \['b'\]"):
        independent_columns_nats(frame, frame.rename(columns={"a": "b"}))
    with pytest.raises(ValueError, match="both parts need rows"):
        independent_columns_nats(frame, frame.head(0))
