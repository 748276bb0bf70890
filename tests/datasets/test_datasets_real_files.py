"""Checks on the official files. They run where TESSFLOW_DATA names a directory that holds them."""

import os

import pytest

from tessflow.datasets import connect4_positions, is_legal_connect4, load
from tessflow.datasets.catalogue import MUSHROOM_FILE
from tessflow.datasets.files import Library, OfficialFile


@pytest.fixture
def real_files():
    if not os.environ.get("TESSFLOW_DATA"):
        pytest.skip("set TESSFLOW_DATA to a directory with the official files")

    def need(dataset, file):
        if Library(dataset).find(file) is None:
            pytest.skip(f"no {file.name} in TESSFLOW_DATA")

    return need


def test_connect4_file_holds_the_generated_positions(real_files):
    real_files("connect4", OfficialFile("connect-4/connect-4.data", md5=None))
    data = load("connect4")
    assert data.source.endswith("the same positions as generated, up to mirror images")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [54_045, 6_755, 6_757]
    assert is_legal_connect4(data.frame).all()
    assert not data.frame.equals(connect4_positions())


def test_nursery_file_is_the_generated_product(real_files):
    file = OfficialFile("nursery/nursery.data", md5="4d6d5a8791be10254563cd670157d5cc")
    real_files("nursery", file)
    generated = load("nursery")
    rows, _ = Library("nursery").read_csv(file, names=[*generated.train.columns, "class"], dtype="str")
    in_order = generated.frame.merge(rows.drop(columns="class").reset_index(), how="left").sort_values("index")
    assert in_order["index"].tolist() == list(range(12_960))


def test_mushroom_has_the_shape_of_the_paper(real_files):
    real_files("mushroom", MUSHROOM_FILE)
    data = load("mushroom")
    assert data.train.shape == (6_499, 21)
    assert data.train.nunique().max() == 12
    assert "veil-type" not in data.train
