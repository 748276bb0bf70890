import dataclasses
import gzip
import hashlib
import io
import pickle
import sys
import tarfile

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tessflow.datasets import bsds300_patches, continuous, continuous_info, continuous_names, load_continuous

RNG = np.random.default_rng(0)
POWER = np.arange(160.0).reshape(20, 8)
MINIBOONE = RNG.normal(2, 3, size=(50, 43))
PATCHES = {part: RNG.normal(size=(n, 63)) for part, n in (("train", 4), ("validation", 2), ("test", 3))}
SENSORS = RNG.normal(size=(40, 8))


def npy(rows, **options):
    stream = io.BytesIO()
    np.save(stream, rows, **options)
    return stream.getvalue()


def hdf5(parts):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for part, rows in parts.items():
            file[part] = rows
    return stream.getvalue()


def gas_frame():
    """The first three sensors tell the same, so the third alone stays with the other seven."""
    frame = pd.DataFrame({"Time": range(40), "Meth": 1.0, "Eth": 2.0, "a": SENSORS[:, 0] * 3, "b": SENSORS[:, 0] - 5})
    return frame.assign(**{f"s{number}": SENSORS[:, number] for number in range(8)})


def particles(n, *, extra, seed):
    """27 features: six whose lowest value comes six times, one whose highest does, 20 without repetitions."""
    features = np.random.default_rng(seed).normal(size=(n, 27))
    features[:6, :6] = -9.0
    features[:6, 6] = 9.0
    frame = pd.DataFrame(features, columns=[f"f{number}" for number in range(27)])
    frame = frame.assign(mass=1000.0) if extra else frame
    frame.insert(0, "# label", 1.0)
    background = frame.assign(**{"# label": 0.0, "f8": 77.0})
    return pd.concat([background, frame, background]), features


def csv(frame):
    return frame.to_csv(index=False).encode()


def archive(**changes):
    stream = io.BytesIO()
    members = {
        "data/power/._data.npy": b"of another system",
        "data/power/data.npy": npy(POWER),
        "data/miniboone/data.npy": npy(MINIBOONE),
        "data/gas/ethylene_CO.pickle": pickle.dumps(gas_frame()),
        "data/hepmass/1000_train.csv": csv(particles(30, extra=False, seed=1)[0]),
        "data/hepmass/1000_test.csv": csv(particles(10, extra=True, seed=2)[0]),
        "data/BSDS300/BSDS300.hdf5": hdf5(PATCHES),
    } | changes
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def official(monkeypatch):
    """Make the given bytes the official archive."""

    def declare(raw):
        md5 = hashlib.md5(raw).hexdigest()
        monkeypatch.setattr(continuous, "ARCHIVE", dataclasses.replace(continuous.ARCHIVE, md5=md5, site=None))
        return raw

    return declare


def put(root, name, content):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def unstandardised(rows, reference, ddof=0):
    return rows * reference.std(axis=0, ddof=ddof) + reference.mean(axis=0)


def test_names_and_info():
    assert continuous_names() == ["power", "gas", "hepmass", "miniboone", "bsds300"]
    assert continuous_info("miniboone").rows == (29_556, 3_284, 3_648)
    with pytest.raises(ValueError, match="no continuous data set 'POWER': choose one of power, gas"):
        load_continuous("POWER")


def test_the_archive_is_the_published_one():
    assert continuous.ARCHIVE.url == "https://zenodo.org/records/1161203/files/data.tar.gz"


@pytest.mark.parametrize("folder", [".", "data"])
def test_power(tmp_path, folder):
    put(tmp_path, f"{folder}/power/data.npy", npy(POWER))
    data = load_continuous("power", data_dir=tmp_path)
    assert [part.shape for part in (data.train, data.validation, data.test)] == [(17, 6), (1, 6), (2, 6)]
    assert data.train.dtype == np.float32
    assert data.source.startswith("partial, 20 of 2,049,280 rows: power/data.npy (unverified md5 ")
    order, generator = np.arange(20), np.random.RandomState(42)
    generator.shuffle(order)
    voltage, power, meters = generator.rand(20, 1) / 100, generator.rand(20, 1) / 1000, generator.rand(20, 3)
    rows = POWER[order][:, [0, 2, 4, 5, 6, 7]] + np.hstack([power, voltage, meters, np.zeros((20, 1))])
    together = np.concatenate([data.train, data.validation, data.test])
    assert unstandardised(together, rows[:18]) == pytest.approx(rows, abs=1e-4)
    assert data.frame.to_numpy() == pytest.approx(together)
    assert data.frame.columns.tolist() == ["x1", "x2", "x3", "x4", "x5", "x6"]


