"""The libraries that are compared, and where each of them lives."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = os.pathsep.join((str(ROOT), str(ROOT / "src")))
"""Search path of processes that are measured: the code of this checkout, whatever their environment has installed."""


@dataclass(frozen=True)
class Library:
    """A library, the environment that it is installed in, and the module that drives it."""

    name: str
    module: str

    @property
    def python(self) -> Path:
        """Interpreter of its environment: ``.venv-<name>``, or under the folder that FUSECAST_BENCH_VENVS names."""
        if self.name == OURS:
            return Path(sys.executable)
        elsewhere = os.environ.get("FUSECAST_BENCH_VENVS")
        venv = Path(elsewhere) / self.name if elsewhere else ROOT / f".venv-{self.name}"
        return venv / "bin" / "python"


def shared_data() -> Path:
    """Folder of the real data sets: $FUSECAST_DATA, else ``shared/data`` beside the checkout."""
    return Path(os.environ.get("FUSECAST_DATA", ROOT.parent / "shared" / "data"))


OURS = "fusecast"
LIBRARIES = {
    library.name: library
    for library in (
        Library(OURS, "benchmarks.ours"),
        Library("pytorch-forecasting", "benchmarks.peers.pytorch_forecasting"),
        Library("neuralforecast", "benchmarks.peers.neuralforecast"),
        Library("darts", "benchmarks.peers.darts"),
        Library("gluonts", "benchmarks.peers.gluonts"),
    )
}
