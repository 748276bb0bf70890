"""The paper's two texts as sequences of symbols: text8 and enwik8, the beginning of a Wikipedia of 2006."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tessflow.datasets.files import Library, OfficialFile, require_official, require_size, unpack

__all__ = ["TextDataset", "TextInfo", "load_text", "text_info", "text_names"]

Symbols = npt.NDArray[np.uint8]

_SITE = "http://mattmahoney.net/dc"


@dataclass(frozen=True, kw_only=True)
class TextInfo:
    """What is known of a text without loading it.

    Args:
        description: What it is, in one sentence.
        alphabet: The byte that each symbol stands for.
        length: The number of characters in a row, as the paper cuts the text.
        characters: The number of characters of the whole text.
        file: The official file.
    """

    description: str
    alphabet: bytes = field(repr=False)
    length: int
    characters: int
    file: OfficialFile = field(repr=False)


# The checksums are those that their author publishes for the unpacked files.
_TEXTS = {
    "text8": TextInfo(
        description="Wikipedia articles of 2006 in lower-case letters and spaces, digits spelled out",
        alphabet=b" abcdefghijklmnopqrstuvwxyz",
        length=256,
        characters=100_000_000,
        file=OfficialFile("text8", md5="3bea1919949baf155f99411df5fada7e", packing=".zip", site=_SITE),
    ),
    "enwik8": TextInfo(
        description="The bytes of a dump of Wikipedia of 2006, XML in UTF-8",
        alphabet=bytes(range(256)),
        length=320,
        characters=100_000_000,
        file=OfficialFile("enwik8", md5="a1fa5ffddb56f4953e226637dabbb36a", packing=".zip", site=_SITE),
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class TextDataset:
    """A text split into training, validation and test parts, each a sequence of symbols 0, ..., K - 1.

    Args:
        name: Name in `text_names()`.
        description: What it is, in one sentence.
        source: Where these very characters come from; begins with "PARTIAL" if they are not all.
        alphabet: The byte that each symbol stands for.
        length: The number of characters in a row, as the paper cuts the text.
        train: The first 90% of the characters.
        validation: The next 5%.
        test: The last 5%.

    Example:
        >>> part = np.array([1, 2, 0, 1, 2], dtype=np.uint8)
        >>> text = TextDataset(
        ...     name="abc", description="a b", source="here", alphabet=b" ab", length=2,
        ...     train=part, validation=part, test=part,
        ... )
        >>> text.rows()[0].tolist(), text.decode(text.train), text.classes
        ([[1, 2], [0, 1]], 'ab ab', 3)
    """

    name: str
    description: str
    source: str
    alphabet: bytes = field(repr=False)
    length: int
    train: Symbols = field(repr=False)
    validation: Symbols = field(repr=False)
    test: Symbols = field(repr=False)

    @property
    def classes(self) -> int:
        """The number of symbols."""
        return len(self.alphabet)

    def rows(self, length: int | None = None) -> tuple[npt.NDArray[np.int64], ...]:
        """Cut each part into rows that do not overlap; what is left at its end is dropped.

        Args:
            length: Characters in a row; the paper's by default.

        Returns:
            Training, validation and test rows, int64 of shape ``(rows, length)``.

        Raises:
            ValueError: If ``length`` is below 1, or a part is shorter than one row.
        """
        length = self.length if length is None else length
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        shortest = min(parts, key=lambda name: len(parts[name]))
        if not 1 <= length <= len(parts[shortest]):
            raise ValueError(
                f"rows of {self.name} may have 1 to {len(parts[shortest])} characters (its {shortest} part has no "
                f"more), but length is {length}"
            )
        return tuple(
            part[: len(part) // length * length].reshape(-1, length).astype(np.int64) for part in parts.values()
        )

    def decode(self, symbols: npt.ArrayLike) -> str:
        """Return a sequence of symbols as text; bytes that are no UTF-8 become U+FFFD."""
        return np.frombuffer(self.alphabet, np.uint8)[np.asarray(symbols)].tobytes().decode("utf-8", errors="replace")


def text_names() -> list[str]:
    """Name the texts that `load_text` knows.

    Example:
        >>> text_names()
        ['text8', 'enwik8']
    """
    return list(_TEXTS)


def text_info(name: str) -> TextInfo:
    """Describe a text without loading it.

    Raises:
        ValueError: If there is no such text.

    Example:
        >>> len(text_info("text8").alphabet), text_info("text8").length
        (27, 256)
    """
    if name not in _TEXTS:
        raise ValueError(f"there is no text '{name}': choose one of {', '.join(_TEXTS)}")
    return _TEXTS[name]


def load_text(name: str, *, data_dir: str | os.PathLike[str] | None = None, download: bool = True) -> TextDataset:
    """Load a text in its official split: 90, 5 and 5 million characters.

    Args:
        name: One of `text_names()`.
        data_dir: Directory with the file, plain or packed (.xz, .gz, .zip); default: the environment variable
            TESSFLOW_DATA. It is searched before the cache. A leading part of the file is taken too, split in the same
            proportions, and `source` then begins with "PARTIAL".
        download: Whether the file (about 35 MB) is downloaded if it is neither there nor in the cache.

    Raises:
        ValueError: If the name or `data_dir` is wrong, or a file is damaged or not the official one.
        OSError: If the file is nowhere and could or should not be downloaded.

    Example:
        >>> load_text("text8").train.shape  # doctest: +SKIP
        (90000000,)
    """
    about = text_info(name)
    library = Library(name, data_dir=data_dir, download=download)
    path = _zipped(library, about.file) or library.fetch(about.file)
    raw = _read(path, about.file.name)
    source = _source(about, path, raw)
    codes = np.full(256, 255, dtype=np.uint8)
    codes[list(about.alphabet)] = np.arange(len(about.alphabet))
    symbols = codes[np.frombuffer(raw, np.uint8)]
    if len(about.alphabet) < 256 and (wrong := symbols == 255).any():
        position = int(wrong.argmax())
        raise ValueError(f"'{path}' has the byte {raw[position]} at {position}, which is no character of {name}")
    first, second = (share * len(symbols) // 100 for share in (90, 95))
    train, validation, test = np.split(symbols, [first, second])
    return TextDataset(
        name=name,
        description=about.description,
        source=source,
        alphabet=about.alphabet,
        length=about.length,
        train=train,
        validation=validation,
        test=test,
    )


def _zipped(library: Library, file: OfficialFile) -> Path | None:
    """Look for the file as it is served, in the user's directory, if nothing unpacked is there."""
    if library.data_dir is None or library.find(file):
        return None
    paths = (folder / (file.name + file.packing) for folder in (library.data_dir, library.data_dir / library.dataset))
    return next((path for path in paths if path.is_file()), None)


def _read(path: Path, member: str) -> bytes:
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                require_size(path, archive.getinfo(member).file_size)
                return archive.read(member)
        return unpack(path)
    except KeyError as error:
        raise ValueError(f"'{path}' holds no file {member}: remove it and take it again") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"'{path}' is damaged ({error}): remove it and take it again") from error


def _source(about: TextInfo, path: Path, raw: bytes) -> str:
    """Say where a text comes from, or raise if it is not the official one nor shorter."""
    md5 = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if md5 == about.file.md5:
        return f"{path.name} (official md5 {md5})"
    if len(raw) >= about.characters:
        require_official(about.file, path, md5)
    return f"PARTIAL: the first {len(raw):,} of {about.characters:,} characters: {path.name} (unverified md5 {md5})"