def test_miniboone(tmp_path):
    put(tmp_path, "miniboone/data.npy", npy(MINIBOONE))
    data = load_continuous("miniboone", data_dir=tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [41, 4, 5]
    seen = np.concatenate([data.train, data.validation])
    assert seen.mean(axis=0) == pytest.approx(np.zeros(43), abs=1e-6)
    assert seen.std(axis=0) == pytest.approx(np.ones(43), abs=1e-6)
    assert unstandardised(data.test, MINIBOONE[:45]) == pytest.approx(MINIBOONE[45:], abs=1e-5)


def test_gas_of_the_archive(tmp_path, official):
    put(tmp_path, "data.tar.gz", official(archive()))
    data = load_continuous("gas", data_dir=tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [33, 3, 4]
    assert unstandardised(data.frame.to_numpy(), SENSORS, ddof=1) == pytest.approx(SENSORS, abs=1e-5)
    assert "gas/ethylene_CO.pickle in data.tar.gz (official md5 " in data.source


def test_gas_of_uci_is_a_random_quarter(tmp_path):
    readings = RNG.normal(size=(160, 16))
    readings[:, :8] = readings[:, 8:] * 2 + 1e-4 * readings[:, :8]
    table = np.hstack([np.arange(160.0)[:, None], np.ones((160, 2)), readings])
    text = "Time (seconds), CO conc (ppm), Ethylene conc (ppm), sensor readings (16 channels)\n"
    text += "\n".join("  ".join(f"{value:.6f}" for value in row) for row in table)
    put(tmp_path, "gas/ethylene_CO.txt", text.encode())
    data = load_continuous("gas", data_dir=tmp_path)
    assert data.frame.shape == (40, 8)
    assert "ethylene_CO.txt, a fresh random quarter of its 160 rows, not the published rows" in data.source
    chosen = pd.DataFrame(readings[:, 8:]).sample(frac=0.25, random_state=0).to_numpy()
    assert unstandardised(data.frame.to_numpy(), chosen, ddof=1) == pytest.approx(chosen, abs=1e-4)


def test_a_pickle_outside_the_archive_is_not_read(tmp_path):
    put(tmp_path, "gas/ethylene_CO.pickle", pickle.dumps(gas_frame()))
    with pytest.raises(ValueError, match=r"is a pickle, which can run any code .* data\.tar\.gz .* ethylene_CO\.txt"):
        load_continuous("gas", data_dir=tmp_path)


def test_a_pickle_of_an_archive_without_checksum_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(continuous, "ARCHIVE", dataclasses.replace(continuous.ARCHIVE, md5=None))
    put(tmp_path, "data.tar.gz", archive())
    with pytest.raises(ValueError, match="without a checksum"):
        load_continuous("gas", data_dir=tmp_path)


@pytest.mark.parametrize("content", [b"", b"cnowhere\nnothing\n.", pickle.dumps(pd.DataFrame({"Time": [1.0]}))])
def test_a_pickle_that_pandas_cannot_read(tmp_path, official, content):
    put(tmp_path, "data.tar.gz", official(archive(**{"data/gas/ethylene_CO.pickle": content})))
    with pytest.raises(ValueError, match=r"cannot be read by pandas .* or put UCI's ethylene_CO\.txt"):
        load_continuous("gas", data_dir=tmp_path)


@pytest.mark.parametrize("extra", [True, False])
def test_hepmass(tmp_path, extra):
    (train, features), (test, test_features) = particles(30, extra=False, seed=1), particles(10, extra=extra, seed=2)
    put(tmp_path, "hepmass/1000_train.csv", csv(train))
    put(tmp_path, "hepmass/1000_test.csv", csv(test))
    data = load_continuous("hepmass", data_dir=tmp_path)
    assert [part.shape for part in (data.train, data.validation, data.test)] == [(27, 21), (3, 21), (10, 21)]
    rows = np.concatenate([features, test_features])[:, 6:]
    assert unstandardised(data.frame.to_numpy(), features[:, 6:], ddof=1) == pytest.approx(rows, abs=1e-5)
    assert "1000_train.csv" in data.source
    assert "1000_test.csv" in data.source


def test_hepmass_needs_equal_features_and_a_signal(tmp_path):
    train, test = particles(30, extra=False, seed=1)[0], particles(10, extra=True, seed=2)[0]
    put(tmp_path, "hepmass/1000_train.csv", csv(train))
    put(tmp_path, "hepmass/1000_test.csv", csv(test.iloc[:, :20]))
    with pytest.raises(ValueError, match=r"has 27 features, but hepmass/1000_test\.csv .* has 19"):
        load_continuous("hepmass", data_dir=tmp_path)
    put(tmp_path, "hepmass/1000_test.csv", csv(test.assign(**{"# label": 0})))
    with pytest.raises(ValueError, match="no row whose first value, the class, is 1"):
        load_continuous("hepmass", data_dir=tmp_path)
    put(tmp_path, "hepmass/1000_test.csv", b"a,b\n1,two\n")
    with pytest.raises(ValueError, match="is not a table of numbers"):
        load_continuous("hepmass", data_dir=tmp_path)


def test_bsds300(tmp_path):
    put(tmp_path, "BSDS300/BSDS300.hdf5", hdf5(PATCHES))
    data = load_continuous("bsds300", data_dir=tmp_path)
    for part, rows in PATCHES.items():
        assert getattr(data, part) == pytest.approx(rows, abs=1e-6)


def test_bsds300_damaged_or_incomplete(tmp_path):
    raw = hdf5({"train": PATCHES["train"]})
    for content in (raw, raw[:100], b"nothing"):
        put(tmp_path, "BSDS300/BSDS300.hdf5", content)
        with pytest.raises(ValueError, match=r"BSDS300\.hdf5 .* is no HDF5 file of train, validation and test"):
            load_continuous("bsds300", data_dir=tmp_path)


def test_bsds300_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"h5py is needed: pip install 'tessflow\[hdf5\]'"):
        load_continuous("bsds300", data_dir=tmp_path)


def test_the_official_rows_are_not_called_partial(tmp_path, monkeypatch):
    about = dataclasses.replace(continuous_info("miniboone"), rows=(41, 4, 5))
    monkeypatch.setitem(continuous._CONTINUOUS, "miniboone", about)
    put(tmp_path, "miniboone/data.npy", npy(MINIBOONE))
    assert load_continuous("miniboone", data_dir=tmp_path).source.startswith("miniboone/data.npy (")


def test_downloads_the_archive_once_and_unpacks_nothing(repository, cache, official):
    served = put(repository, continuous.ARCHIVE.path, official(archive()))
    first = load_continuous("miniboone")
    served.unlink()
    assert (load_continuous("miniboone", download=False).train == first.train).all()
    assert load_continuous("power").train.shape == (17, 6)
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["data.tar.gz"]


@pytest.mark.usefixtures("repository")
def test_a_download_with_another_checksum_is_refused(repository, cache, official):
    official(archive())
    put(repository, continuous.ARCHIVE.path, b"<html>moved</html>")
    with pytest.raises(ValueError, match=r"sent something else than the official data\.tar\.gz"):
        load_continuous("power")
    with pytest.raises(FileNotFoundError, match="downloads are off"):
        load_continuous("power", download=False)


def test_an_archive_with_another_checksum_is_refused(tmp_path):
    put(tmp_path, "data.tar.gz", archive())
    with pytest.raises(ValueError, match=r"is not the official data\.tar\.gz .*9b9c9b0375315ad270eba4ce80c093ab"):
        load_continuous("power", data_dir=tmp_path)


@pytest.mark.parametrize("damaged", [archive()[:2000], b"\x1f\x8b\x08" + bytes(99), b"nothing", b""])
def test_a_damaged_archive(tmp_path, official, damaged):
    put(tmp_path, "data.tar.gz", official(damaged))
    with pytest.raises(ValueError, match="is damaged"):
        load_continuous("miniboone", data_dir=tmp_path)


def test_an_archive_without_the_file(tmp_path, official):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        link = tarfile.TarInfo("data/power/data.npy")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    put(tmp_path, "data.tar.gz", official(stream.getvalue()))
    with pytest.raises(ValueError, match=r"holds no power/data\.npy"):
        load_continuous("power", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(POWER[:, :5]), r"in 8 columns: it has shape \(20, 5\) and values of type float64"),
        (npy(POWER.astype(np.int64)), "values of type int64"),
        (npy(POWER.astype(object), allow_pickle=True), "Object arrays cannot be loaded"),
        (npy(POWER)[:300], "is not a NumPy file"),
        (b"", "is not a NumPy file"),
        (npy(np.ones((20, 8))), "too few rows, a constant column or values that are not finite"),
        (npy(POWER[:5]), "too few rows"),
        (gzip.compress(npy(POWER)), "is not a NumPy file"),
    ],
)
def test_refuses_arrays_of_another_kind(tmp_path, content, message):
    put(tmp_path, "power/data.npy", content)
    with pytest.raises(ValueError, match=message):
        load_continuous("power", data_dir=tmp_path)


