"""What goes wrong, or may have, in one sentence on the standard error stream."""

from __future__ import annotations

import dis
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["BUG", "REFUSED", "OneSentenceErrors"]

REFUSED, BUG = 2, 70
"""Exit codes: of what is refused, and of a fault of tessflow itself."""

OURS = (ValueError, TypeError, RuntimeError)
"""What refuses something, if it is raised on purpose."""

OUTSIDE = (OSError, ImportError, MemoryError)
"""What the system raises, or what is absent."""

PACKAGE = str(Path(__file__).parents[1]) + os.sep


class OneSentenceErrors(TyperGroup):
    """Commands whose errors are one sentence on the standard error stream; warnings are one line each.

    The exit code is 2 if something was refused or went wrong outside, 70 if the fault is in tessflow itself, 130 if it
    was interrupted.

    Attributes:
        places: Where code of ours is, whose errors are meant for the user.
    """

    places: tuple[str, ...] = (PACKAGE,)

    def main(self, args: Any = None, prog_name: Any = None, *, standalone_mode: bool = True, **more: Any) -> Any:  # type: ignore[override]
        """Read the command line and run a command; see the class."""
        try:
            result = super().main(args, prog_name, standalone_mode=False, **more)
        except Exception as error:
            if not hasattr(error, "format_message"):  # of click's own errors: the command line is none
                raise
            typer.echo(_usage(error, sys.argv[1:] if args is None else list(args)), err=True)
            result = REFUSED
        if standalone_mode:
            sys.exit(result if isinstance(result, int) else 0)
        return result

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
        except Exception as error:
            if hasattr(error, "format_message"):
                raise
            if ctx.params.get("debug"):
                traceback.print_exc()
            refused = isinstance(error, OUTSIDE) or (isinstance(error, OURS) and _is_on_purpose(error, self.places))
            typer.echo(f"tessflow: {_sentence(error) if refused else _bug(error)}", err=True)
            raise typer.Exit(REFUSED if refused else BUG) from None


class _Said:
    """Says each warning once: a file that is read twice gives it twice."""

    def __init__(self) -> None:
        self.said: set[str] = set()

    def __call__(self, message: Warning | str, *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        if text not in self.said:
            self.said.add(text)
            typer.echo(f"tessflow: warning: {text}", err=True)


def _is_on_purpose(error: Exception, places: tuple[str, ...]) -> bool:
    """Return whether a ``raise`` of a package of ours raised an error, or pydantic did for one of its models.

    What a library refuses, such as shapes that do not fit, is no sentence for a user: it should not have been asked.
    """
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    code = trace.tb_frame.f_code
    return code.co_filename.startswith(places) and code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _sentence(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}, got {first['input']!r}" if where else first["msg"]
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _usage(error: Any, arguments: list[str]) -> str:
    """Return one line about a command line that no command takes, or the help that was asked for."""
    message, context = " ".join(error.format_message().split()), getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        return str(error.format_message())
    advice = f" (see {context.command_path} --help)" if context is not None else ""
    word = _typed(getattr(error, "param", None), arguments)
    got = f", got {word!r}" if word is not None and repr(word) not in message else ""
    return f"tessflow: {message.rstrip('.')}{got}{advice}"


def _typed(parameter: Any, arguments: list[str]) -> str | None:
    """Return the word that was typed for an option; None if it was left out, or is none."""
    for name in getattr(parameter, "opts", ()):
        for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
            if argument == name:
                return following
            if name.startswith("--") and argument.startswith(f"{name}="):
                return argument.removeprefix(f"{name}=")
    return None


def _bug(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (
        f"this is a bug in tessflow ({type(error).__name__}: {text}): please report it with the traceback, which "
        "`tessflow --debug ...` shows"
    )
