"""The process of one member of an ensemble: ``python -m fusecast.training.members.process FOLDER NUMBER``.

FOLDER holds the job, see :func:`fusecast.training.members.processes.write_job`, and gets the result.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path


def main(folder: Path, number: int) -> None:
    """Train the member, and write its result; nothing is written where it was interrupted before there is a model."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
    threading.Thread(target=end_with_parent, daemon=True).start()
    with suppress(KeyboardInterrupt):  # TrainingInterrupted is one
        import json

        from fusecast.io.atomic import write_text_atomically
        from fusecast.training.members.processes import run_job

        write_text_atomically(folder / f"result-{number}.json", json.dumps(run_job(folder, number)))


def end_with_parent() -> None:
    """End this process when the one that started it does not exist any more, as a kill does."""
    while os.read(0, 1):  # not by sys.stdin, whose lock Python needs at its end
        pass
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
