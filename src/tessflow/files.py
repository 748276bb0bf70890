"""Files: how one is replaced, how one is opened to be read, and how a directory is kept for one writer."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["only_writer", "open_regular", "replacing", "write_atomically"]

LOCK = ".tessflow-lock"


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to be written in place of ``path``, which stays as it is until the new one is whole.

    What is written goes to a new file beside it, under a name that nobody else has, is flushed to the disk and renamed.
    Whenever the process dies, ``path`` is the old file or the new one. Links are followed, and a file that is there
    keeps its permissions. What is no regular file, such as a pipe or a device, is written into.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be written, with ``path`` as its file name.

    Example:
        >>> file = Path(tempfile.mkdtemp()) / "eggs.txt"
        >>> with replacing(file) as new:
        ...     _ = new.write(b"six")
        >>> file.read_text(), [other.name for other in file.parent.iterdir()]
        ('six', ['eggs.txt'])
    """
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode if target.exists() else None
        if mode is not None and not stat.S_ISREG(mode):
            with target.open("wb") as file:
                yield file
            return
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:64]}.", suffix=".new", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, stat.S_IMODE(mode) if mode is not None else 0o666 & ~_umask())
            os.replace(name, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)
    except OSError as error:
        raise type(error)(error.errno, f"could not be written: {error.strerror or error}", str(path)) from error


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


@contextmanager
def only_writer(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Keep a directory for one writer, until the process ends or leaves the block.

    Raises:
        RuntimeError: If another process, or another thread of this one, writes there.

    Example:
        >>> directory = tempfile.mkdtemp()
        >>> with only_writer(directory), only_writer(directory):
        ...     pass
        Traceback (most recent call last):
        RuntimeError: another fit writes into ...: wait for it, or choose another directory
    """
    import fcntl

    path = Path(directory) / LOCK
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RuntimeError(
                f"another fit writes into {os.fspath(directory)}: wait for it, or choose another directory"
            ) from error
        try:
            yield
        finally:
            with suppress(FileNotFoundError):
                path.unlink()


def _umask() -> int:
    """Return the mask of permissions, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
