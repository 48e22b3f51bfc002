"""Part files: complete or absent, reused by the same work, refused to other work."""

from __future__ import annotations

import polars as pl
import pyarrow.parquet as pq
import pytest

from fusecast.errors import ArtifactError
from fusecast.evaluation.backtest.part_files import PartFiles

PARTS = [pl.DataFrame({"step": [1, 2], "y": [0.5, None]}), pl.DataFrame({"step": [3], "y": [1.5]})]


def test_parts_are_merged_in_order_into_one_file_of_a_row_group_each(tmp_path) -> None:
    files = PartFiles(tmp_path / "parts", {"model": "a"})
    for number, frame in enumerate(PARTS):
        assert not files.has(number)
        files.write(number, frame)
        assert files.has(number)
        assert files.read(number).equals(frame)
    files.merge(2, tmp_path / "table.parquet")
    assert pl.read_parquet(tmp_path / "table.parquet").equals(pl.concat(PARTS))
    assert pq.ParquetFile(tmp_path / "table.parquet").num_row_groups == 2
    files.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]


def test_parts_of_the_same_work_are_reused_and_those_of_other_work_are_refused(tmp_path) -> None:
    PartFiles(tmp_path, {"model": "a", "stride": 2}).write(0, PARTS[0])
    assert PartFiles(tmp_path, {"stride": 2, "model": "a"}).has(0)
    with pytest.raises(ArtifactError, match="another backtest"):
        PartFiles(tmp_path, {"model": "b", "stride": 2})
    assert PartFiles(tmp_path, {"model": "a", "stride": 2}).read(0).equals(PARTS[0])


def test_a_manifest_without_parts_is_overwritten_and_its_folder_removed(tmp_path) -> None:
    folder = tmp_path / "parts"
    PartFiles(folder, {"model": "a"})
    (folder / ".part-000000.parquet.1234").write_text("interrupted write")
    files = PartFiles(folder, {"model": "b"})
    assert '"b"' in (folder / "manifest.json").read_text()
    files.remove_if_empty()
    assert not folder.exists()


def test_a_folder_with_parts_is_not_removed_as_empty(tmp_path) -> None:
    files = PartFiles(tmp_path / "parts", {})
    files.write(0, PARTS[0])
    files.remove_if_empty()
    assert files.has(0)


def test_a_write_that_fails_leaves_no_part(tmp_path) -> None:
    files = PartFiles(tmp_path, {})
    with pytest.raises(AttributeError):
        files.write(0, "no table")
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
