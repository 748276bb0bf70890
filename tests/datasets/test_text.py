"""text8 and enwik8."""

import dataclasses
import gzip
import hashlib
import io
import lzma
import zipfile

import numpy as np
import pytest

from tessflow.datasets import load_text, text, text_info, text_names

WORDS = (b"the quick brown fox jumps over the lazy dog " * 50)[:2000]


def zipped(name, content):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


@pytest.fixture
def official(monkeypatch, repository):
    """A text8 that is official and 2,000 characters long, served as its author serves it."""
    from tessflow.datasets import files

    (repository / "text8.zip").write_bytes(zipped("text8", WORDS))
    about = text._TEXTS["text8"]
    md5 = hashlib.md5(WORDS, usedforsecurity=False).hexdigest()
    file = dataclasses.replace(about.file, md5=md5, site=files.UCI)
    monkeypatch.setitem(text._TEXTS, "text8", dataclasses.replace(about, characters=len(WORDS), file=file))
    return repository


def test_the_whole_text_is_split_as_officially(official):
    loaded = load_text("text8")
    assert [len(part) for part in (loaded.train, loaded.validation, loaded.test)] == [1800, 100, 100]
    whole = np.concatenate([loaded.train, loaded.validation, loaded.test])
    assert loaded.decode(whole).encode() == WORDS
    assert loaded.classes == 27
    assert whole.max() <= 26
    assert "official md5" in loaded.source
    assert "PARTIAL" not in loaded.source
    (official / "text8.zip").unlink()
    assert np.array_equal(load_text("text8", download=False).train, loaded.train)  # from the cache


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("text8", bytes),
        ("text8.xz", lzma.compress),
        ("text8.gz", gzip.compress),
        ("text8.zip", lambda raw: zipped("text8", raw)),
        ("text8/text8.xz", lzma.compress),
        ("text8/text8.zip", lambda raw: zipped("text8", raw)),
    ],
)
def test_files_of_the_user(tmp_path, name, pack):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pack(WORDS))
    loaded = load_text("text8", data_dir=tmp_path, download=False)
    assert loaded.source.startswith("PARTIAL: the first 2,000 of 100,000,000 characters: text8")
    assert [len(part) for part in (loaded.train, loaded.validation, loaded.test)] == [1800, 100, 100]
    assert loaded.decode(loaded.train[:9]) == "the quick"


def test_enwik8_has_every_byte(tmp_path):
    raw = "<page>Zürich & 東京\n</page>".encode() * 100
    (tmp_path / "enwik8").write_bytes(raw)
    loaded = load_text("enwik8", data_dir=tmp_path)
    assert loaded.classes == 256
    assert loaded.train.tobytes() == raw[: len(raw) * 9 // 10]
    assert loaded.decode(loaded.train[:32]).startswith("<page>Zürich & 東京\n")
    assert "\ufffd" in loaded.decode([195])
    assert loaded.length == 320


def test_rows(tmp_path):
    (tmp_path / "text8").write_bytes(WORDS)
    loaded = load_text("text8", data_dir=tmp_path)
    train, validation, test = loaded.rows(30)
    assert (train.shape, validation.shape, test.shape) == ((60, 30), (3, 30), (3, 30))
    assert train.dtype == np.int64
    assert np.array_equal(train.flatten(), loaded.train)
    assert np.array_equal(test.flatten(), loaded.test[:90])
    for length in (0, 101, None):
        with pytest.raises(ValueError, match="rows of text8 may have 1 to 100 characters"):
            loaded.rows(length)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("text8", b"no Capitals" * 10, "has the byte 67 at 3, which is no character of text8"),
        ("text8.xz", b"nothing", "is damaged"),
        ("text8.gz", b"nothing", "is damaged"),
        ("text8.zip", b"nothing", "is damaged"),
        ("text8.zip", zipped("enwik8", WORDS), "holds no file text8"),
    ],
)
def test_wrong_files(tmp_path, name, content, error):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=error):
        load_text("text8", data_dir=tmp_path)


def test_a_file_as_long_as_the_official_one_must_be_it(official, tmp_path):
    (tmp_path / "text8").write_bytes(WORDS[::-1])
    with pytest.raises(ValueError, match=r"is not the official text8 \(its unpacked bytes have md5"):
        load_text("text8", data_dir=tmp_path)


def test_names_and_errors(offline):
    assert text_names() == ["text8", "enwik8"]
    assert text_info("enwik8").characters == 100_000_000
    with pytest.raises(ValueError, match="there is no text 'text9': choose one of text8, enwik8"):
        load_text("text9")
    with pytest.raises(FileNotFoundError, match=r"download http://mattmahoney.net/dc/text8.zip by another way"):
        load_text("text8", download=False)
