import hashlib
import math
from itertools import product

import numpy as np
import pandas as pd
import pytest

from tessflow.datasets import catalogue, info, load, names, simulate_poker_hands
from tessflow.datasets.files import Library, OfficialFile


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="there is no data set 'iris': choose one of connect4, nursery"):
        load("iris")


def test_connect4_is_generated_and_split_as_in_the_paper():
    data = load("connect4", download=False)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [54_045, 6_755, 6_757]
    assert data.frame.shape == (67_557, 42)
    assert not data.frame.duplicated().any()
    assert data.source.startswith("generated")
    assert data.floor == pytest.approx(11.1207, abs=1e-4)


def test_nursery_is_the_product_of_its_attributes_split_with_the_blank_line():
    data = load("nursery", download=False)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [10_367, 1_296, 1_297]
    assert data.frame.nunique().tolist() == [3, 5, 4, 4, 3, 2, 3, 3]
    assert len(data.frame.drop_duplicates()) == 12_960
    assert data.floor == pytest.approx(math.log(12_960))


def test_mushroom_drops_the_label_and_what_never_varies(repository, monkeypatch):
    generator = np.random.default_rng(0)
    columns = {name: generator.choice(["a", "b", "?"], 8_124) for name in catalogue.MUSHROOM_COLUMNS}
    columns["veil-type"] = np.full(8_124, "p")
    rows = pd.DataFrame(columns)
    raw = rows.set_index(pd.Index(["e"] * 8_124)).to_csv(header=False).encode()
    file = OfficialFile("mushroom/agaricus-lepiota.data", md5=hashlib.md5(raw).hexdigest())
    monkeypatch.setattr(catalogue, "MUSHROOM_FILE", file)
    (repository / "mushroom").mkdir()
    (repository / file.path).write_bytes(raw)

    data = load("mushroom")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [6_499, 812, 813]
    assert data.train.columns.tolist() == [name for name in rows.columns if name != "veil-type"]
    order = np.random.RandomState(234).permutation(8_124)
    expected = rows.drop(columns="veil-type").iloc[order].reset_index(drop=True)
    pd.testing.assert_frame_equal(data.frame, expected.astype(data.frame.dtypes))
    assert (data.frame == "?").any(axis=None)


def test_a_table_of_another_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "MUSHROOM_FILE", OfficialFile("mushroom/short.data", md5=None))
    (tmp_path / "short.data").write_text(",".join("p" * 23) + "\n")
    with pytest.raises(ValueError, match="mushroom has 8124 rows and 21 variables, but 1 and 0 came from"):
        load("mushroom", data_dir=tmp_path)


def test_forest_measurements_become_ten_bins(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "FOREST_FILE", OfficialFile("covtype/covtype.data", md5=None))
    steps = range(-5, 15)  # bins of width 2, closed on the left
    lines = [",".join(map(str, [value] * 10 + [0] * 44 + [7])) for value in steps]
    (tmp_path / "covtype.data").write_text("\n".join(lines))
    frame, _ = catalogue._forests(Library("forests", data_dir=tmp_path))
    assert frame.shape == (20, 54)
    for column in catalogue.FOREST_MEASUREMENTS:
        assert frame[column].tolist() == [bin for bin in range(10) for _ in range(2)]


def test_poker_hands_are_the_testing_file_then_the_training_file(tmp_path, monkeypatch):
    for name, card in [("testing", 1), ("training-true", 2)]:
        (tmp_path / f"poker-hand-{name}.data").write_text(",".join([str(card)] * 10 + ["9"]) + "\n")
    monkeypatch.setattr(catalogue, "POKER_TRAINING", OfficialFile(catalogue.POKER_TRAINING.path, md5=None))
    frame, source = catalogue._pokerhands(Library("pokerhands", data_dir=tmp_path))
    assert frame.to_numpy().tolist() == [[1] * 10, [2] * 10]
    assert source.index("testing") < source.index("training")


def test_census_drops_the_case_id(tmp_path):
    (tmp_path / "USCensus1990.data.txt").write_text("caseid,dAge,iClass\n100000,3,5\n100001,4,0\n")
    frame, _ = catalogue._uscensus90(Library("uscensus90", data_dir=tmp_path))
    assert frame.to_dict("list") == {"dAge": [3, 4], "iClass": [5, 0]}


def test_simulated_poker_hands_are_whole_uniform_and_labelled():
    hands = simulate_poker_hands(100_000, seed=1)
    cards = hands.to_numpy().reshape(-1, 5, 2)
    numbers = np.sort(13 * (cards[..., 0] - 1) + cards[..., 1] - 1, axis=1)
    assert numbers.min() == 0
    assert numbers.max() == 51
    assert (np.diff(numbers, axis=1) > 0).all()
    for place in range(5):  # each card at each place: 1923 expected, standard deviation 43
        counts = np.unique(cards[:, place], axis=0, return_counts=True)[1]
        assert counts.shape == (52,)
        assert np.abs(counts - 100_000 / 52).max() < 5 * 44
    # Of the 51 cards left, 12 have the first card's suit and 13 have each other suit.
    suits = hands.groupby(["S1"])["S2"].value_counts(normalize=True)
    for first, second in product(range(1, 5), repeat=2):
        assert suits[first, second] == pytest.approx((12 if first == second else 13) / 51, abs=0.02)
    assert hands.equals(simulate_poker_hands(100_000, seed=1))
    with pytest.raises(ValueError, match="rows is -1"):
        simulate_poker_hands(-1, seed=0)


def test_simulated_poker_hands_have_the_size_of_the_paper_and_say_what_they_are():
    data = load("pokerhands-simulated")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [820_008, 102_501, 102_501]
    assert "SIMULATED" in data.source
    assert "SIMULATED" in data.description
    assert data.floor == pytest.approx(19.558, abs=1e-3)


def test_every_name_is_described():
    for name in names():
        about = info(name)
        assert about.description
        assert about.files or about.generated
