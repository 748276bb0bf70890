"""The command `tessflow`: a command or two a file, and what they share."""

from tessflow.cli.app import app, main
from tessflow.cli.errors import OneSentenceErrors

__all__ = ["OneSentenceErrors", "app", "main"]
