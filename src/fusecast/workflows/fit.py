"""Train a network and put it into a bundle: the one path of `Forecaster.fit` and of the refits of a backtest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusecast.data.splits import record_split
from fusecast.errors.artifact import translate_os_errors
from fusecast.errors.training import TrainingInterrupted
from fusecast.inference.model_bundle import Bundle, Member
from fusecast.io.atomic import scratch_folder
from fusecast.reporting.training_images import draw_training_images
from fusecast.training.callbacks.images import ImageLogger
from fusecast.training.checkpoints import load_training_state, newest_checkpoint
from fusecast.training.fit import FitResult, settle_unknown_categories
from fusecast.training.members.ensemble import LoadInitialWeights
from fusecast.training.members.fit import fit_members
from fusecast.training.trainer import RunFiles

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import Logger

    from fusecast.config import RunConfig, WindowScaling
    from fusecast.features.encoded_panel import EncodedPanel
    from fusecast.features.preprocessor import FittedPreprocessor
    from fusecast.model.config import ModelConfig
    from fusecast.windows.window_index import WindowIndex
    from fusecast.workflows.prepare import Prepared

RUN_FILE = "run.yaml"


def fit_prepared(
    prepared: Prepared,
    folder: Path | None = None,
    *,
    resume: bool = False,
    callbacks: Sequence[pl.Callback] = (),
    logger: Logger | Sequence[Logger] | None = None,
) -> tuple[FitResult, Bundle]:
    """Train the network of a prepared table; see :meth:`fusecast.Forecaster.fit`."""
    config = prepared.config
    return train_bundle(
        config,
        prepared.model_config,
        prepared.encoded,
        prepared.preprocessor,
        train=prepared.train,
        valid=prepared.valid,
        folder=folder,
        extra={"run": config.to_dict(), "split": record_split(prepared.panel, prepared.splits)},
        resume=resume and folder is not None,
        callbacks=callbacks,
        logger=logger,
        on_start=None if folder is None else lambda: config.write(folder / RUN_FILE),
    )


def with_features_of_checkpoint(prepared: Prepared, folder: Path) -> Prepared:
    """Return a prepared table with the calendar features of the run in a folder that is to be resumed.

    Earlier versions took every feature that varies, those too that would be left out now.
    """
    every = replace(prepared.preprocessor, repeated_features=None)
    if every.inputs == prepared.preprocessor.inputs:
        return prepared
    path, _ = newest_checkpoint(RunFiles.in_folder(folder).checkpoints)
    if path is None:
        return prepared
    saved = load_training_state(path)["hyper_parameters"].get("model")
    cardinalities = saved.get("known_categories") if isinstance(saved, dict) else None
    if not isinstance(cardinalities, list | tuple) or tuple(cardinalities) != every.inputs.sizes()["known_categories"]:
        return prepared
    return replace(prepared, preprocessor=every)


def train_bundle(
    config: RunConfig,
    model_config: ModelConfig,
    encoded: EncodedPanel,
    preprocessor: FittedPreprocessor,
    *,
    train: WindowIndex,
    valid: WindowIndex,
    folder: Path | None = None,
    extra: dict[str, Any] | None = None,
    resume: bool = False,
    scalings: Sequence[WindowScaling] = (),
    initial: Sequence[LoadInitialWeights] = (),
    callbacks: Sequence[pl.Callback] = (),
    logger: Logger | Sequence[Logger] | None = None,
    on_start: Callable[[], None] | None = None,
) -> tuple[FitResult, Bundle]:
    """Train networks on windows of an encoded panel, set their embeddings of unknown categories, and bundle them.

    `extra` holds plain values for the bundle: the run and its split; `scalings` the window scaling of each network,
    empty for that of `encoded`; `initial` the weights that each begins with. `on_start` is called in the first process
    after all checks, before anything is written.
    """
    with scratch_folder("fusecast-fit-") as scratch:
        run_folder = folder or scratch / "run"
        try:
            with translate_os_errors(f"a file in {run_folder}"):
                result = fit_members(
                    model_config=model_config,
                    training_config=config.training,
                    encoded=encoded,
                    train=train,
                    valid=valid,
                    folder=run_folder,
                    resume=resume,
                    scalings=scalings,
                    initial=initial,
                    callbacks=[ImageLogger(encoded.inputs.past_names, draw_training_images), *callbacks],
                    logger=logger,
                    on_start=on_start,
                    keeps_folder=folder is not None,
                )
        except TrainingInterrupted:
            if folder is None:
                raise TrainingInterrupted.without_folder() from None
            raise
    members = tuple(Member(each.network, each.window_scaling) for each in result.members or (result,))
    for member in members:
        settle_unknown_categories(member.network, encoded, train)
    return result, Bundle(members=members, preprocessor=preprocessor, extra=extra or {})
