"""Images of bytes, read from small files of the official formats."""

import gzip
import hashlib
import io
import math
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from tessflow.datasets import bar_images, bars_entropy, image_names, images, load_images

NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def arrays():
    generator = np.random.default_rng(0)
    return [generator.integers(256, size=shape) % 10 ** (3 if len(shape) > 1 else 1)
            for shape in ((24, 28, 28), (24,), (6, 28, 28), (6,))]  # fmt: skip


@pytest.fixture
def mnist(tmp_path, monkeypatch, arrays):
    """A directory with tiny files, taken for the official ones."""
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for name, array in zip(NAMES, arrays, strict=True):
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    md5 = tuple(hashlib.md5(idx(array)).hexdigest() for array in arrays)
    monkeypatch.setitem(images._IDX, "mnist", replace(images._IDX["mnist"], md5=md5))
    return folder


def test_idx_files(mnist, arrays):
    found = load_images("mnist", data_dir=mnist.parent)
    assert found.train.shape == (22, 1, 28, 28)
    assert found.validation.shape == (2, 1, 28, 28)
    assert found.train.dtype == np.uint8
    np.testing.assert_array_equal(found.test[:, 0], arrays[2])
    np.testing.assert_array_equal(found.test_labels, arrays[3])
    assert "official" not in found.source
    assert "train-images-idx3-ubyte.gz (md5 " in found.source
    # Both parts together are the official training images, each with its label.
    together = np.concatenate([found.train, found.validation])[:, 0]
    labels = np.concatenate([found.train_labels, found.validation_labels])
    pairs = {(image.tobytes(), label) for image, label in zip(together, labels, strict=True)}
    assert pairs == {(a.astype(np.uint8).tobytes(), b) for a, b in zip(arrays[0], arrays[1], strict=True)}


def test_the_seed_chooses_validation_images(mnist):
    first, again, other = (load_images("mnist", data_dir=mnist, validation=0.5, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.validation, again.validation)
    assert not np.array_equal(first.validation, other.validation)
    np.testing.assert_array_equal(first.test, other.test)


def test_refuses_other_and_damaged_files(mnist, monkeypatch):
    (mnist / f"{NAMES[1]}.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(ValueError, match="not the official train-labels-idx1-ubyte"):
        load_images("mnist", data_dir=mnist)
    for contents, message in ((b"ab", "no IDX file"), (idx(np.zeros(9))[:-1], "should hold 9 bytes and holds 8"),
                              (idx(np.zeros(9)), "do not fit")):  # fmt: skip
        (mnist / f"{NAMES[1]}.gz").write_bytes(gzip.compress(contents))
        md5 = list(images._IDX["mnist"].md5)
        md5[1] = hashlib.md5(contents).hexdigest()
        monkeypatch.setitem(images._IDX, "mnist", replace(images._IDX["mnist"], md5=tuple(md5)))
        with pytest.raises(ValueError, match=message):
            load_images("mnist", data_dir=mnist)


def test_packed_files_are_checked_as_they_are_served(mnist, monkeypatch):
    packed = [(mnist / f"{name}.gz").read_bytes() for name in NAMES]
    md5 = tuple(hashlib.md5(some).hexdigest() for some in packed)
    monkeypatch.setitem(images._IDX, "kuzushiji_mnist", replace(images._IDX["kuzushiji_mnist"], md5=md5))
    assert len(load_images("kuzushiji_mnist", data_dir=mnist).test) == 6
    (mnist / f"{NAMES[0]}.gz").write_bytes(gzip.compress(idx(np.zeros((24, 28, 28)))))
    with pytest.raises(ValueError, match=r"not the official train-images-idx3-ubyte \(its packed bytes"):
        load_images("kuzushiji_mnist", data_dir=mnist)


def test_cifar10(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    records = generator.integers(256, size=(12, 3073), dtype=np.uint8)
    records[:, 0] %= 10
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, part in [(f"data_batch_{n}.bin", records[2 * n - 2 : 2 * n]) for n in range(1, 6)] + [
            ("test_batch.bin", records[10:])
        ]:
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = part.nbytes
            tar.addfile(entry, io.BytesIO(part.tobytes()))
    monkeypatch.setattr(images, "_CIFAR", replace(images._CIFAR, md5=hashlib.md5(path.read_bytes()).hexdigest()))
    found = load_images("cifar10", data_dir=tmp_path)
    assert found.train.shape == (9, 3, 32, 32)
    np.testing.assert_array_equal(found.test[1].ravel(), records[11, 1:])
    assert found.test_labels.tolist() == records[10:, 0].tolist()
    assert found.source.startswith("cifar-10-binary.tar.gz (official md5")


def test_bars():
    found, label = bar_images(2000, seed=0)
    bright = found[:, 0] > 128
    assert found.shape == (2000, 1, 8, 8)
    assert (bright.sum((1, 2)) == 8).all()
    rows = label < 8
    assert bright[rows, label[rows]].all()
    assert bright[~rows, :, label[~rows] - 8].all()
    values = np.unique(found)
    assert values.tolist() == [*range(16), *range(240, 256)]
    # Independent of each other: the law's entropy is the sum.
    assert bars_entropy() == pytest.approx(math.log(16) + 64 * math.log(16))
    assert np.bincount(label, minlength=16).min() > 80


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [("emnist", {}, "no images 'emnist': choose one of bars, cifar10"), ("bars", {"validation": 0.0}, "part empty")],
)
def test_refuses(name, options, message):
    with pytest.raises(ValueError, match=message):
        load_images(name, **options)


def test_says_where_to_get_files():
    with pytest.raises(OSError, match=r"codh\.rois\.ac\.jp/kmnist/dataset/kmnist/train-images-idx3-ubyte\.gz"):
        load_images("kuzushiji_mnist", download=False)
    assert set(image_names()) >= {"mnist", "cifar10"}
