"""The command `tessflow`: fit, score and sample tables from the shell.

Torch and pandas are imported inside the commands, so that `tessflow --help` does not wait for them.
"""

from __future__ import annotations

from typing import Annotated

import typer

from tessflow.cli.command import Command
from tessflow.cli.data import data, gallery
from tessflow.cli.errors import OneSentenceErrors
from tessflow.cli.fit import fit
from tessflow.cli.info import info
from tessflow.cli.sample import sample
from tessflow.cli.score import score
from tessflow.cli.tables import check, impute, report, schema

__all__ = ["app", "main"]

app = typer.Typer(
    name="tessflow",
    cls=OneSentenceErrors,
    help="Fit, score, sample and complete tables of categories, numbers and times with normalizing flows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (schema, fit, info, score, sample, impute, check, report, gallery):
    app.command(cls=Command)(command)
app.add_typer(data, name="data")


def _version(value: bool) -> None:  # noqa: FBT001
    if value:
        from tessflow import __version__
        from tessflow.kernels import status

        typer.echo(f"tessflow {__version__} ({status()})")
        raise typer.Exit


@app.callback()
def _options(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the options of all commands; `OneSentenceErrors` reads them from the context."""


def main() -> None:
    """Run the command `tessflow`."""
    app()
