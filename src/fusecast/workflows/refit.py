"""Refit: models that have learned from everything up to an origin, and from nothing after it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch import Tensor

from fusecast.errors import DataError
from fusecast.evaluation.backtest.origins import Origins
from fusecast.features.preprocessor import Preprocessor
from fusecast.inference.model_bundle import CONFIG, Bundle, load_bundle, save_bundle
from fusecast.model.config import ModelConfig
from fusecast.training.fit import fit
from fusecast.training.unknown_categories import settle_unknown_categories
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.prepare import Prepared


@dataclass(frozen=True, kw_only=True, eq=False)
class Refits:
    """The model of each block of a backtest, trained when it is asked for and kept in a folder.

    A model learns from each series' rows before the first origin of its block; the last of them, as many as the run
    keeps for validation, choose its weights. Its training starts from the weights of the block before (and keeps that
    block's preprocessor, so that scales and categories mean the same), or, without `warm`, from the beginning, with a
    preprocessor fitted anew.

    The first block has the model of the run itself, unless that has seen rows from the block's origins on: then it is
    trained from the beginning, so that nothing of what the run has seen gets into a forecast.
    """

    prepared: Prepared
    bundle: Bundle
    origins: Origins
    folder: Path
    warm: bool = True

    def of(self, block: int) -> Bundle:
        """Give the model of a block; those of the blocks before it are made first where they are needed.

        Raises
        ------
        DataError
            When the rows before the first origin hold no window to train on.
        """
        if block == 0 and not self.training_overlaps_origins:
            return self.bundle
        folder = self.folder / f"refit-{block:04d}"
        if not (folder / CONFIG).exists():
            before = self.of(block - 1) if self.warm and block > 0 else None
            made = self._train(block, before)
            save_bundle(folder, made.network, made.fitted)
        return load_bundle(folder)

    @property
    def training_overlaps_origins(self) -> bool:
        """Whether the run's own model was trained on, or chosen by, rows from the first origins on."""
        index = self.origins.index
        return bool((index.first_cutoff < self.prepared.parts.valid_end)[index.counts > 0].any())

    def known_rows(self, block: int) -> NDArray[np.int64]:
        """Rows of each series that the model of a block may learn from, [S].

        A series that nothing is forecast of lends what the run has learned from, as far as it lies before the origins.
        """
        panel, parts = self.prepared.panel, self.prepared.parts
        known = self.origins.known_rows(block, panel.lengths)
        before = np.where(known > 1, known, 0)  # a first cutoff is 1 at least, also where a series begins after them
        return np.where(self.origins.index.counts > 0, known, np.minimum(parts.valid_end, before))

    def _train(self, block: int, before: Bundle | None) -> Bundle:
        config, parts = self.prepared.config, self.prepared.parts
        known = self.known_rows(block)
        panel = self.prepared.panel.truncate(known)  # what is not there cannot leak
        valid_begin = np.maximum(known - (parts.valid_end - parts.train_end), 0)

        def windows(begin: NDArray[np.int64] | int, end: NDArray[np.int64]) -> WindowIndex:
            return WindowIndex.between(
                lengths=known, begin=begin, end=end, lookback=config.lookback, horizon=config.horizon
            )

        train = windows(0, valid_begin)
        if len(train) == 0:
            raise DataError.nothing_to_train_on(config.horizon, int(valid_begin.max(initial=0)))
        fitted = before.fitted if before else Preprocessor(config.features).fit(panel, valid_begin)
        encoded = fitted.encode(panel)
        shape = self.bundle.network.config.to_dict() | fitted.inputs.sizes()
        with tempfile.TemporaryDirectory() as scratch:
            result = fit(
                model_config=ModelConfig(**shape),
                training_config=replace(config.training, logger="none", progress=False),
                encoded=encoded,
                train=train,
                valid=windows(valid_begin, known),
                folder=Path(scratch),
                callbacks=[LoadInitialWeights(before.network.state_dict())] if before else [],
            )
        settle_unknown_categories(result.network, encoded, train)
        return Bundle(network=result.network, fitted=fitted)


class LoadInitialWeights(pl.Callback):
    """Begin training with given weights."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002  Lightning's
        """Copy the weights into the network."""
        pl_module.network.load_state_dict(dict(self.weights))  # type: ignore[union-attr]