def test_refuses_another_number_of_features(tmp_path):
    train = particles(30, extra=False, seed=1)[0].drop(columns="f20")
    put(tmp_path, "hepmass/1000_train.csv", csv(train))
    put(tmp_path, "hepmass/1000_test.csv", csv(train))
    with pytest.raises(ValueError, match=r"hepmass has 21 features, but its parts have shapes \(27, 20\)"):
        load_continuous("hepmass", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"), [(b"head\n1 2 3\n", "has 3 columns"), (b"head\n1 b\n", "is not a table of numbers")]
)
def test_refuses_texts_of_another_kind(tmp_path, content, message):
    put(tmp_path, "ethylene_CO.txt", content)
    with pytest.raises(ValueError, match=message):
        load_continuous("gas", data_dir=tmp_path)


def jpeg(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "jpeg")
    return stream.getvalue()


SLOPE = np.tile(np.arange(0, 160, 20), (8, 1))  # darker to the left; its transpose is darker above


@pytest.fixture
def images(tmp_path):
    """Three training images, of which the last is for validation, and a coloured test image."""
    put(tmp_path, "images/train/1.jpg", jpeg(SLOPE))
    put(tmp_path, "images/train/2.jpg", jpeg(SLOPE))
    put(tmp_path, "images/train/3.jpg", jpeg(SLOPE.T))
    put(tmp_path, "images/test/1.jpg", jpeg(np.random.default_rng(0).integers(256, size=(20, 12, 3))))
    return tmp_path / "images"


