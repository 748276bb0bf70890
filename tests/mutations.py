"""Random damage to saved models, and a judge: loading refuses it by name, or no number changes.

``try_one`` does both; the tests call it some dozens of times, and ``benchmarks/fuzz.py`` a thousand.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from make_kept_models import DATA, ESTIMATORS, read_rows
from tessflow.estimators.storage import FORMAT_VERSION, is_model_file


@dataclass(frozen=True)
class Saved:
    """A saved model, another fit of the same options and rows, and the log-likelihoods of some rows."""

    name: str
    directory: Path
    other: Path
    estimator: Any
    rows: Any
    scores: Any
    parameters: dict[str, Any]


def saved_models(folder: Path) -> list[Saved]:
    """Make one of each kept model in a folder."""
    found = []
    for source in sorted((DATA / f"format-{FORMAT_VERSION}").iterdir()):
        directory, other = folder / source.name / "model", folder / source.name / "other"
        estimator = ESTIMATORS[json.loads((source / "config.json").read_text())["estimator"]]
        model = estimator.load(source)
        model.save(directory)
        rows = read_rows(source, model)
        found.append(
            Saved(source.name, directory, other, estimator, rows, model.score_samples(rows), model.get_params())
        )
        with torch.no_grad():
            for parameter in model.model_.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
        model.validation_score_ -= 0.1
        model.save(other)
    return found


def parts(directory: Path) -> list[Path]:
    """The files that loading reads: configuration, schema, weights."""
    return sorted(path for path in directory.iterdir() if is_model_file(path.name))


def part(directory: Path, suffix: str, chance: Random) -> Path:
    return chance.choice([path for path in parts(directory) if path.suffix == suffix])


def flip_a_bit(directory: Path, other: Path, chance: Random) -> None:
    path = chance.choice(parts(directory))
    contents = bytearray(path.read_bytes())
    contents[chance.randrange(len(contents))] ^= 1 << chance.randrange(8)
    path.write_bytes(contents)


def cut(directory: Path, other: Path, chance: Random) -> None:
    path = chance.choice(parts(directory))
    os.truncate(path, chance.choice([0, chance.randrange(path.stat().st_size)]))


def append(directory: Path, other: Path, chance: Random) -> None:
    with chance.choice(parts(directory)).open("ab") as file:
        file.write(chance.randbytes(chance.randint(1, 20)))


def overwrite(directory: Path, other: Path, chance: Random) -> None:
    path = chance.choice(parts(directory))
    contents = path.read_bytes()
    while not any(contents[(start := chance.randrange(len(contents))) : start + 64]):
        pass  # there are zeros already
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(min(64, len(contents) - start)))


def take_of_another_fit(directory: Path, other: Path, chance: Random) -> None:
    path = chance.choice(parts(directory))
    kind = path.name.partition("-")[0]
    (theirs,) = [file for file in parts(other) if file.name.startswith(kind)]
    shutil.copy(theirs, path)


def change_json(directory: Path, other: Path, chance: Random) -> None:
    """Permute a list, or change a number, a word or a truth value."""
    path = part(directory, ".json", chance)
    content = json.loads(path.read_text())
    places = [(holder, key) for holder, key in walk(content) if not isinstance(holder[key], dict)]
    while True:
        holder, key = chance.choice(places)
        value = holder[key]
        if isinstance(value, list):
            changed: Any = chance.sample(value, len(value))
        elif isinstance(value, bool) or value is None:
            changed = not value
        elif isinstance(value, (int, float)):
            changed = chance.choice([value + 1, -value, value * 2, value + 0.1, 10**9, float("nan"), float("inf")])
        else:
            changed = chance.choice([value + "x", value.swapcase(), value[::-1], ""])
        if json.dumps(changed) != json.dumps(value):
            break
    holder[key] = changed
    path.write_text(json.dumps(content, indent=1))


def walk(content: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield content, key
        if isinstance(value, (dict, list)):
            yield from walk(value)


def change_weights(directory: Path, other: Path, chance: Random) -> None:
    """Make a tensor NaN, infinite, larger, of another shape or dtype, or leave it out."""
    path = part(directory, ".safetensors", chance)
    tensors = load_file(path)
    name = chance.choice(sorted(tensors))
    tensor = tensors.pop(name)
    new = chance.choice(
        [tensor * float("nan"), tensor + float("inf"), tensor + 1, tensor[None], tensor.to(torch.float16), None]
    )
    save_file(tensors if new is None else tensors | {name: new.contiguous()}, path)


def remove(directory: Path, other: Path, chance: Random) -> None:
    chance.choice(parts(directory)).unlink()


def replace_by_no_file(directory: Path, other: Path, chance: Random) -> None:
    path = chance.choice(parts(directory))
    path.unlink()
    chance.choice([path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/zero")])()


def exchange(directory: Path, other: Path, chance: Random) -> None:
    one, two = chance.sample(parts(directory), 2)
    contents = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(contents)


MUTATIONS: dict[str, Callable[[Path, Path, Random], None]] = {
    mutation.__name__: mutation
    for mutation in (
        flip_a_bit, cut, append, overwrite, take_of_another_fit, change_json, change_weights, remove,
        replace_by_no_file, exchange,
    )
}  # fmt: skip


def try_one(saved: Saved, mutation: str, chance: Random, folder: Path) -> str:
    """Damage a copy of a model, and return "refused", or "same" if all of its numbers are what they were.

    Raises:
        AssertionError: If it is loaded with other numbers, or the refusal is no sentence that names a file.
    """
    copy = folder / f"{saved.name}-{mutation}"
    shutil.copytree(saved.directory, copy)
    names = [path.name for path in (*parts(copy), *parts(saved.other))]
    try:
        MUTATIONS[mutation](copy, saved.other, chance)
        try:
            model = saved.estimator.load(copy)
        except (ValueError, OSError) as error:
            sentence = str(error)
            assert "\n" not in sentence, sentence
            assert any(name in sentence for name in names) or f"{copy} holds a" in sentence, sentence
            return "refused"
        assert model.get_params() == saved.parameters, (saved.name, mutation)
        np.testing.assert_array_equal(model.score_samples(saved.rows), saved.scores)
        return "same"
    finally:
        shutil.rmtree(copy)


def try_many(count: int, seed: int, folder: Path) -> dict[str, int]:
    """Count the outcomes of random mutations of each kind of model, in turn."""
    chance, outcomes = Random(seed), {"refused": 0, "same": 0}
    models = saved_models(folder)
    for number in range(count):
        mutation = list(MUTATIONS)[number // len(models) % len(MUTATIONS)]
        outcomes[try_one(models[number % len(models)], mutation, chance, folder)] += 1
    return outcomes
