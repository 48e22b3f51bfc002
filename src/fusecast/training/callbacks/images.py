"""ImageLogger: images of a forecast and of the importances, drawn during training and sent to the logger."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pytorch_lightning as pl
import torch

from fusecast.data.arrays import FloatArray
from fusecast.training.callbacks.progress import notify

IMAGE_LOGGERS = ("TensorBoardLogger", "MLFlowLogger", "WandbLogger")
MIN_SECONDS = 20.0
MAX_WAIT_SECONDS = 60.0
"""Time at the end of training after which images that are not drawn yet are given up."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FigureData:
    """Forecasts of a validation batch, ready to be drawn."""

    past: FloatArray  # [L] the first target of the first window
    actual: FloatArray  # [H]
    quantiles: FloatArray  # [H, Q], rising with the level
    levels: tuple[float, ...]  # [Q]
    weights: FloatArray  # [V] mean selection weight of the past variables, over the batch

    def __repr__(self) -> str:
        return f"FigureData(steps={len(self.past)}, horizon={len(self.actual)}, variables={len(self.weights)})"


class SupportsFigures(Protocol):
    """A module whose forecasts can be drawn."""

    def compute_figure_data(self, batch: Any) -> FigureData:
        """Forecast a batch for the images."""
        ...


DrawFunction = Callable[[Sequence[FigureData], Sequence[str]], list[Mapping[str, bytes]]]
"""From figure data and the names of the past variables to PNG images by name, one mapping for each of the data."""


class ImageLogger(pl.Callback):
    """Log images of the first validation batch after the epochs 0, 1, 3, 7, 15, ... and at the end of training.

    `names` are those of the past variables, in the order of the selection weights, and `draw` draws, such as
    :func:`fusecast.reporting.training_images.draw_training_images`. Drawing takes seconds. It happens in a thread
    beside training, once training has lasted `min_seconds`; shorter training logs no images. An error ends the images
    with one line, and never the training.
    """

    def __init__(self, names: Sequence[str], draw: DrawFunction, *, min_seconds: float = MIN_SECONDS) -> None:
        self.names = tuple(names)
        self.min_seconds = min_seconds
        self._draw = draw
        self._start = 0.0
        self._enabled = False
        self._batch: Any = None
        self._waiting: dict[int, FigureData] = {}  # by step
        self._drawing: tuple[list[int], Future[list[Mapping[str, bytes]]]] | None = None
        self._last_step = -1

    def on_fit_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Start the clock."""
        self._start = time.monotonic()
        takes_images = any(type(logger).__name__ in IMAGE_LOGGERS for logger in trainer.loggers)
        self._enabled = takes_images and trainer.is_global_zero

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Keep the first batch."""
        if batch_idx == 0 and self._enabled:
            self._batch = batch

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Forecast where images are due, log those that are drawn, and draw the next ones."""
        epochs = trainer.current_epoch + 1
        if epochs & (epochs - 1) == 0:  # a power of two
            self._forecast(trainer, pl_module)
        self._log_drawn(trainer)
        self._start_drawing()

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Draw and log what is left."""
        self._forecast(trainer, pl_module)
        self._log_drawn(trainer, MAX_WAIT_SECONDS)
        self._start_drawing()
        self._log_drawn(trainer, MAX_WAIT_SECONDS)
        self._batch = None

    def _forecast(self, trainer: pl.Trainer, module: SupportsFigures) -> None:
        if self._enabled and self._batch is not None and self._last_step != trainer.global_step:
            self._last_step = trainer.global_step
            with torch.no_grad():
                self._waiting[trainer.global_step] = module.compute_figure_data(self._batch)

    def _start_drawing(self) -> None:
        if not self._waiting or self._drawing is not None or time.monotonic() < self._start + self.min_seconds:
            return
        future: Future[list[Mapping[str, bytes]]] = Future()
        waiting = self._waiting

        def draw() -> None:
            try:
                future.set_result(self._draw(list(waiting.values()), self.names))
            except Exception as error:  # noqa: BLE001  raised again where the result is read
                future.set_exception(error)

        threading.Thread(target=draw, name="fusecast images", daemon=True).start()
        self._drawing, self._waiting = (list(waiting), future), {}

    def _log_drawn(self, trainer: pl.Trainer, wait_seconds: float = 0.0) -> None:
        if self._drawing is None or not (wait_seconds or self._drawing[1].done()):
            return
        steps, future = self._drawing
        self._drawing = None
        try:
            images = future.result(wait_seconds)
        except Exception as error:  # noqa: BLE001  whatever goes wrong with images, training goes on
            notify(f"No images are logged: {error or type(error).__name__}")
            self._enabled, self._waiting = False, {}
            return
        for step, by_name in zip(steps, images, strict=True):
            for logger in trainer.loggers:
                for name, png in by_name.items():
                    log_image(logger, name, png, step)


def log_image(logger: Any, name: str, png: bytes, step: int) -> None:
    """Send a PNG image to a logger of Lightning; a logger that takes no images is left alone."""
    kind = type(logger).__name__
    if kind not in IMAGE_LOGGERS:
        return
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    if kind == "TensorBoardLogger":
        logger.experiment.add_image(name, np.asarray(image), global_step=step, dataformats="HWC")
    elif kind == "MLFlowLogger":
        logger.experiment.log_image(logger.run_id, image, f"{name}/step_{step:08d}.png")
    else:
        logger.log_image(name, [image])
