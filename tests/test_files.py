"""Files are replaced whole, or not at all; only regular ones are opened; a directory has one writer."""

import os
import stat
import threading

import pytest

from tessflow.files import only_writer, open_regular, replacing, write_atomically


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


def test_a_directory_has_one_writer_at_a_time(tmp_path):
    with only_writer(tmp_path), pytest.raises(RuntimeError, match="another fit writes into"), only_writer(tmp_path):
        pass
    with only_writer(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
