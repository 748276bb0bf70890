"""A table file: what it is called, where its bytes lie, and what is in it. What comes through a pipe is copied once."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import pyarrow as pa

from tessflow.files import STANDARD

__all__ = ["DELIMITERS", "PARQUET", "TableFile", "require_suffix", "require_table"]

DELIMITERS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
PARQUET = ".parquet"
SUFFIXES = f"{', '.join(DELIMITERS)} or {PARQUET}"

STARTS = {b"PAR1": PARQUET, b"\x1f\x8b": ".csv.gz"}
"""What files begin with that are no plain CSV: of Parquet, and of gzip."""

OPENED = ("/dev", "/dev/fd", "/proc/self/fd")
"""Where files have names that a process has open."""

CHUNK = 2**20
"""Bytes that are copied at once."""


@dataclass(frozen=True)
class TableFile(os.PathLike[str]):
    r"""A table file that can be read again and again.

    Args:
        name: What the user calls it, which messages name.
        place: Where its bytes lie: the file, or a copy of what came through a pipe.
        suffix: The suffix that says how it is read.
        copy: The copy, a file without a name that is gone with this object.

    Example:
        >>> reading, writing = os.pipe()
        >>> with open(writing, "wb") as pipe:
        ...     _ = pipe.write(b"eggs\n6\n")
        >>> file = TableFile.find(f"/dev/fd/{reading}")
        >>> for _ in range(2):
        ...     with file.open() as opened:
        ...         print(file.suffix, opened.read())
        .csv b'eggs\n6\n'
        .csv b'eggs\n6\n'
        >>> os.close(reading)
    """

    name: str
    place: Path
    suffix: str
    copy: BinaryIO | None = None

    def __post_init__(self) -> None:
        """See to it that the copy goes with the object."""
        if self.copy is not None:
            weakref.finalize(self, self.copy.close)

    @classmethod
    def find(cls, path: str | os.PathLike[str], delimiter: str | None = None) -> TableFile:
        """Find a table file; what is no regular file, such as a pipe, is read to its end.

        What has no suffix and comes through a pipe is CSV, or what its first bytes say: Parquet, or CSV packed by gzip.

        Args:
            path: The file; ``"-"`` for standard input.
            delimiter: What is to separate its fields.

        Raises:
            OSError: If it is missing, is a directory, may not be read, or there is no room for the copy.
            ValueError: If it is empty, a device, of unknown suffix, or the delimiter is not one character.
        """
        if isinstance(path, TableFile):
            return path
        require_table(path, delimiter)
        name = _shown(path)
        if not _is_stream(path):
            return cls(name, Path(path), require_suffix(path))
        copy = _copied(name, _source(path))
        copy.seek(0)
        start = copy.read(4)
        suffix = _suffix(path) or next((kind for mark, kind in STARTS.items() if start.startswith(mark)), ".csv")
        return cls(name, Path(f"/dev/fd/{copy.fileno()}"), suffix, copy)

    def __fspath__(self) -> str:
        """Return what the user calls it."""
        return self.name

    def __str__(self) -> str:
        """Return what the user calls it."""
        return self.name

    @property
    def is_parquet(self) -> bool:
        """Whether it is read as Parquet."""
        return self.suffix == PARQUET

    def delimiter(self, given: str | None) -> str:
        """Return what separates the fields of a CSV file, unless it is given."""
        return DELIMITERS[self.suffix] if given is None else given

    def open(self) -> IO[bytes]:
        """Open it at its start, and unpack it if it is packed."""
        self._rewind()
        return cast("IO[bytes]", gzip.open(self.place)) if self._is_packed else self.place.open("rb")

    def stream(self) -> Any:
        """Open it for Arrow, which reads ahead in threads of its own: none of them waits for Python at its end."""
        self._rewind()
        return pa.input_stream(str(self.place), compression="gzip" if self._is_packed else None)

    @property
    def _is_packed(self) -> bool:
        return self.suffix.endswith(".gz")

    def _rewind(self) -> None:
        if self.copy is not None:  # /dev/fd opens a file anew on Linux, and elsewhere where it was left
            self.copy.seek(0)


def require_table(path: str | os.PathLike[str], delimiter: str | None = None) -> None:
    """Refuse a path at which no table can be; nothing is read.

    Raises:
        OSError: If it is missing or a directory.
        ValueError: If it is empty, a device, of unknown suffix, or the delimiter is not one character.
    """
    require_suffix(path)
    place, name = _source(path), _shown(path)
    if not place.exists():
        raise FileNotFoundError(f"{name}: there is no such file")
    mode = place.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{name} is a directory, not a table")
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise ValueError(f"{name} is a device, and holds no table: name a file, or send one through a pipe")
    if stat.S_ISREG(mode) and place.stat().st_size == 0:
        raise ValueError(f"{name} is empty")
    if delimiter is not None and len(delimiter) != 1:
        raise ValueError(f"the delimiter is one character, got {delimiter!r}")


def require_suffix(path: str | os.PathLike[str]) -> str:
    """Return the suffix of a table file, ``".csv"`` for a pipe without one; a ValueError if a file has none."""
    suffix = _suffix(path) or (".csv" if _is_stream(path) else None)
    if suffix is None:
        raise ValueError(f"{path} is not named as a table: its suffix must be {SUFFIXES}")
    return suffix


def _suffix(path: str | os.PathLike[str]) -> str | None:
    name = Path(path).name.lower()
    return next((suffix for suffix in (*DELIMITERS, PARQUET) if name.endswith(suffix)), None)


def _shown(path: str | os.PathLike[str]) -> str:
    return "standard input" if os.fspath(path) == STANDARD else os.fspath(path)


def _source(path: str | os.PathLike[str]) -> Path:
    return Path("/dev/stdin") if os.fspath(path) == STANDARD else Path(path)


def _is_stream(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is no file of its own: standard input or output, a pipe, or what the shell has opened."""
    place = _source(path)
    return str(place.parent) in OPENED or (place.exists() and not place.is_file() and not place.is_dir())


def _copied(name: str, source: Path) -> BinaryIO:
    """Copy what comes through a pipe into a file without a name, a part at a time."""
    copy = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115
    try:
        with source.open("rb") as pipe:
            shutil.copyfileobj(pipe, copy, CHUNK)
        copy.flush()
        if not copy.tell():
            raise ValueError(f"{name} is empty")
    except BaseException as error:
        copy.close()
        if isinstance(error, OSError) and error.filename is None:
            where = tempfile.gettempdir()
            raise OSError(error.errno, f"{name} could not be copied there ({error.strerror})", where) from error
        raise
    return copy
