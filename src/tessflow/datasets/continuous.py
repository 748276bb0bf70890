"""The continuous tables on which densities are compared: POWER, GAS, HEPMASS, MINIBOONE and BSDS300.

They are prepared and split as by Papamakarios, Pavlakou and Murray (Masked autoregressive flow, 2017), from the
archive that they published (Zenodo record 1161203) or from its files unpacked.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from tessflow.datasets.files import Library, OfficialFile

__all__ = ["ContinuousDataset", "ContinuousInfo", "continuous_info", "continuous_names", "load_continuous"]

Rows = npt.NDArray[np.float32]
Array = npt.NDArray[np.floating]
Parts = tuple[Array, Array, Array]

# This md5 is in the public loaders of this archive that check one; we never held its 0.8 GB ourselves.
ARCHIVE = OfficialFile(
    "1161203/files/data.tar.gz", md5="9b9c9b0375315ad270eba4ce80c093ab", site="https://zenodo.org/records"
)
GAS_TEXT = OfficialFile("gas/ethylene_CO.txt", md5=None)


@dataclass(frozen=True, kw_only=True, eq=False)
class ContinuousDataset:
    """A table of real numbers split into training, validation and test rows.

    Args:
        name: Name in `continuous_names()`.
        description: What a row is, in one sentence.
        source: Where these very rows come from; begins with "partial" if their number is not the official one.
        train: Training rows, of shape (rows, features).
        validation: Validation rows, of as many features.
        test: Test rows, of as many features.

    Example:
        >>> part = np.zeros((2, 3), dtype=np.float32)
        >>> ContinuousDataset(name="zeros", description="zeros", source="NumPy", train=part, validation=part, test=part)
        ContinuousDataset(name='zeros', description='zeros', source='NumPy')
    """

    name: str
    description: str
    source: str
    train: Rows = field(repr=False)
    validation: Rows = field(repr=False)
    test: Rows = field(repr=False)

    @property
    def frame(self) -> pd.DataFrame:
        """All rows: training, then validation, then test; columns x1, x2, ..."""
        rows = np.concatenate([self.train, self.validation, self.test])
        return pd.DataFrame(rows, columns=[f"x{number}" for number in range(1, rows.shape[1] + 1)])


def _read(library: Library, member: str) -> tuple[bytes, str]:
    """Bytes of a file of the archive: unpacked in `data_dir`, else from the archive."""
    path = _unpacked(library, member)
    if path is None:
        return library.read_member(ARCHIVE, member)
    raw = path.read_bytes()
    return raw, f"{member} (unverified md5 {hashlib.md5(raw, usedforsecurity=False).hexdigest()})"


def _unpacked(library: Library, member: str) -> Path | None:
    folders = [] if library.data_dir is None else [library.data_dir, library.data_dir / "data"]
    return next((folder / member for folder in folders if (folder / member).is_file()), None)


def _read_array(library: Library, member: str, columns: int) -> tuple[Array, str]:
    raw, source = _read(library, member)
    try:
        rows = np.load(io.BytesIO(raw), allow_pickle=False)
        if rows.ndim != 2 or rows.shape[1] != columns or rows.dtype.kind != "f":
            raise ValueError(f"it has shape {rows.shape} and values of type {rows.dtype}")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{source} is not a NumPy file of real numbers in {columns} columns: {error}") from error
    return rows, source


def _split(rows: Array) -> Parts:
    """Cut off the last tenth for testing, then the last tenth of the rest for validation, both rounded down."""
    test = len(rows) - int(0.1 * len(rows))
    validation = test - int(0.1 * test)
    return rows[:validation], rows[validation:test], rows[test:]


def _standardise(parts: Parts, reference: Array, *, ddof: int) -> Parts:
    mean, deviation = reference.mean(axis=0), reference.std(axis=0, ddof=ddof)
    train, validation, test = ((part - mean) / deviation for part in parts)
    return train, validation, test


def _power(library: Library) -> tuple[Parts, str]:
    rows, source = _read_array(library, "power/data.npy", 8)
    generator = np.random.RandomState(42)
    generator.shuffle(rows)
    rows = np.delete(rows, [1, 3], axis=1)  # reactive power and intensity
    # Noise as wide as the steps of the measurements; in this order it comes from the generator.
    voltage = 0.01 * generator.rand(len(rows), 1)
    power = 0.001 * generator.rand(len(rows), 1)
    meters = generator.rand(len(rows), 3)
    rows = rows + np.hstack([power, voltage, meters, np.zeros((len(rows), 1))])
    parts = _split(rows)
    return _standardise(parts, np.concatenate(parts[:2]), ddof=0), source


def _gas(library: Library) -> tuple[Parts, str]:
    frame, source = _read_gas_text(library) if library.find(GAS_TEXT) else _read_gas_pickle(library)
    close = frame.corr() > 0.98
    while (many := close.sum() > 1).any():
        first = close.columns[many][0]
        close = close.drop(index=first, columns=first)
    rows = frame[close.columns].to_numpy(dtype=np.float64)
    return _standardise(_split(rows), rows, ddof=1), source


def _read_gas_text(library: Library) -> tuple[pd.DataFrame, str]:
    """Sensors of a random quarter of UCI's rows: the archive holds such a quarter, of an unknown seed."""
    path = library.fetch(GAS_TEXT)
    try:
        frame = pd.read_csv(path, sep=r"\s+", header=None, skiprows=1, dtype=np.float64)
    except (ValueError, EOFError) as error:
        raise ValueError(f"'{path}' is not a table of numbers: {str(error).strip()}") from error
    if frame.shape[1] != 19:
        raise ValueError(f"'{path}' has {frame.shape[1]} columns, but {GAS_TEXT.name} has a time, 2 gases, 16 sensors")
    quarter = frame.iloc[:, 3:].sample(frac=0.25, random_state=0)
    return quarter, f"{path.name}, a fresh random quarter of its {len(frame):,} rows, not the published rows"


