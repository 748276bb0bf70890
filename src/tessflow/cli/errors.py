"""What goes wrong, or may have, in one sentence on the standard error stream."""

from __future__ import annotations

import traceback
import warnings
from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["OneSentenceErrors"]


class OneSentenceErrors(TyperGroup):
    """Commands whose errors are one sentence on the standard error stream and exit code 2; warnings one line each."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; see the class."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _Said()
                # Of tables always, whatever is made of other warnings; their class is imported by the commands only.
                warnings.filterwarnings("always", r"column ", UserWarning)
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):  # typer ends quietly when a pipe is closed
            raise
        except KeyboardInterrupt as interrupt:
            typer.echo(f"tessflow: {str(interrupt) or 'interrupted'}", err=True)
            raise typer.Exit(130) from None
        except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            typer.echo(f"tessflow: {_sentence(error)}", err=True)
            raise typer.Exit(2) from None


class _Said:
    """Says each warning once: a file that is read twice gives it twice."""

    def __init__(self) -> None:
        self.said: set[str] = set()

    def __call__(self, message: Warning | str, *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        if text not in self.said:
            self.said.add(text)
            typer.echo(f"tessflow: warning: {text}", err=True)


def _sentence(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}, got {first['input']!r}" if where else first["msg"]
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
