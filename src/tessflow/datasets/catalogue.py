"""The discrete tables of the paper: what they are, where they come from, how they are prepared."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pandas as pd

from tessflow.datasets.connect4 import CONNECT4_COLUMNS, check_connect4, connect4_positions
from tessflow.datasets.files import Library, OfficialFile
from tessflow.datasets.poker import POKER_COLUMNS, simulate_poker_hands
from tessflow.datasets.table import TableDataset, split_rows

__all__ = ["DatasetInfo", "info", "load", "names"]

Rows = tuple[pd.DataFrame, str]  # the rows in their file's order, and where they come from

NURSERY_VALUES = {
    "parents": ("usual", "pretentious", "great_pret"),
    "has_nurs": ("proper", "less_proper", "improper", "critical", "very_crit"),
    "form": ("complete", "completed", "incomplete", "foster"),
    "children": ("1", "2", "3", "more"),
    "housing": ("convenient", "less_conv", "critical"),
    "finance": ("convenient", "inconv"),
    "social": ("nonprob", "slightly_prob", "problematic"),
    "health": ("recommended", "priority", "not_recom"),
}
MUSHROOM_COLUMNS = (
    *("cap-shape", "cap-surface", "cap-color", "bruises?", "odor", "gill-attachment", "gill-spacing"),
    *("gill-size", "gill-color", "stalk-shape", "stalk-root", "stalk-surface-above-ring"),
    *("stalk-surface-below-ring", "stalk-color-above-ring", "stalk-color-below-ring", "veil-type"),
    *("veil-color", "ring-number", "ring-type", "spore-print-color", "population", "habitat"),
)
FOREST_MEASUREMENTS = (
    *("Elevation", "Aspect", "Slope", "Horizontal_Distance_To_Hydrology", "Vertical_Distance_To_Hydrology"),
    *("Horizontal_Distance_To_Roadways", "Hillshade_9am", "Hillshade_Noon", "Hillshade_3pm"),
    "Horizontal_Distance_To_Fire_Points",
)
FOREST_COLUMNS = (
    *FOREST_MEASUREMENTS,
    *(f"Wilderness_Area{area}" for area in range(1, 5)),
    *(f"Soil_Type{soil}" for soil in range(1, 41)),
)

# Checksums are of the unpacked bytes. Of the files without one we never held UCI's own bytes: their shape is
# checked, and Connect-4's rows against the generated positions.
CONNECT4_FILE = OfficialFile("connect-4/connect-4.data", md5=None, packing=".Z")
MUSHROOM_FILE = OfficialFile("mushroom/agaricus-lepiota.data", md5="08abc775ae2a79b402cc75f3a29e4b7d")
FOREST_FILE = OfficialFile("covtype/covtype.data", md5="71df19898bd3e11db15ae0faf4159f2c", packing=".gz")
POKER_TESTING = OfficialFile("poker/poker-hand-testing.data", md5=None)
POKER_TRAINING = OfficialFile("poker/poker-hand-training-true.data", md5="081602fda2f47da84bc13c36d9267e61")
CENSUS_FILE = OfficialFile("census1990-mld/USCensus1990.data.txt", md5=None)


def _connect4(library: Library) -> Rows:
    if library.find(CONNECT4_FILE) is None:
        return connect4_positions(), (
            "generated: the legal 8-ply positions in which nobody has won or can win with the next stone; "
            "of each mirror pair the one whose string a1..g6 comes first in the alphabet"
        )
    frame, source = library.read_csv(CONNECT4_FILE, names=[*CONNECT4_COLUMNS, "class"], dtype="str")
    check_connect4(frame, source=source)
    return frame.drop(columns="class"), f"{source}; the same positions as generated, up to mirror images"


def _nursery(library: Library) -> Rows:
    frame = pd.DataFrame(product(*NURSERY_VALUES.values()), columns=list(NURSERY_VALUES)).astype(str)
    return frame, "generated: the product of the eight attributes, in the order of UCI's nursery.data"


def _mushroom(library: Library) -> Rows:
    frame, source = library.read_csv(MUSHROOM_FILE, names=["class", *MUSHROOM_COLUMNS], dtype="str")
    return frame.drop(columns="class"), source


def _forests(library: Library) -> Rows:
    frame, source = library.read_csv(FOREST_FILE, names=[*FOREST_COLUMNS, "Cover_Type"], dtype="int16")
    for column in FOREST_MEASUREMENTS:
        edges = np.linspace(frame[column].min(), int(frame[column].max()) + 1, 11)
        frame[column] = (np.digitize(frame[column], edges) - 1).astype("int16")
    return frame.drop(columns="Cover_Type"), f"{source}; measurements in ten bins of equal width"


def _pokerhands(library: Library) -> Rows:
    parts = [
        library.read_csv(file, names=[*POKER_COLUMNS, "CLASS"], dtype="int16")
        for file in (POKER_TESTING, POKER_TRAINING)
    ]
    frame = pd.concat([part for part, _ in parts], ignore_index=True)
    return frame.drop(columns="CLASS"), ", then ".join(source for _, source in parts)


_POKER_FLOOR = math.log(52 * 51 * 50 * 49 * 48)  # entropy of a uniform ordered hand


def _simulated_pokerhands(library: Library) -> Rows:
    frame = simulate_poker_hands(1_025_010, seed=567)
    return frame, "SIMULATED: uniform ordered hands drawn by NumPy with seed 567, none of them UCI's"


def _uscensus90(library: Library) -> Rows:
    frame, source = library.read_csv(CENSUS_FILE, dtype="int32")  # case ids exceed int16
    return frame.drop(columns="caseid").astype("int16"), source


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What the catalogue knows about a data set without loading it.

    Args:
        description: What a row is, in one sentence.
        read: Reads or generates the rows.
        rows: Number of rows of all three parts.
        variables: Number of columns, without the label and those with one value in the training rows.
        seed: Seed of the split.
        fractions: Shares of training and validation rows.
        blank_lines: Blank lines at the end of the official file, which take part in the split.
        files: Official files.
        generated: Whether the rows come without a download.
        floor: See `TableDataset`.
        paper: See `TableDataset`.
    """

    description: str
    read: Callable[[Library], Rows] = field(repr=False)
    rows: int
    variables: int
    seed: int
    fractions: tuple[float, float] = (0.8, 0.1)
    blank_lines: int = 0
    files: tuple[OfficialFile, ...] = ()
    generated: bool = False
    floor: float | None = None
    paper: float | None = None


