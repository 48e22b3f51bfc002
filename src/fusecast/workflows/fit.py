"""Train a network and put it into a bundle: the one path of `Forecaster.fit` and of the refits of a backtest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusecast.data.splits import record_split
from fusecast.errors import ConfigError, DataError
from fusecast.errors.artifact import translate_os_errors
from fusecast.errors.training import TrainingInterrupted
from fusecast.features.targets import apply_transform
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.inference.model_bundle import Bundle, Member
from fusecast.io.atomic import scratch_folder
from fusecast.reporting.training_images import draw_training_images
from fusecast.runtime.distributed import is_first_process
from fusecast.training.callbacks.images import ImageLogger
from fusecast.training.callbacks.progress import notify
from fusecast.training.checkpoints import are_equal, load_training_state, newest_checkpoint
from fusecast.training.fit import FitResult, settle_unknown_categories
from fusecast.training.members.ensemble import LoadInitialWeights
from fusecast.training.members.fit import fit_members
from fusecast.training.trainer import RunFiles
from fusecast.workflows.calibrate import calibrate_bundle, describe_calibration
from fusecast.workflows.evaluate import blend_bundle, make_predictor

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import Logger

    from fusecast.config import Calibration, RunConfig, WindowScaling
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
    kinds, members = config.features.window_scalings, config.training.members
    if members < len(kinds):
        raise ConfigError.too_few_members(members, kinds)
    result, bundle = train_bundle(
        config,
        prepared.model_config,
        prepared.encoded,
        prepared.preprocessor,
        train=prepared.train,
        valid=prepared.valid,
        folder=folder,
        scalings=[kinds[number % len(kinds)] for number in range(members)] if len(kinds) > 1 else (),
        extra={"run": config.to_dict(), "split": record_split(prepared.panel, prepared.splits)},
        resume=resume and folder is not None,
        callbacks=callbacks,
        logger=logger,
        on_start=None if folder is None else lambda: config.write(folder / RUN_FILE),
    )
    bundle = keep_best_members(bundle, prepared)
    outcomes = []
    if config.blend == "validation":
        bundle, chosen = blend_bundle(bundle, prepared)
        outcomes.append(chosen)
    bundle, outcome = with_calibration(bundle, prepared, config.calibration)
    for line in [*outcomes, outcome]:
        if line and is_first_process():
            notify(line)
    return result, bundle


def keep_best_members(bundle: Bundle, prepared: Prepared) -> Bundle:
    """Return a bundle with the members of the window scaling that forecasts the validation rows best, or with all.

    The loss is that of training, the quantile loss in units of the series; all stay where they share one scaling, or
    where there are no validation rows.
    """
    kinds = dict.fromkeys(member.window_scaling for member in bundle.members)
    valid = prepared.valid
    if len(kinds) == 1 or not len(valid):
        return bundle
    if prepared.config.training.validation_windows is not None:
        valid = valid.thin(prepared.config.training.validation_windows)
    candidates = {" and ".join(kinds): bundle.members}
    candidates |= {kind: tuple(each for each in bundle.members if each.window_scaling == kind) for kind in kinds}
    losses = {
        name: scaled_loss(EnsemblePredictor(members, bundle.preprocessor, device="cpu"), prepared.encoded, valid)
        for name, members in candidates.items()
    }
    best = min(losses, key=lambda name: losses[name])
    if is_first_process():
        figures = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        notify(f"window scaling {best}: the validation rows are forecast best by it (quantile loss: {figures})")
    return replace(bundle, members=candidates[best], extra={**bundle.extra, "window_scaling_losses": losses})


def with_calibration(bundle: Bundle, prepared: Prepared, method: Calibration) -> tuple[Bundle, str]:
    """Return a bundle calibrated on the validation rows, or as it was where they are too few, and the outcome in words;
    nothing is said, and done, for the method ``none``.
    """
    if method == "none":
        return bundle, ""
    device = "cpu" if prepared.config.training.accelerator == "cpu" else None
    try:
        bundle = calibrate_bundle(bundle, prepared, make_predictor(prepared, bundle, device), method)
    except DataError as error:
        reason = str(error).partition("\n")[0]
        return bundle, f"forecasts are raw: {reason}. A longer validation split lets `fit` calibrate them"
    return bundle, describe_calibration(bundle, prepared)


def scaled_loss(predictor: EnsemblePredictor, encoded: EncodedPanel, index: WindowIndex) -> float:
    """Return the quantile loss of forecasts, in units of each series, averaged over all values and levels."""
    forecasts = predictor.predict(encoded, index)
    series, cutoff, targets = forecasts.series, forecasts.cutoff, len(encoded.inputs.targets)
    rows = (encoded.indptr[series] + cutoff)[:, None] + np.arange(index.horizon)
    actual = encoded.reals[rows, :targets]  # [W, H, Y]
    transformed = apply_transform(forecasts.quantiles, predictor.preprocessor.config.target_transform)
    center, scale = (numbers[series][:, None, :, None] for numbers in (encoded.center, encoded.scale))
    error = actual[..., None] - (transformed - center) / scale
    levels = np.asarray(forecasts.levels)
    loss = np.maximum(levels * error, (levels - 1) * error).mean(axis=-1)
    if encoded.reals_present.shape[1]:
        loss = loss[encoded.reals_present[rows, :targets]]
    return float(loss.mean()) if loss.size else math.inf


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
    if not isinstance(cardinalities, list | tuple):
        return prepared
    if not are_equal(tuple(cardinalities), every.inputs.sizes()["known_categories"]):
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
