"""The table of coverage: each interval, raw and calibrated, against its nominal coverage."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.helpers import report_samples as samples

from fusecast.reporting.figures_accuracy import calibration_figure
from fusecast.reporting.page import build_report
from fusecast.reporting.sections_accuracy import coverage_table
from fusecast.reporting.text import MISSING, describe_accuracy


def rows_of(html: str) -> list[list[str]]:
    body = html.split("<tbody>")[1].split("</tbody>", maxsplit=1)[0]
    return [re.findall(r"<(?:td|th)[^>]*>(?:<b>)?(.*?)<", row) for row in body.split("<tr>")[1:]]


def test_an_interval_is_shown_raw_beside_calibrated_with_its_standard_error() -> None:
    evaluation = samples.evaluation(calibrated=True)
    data = samples.report_data(evaluation=evaluation, calibration_method="adaptive")
    html = coverage_table(data, "TFT", "TFT calibrated")
    raw, shifted = (evaluation.scores[name][0] for name in ("TFT", "TFT calibrated"))
    (row,) = rows_of(html)
    assert row == [
        "80%",
        f"{100 * raw.coverage[0.8]:.1f}%", f"{100 * raw.coverage[0.8] - 80:+.1f}", f"{raw.width[0.8]:.1f}",
        f"{100 * shifted.coverage[0.8]:.1f}%", f"{100 * shifted.coverage[0.8] - 80:+.1f}", f"{shifted.width[0.8]:.1f}",
        "± 1.2",
    ]  # fmt: skip
    assert "Calibrated by <code>adaptive</code>" in html


def test_a_deviation_of_more_than_two_points_is_marked() -> None:
    evaluation = samples.evaluation()
    (scores,) = evaluation.scores["TFT"]
    for coverage, kind in ((0.785, "better"), (0.775, "worse"), (0.825, "worse")):
        changed = {**evaluation.scores, "TFT": (replace(scores, coverage={0.8: coverage}),)}
        html = coverage_table(samples.report_data(evaluation=replace(evaluation, scores=changed)), "TFT", None)
        assert f'<td class="{kind}"><b>' in html
    changed = {**evaluation.scores, "TFT": (replace(scores, coverage={0.8: 0.79999}),)}
    html = coverage_table(samples.report_data(evaluation=replace(evaluation, scores=changed)), "TFT", None)
    assert "<b>+0.0</b>" in html


def test_a_model_without_calibration_shows_how_to_get_one() -> None:
    page = build_report(samples.report_data())
    assert "The model is not calibrated. <code>fusecast calibrate RUN</code>" in page
    assert "after calibration" not in page


def test_summary_and_curve_show_the_calibrated_model_too() -> None:
    evaluation = samples.evaluation(calibrated=True)
    coverage = evaluation.scores["TFT calibrated"][0].coverage[0.8]
    assert describe_accuracy(evaluation).endswith(f"of the actual values, {coverage:.0%} after calibration.")
    drawn = calibration_figure({name: own[0] for name, own in list(evaluation.scores.items())[:3]})
    assert [trace.name for trace in drawn.data[1:]] == ["TFT", "TFT calibrated", "last value"]
    assert len({trace.line.color for trace in drawn.data[1:]}) == 3


def test_every_target_has_its_rows() -> None:
    evaluation = samples.evaluation(targets=("a", "<b>"), calibrated=True)
    data = samples.report_data(targets=("a", "<b>"), evaluation=evaluation, calibration_method="cqr")
    html = coverage_table(replace(data, coverage_error=[{0.8: 0.0123}, {0.8: 0.0456}]), "TFT", "TFT calibrated")
    assert [(row[0], row[-1]) for row in rows_of(html)] == [("80% of a", "± 1.2"), ("80% of &lt;b&gt;", "± 4.6")]
    without = rows_of(coverage_table(replace(data, coverage_error=[]), "TFT", "TFT calibrated"))
    assert [row[-1] for row in without] == [MISSING, MISSING]


def test_without_an_interval_there_is_no_table() -> None:
    evaluation = samples.evaluation()
    (scores,) = evaluation.scores["TFT"]
    none = replace(evaluation, scores={**evaluation.scores, "TFT": (replace(scores, coverage={}, width={}),)})
    assert coverage_table(samples.report_data(evaluation=none), "TFT", None) == ""
