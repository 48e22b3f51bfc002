"""ProgressReport: a bar on a terminal, a line that is updated in a notebook, else one line an epoch. And `notify`."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from fusecast.training.callbacks.history import History
from fusecast.windows.device_gatherer import bytes_on_device

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

REFRESH_SECONDS = 0.5
PROGRESS_LINE = re.compile(r"epoch +\d|[\d,]+ parameters on ")
"""How the lines of a ProgressReport begin."""


def notify(text: str) -> None:
    """Print a line on stderr."""
    _stderr().print(text, highlight=False, markup=False, soft_wrap=True)


def in_notebook() -> bool:
    """Return whether the kernel of a notebook runs this."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class ProgressReport(pl.Callback):
    """Print what is being trained, how far an epoch is, and its results: the last row of `history`.

    Without `lines` there is the bar alone; `name` precedes each line. The default `console` is stderr; in a notebook
    the line of each epoch replaces the one before. Values are fetched from the device a few times a second, not every
    step.
    """

    def __init__(self, history: History, console: Console | None = None, *, lines: bool = True, name: str = "") -> None:
        self.history = history
        self.name = name
        self.lines = lines
        self.console = console or _stderr()
        self._in_notebook = console is None and in_notebook()
        self._output: Any = None  # of the cell, which is updated
        self._bar: Progress | None = None
        self._task: Any = None
        self._refreshed_at = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Describe the network in one line, and draw the bar."""
        if not trainer.is_global_zero:
            return
        count = sum(parameter.numel() for parameter in pl_module.parameters())
        panel = getattr(getattr(trainer, "datamodule", None), "panel_on_device", None)
        if self.lines:
            text = f"{count:,} parameters on {pl_module.device}, precision {trainer.precision}, "
            text += f"{trainer.num_training_batches:,} batches an epoch"
            if panel is not None:
                text += f", panel on {panel.device} ({bytes_on_device(panel.encoded) / 2**20:,.1f} MiB)"
            self._print(text)
        if self.console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[loss]}"), console=self.console, transient=True)
            self._task = self._bar.add_task("", total=trainer.num_training_batches, loss="")
            self._bar.start()

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Begin the bar anew."""
        if self._bar is not None:
            self._bar.reset(self._task, description=f"epoch {trainer.current_epoch}", loss="")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Advance the bar."""
        if self._bar is None and not (self._in_notebook and trainer.is_global_zero):
            return
        if time.monotonic() - self._refreshed_at < REFRESH_SECONDS:
            return
        self._refreshed_at = time.monotonic()
        loss = f"loss {float(outputs['loss']):.4f}"
        if self._bar is not None:
            self._bar.update(self._task, completed=batch_idx + 1, loss=loss)
        else:
            self._print(f"epoch {trainer.current_epoch:3d}  {batch_idx + 1:,}/{trainer.num_training_batches:,}  {loss}")

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Print the line of the epoch."""
        if not self.lines or not trainer.is_global_zero or not self.history.rows:
            return
        row = self.history.rows[-1]
        validation = ""
        if row["val_loss"] is not None:
            validation = f"  val_loss {row['val_loss']:.4f}  val_mae {row['val_mae']:.4f}"
        self._print(
            f"epoch {row['epoch']:3d}  step {row['step']:6d}  train_loss {row['train_loss']:.4f}{validation}  "
            f"lr {row['lr']:.1e}  {row['seconds']:.0f} s  {row['windows_per_second']:.0f} windows/s"
        )

    def on_train_end(self, *_: Any) -> None:
        """Remove the bar; in a notebook the line, unless it is the result of the last epoch."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._output is not None and not self.lines:
            self._output.update({"text/plain": ""}, raw=True)

    def on_exception(self, *_: Any) -> None:
        """Remove the bar, so that the message stands alone."""
        self.on_train_end()

    def _print(self, text: str) -> None:
        if not self._in_notebook:
            self.console.print(self.name + text, highlight=False, soft_wrap=True)
            return
        from IPython.display import display

        data = {"text/plain": self.name + text}
        if self._output is None:
            self._output = display(data, raw=True, display_id=True)
        else:
            self._output.update(data, raw=True)


def _stderr() -> Console:
    from rich.console import Console

    # A kernel sets FORCE_COLOR, for its processes too: rich would take their output for a terminal.
    return Console(stderr=True, force_jupyter=False, force_terminal=sys.stderr.isatty())