_CATALOGUE = {
    "connect4": DatasetInfo(
        description="Connect-4 positions after eight plies where nobody has won or wins with the next stone",
        read=_connect4,
        rows=67_557,
        variables=42,
        seed=123,
        files=(CONNECT4_FILE,),
        generated=True,
        floor=math.log(67_557),
        paper=12.92,
    ),
    "nursery": DatasetInfo(
        description="Applications to nursery schools: every combination of eight attributes",
        read=_nursery,
        rows=12_960,
        variables=8,
        seed=345,
        blank_lines=1,
        generated=True,
        floor=math.log(12_960),
        paper=9.27,  # as published; below the floor, hence no likelihood
    ),
    "mushroom": DatasetInfo(
        description="Descriptions of gilled mushrooms",
        read=_mushroom,
        rows=8_124,
        variables=21,
        seed=234,
        files=(MUSHROOM_FILE,),
        floor=math.log(8_124),
        paper=9.06,
    ),
    "forests": DatasetInfo(
        description="Forest cells of 30 m x 30 m: ten binned measurements, wilderness area and soil type",
        read=_forests,
        rows=581_012,
        variables=54,
        seed=678,
        files=(FOREST_FILE,),
        paper=14.20,
    ),
    "pokerhands": DatasetInfo(
        description="Ordered poker hands of five cards, UCI's testing file and then its training file",
        read=_pokerhands,
        rows=1_025_010,
        variables=10,
        seed=567,
        files=(POKER_TESTING, POKER_TRAINING),
        floor=_POKER_FLOOR,
        paper=19.86,
    ),
    "pokerhands-simulated": DatasetInfo(
        description="SIMULATED ordered poker hands of five cards, as many as UCI has",
        read=_simulated_pokerhands,
        rows=1_025_010,
        variables=10,
        seed=567,
        generated=True,
        floor=_POKER_FLOOR,
    ),
    "uscensus90": DatasetInfo(
        description="Persons in a sample of the US census of 1990",
        read=_uscensus90,
        rows=2_458_285,
        variables=68,
        seed=456,
        fractions=(0.9, 0.05),
        files=(CENSUS_FILE,),
        paper=24.19,
    ),
}


def names() -> list[str]:
    """Name the data sets that `load` knows.

    Example:
        >>> names()
        ['connect4', 'nursery', 'mushroom', 'forests', 'pokerhands', 'pokerhands-simulated', 'uscensus90']
    """
    return list(_CATALOGUE)


def info(name: str) -> DatasetInfo:
    """Describe a data set without loading it.

    Args:
        name: One of `names()`.

    Raises:
        ValueError: If there is no data set of that name.

    Example:
        >>> info("mushroom").variables, info("mushroom").generated
        (21, False)
    """
    if name not in _CATALOGUE:
        raise ValueError(f"there is no data set '{name}': choose one of {', '.join(_CATALOGUE)}")
    return _CATALOGUE[name]


def load(name: str, *, data_dir: str | os.PathLike[str] | None = None, download: bool = True) -> TableDataset:
    """Load a discrete table with the preparation and the split of the paper.

    The label and columns with one value in the training rows are dropped; rows are cut 80/10/10 (USCensus90
    90/5/5) after a seeded permutation, see `split_rows`.

    Args:
        name: One of `names()`.
        data_dir: Directory with official files, plain or packed by xz or gzip, in it or in a directory of it
            named as the data set or as UCI's; default: the environment variable TESSFLOW_DATA. It is searched
            before the cache. If it holds connect4's file, that file's rows are checked against the generated
            positions and used, which gives the paper's own split.
        download: Whether files that are neither in `data_dir` nor in the cache are downloaded from UCI.

    Returns:
        The data set; `source` says where its rows come from.

    Raises:
        ValueError: If the name or `data_dir` is wrong, or a file is damaged or not the official one.
        OSError: If a file is nowhere and could or should not be downloaded.

    Example:
        >>> load("nursery").train.columns.tolist()
        ['parents', 'has_nurs', 'form', 'children', 'housing', 'finance', 'social', 'health']
    """
    about = info(name)
    frame, source = about.read(Library(name, data_dir=data_dir, download=download))
    parts = split_rows(frame, seed=about.seed, fractions=about.fractions, blank_lines=about.blank_lines)
    varying = [column for column in frame.columns if parts[0][column].nunique() > 1]
    if (len(frame), len(varying)) != (about.rows, about.variables):
        raise ValueError(
            f"{name} has {about.rows} rows and {about.variables} variables, "
            f"but {len(frame)} and {len(varying)} came from {source}"
        )
    train, validation, test = (part[varying] for part in parts)
    return TableDataset(
        name=name,
        description=about.description,
        source=source,
        train=train,
        validation=validation,
        test=test,
        floor=about.floor,
        paper=about.paper,
    )
