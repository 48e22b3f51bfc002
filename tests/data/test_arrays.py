"""Arrays in mapped files: the same values as in memory, in files that vanish."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusecast.data import arrays
from fusecast.errors import ArtifactError


@pytest.fixture
def mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Numbers in a mapped file; a block holds a few of them."""
    monkeypatch.setattr(arrays, "BLOCK_ROWS", 4)
    monkeypatch.setenv("FUSECAST_PANELS", str(tmp_path / "panels"))
    np.save(tmp_path / "values.npy", np.arange(10.0))
    return np.load(tmp_path / "values.npy", mmap_mode="r")


def test_what_is_computed_of_mapped_values_is_mapped_and_leaves_no_file(mapped: np.ndarray, tmp_path: Path) -> None:
    results = [arrays.copy(mapped), arrays.map_values(mapped, np.negative, np.float64)]
    results += [arrays.empty((3, 2), np.int32, mapped), arrays.collect([mapped[:3], mapped[5:]], mapped)]
    assert all(map(arrays.is_mapped, (mapped, mapped[2:5], *results)))
    assert not any(map(arrays.is_mapped, (mapped + 1, np.arange(3), arrays.copy(np.arange(3)))))
    np.testing.assert_array_equal(results[0], np.arange(10))
    np.testing.assert_array_equal(results[1], -np.arange(10))
    np.testing.assert_array_equal(results[3], [0, 1, 2, 5, 6, 7, 8, 9])
    assert list((tmp_path / "panels").iterdir()) == []


def test_released_pages_keep_what_was_written(mapped: np.ndarray) -> None:
    values = arrays.copy(mapped)
    values[:] = 7
    arrays.release(values, mapped, np.arange(3))
    assert (values == 7).all()
    assert mapped.tolist() == list(range(10))


@pytest.mark.parametrize("shape", [(10,), (5, 2), (0,), (3, 0)])
def test_arrays_are_saved_block_by_block(shape: tuple[int, ...], mapped: np.ndarray, tmp_path: Path) -> None:
    values = mapped[: int(np.prod(shape))].reshape(shape)
    arrays.save(tmp_path / "saved.npy", values)
    np.testing.assert_array_equal(np.load(tmp_path / "saved.npy"), values)


def test_blocks_hold_whole_groups_and_at_most_so_many_rows(mapped: np.ndarray) -> None:
    indptr = np.cumsum([0, 2, 2, 0, 9, 1, 0])
    assert list(arrays.group_blocks(indptr)) == [slice(0, 3), slice(3, 4), slice(4, 6)]
    assert list(arrays.row_blocks(9)) == [slice(0, 4), slice(4, 8), slice(8, 9)]


def test_a_full_disk_is_an_error_before_anything_is_written(
    mapped: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arrays.os, "posix_fallocate", refuse)
    with pytest.raises(ArtifactError, match="No space left on device"):
        arrays.empty(10, np.float64, mapped)


def test_windows_of_mapped_arrays_are_taken_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    np.save(tmp_path / "values.npy", values)
    mapped, rows, released = np.load(tmp_path / "values.npy", mmap_mode="r"), np.arange(40).reshape(20, 2), []
    monkeypatch.setattr(arrays, "WINDOWS_IN_MEMORY", 8)
    monkeypatch.setattr(arrays, "release", released.append)
    np.testing.assert_array_equal(arrays.take_windows(mapped[:, :2], rows), values[:, :2][rows])
    assert len(released) == 3
    np.testing.assert_array_equal(arrays.take_windows(values, rows), values[rows])
    assert len(released) == 3
