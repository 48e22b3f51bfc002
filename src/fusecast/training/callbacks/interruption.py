"""Interruption: Ctrl+C stops training between two steps, never while a checkpoint is being written."""

# ruff: noqa: ARG002  the signatures are Lightning's

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl


class Interruption(pl.Callback):
    """Raises the KeyboardInterrupt of a Ctrl+C before the next step begins; a second Ctrl+C is not put off.

    Raised wherever it falls, it may hit the writing of a checkpoint, whose name is noted before the file is there, or
    a place where Python can only ignore it, and training would go on.
    """

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl+C over, and give it back; only where it would have raised a KeyboardInterrupt."""
        before = signal.getsignal(signal.SIGINT)
        ours = threading.current_thread() is threading.main_thread() and before is signal.default_int_handler
        self.asked = False
        try:
            if ours:
                signal.signal(signal.SIGINT, self._note)
            yield
        finally:
            if ours:  # Lightning leaves Ctrl+C switched off
                signal.signal(signal.SIGINT, before)

    def on_train_batch_start(self, *_: Any) -> None:
        """Interrupt where that was asked for."""
        self._interrupt()

    def on_validation_batch_start(self, *_: Any, **__: Any) -> None:
        """Interrupt where that was asked for."""
        self._interrupt()

    def _note(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def _interrupt(self) -> None:
        if self.asked:
            self.asked = False
            raise KeyboardInterrupt