def _read_gas_pickle(library: Library) -> tuple[pd.DataFrame, str]:
    member = "gas/ethylene_CO.pickle"
    instead = f"or put UCI's {GAS_TEXT.name} into the directory gas"
    alone = _unpacked(library, member)
    if alone is not None and library.find(ARCHIVE) is None:
        raise ValueError(
            f"'{alone}' is a pickle, which can run any code when it is read, and it has no official checksum: "
            f"put the archive {ARCHIVE.name} beside its directory, {instead}"
        )
    raw, source = library.read_member(ARCHIVE, member)
    if ARCHIVE.md5 is None:
        raise ValueError(f"{source} is a pickle of an archive without a checksum: put UCI's {GAS_TEXT.name} there")
    try:
        frame = pd.read_pickle(io.BytesIO(raw)).drop(columns=["Meth", "Eth", "Time"])
    except (AttributeError, EOFError, ImportError, LookupError, TypeError, ValueError, pickle.PickleError) as error:
        raise ValueError(
            f"{source} cannot be read by pandas {pd.__version__} ({type(error).__name__}: {error}): "
            f"take an older pandas, {instead}"
        ) from error
    return frame, source


def _hepmass(library: Library) -> tuple[Parts, str]:
    (train, source), (test, test_source) = (_read_particles(library, part) for part in ("train", "test"))
    if test.shape[1] == train.shape[1] + 1:  # the test file has a column more, at its end
        test = test[:, :-1]
    if test.shape[1] != train.shape[1]:
        raise ValueError(f"{source} has {train.shape[1]} features, but {test_source} has {test.shape[1]}")
    # A feature is discrete if its lowest value comes more than five times: the published code counts that one alone.
    continuous = (train == train.min(axis=0)).sum(axis=0) <= 5
    train, test = train[:, continuous], test[:, continuous]
    cut = len(train) - int(0.1 * len(train))
    return _standardise((train[:cut], train[cut:], test), train, ddof=1), f"{source}, {test_source}"


