"""Patches of natural images, drawn anew where the published ones cannot be had."""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt
from PIL import Image

from tessflow.datasets.continuous import ContinuousDataset, continuous_info
from tessflow.datasets.files import require_size

__all__ = ["bsds300_patches"]

Grey = npt.NDArray[np.uint8]


def bsds300_patches(
    images: str | os.PathLike[str], *, rows: tuple[int, int, int] = (1_000_000, 50_000, 250_000), seed: int = 0
) -> ContinuousDataset:
    """Draw patches of 8 x 8 grey pixels from the BSDS300 images.

    By the recipe of Uria, Murray and Larochelle (RNADE, 2013): a random place in a random image,
    plus uniform noise of one grey level, divided by 256, minus the patch's mean, without the last pixel. Training
    patches are from the first nine tenths of the training images, validation patches from the rest.

    Args:
        images: Directory or tar archive with JPEG images in directories named train and test.
        rows: Numbers of training, validation and test patches.
        seed: Seed of NumPy's default generator.

    Returns:
        The data set, whose `source` begins with "newly drawn": figures on it are near the published ones, not of them.

    Raises:
        ValueError: If `rows` are not positive, there are no two training and one test images, or one is damaged.
        OSError: If `images` is not there.

    Example:
        >>> bsds300_patches("BSDS300-images.tgz").train.shape  # doctest: +SKIP
        (1000000, 63)
    """
    if min(rows) < 1:
        raise ValueError(f"rows is {rows}: each part needs a patch")
    found = sorted((PurePath(name).parts[-2:], raw) for name, raw in _jpegs(Path(images)))
    train, test = ([_grey(*image) for image in found if image[0][0] == part] for part in ("train", "test"))
    if len(train) < 2 or not test:
        raise ValueError(f"'{images}' has {len(train)} images train/*.jpg and {len(test)} images test/*.jpg: too few")
    cut = len(train) - max(1, len(train) // 10)
    generator = np.random.default_rng(seed)
    parts = [_patches(*part, generator) for part in zip((train[:cut], train[cut:], test), rows, strict=True)]
    return ContinuousDataset(
        name="bsds300",
        description=continuous_info("bsds300").description,
        source=f"newly drawn with seed {seed} from {len(train)} + {len(test)} images, not the published patches",
        train=parts[0],
        validation=parts[1],
        test=parts[2],
    )


def _jpegs(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        yield from ((str(file), file.read_bytes()) for file in path.glob("**/t*/*.jpg"))
        return
    try:
        with tarfile.open(path) as tar:
            for entry in tar:
                if entry.name.endswith(".jpg") and (content := tar.extractfile(entry)):
                    require_size(path, entry.size)
                    yield entry.name, content.read()
    except (EOFError, tarfile.TarError, zlib.error) as error:
        raise ValueError(f"'{path}' is no directory and no whole tar archive: {error}") from error


def _grey(name: tuple[str, ...], raw: bytes) -> Grey:
    try:
        grey = np.asarray(Image.open(io.BytesIO(raw)).convert("L"))
    except OSError as error:
        raise ValueError(f"the image {'/'.join(name)} is damaged ({error}): take it again") from error
    if min(grey.shape) < 8:
        raise ValueError(f"the image {'/'.join(name)} is smaller than a patch of 8 x 8 pixels")
    return grey


def _patches(images: list[Grey], rows: int, generator: np.random.Generator) -> npt.NDArray[np.float32]:
    image, place = generator.integers(len(images), size=rows), generator.random((rows, 2))
    pixels = np.empty((rows, 64), dtype=np.uint8)
    for number, grey in enumerate(images):
        here = np.flatnonzero(image == number)
        windows = np.lib.stride_tricks.sliding_window_view(grey, (8, 8))
        top, left = (place[here] * windows.shape[:2]).astype(np.int64).T
        pixels[here] = windows[top, left].reshape(-1, 64)
    patches = np.empty((rows, 63), dtype=np.float32)
    for start in range(0, rows, 100_000):
        part = slice(start, start + 100_000)
        noisy = (pixels[part] + generator.random(pixels[part].shape)) / 256
        patches[part] = (noisy - noisy.mean(axis=1, keepdims=True))[:, :63]
    return patches
