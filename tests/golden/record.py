"""Record what the version in use computes: ``python tests/golden/record.py OUT [SCENARIO ...]``.

Every scenario's tables go into ``OUT/SCENARIO``. The version is the one that Python imports: give it in PYTHONPATH.
With ``FUSECAST_DATA`` the real data sets are read from there, else from ``shared/data`` beside the checkout. Two
recordings are compared by ``python tests/golden/compare.py OLD NEW``.
"""

# ruff: noqa: T201  a script that talks on stdout

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[1]))

from tests.golden import outside, saved, scenarios  # noqa: E402
from tests.golden.tables import PACKAGE, write  # noqa: E402

SCENARIOS = {
    each.__name__: each
    for each in (
        scenarios.bike_sharing,
        scenarios.stallion,
        outside.m4_hourly,
        scenarios.heads,
        scenarios.gaps,
        outside.scripts,
        outside.dropout,
        outside.help_texts,
        saved.saved_run,
        saved.resumed_run,
        saved.saved_bundle,
        saved.exported_bundle,
        saved.blended_bundle,
        saved.script_checkpoint,
        saved.old_weights,
    )
}


def find(name: str) -> Path:
    """Path of a real data set."""
    folder = Path(os.environ.get("FUSECAST_DATA", HERE.parents[2] / "shared" / "data"))
    return folder / f"{name}.parquet"


def main() -> None:
    """Record the scenarios asked for, or all."""
    out, *names = sys.argv[1:]
    print(f"recording {PACKAGE}")
    for name in names or SCENARIOS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            made = SCENARIOS[name](find, Path(scratch))
        write(made, Path(out) / name)
        print(f"{name}: {len(made)} tables in {time.monotonic() - began:.1f} seconds", flush=True)


if __name__ == "__main__":
    main()
