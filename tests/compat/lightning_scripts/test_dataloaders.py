"""make_dataloaders: which windows there are, what is in them, and that the splits share no target."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from tests.helpers.python_server import run_python
from torch.utils.data import DataLoader

from fusecast.compat.lightning_scripts.dataloaders import make_dataloaders
from fusecast.errors import ConfigError, DataError, DataWarning

WINDOW = 5


def sequences(count: int = 10, steps: int = 20, *, seed: int = 0) -> pl.DataFrame:
    """Frame whose feature ``row`` numbers the rows, so that a window can be read back."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "seq_ix": np.repeat(np.arange(count), steps),
            "step_in_seq": np.tile(np.arange(steps), count),
            "row": np.arange(count * steps, dtype=np.float64),
            "noise": rng.normal(size=count * steps),
        }
    )


def read_column(loader: Any, column: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a feature of x [W, window] and of y [W], over all batches."""
    x, y = zip(*((x[:, :, column], y[:, column]) for x, y in loader), strict=True)
    return torch.cat(x).numpy(), torch.cat(y).numpy()


def test_the_loaders_are_dataloaders_of_float32_pairs() -> None:
    loaders = make_dataloaders(np.random.default_rng(0).normal(size=(100, 3)), WINDOW, 8)
    for loader in loaders:
        assert isinstance(loader, DataLoader)
        x, y = next(iter(loader))
        assert (x.dtype, y.dtype) == (torch.float32, torch.float32)
        assert x.shape[1:] == (WINDOW, 3)
        assert y.shape == (len(x), 3)
    assert next(iter(loaders[0]))[0].shape[0] == 8


def test_every_window_of_a_single_sequence_is_in_one_split_and_these_are_in_order_of_time() -> None:
    values = np.arange(200, dtype=np.float32).reshape(100, 2)
    seen = []
    for loader in make_dataloaders(values, WINDOW, 16):
        x, y = read_column(loader)
        np.testing.assert_array_equal(x, y[:, None] + 2 * np.arange(-WINDOW, 0))
        seen.append(np.sort(y) / 2)
    assert all(before.max() < after.min() for before, after in pairwise(seen))
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(WINDOW, 100))


def test_every_epoch_shuffles_training_windows_and_not_those_of_validation() -> None:
    train, valid, _ = make_dataloaders(np.arange(100.0)[:, None], WINDOW, 16)
    first, second = read_column(train)[1], read_column(train)[1]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first), np.sort(second))
    np.testing.assert_array_equal(read_column(valid)[1], np.sort(read_column(valid)[1]))


def test_windows_never_cross_sequences_and_each_sequence_is_in_one_split() -> None:
    frame = sequences()
    seen = []
    for loader in make_dataloaders(frame, WINDOW, 16):
        x, y = read_column(loader)
        assert (x // 20 == (y // 20)[:, None]).all()
        np.testing.assert_array_equal(x, y[:, None] + np.arange(-WINDOW, 0))
        seen.append(set((y // 20).tolist()))
    assert seen == [set(range(7)), {7}, {8, 9}] or seen == [set(range(7)), {7, 8}, {9}]


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "shuffled", "float32"])
def test_every_kind_of_frame_gives_the_same_windows(kind: str) -> None:
    frame = sequences()
    expected = [read_column(loader) for loader in make_dataloaders(frame, WINDOW, 16)]
    converted: Any = {
        "pandas": frame.to_pandas,
        "polars": lambda: frame,
        "arrow": frame.to_arrow,
        "shuffled": lambda: frame.group_by("seq_ix", maintain_order=True).map_groups(
            lambda rows: rows.sample(fraction=1, shuffle=True, seed=1)
        ),
        "float32": lambda: frame.to_pandas().astype({"row": "float32", "noise": "float32"}),
    }[kind]()
    for (x, y), loader in zip(expected, make_dataloaders(converted, WINDOW, 16), strict=True):
        columns = read_column(loader)
        np.testing.assert_array_equal(columns[0], x)
        np.testing.assert_array_equal(columns[1], y)


def test_keys_are_no_features_wherever_they_are() -> None:
    frame = sequences().with_columns(need_prediction=pl.lit(value=True))
    loader = make_dataloaders(frame.select("noise", "need_prediction", "seq_ix", "row", "step_in_seq"), WINDOW, 4)[0]
    assert loader.steps.names == ("noise", "row")
    assert next(iter(loader))[0].shape == (4, WINDOW, 2)


def test_only_rows_that_need_a_prediction_are_forecast() -> None:
    frame = sequences().with_columns(need_prediction=pl.col("step_in_seq") >= 12)
    for loader in make_dataloaders(frame, WINDOW, 16):
        x, y = read_column(loader)
        assert (y % 20 >= 12).all()
        assert (x % 20).min() == 12 - WINDOW, "the other rows may be history"


def test_series_of_one_calendar_are_split_at_one_time() -> None:
    hours = pd.date_range("2024-01-01", periods=60, freq="h")
    frame = pd.DataFrame(
        {
            "unique_id": ["a"] * 60 + ["b"] * 30,  # b begins in the middle of a
            "ds": [*hours, *hours[30:]],
            "hour": [*range(60), *range(30, 60)],
        }
    )
    seen = [read_column(loader)[1] for loader in make_dataloaders(frame, WINDOW, 16)]
    assert all(before.max() < after.min() for before, after in pairwise(seen))
    assert sum(map(len, seen)) == 60 - WINDOW + 30 - WINDOW


def test_no_window_bridges_a_gap_of_counted_steps() -> None:
    frame = sequences(1, 60).filter(~pl.col("step_in_seq").is_between(20, 24))
    targets = np.concatenate([read_column(loader)[1] for loader in make_dataloaders(frame, WINDOW, 16)])
    assert sorted(targets.tolist()) == [*range(WINDOW, 20), *range(25 + WINDOW, 60)]


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_no_window_bridges_a_gap_in_time(zone: str | None) -> None:
    rows = np.arange(60)
    hours = pl.datetime_range(datetime(2024, 3, 30), datetime(2024, 4, 2), "1h", eager=True, time_zone=zone)[:60]
    frame = pl.DataFrame({"ds": hours, "row": rows.astype(float)}).filter(~pl.col("row").is_between(20, 24))
    targets = np.concatenate([read_column(loader)[1] for loader in make_dataloaders(frame, WINDOW, 16)])
    assert sorted(targets.tolist()) == [*range(WINDOW, 20), *range(25 + WINDOW, 60)]


def test_business_days_have_no_gap_at_weekends_and_irregular_times_are_said() -> None:
    days = [day for day in pd.date_range("2024-01-01", periods=80) if day.dayofweek < 5]
    frame = pl.DataFrame({"ds": days, "row": np.arange(len(days), dtype=float)})
    targets = np.concatenate([read_column(loader)[1] for loader in make_dataloaders(frame, WINDOW, 16)])
    assert sorted(targets.tolist()) == list(range(WINDOW, len(days)))
    moments = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.cumsum(np.arange(40) * 37 % 101), unit="h")
    irregular = pl.DataFrame({"ds": moments, "row": np.arange(40.0)})
    with pytest.warns(DataWarning, match=r"windows may run across gaps in time: the frequency .*cannot be inferred"):
        make_dataloaders(irregular, WINDOW, 16)


def test_statistics_are_those_of_the_training_rows_and_of_no_other() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=(200, 2)).astype(np.float32)
    train, valid, _ = make_dataloaders(values, WINDOW, 16)
    end = int(valid.steps.targets[0])
    np.testing.assert_allclose(train.steps.center, values[:end].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(train.steps.scale, values[:end].std(axis=0), rtol=1e-5)
    tampered = values.copy()
    tampered[end:] = 1e6
    assert torch.equal(make_dataloaders(tampered, WINDOW, 16)[0].steps.center, train.steps.center)


def test_an_array_of_float32_is_shared_not_copied() -> None:
    values = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    for given in (values, pd.DataFrame(values, columns=list("abc"))):
        for loader in make_dataloaders(given, WINDOW, 16):
            held = values if given is values else given.to_numpy()
            assert np.shares_memory(loader.steps.values.numpy(), held)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.with_columns(town=pl.lit("Bonn")), r"column 'town' is not numeric but String"),
        (lambda f: f.with_columns(noise=pl.when(pl.col("row") != 33).then("noise")), r"in 'noise' \(1\); .*33"),
        (lambda f: f.with_columns(noise=1.0 / (pl.col("row") - 33)), r"infinite in 'noise'"),
        (lambda f: f.select("seq_ix", "step_in_seq"), "no feature column"),
        (lambda f: f.head(0), "no rows"),
        (lambda f: pl.concat((f, f.head(2))), r"2 steps of 'step_in_seq' occur twice"),
        (lambda f: f.filter(pl.col("step_in_seq") < WINDOW), r"longest unbroken sequence has 5 rows"),
        (lambda f: f.with_columns(need_prediction=pl.lit(value=False)), r"and 0 rows are marked"),
    ],
)
def test_data_without_usable_windows_are_refused_with_the_place(change: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_dataloaders(change(sequences()), WINDOW, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window_size": 0}, "window_size must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"validation": 0.0}, "validation must lie in"),
        ({"validation": 0.6, "test": 0.5}, "validation and test must lie in"),
    ],
)
def test_impossible_sizes_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_dataloaders(**{"data": sequences(), "window_size": WINDOW, "batch_size": 16, **arguments})


@pytest.mark.parametrize("size", ["10", 10.5, True])
def test_sizes_are_whole_numbers(size: Any) -> None:
    with pytest.raises(ConfigError, match=r"window_size must lie in 1, 2, \.\.\., not"):
        make_dataloaders(sequences(), size, 4)


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match="must have rows"):
        make_dataloaders(np.zeros(10), WINDOW, 16)


@pytest.mark.parametrize("kind", ["array", "frame"])
def test_a_million_rows_take_less_than_twice_their_own_memory(kind: str) -> None:
    """Peak memory of a process of its own, the data counted in, above what it has when all is imported."""
    code = f"""
import re, numpy as np, pandas as pd, torch
from pathlib import Path
from fusecast.compat.lightning_scripts.dataloaders import make_dataloaders
torch.set_num_threads(1)
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
make_dataloaders(np.random.rand(1000, 32).astype(np.float32), 100, 256)
before = peak()
values = np.zeros((1_000_000, 32), dtype=np.float32)
for begin in range(0, len(values), 50_000):
    values[begin : begin + 50_000] = np.random.rand(50_000, 32)
data = values if {kind == "array"} else pd.DataFrame(values, copy=False)
train, valid, test = make_dataloaders(data, 100, 256)
for i, (x, y) in enumerate(train):
    if i == 20:
        break
assert len(train.dataset) + len(valid.dataset) + len(test.dataset) == 999_900
print((peak() - before) / values.nbytes)
"""
    ran = run_python("-c", code)
    assert ran.returncode == 0, ran.stderr
    assert 0.9 < float(ran.stdout) < 2.0
