"""Official files: taken from a directory of the user's, else from the cache, else downloaded into it."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pooch

__all__ = ["Library", "OfficialFile", "require_official", "unpack"]

MOST_BYTES = 2**32
"""Most bytes of a file of a data set, unpacked."""

UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases"


@dataclass(frozen=True)
class OfficialFile:
    """A file of a public repository, by default the UCI Machine Learning Repository.

    Args:
        path: Directory and name there, without the suffix of a packed file.
        md5: Checksum of the unpacked bytes, or `None` where we never held the repository's own file.
        packing: Suffix under which the repository serves it, such as ".gz".
        site: Address below which `path` is, or `None` for UCI.
        packed_md5: Checksum of the bytes that the repository serves, if it is known.
    """

    path: str
    md5: str | None
    packing: str = ""
    site: str | None = None
    packed_md5: str | None = None

    @property
    def is_verified(self) -> bool:
        """Whether a checksum is known, so that nothing else is taken for the file."""
        return self.md5 is not None or self.packed_md5 is not None

    @property
    def name(self) -> str:
        """Name of the unpacked file."""
        return Path(self.path).name

    @property
    def url(self) -> str:
        """Official address."""
        return f"{self.site or UCI}/{self.path}{self.packing}"


class Library:
    """Where the files of one data set may lie.

    Args:
        dataset: Name of the data set, which may also be the name of a directory in `data_dir`.
        data_dir: Directory of the user's, searched first; default: the environment variable TESSFLOW_DATA.
        download: Whether a file that is nowhere is downloaded.

    Raises:
        ValueError: If `data_dir` is not a directory.
    """

    def __init__(self, dataset: str, *, data_dir: str | os.PathLike[str] | None = None, download: bool = True) -> None:
        self.dataset = dataset
        self.download = download
        given = data_dir or os.environ.get("TESSFLOW_DATA")
        self.data_dir = Path(given).expanduser() if given else None
        if self.data_dir is not None and not self.data_dir.is_dir():
            option = "data_dir" if data_dir else "TESSFLOW_DATA"
            raise ValueError(f"{option} is '{self.data_dir}', which is not a directory")

    def find(self, file: OfficialFile) -> Path | None:
        """Look for a file in `data_dir`, plain or packed, and in its directories named as here or at UCI.

        Raises:
            ValueError: If all there is was packed by Unix compress, which Python cannot read.
        """
        if self.data_dir is None:
            return None
        for folder in (self.data_dir, self.data_dir / self.dataset, self.data_dir / Path(file.path).parent):
            for packing in ("", ".xz", ".gz"):
                path = folder / (file.name + packing)
                if path.is_file():
                    return path
            if (path := folder / f"{file.name}.Z").is_file():
                raise ValueError(f"'{path}' is packed by compress: unpack it first (uncompress {file.name}.Z)")
        return None

    def fetch(self, file: OfficialFile) -> Path:
        """Give the path of a file in `data_dir` or the cache, after downloading it where that is needed.

        Raises:
            OSError: If the file is nowhere and could or should not be downloaded: what has no checksum and comes over
                plain http is not.
            ValueError: If what was downloaded has another checksum.
        """
        found = self.find(file)
        if found is not None:
            return found
        target = Path(pooch.os_cache("tessflow"), file.path + file.packing)
        if not file.is_verified:
            target = target.with_name(f"unverified-{target.name}")
        advice = (
            f"download {file.url} by another way and give its directory as --data-dir, data_dir=... or TESSFLOW_DATA"
        )
        if not (self.download or target.is_file()):
            raise FileNotFoundError(f"{file.name} is not on this machine and downloads are off: {advice}")
        if not (file.is_verified or _is_private(file.url) or target.is_file()):
            raise OSError(f"{file.name} has no checksum here and is served without encryption: {advice}")
        served = file.packed_md5 if file.packing else file.md5
        try:
            path = pooch.retrieve(
                file.url,
                known_hash=f"md5:{served}" if served else None,
                fname=target.name,
                path=target.parent,
            )
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise OSError(f"{file.name} could not be downloaded ({reason}): {advice}") from error
        except ValueError as error:
            raise ValueError(
                f"{file.url} sent something else than the official {file.name} (another checksum; "
                "nothing was kept): try again later, or " + advice
            ) from error
        return Path(path)

    def read(self, file: OfficialFile) -> tuple[bytes, Path, str]:
        """Read a file that is checked against its checksum: its unpacked bytes, its path, and the md5 that was checked.

        Raises:
            OSError: If the file cannot be had.
            ValueError: If it is damaged, or has another checksum.
        """
        path = self.fetch(file)
        raw = unpack(path)
        is_served = file.packed_md5 is not None and path.suffix == file.packing
        md5 = hashlib.md5(path.read_bytes() if is_served else raw, usedforsecurity=False).hexdigest()
        require_official(file, path, md5, is_served=is_served)
        return raw, path, md5

    def read_csv(
        self, file: OfficialFile, *, names: Sequence[str] | None = None, dtype: str
    ) -> tuple[pd.DataFrame, str]:
        """Read a file with commas between its values.

        Args:
            file: What to read.
            names: Names of its columns; `None` where its first line tells them.
            dtype: Type of all values.

        Returns:
            The rows, and a sentence that tells where they come from.

        Raises:
            OSError: If the file cannot be had.
            ValueError: If it is damaged, has another checksum, or is no table of that shape and type.
        """
        raw, path, md5 = self.read(file)
        try:
            frame = pd.read_csv(io.BytesIO(raw), header=None if names else "infer", dtype=dtype, na_filter=False)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"'{path}' is not a table of {dtype} values: {str(error).strip()}") from error
        if names:
            if frame.shape[1] != len(names):
                raise ValueError(f"'{path}' has {frame.shape[1]} columns, but {file.name} has {len(names)}")
            frame.columns = pd.Index(names)
        return frame, f"{path.name} ({_verified(file)} md5 {md5})"

    def read_member(self, archive: OfficialFile, member: str) -> tuple[bytes, str]:
        """Read one file of a tar archive into memory; nothing is written to disk.

        Args:
            archive: The archive, packed by gzip or not at all.
            member: Directory and name in it; what is above that directory does not matter.

        Returns:
            The bytes, and a sentence that tells where they come from.

        Raises:
            OSError: If the archive cannot be had.
            ValueError: If it is damaged, has another checksum, or lacks the file.
        """
        path = self.fetch(archive)
        md5 = pooch.file_hash(path, alg="md5")
        require_official(archive, path, md5)
        parts = PurePosixPath(member).parts
        try:
            with tarfile.open(path) as tar:
                for entry in tar:
                    named = PurePosixPath(entry.name).parts[-len(parts) :] == parts and entry.isfile()
                    if named and (content := tar.extractfile(entry)):
                        require_size(path, entry.size)
                        return content.read(), f"{member} in {path.name} ({_verified(archive)} md5 {md5})"
        except (EOFError, gzip.BadGzipFile, tarfile.TarError, zlib.error) as error:
            raise ValueError(f"'{path}' is damaged ({error}): remove it and take it again") from error
        raise ValueError(f"'{path}' holds no {member}: take {archive.url}")


def _is_private(url: str) -> bool:
    """Return whether nobody between here and there can change what is sent."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1")


