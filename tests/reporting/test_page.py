from __future__ import annotations

import json
import math
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from plotly.offline import get_plotlyjs
from tests.helpers import report_samples as samples

from fusecast.reporting.page import MAX_FORECAST_PLOTS, build_report, escape_script, pick_evenly

EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)>&amp;"
LOADING = {"src", "href", "srcset", "data", "action", "poster", "background"}


class Reader(HTMLParser):
    """Tags with attributes, the visible text, and the text of the JSON scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.json: dict[str, str] = {}
        self.text = ""
        self._inside = ""
        self.feed(page.replace(get_plotlyjs(), ""))

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = (dict(attrs).get("id") or tag) if tag in ("script", "style") else ""

    def handle_endtag(self, tag) -> None:
        if tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, data) -> None:
        if self._inside in ("figures", "dark"):
            self.json[self._inside] = self.json.get(self._inside, "") + data
        elif not self._inside:
            self.text += data

    def ids(self) -> set[str]:
        return {attrs["id"] for _, attrs in self.tags if attrs.get("id")}

    def count(self, tag: str) -> int:
        return sum(1 for name, _ in self.tags if name == tag)


def test_the_page_holds_every_section_and_its_figures() -> None:
    page = Reader(build_report(samples.report_data()))
    sections = {
        "forecasts", "accuracy", "calibration", "worst", "variables", "attention", "regimes", "health", "training",
        "data",
    }  # fmt: skip
    assert sections <= page.ids()
    links = {attrs["href"] for tag, attrs in page.tags if tag == "a"}
    assert links == {f"#{section}" for section in sections}

    figures = json.loads(page.json["figures"])
    assert set(figures["figures"]) == {
        "importance-static",
        "importance-past",
        "importance-future",
        "over-time-past",
        "over-time-future",
        "shuffled",
        "by-step",
        "calibration-curve",
        "pit",
        "attention-lags",
        "attention-map",
        "timeline",
        "loss",
        "learning-rate",
    }
    assert set(figures["figures"]) < page.ids()
    assert len(figures["forecasts"]) == page.count("option") == 12
    assert "37% lower than that of the best baseline, seasonal naive 168" in page.text
    assert "attends to lags of 24 h and 168 h" in page.text
    assert "1 span is flagged, in 1 of the 12 series explained" in page.text
    assert "1 of 12 series is forecast better by the best baseline" in page.text
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))


def test_the_page_loads_nothing_from_anywhere() -> None:
    html = build_report(samples.report_data())
    page = Reader(html)
    for tag, attrs in page.tags:
        for name in LOADING & attrs.keys():
            assert (attrs[name] or "").startswith("#"), (tag, attrs)
    assert page.count("link") == page.count("iframe") == page.count("img") == 0
    page_code = html.replace(get_plotlyjs(), "")
    assert "http://" not in page_code
    assert "https://" not in page_code
    assert "@import" not in page_code
    assert "url(" not in page_code
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert html.count(get_plotlyjs()) == 1


def test_names_from_the_data_are_inert() -> None:
    tame = Reader(build_report(samples.report_data()))
    rows = samples.importances()
    evil_rows = [replace(row, variable=EVIL + row.variable) for row in rows]
    plots = [samples.forecast_plot(EVIL, 0, target=EVIL), samples.forecast_plot("b", 1, target="y")]
    data = samples.report_data(
        2,
        title=EVIL,
        targets=(EVIL,),
        evaluation=samples.evaluation(targets=(EVIL,)),
        forecast_plots=plots,
        importances=evil_rows,
        data_facts={EVIL: EVIL},
        run_facts={EVIL: EVIL},
        explained_windows=EVIL,
        created=EVIL,
    )
    html = build_report(data)
    page = Reader(html)
    assert page.count("script") == tame.count("script") == 4
    assert page.count("img") == 0
    assert EVIL in page.text
    figures = json.loads(page.json["figures"])  # the JSON is whole, and plotly sees no tag
    assert "<img" not in json.dumps(figures)
    assert "&lt;img" in json.dumps(figures)
    assert EVIL not in html.replace(get_plotlyjs(), "")


@pytest.mark.parametrize("series", [1, 400])
def test_the_page_stays_under_8_mb_with_one_series_and_with_many(series: int) -> None:
    html = build_report(samples.report_data(series))
    assert len(html.encode()) < 8_000_000
    page = Reader(html)
    plots = json.loads(page.json["figures"])["forecasts"]
    assert len(plots) == min(series, MAX_FORECAST_PLOTS)
    assert ("40 of 400 series are on this page" in page.text) == (series == 400)
    assert ("series" in page.ids()) == (series > 1)


def test_what_is_absent_is_left_out() -> None:
    nothing = dict.fromkeys(
        ("evaluation", "curves", "attention", "breakdown", "timeline", "agreement", "importance_over_time")
    )
    empty = {"forecast_plots": (), "importances": (), "data_facts": {}, "run_facts": {}, "quality": ()}
    page = Reader(build_report(samples.report_data(**nothing, **empty)))
    assert page.count("section") == 0
    assert page.count("table") == 0
    assert json.loads(page.json["figures"]) == {"figures": {}, "forecasts": []}


def test_the_page_states_when_it_has_the_charts_of_some_series_only() -> None:
    data = samples.report_data(30)
    page = Reader(build_report(samples.report_data(30, forecast_plots=data.forecast_plots[:12])))
    assert "12 of 30 series are on this page" in page.text
    two = [samples.forecast_plot(plot.series, 0, target) for plot in data.forecast_plots for target in ("a", "b")]
    assert "40 of 60 charts are on this page" in Reader(build_report(samples.report_data(20, forecast_plots=two))).text


def test_a_learning_rate_that_was_never_logged_has_no_chart() -> None:
    curves = replace(samples.curves(), learning_rate=[math.nan] * 20)
    figures = json.loads(Reader(build_report(samples.report_data(1, curves=curves))).json["figures"])
    assert "loss" in figures["figures"]
    assert "learning-rate" not in figures["figures"]


def test_json_in_a_script_can_neither_end_it_nor_change_its_meaning() -> None:
    text = json.dumps({"name": EVIL + "\u2028"}, ensure_ascii=False)
    safe = escape_script(text)
    assert not set("<>&\u2028") & set(safe)
    assert json.loads(safe) == json.loads(text)


def test_even_picks_hold_the_first_and_the_last() -> None:
    assert pick_evenly(3, 40) == [0, 1, 2]
    picks = pick_evenly(400, 40)
    assert len(picks) == len(set(picks)) == 40
    assert (picks[0], picks[-1]) == (0, 399)
    assert np.ptp(np.diff(picks)) <= 1


@pytest.mark.parametrize(
    ("frequency", "lookback", "season"),
    [
        ("1h", 168, "A peak 24 h or 168 h back"),
        ("1h", 48, "A peak 24 h back"),
        ("1mo", 24, "A peak 1 year back"),
        ("1i", 36, None),
    ],
)
def test_the_season_that_a_peak_would_be_is_that_of_the_data(frequency, lookback, season) -> None:
    text = Reader(build_report(samples.report_data(1, frequency=frequency, lookback=lookback))).text
    assert "one day" not in text
    assert (season or "averaged over the steps forecast") in text
    assert ("A peak" in text) == (season is not None)


def test_the_caption_of_the_heat_map_holds_in_light_and_in_dark_mode() -> None:
    text = Reader(build_report(samples.report_data())).text
    assert "the stronger the colour, the more attention" in text


def test_with_several_targets_figures_of_the_first_are_labelled_with_it() -> None:
    both = samples.report_data(targets=("sales", "visits"), evaluation=samples.evaluation(("sales", "visits")))
    one = Reader(build_report(samples.report_data())).text
    page = Reader(build_report(both)).text
    for piece in ("(WQL of sales)", "P50 risk of sales", "of actuals of sales inside", "by the loss of sales"):
        assert piece in page
    for caption in ("By step ahead", "Quantiles", "Between the quantiles"):
        assert f"{caption} of sales" in page
    assert " of y" not in one


def test_the_worst_series_are_described_as_what_they_are() -> None:
    page = Reader(build_report(samples.report_data())).text
    assert "1 of 12 series is forecast better by the best baseline. These are the series with the lowest skill" in page
    breakdown = samples.breakdown()
    none = replace(breakdown, worse_than_baseline=0, worst=[replace(row, skill=0.3) for row in breakdown.worst])
    page = Reader(build_report(samples.report_data(breakdown=none))).text
    assert "No series is forecast better by the best baseline. These are the series with the smallest gain." in page
    exact = replace(breakdown, worst=[*breakdown.worst, replace(breakdown.worst[0], series="still", skill=-math.inf)])
    assert "baseline is exact" in Reader(build_report(samples.report_data(breakdown=exact))).text


def test_series_without_a_test_window_are_not_described_as_a_selection() -> None:
    plots = samples.report_data(6).forecast_plots
    page = Reader(build_report(samples.report_data(7, forecast_plots=plots))).text
    assert "6 of 7 series are on this page; the others have no test window." in page
    assert "evenly" not in page
