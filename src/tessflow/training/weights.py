"""Weights on disk: safetensors files, written atomically and read strictly."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from tessflow.configuration import configuration, configuration_difference
from tessflow.files import open_regular, write_atomically

__all__ = [
    "adopt_tensors",
    "first_difference",
    "load_weights",
    "map_tensors",
    "read_tensors",
    "save_weights",
    "serialized",
    "write_tensors",
]


@runtime_checkable
class Upgrading(Protocol):
    """A module that reads the tensors of its older versions."""

    def upgrade_state(self, state: dict[str, Tensor], prefix: str) -> None:
        """Replace tensors of an older version, named with a prefix, by those that mean the same now."""
        ...


def serialized(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Return the contents of a safetensors file of named tensors."""
    # Copies, because safetensors refuses tensors that share storage, and tied weights do.
    return save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, metadata)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write named tensors to a safetensors file, atomically."""
    write_atomically(path, serialized(tensors, metadata))


def map_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Open the tensors and the metadata of a safetensors file: names, shapes and dtypes; values are read when used.

    Raises:
        ValueError: The file is truncated, no safetensors file or no regular file.
        FileNotFoundError: There is no such file.
    """
    open_regular(path).close()
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()  # safe_open is no mapping: it cannot be iterated over
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OverflowError) as error:
        raise ValueError(
            f"{path} is damaged or no safetensors file ({error}); restore it from a copy, or fit again"
        ) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a safetensors file, on the CPU; errors as of :func:`map_tensors`."""
    tensors, metadata = map_tensors(path)
    return {name: tensor.clone() for name, tensor in tensors.items()}, metadata


def save_weights(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write all parameters and buffers of `module` to a safetensors file, atomically.

    Args:
        module: The module; its `state_dict` is written, and its options, which :func:`load_weights` compares.
        path: The file, replaced if it exists.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     save_weights(nn.Linear(3, 2), f"{directory}/weights.safetensors")
        ...     module = nn.Linear(3, 2)
        ...     load_weights(module, f"{directory}/weights.safetensors")
    """
    write_tensors(Path(path), module.state_dict(), {"configuration": json.dumps(configuration(module))})


def load_weights(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Read all parameters and buffers of `module` from a file that `save_weights` wrote, onto its device.

    Args:
        module: A module of the same structure as the one saved, changed in place.
        path: The file.

    Raises:
        ValueError: The file is damaged, its names, shapes or dtypes are not those of `module`, a parameter in it is
            not finite, another number is NaN, or the options of the module saved, such as a box or the classes of
            variables, are others. The module then stays as it is.
        FileNotFoundError: There is no such file.
    """
    tensors, metadata = map_tensors(Path(path))
    adopt_tensors(module, tensors, path, json.loads(metadata.get("configuration", "{}")))


def adopt_tensors(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    options: Mapping[str, str] | None = None,
) -> None:
    """Copy the tensors of a file into a module of certain options; errors as of :func:`load_weights`."""
    tensors = dict(tensors)
    for name, part in module.named_modules():
        if isinstance(part, Upgrading):
            part.upgrade_state(tensors, f"{name}." if name else "")
    difference = first_difference(tensors, module.state_dict()) or configuration_difference(
        options or {}, configuration(module)
    )
    if difference:
        raise ValueError(f"{path} holds the weights of another model ({difference}); use those that belong to it")
    parameters = dict(module.named_parameters(remove_duplicate=False))
    for name, tensor in tensors.items():
        if not (tensor.isfinite() if name in parameters else ~tensor.isnan()).all():
            raise ValueError(f"{path} is damaged (tensor {name!r} is not finite); restore it from a copy, or fit again")
    module.load_state_dict(tensors)


def first_difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    """Describe the first tensor whose name, shape or dtype is not the expected one; `None`: all agree."""

    def describe(tensors: Mapping[str, Tensor], name: str) -> str:
        return f"{tensors[name].dtype} {tuple(tensors[name].shape)}" if name in tensors else "absent"

    for name in [*expected, *found]:
        there, here = describe(found, name), describe(expected, name)
        if there != here:
            return f"tensor {name!r} is {there} in the file and {here} in the model"
    return None
