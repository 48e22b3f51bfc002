"""Refits of a backtest: models trained on everything up to an origin, and on nothing after it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusecast.data.splits import Split
from fusecast.errors import DataError
from fusecast.errors.training import TrainingInterrupted
from fusecast.evaluation.blend import BLEND
from fusecast.features.preprocessor import Preprocessor
from fusecast.features.weights import check_weights
from fusecast.inference.model_bundle import CONFIG, Bundle, load_bundle, save_bundle
from fusecast.model.config import ModelConfig
from fusecast.training.members.ensemble import LoadInitialWeights
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.evaluate import blend_bundle
from fusecast.workflows.fit import train_bundle, with_calibration
from fusecast.workflows.prepare import Prepared

if TYPE_CHECKING:
    from fusecast.config import Calibration
    from fusecast.data.arrays import IntArray
    from fusecast.evaluation.backtest.rolling import Origins


@dataclass(frozen=True, kw_only=True, eq=False)
class Refits:
    """The models of the blocks of a backtest, each trained when it is first needed and kept in a folder.

    A model is trained on the rows of each series before the first origin of its block; the last of them, as many as
    the run keeps for validation, choose its weights, blend it with baselines where the run does, and calibrate it. With
    `warm_start` training begins with the weights of the block before, and keeps its preprocessor, so that scales and
    categories mean the same; without it, with new weights and a preprocessor fitted anew.

    The first block has the model of the run itself, unless that was trained or chosen on rows from the origins of the
    block on: then it is trained from the beginning, so that nothing that the run has seen reaches a forecast.
    """

    prepared: Prepared
    bundle: Bundle
    origins: Origins
    folder: Path
    warm_start: bool = True
    calibration: Calibration = "none"  # method by which each model is calibrated on its own validation rows

    def model_for_block(self, block: int) -> Bundle:
        """Return the model of a block, trained after those before it where it starts from their weights.

        Raises DataError when the rows before the first origin hold no window to train on, and TrainingInterrupted after
        Ctrl+C: nothing of the model is kept then, and a later call trains it again.
        """
        if block == 0 and not self.training_overlaps_origins:
            return self.bundle
        folder = self.folder / f"refit-{block:04d}"
        if not (folder / CONFIG).exists():
            before = self.model_for_block(block - 1) if self.warm_start and block > 0 else None
            try:
                bundle = self._train(block, before)
            except TrainingInterrupted:
                raise TrainingInterrupted.within_refit(block) from None
            save_bundle(folder, bundle.members, bundle.preprocessor, bundle.extra, arrays=bundle.arrays)
        return load_bundle(folder)

    @property
    def training_overlaps_origins(self) -> bool:
        """Whether the run's own model was trained on, or chosen by, rows from the first origins on."""
        index = self.origins.index
        return bool((index.first_cutoff < self.prepared.splits.valid_end)[index.counts > 0].any())

    def known_rows(self, block: int) -> IntArray:
        """Return the rows of each series that the model of a block may be trained on, [S].

        A series without forecasts contributes the rows of the run's training, as far as they lie before the origins.
        """
        panel, splits = self.prepared.panel, self.prepared.splits
        known = self.origins.known_rows(block, panel.lengths)
        before = np.where(known > 1, known, 0)  # a first cutoff is at least 1, also where a series begins after them
        return np.where(self.origins.index.counts > 0, known, np.minimum(splits.valid_end, before))

    def _train(self, block: int, before: Bundle | None) -> Bundle:
        config, splits = self.prepared.config, self.prepared.splits
        known = self.known_rows(block)
        panel = self.prepared.panel.truncate(known)  # rows that are not there cannot leak
        check_weights(panel)
        valid_begin = np.maximum(known - (splits.valid_end - splits.train_end), 0)

        lookback, horizon = self.prepared.lookback, config.horizon
        train = WindowIndex.for_training(lengths=known, end=valid_begin, lookback=lookback, horizon=horizon)
        if len(train) == 0:
            raise DataError.nothing_to_train_on(config.horizon, int(valid_begin.max(initial=0)))
        preprocessor = before.preprocessor if before else Preprocessor(config.features).fit(panel, valid_begin)
        members = len(self.bundle.members)
        quiet = config.training.model_copy(update={"logger": "none", "progress": False, "members": members})
        result, bundle = train_bundle(
            config.model_copy(update={"training": quiet}),
            ModelConfig(**self.bundle.config.to_dict() | preprocessor.inputs.sizes()),
            preprocessor.encode(panel),
            preprocessor,
            train=train,
            valid=WindowIndex.between(lengths=known, begin=valid_begin, end=known, lookback=lookback, horizon=horizon),
            scalings=[member.window_scaling for member in self.bundle.members],
            initial=[LoadInitialWeights(member.network.state_dict()) for member in before.members] if before else [],
        )
        if result.interrupted:  # unlike in `fit`, half trained weights are no result
            raise TrainingInterrupted
        trained = Prepared(
            config=config, panel=panel, splits=Split(train_end=valid_begin, valid_end=known), preprocessor=preprocessor
        )
        if BLEND in self.bundle.extra:
            bundle, _ = blend_bundle(bundle, trained)
        return with_calibration(bundle, trained, self.calibration)[0]
