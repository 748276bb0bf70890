"""Files are replaced whole, or not at all; only regular ones are opened; a directory has one writer."""

import os
import stat
import subprocess
import sys
import threading
from urllib.error import URLError

import pytest

from tessflow.files import LOCK, only_writer, open_regular, read_small, replacing, write_atomically


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(TypeError, match="bytes"), replacing(path) as file:
        file.write(b"half" if file.tell() else "no bytes")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_files_of_a_user_stay(tmp_path):
    names = ("table.csv.tmp", ".table.csv.new", "table.csv.new")
    for name in names:
        (tmp_path / name).write_text("mine")
    write_atomically(tmp_path / "table.csv", b"new")
    assert all((tmp_path / name).read_text() == "mine" for name in names)


def test_links_are_followed_and_permissions_stay(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    write_atomically(tmp_path / "fresh", b"")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o666 & ~mask


def test_a_link_to_nothing_becomes_a_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_a_pipe_is_written_into(tmp_path):
    path, read = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    write_atomically(path, b"through")
    reader.join()
    assert read == [b"through"]
    assert stat.S_ISFIFO(path.stat().st_mode)
    write_atomically(os.devnull, b"away")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"could not be written: No such file or directory: .*absent/table.csv"):
        write_atomically(tmp_path / "absent" / "table.csv", b"")
    with pytest.raises(IsADirectoryError, match="could not be written"):
        write_atomically(tmp_path, b"")


def test_only_regular_files_are_read(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"text"
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", os.devnull):
        with pytest.raises(ValueError, match="is no regular file"):
            open_regular(path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "absent")


def refusal(directory):
    """What another thread is told that wants to write into a directory; None: it may."""
    told = []

    def write():
        try:
            with only_writer(directory):
                told.append(None)
        except RuntimeError as error:
            told.append(str(error))

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    return told[0]


def test_a_directory_has_one_writer_at_a_time(tmp_path):
    with only_writer(tmp_path):
        assert refusal(tmp_path) == f"another fit writes into {tmp_path}: wait for it, or choose another directory"
        with only_writer(tmp_path / "."):  # the same thread may
            pass
        assert refusal(tmp_path) is not None
    assert refusal(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_killed_process_is_none(tmp_path):
    script = f"import os; from tessflow.files import only_writer\nwith only_writer({str(tmp_path)!r}): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert (tmp_path / LOCK).exists()
    assert refusal(tmp_path) is None


def test_many_writers_are_never_two(tmp_path):
    inside, together, done = [], [], []

    def write():
        while len(done) < 200:
            try:
                with only_writer(tmp_path):
                    inside.append(1)
                    together.append(len(inside))
                    inside.pop()
                    done.append(1)
            except RuntimeError:
                pass

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(together) == {1}


def test_what_is_larger_than_a_limit_is_not_read(tmp_path):
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match=r"config.json is larger than 1,000 bytes: restore it from a copy"):
        read_small(path, 1000)
    path.write_bytes(bytes(1000))
    assert read_small(path, 1000) == bytes(1000)


def test_the_mask_of_permissions_stays(tmp_path):
    mask = os.umask(0o027)
    try:
        write_atomically(tmp_path / "new", b"")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    finally:
        assert os.umask(mask) == 0o027


def test_another_files_error_is_not_blamed_on_what_is_written(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"), replacing(tmp_path / "out.csv"):
        (tmp_path / "absent.csv").open()
    with pytest.raises(URLError, match="no network"), replacing(tmp_path / "out.csv"):
        raise URLError("no network")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="there is no /dev/stdout")
def test_a_pipe_without_a_name_is_written_into():
    script = "from tessflow.files import write_atomically; write_atomically('/dev/stdout', b'through')"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"through"
