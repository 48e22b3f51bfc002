"""A run on a Parquet folder that is read in pieces is that of the table in memory, from the fit to the forecasts."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.helpers.python_server import run_python
from tests.helpers.small_table import assert_same_panel
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table

from fusecast import ConfigError, DataError, DataNote, Forecaster
from fusecast.data import arrays
from fusecast.data.arrays import is_mapped
from fusecast.io import panel_cache, streaming
from fusecast.workflows import prepare

pytestmark = pytest.mark.filterwarnings("ignore::fusecast.DataNote")


def rough_table(series: int = 6) -> pl.DataFrame:
    """A table with holes, absent rows, series of several lengths, and one that is too short to learn from."""
    step = pl.int_range(pl.len()).over("unique_id")
    rough = shop_table(series, steps=260).filter(step % 17 != 5, (pl.col("unique_id") != "shop 1") | (step < 200))
    rough = rough.filter((pl.col("unique_id") != "shop 4") | (step < 5))
    return rough.with_columns(
        y=pl.when(step % 29 != 3).then("y"),
        visitors=pl.when(step % 11 != 2).then("visitors"),
        weather=pl.when(step % 13 != 2).then("weather"),
    )


def write_folder(table: pl.DataFrame, folder: Path, parts: int = 4) -> Path:
    """Write a table in a random order into several files."""
    folder.mkdir(parents=True)
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=0)
    for number, part in enumerate(shuffled.iter_slices(-(-len(table) // parts))):
        part.write_parquet(folder / f"part {number}.parquet", row_group_size=20)
    return folder


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a block hold fewer rows than a series."""
    monkeypatch.setattr(arrays, "BLOCK_ROWS", 200)
    monkeypatch.setattr(streaming, "BATCH_ROWS", 150)


