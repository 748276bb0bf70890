"""Signals that end a run: Ctrl-C and SIGTERM, held back until the state of the run can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Signals", "held_back"]


class Signals:
    """The signal that came, if one did, and what the KeyboardInterrupt of a Ctrl-C is to say."""

    def __init__(self) -> None:
        self.came: signal.Signals | None = None
        self.sentence = ""


@contextmanager
def held_back(*, enabled: bool = True) -> Iterator[Signals]:
    """Hold back the first Ctrl-C or SIGTERM until the block ends; a second one has its effect at once.

    Only the main thread sees signals; in another, and for signals that are ignored, nothing is held back.

    Args:
        enabled: Whether to do anything.

    Example:
        >>> try:
        ...     with held_back() as signals:
        ...         signal.raise_signal(signal.SIGINT)
        ...         print(signals.came.name)
        ... except KeyboardInterrupt:
        ...     print("stopped")
        SIGINT
        stopped
    """
    signals = Signals()
    before: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, _: FrameType | None) -> None:
        if signals.came is not None:
            restore()
            signal.raise_signal(number)
        signals.came = signal.Signals(number)

    if enabled and threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            # None is a handler that was not set from Python, and cannot be set again.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, handle)
    try:
        yield signals
    finally:
        restore()
        if signals.came is not None:
            if before[signals.came] is signal.default_int_handler:
                raise KeyboardInterrupt(*filter(None, [signals.sentence]))
            signal.raise_signal(signals.came)
