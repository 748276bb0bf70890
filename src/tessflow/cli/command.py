"""A command: what it looks at before it starts, and what it says if memory is too small."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from tessflow.cli.arguments import require_countable
from tessflow.cli.outputs import look_at_paths, path_parameters, shown

__all__ = ["Command"]

NO_MEMORY = (
    "alloc_cpu", "DefaultCPUAllocator", "out of memory", "bad_alloc", "Unable to allocate", "Storage size calculation",
    "Overflow when unpacking", "array is too big", "Maximum allowed dimension",
)  # fmt: skip
"""What torch and NumPy say where memory is too small, or would be of any machine."""


class Command(TyperCommand):
    """A command that looks at its paths before it starts, and names what was too large for the memory."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; see the class."""
        for parameter in ctx.command.params:
            value = ctx.params.get(parameter.name)
            if isinstance(value, int):
                require_countable(shown(parameter), value)
        look_at_paths(path_parameters(ctx))
        try:
            return super().invoke(ctx)
        except (MemoryError, RuntimeError, ValueError, TypeError, OSError) as error:
            if not (isinstance(error, MemoryError) or any(mark in str(error) for mark in NO_MEMORY)):
                raise
            raise ValueError(_too_large(ctx)) from error


NO_SIZES = ("seed", "given", "columns", "delimiter", "na")
"""Parameters in which a number makes nothing large."""


def _too_large(context: Any) -> str:
    """Say which numbers on the command line may have been too large for the memory."""
    given = {
        shown(parameter): context.params[parameter.name]
        for parameter in context.command.params
        if context.get_parameter_source(parameter.name).name == "COMMANDLINE" and parameter.name not in NO_SIZES
    }
    numbers = {name: value for name, value in given.items() if _size(value)}
    if not numbers:
        return "there is not enough memory: give fewer rows, or fit a smaller model"
    first = sorted(numbers, key=lambda name: -_size(numbers[name]))[:2]
    what = " and ".join(f"{name} {numbers[name]}" for name in first)
    return f"there is not enough memory for {what}: give less"


def _size(value: Any) -> int:
    """Return how large a number is, or the largest of several in a text; 0 if there is none."""
    if isinstance(value, (list, tuple)):
        return max(map(_size, value), default=0)
    digits = "".join(mark if mark.isdigit() else " " for mark in str(value)) if isinstance(value, (int, str)) else ""
    return 0 if isinstance(value, bool) else max(map(int, digits.split()), default=0)
