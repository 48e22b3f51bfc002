"""What fusecast computes is what it computed before: files that an earlier version wrote, and small seeded runs.

The files in ``files`` were written, and the tables in ``files/tables`` computed, by the version before the package was
rearranged. Those of `stallion` and `gaps` are of the first version that trains on windows with little history in short
series; without these windows it computed the old ones. Forecasts with and without a calibration are called `TFT` and
`TFT raw` since then, and in `m4_hourly` the next steps are shifted by one that has learned from the test rows too.
Rounding differs between processors, and the runs are so short that it stays far below the tolerance.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from tests.golden.compare import compare
from tests.golden.record import SCENARIOS
from tests.golden.tables import FILES, TABLES, Tables, read

TOLERANCE = 1e-5
RECORDED = sorted(path.relative_to(TABLES).as_posix() for path in TABLES.rglob("*.*"))
COMPILER = any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang")))
KERNELS = os.environ.get("FUSECAST_KERNELS", "1") != "0" and platform.system() == "Linux" and COMPILER

Make = Callable[[str], Tables]


@pytest.fixture(scope="module")
def make(dataset: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Give the tables of a scenario, computed once."""
    made: dict[str, Tables] = {}

    def tables_of(scenario: str) -> Tables:
        if scenario not in made:
            made[scenario] = SCENARIOS[scenario](dataset, tmp_path_factory.mktemp(scenario))
        return made[scenario]

    return tables_of


def of(*scenarios: str) -> pytest.MarkDecorator:
    """Run a test for each table that was recorded of some scenarios."""
    return pytest.mark.parametrize("name", [name for name in RECORDED if name.split("/")[0] in scenarios])


def check(name: str, make: Make) -> None:
    scenario, file = name.split("/")
    new = make(scenario)[file.rpartition(".")[0]]
    found = compare(read(TABLES / name), f"{new.rstrip()}\n" if isinstance(new, str) else pl.DataFrame(new))
    assert found.worst <= TOLERANCE, str(found)


@of("saved_run")
def test_a_run_of_an_earlier_version_forecasts_is_judged_and_explains_itself_as_before(name: str, make: Make) -> None:
    check(name, make)


@of("resumed_run")
def test_training_goes_on_from_a_checkpoint_of_an_earlier_version(name: str, make: Make) -> None:
    check(name, make)


@of("saved_bundle", "exported_bundle", "blended_bundle")
def test_a_bundle_of_an_earlier_version_gives_what_it_gave(name: str, make: Make) -> None:
    check(name, make)


@of("script_checkpoint")
def test_a_checkpoint_of_the_scripts_forecasts_and_trains_on_as_before(name: str, make: Make) -> None:
    check(name, make)


@of("old_weights")
def test_converted_weights_forecast_as_before(name: str, make: Make) -> None:
    check(name, make)


@of("bike_sharing", "heads", "gaps", "scripts")
def test_a_small_run_on_the_bundled_table_repeats_itself(name: str, make: Make) -> None:
    check(name, make)


@pytest.mark.skipif(not KERNELS, reason="the kernels in C, which draw dropout otherwise than torch, are not in use")
@of("dropout")
def test_dropout_is_drawn_as_before(name: str, make: Make) -> None:
    check(name, make)


@of("stallion", "m4_hourly")
def test_a_small_run_on_a_real_data_set_repeats_itself(name: str, make: Make) -> None:
    check(name, make)


@of("help_texts")
def test_the_help_of_every_command_is_as_it_was(name: str, make: Make) -> None:
    scenario, file = name.split("/")
    assert make(scenario)[file.rpartition(".")[0]] == read(TABLES / name)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_table_that_is_computed_was_recorded(scenario: str, make: Make) -> None:
    recorded = {name.split("/")[1].rpartition(".")[0] for name in RECORDED if name.startswith(f"{scenario}/")}
    assert set(make(scenario)) == recorded


def test_the_comparison_notices_a_value_that_is_a_thousandth_off() -> None:
    old = read(TABLES / "saved_run" / "predict.parquet")
    assert isinstance(old, pl.DataFrame)
    new = old.with_columns(pl.when(pl.int_range(pl.len()) == 3).then(pl.col("q0.9") * 1.001).otherwise("q0.9"))
    assert compare(old, old).worst == 0.0
    assert compare(old, new).worst > 10 * TOLERANCE
    assert compare("WQL 0.1234", "WQL 0.1236").worst > TOLERANCE


def test_the_files_are_small() -> None:
    sizes = {path.relative_to(FILES).as_posix(): path.stat().st_size for path in FILES.rglob("*") if path.is_file()}
    assert {name: size for name, size in sizes.items() if size > 200_000} == {}
    assert sum(sizes.values()) < 1_750_000
