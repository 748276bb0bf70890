"""Images of bytes: MNIST, Fashion-MNIST, Kuzushiji-MNIST, CIFAR-10, and bars whose entropy is known."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tessflow.datasets.files import Library, OfficialFile

__all__ = ["ImageDataset", "bar_images", "bars_entropy", "image_names", "load_images"]

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

# Values of a bar's pixels, and as many of the others'.
_LEVELS = 16
_SIDE = 8
_BARS_ROWS = (6000, 2000)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageDataset:
    """Images of bytes, split into training, validation and test images, with their labels.

    Args:
        name: Name in `image_names()`.
        description: What an image is, in one sentence.
        source: Where these very images come from.
        train: Training images, uint8 of shape (images, channels, height, width).
        validation: Validation images, drawn from the official training images.
        test: Test images.
        train_labels: The class of each training image, int64.
        validation_labels: The same of the validation images.
        test_labels: The same of the test images.

    Example:
        >>> load_images("bars")
        ImageDataset(name='bars', source='generated: 6,000 and 2,000 images with seed 0')
    """

    name: str
    description: str = field(repr=False)
    source: str
    train: Bytes = field(repr=False)
    validation: Bytes = field(repr=False)
    test: Bytes = field(repr=False)
    train_labels: Labels = field(repr=False)
    validation_labels: Labels = field(repr=False)
    test_labels: Labels = field(repr=False)


@dataclass(frozen=True)
class _Idx:
    """Four files of the format IDX: md5 of training images and labels, and of test images and labels.

    Where `packed`, these are of the files as they are served, since others are not published.
    """

    description: str
    site: str
    folder: str
    md5: tuple[str, str, str, str]
    packed: bool = False

    def file(self, name: str, md5: str) -> OfficialFile:
        """Return one of the files."""
        which = {"md5": None, "packed_md5": md5} if self.packed else {"md5": md5}
        return OfficialFile(f"{self.folder}/{name}", packing=".gz", site=self.site, **which)


_IDX = {
    "mnist": _Idx(
        "28 x 28 handwritten digits",
        "https://ossci-datasets.s3.amazonaws.com",
        "mnist",
        (
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
    ),
    "fashion_mnist": _Idx(
        "28 x 28 articles of clothing",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master",
        "data/fashion",
        (
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
    ),
    "kuzushiji_mnist": _Idx(
        "28 x 28 handwritten characters of classical Japanese",
        "http://codh.rois.ac.jp",
        "kmnist/dataset/kmnist",
        (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
        packed=True,
    ),
}
# The file for C programs: the one for Python is pickled.
_CIFAR = OfficialFile(
    "~kriz/cifar-10-binary.tar.gz", md5="c32a1d4ab5d03f1284b67883e8d87530", site="https://www.cs.toronto.edu"
)
_CIFAR_TRAIN = [f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6)]
_CIFAR_TEST = ["cifar-10-batches-bin/test_batch.bin"]

Part = tuple[Bytes, Labels]


def image_names() -> list[str]:
    """Return the names that `load_images` knows.

    Example:
        >>> image_names()
        ['bars', 'cifar10', 'fashion_mnist', 'kuzushiji_mnist', 'mnist']
    """
    return sorted([*_IDX, "cifar10", "bars"])


def load_images(
    name: str,
    *,
    validation: float = 1 / 12,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> ImageDataset:
    """Load a set of images, from a directory of yours, the cache, or the official address.

    Args:
        name: One of `image_names()`.
        validation: The share of the official training images that become validation images.
        seed: Seed of NumPy's default generator, which chooses them, and of the bars.
        data_dir: Directory with the official files, packed or not, perhaps in one named like the data set; default:
            the environment variable TESSFLOW_DATA.
        download: Whether files that are nowhere are downloaded.

    Raises:
        ValueError: If there is no such set, `validation` leaves a part empty, or a file is damaged or not the
            official one.
        OSError: If a file cannot be had.

    Example:
        >>> bars = load_images("bars")
        >>> bars.train.shape, bars.train.dtype, int(bars.test_labels.max())
        ((5500, 1, 8, 8), dtype('uint8'), 15)
    """
    if name not in image_names():
        raise ValueError(f"there are no images '{name}': choose one of {', '.join(image_names())}")
    library = Library(name, data_dir=data_dir, download=download)
    if name == "bars":
        train, test = (bar_images(rows, seed=2 * seed + part) for part, rows in enumerate(_BARS_ROWS))
        source = f"generated: {_BARS_ROWS[0]:,} and {_BARS_ROWS[1]:,} images with seed {seed}"
        description = "8 x 8 images of a bright row or column"
    elif name == "cifar10":
        train, test, source = _cifar(library)
        description = "32 x 32 photographs in colour"
    else:
        idx = _IDX[name]
        train, test, source = _read_idx_files(library, idx)
        description = idx.description
    images, labels = train
    held_out = round(validation * len(images))
    if not 0 < held_out < len(images):
        raise ValueError(f"validation={validation} of {len(images):,} training images leaves a part empty")
    order = np.random.default_rng(seed).permutation(len(images))
    kept, taken = np.sort(order[held_out:]), np.sort(order[:held_out])
    return ImageDataset(
        name=name,
        description=description,
        source=source,
        train=images[kept],
        validation=images[taken],
        test=test[0],
        train_labels=labels[kept],
        validation_labels=labels[taken],
        test_labels=test[1],
    )


def bar_images(n: int, *, seed: int) -> Part:
    """Draw 8 x 8 images in which one row or column is bright: pixels of 240 to 255, the others of 0 to 15, uniformly.

    Args:
        n: How many.
        seed: Seed of NumPy's default generator.

    Returns:
        Images, uint8 of shape (n, 1, 8, 8), and which row (0 to 7) or column (8 to 15) is bright, int64.
    """
    generator = np.random.default_rng(seed)
    label = generator.integers(2 * _SIDE, size=n)
    bright = np.zeros((n, _SIDE, _SIDE), dtype=bool)
    rows = label < _SIDE
    bright[rows, label[rows]] = True
    bright[~rows, :, label[~rows] - _SIDE] = True
    images = generator.integers(_LEVELS, size=bright.shape) + np.where(bright, 256 - _LEVELS, 0)
    return images.astype(np.uint8)[:, None], label


def bars_entropy() -> float:
    """Return the entropy of `bar_images` in nats an image: no model's expected loss is lower.

    Example:
        >>> round(bars_entropy() / (64 * math.log(2)), 4)  # bits a dimension
        4.0625
    """
    return math.log(2 * _SIDE) + _SIDE**2 * math.log(_LEVELS)


def _read_idx_files(library: Library, idx: _Idx) -> tuple[Part, Part, str]:
    names = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    arrays, sources = [], []
    for name, md5 in zip(names, idx.md5, strict=True):
        file = idx.file(name, md5)
        raw, path, found = library.read(file)
        arrays.append(_parse_idx(raw, str(path)))
        sources.append(f"{path.name} (md5 {found})")
    train, train_labels, test, test_labels = arrays
    for images, labels, sizes in ((train, train_labels, names[:2]), (test, test_labels, names[2:])):
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ValueError(f"{sizes[0]} has shape {images.shape} and {sizes[1]} {labels.shape}: they do not fit")
    return (
        (train[:, None], train_labels.astype(np.int64)),
        (test[:, None], test_labels.astype(np.int64)),
        ", ".join(sources),
    )


def _parse_idx(raw: bytes, where: str) -> Bytes:
    """Read bytes in the format IDX: two zeros, the type (8 is bytes), the number of sizes, sizes, values."""
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08" or len(raw) < 4 + 4 * raw[3]:
        raise ValueError(f"'{where}' is no IDX file of bytes")
    shape = np.frombuffer(raw, dtype=">u4", count=raw[3], offset=4).tolist()
    values = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * raw[3])
    if values.size != math.prod(shape):
        raise ValueError(f"'{where}' should hold {math.prod(shape):,} bytes and holds {values.size:,}: take it again")
    return values.reshape(shape)


def _cifar(library: Library) -> tuple[Part, Part, str]:
    train, source = _read_records(library, _CIFAR_TRAIN)
    test, _ = _read_records(library, _CIFAR_TEST)
    return train, test, source.partition(" in ")[2]


def _read_records(library: Library, members: Sequence[str]) -> tuple[Part, str]:
    """Read records of a label and 3 x 32 x 32 bytes."""
    parts = []
    for member in members:
        raw, source = library.read_member(_CIFAR, member)
        if not raw or len(raw) % 3073:
            raise ValueError(f"{source} has {len(raw):,} bytes, which are no records of 3,073: take it again")
        parts.append(np.frombuffer(raw, dtype=np.uint8).reshape(-1, 3073))
    records = np.concatenate(parts)
    return (records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)), source
