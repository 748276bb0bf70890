import gzip
import hashlib
import lzma
import pathlib
import re

import pytest

import tessflow.datasets
from tessflow.datasets.files import Library, OfficialFile

RAW = b"1,2\n3,4\n"
MD5 = hashlib.md5(RAW).hexdigest()
PLAIN = OfficialFile("numbers-uci/numbers.data", md5=MD5)
GZIPPED = OfficialFile("numbers-uci/numbers.data", md5=MD5, packing=".gz")
UNVERIFIED = OfficialFile("numbers-uci/numbers.data", md5=None)


def put(root, name, content):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def read(file, *, names=("a", "b"), dtype="int16", **options):
    return Library("numbers", **options).read_csv(file, names=names, dtype=dtype)


@pytest.mark.parametrize("folder", [".", "numbers", "numbers-uci"])
@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".xz", lzma.compress), (".gz", gzip.compress)], ids=["raw", "xz", "gz"]
)
@pytest.mark.usefixtures("offline")
def test_reads_a_local_file(tmp_path, folder, suffix, pack):
    path = put(tmp_path / "data" / folder, f"numbers.data{suffix}", pack(RAW))
    frame, source = read(PLAIN, data_dir=tmp_path / "data")
    assert frame.to_dict("list") == {"a": [1, 3], "b": [2, 4]}
    assert set(frame.dtypes.astype(str)) == {"int16"}
    assert source.startswith(path.name)
    assert MD5 in source


@pytest.mark.usefixtures("offline")
def test_finds_the_directory_by_environment_variable(tmp_path, monkeypatch):
    put(tmp_path / "data", "numbers.data", RAW)
    monkeypatch.setenv("TESSFLOW_DATA", str(tmp_path / "data"))
    assert len(read(PLAIN)[0]) == 2


def test_a_directory_given_outright_goes_before_the_environment_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("TESSFLOW_DATA", str(tmp_path / "nowhere"))
    put(tmp_path / "data", "numbers.data", RAW)
    assert len(read(PLAIN, data_dir=tmp_path / "data")[0]) == 2
    with pytest.raises(ValueError, match=r"TESSFLOW_DATA is '.*nowhere', which is not a directory"):
        read(PLAIN)


def test_refuses_a_directory_that_is_none(tmp_path):
    with pytest.raises(ValueError, match=r"data_dir is '.*missing', which is not a directory"):
        Library("numbers", data_dir=tmp_path / "missing")


@pytest.mark.parametrize("file", [PLAIN, GZIPPED, UNVERIFIED], ids=["plain", "gzipped", "unverified"])
def test_downloads_once(repository, cache, file):
    served = put(repository, file.path + file.packing, gzip.compress(RAW, mtime=0) if file.packing else RAW)
    first, source = read(file)
    assert file.name in source
    served.unlink()
    again, _ = read(file)
    offline_too, _ = read(file, download=False)
    assert first.equals(again)
    assert first.equals(offline_too)


def test_a_download_with_another_checksum_is_refused_and_not_kept(repository, cache):
    served = put(repository, PLAIN.path, b"<html>moved</html>")
    with pytest.raises(ValueError, match=r"sent something else than the official numbers\.data .*TESSFLOW_DATA"):
        read(PLAIN)
    assert not [path for path in cache.rglob("*") if path.is_file()]
    served.write_bytes(RAW)
    assert len(read(PLAIN)[0]) == 2


@pytest.mark.usefixtures("offline")
def test_without_network_the_error_says_what_to_do():
    with pytest.raises(OSError, match="could not be downloaded") as caught:
        read(PLAIN)
    message = str(caught.value)
    assert "numbers.data" in message
    assert PLAIN.url in message
    assert "--data-dir" in message
    assert "TESSFLOW_DATA" in message
    assert "\n" not in message


@pytest.mark.usefixtures("repository")
def test_a_missing_page_is_an_error_too():
    with pytest.raises(OSError, match=r"numbers\.data could not be downloaded \(HTTPError\)"):
        read(UNVERIFIED)


def test_downloads_can_be_forbidden(repository):
    put(repository, PLAIN.path, RAW)
    with pytest.raises(FileNotFoundError, match=r"downloads are off: download http.*numbers\.data"):
        read(PLAIN, download=False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("numbers.data", b"1,2\n3,5\n", r"is not the official numbers\.data"),
        ("numbers.data.gz", gzip.compress(RAW, mtime=0)[:-4], "is damaged"),
        ("numbers.data.gz", RAW, "is damaged"),
        ("numbers.data.xz", RAW, "is damaged"),
        ("numbers.data.xz", lzma.compress(RAW)[:-9], "is damaged"),
        ("numbers.data.Z", b"\x1f\x9d\x90", r"unpack it first \(uncompress numbers\.data\.Z\)"),
    ],
)
def test_refuses_damaged_and_foreign_files(tmp_path, name, content, message):
    put(tmp_path, name, content)
    with pytest.raises(ValueError, match=message):
        read(PLAIN, data_dir=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,2,3\n4,5,6\n", "has 3 columns, but numbers.data has 2"),
        (b"1,2\n3,4,5\n", "is not a table of int16 values"),
        (b"1,two\n", "is not a table of int16 values"),
        (b"1,40000\n", "is not a table of int16 values"),
        (b"", "is not a table of int16 values"),
    ],
)
def test_refuses_tables_of_another_shape(tmp_path, content, message):
    put(tmp_path, "numbers.data", content)
    with pytest.raises(ValueError, match=message):
        read(UNVERIFIED, data_dir=tmp_path)


def test_a_header_names_the_columns(tmp_path):
    put(tmp_path, "numbers.data", b"u,v\n" + RAW)
    frame, source = read(UNVERIFIED, names=None, data_dir=tmp_path)
    assert frame.columns.tolist() == ["u", "v"]
    assert "unverified" in source


def test_an_unverified_download_says_so_in_its_name(repository, cache):
    put(repository, UNVERIFIED.path, RAW)
    read(UNVERIFIED)
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["unverified-numbers.data"]


def test_what_has_no_checksum_is_not_downloaded_over_plain_http(monkeypatch, cache):
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: pytest.fail("was downloaded"))
    file = OfficialFile("data/numbers.data", md5=None, site="http://example.org")
    with pytest.raises(OSError, match=r"no checksum here and is served without encryption: .*TESSFLOW_DATA"):
        read(file)


def test_nothing_else_downloads():
    sources = pathlib.Path(tessflow.datasets.__file__).parent
    downloading = [
        path.name for path in sources.glob("*.py") if re.search(r"pooch\.retrieve|urlopen|requests", path.read_text())
    ]
    assert downloading == ["files.py"]


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".xz", lzma.compress), (".gz", gzip.compress)])
def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, suffix, pack):
    monkeypatch.setattr("tessflow.datasets.files.MOST_BYTES", 1000)
    put(tmp_path, f"numbers.data{suffix}", pack(b"1,2\n" * 1000))
    with pytest.raises(ValueError, match=r"unpacks to more than 1,000 bytes: remove it"):
        read(UNVERIFIED, data_dir=tmp_path)
