"""Train a network and put it into a bundle: the one path of `Forecaster.fit` and of the refits of a backtest."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fusecast.data.arrays import take_windows
from fusecast.data.splits import record_last_values, record_split
from fusecast.errors import ConfigError, DataError, FusecastError, TrainingError
from fusecast.errors.artifact import translate_os_errors
from fusecast.errors.training import TrainingInterrupted
from fusecast.features.preprocessor import Preprocessor, series_variable
from fusecast.inference.ensemble_predictor import EnsemblePredictor, combine_quantiles
from fusecast.inference.manifest import refuse_exported
from fusecast.inference.model_bundle import FINAL, Bundle, Member
from fusecast.io.atomic import scratch_folder, write_text_atomically
from fusecast.io.documents import parse_json, read_bytes
from fusecast.model.config import ModelConfig
from fusecast.reporting.training_images import draw_training_images
from fusecast.runtime.distributed import is_first_process
from fusecast.runtime.lock import lock_folder
from fusecast.training.callbacks.images import ImageLogger
from fusecast.training.callbacks.progress import notify
from fusecast.training.checkpoints import IDENTITY, are_equal, load_training_state, newest_checkpoint
from fusecast.training.final import JUDGED_SHARE, LEAST_REFITTED, StepPlan, plan_final
from fusecast.training.fit import FitResult, settle_unknown_categories
from fusecast.training.members.ensemble import FINISHED, MEMBERS, SHORTEST_MINUTES, LoadInitialWeights
from fusecast.training.members.fit import fit_members, plan_processes
from fusecast.training.trainer import RunFiles
from fusecast.windows.window_checks import check_windows_count
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.calibrate import MAX_WINDOWS, calibrate_bundle, describe_calibration
from fusecast.workflows.evaluate import blend_bundle
from fusecast.workflows.predict import LEARNED

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import Logger

    from fusecast.config import Calibration, RunConfig, TrainingConfig, WindowScaling
    from fusecast.features.encoded_panel import EncodedPanel
    from fusecast.features.preprocessor import FittedPreprocessor
    from fusecast.features.targets import FittedTargets
    from fusecast.inference.forecasts import Forecasts
    from fusecast.workflows.prepare import Prepared

RUN_FILE = "run.yaml"
PLAN = "plan.json"
"""File in the folder of the final networks that says how they are trained, so that another training is recognised."""
FEW_WINDOWS = 64
"""Windows that show how long forecasts take."""
LEAST_GAIN = 0.005
"""Part of the loss by which the members of one window scaling have to be better than all of them to forecast alone."""
CALIBRATION_PASSES = 4
"""Passes over validation or test rows of a fit: the choice among members, the blend, and two calibrations."""
SHARE_OF_CALIBRATION = 0.1
"""Share of the time of a fit for the choice among members and their calibration."""
SECONDS_AROUND, LARGEST_SHARE_AROUND = 8.0, 0.15
"""Seconds for starting Python, ending processes and writing the model, and the largest share of the time for it."""


def fit_prepared(
    prepared: Prepared,
    folder: Path | None = None,
    *,
    resume: bool = False,
    callbacks: Sequence[pl.Callback] = (),
    logger: Logger | Sequence[Logger] | None = None,
) -> tuple[FitResult, Bundle]:
    """Train the networks of a prepared table, then the final ones; see :meth:`fusecast.Forecaster.fit`."""
    config = prepared.config
    kinds, members = config.features.window_scalings, config.training.members
    if members < len(kinds):
        raise ConfigError.too_few_members(members, kinds)
    if folder is not None and not resume and config.training.final != "none" and is_first_process():
        RunFiles.in_folder(folder / FINAL).refuse_to_overwrite()
    if folder is not None:
        refuse_exported(folder)
    budget = TimeBudget.begin(prepared)
    with scratch_folder("fusecast-fit-") as scratch:
        place = folder or scratch / "run"
        result, bundle = train_bundle(
            config.model_copy(update={"training": judged_training(prepared)}),
            prepared.model_config,
            prepared.encoded,
            prepared.preprocessor,
            train=prepared.train,
            valid=prepared.valid,
            folder=place,
            keeps_folder=folder is not None,
            scalings=[kinds[number % len(kinds)] for number in range(members)] if len(kinds) > 1 else (),
            extra={"run": config.to_dict(), "split": record_split(prepared.panel, prepared.splits)},
            resume=resume and folder is not None,
            callbacks=callbacks,
            logger=logger,
            on_start=None if folder is None else lambda: config.write(folder / RUN_FILE),
            deadline=budget.end_of_training,
        )
        judged = keep_best_members(bundle, prepared, budget.calibration)
        numbers = [bundle.members.index(member) for member in judged.members]
        if config.blend == "validation":
            judged, outcome = blend_bundle(judged, prepared)
            _say(outcome)
        judged, outcome = with_calibration(judged, prepared, config.calibration, budget.calibration)
        if outcome:
            _say(outcome)
        return result, with_final_networks(
            judged, result, numbers, prepared, place, budget, keeps_folder=folder is not None, resume=resume
        )


@dataclass(frozen=True)
class TimeBudget:
    """When the parts of a fit have to end, as Unix times; None where there is no limit."""

    end_of_training: float | None = None  # of the judged networks
    end: float | None = None
    calibration: float | None = None  # seconds for each pass over the validation rows

    @classmethod
    def begin(cls, prepared: Prepared) -> Self:
        """Divide the time that is left after a table was prepared."""
        seconds = prepared.config.budget_seconds
        if seconds is None:
            return cls()
        end = time.time() + seconds - min(SECONDS_AROUND, LARGEST_SHARE_AROUND * seconds) - prepared.seconds
        left = max(end - time.time(), 0.0)
        calibration = SHARE_OF_CALIBRATION * left
        share = JUDGED_SHARE[prepared.config.training.final] if has_rows_to_learn(prepared) else 1.0
        return cls(time.time() + share * (left - calibration), end, calibration / CALIBRATION_PASSES)


def judged_training(prepared: Prepared) -> TrainingConfig:
    """Return the options with which the judged networks are trained: the final ones have a share of the minutes."""
    training = prepared.config.training
    if training.max_minutes is None or not has_rows_to_learn(prepared):
        return training
    return training.model_copy(update={"max_minutes": JUDGED_SHARE[training.final] * training.max_minutes})


def has_rows_to_learn(prepared: Prepared) -> bool:
    """Whether final networks are to be trained, and there are rows that the judged ones do not learn from."""
    return prepared.config.training.final != "none" and bool((prepared.splits.train_end < prepared.panel.lengths).any())


def with_final_networks(
    judged: Bundle,
    result: FitResult,
    numbers: Sequence[int],
    prepared: Prepared,
    folder: Path,
    budget: TimeBudget,
    *,
    keeps_folder: bool,
    resume: bool,
) -> Bundle:
    """Return a bundle with networks that have learned from all rows, one for each of its members.

    `numbers` are those of the members among all that were trained, whose result is `result`. There are no final
    networks where there is nothing more to learn from or the training was interrupted, which a line on stderr says; and
    a TrainingError is raised where their training fails.
    """
    training = prepared.config.training
    hint = f"; `fusecast fit --resume --out {folder}`" if keeps_folder else ""
    if training.final == "none":
        return judged
    if not has_rows_to_learn(prepared):
        _say("every row is a training row: the same networks are scored and forecast")
        return judged
    if result.interrupted:
        _say("the final networks are not trained: those so far forecast" + (hint and f"{hint} completes the run"))
        return judged
    results = result.members or (result,)
    plans = [plan_final(results[n].checkpoint, results[n].history, training.of_member(n)) for n in numbers]
    if training.max_minutes is not None:
        left = training.max_minutes - spent_minutes(results, training)
        training = training.model_copy(update={"max_minutes": max(left, SHORTEST_MINUTES)})
    if training.progress:
        how = "anew" if training.final == "refit" else "on"
        _say(f"training the networks {how} with all rows, for {max(plan.steps for plan in plans):,} steps")
    try:
        trained = _train_final(
            judged,
            prepared,
            training.model_copy(update={"members": len(numbers)}),
            plans,
            folder,
            deadline=budget.end,
            keeps_folder=keeps_folder,
            resume=resume,
        )
    except FusecastError as error:
        raise TrainingError.in_final_training(str(error)) from error
    except TrainingInterrupted:
        trained = None
    if trained is None:
        _say(
            "the training of the final networks was interrupted: the scored ones forecast"
            + (hint and f"{hint} completes the run")
        )
        return judged
    outcome, final = trained
    steps = [
        (each.history[-1]["step"], plan.steps) for each, plan in zip(outcome.members or (outcome,), plans, strict=True)
    ]
    for done, planned in steps:
        if done < planned:
            _say(f"the training of a final network was cut at step {done:,} of {planned:,}: the time was over")
        if training.final == "refit" and done < LEAST_REFITTED * planned:
            _say("that is too little: the scored networks forecast" + (hint and f"{hint} with more minutes goes on"))
            return judged
    panel, every = prepared.panel, np.arange(prepared.panel.num_series)
    trained_on = prepared.splits.train_end > 0
    facts = {
        "kind": training.final,
        "steps": steps,
        "judged_until": str(panel.times_at(every, prepared.splits.train_end - 1).filter(trained_on).max()),
        "until": str(panel.times_at(every, panel.lengths - 1).filter(panel.lengths > 0).max()),
        LEARNED: record_last_values(panel),
    }
    return replace(judged, final=replace(final, extra=facts))


def spent_minutes(results: Sequence[FitResult], training: TrainingConfig) -> float:
    """Return the minutes that the training of networks took, as many at a time as there are processes."""
    seconds = [each.history[-1]["seconds"] for each in results if each.history]
    processes, _ = plan_processes(training)
    return float(max(max(seconds, default=0.0), sum(seconds) / processes)) / 60.0


def _train_final(
    judged: Bundle,
    prepared: Prepared,
    training: TrainingConfig,
    plans: Sequence[StepPlan],
    folder: Path,
    *,
    deadline: float | None,
    keeps_folder: bool,
    resume: bool,
) -> tuple[FitResult, Bundle] | None:
    """Return the final networks, or None where Ctrl+C ended their training."""
    panel = prepared.panel
    preprocessor, encoded, initial = fit_to_all_rows(prepared), prepared.encoded, []
    if training.final == "refit":
        encoded = preprocessor.encode(panel)
    else:
        bounded = replace(prepared.preprocessor.targets, lowest=preprocessor.targets.lowest)
        preprocessor = replace(prepared.preprocessor, targets=bounded)
        initial = [LoadInitialWeights(member.network.state_dict()) for member in judged.members]
    place = folder / FINAL
    values = {"kind": training.final, "plans": [plan.to_dict() for plan in plans], "judged": judged.digest()}
    result, bundle = train_bundle(
        prepared.config.model_copy(update={"training": training}),
        ModelConfig(**judged.config.to_dict() | preprocessor.inputs.sizes()),
        encoded,
        preprocessor,
        train=WindowIndex.for_training(
            lengths=panel.lengths,
            end=panel.lengths,
            lookback=prepared.lookback,
            horizon=prepared.config.horizon,
            judged_end=prepared.splits.train_end,
        ),
        valid=None,
        folder=place,
        scalings=[member.window_scaling for member in judged.members],
        initial=initial,
        plans=plans,
        deadline=deadline,
        keeps_folder=keeps_folder,
        resume=resume and begin_or_continue(place, values),
        on_start=lambda: write_text_atomically(place / PLAN, json.dumps(values)),
    )
    return None if result.interrupted else (result, bundle)


def fit_to_all_rows(prepared: Prepared) -> FittedPreprocessor:
    """Return the preprocessor fitted to all rows, with inputs of the same kinds as that of the training rows."""
    judged = prepared.preprocessor
    embeds = series_variable(judged.schema) in judged.vocabularies
    options = judged.config.model_copy(update={"series_embedding": embeds})
    fitted = Preprocessor(options).fit(prepared.panel, prepared.panel.lengths)
    return replace(fitted, config=judged.config, repeated_features=judged.repeated_features)


def begin_or_continue(folder: Path, values: dict[str, Any]) -> bool:
    """Return whether a final training continues in a folder; files there of another one are removed.

    `values` describe the training that is wanted, and are in the folder of one that has begun.
    """
    path = folder / PLAN
    if not path.exists():
        return False
    try:
        if parse_json(read_bytes(path)) == values:
            return True
    except (OSError, ValueError):
        pass  # damaged, or left by a kill while files were removed
    if is_first_process():
        with lock_folder(folder):
            write_text_atomically(path, "")
            for name in ("checkpoints", "logs", MEMBERS):
                shutil.rmtree(folder / name, ignore_errors=True)
            for name in ("history.csv", IDENTITY, FINISHED):
                (folder / name).unlink(missing_ok=True)
    return False


def _say(text: str) -> None:
    if is_first_process():
        notify(text)


def keep_best_members(bundle: Bundle, prepared: Prepared, seconds: float | None = None) -> Bundle:
    """Return a bundle with the members of the window scaling that forecasts the validation rows best, or with all.

    The loss is that of training, the quantile loss in units of the series; see :func:`find_best`. All stay where they
    share one scaling, or where there are no validation rows. In `seconds` only so many windows are forecast as that
    takes.
    """
    kinds = dict.fromkeys(member.window_scaling for member in bundle.members)
    valid = prepared.valid
    if len(kinds) == 1 or not len(valid):
        return bundle
    if prepared.config.training.validation_windows is not None:
        valid = valid.thin(prepared.config.training.validation_windows)
    if seconds is not None:
        valid = valid.thin(affordable_windows(prepared, bundle, valid, seconds))
    forecasts = [
        EnsemblePredictor([member], bundle.preprocessor, device="cpu").predict(prepared.encoded, valid)
        for member in bundle.members
    ]
    candidates = {" and ".join(kinds): bundle.members}
    candidates |= {kind: tuple(each for each in bundle.members if each.window_scaling == kind) for kind in kinds}
    losses = {}
    for name, members in candidates.items():
        quantiles = [
            each.quantiles for each, member in zip(forecasts, bundle.members, strict=True) if member in members
        ]
        combined = combine_quantiles(quantiles, forecasts[0].levels, bundle.config.head)
        losses[name] = scaled_loss(
            replace(forecasts[0], quantiles=combined), prepared.encoded, valid, bundle.preprocessor.targets
        )
    best, why = find_best(losses)
    if is_first_process():
        figures = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        notify(f"window scaling {best}: {why} (quantile loss: {figures})")
    return replace(bundle, members=candidates[best], extra={**bundle.extra, "window_scaling_losses": losses})


def find_best(losses: Mapping[str, float]) -> tuple[str, str]:
    """Return which members forecast the validation rows best, of all of them (named first) and those of each window
    scaling, and why: all, unless some have a loss that is lower by :data:`LEAST_GAIN`.
    """
    every, best = next(iter(losses)), min(losses, key=lambda name: losses[name])
    if best != every and losses[best] >= (1 - LEAST_GAIN) * losses[every]:
        return every, f"no kind alone forecasts the validation rows better by {LEAST_GAIN:.1%}"
    return best, "the validation rows are forecast best by it"


def with_calibration(
    bundle: Bundle, prepared: Prepared, method: Calibration, seconds: float | None = None
) -> tuple[Bundle, str]:
    """Return a bundle calibrated on the validation rows, or as it was where they are too few, and the outcome in words;
    nothing is said, and done, for the method ``none``. Each of the two calibrations takes about so many `seconds` at
    most.
    """
    if method == "none":
        return bundle, ""
    index, most = prepared.windows("validation"), MAX_WINDOWS
    if seconds is not None and len(index):
        most = min(most, affordable_windows(prepared, bundle, index, seconds))
    device = "cpu" if prepared.config.training.accelerator == "cpu" else None
    try:
        bundle = calibrate_bundle(bundle, prepared, EnsemblePredictor.from_bundle(bundle, device), method, most)
    except DataError as error:
        reason = str(error).partition("\n")[0]
        return bundle, f"forecasts are raw: {reason}. A longer validation split lets `fit` calibrate them"
    return bundle, describe_calibration(bundle, prepared)


def affordable_windows(prepared: Prepared, bundle: Bundle, index: WindowIndex, seconds: float) -> int:
    """Return of how many windows the forecasts take so long, by those of the first few."""
    few = index.thin(FEW_WINDOWS)
    began = time.monotonic()
    EnsemblePredictor(bundle.members, bundle.preprocessor, device="cpu").predict(prepared.encoded, few)
    return max(len(few), int(seconds / max(time.monotonic() - began, 1e-6) * len(few)))


def scaled_loss(forecasts: Forecasts, encoded: EncodedPanel, index: WindowIndex, fitted: FittedTargets) -> float:
    """Return the quantile loss of forecasts, in units of each series, averaged over all values and levels."""
    series, cutoff, targets = forecasts.series, forecasts.cutoff, len(encoded.inputs.targets)
    rows = (encoded.indptr[series] + cutoff)[:, None] + np.arange(index.horizon)
    actual = take_windows(encoded.reals[:, :targets], rows)  # [W, H, Y]
    transformed = fitted.apply(forecasts.quantiles)
    center, scale = (numbers[series][:, None, :, None] for numbers in (encoded.center, encoded.scale))
    error = actual[..., None] - (transformed - center) / scale
    levels = np.asarray(forecasts.levels)
    loss = np.maximum(levels * error, (levels - 1) * error).mean(axis=-1)
    weights = np.broadcast_to(encoded.weights[rows], loss.shape) if encoded.weights.shape[1] else np.ones_like(loss)
    if encoded.reals_present.shape[1]:
        present = take_windows(encoded.reals_present[:, :targets], rows)
        loss, weights = loss[present], weights[present]
    return float((loss * weights).mean() / weights.mean()) if weights.any() else math.inf


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
    valid: WindowIndex | None,
    folder: Path | None = None,
    keeps_folder: bool = True,
    extra: dict[str, Any] | None = None,
    resume: bool = False,
    scalings: Sequence[WindowScaling] = (),
    initial: Sequence[LoadInitialWeights] = (),
    plans: Sequence[StepPlan] = (),
    deadline: float | None = None,
    callbacks: Sequence[pl.Callback] = (),
    logger: Logger | Sequence[Logger] | None = None,
    on_start: Callable[[], None] | None = None,
) -> tuple[FitResult, Bundle]:
    """Train networks on windows of an encoded panel, set their embeddings of unknown categories, and bundle them.

    `extra` holds plain values for the bundle: the run and its split; `scalings` the window scaling of each network,
    empty for that of `encoded`; `initial` the weights that each begins with; `plans` how each is trained as a final
    network; `deadline` the Unix time at which training ends. Without `keeps_folder` the folder is removed later.
    `on_start` is called in the first process after all checks, before anything is written.
    """
    most, validated = config.training.validation_windows, valid
    if validated is not None and most is not None:
        validated = validated.thin(most)
    for split, index in (("training", train), ("validation", validated)):
        if index is not None:
            check_windows_count(encoded, index, split, preprocessor.schema.weight)
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
                    plans=plans,
                    deadline=deadline,
                    callbacks=[ImageLogger(encoded.inputs.past_names, draw_training_images), *callbacks],
                    logger=logger,
                    on_start=on_start,
                    keeps_folder=folder is not None and keeps_folder,
                )
        except TrainingInterrupted:
            if folder is None or not keeps_folder:
                raise TrainingInterrupted.without_folder() from None
            raise
    members = tuple(Member(each.network, each.window_scaling) for each in result.members or (result,))
    for member in members:
        settle_unknown_categories(member.network, encoded, train)
    return result, Bundle(members=members, preprocessor=preprocessor, extra=extra or {})
