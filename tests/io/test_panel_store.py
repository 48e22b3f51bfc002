from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from tests.helpers.small_table import assert_same_panel

from fusecast.data.panel_builder import build_panel
from fusecast.errors import ArtifactError
from fusecast.io.panel_store import open_panel, save_panel


def test_a_saved_panel_is_mapped_and_the_same(panel, tmp_path):
    save_panel(panel, tmp_path / "p")
    mapped = open_panel(tmp_path / "p")
    assert_same_panel(mapped, panel)
    assert isinstance(mapped.reals["y"], np.memmap)
    save_panel(mapped.truncate([2, 2, 2]), tmp_path / "p")  # over the files that are mapped
    assert_same_panel(mapped, panel)
    assert open_panel(tmp_path / "p").num_rows == 6


def test_integer_ids_and_panels_without_rows_can_be_saved(panel, frame, schema, tmp_path):
    numbered = build_panel(frame.with_columns(unique_id=pl.col("unique_id").str.tail(1).cast(pl.Int32)), schema)
    empty = numbered.truncate([0, 0, 0])
    save_panel(empty, tmp_path)
    assert_same_panel(open_panel(tmp_path), empty)
    assert open_panel(tmp_path).ids.dtype == np.int32


def test_the_header_keeps_the_keys_of_earlier_versions(panel, tmp_path):
    save_panel(panel, tmp_path)
    header = json.loads((tmp_path / "panel.json").read_text())
    assert list(header) == ["format", "schema", "clock", "ids", "ids_dtype", "levels", "columns"]
    assert header["clock"] == {"frequency": "1h", "time_zone": None, "month_day": None, "dtype": "datetime[us]"}
    assert header["columns"]["static_categories"] == ["kind"]


def truncate_file(path):
    path.write_bytes(path.read_bytes()[:-9])


DAMAGES = {
    "no header": (lambda p: (p / "panel.json").unlink(), "panel.json does not exist"),
    "no array": (lambda p: (p / "real_0.npy").unlink(), "real_0.npy does not exist"),
    "cut header": (lambda p: truncate_file(p / "panel.json"), "panel.json cannot be read"),
    "cut array": (lambda p: truncate_file(p / "real_0.npy"), "real_0.npy cannot be read"),
    "other length": (lambda p: np.save(p / "real_0.npy", np.zeros(3)), "expected float64 of length 18, not float64"),
    "pickle": (lambda p: np.save(p / "real_0.npy", np.array([{}]), allow_pickle=True), "real_0.npy cannot be read"),
    "newer": (lambda p: (p / "panel.json").write_text('{"format": 99}'), "format 99"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_folder_is_an_error_that_names_the_file(case, panel, tmp_path):
    save_panel(panel, tmp_path)
    damage, message = DAMAGES[case]
    damage(tmp_path)
    with pytest.raises(ArtifactError, match=message):
        open_panel(tmp_path)
