"""Pictures: a forecast and the importances, drawn while training goes on and sent to the logger."""

# ruff: noqa: ARG002  the signatures are Lightning's

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from fusecast.training.callbacks.progress import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_BARS = 30


@dataclass(frozen=True, kw_only=True, eq=False)
class FigureData:
    """What there is to draw of a validation batch."""

    past: NDArray[np.float64]  # [L] the first target of the first window
    actual: NDArray[np.float64]  # [H]
    quantiles: NDArray[np.float64]  # [H, Q], rising with the level
    weights: NDArray[np.float64]  # [V] mean selection weight of the past variables, over the batch


class SupportsFigures(Protocol):
    """A module that can say what to draw."""

    def show(self, batch: Any) -> FigureData:
        """Forecast a batch for a picture."""
        ...


class ImageLogger(pl.Callback):
    """Draws the first validation batch after the epochs 0, 1, 3, 7, 15, ... and at the end of training.

    Needs matplotlib (the extra `plot`), and a logger that takes images; says so once where matplotlib is missing.

    Parameters
    ----------
    names
        Of the past variables, in the order of the selection weights.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._batch: Any = None
        self._drawn_at = -1

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what is missing."""
        if _takes_images(trainer) and find_spec("matplotlib") is None and trainer.is_global_zero:
            say("No pictures are logged: matplotlib is not installed (pip install 'fusecast[plot]')")

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Keep the first batch."""
        if batch_idx == 0:
            self._batch = batch

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Draw where it is due."""
        number = trainer.current_epoch + 1
        if number & (number - 1) == 0:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Draw the end."""
        self._draw(trainer, pl_module)
        self._batch = None

    def _draw(self, trainer: pl.Trainer, module: SupportsFigures) -> None:
        if self._batch is None or not trainer.is_global_zero or self._drawn_at == trainer.global_step:
            return
        if not _takes_images(trainer) or find_spec("matplotlib") is None:
            return
        self._drawn_at = trainer.global_step
        with torch.no_grad():
            shown = module.show(self._batch)
        figures = {"forecast": draw_forecast(shown), "importance": draw_importance(shown.weights, self.names)}
        for logger in trainer.loggers:
            for name, figure in figures.items():
                log_figure(logger, name, figure, trainer.global_step)


def draw_forecast(shown: FigureData) -> Figure:
    """Draw the last steps, the median and the outermost interval of the forecast, and what came."""
    figure = _figure(7.0, 3.2)
    axes = figure.add_subplot()
    past, ahead = np.arange(-len(shown.past), 0), np.arange(len(shown.actual))
    kept = max(3 * len(ahead), 48)
    mark = "o" if len(ahead) == 1 else None
    axes.plot(past[-kept:], shown.past[-kept:], color="#1f2933", linewidth=1.2)
    axes.plot(ahead, shown.actual, color="#1f2933", linewidth=1.2, marker=mark, label="actual")
    axes.fill_between(ahead, shown.quantiles[:, 0], shown.quantiles[:, -1], color="#2f6fb0", alpha=0.25, linewidth=0)
    middle = shown.quantiles[:, shown.quantiles.shape[1] // 2]
    axes.plot(ahead, middle, color="#2f6fb0", linewidth=1.8, marker=mark, label="forecast")
    axes.axvline(-0.5, color="#9aa5b1", linewidth=0.8, linestyle=":")
    axes.set_xlabel("steps from the first that is forecast")
    axes.legend(frameon=False, loc="upper left")
    return figure


def draw_importance(weights: NDArray[np.float64], names: Sequence[str]) -> Figure:
    """Draw the share of the selection that each past variable has, the largest on top."""
    order = np.argsort(weights)[-MOST_BARS:]
    figure = _figure(6.0, 0.8 + 0.24 * len(order))
    axes = figure.add_subplot()
    axes.barh(np.arange(len(order)), weights[order], color="#2f6fb0")
    literal = [names[place].replace("$", r"\$") for place in order]  # what is between two of them is no formula
    axes.set_yticks(np.arange(len(order)), literal)
    axes.set_xlabel("share of the selection of past variables")
    return figure


def log_figure(logger: Any, name: str, figure: Figure, step: int) -> None:
    """Send a figure to a logger of Lightning's; one that takes no images is left alone."""
    kind, experiment = type(logger).__name__, logger.experiment
    if kind == "TensorBoardLogger":
        experiment.add_figure(name, figure, global_step=step)
    elif kind == "MLFlowLogger":
        experiment.log_figure(logger.run_id, figure, f"{name}/step_{step:08d}.png")
    elif kind == "WandbLogger":
        from PIL import Image

        content = io.BytesIO()
        figure.savefig(content, format="png")
        content.seek(0)
        logger.log_image(name, [Image.open(content)])


def _takes_images(trainer: pl.Trainer) -> bool:
    return any(type(each).__name__ in ("TensorBoardLogger", "MLFlowLogger", "WandbLogger") for each in trainer.loggers)


def _figure(width: float, height: float) -> Figure:
    """Make a figure that no window system and no list of open figures knows about."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
