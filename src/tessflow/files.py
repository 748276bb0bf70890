"""Files: how one is replaced, how one is opened to be read, and how a directory is kept for one writer."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "LOCK", "STANDARD", "is_standard_output", "only_writer", "open_regular", "read_small", "replacing", "sha256",
    "sweep", "write_atomically",
]  # fmt: skip

LOCK = ".tessflow-lock"

STANDARD = "-"
"""What standard input and standard output are called on a command line."""

_held = threading.local()


def is_standard_output(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is standard output: ``"-"``, or any name of the file that it goes to, as ``/dev/stdout``.

    Example:
        >>> is_standard_output("-"), is_standard_output("/dev/fd/1"), is_standard_output(".")
        (True, True, False)
    """
    if os.fspath(path) == STANDARD:
        return True
    try:
        return os.path.samestat(os.stat(path), os.fstat(1))
    except OSError:  # one of them is not there
        return False


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to be written in place of ``path``, which stays as it is until the new one is whole.

    What is written goes to a new file beside it, under a name that nobody else has, is flushed to the disk and renamed.
    Whenever the process dies, ``path`` is the old file or the new one. Links are followed, and a file that is there
    keeps its permissions. What is no regular file, such as a pipe or a device, is written into.

    Args:
        path: The file; ``"-"``, or another name of it, for standard output.

    Raises:
        OSError: If it cannot be written, with ``path`` as its file name.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "eggs.txt"
        >>> with replacing(file) as new:
        ...     _ = new.write(b"six")
        >>> file.read_text(), [other.name for other in file.parent.iterdir()]
        ('six', ['eggs.txt'])
    """
    if is_standard_output(path):
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    target = Path(os.path.realpath(path))
    name = str(target.with_name(f".{target.name[:64]}.{secrets.token_hex(4)}.new"))
    try:
        # Of what `path` is: a pipe that is nobody's file, such as /dev/stdout, is not found by its real path.
        mode = os.stat(path).st_mode if os.path.exists(path) else None
        if mode is not None and not stat.S_ISREG(mode):
            with open(path, "wb") as file:
                yield file
            return
        descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if mode is not None:
                os.chmod(name, stat.S_IMODE(mode))
            os.replace(name, target)
            _sync(target.parent)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)
    except OSError as error:
        if error.errno is None or error.filename not in (None, name, str(target), str(path), path):
            raise  # of another file, which the block was busy with
        raise OSError(error.errno, f"could not be written: {error.strerror}", str(path)) from error


def write_atomically(path: str | os.PathLike[str], contents: bytes) -> None:
    """Write a file, as :func:`replacing` does."""
    with replacing(path) as file:
        file.write(contents)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to be read, if it is a regular one; links are followed.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is a directory, a pipe or a device.
    """
    # A pipe would be waited for, if it were opened to see what it is.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise ValueError(f"{os.fspath(path)} is no regular file: name a file, or a link to one")


def read_small(path: str | os.PathLike[str], limit: int, advice: str = "restore it from a copy") -> bytes:
    """Read a regular file of at most so many bytes.

    Args:
        path: The file.
        limit: Most bytes.
        advice: What to do about a larger one.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no regular file, or larger.
    """
    with open_regular(path) as file:
        contents = file.read(limit + 1)
    if len(contents) > limit:
        raise ValueError(f"{os.fspath(path)} is larger than {limit:,} bytes: {advice}")
    return contents


def sha256(file: BinaryIO) -> str:
    """Return the SHA-256 digest of the rest of a file, in hexadecimal, in bounded memory."""
    hashed = hashlib.sha256()
    while chunk := file.read(1 << 20):
        hashed.update(chunk)
    return hashed.hexdigest()


def sweep(directory: str | os.PathLike[str], names: str) -> None:
    """Remove what killed calls of :func:`replacing` left in a directory that is kept by :func:`only_writer`.

    Args:
        directory: The directory.
        names: A regular expression of the names that were to be written.

    Example:
        >>> import tempfile
        >>> directory = Path(tempfile.mkdtemp())
        >>> for name in (".eggs.txt.a1b2c3d4.new", ".milk.txt.a1b2c3d4.new", ".eggs.txt.new"):
        ...     (directory / name).touch()
        >>> sweep(directory, "eggs[.]txt")
        >>> sorted(file.name for file in directory.iterdir())
        ['.eggs.txt.new', '.milk.txt.a1b2c3d4.new']
    """
    left = re.compile(rf"\.({names})\.[a-z0-9_]{{8}}\.new")
    for entry in Path(directory).iterdir():
        if left.fullmatch(entry.name):
            with suppress(OSError):
                entry.unlink()


@contextmanager
def only_writer(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Keep a directory for one thread, until it leaves the block or the process ends; it may enter another in it.

    Where the file system has no locks, nothing is kept.

    Raises:
        RuntimeError: If another process, or another thread of this one, writes there.

    Example:
        >>> import tempfile
        >>> with only_writer(tempfile.mkdtemp()):
        ...     pass  # only_writer of the same directory in another process or thread raises a RuntimeError
    """
    key, held = os.path.realpath(directory), vars(_held)
    if key in held:
        yield
        return
    path = Path(directory) / LOCK
    with _locked(path):
        held[key] = True
        try:
            yield
        finally:
            del held[key]
            with suppress(FileNotFoundError):
                path.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:
        yield
        return
    while True:
        with path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RuntimeError(
                    f"another fit writes into {path.parent}: wait for it, or choose another directory"
                ) from None
            except OSError:  # there are none on this file system
                pass
            # The one who kept it may have removed the file in between: then the lock is on a file without a name.
            try:
                is_mine = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                continue
            if is_mine:
                yield
                return


def _sync(directory: Path) -> None:
    """Flush the names of a directory's files to the disk, where that can be done."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