def _read_particles(library: Library, part: str) -> tuple[Array, str]:
    """Features of the rows of class 1."""
    raw, source = _read(library, f"hepmass/1000_{part}.csv")
    try:
        rows = pd.read_csv(io.BytesIO(raw), index_col=False).to_numpy(dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{source} is not a table of numbers: {str(error).strip()}") from error
    signal = rows[rows[:, 0] == 1, 1:]
    if not len(signal):
        raise ValueError(f"{source} has no row whose first value, the class, is 1")
    return signal, source


def _miniboone(library: Library) -> tuple[Parts, str]:
    rows, source = _read_array(library, "miniboone/data.npy", 43)
    parts = _split(rows)
    return _standardise(parts, np.concatenate(parts[:2]), ddof=0), source


def _bsds300(library: Library) -> tuple[Parts, str]:
    try:
        import h5py
    except ImportError as error:
        raise ImportError("BSDS300 is an HDF5 file, for which h5py is needed: pip install 'tessflow[hdf5]'") from error
    raw, source = _read(library, "BSDS300/BSDS300.hdf5")
    try:
        with h5py.File(io.BytesIO(raw), "r") as file:
            train, validation, test = (np.asarray(file[part]) for part in ("train", "validation", "test"))
    except (OSError, KeyError) as error:
        raise ValueError(f"{source} is no HDF5 file of train, validation and test: {error.args[0]}") from error
    return (train, validation, test), source


@dataclass(frozen=True, kw_only=True)
class ContinuousInfo:
    """What is known of a continuous data set without loading it.

    Args:
        description: What a row is, in one sentence.
        features: Number of columns.
        rows: Numbers of training, validation and test rows.
        prepare: Reads, prepares and splits the rows.
    """

    description: str
    features: int
    rows: tuple[int, int, int]
    prepare: Callable[[Library], tuple[Parts, str]] = field(repr=False)


_CONTINUOUS = {
    "power": ContinuousInfo(
        description="Electric power in a household: active power, voltage, three meters and time of day, each minute",
        features=6,
        rows=(1_659_917, 184_435, 204_928),
        prepare=_power,
    ),
    "gas": ContinuousInfo(
        description="Readings of gas sensors in mixtures of ethylene and carbon monoxide",
        features=8,
        rows=(852_174, 94_685, 105_206),
        prepare=_gas,
    ),
    "hepmass": ContinuousInfo(
        description="Simulated particle collisions in which a particle of mass 1000 appeared",
        features=21,
        rows=(315_123, 35_013, 174_987),
        prepare=_hepmass,
    ),
    "miniboone": ContinuousInfo(
        description="Electron neutrinos of the MiniBooNE experiment",
        features=43,
        rows=(29_556, 3_284, 3_648),
        prepare=_miniboone,
    ),
    "bsds300": ContinuousInfo(
        description="Grey patches of 8 x 8 pixels of natural images, without their mean and the last pixel",
        features=63,
        rows=(1_000_000, 50_000, 250_000),
        prepare=_bsds300,
    ),
}


def continuous_names() -> list[str]:
    """Name the data sets that `load_continuous` knows.

    Example:
        >>> continuous_names()
        ['power', 'gas', 'hepmass', 'miniboone', 'bsds300']
    """
    return list(_CONTINUOUS)


def continuous_info(name: str) -> ContinuousInfo:
    """Describe a continuous data set without loading it.

    Args:
        name: One of `continuous_names()`.

    Raises:
        ValueError: If there is no such data set.

    Example:
        >>> continuous_info("power").features, continuous_info("power").rows
        (6, (1659917, 184435, 204928))
    """
    if name not in _CONTINUOUS:
        raise ValueError(f"there is no continuous data set '{name}': choose one of {', '.join(_CONTINUOUS)}")
    return _CONTINUOUS[name]


def load_continuous(
    name: str, *, data_dir: str | os.PathLike[str] | None = None, download: bool = True
) -> ContinuousDataset:
    """Load a continuous table with the preparation and the split of the published comparisons.

    Args:
        name: One of `continuous_names()`.
        data_dir: Directory that holds the archive data.tar.gz or its files unpacked, such as power/data.npy, perhaps
            in a directory data; default: the environment variable TESSFLOW_DATA. It is searched before the cache.
            The pickle of GAS is read from the archive alone; UCI's gas/ethylene_CO.txt is taken instead of it.
        download: Whether the archive (0.8 GB) is downloaded from Zenodo if it is neither there nor in the cache.

    Returns:
        The data set; `source` says where its rows come from. A file with another number of rows is taken too, and
        `source` then begins with "partial".

    Raises:
        ValueError: If the name or `data_dir` is wrong, or a file is damaged or not the official one.
        OSError: If a file is nowhere and could or should not be downloaded.
        ImportError: If BSDS300 is asked for and h5py is not installed.

    Example:
        >>> load_continuous("power").train.shape  # doctest: +SKIP
        (1659917, 6)
    """
    about = continuous_info(name)
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant column is reported below
        parts, source = about.prepare(Library(name, data_dir=data_dir, download=download))
    if any(part.ndim != 2 or part.shape[1] != about.features for part in parts):
        shapes = ", ".join(str(part.shape) for part in parts)
        raise ValueError(f"{name} has {about.features} features, but its parts have shapes {shapes} from {source}")
    train, validation, test = (np.ascontiguousarray(part, dtype=np.float32) for part in parts)
    rows = (len(train), len(validation), len(test))
    if 0 in rows or not all(np.isfinite(part).all() for part in (train, validation, test)):
        raise ValueError(f"{source} has too few rows, a constant column or values that are not finite")
    if rows != about.rows:
        source = f"partial, {sum(rows):,} of {sum(about.rows):,} rows: {source}"
    return ContinuousDataset(
        name=name, description=about.description, source=source, train=train, validation=validation, test=test
    )
