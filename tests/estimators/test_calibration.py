import itertools
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch

from tessflow import TabularFlow
from tessflow.estimators.calibration import _reliability, check
from tessflow.estimators.check_result import CheckResult
from tessflow.estimators.copies import nearest
from tessflow.models import Number, Variable
from tessflow.tables import TableSource, TableWarning, read_batches

FAST = {"max_steps": 600, "batch_size": 128, "hidden_features": (32, 32), "random_state": 0}


def trees(rows, seed):
    """A tree's kind, its height, one time in ten missing, and whether it bears fruit."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["oak", "elm"], rows, p=[0.7, 0.3])
    height = np.where(kind == "oak", rng.normal(20, 3, rows), rng.normal(12, 2, rows))
    fruit = rng.random(rows) < np.where(kind == "oak", 0.9, 0.2)
    return pd.DataFrame({"kind": kind, "height": np.where(rng.random(rows) < 0.1, np.nan, height), "fruit": fruit})


TRAIN, NEW = trees(2000, 0), trees(700, 1)


@pytest.fixture(scope="module", params=["any", "fixed"])
def fitted(request):
    return TabularFlow(order=request.param, **FAST).fit(TRAIN)


@pytest.fixture(scope="module")
def any_order():
    return TabularFlow(order="any", **FAST | {"max_steps": 100}).fit(TRAIN)


def named(result, column):
    return next(found for found in result.columns if found.name == column)


def warned(result):
    return {name for name in NEW for warning in result.warnings if warning.startswith(f"column {name!r}")}


def test_a_model_that_fits_has_no_warnings_on_new_rows(fitted):
    result = check(fitted, NEW, train=TRAIN)
    assert result.warnings == ()
    assert (result.rows, result.table_rows) == (700, 700)
    height, fruit = named(result, "height"), named(result, "fruit")
    assert height.numbers.numbers == NEW["height"].notna().sum()
    assert sum(height.numbers.shares) == pytest.approx(1)
    assert height.numbers.distance < height.numbers.distance_limit
    assert height.classes.classes == 3  # a number, missing, or not seen
    assert fruit.classes.log_loss < fruit.classes.frequency_log_loss - 0.1
    assert result.copies.compared == result.copies.train_rows == 2000
    assert 0.05 < result.copies.sample_copies < 0.2  # of missing heights the kind and the fruit say all
    assert 0.05 < result.copies.table_copies < 0.2


def test_rows_drawn_from_the_model_fit_it(fitted):
    # Of any order, as far as orders agree: that is below what 300 rows show.
    assert check(fitted, fitted.sample(300, random_state=5)).warnings == ()


def test_shifted_numbers_are_found(fitted):
    result = check(fitted, NEW.assign(height=NEW["height"] + 3))
    assert "height" in warned(result)
    numbers = named(result, "height").numbers
    assert numbers.distance > 2 * numbers.distance_limit
    assert numbers.shares[-1] > 0.2


def test_shuffled_classes_are_found(fitted):
    result = check(fitted, NEW.assign(fruit=np.random.default_rng(0).permutation(NEW["fruit"])))
    assert "fruit" in warned(result)
    fruit = named(result, "fruit").classes
    assert fruit.error > fruit.error_limit


def test_a_model_without_training_knows_less_than_frequencies():
    table = pd.DataFrame({"rare": np.arange(400) % 20 == 0, "even": np.arange(400) % 2 == 0})
    flow = TabularFlow(**FAST | {"max_steps": 1, "learning_rate": 1e-9}).fit(table)
    result = check(flow, table)
    assert result.warnings[0].startswith("column 'rare': probabilities differ from frequencies by 0.3")
    assert "is worse than that of the column's frequencies alone" in result.warnings[0]
    assert named(result, "rare").classes.log_loss == pytest.approx(np.log(2), abs=5e-3)
    assert named(result, "even").classes.error == pytest.approx(0, abs=2e-3)


@pytest.mark.filterwarnings("ignore::tessflow.tables.TableWarning")
def test_sums_are_those_of_the_likelihoods(any_order):
    rows = NEW[:40].reset_index(drop=True)
    result = check(any_order, rows)
    rest = any_order.score_samples(rows, columns=["height", "fruit"])
    joint = [any_order.score_samples(rows.assign(kind=kind)) for kind in ("oak", "elm", "not seen")]
    sums = np.exp(joint - rest).sum(0)
    assert named(result, "kind").sums.rows == 40
    assert named(result, "kind").sums.mean == pytest.approx(sums.mean(), abs=1e-4)
    assert named(result, "kind").sums.low == pytest.approx(np.quantile(sums, 0.05), abs=1e-4)

    one = [any_order.score_samples(rows.assign(kind=kind), orders=1) for kind in ("oak", "elm", "not seen")]
    gap = np.logaddexp.reduce(one) - any_order.score_samples(rows, columns=["height", "fruit"], orders=1)
    assert named(result, "kind").sums.gap_of_one_order == pytest.approx(gap.mean(), abs=1e-4)
    assert named(result, "fruit").sums.gap_of_one_order == pytest.approx(0, abs=1e-4)  # the last


@pytest.mark.filterwarnings("ignore::tessflow.tables.TableWarning")
def test_sums_over_numbers_are_integrals(any_order):
    rows = NEW[:30].reset_index(drop=True)
    grid = np.arange(-10, 60, 0.25)
    many = rows.loc[rows.index.repeat(len(grid))].assign(height=np.tile(grid, len(rows)))
    density = np.exp(any_order.score_samples(many)).reshape(len(rows), -1).sum(1) * 0.25
    others = [np.exp(any_order.score_samples(rows.assign(height=value))) for value in (np.nan, np.inf)]
    sums = (density + sum(others)) / np.exp(any_order.score_samples(rows, columns=["kind", "fruit"]))
    found = named(check(any_order, rows), "height").sums
    assert found.mean == pytest.approx(sums.mean(), abs=0.02)
    assert found.low == pytest.approx(np.quantile(sums, 0.05), abs=0.03)


def test_of_a_wide_table_some_columns_are_summed(any_order, monkeypatch):
    monkeypatch.setattr("tessflow.estimators.calibration.SCORED", 6 * 30 * 3 * (3 + 67 + 3) // 2)  # of 6 orders
    result = check(any_order, NEW)
    assert [column.sums and column.sums.rows for column in result.columns] == [30, None, 30]
    assert result.columns[1].skipped == ("sums: in a table this wide, they are taken of 1 column in 2",)


def test_orders_that_disagree_are_found(any_order):
    flow = TabularFlow(order="any", **FAST | {"max_steps": 1}).fit(TRAIN)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for head in flow.model_.network.heads.values():
            head.copy_(torch.randn(head.shape, generator=generator))
    flow.model_.orders = 1  # a mean over several agrees better
    result = check(flow, NEW, rows=100)
    assert any("the order of the columns changes the mean log-likelihood" in warning for warning in result.warnings)
    assert abs(named(result, "kind").sums.gap) > 0.01


def test_the_last_column_of_one_order_sums_to_one():
    flow = TabularFlow(order="fixed", **FAST | {"max_steps": 50}).fit(TRAIN)
    result = check(flow, NEW)
    sums = named(result, "fruit").sums
    assert (sums.low, sums.mean, sums.high) == pytest.approx((1, 1, 1), abs=1e-5)
    assert named(result, "kind").sums is None
    assert "one order" in named(result, "kind").skipped[0]
    assert result.given == "the columns before it"


def test_samples_that_copy_are_found(any_order, monkeypatch):
    train = trees(30, 5).dropna()
    monkeypatch.setattr(any_order, "sample", lambda n, random_state: train.sample(n, replace=True, random_state=0))
    result = check(any_order, NEW.dropna(), train=train, rows=200)
    assert result.copies.sample_copies == 1
    assert result.copies.table_copies == 0
    assert result.copies.sample_distance == 0
    assert "100.0% of sampled rows copy a training row" in result.warnings[-2]
    assert "less than half that of held-out rows" in result.warnings[-1]


def test_the_training_table_is_no_held_out_table(any_order):
    train = TRAIN.dropna()
    result = check(any_order, train[:300], train=train)
    assert result.copies.is_training
    assert result.warnings[-1].startswith("100% of the table's rows are rows of the training table")


def test_rows_that_repeat_by_nature_are_no_copies():
    table = pd.DataFrame(list(itertools.product("xyz", [0, 1])) * 50, columns=["a", "b"])
    result = check(TabularFlow(**FAST | {"max_steps": 100}).fit(table), table, train=table)
    assert result.copies.table_copies == result.copies.train_copies == 1
    assert not result.copies.is_training
    assert result.warnings == ()


def test_nearest_rows_are_as_defined():
    variables = [Variable(3), Variable(2, Number((0.0, 10.0), (0.0, 1.0)))]  # scores are tenths
    train = torch.tensor([[0, 0, 1.0], [1, 0, 8.0], [2, 1, 0.0]], dtype=torch.float64)
    rows = torch.tensor(
        [[0, 0, 1 + 1e-12], [0, 0, 3.0], [1, 0, 1e6], [2, 1, 0.0], [2, 0, 0.0], [1, 1, 0.0]], dtype=torch.float64
    )
    distance, is_copy = nearest(rows, train, variables)
    np.testing.assert_allclose(distance, [0, 0.1, 0.5, 0, 0.5, 0.5], atol=1e-6)
    assert is_copy.tolist() == [True, False, False, True, False, False]


def test_what_cannot_be_measured_is_said():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"word": [f"w{k}" for k in rng.permutation(np.arange(360) % 60)], "wet": rng.random(360) < 0.5}
    )
    few = FAST | {"max_steps": 5}
    result = check(TabularFlow(**few).fit(table), table)
    assert named(result, "word").skipped == ("sums: it has 61 classes, more than 50",)
    assert named(result, "word").classes.classes == 61
    result = check(TabularFlow(max_categories=50, **few).fit(table), table)
    assert result.lower_bound
    assert named(result, "word").classes is None
    assert named(result, "wet").skipped == ("sums: log-likelihoods are lower bounds",)
    result = check(TabularFlow(condition_on="point", **few).fit(table), table)
    assert named(result, "wet").skipped == ("condition_on='point' has no conditionals of columns",)
    result = check(TabularFlow("coupling", layers=2, **few).fit(table), table, train=table)
    assert named(result, "wet").skipped == ("backbone='coupling' has no conditionals of columns",)
    assert result.copies is not None
    assert "word, wet: backbone='coupling' has no conditionals of columns." in str(result)


def test_arrays_one_column_and_whole_numbers():
    rows = np.random.default_rng(0).poisson(200, (500, 1))
    result = check(TabularFlow(**FAST | {"max_steps": 100}).fit(rows), rows[:300], train=rows)
    assert result.columns[0].numbers.numbers == 300
    assert result.columns[0].sums.mean == pytest.approx(1, abs=1e-3)
    assert not [warning for warning in result.warnings if "column" in warning]


@pytest.mark.parametrize("row", [NEW[NEW["height"].isna()][:1], NEW[NEW["height"].notna()][:1]])
def test_one_row_proves_nothing(fitted, row):
    result = check(fitted, row, train=TRAIN)
    assert result.rows == 1
    assert [warning for warning in result.warnings if "column" in warning] == []
    assert (named(result, "height").numbers is None) == bool(row["height"].isna().all())


def test_the_same_call_gives_the_same_numbers(fitted):
    results = [check(fitted, NEW, train=TRAIN, rows=40, seed=seed) for seed in (4, 4, 5)]
    assert results[0] == results[1] != results[2]


def test_the_result_is_text_and_json(fitted):
    result = check(fitted, NEW.rename(columns=str).assign(height=NEW["height"] + 5), train=TRAIN, rows=300)
    assert CheckResult.model_validate_json(result.model_dump_json()) == result
    lines = result.lines()
    assert max(map(len, lines)) <= 100
    assert lines[0] == "300 of 700 rows, drawn with seed 0; log-likelihoods are exact."
    assert str(result) == "\n".join(lines)
    bars = next(line for line in lines if "█" in line)
    assert bars.startswith("height")
    assert "Warnings:" in lines
    assert "No warnings." in check(fitted, NEW).lines()


def test_wrong_calls_are_refused(fitted):
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        check(fitted, NEW, rows=0)
    with pytest.raises(ValueError, match="no rows to check"):
        check(fitted, NEW[:0])
    with pytest.raises(ValueError, match="training table has no rows"):
        check(fitted, NEW, train=TRAIN[:0])
    with pytest.raises(ValueError, match="'ash', which was not seen in training"):
        check(fitted, NEW.assign(kind="ash"), unseen="error")
    with pytest.warns(TableWarning, match="column 'kind' holds something not seen in training in 100% of the rows"):
        check(fitted, NEW.assign(kind="ash"))


@pytest.mark.parametrize("classes", [2, 40])
def test_the_limit_of_calibration_is_found_in_memory_that_does_not_grow_with_rows_times_draws(classes):
    rows, rng = 3000, np.random.default_rng(0)
    chances = rng.dirichlet(np.ones(classes), rows)
    codes = np.array([rng.choice(classes, p=row) for row in chances])
    tracemalloc.start()
    try:
        error, limit = _reliability(chances, codes, 50, np.random.default_rng(1))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error < limit < 2 * error
    assert peak < rows * 5000 * 8 / 2


class InSmallBatches(TableSource):
    def batches(self, schema=None):
        return read_batches(self.path, schema=schema, rows=100)


def test_a_file_is_checked_in_batches_as_if_it_were_in_memory(any_order, tmp_path):
    for name, rows in (("new.csv", NEW), ("train.csv", TRAIN)):
        rows.to_csv(tmp_path / name, index=False)
    new, train = InSmallBatches(tmp_path / "new.csv"), InSmallBatches(tmp_path / "train.csv")
    assert check(any_order, new, train=train, rows=60) == check(any_order, NEW, train=TRAIN, rows=60)
    NEW.assign(kind=NEW["kind"].where(NEW.index != 207, "fir")).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(ValueError, match=r"in the rows from number 200 on.* row 7 .*'fir'"):
        check(any_order, new, rows=60, unseen="error")


def test_a_distribution_is_the_same_in_parts(any_order, monkeypatch):
    rows = NEW.iloc[:50]
    whole = any_order.conditional(rows, "height")
    monkeypatch.setattr(any_order, "_chunk", lambda: 7)
    parts = any_order.conditional(rows, "height")
    pd.testing.assert_frame_equal(parts.probabilities(), whole.probabilities(), rtol=1e-5)
    pd.testing.assert_frame_equal(parts.quantiles(), whole.quantiles(), rtol=1e-5)
    np.testing.assert_allclose(parts.pit(), whole.pit(), rtol=1e-5)
