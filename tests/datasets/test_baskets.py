"""Item sets of Retail and Accidents."""

import dataclasses
import gzip
import hashlib
import lzma
import os

import numpy as np
import pytest

from tessflow.datasets import baskets, load_sets, set_names
from tessflow.datasets.files import Library

LENGTHS = (1, 3, 4, 5, 8, 9, 16, 17, 30)
DRAWS = (0, 0, 1, 1, 1, 5, 5, 10, 10)


def small_retail(items=40, repeats=40, seed=0):
    """Baskets of the lengths where the recipe changes, again and again: a shift of the last makes the next."""
    rng = np.random.default_rng(seed)
    return [sorted(rng.permutation(items)[:length]) for _ in range(repeats) for length in LENGTHS]


def written(rows):
    return "".join(" ".join(map(str, row)) + " \n" for row in rows).encode()


@pytest.fixture
def retail(monkeypatch, tmp_path):
    """Write a small file that is official."""

    def write(rows, *, threshold=1, name="retail.dat", pack=bytes):
        content = written(rows)
        file = dataclasses.replace(baskets._FILES["retail"].file, md5=hashlib.md5(content).hexdigest())
        about = dataclasses.replace(
            baskets._FILES["retail"], file=file, baskets=len(rows), threshold=threshold
        )  # fmt: skip
        monkeypatch.setitem(baskets._FILES, "retail", about)
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pack(content))
        return tmp_path / "data"

    return write


def whole(data):
    return np.concatenate([data.train, data.validation, data.test])


def items_of(data, codes):
    return [tuple(sorted(int(data.items[code]) for code in row)) for row in codes]


@pytest.mark.parametrize(
    ("name", "pack"),
    [("retail.dat", bytes), ("retail.dat.gz", gzip.compress), ("retail/retail.dat.xz", lzma.compress)],
)
def test_draws_are_as_many_as_the_basket_is_long(retail, name, pack):
    rows = small_retail()
    data = load_sets("retail", data_dir=retail(rows, name=name, pack=pack))
    codes = whole(data)
    assert codes.shape == (40 * sum(DRAWS), 4)
    assert codes.dtype == np.int64
    assert all(len(set(row)) == 4 for row in codes.tolist())
    assert [len(part) for part in (data.train, data.validation, data.test)] == [1056, 132, 132]
    drawn = items_of(data, codes)
    assert {tuple(row) for row in rows if len(row) == 4} <= set(drawn)  # taken as they are
    longer = [set(row) for row in rows if len(row) >= 4]
    assert all(any(set(row) <= basket for basket in longer) for row in drawn)
    assert "official md5" in data.source
    assert "PARTIAL" not in data.source


def test_sets_with_rare_items_are_left_out(retail):
    rows = small_retail() + [[900, 901, 902, 903]] * 4 + [[1, 2, 3, 950]] * 5
    data = load_sets("retail", data_dir=retail(rows, threshold=5))
    assert not {"900", "901", "902", "903"} & set(data.items)
    assert "950" in data.items
    assert items_of(data, whole(data)).count((1, 2, 3, 950)) == 5
    assert sorted(np.unique(whole(data))) == list(range(len(data.items)))
    assert list(map(int, data.items)) == sorted(map(int, data.items))


def test_no_basket_is_on_both_sides_of_a_split_by_basket(retail):
    # Baskets that share no item: a set tells its basket.
    rows = [list(range(20 * n, 20 * n + 20)) for n in range(50)]
    folder = retail(rows)
    for split, shared in (("rows", True), ("baskets", False)):
        data = load_sets("retail", split=split, data_dir=folder)
        owners = [{int(data.items[code]) // 20 for code in part.flat} for part in (data.train, data.test)]
        assert bool(owners[0] & owners[1]) == shared
        assert [len(part) for part in (data.train, data.validation, data.test)] == [400, 50, 50]
        assert len(whole(data)) == 500


def test_the_same_call_gives_the_same_rows(retail):
    folder = retail(small_retail())
    first, second = (load_sets("retail", data_dir=folder) for _ in range(2))
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(first, part), getattr(second, part))


def test_a_part_of_accidents_says_so(tmp_path):
    rng = np.random.default_rng(0)
    rows = [sorted(rng.permutation(30)[:20]) for _ in range(3402)]
    (tmp_path / "accidents.dat").write_bytes(written([*rows, [1, 2, 3, 999]]))
    data = load_sets("accidents", data_dir=tmp_path)
    assert data.source.startswith(
        "PARTIAL: the first 3,403 of 340,183 baskets, items in at least 2 sets: accidents.dat"
    )
    assert "unverified" in data.source
    assert len(whole(data)) == 3402  # one of each basket, without that of item 999
    assert len(data.items) == 30


def test_refusals(retail, tmp_path):
    folder = retail(small_retail())
    with pytest.raises(ValueError, match="no item sets 'wine': choose one of retail, accidents"):
        load_sets("wine")
    with pytest.raises(ValueError, match="split must be 'rows' or 'baskets', got 'columns'"):
        load_sets("retail", split="columns", data_dir=folder)
    (folder / "retail.dat").write_bytes(b"1 2 3 4\n")
    with pytest.raises(ValueError, match=r"not the official retail.dat"):
        load_sets("retail", data_dir=folder)
    for content, message in (
        (b"1 2 3 4\n1 2 3 x\n", "line 2 of .* is no list of whole numbers"),
        (b"5 5 6 7\n", "twice"),
    ):
        (folder / "accidents.dat").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_sets("accidents", data_dir=folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match="downloads are off"):
        load_sets("accidents", data_dir=tmp_path / "empty", download=False)


def test_names():
    assert set_names() == ["retail", "accidents"]


def test_the_counts_of_the_paper(real_files):
    data = load_sets("retail")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [24_280, 3_035, 3_036]
    assert len(data.items) == 765


@pytest.fixture
def real_files():
    if not os.environ.get("TESSFLOW_DATA") or Library("retail").find(baskets._FILES["retail"].file) is None:
        pytest.skip("set TESSFLOW_DATA to a directory with retail.dat")
