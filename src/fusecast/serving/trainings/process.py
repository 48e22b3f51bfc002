"""The process of one training: ``python -m fusecast.serving.trainings.process FOLDER``.

FOLDER has the job (see :class:`~fusecast.serving.trainings.training.Training`), and gets the run, its bundle, its
report, and what became of it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusecast.training.members.process import end_with_parent

if TYPE_CHECKING:
    from fusecast.forecaster import Forecaster

JOB, PHASE, OUTCOME = "job.json", "phase.txt", "outcome.json"
RUN, BUNDLE, REPORT = "run", "bundle", "report.html"
READING, TRAINING, REPORTING = "reading the table", "training", "writing the scores and the report"
NICENESS = 5


def main(folder: Path) -> None:
    """Train, write a bundle, the report and the outcome: SIGINT ends the training with its best weights so far."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=end_with_parent, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(NICENESS)  # so that the server answers meanwhile
    import json

    from fusecast.io.atomic import write_text_atomically

    write_text_atomically(folder / OUTCOME, json.dumps(train(folder)))


def train(folder: Path) -> dict[str, Any]:
    """Return the outcome: `state`, done, stopped or failed, and `message`, why, where it is not done."""
    from fusecast.errors import FusecastError
    from fusecast.errors.training import TrainingInterrupted

    try:
        forecaster = fit(folder)
    except TrainingInterrupted as interruption:
        return {"state": "stopped", "message": str(interruption)}
    except KeyboardInterrupt:
        return {"state": "stopped", "message": "the training was stopped before there was a model"}
    except FusecastError as error:
        return {"state": "failed", "message": str(error)}
    assert forecaster.result is not None
    outcome = {"state": "stopped" if forecaster.result.interrupted else "done", "message": None}
    try:
        enter(folder, REPORTING)
        forecaster.export(folder / BUNDLE)
        forecaster.report(folder / REPORT)
    except KeyboardInterrupt:
        return outcome
    except FusecastError as error:
        return {**outcome, "message": f"the report is incomplete: {error}"}
    return outcome


def fit(folder: Path) -> Forecaster:
    """Train the model of the job in a folder into its run."""
    from fusecast.config import RunConfig
    from fusecast.forecaster import Forecaster
    from fusecast.io.documents import parse_json, read_bytes

    enter(folder, READING)
    forecaster = Forecaster.from_config(RunConfig.parse(parse_json(read_bytes(folder / JOB))))
    forecaster.prepare()
    enter(folder, TRAINING)
    forecaster.fit(folder=folder / RUN)
    return forecaster


def enter(folder: Path, phase: str) -> None:
    """Write down what is being done."""
    from fusecast.io.atomic import write_text_atomically

    write_text_atomically(folder / PHASE, phase)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # before there is anything to keep
        main(Path(sys.argv[1]))