OPTIONS: dict[str, dict[str, Any]] = {
    "holidays, calibration and blend": {
        "calibration": "adaptive",
        "blend": "validation",
        "features": {"country": ["DE"]},
    },
    "transform and robust scaling": {
        "features": {"target_transform": "asinh", "target_scaling": "robust", "covariate_scaling": "robust"}
    },
    "final networks, logarithms and means": {
        "calibration": "cqr",
        "training": {**TINY["training"], "final": "refit"},
        "features": {"target_transform": "log1p", "target_scaling": "mean_abs"},
        "future_rows": "each",
    },
}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_streamed_run_is_that_of_the_table_in_memory(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    table, options = rough_table(), ROLES | TINY | OPTIONS[case]
    folder = write_folder(table, tmp_path / "table")
    whole = Forecaster(HORIZON, LOOKBACK, **options).fit(table)
    newer = pl.concat([table, table.filter(unique_id="shop 2").with_columns(unique_id=pl.lit("shop 9"))])
    expected = whole.predict(future_of(table)), whole.evaluate(), whole.predict(future_of(newer), data=newer)

    request.getfixturevalue("small_blocks")
    streamed = Forecaster(HORIZON, LOOKBACK, streaming=True, **options).fit(folder)
    assert is_mapped(streamed.prepared.encoded.reals)
    assert_same_panel(streamed.prepared.panel, whole.prepared.panel)
    for one, other in zip(streamed._require_bundle().members, whole._require_bundle().members, strict=True):
        for name, weights in other.network.state_dict().items():
            assert weights.equal(one.network.state_dict()[name])
    bundles = streamed._require_bundle(), whole._require_bundle()
    assert bundles[0].preprocessor.to_json() == bundles[1].preprocessor.to_json()
    learned = [{name: each for name, each in bundle.extra.items() if name != "run"} for bundle in bundles]
    assert learned[0] == learned[1]
    assert streamed.predict(future_of(table)).equals(expected[0])
    assert repr(streamed.evaluate().to_dict()) == repr(expected[1].to_dict())
    again = streamed.predict(future_of(newer), data=write_folder(newer, tmp_path / "newer"))
    assert again.equals(expected[2])


@pytest.mark.usefixtures("small_blocks")
def test_future_rows_of_a_streamed_table_are_the_plan(tmp_path: Path) -> None:
    table = shop_table()
    both = pl.concat([table, future_of(table)], how="diagonal").with_columns(
        pl.col("city").forward_fill().over("unique_id")
    )
    whole = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(both)
    streamed = Forecaster(HORIZON, LOOKBACK, streaming=True, **ROLES, **TINY).fit(write_folder(both, tmp_path / "t"))
    assert_same_panel(streamed.prepared.panel, whole.prepared.panel)
    assert whole.predict()["ds"].min() == table["ds"].max() + table["ds"].diff()[1]
    assert streamed.predict().equals(whole.predict())


OTHERWISE: dict[str, tuple[dict[str, list[Any]], list[Any]]] = {
    "numbers": (
        {"unique_id": [7, 9, 10]},
        [
            pl.format("00{}", "unique_id"),
            pl.col("unique_id").cast(pl.Float64),
            pl.format("{}", "unique_id").cast(pl.Categorical),
            pl.format("{}.0", pl.col("unique_id").replace(9, 11)),  # one of them new
            pl.col("unique_id").cast(pl.String).replace("9", "new"),  # so that all stay text
        ],
    ),
    "text": ({"unique_id": ["007", "9", "10"]}, [pl.col("unique_id").cast(pl.Int64)]),
    "dates": ({"unique_id": [date(2020, 1, 9), date(2020, 1, 10), date(2021, 1, 1)]}, [pl.col("unique_id").cast(str)]),
    "several columns": (
        {"unique_id": ["b", "a", "a"], "item": [9, 10, 9], "open": [True, False, True]},
        [[pl.format("0{}", "item").alias("item"), pl.col("open").cast(pl.Int8).replace_strict({1: "Y", 0: "n"})]],
    ),
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_ids_written_in_another_way_are_the_series_of_the_training_in_a_streamed_table_too(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    ids, rough = pl.DataFrame(OTHERWISE[case][0]), rough_table(3)
    shops = [int(name.removeprefix("shop ")) for name in rough["unique_id"]]
    table = pl.concat([ids[shops], rough.drop("unique_id", "city")], how="horizontal")
    options = {"known": ["promotion"], "observed": ["weather", "visitors"], "id": ids.columns} | TINY
    fitted = Forecaster(HORIZON, LOOKBACK, **options).fit(table)
    steps = pl.DataFrame({"step": range(1, HORIZON + 1), "promotion": 1.0})
    expected = []
    for otherwise in OTHERWISE[case][1]:
        newer = table.with_columns(otherwise)
        last = newer.group_by(ids.columns).agg(pl.col("ds").max()).join(steps, how="cross")
        plan = last.with_columns(pl.col("ds") + pl.duration(hours="step"))
        expected.append((newer, plan, *predict_and_note(fitted, plan, newer)))

    request.getfixturevalue("small_blocks")
    monkeypatch.setattr(prepare, "is_streamed", lambda *_: True)
    for number, (newer, plan, whole, said) in enumerate(expected):
        folder = write_folder(newer, tmp_path / f"newer {number}")
        for _ in ("stored", "reopened"):
            streamed, notes = predict_and_note(fitted, plan, folder)
            assert streamed.equals(whole)
            assert streamed.schema == whole.schema
            assert [note for note in notes if "is read from" not in note] == said


def predict_and_note(forecaster: Forecaster, plan: pl.DataFrame, data: Any) -> tuple[pl.DataFrame, list[str]]:
    """Return forecasts, and what was said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        forecasts = forecaster.predict(plan, data=data)
    return forecasts, [str(each.message) for each in caught]


@pytest.mark.usefixtures("small_blocks")
def test_two_spellings_of_one_id_are_refused_in_a_streamed_table_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = {"shop 0": 1, "shop 1": 2, "shop 2": 3}
    table = shop_table().with_columns(pl.col("unique_id").replace_strict(numbers)).drop("city", "promotion")
    fitted = Forecaster(HORIZON, LOOKBACK, **TINY).fit(table)
    alike = table.with_columns(pl.col("unique_id").cast(pl.String).replace("3", "01"))
    monkeypatch.setattr(prepare, "is_streamed", lambda *_: True)
    with pytest.raises(DataError, match="'unique_id' holds '01' and '1', and the training knows one such series, '1'"):
        fitted.predict(data=write_folder(alike, tmp_path / "alike"))


@pytest.mark.usefixtures("small_blocks")
def test_a_stored_panel_is_reopened_where_content_and_schema_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUSECAST_PANELS", str(tmp_path / "panels"))
    path, table = tmp_path / "t.parquet", shop_table()
    table.write_parquet(path)
    options = ROLES | TINY | {"streaming": True}
    with pytest.warns(DataNote, match="stored for this and later runs"):
        forecaster = Forecaster(HORIZON, LOOKBACK, **options).fit(path, folder=tmp_path / "run")

    monkeypatch.setattr(panel_cache, "stream_parquet", lambda *_, **__: pytest.fail("the table is read again"))
    with pytest.warns(DataNote, match="where an earlier run has stored it"):
        assert_same_panel(Forecaster(HORIZON, LOOKBACK, **options).prepare(path).panel, forecaster.prepared.panel)
    os.utime(path, (1, 1))  # the same content
    with pytest.warns(DataNote, match="where an earlier run has stored it"):
        reloaded = Forecaster.load(tmp_path / "run").predict(future_of(table), data=path)
    assert reloaded.equals(forecaster.predict(future_of(table)))
    monkeypatch.undo()

    monkeypatch.setenv("FUSECAST_PANELS", str(tmp_path / "panels"))
    changed = table.with_columns(pl.col("y") + 1)
    changed.write_parquet(path)
    panel = Forecaster(HORIZON, LOOKBACK, **options).prepare(path).panel
    np.testing.assert_array_equal(panel.reals["y"], changed["y"].to_numpy())
    assert len(list((tmp_path / "panels").glob("*/panel.json"))) == 1  # that of the earlier content is gone


@pytest.mark.usefixtures("small_blocks")
def test_a_truncated_store_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSECAST_PANELS", str(tmp_path / "panels"))
    shop_table().write_parquet(tmp_path / "t.parquet")
    options = ROLES | TINY | {"streaming": True}
    values = np.array(Forecaster(HORIZON, LOOKBACK, **options).prepare(tmp_path / "t.parquet").panel.reals["y"])
    for name in ("real_0.npy", "category_0.npy", "indptr.npy", "panel.json"):
        file = next((tmp_path / "panels").glob(f"*/{name}"))
        with file.open("r+b") as handle:
            handle.truncate(file.stat().st_size - 5)
        panel = Forecaster(HORIZON, LOOKBACK, **options).prepare(tmp_path / "t.parquet").panel
        np.testing.assert_array_equal(panel.reals["y"], values)
        assert file.stat().st_size > 5


WRITER = """
import os
import signal
import sys
from fusecast import Forecaster
from fusecast.io import streaming

streaming.BATCH_ROWS, streaming.PIECES_AT_ONCE = 30, 2
begun = streaming.write_batch


def write_batch(*arguments):
    begun(*arguments)
    if arguments[0].piece == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)


streaming.write_batch = write_batch
Forecaster(4, 12, static=["city"], known=["promotion"], observed=["weather", "visitors"], streaming=True).prepare(
    sys.argv[1]
)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by signals")
@pytest.mark.parametrize("piece", [1, 5])
def test_a_killed_writer_leaves_nothing_that_is_taken_for_a_panel_and_the_next_goes_on(
    piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels, folder = tmp_path / "panels", write_folder(shop_table(), tmp_path / "t")
    monkeypatch.setenv("FUSECAST_PANELS", str(panels))
    ran = run_python("-c", WRITER, folder, piece)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert not [file for file in panels.glob("*/panel.json") if not file.parent.name.endswith(".partial")]

    pieces: list[int] = []
    write = streaming.write_batch
    monkeypatch.setattr(
        streaming, "write_batch", lambda batch, *rest: (pieces.append(batch.piece), write(batch, *rest))
    )
    monkeypatch.setattr(streaming, "survey_table", lambda *_: pytest.fail("the table is surveyed again"))
    panel = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY, streaming=True).prepare(folder).panel
    assert pieces[0] == {1: 0, 5: 4}[piece]
    assert_same_panel(panel, Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).prepare(shop_table()).panel)
    assert not list(panels.glob("*.partial"))


@pytest.mark.usefixtures("small_blocks")
def test_what_cannot_be_streamed_is_refused_in_words(tmp_path: Path) -> None:
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY, streaming=True)
    shop_table().write_csv(tmp_path / "t.csv")
    for source, name in ((shop_table(), "a DataFrame"), (tmp_path / "t.csv", "t.csv")):
        with pytest.raises(ConfigError, match=rf"reads Parquet files and folders .* the table is .*{name}\nHint"):
            forecaster.prepare(source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no file that ends in \.parquet"):
        Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).prepare(tmp_path / "empty")
    folder = write_folder(shop_table(), tmp_path / "t")
    shop_table().drop("city").write_parquet(folder / "part 9.parquet")
    with pytest.raises(DataError, match=r"do not belong to one table: city is in one of them only"):
        forecaster.prepare(folder)


@pytest.mark.parametrize("streaming", [None, False, True])
@pytest.mark.parametrize("damage", ["footer", "page"])
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, damage: str, streaming: bool | None) -> None:
    path = tmp_path / "sales.parquet"
    pl.DataFrame({"ds": range(500), "y": np.random.default_rng(0).normal(size=500)}).write_parquet(path)
    content = bytearray(path.read_bytes())
    if damage == "footer":
        content[-4:] = b"odd!"
    else:
        content[40:2000] = bytes(1960)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"sales\.parquet"):
        Forecaster(4, frequency="1i", streaming=streaming).prepare(path)
