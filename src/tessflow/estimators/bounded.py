"""Building a network from a file's options without more memory than its weights may need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["built_within"]

# A network is built with some times as many numbers as it keeps: 2 to 4 times, in the models that there are.
_TIMES, _MORE = 16, 1_000_000


@contextmanager
def built_within(weights: Mapping[str, Tensor], counts: Mapping[str, Any]) -> Iterator[None]:
    """Raise a ValueError in the block as soon as it makes tensors of far more numbers than some weights hold.

    A tensor that is too large is refused before memory is taken for it.

    Args:
        weights: What the network in the making should hold.
        counts: Options of the network by name: a whole number among them is refused if it is larger than all that.

    Example:
        >>> import torch
        >>> with built_within({"bias": torch.zeros(3)}, {"width": 3}):
        ...     torch.zeros(10**6, 10**6)
        Traceback (most recent call last):
        ValueError: its network has far more numbers than the 3 of the weights
    """
    there = sum(tensor.numel() for tensor in weights.values())
    most = _TIMES * there + _MORE
    for name, value in counts.items():
        if any(isinstance(number, int) and number > most for number in (value, *_listed(value))):
            raise ValueError(f"{name} is {value}, far more than the {there:,} numbers of the weights")
    with _Bounded(there, most):
        yield


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else ()


class _Bounded(TorchDispatchMode):
    def __init__(self, there: int, left: int) -> None:
        super().__init__()
        self.there, self.left = there, left

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        makes = any(argument.name == "device" for argument in func._schema.arguments)
        if makes and not any(isinstance(leaf, Tensor) for leaf in tree_leaves((args, kwargs))):
            self._count(func(*args, **{**kwargs, "device": "meta"}))  # its shape, without its numbers
        result = func(*args, **kwargs)
        self._count(result)
        return result

    def _count(self, result: Any) -> None:
        self.left -= sum(leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        if self.left < 0:
            raise ValueError(f"its network has far more numbers than the {self.there:,} of the weights")
