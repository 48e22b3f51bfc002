from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.helpers.images import assert_is_image, needs_kaleido, write_empty_images
from tests.helpers.network_outputs import INPUTS, hourly, index_of, permutation, windows

from fusecast.errors import ArtifactError, ConfigError
from fusecast.explain.regimes import Regimes
from fusecast.reporting.explanation_report import ExplanationReport
from fusecast.reporting.figures_explanation import timeline_figure
from fusecast.reporting.report_data import Timeline

FIGURES = (
    "importances", "importance_over_time", "importance_by_step", "attention", "attention_by_step", "regimes",
    "agreement",
)  # fmt: skip


@pytest.fixture
def report() -> ExplanationReport:
    panel = hourly(21)
    batches = [windows(0, 5), windows(1, 8, first=5)]
    return ExplanationReport.from_outputs(
        ((batch.window.numpy(), batch, output) for batch, output in batches), INPUTS, panel, index_of(panel)
    )


def test_every_part_of_an_explanation_has_a_figure_with_a_title(report: ExplanationReport) -> None:
    figures = report.with_permutation(permutation()).figures()
    assert tuple(figures) == FIGURES
    assert tuple(report.figures()) == FIGURES[:-1]
    titles = [note.text for note in figures["importances"].layout.annotations]
    assert [title.split()[0] for title in titles] == ["past", "future", "static"]
    assert figures["attention"].layout.title.text == "attention by position"


def test_stacked_groups_keep_their_own_axes_and_legends(report: ExplanationReport) -> None:
    figure = report.figures()["importance_over_time"]
    past = [trace for trace in figure.data if trace.yaxis == "y"]
    future = [trace for trace in figure.data if trace.yaxis == "y2"]
    assert {trace.name for trace in past} == {"y", "temperature", "price", "relative_position", "holiday"}
    assert {trace.name for trace in future} == {"price", "relative_position", "holiday"}
    assert {trace.legend for trace in future} == {"legend2"}
    assert figure.layout.yaxis.domain[0] > figure.layout.yaxis2.domain[1]


@needs_kaleido
def test_every_figure_is_drawn_and_written(report: ExplanationReport, tmp_path: Path) -> None:
    paths = report.with_permutation(permutation()).write(tmp_path, figure="png")
    images = [path for path in paths if path.suffix == ".png"]
    assert [path.stem for path in images] == list(FIGURES)
    for path in images:
        assert_is_image(path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_are_written_in_every_kind(kind: str, report: ExplanationReport, tmp_path: Path) -> None:
    tables = report.tables()
    paths = {path.name: path for path in report.write(tmp_path, table=kind, figure=None)}
    assert set(paths) == {"explanation.txt", *(f"{name}.{kind}" for name in tables)}
    if kind == "parquet":
        assert_frame_equal(pl.read_parquet(paths["regimes.parquet"]), tables["regimes"])


def test_a_folder_holds_one_explanation(
    report: ExplanationReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fusecast.reporting.explanation_report.check_can_draw", lambda: None)
    monkeypatch.setattr("fusecast.reporting.explanation_report.write_images", write_empty_images)
    (tmp_path / "notes.txt").write_text("mine")
    single = {"series_1_steps": pl.DataFrame({"a": [1]}), "what_if": pl.DataFrame({"a": [1]})}
    first = report.with_permutation(permutation()).write(tmp_path, figure="svg", more=single)
    assert {"what_if.csv", "permutation.csv", "regimes.svg"} <= {path.name for path in first}
    second = report.write(tmp_path, table="parquet", figure=None)
    present = {path for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert present == {*second, tmp_path / "notes.txt"}


def test_an_unknown_kind_of_figure_is_refused(report: ExplanationReport, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"\.png, \.svg, \.pdf"):
        report.write(tmp_path, figure="gif")
    assert list(tmp_path.iterdir()) == []


def test_writing_figures_without_kaleido_names_the_line_that_installs_it(
    report: ExplanationReport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("fusecast.reporting.export.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'fusecast\[plot\]'"):
        report.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def regimes(counts: list[int]) -> Regimes:
    series = np.repeat(np.arange(len(counts)), counts)
    cutoff = np.concatenate([6 + np.arange(count) for count in counts])
    return Regimes(series=series, cutoff=cutoff, distance=0.1 + 0.01 * series, threshold=np.full(len(series), 0.5))


def test_distances_of_series_with_few_forecasts_are_drawn_together(report: ExplanationReport) -> None:
    timeline = Timeline.from_explanation(replace(report, panel=hourly(9, 9, 9), regimes=regimes([1, 1, 2])))
    assert timeline is not None
    assert timeline.series == "3 series"
    assert timeline.actual is None
    (points,) = [trace for trace in timeline_figure(timeline).data if trace.name == "distance of the attention"]
    assert points.mode == "markers"
    assert list(points.x) == sorted(points.x)
    assert len(points.x) == 4


def test_of_series_with_many_forecasts_the_farthest_above_its_threshold_is_drawn(report: ExplanationReport) -> None:
    many = regimes([8, 1])
    many.distance[0] = 0.4
    timeline = Timeline.from_explanation(replace(report, panel=hourly(21, 9), regimes=many))
    assert timeline is not None
    assert timeline.series == "a"
    (line,) = [trace for trace in timeline_figure(timeline).data if trace.name == "distance of the attention"]
    assert line.mode == "lines"
    assert len(line.x) == len(timeline.actual) == 8
