"""Rolling origins in blocks and chunks; what part files hold, that they are written once, and that they are scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from fusecast.data.panel import Panel
from fusecast.errors import ArtifactError, ConfigError, DataError, SchemaError
from fusecast.evaluation.actuals import gather_actuals
from fusecast.evaluation.backtest.rolling import Origins, PartFiles, read_part, score_part_files, write_part_files
from fusecast.evaluation.baselines.registry import build_baselines
from fusecast.evaluation.evaluate import evaluate
from fusecast.inference.forecasts import Predictor
from fusecast.windows.window_index import WindowIndex

LEVELS, HORIZON = (0.1, 0.5, 0.9), 4
PARTS = [pl.DataFrame({"step": [1, 2], "y": [0.5, None]}), pl.DataFrame({"step": [3], "y": [1.5]})]


@pytest.fixture
def index() -> WindowIndex:
    """Windows of three series, of which the last has none."""
    return WindowIndex(lookback=3, horizon=2, first_cutoff=[5, 8, 9], last_cutoff=[20, 11, 8], stride=3)


def test_blocks_hold_every_window_once_and_know_only_earlier_rows(index) -> None:
    origins = Origins(index=index, refit_every=2, chunk_windows=2)
    windows, chunks = [], list(origins.chunks())
    for chunk in chunks:
        series, cutoff = chunk.index.locate(np.arange(len(chunk.index)))
        assert len(series) <= 2
        known = origins.known_rows(chunk.block, np.array([30, 12, 9]))
        assert (known[series] <= cutoff).all()
        origin = (cutoff - index.first_cutoff[series]) // index.stride
        assert (origin // 2 == chunk.block).all()
        windows += list(zip(series.tolist(), cutoff.tolist(), strict=True))
    assert sorted(windows) == [(0, 5), (0, 8), (0, 11), (0, 14), (0, 17), (0, 20), (1, 8), (1, 11)]
    assert [chunk.part for chunk in chunks] == list(range(len(chunks)))
    assert origins.num_blocks == 3


def test_known_rows_of_a_series_without_origins_are_all_or_those_of_its_first_cutoff(index) -> None:
    origins = Origins(index=index, refit_every=1)
    lengths = np.array([30, 12, 9])
    assert origins.known_rows(0, lengths).tolist() == [5, 8, 9]
    assert origins.known_rows(3, lengths).tolist() == [14, 12, 9]


def test_without_refits_one_block_holds_all_windows_in_order_of_their_origins(index) -> None:
    origins = Origins(index=index, chunk_windows=4)
    assert origins.num_blocks == 1
    located = [chunk.index.locate(np.arange(len(chunk.index)))[1].tolist() for chunk in origins.chunks()]
    assert located == [[5, 8, 8, 11], [11, 14], [17, 20]]


def test_a_refit_after_no_origins_is_refused(index) -> None:
    with pytest.raises(ConfigError, match="refit_every"):
        Origins(index=index, refit_every=0)


def origins_of(panel: Panel, refit_every: int | None = None) -> Origins:
    last = panel.lengths - HORIZON + 2  # the last windows have steps without an actual
    index = WindowIndex(lookback=5, horizon=HORIZON, first_cutoff=np.minimum(30, last + 1), last_cutoff=last, stride=3)
    return Origins(index=index, refit_every=refit_every, chunk_windows=10)


def naive(panel: Panel) -> list[Predictor]:
    return build_baselines(["last", "drift"], panel, np.minimum(30, panel.lengths), HORIZON, LEVELS)


@pytest.mark.parametrize("targets", [1, 2])
def test_part_files_hold_the_forecasts_and_actuals_of_their_windows(targets: int, a_random_panel, tmp_path) -> None:
    panel = a_random_panel(3, targets=targets)
    origins, predictors, files = origins_of(panel), naive(panel), PartFiles(tmp_path, {})
    progress = []
    count = write_part_files(panel, origins, lambda _: predictors, files, lambda *done: progress.append(done))
    keys = [name for name in (panel.schema.id, panel.schema.time) if name is not None]
    actual_columns = ["actual"] if targets == 1 else ["y0:actual", "y1:actual"]
    chunks = list(origins.chunks())
    assert count == len(chunks) == len(progress)
    assert progress[-1] == (len(origins.index), len(origins.index))
    for chunk in chunks:
        frame = files.read(chunk.part)
        assert frame.columns[:5] == ["predictor", *keys, "cutoff", "step"]
        assert [name for name in frame.columns if name.endswith("actual")] == actual_columns
        parts = list(read_part(panel, chunk, frame))
        assert [name for name, _, _ in parts] == ["last value", "drift"]
        for predictor, (_, forecasts, actual) in zip(predictors, parts, strict=True):
            expected = predictor.predict(panel, chunk.index)
            np.testing.assert_array_equal(forecasts.quantiles, expected.quantiles)
            np.testing.assert_array_equal(forecasts.cutoff, expected.cutoff)
            assert forecasts.levels == LEVELS
            np.testing.assert_array_equal(actual, gather_actuals(panel, forecasts.series, forecasts.cutoff, HORIZON))


def test_scores_of_part_files_are_those_of_evaluate(a_random_panel, tmp_path) -> None:
    panel = a_random_panel(4)
    origins, predictors, files = origins_of(panel), naive(panel), PartFiles(tmp_path, {})
    train_end = np.minimum(30, panel.lengths)
    write_part_files(panel, origins, lambda _: predictors, files)
    grouped = score_part_files(panel, origins, files, train_end=train_end, season=7)
    evaluation = evaluate(predictors, panel, origins.index, train_end=train_end, season=7)
    assert list(grouped) == list(evaluation.scores)
    for name, expected in evaluation.scores.items():
        for scores, reference in zip(grouped[name].scores(), expected, strict=True):
            assert scores.count == reference.count
            assert scores.wql == pytest.approx(reference.wql)
            assert scores.mase == pytest.approx(reference.mase)
            assert np.isfinite(scores.rmsse)


def test_existing_part_files_are_kept_and_their_blocks_need_no_predictor(a_random_panel, tmp_path) -> None:
    panel = a_random_panel(3)
    origins, files, blocks = origins_of(panel, refit_every=4), PartFiles(tmp_path, {}), []

    def predictors_for(block: int) -> list[Predictor]:
        blocks.append(block)
        return naive(panel)

    write_part_files(panel, origins, predictors_for, files)
    assert blocks == list(range(origins.num_blocks))
    last = list(origins.chunks())[-1]
    files.path(last.part).unlink()
    before = files.path(0).stat().st_mtime_ns
    write_part_files(panel, origins, predictors_for, files)
    assert blocks[origins.num_blocks :] == [last.block]
    assert files.path(0).stat().st_mtime_ns == before


def test_predictors_of_one_name_and_spans_without_a_window_are_refused(a_random_panel, panel_of, tmp_path) -> None:
    panel = a_random_panel(3)
    files = PartFiles(tmp_path, {})
    with pytest.raises(ConfigError, match="'drift'"):
        write_part_files(panel, origins_of(panel), lambda _: [*naive(panel), naive(panel)[1]], files)
    with pytest.raises(DataError, match=f"no window of {HORIZON} steps"):
        write_part_files(panel, origins_of(panel_of([1.0, 2.0])), lambda _: naive(panel), files)


def test_an_id_column_with_the_name_of_a_column_of_the_table_is_refused(a_random_panel, tmp_path) -> None:
    panel = a_random_panel(3)
    panel = replace(panel, schema=replace(panel.schema, id="actual"))
    with pytest.raises(SchemaError, match="actual"):
        write_part_files(panel, origins_of(panel), lambda _: naive(panel), PartFiles(tmp_path, {}))


def test_parts_are_merged_in_order_into_one_file_of_a_row_group_each(tmp_path) -> None:
    files = PartFiles(tmp_path / "parts", {"model": "a"})
    for i, frame in enumerate(PARTS):
        assert not files.has(i)
        files.write(i, frame)
        assert files.has(i)
        assert files.read(i).equals(frame)
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


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_part_is_made_anew(damage: str, tmp_path) -> None:
    files = PartFiles(tmp_path, {})
    files.write(0, PARTS[0])
    path = files.path(0)
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"flip": flipped, "cut": content[:-1], "empty": b""}[damage])
    assert not files.has(0)
    with pytest.raises(ArtifactError, match=r"part-000000-\*.parquet does not exist\nHint: expected an intact part"):
        files.read(0)
    files.write(0, PARTS[0])
    assert files.read(0).equals(PARTS[0])
    assert len(list(tmp_path.glob("part-*"))) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.drop("q0.5"), "are not those of the parts before it"),
        (lambda frame: frame.drop("predictor"), "are not those of the parts before it"),
        (lambda frame: frame.with_columns(pl.col("actual").cast(pl.String)), "are not those of the parts before it"),
        (lambda frame: frame.head(3), "it has 3 rows"),
        (lambda frame: frame.clear(), "it has 0 rows"),
        (lambda frame: frame.reverse().with_row_index().sort("step").drop("index"), "one predictor after the other"),
        (lambda frame: pl.concat([frame, frame]), "one predictor after the other"),
        (lambda frame: frame.with_columns(pl.lit(None, pl.String).alias("predictor")), "one predictor after the other"),
    ],
)
def test_a_part_with_another_table_is_refused(change, words: str, a_random_panel, tmp_path) -> None:
    panel = a_random_panel(3, targets=1)
    origins, files = origins_of(panel), PartFiles(tmp_path, {})
    count = write_part_files(panel, origins, lambda _: naive(panel), files)
    files.write(count - 1, change(files.read(count - 1)))
    with pytest.raises(ArtifactError, match=words):
        score_part_files(panel, origins, files, train_end=np.minimum(30, panel.lengths), season=7)
