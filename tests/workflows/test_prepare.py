"""Preparing a table: a Parquet file that does not fit into memory is streamed to the same panel."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table
from typer.testing import CliRunner

from fusecast import ConfigError, DataError, DataNote, DataWarning, Forecaster
from fusecast.cli.app import app
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


def test_what_is_remarkable_about_a_table_is_said_in_one_line_and_nothing_of_a_clean_one(tmp_path: Path) -> None:
    table = shop_table()
    step = pl.int_range(pl.len()).over("unique_id")
    shop = pl.col("unique_id")
    rough = table.filter(~((shop == "shop 0") & step.is_between(10, 15)), ~((shop == "shop 1") & (step >= 113)))
    rough = rough.with_columns(y=pl.when((shop != "shop 0") | (step < 110)).then("y"))
    facts = "steps without a row: 6 (1.7%) · y empty in the last row of 1 series · ends differ by up to 7 steps"
    with pytest.warns(DataNote) as warned:
        forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(rough)
    assert [str(each.message) for each in warned] == [facts]
    assert warned[0].filename == __file__
    new = table.with_columns(shop.replace("shop 2", "shop 9"), city=pl.col("city").replace("Lyon", "Rome"))
    with pytest.warns(DataNote) as warned:
        forecaster.predict(future_of(new), data=new)
    assert "new to the model: 1 series ('shop 9'); 1 categories of city ('Rome')" in [
        str(each.message) for each in warned
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(table).predict(future_of(table), data=table)

    rough.write_parquet(tmp_path / "table.parquet")
    words = ["--horizon", "4", "--lookback", "12", "--set", "training={max_steps: 1, members: 1, final: none}"]
    words += ["--observed", "visitors", "--hidden-size", "4", "--num-heads", "1", "--calibration", "none"]
    ran = CliRunner().invoke(app, ["fit", str(tmp_path / "table.parquet"), "--out", str(tmp_path / "run"), *words])
    assert ran.exit_code == 0, ran.output
    assert ran.stderr.count(f"Note: {facts}\n") == 1
    assert facts not in ran.stdout


def test_columns_without_a_role_are_named_where_only_the_target_has_one(tmp_path: Path) -> None:
    table = shop_table().select("unique_id", "ds", "y", "visitors", "city", "promotion")
    table.write_parquet(tmp_path / "table.parquet")
    words = r"^2 columns without a role, not used \(`inspect` proposes roles\): 'city', 'promotion'$"
    for source, streaming in ((table, None), (tmp_path / "table.parquet", True)):
        with pytest.warns(DataNote, match=words):
            Forecaster(HORIZON, LOOKBACK, **TINY, weight="visitors", streaming=streaming).fit(source)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Forecaster(HORIZON, LOOKBACK, **TINY, static=["city"]).fit(table)


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


def test_rows_before_the_first_value_of_a_series_are_left_out(tmp_path: Path) -> None:
    """As in a table of a column a series, melted: the rows of a late series begin with those of the others."""
    table = shop_table()
    late, row = pl.col("unique_id") == "shop 1", pl.int_range(pl.len()).over("unique_id")
    melted = table.with_columns(pl.when(late & (row < 60)).then(None).otherwise("y").alias("y"))
    with pytest.warns(DataNote, match=r"left out, .*: the first 60 rows .* of 1 series"):
        one = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(melted, folder=tmp_path / "run")
    other = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(table.filter(~late | (row >= 60)))
    plan = future_of(table)
    assert one.predict(plan).equals(other.predict(plan))
    assert one.evaluate().to_rows() == other.evaluate().to_rows()
    assert [len(each.prepared.train) for each in (one, other)] == [len(one.prepared.train)] * 2
    loaded = Forecaster.load(tmp_path / "run")
    assert loaded.predict(plan, data=melted).equals(one.predict(plan))
    assert loaded.evaluate(data=melted).to_rows() == one.evaluate().to_rows()


def test_validation_rows_without_a_value_are_refused_before_training() -> None:
    table = shop_table()
    row = pl.int_range(pl.len()).over("unique_id")
    prepared = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).prepare(table)
    train_end, valid_end = int(prepared.splits.train_end[0]), int(prepared.splits.valid_end[0])
    empty = table.with_columns(pl.when(row.is_between(train_end, valid_end - 1)).then(None).otherwise("y").alias("y"))
    with pytest.raises(DataError, match=r"none of the \d+ rows of the validation split has a value of 'y'"):
        Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(empty)


def test_windows_of_the_test_rows_without_a_value_have_no_scores_which_is_said() -> None:
    row = pl.int_range(pl.len()).over("unique_id")  # of 120: 14 test rows, of which the last two are in no window
    table = shop_table(steps=120).with_columns(pl.when(row.is_between(106, 117)).then(None).otherwise("y").alias("y"))
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY, split={"test": 14 / 120}).fit(table)
    with pytest.warns(
        DataWarning, match=r"no test row has a value of 'y', so that there are no scores\nHint: evaluate on"
    ):
        assert np.isnan(forecaster.evaluate().to_rows()[0]["WQL"])
