"""Fixtures shared by every folder of tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Networks this small only lose by threads, and several test processes lose a lot. Said before torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

pytest_plugins = [
    "tests.helpers.training_fixtures",
    "tests.helpers.evaluation_fixtures",
    "tests.helpers.database_fixtures",
]

HERE = Path(__file__).resolve().parent


def shared_data() -> Path:
    """Folder of the real data sets: $FUSECAST_DATA, else shared/data beside the checkout."""
    return Path(os.environ.get("FUSECAST_DATA", HERE.parent.parent / "shared" / "data"))


def pytest_configure() -> None:
    """Keep each process of pytest-xdist on a core of its own: members then train one after another in it.

    Starting a process for a member takes longer than the few steps that most tests train; those that are about such
    processes ask for them.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker) % len(cores)]})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, so that no process is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Give torch one thread again after each test: several of them on one core would wait for each other."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _panels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Store the panels of large tables in a folder of this test run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSECAST_PANELS", str(tmp_path_factory.mktemp("panels")))
        yield


@pytest.fixture(scope="session")
def dataset() -> Callable[[str], Path]:
    """Give the path of a real data set by name, or skip the test where the data are absent."""

    def find(name: str) -> Path:
        path = shared_data() / (name if "." in name else f"{name}.parquet")
        if not path.is_file():
            pytest.skip(f"real data set {name!r} is not at {shared_data().name}; set FUSECAST_DATA to its folder")
        return path

    return find
