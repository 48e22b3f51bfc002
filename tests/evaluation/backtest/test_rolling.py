"""Rolling forecasts: what part files hold, that they are written once, and that their scores are those of evaluate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusecast.data.panel import Panel
from fusecast.errors import ConfigError, DataError, SchemaError
from fusecast.evaluation.actuals import gather_actuals
from fusecast.evaluation.backtest.origins import Origins
from fusecast.evaluation.backtest.part_files import PartFiles
from fusecast.evaluation.backtest.rolling import read_part, score_part_files, write_part_files
from fusecast.evaluation.baselines.registry import build_baselines
from fusecast.evaluation.evaluate import evaluate
from fusecast.inference.forecasts import Predictor
from fusecast.windows.window_index import WindowIndex

LEVELS, HORIZON = (0.1, 0.5, 0.9), 4


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
        frame = files.read(chunk.number)
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
    files.path(last.number).unlink()
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
