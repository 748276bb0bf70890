"""The paper's item sets: four items of a basket, from two files of the FIMI repository."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from tessflow.datasets.files import Library, OfficialFile

__all__ = ["ItemSets", "load_sets", "set_names"]

Items = npt.NDArray[np.int64]

_SIZE = 4


@dataclass(frozen=True, eq=False)
class ItemSets:
    """Sets of items, all of one size, split into training, validation and test rows.

    Args:
        name: Name in `set_names()`.
        train: Sets to train on, int64 codes of items, 0, ..., K - 1, of shape ``(rows, size)``; their order within a
            row means nothing.
        validation: Sets to choose with.
        test: Sets to score once.
        items: What the K codes stand for.
        source: Where these very sets come from; begins with "PARTIAL" if the file is not whole.
    """

    name: str
    train: Items = field(repr=False)
    validation: Items = field(repr=False)
    test: Items = field(repr=False)
    items: tuple[str, ...] = field(repr=False)
    source: str


@dataclass(frozen=True)
class _Baskets:
    """A file of baskets, and how the paper makes sets of it: draws by basket, and how often an item must come."""

    file: OfficialFile
    baskets: int
    draws: Callable[[int], int]
    threshold: int
    seed: int


def _draws_of_retail(length: int) -> int:
    return 10 if length > 16 else 5 if length > 8 else 1


_SITE = "http://fimi.uantwerpen.be"
_FILES = {
    "retail": _Baskets(
        OfficialFile("data/retail.dat", md5="ec616a4222c9e688a10d0c7c2fb73896", packing=".gz", site=_SITE),
        baskets=88_162,
        draws=_draws_of_retail,
        threshold=300,
        seed=123,
    ),
    # We never held the whole file, and know no checksum.
    "accidents": _Baskets(
        OfficialFile("data/accidents.dat", md5=None, packing=".gz", site=_SITE),
        baskets=340_183,
        draws=lambda length: 1,
        threshold=100,
        seed=234,
    ),
}


def set_names() -> list[str]:
    """Name the item sets that `load_sets` knows.

    Example:
        >>> set_names()
        ['retail', 'accidents']
    """
    return list(_FILES)


def load_sets(
    name: str,
    *,
    split: Literal["rows", "baskets"] = "rows",
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> ItemSets:
    """Load item sets, prepared as in the paper (Chen, Amos & Nickel, 2022).

    Baskets of fewer than four items are left out. A set is four items of a basket: all of a basket of four, else drawn
    without replacement. Retail has ten sets of a basket of more than 16 items, five of one of more than 8, and one of
    others; Accidents has one of each. Sets with an item that is in fewer than 300 sets (Retail) or 100 (Accidents) are
    left out. 80% of the sets are for training and 10% for validation, by a permutation.

    Args:
        name: One of `set_names()`.
        split: What is split: ``"rows"``, as in the paper, where sets of one basket may be on both sides; or
            ``"baskets"``, where they never are.
        data_dir: Directory with the file, plain or packed (.xz, .gz); default: the environment variable TESSFLOW_DATA.
            It is searched before the cache. A leading part of accidents.dat is taken too: `source` then begins with
            "PARTIAL", and an item may be in fewer sets, in proportion.
        download: Whether the file is downloaded if it is neither there nor in the cache.

    Raises:
        ValueError: If an argument is wrong, or the file is damaged or not the official one.
        OSError: If the file is nowhere and could or should not be downloaded.

    Example:
        >>> data = load_sets("retail")  # doctest: +SKIP
        >>> data.train.shape, data.validation.shape, data.test.shape, len(data.items)  # doctest: +SKIP
        ((24280, 4), (3035, 4), (3036, 4), 765)
    """
    if name not in _FILES:
        raise ValueError(f"there are no item sets '{name}': choose one of {', '.join(_FILES)}")
    if split not in ("rows", "baskets"):
        raise ValueError(f"split must be 'rows' or 'baskets', got {split!r}")
    about = _FILES[name]
    frame, source = Library(name, data_dir=data_dir, download=download).read_csv(
        about.file, names=["basket"], dtype="str"
    )
    baskets = [_parse(line, number, source) for number, line in enumerate(frame["basket"], 1)]
    share = len(baskets) / about.baskets
    threshold = math.ceil(about.threshold * min(share, 1.0))
    if share < 1:
        source = (
            f"PARTIAL: the first {len(baskets):,} of {about.baskets:,} baskets, items in at least {threshold} sets: "
            f"{source}"
        )
    # NumPy's older generator and one stream for draws and permutation: this gives the paper's counts.
    random = np.random.RandomState(about.seed)
    drawn, owners = _draw(baskets, about.draws, random)
    ids, codes = np.unique(drawn, return_inverse=True)
    codes = codes.reshape(drawn.shape)
    kept = (np.bincount(codes.ravel(), minlength=len(ids))[codes] >= threshold).all(axis=1)
    items, codes = np.unique(drawn[kept], return_inverse=True)
    codes = codes.reshape(-1, _SIZE).astype(np.int64)
    groups = np.arange(len(codes)) if split == "rows" else np.unique(owners[kept], return_inverse=True)[1]
    place = random.permutation(groups.max(initial=-1) + 1)[groups]
    # Sets in the order of the places of their groups: parts end where a place is that of the next part's first group.
    order, total = place.argsort(kind="stable"), groups.max(initial=-1) + 1
    ends = np.searchsorted(place[order], [int(0.8 * total), int(0.8 * total) + int(0.1 * total)])
    train, validation, test = np.split(codes[order], ends)
    return ItemSets(name, train, validation, test, items=tuple(map(str, items)), source=source)


def _parse(line: str, number: int, source: str) -> Items:
    try:
        items = np.array(line.split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"line {number} of {source} is no list of whole numbers: {str(error).strip()}") from error
    if len(set(items.tolist())) < len(items):
        raise ValueError(f"line {number} of {source} has an item twice: a basket is a set")
    return items


def _draw(baskets: list[Items], draws: Callable[[int], int], random: np.random.RandomState) -> tuple[Items, Items]:
    """Draw sets of each basket: ``(sets, 4)``, and the number of the basket that each is from, ``(sets,)``."""
    rows, owners = [], []
    for number, basket in enumerate(baskets):
        if len(basket) == _SIZE:
            rows.append(basket)
            owners.append(number)
        elif len(basket) > _SIZE:
            for _ in range(draws(len(basket))):
                rows.append(random.choice(basket, _SIZE, replace=False))
                owners.append(number)
    return np.array(rows, dtype=np.int64).reshape(-1, _SIZE), np.array(owners, dtype=np.int64)