def test_patches_are_noisy_grey_and_centred(images):
    data = bsds300_patches(images, rows=(2000, 30, 40), seed=1)
    assert [part.shape for part in (data.train, data.validation, data.test)] == [(2000, 63), (30, 63), (40, 63)]
    assert data.train.dtype == np.float32
    assert data.source == "newly drawn with seed 1 from 3 + 1 images, not the published patches"
    for part, name in ((data.train, "train/1.jpg"), (data.validation, "train/3.jpg")):
        pixels = np.asarray(Image.open(images / name)).reshape(64) / 256
        centred = (pixels - pixels.mean())[:63]
        assert part.mean(axis=0) == pytest.approx(centred, abs=0.002)
        assert np.abs(part - centred).max() < 1 / 256
        # Noise of one grey level has variance 1 / 12; without the patch's mean, 63 / 64 of it is left.
        assert (part - centred).std() * 256 == pytest.approx(np.sqrt(63 / 64 / 12), rel=0.05)
    grey = np.asarray(Image.open(images / "test/1.jpg").convert("L")) / 256
    corners = [grey[top : top + 8, left : left + 8].reshape(64) for top in range(13) for left in range(5)]
    candidates = np.stack([patch - patch.mean() for patch in corners])[:, :63]
    gaps = np.abs(data.test[:, None] - candidates).max(axis=2)
    assert (gaps.min(axis=1) < 1 / 256).all()
    assert len(set(gaps.argmin(axis=1))) > 20


def test_patches_of_a_tar_archive_and_its_directory_agree(images, tmp_path):
    with tarfile.open(tmp_path / "images.tgz", "w:gz") as tar:
        tar.add(images, arcname="BSDS300/images")
    options = {"rows": (9, 5, 5), "seed": 3}
    assert bsds300_patches(images, **options).frame.equals(bsds300_patches(tmp_path / "images.tgz", **options).frame)
    again = bsds300_patches(images, rows=(9, 5, 5), seed=4)
    assert not bsds300_patches(images, **options).frame.equals(again.frame)


def test_patches_need_whole_images(images, tmp_path):
    with pytest.raises(ValueError, match=r"rows is \(1, 0, 1\)"):
        bsds300_patches(images, rows=(1, 0, 1))
    with pytest.raises(ValueError, match=r"has 0 images train/\*\.jpg and 0 images test/\*\.jpg: too few"):
        bsds300_patches(images / "train", rows=(1, 1, 1))
    with pytest.raises(FileNotFoundError):
        bsds300_patches(tmp_path / "nowhere", rows=(1, 1, 1))
    put(tmp_path, "images.tar", b"nothing")
    with pytest.raises(ValueError, match="no whole tar archive"):
        bsds300_patches(tmp_path / "images.tar", rows=(1, 1, 1))
    put(images, "test/1.jpg", b"nothing")
    with pytest.raises(ValueError, match=r"test/1\.jpg is damaged"):
        bsds300_patches(images, rows=(1, 1, 1))
    put(images, "test/1.jpg", jpeg(SLOPE[:7]))
    with pytest.raises(ValueError, match=r"test/1\.jpg is smaller than a patch"):
        bsds300_patches(images, rows=(1, 1, 1))