def require_official(file: OfficialFile, path: Path, md5: str, *, is_served: bool = False) -> None:
    """Raise a ValueError if a file has a checksum, unpacked or as it is served, and what lies at `path` another."""
    official, which = (file.packed_md5, "packed") if is_served else (file.md5, "unpacked")
    if official not in (None, md5):
        raise ValueError(
            f"'{path}' is not the official {file.name} (its {which} bytes have md5 {md5}, "
            f"not {official}): replace it by {file.url}"
        )


def _verified(file: OfficialFile) -> str:
    return "official" if file.is_verified else "unverified"


def require_size(path: Path, size: int) -> None:
    """Raise a ValueError if what is unpacked has more bytes than any data set here."""
    if size > MOST_BYTES:
        raise ValueError(f"'{path}' unpacks to more than {MOST_BYTES:,} bytes: remove it and take the official file")


def unpack(path: Path) -> bytes:
    """Read a file, unpacked if its name ends in .xz or .gz.

    Raises:
        ValueError: If it is damaged, or unpacks to more than `MOST_BYTES`.
    """
    opened: Any = {".xz": lzma.open, ".gz": gzip.open}.get(path.suffix, open)
    try:
        with opened(path, "rb") as file:
            content = bytes(file.read(MOST_BYTES + 1))
        require_size(path, len(content))
        return content
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"'{path}' is damaged ({error}): remove it and take it again") from error
