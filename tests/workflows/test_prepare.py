"""Preparing a table: a Parquet file that does not fit into memory is streamed to the same panel."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, shop_table

from fusecast import ConfigError, DataError, Forecaster
from fusecast.workflows import prepare as prepare_module


def test_a_parquet_file_larger_than_memory_is_streamed_to_the_same_panel_and_forecasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.parquet"
    shop_table().sort("unique_id", "ds").write_parquet(path)
    in_memory = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(path)

    monkeypatch.setattr(prepare_module, "available_memory", lambda: 0)
    monkeypatch.setattr(prepare_module, "read_table", lambda *_, **__: pytest.fail("the file is read as a whole"))
    streamed = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(path)

    for name, values in in_memory.prepared.panel.reals.items():
        assert isinstance(streamed.prepared.panel.reals[name], np.memmap)
        np.testing.assert_array_equal(streamed.prepared.panel.reals[name], values)
    for name, weights in in_memory.predictor.members[0].network.state_dict().items():
        assert weights.equal(streamed.predictor.members[0].network.state_dict()[name])
    assert streamed.evaluate().to_rows() == in_memory.evaluate().to_rows()


def test_a_file_larger_than_memory_has_to_be_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.parquet"
    shop_table().sort("ds", "unique_id").write_parquet(path)
    monkeypatch.setattr(prepare_module, "available_memory", lambda: 0)
    with pytest.raises(DataError, match="is not sorted by 'unique_id' and 'ds'"):
        Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).prepare(path)


def test_the_folder_of_a_streamed_panel_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, scratch = tmp_path / "table.parquet", tmp_path / "scratch"
    scratch.mkdir()
    shop_table().sort("unique_id", "ds").write_parquet(path)
    monkeypatch.setattr(prepare_module, "available_memory", lambda: 0)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY)
    forecaster.prepare(path)
    assert len(list(scratch.iterdir())) == 1
    del forecaster
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"lookback": 10**12}, r"a window of 1,000,000,000,\d+ steps needs at least [\d,.]+ GiB"),
        ({"horizon": 2**62}, "a window of"),
        ({"network": {"hidden_size": 10**6, "num_heads": 1}}, "the network needs at least"),
        ({"network": {"num_lstm_layers": 2**62}}, "the network needs at least"),
    ],
)
def test_sizes_beyond_all_memory_are_refused_before_the_table_is_read(
    sizes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_module, "read_table", lambda *_, **__: pytest.fail("the table is read"))
    with pytest.raises(ConfigError, match=words):
        Forecaster(**{"horizon": HORIZON, "lookback": LOOKBACK, **sizes}, **ROLES).prepare(shop_table())
