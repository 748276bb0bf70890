"""What a module is beside its weights: the options of all its parts, kept with a state dict and compared on loading."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from torch import nn

__all__ = ["Configured", "configuration", "configuration_difference"]

# Longer options, such as the columns of a wide table, are told apart by a digest.
_LONGEST = 200
_KEY = "configuration"


class Configured(nn.Module):
    """A module whose state dict says how it was made: it refuses that of a module made otherwise.

    What is compared is the :func:`configuration`. It lies in the state dict's metadata, which ``torch.save`` keeps; a
    state dict without any, such as an older one or a plain dictionary, is taken as it is.

    Example:
        >>> class Scaled(Configured):
        ...     def __init__(self, factor):
        ...         super().__init__()
        ...         self.factor = factor
        >>> Scaled(2.0).load_state_dict(Scaled(3.0).state_dict())
        Traceback (most recent call last):
        RuntimeError: Error(s) in loading state_dict for Scaled:
            these are the weights of another model: factor is 3.0 there and 2.0 here.
    """

    def _save_to_state_dict(self, destination: Any, prefix: str, *arguments: Any, **options: Any) -> None:
        super()._save_to_state_dict(destination, prefix, *arguments, **options)
        metadata = getattr(destination, "_metadata", None)
        if metadata is not None:
            metadata[prefix[:-1]][_KEY] = configuration(self)

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        *arguments: Any,
    ) -> None:
        if difference := configuration_difference(local_metadata.get(_KEY, {}), configuration(self)):
            arguments[-1].append(f"these are the weights of another model: {difference}.")
            return
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *arguments)


def configuration(module: nn.Module) -> dict[str, str]:
    """Return the options of a module and of all its parts that are ours, by name.

    An option is a public attribute that is a number, a word, a dataclass, or a tuple of such. Those that a
    module lists as ``free_options`` change nothing in what its weights mean, and are left out.

    Example:
        >>> from tessflow.geometry import VoronoiTessellation
        >>> configuration(VoronoiTessellation.random((2, 3), dim=2, box=(-1.0, 1.0)))
        {'box': '(-1.0, 1.0)'}
    """
    found = {}
    for name, part in module.named_modules():
        is_ours = isinstance(part, Configured) or type(part).__module__.split(".")[0] == "tessflow"
        for option, value in vars(part).items():
            free = option == "training" or option in getattr(part, "free_options", ())
            # Of what is not ours, such as a base density of zuko's, the class that it makes is what may differ.
            compared = isinstance(value, type) or (is_ours and _is_option(value))
            if compared and not option.startswith("_") and not free:
                text = value.__qualname__ if isinstance(value, type) else repr(value)
                digest = hashlib.sha256(text.encode()).hexdigest()[:12]
                found[f"{name}.{option}".lstrip(".")] = text if len(text) <= _LONGEST else f"one of digest {digest}"
    return found


def configuration_difference(found: Mapping[str, str], expected: Mapping[str, str]) -> str | None:
    """Describe the first option that both have, with another value; ``None``: all agree."""
    for option, here in expected.items():
        there = found.get(option, here)
        if there != here:
            return f"{option} is {there} there and {here} here"
    return None


def _is_option(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_option(part) for part in value)
    return value is None or isinstance(value, (bool, int, float, str)) or is_dataclass(value)
