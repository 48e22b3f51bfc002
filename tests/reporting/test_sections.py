"""The tables of the page: metrics of every predictor, and the coverage of each interval, raw and calibrated."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.helpers import report_samples as samples

from fusecast.reporting.figures_accuracy import calibration_figure
from fusecast.reporting.page import build_report
from fusecast.reporting.report_data import ReportData
from fusecast.reporting.sections import Table, coverage_table, metrics_table
from fusecast.reporting.text import MISSING, describe_accuracy, format_percent


def texts(table: Table | None) -> list[list[str]]:
    assert table is not None
    return [[row.name, *(cell.text for cell in row.cells)] for rows in table.blocks.values() for row in rows]


def with_coverage(coverage: dict[float, float], width: dict[float, float] | None = None) -> ReportData:
    evaluation = samples.evaluation()
    (scores,) = evaluation.scores["TFT"]
    changed = replace(scores, coverage=coverage, width=scores.width if width is None else width)
    return samples.report_data(evaluation=replace(evaluation, scores={**evaluation.scores, "TFT": (changed,)}))


@pytest.mark.parametrize(("error", "comparison"), [(30.0, "better"), (90.0, "worse")])
def test_the_skill_is_coloured_by_its_sign(error: float, comparison: str) -> None:
    evaluation = samples.evaluation(model_error=error)
    page = build_report(samples.report_data(evaluation=evaluation))
    assert metrics_table(evaluation).blocks[""][0].cells[-1].kind == comparison
    assert f'<td class="{comparison}"><b>' in page
    assert f'<div class="{comparison}"><dt>{comparison} than seasonal naive 168 (WQL)</dt>' in page


def test_the_best_of_each_column_is_marked() -> None:
    evaluation = samples.evaluation()
    rows = metrics_table(evaluation).blocks[""]
    model = rows[0]
    assert model.name == "TFT"
    # everything but the coverage and the width, which has no best
    assert sum(cell.kind == "best" for cell in model.cells) == 7
    closest = min(evaluation.scores, key=lambda name: abs(evaluation.scores[name][0].coverage[0.8] - 0.8))
    best = format_percent(evaluation.scores[closest][0].coverage[0.8])
    assert any(cell == (best, "best") for row in rows for cell in row.cells)
    assert f'<td class="best"><b>{best}</b></td>' in build_report(samples.report_data(evaluation=evaluation))


def test_an_interval_is_shown_raw_beside_calibrated_with_its_standard_error() -> None:
    evaluation = samples.evaluation(calibrated=True)
    data = samples.report_data(evaluation=evaluation, calibration_method="adaptive")
    shifted, raw = (evaluation.scores[name][0] for name in ("TFT", "TFT raw"))
    (row,) = texts(coverage_table(data))
    assert row == [
        "80%",
        f"{100 * shifted.coverage[0.8]:.1f}%", f"{100 * shifted.coverage[0.8] - 80:+.1f}", f"{shifted.width[0.8]:.1f}",
        f"{100 * raw.coverage[0.8]:.1f}%", f"{100 * raw.coverage[0.8] - 80:+.1f}", f"{raw.width[0.8]:.1f}",
        "± 1.2",
    ]  # fmt: skip
    assert "Calibrated by <code>adaptive</code> on the validation span" in build_report(data)
    widened = samples.report_data(evaluation=evaluation, calibration_method="adaptive", calibrated_by_rows=False)
    assert "Calibrated by <code>adaptive</code>: intervals are wider by a fixed part" in build_report(widened)


@pytest.mark.parametrize(
    ("coverage", "deviation", "kind"),
    [(0.785, "\N{MINUS SIGN}1.5", "better"), (0.775, "\N{MINUS SIGN}2.5", "worse"), (0.825, "+2.5", "worse"),
     (0.79999, "+0.0", "better")],
)  # fmt: skip
def test_a_deviation_of_more_than_two_points_is_marked(coverage: float, deviation: str, kind: str) -> None:
    table = coverage_table(with_coverage({0.8: coverage}))
    assert table is not None
    assert table.blocks[""][0].cells[1] == (deviation, kind)


def test_a_model_without_calibration_shows_how_to_get_one() -> None:
    page = build_report(samples.report_data())
    assert "The quantiles are raw, as the networks forecast them. After <code>fusecast calibrate RUN</code>" in page
    assert "before calibration" not in page


def test_summary_and_curve_show_the_raw_quantiles_too() -> None:
    evaluation = samples.evaluation(calibrated=True)
    coverage = evaluation.scores["TFT raw"][0].coverage[0.8]
    assert describe_accuracy(evaluation).endswith(f"of the actual values, {coverage:.0%} before calibration.")
    drawn = calibration_figure({name: scores[0] for name, scores in list(evaluation.scores.items())[:3]})
    assert [trace.name for trace in drawn.data[1:]] == ["TFT", "TFT raw", "last value"]
    assert len({trace.line.color for trace in drawn.data[1:]}) == 3


def test_every_target_has_its_rows() -> None:
    evaluation = samples.evaluation(targets=("a", "<b>"), calibrated=True)
    assert list(metrics_table(evaluation).blocks) == ["a", "<b>"]
    data = samples.report_data(targets=("a", "<b>"), evaluation=evaluation, calibration_method="cqr")
    data = replace(data, coverage_error=[{0.8: 0.0123}, {0.8: 0.0456}])
    rows = texts(coverage_table(data))
    assert [(row[0], row[-1]) for row in rows] == [("80% of a", "± 1.2"), ("80% of <b>", "± 4.6")]
    assert '<th scope="row">80% of &lt;b&gt;</th>' in build_report(data)
    assert [row[-1] for row in texts(coverage_table(replace(data, coverage_error=[])))] == [MISSING, MISSING]


def test_without_an_interval_there_is_no_table() -> None:
    data = with_coverage({}, {})
    assert coverage_table(data) is None
    assert 'id="coverage"' not in build_report(data)
