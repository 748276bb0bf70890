"""The state of a training run, in memory and on disk: one safetensors file that is replaced as a whole."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tessflow.files import only_writer, sweep, write_atomically
from tessflow.randomness import Generators
from tessflow.training.config import TrainingConfig
from tessflow.training.counters import Counters
from tessflow.training.weights import first_difference, read_tensors, write_tensors

__all__ = ["CHECKPOINT", "RunDirectory", "TrainingState", "digest", "run_identity"]

FORMAT_VERSION = 2
# What a directory of runs and models holds; it has the last where there is a whole model.
CHECKPOINT, HISTORY, CONFIG = "checkpoint.safetensors", "history.csv", "config.json"
COLUMNS = ("step", "training", "validation", "learning_rate", "gradient_norm", "seconds", "skipped")


@dataclass
class TrainingState:
    """All that a run needs to go on as if it had never stopped.

    The batch order and the learning rate are functions of the step, so they need no state.

    Args:
        model: The model in training.
        average: The moving average of its weights.
        best: The average at the best evaluation so far.
        optimizer: The optimizer of `model`.
        device: Where all of it lives.
        noise: What the training draws from.
        counters: The numbers of the run.
    """

    model: nn.Module
    average: nn.Module
    best: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    noise: Generators
    counters: Counters = field(default_factory=Counters)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and random state by name: `model.*`, `average.*`, `best.*`, `random.*`."""
        tensors = {
            f"{part}.{name}": tensor
            for part in ("model", "average", "best")
            for name, tensor in getattr(self, part).state_dict().items()
        }
        for device in {"cpu", self.device.type}:
            tensors[f"random.{device}"] = self.noise.on(device).get_state()
        return tensors

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """State of the optimizer by name: `optimizer.{index of the parameter}.{key}`."""
        return {
            f"optimizer.{index}.{key}": tensor
            for index, state in self.optimizer.state_dict()["state"].items()
            for key, tensor in state.items()
        }

    def load(self, tensors: Mapping[str, Tensor], counters: Counters) -> None:
        """Take over the tensors, under the names that the two methods above give them, and the counters."""
        for part in ("model", "average", "best"):
            getattr(self, part).load_state_dict(_under(tensors, part))
        optimizer_state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under(tensors, "optimizer").items():
            index, key = name.split(".")
            optimizer_state.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": optimizer_state})
        for device in {"cpu", self.device.type}:
            self.noise.on(device).set_state(tensors[f"random.{device}"])
        self.counters = counters


class RunDirectory:
    """The files of a run: `checkpoint.safetensors` and `history.csv`, each replaced atomically.

    Args:
        directory: The directory; made if need be.
        identity: What makes the run this one and no other, from :func:`run_identity`.
    """

    def __init__(self, directory: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        self.checkpoint = Path(directory) / CHECKPOINT
        self.history = Path(directory) / HISTORY
        self.identity = identity
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the directory for one run, and remove what killed writes left.

        Raises:
            RuntimeError: Another process or thread writes there.
        """
        with only_writer(self.checkpoint.parent):
            sweep(self.checkpoint.parent, "|".join(map(re.escape, (CHECKPOINT, HISTORY))))
            yield

    def save(self, state: TrainingState) -> None:
        """Write the checkpoint, with a digest of all that it holds."""
        tensors = state.tensors() | state.optimizer_tensors()
        metadata = {"identity": json.dumps(self.identity), "counters": json.dumps(asdict(state.counters))}
        write_tensors(self.checkpoint, tensors, metadata | {"digest": _contents_digest(tensors, metadata)})

    def load(self, state: TrainingState) -> None:
        """Overwrite `state`, its generators included, with the checkpoint, if there is one.

        Raises:
            ValueError: The file is damaged, or belongs to a run with other options, data or model.
        """
        if not self.checkpoint.exists():
            return
        remedy = "delete it to start again or choose another directory"
        damaged = f"{self.checkpoint} is damaged or no training checkpoint; {remedy}"
        try:
            tensors, metadata = read_tensors(self.checkpoint)
            identity = dict(json.loads(metadata["identity"]))
            counters = Counters(**json.loads(metadata["counters"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(damaged) from error
        has_digest = identity.get("format version") != 1  # the first had none, and belongs to another run
        if has_digest and metadata.get("digest") != _contents_digest(tensors, metadata):
            raise ValueError(damaged)
        others = {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer.")}
        difference = _identity_difference(identity, self.identity)
        if difference := difference or first_difference(others, state.tensors()):
            raise ValueError(f"{self.checkpoint} belongs to another training run ({difference}); {remedy}")
        state.load(tensors, counters)

    def write_history(self, history: list[dict[str, float]]) -> None:
        """Write the rows of the history, unless a model is there, whose history that file is until it is replaced."""
        if (self.history.parent / CONFIG).exists():
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        write_atomically(self.history, text.getvalue().encode())


def run_identity(
    config: TrainingConfig,
    model: nn.Module,
    train: Tensor,
    validation: Tensor,
    options: Mapping[str, Any] | None = None,
    weights: tuple[Tensor | None, Tensor | None] = (None, None),
) -> dict[str, Any]:
    """Describe what a run must share with a checkpoint to continue it: options, data, structure of the model.

    The structure is the class of every submodule and the names of the trainable parameters; the names, shapes and
    dtypes of all tensors are compared with the checkpoint's own. Options of a model that show in neither are compared
    if `options` names them.
    """
    classes = [(name, type(module).__qualname__) for name, module in model.named_modules()]
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return {
        "format version": FORMAT_VERSION,
        "config": json.loads(json.dumps({**config.model_dump(), **(options or {})})),
        "training data": digest(train, weights[0]),
        "validation data": digest(validation, weights[1]),
        "model structure": hashlib.sha256(repr((classes, trainable)).encode()).hexdigest(),
    }


def _identity_difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str | None:
    there, here = found.get("config", {}), expected["config"]
    options = [name for name in here if there.get(name) != here[name]]
    parts = [part for part in expected if part != "config" and found.get(part) != expected[part]]
    differences = [f"{name} is {there.get(name)} there and {here[name]} here" for name in options]
    return ", ".join(differences + [f"another {part}" for part in parts]) or None


def digest(*data: Tensor | None) -> str:
    """Return what tells tensors from others; one that is None is left out."""
    hashed = hashlib.sha256()
    for part in data:
        if part is not None:
            contents = part.detach().cpu().contiguous()
            hashed.update(f"{contents.dtype} {tuple(contents.shape)}".encode())
            hashed.update(contents.flatten().view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def _contents_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the digest of the tensors of a checkpoint, their names, and what its metadata hold beside."""
    names = sorted(tensors)
    described = json.dumps([names, metadata["identity"], metadata["counters"]])
    return hashlib.sha256(f"{described} {digest(*(tensors[name] for name in names))}".encode()).hexdigest()


def _under(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
