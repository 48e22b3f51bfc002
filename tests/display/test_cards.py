"""How results print: one short line as text, and a card as HTML."""

from __future__ import annotations

from typing import Any

import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, TINY, shop_table

from fusecast import Forecaster
from fusecast.display.card import build_card

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    names = {"visitors": SCRIPT, "y": "<b>y</b>"}
    table = shop_table().rename(names).drop("promotion", "city", "weather")
    fitted = Forecaster(HORIZON, LOOKBACK, target="<b>y</b>", observed=[SCRIPT], **{**TINY, "calibration": "cqr"})
    fitted.fit(table)
    return {
        "Forecaster": fitted,
        "Evaluation": fitted.evaluate(),
        "Backtest": fitted.backtest(stride=HORIZON),
        "ExplanationReport": fitted.explain(max_windows=10),
        "ForecastExplanation": fitted.explain_forecast("shop 0"),
        "Conformal": fitted.calibration,
        "FitResult": fitted.result,
        "Prepared": fitted.prepared,
        "Bundle": fitted._bundle,
    }


def test_results_print_as_one_short_line(results: dict[str, Any]) -> None:
    for name, result in results.items():
        text = repr(result)
        assert text.startswith(f"{name}(")
        assert "\n" not in text
        assert " at 0x" not in text
        assert len(text) < 300, text


def test_results_show_as_short_html_without_markup_of_names(results: dict[str, Any]) -> None:
    for name, result in results.items():
        if name in ("Prepared", "Bundle"):
            continue
        html = result._repr_html_()
        assert html.startswith("<div")
        assert len(html) < 12_000
        assert "<script" not in html
        assert "<b>y" not in html
    assert "&lt;script&gt;" in results["Forecaster"]._repr_html_()
    assert "&lt;b&gt;y" in results["Evaluation"]._repr_html_()


def test_a_card_tells_the_state_of_a_forecaster(results: dict[str, Any]) -> None:
    new = Forecaster(HORIZON)
    assert "not fitted" in new._repr_html_()
    assert "chosen from the table" in new._repr_html_()
    html = results["Forecaster"]._repr_html_()
    assert "3 series, 360 rows, step 1h" in html
    assert "cqr" in html


def test_a_long_table_and_a_long_text_are_cut() -> None:
    html = build_card("Title", {"name": "x" * 500}, columns=("n",), rows=[[f"row {n}"] for n in range(50)])
    assert "x" * 119 + "…" in html
    assert "row 7" in html
    assert "row 8" not in html
    assert "and 42 more" in html
