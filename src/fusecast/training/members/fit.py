"""fit_members: train the networks of an ensemble, at the same time where there are cores for them."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger

from fusecast.errors import FusecastError, TrainingError
from fusecast.errors.training import TrainingInterrupted
from fusecast.io.atomic import write_text_atomically
from fusecast.runtime.cpu import available_cores
from fusecast.runtime.device import choose_accelerator
from fusecast.runtime.distributed import is_first_process
from fusecast.runtime.lock import lock_folder
from fusecast.training.callbacks.progress import notify
from fusecast.training.final import StepPlan
from fusecast.training.fit import INTERRUPTED, FitResult, fit
from fusecast.training.members.ensemble import (
    MEMBERS,
    THREADS,
    Ensemble,
    LoadInitialWeights,
    minutes_until,
    read_threads,
)
from fusecast.training.members.processes import MemberProcesses, Watch
from fusecast.training.trainer import RunFiles

if TYPE_CHECKING:
    from fusecast.config import TrainingConfig, WindowScaling
    from fusecast.features.encoded_panel import EncodedPanel


def fit_members(
    *,
    training_config: TrainingConfig,
    folder: Path,
    resume: bool = False,
    encoded: EncodedPanel,
    scalings: Sequence[WindowScaling] = (),
    initial: Sequence[LoadInitialWeights] = (),
    plans: Sequence[StepPlan] = (),
    deadline: float | None = None,
    callbacks: Sequence[pl.Callback] = (),
    logger: Logger | Sequence[Logger] | None = None,
    on_start: Callable[[], None] | None = None,
    **data: Any,
) -> FitResult:
    """Train the members of an ensemble; one network alone is trained as by :func:`~fusecast.training.fit.fit`.

    The first member trains in this process, into `folder`, with the `callbacks` and the `logger`; the others have
    folders of the same layout in ``members/``, the logger of the configuration, and no callbacks. On a CPU they train
    in processes of their own, at most as many at a time as there are cores. Each has the same share of torch's threads
    then, which is written down for a resumed run. Elsewhere they train one after another. The weights are the same
    either way. ``max_minutes`` counts for all members together, and so does the time until `deadline`, a Unix time;
    those that have to wait for others share it.

    `initial` has the weights that each member begins with, and `scalings` how the windows of each are scaled, where
    that is not as `encoded` says; `plans` how each is trained as a final network; `data` are the other arguments of
    `fit`. Its errors are raised for each member, with the number of the member; a member whose process is killed is a
    TrainingError. Ctrl+C ends all members, and the result has those that have been validated.
    """
    if training_config.members == 1:
        checkpoints = RunFiles.in_folder(folder).checkpoints
        config = plans[0].apply(training_config) if plans else training_config
        if deadline is not None:
            minutes = min(minutes_until(deadline), config.max_minutes or math.inf)
            config = config.model_copy(update={"max_minutes": minutes})
        return fit(
            training_config=config,
            plan=plans[0] if plans else None,
            encoded=replace(encoded, window_scaling=scalings[0]) if scalings else encoded,
            folder=folder,
            resume=checkpoints if resume else None,
            callbacks=[*initial, *callbacks],
            logger=logger,
            on_start=on_start,
            **data,
        )
    began = time.monotonic()
    members = training_config.members
    processes, threads = plan_processes(training_config)
    if resume:
        threads = read_threads(folder) or threads
    turns = math.ceil(members / processes)
    ensemble = Ensemble(
        training_config=training_config,
        encoded=encoded,
        folder=folder,
        resume=resume,
        scalings=tuple(scalings),
        plans=tuple(plans),
        turns=turns,
        deadline=deadline,
        **data,
    )
    if not resume and is_first_process():
        for number in range(members):
            RunFiles.in_folder(ensemble.folder_of(number)).refuse_to_overwrite()

    def begin() -> None:
        if on_start is not None:
            on_start()
        write_text_atomically(folder / MEMBERS / THREADS, json.dumps({"threads": threads}))

    first = {"callbacks": [*initial[:1], *callbacks], "logger": logger, "name": "member 1  "}
    with use_threads(threads):
        if processes > 1:
            results = _fit_at_once(ensemble, first, begin, initial, processes)
        else:
            results = _fit_in_turn(ensemble, first, begin, initial)
    interrupted = len(results) < members or any(result.interrupted for result in results)
    if len(results) < members and is_first_process():
        notify(f"interrupted: {len(results)} of {members} members have been validated, and these are the model")
    return replace(
        results[0],
        best_loss=float(np.mean([result.best_loss for result in results])),
        seconds=time.monotonic() - began,
        stopped_why=INTERRUPTED if interrupted else results[0].stopped_why,
        members=tuple(results),
    )


def plan_processes(config: TrainingConfig) -> tuple[int, int]:
    """Return how many members train at the same time, and the threads of each."""
    threads, cores = torch.get_num_threads(), available_cores()
    on_cpu = choose_accelerator(config.accelerator, config.devices) == "cpu"
    if not on_cpu or config.devices > 1 or config.num_nodes > 1 or os.name == "nt" or not sys.executable:
        return 1, threads
    processes = min(config.members, cores)
    return processes, max(1, threads // processes)


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Let torch have so many threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fit_in_turn(
    ensemble: Ensemble, first: dict[str, Any], begin: Callable[[], None], initial: Sequence[LoadInitialWeights]
) -> list[FitResult]:
    """Train the members one after another in this process."""
    results: list[FitResult] = []
    for number in range(ensemble.training_config.members):
        options = (
            first if number == 0 else {"callbacks": initial[number : number + 1], "name": f"member {number + 1}  "}
        )
        try:
            result = ensemble.load_finished(number)
            if result is not None and number == 0 and is_first_process():
                begin()
            if result is None:
                result = ensemble.fit(number, on_start=begin if number == 0 else None, **options)
        except TrainingInterrupted:
            if not results:
                raise
            break
        except FusecastError as error:
            raise error if number == 0 else TrainingError.in_member(number + 1, str(error)) from error
        results.append(result)
        if result.interrupted:
            break
    return results


def _fit_at_once(
    ensemble: Ensemble,
    first: dict[str, Any],
    begin: Callable[[], None],
    initial: Sequence[LoadInitialWeights],
    processes: int,
) -> list[FitResult]:
    """Train the first member in this process, and the others in processes of their own."""
    with ExitStack() as stack:
        others = stack.enter_context(MemberProcesses(ensemble, initial))

        def start() -> None:
            begin()
            others.start(processes - 1)

        result = ensemble.load_finished(0)
        if result is None:
            result = ensemble.fit(0, on_start=start, **{**first, "callbacks": [*first["callbacks"], Watch(others)]})
        else:
            stack.enter_context(lock_folder(ensemble.folder))
            start()
        if result.interrupted:
            others.interrupt()
        return [result, *others.wait(processes)]
