"""The page in a real browser: every figure is drawn, and the picker works."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.helpers import report_samples as samples

from fusecast.reporting.page import build_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=10000",
]
PROBE = """<script>
const shown = () => document.getElementById("forecast")._fullData.find((trace) => trace.name === "actual").y.join();
const first = shown();
document.getElementById("next").click();
const second = shown();
document.getElementById("previous").click();
setTimeout(() => document.title = [
  "drawn=" + document.documentElement.dataset.drawn,
  "charts=" + [...document.querySelectorAll(".figure")]
    .filter((p) => p.querySelector(".subplot .trace, .subplot .hm")).length,
  "moved=" + (first !== second && first === shown()),
  "overflow=" + (document.documentElement.scrollWidth > window.innerWidth),
  "images=" + document.images.length,
  "intervals=" + document.querySelectorAll("#coverage tbody tr").length,
].join(" "), 1000);
</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def open_page(page: str, folder: Path, *flags: str) -> tuple[str, str]:
    """Open a page with the probe at its end; return the title that the probe set, and the messages of the console."""
    path = folder / "report.html"
    path.write_text(PROBE.join(page.rsplit("</body>", 1)), encoding="utf-8")
    command = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri()]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", process.stdout)
    assert title is not None
    return title[1], "\n".join(line for line in process.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.parametrize("flags", [("--window-size=1280,2000",), ("--window-size=500,2000", "--force-dark-mode")])
def test_every_chart_is_drawn_without_a_message_on_the_console(flags: tuple[str, ...], tmp_path) -> None:
    plots = [samples.forecast_plot(f"<img src=x onerror=alert({n})>", n) for n in range(3)]
    accuracy = {"evaluation": samples.evaluation(calibrated=True), "calibration_method": "adaptive"}
    title, console = open_page(build_report(samples.report_data(3, forecast_plots=plots, **accuracy)), tmp_path, *flags)
    assert title == "drawn=yes charts=15 moved=true overflow=false images=0 intervals=1"
    assert console == ""


def test_errors_appear_on_the_console(tmp_path) -> None:
    page = build_report(samples.report_data(3)).replace("drawAll();\n  document", "oops();\n  document")
    _, console = open_page(page, tmp_path)
    assert "oops is not defined" in console
