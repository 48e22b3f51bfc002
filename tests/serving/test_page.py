"""The page in a real browser: a table is chosen, understood and forecast; what-if, errors, keyboard, phone, dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest
from tests.helpers.browser import Page, start_browser, wait_for
from tests.helpers.serving import running

from fusecast.forecaster import Forecaster
from fusecast.serving.app import create_app
from fusecast.serving.models import Models
from fusecast.serving.settings import Settings
from fusecast.serving.trainings.routes import add_training_routes
from fusecast.serving.trainings.trainings import Trainings

pytestmark = pytest.mark.slow

TINY: dict[str, Any] = {
    "network": {"hidden_size": 8, "num_heads": 2},
    "training": {"max_steps": 20, "members": 1, "final": "none", "logger": "none", "accelerator": "cpu"},
}

ENTER, TAB, LEFT, RIGHT, DOWN, END = "\ue007", "\ue004", "\ue012", "\ue014", "\ue015", "\ue010"
MEDIAN, CHANGED = "#chart path.median:not(.changed)", "#chart path.median.changed"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def file(folder: Path, table: pl.DataFrame) -> Path:
    table.write_csv(folder / "sales.csv")
    return folder / "sales.csv"


@pytest.fixture(scope="module")
def address(run: Path, folder: Path) -> Iterator[str]:
    steps = np.arange(80)
    levels = pl.DataFrame({"n": steps, "high": np.sin(steps / 4) + 5, "low": np.cos(steps / 4)})
    levels.write_csv(folder / "levels.csv")
    Forecaster(4, 8, id=None, time="n", target=["high", "low"], **TINY).fit(levels, folder=folder / "levels")
    with running(create_app(Models({"shop": run, "levels": folder / "levels"}))) as address:
        yield address


@pytest.fixture(scope="module")
def trainings(folder: Path) -> Iterator[Trainings]:
    trainings = Trainings(folder / "runs", Models(), TINY)
    yield trainings
    trainings.close()


@pytest.fixture(scope="module")
def training_address(trainings: Trainings) -> Iterator[str]:
    app = create_app(trainings.models)
    add_training_routes(app, trainings)
    with running(app) as address:
        yield address


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Page]:
    with start_browser(folder) as page:
        yield page


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    browser.complaints()
    yield browser
    assert browser.complaints() == []  # such as what the Content-Security-Policy has refused


@pytest.fixture
def forecast(page: Page, address: str, file: Path) -> Callable[..., Page]:
    """Return a function that opens the page and forecasts the table."""

    def run(**how: Any) -> Page:
        page.open(address, **how)
        page.choose("#file", file)
        page.wait("#forecast-button").click()
        page.wait(MEDIAN)
        page.wait("#importance li")
        return page

    return run


def test_a_table_is_understood_and_forecast(forecast: Callable[..., Page], folder: Path) -> None:
    page = forecast()
    assert "270" in page.find("#table-facts").text
    assert page.find("#roles-title").text == "All 9 columns of the model are in the table"
    assert len(page.all("#chart path.band")) == 1
    assert [lane.text for lane in page.all("#chart .lane-name")] == ["price", "promo"]
    assert page.all("#attention svg")
    page.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    rows = page.all("#forecast-table tbody tr")
    assert len(rows) == 3
    page.find("#next").click()
    page.wait("#forecast-table caption", "y of s1")
    for name in ("csv", "parquet", "svg"):
        page.find(f"[data-download={name}]").click()
    forecasts = wait_for(lambda: next(folder.glob("forecasts.csv"), None))
    assert len(pl.read_csv(forecasts)) == 3 * 3
    forecasts = wait_for(lambda: next(folder.glob("forecasts.parquet"), None))
    assert len(pl.read_parquet(forecasts)) == 3 * 3
    picture = wait_for(lambda: next(folder.glob("forecast-s1.svg"), None))
    assert ET.parse(picture).getroot().tag.endswith("svg")


def test_what_if_moves_the_line_and_back(forecast: Callable[..., Page]) -> None:
    page = forecast()
    before = page.find(MEDIAN).get_attribute("d")
    page.find("#what-if-price").send_keys(END)
    moved = page.wait(CHANGED).get_attribute("d")
    assert moved != page.find(MEDIAN).get_attribute("d")
    assert "instead of" in page.wait("#what-if-status", "medians").text
    page.find("#what-if-size").send_keys(END)  # a static column
    wait_for(lambda: page.run("return document.querySelector(arguments[0])?.getAttribute('d')", CHANGED) != moved)
    page.find("#reset").click()
    wait_for(lambda: not page.all(CHANGED))
    assert page.find(MEDIAN).get_attribute("d") == before


def test_a_file_that_is_no_table_is_refused_in_words(
    page: Page, address: str, file: Path, folder: Path, table: pl.DataFrame
) -> None:
    (folder / "broken.parquet").write_bytes(b"PAR1 and then nothing")
    page.open(address)
    page.wait("#about")
    page.choose("#file", folder / "broken.parquet")
    assert "read" in page.wait("#table-error").text
    table.drop("price").write_csv(folder / "without.csv")
    page.choose("#file", folder / "without.csv")
    assert page.wait("#roles-title", "price").is_displayed()
    page.wait("#forecast-button").click()
    assert "'price'" in page.wait("#table-error", "price").text
    page.choose("#file", file)
    page.wait("#roles-title", "All 9")
    assert not page.find("#table-error").is_displayed()


def test_a_plan_in_a_file_of_its_own_is_added(page: Page, address: str, folder: Path, table: pl.DataFrame) -> None:
    is_plan = pl.col("y").is_null()
    table.filter(~is_plan).write_parquet(folder / "past.parquet")
    table.filter(is_plan).select("unique_id", "ds", "price", "promo").write_csv(folder / "plan.csv")
    page.open(address)
    page.wait("#about")
    page.choose("#file", folder / "past.parquet")
    page.wait("#forecast-button").click()
    assert "price" in page.wait("#table-error").text
    page.choose("#plan", folder / "plan.csv")
    page.wait(MEDIAN)
    assert not page.find("#table-error").is_displayed()
    assert [lane.text for lane in page.all("#chart .lane-name")] == ["price", "promo"]


def test_one_series_of_counted_steps_with_two_targets(page: Page, address: str, folder: Path) -> None:
    page.open(address)
    page.wait("#about")
    page.find("#model").send_keys("levels")
    page.wait("#title", "high, low")
    page.drop("#drop", folder / "levels.csv")
    page.wait("#forecast-button").click()
    high = page.wait(MEDIAN).get_attribute("d")
    assert not page.find("#series-picker").is_displayed()
    page.find("#target").send_keys("low")
    page.wait("#chart svg[aria-label^=low]")
    assert page.find(MEDIAN).get_attribute("d") != high
    assert page.find("#forecast-table tbody th").get_attribute("textContent") == "80"


def test_columns_under_other_names_are_assigned(page: Page, address: str, folder: Path, table: pl.DataFrame) -> None:
    table.rename({"price": "cost", "ds": "when"}).write_csv(folder / "renamed.csv")
    page.open(address)
    page.wait("#about")
    page.choose("#file", folder / "renamed.csv")
    page.wait("#roles-title", "price")
    page.find("[data-for=price]").send_keys("cost")
    page.find("#forecast-button").click()
    page.wait(MEDIAN)


def test_the_keyboard_alone_is_enough(page: Page, address: str, file: Path) -> None:
    page.open(address)
    page.wait("#about")
    page.press(TAB, TAB, TAB)  # the link that skips the head of the page, the choice of a model, and the file
    assert page.focused() == "file"
    page.choose("#file", file)
    page.wait("#forecast-button")
    for _ in range(10):
        page.press(TAB)
        if page.focused() == "forecast-button":
            break
    page.press(ENTER)
    page.wait(MEDIAN)
    wait_for(lambda: page.focused() == "forecast")
    for _ in range(6):
        page.press(TAB)
        if page.focused() == "fan":
            break
    page.press(RIGHT, RIGHT)
    assert "median" in page.find("#reading").text
    for _ in range(12):
        page.press(TAB)
        if page.focused() == "what-if-price":
            break
    start = page.find("#what-if-price").get_attribute("aria-valuetext")
    page.press(RIGHT, RIGHT)
    page.wait(CHANGED)
    assert page.find("#what-if-price").get_attribute("aria-valuetext") != start
    page.press(LEFT, LEFT)
    wait_for(lambda: not page.all(CHANGED))
    page.press(TAB, DOWN)  # the list of promo
    page.wait(CHANGED)
    named = "e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length"
    controls = "[...document.querySelectorAll('button, input, select, [role=img]')].filter((e) => e.checkVisibility())"
    assert page.run(f"return {controls}.filter((e) => !({named})).map((e) => e.outerHTML)") == []


def test_a_phone_shows_all_within_its_width(forecast: Callable[..., Page]) -> None:
    page = forecast(width=360)
    page.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert page.run("return document.documentElement.scrollWidth") == 360


def test_dark_where_the_system_is(page: Page, address: str) -> None:
    colours = []
    for dark in (False, True):
        page.open(address, dark=dark)
        page.wait("#about")
        colours.append(page.run("return getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(248, 246, 241)", "rgb(20, 23, 26)"]


def test_the_key_is_asked_for(page: Page, run: Path) -> None:
    with running(create_app(Models({"shop": run}), Settings(keys=("secret",)))) as address:
        page.open(address)
        page.wait("#key-dialog")
        page.press(*"wrong", ENTER)
        page.wait("#key-text", "refused")
        page.press(*"secret", ENTER)
        page.wait("#about")


def test_a_model_is_trained_and_its_report_shown(page: Page, training_address: str, file: Path) -> None:
    page.open(training_address)
    page.choose("#file", file)
    page.wait("#train-button")
    assert page.find("[data-role=temp]").get_attribute("value") == "observed"
    page.find("[data-role=temp]").send_keys("not used")
    assert page.find("#horizon").get_attribute("value") == "3"
    page.find("#train-button").click()
    page.wait("#progress")
    page.wait("#training-done", "done")
    assert page.all("#loss path.median")
    page.wait(MEDIAN)
    assert "temp" not in page.find("#model-facts").text
    assert "TFT" in page.find("#accuracy tr.model").text
    assert "80% interval" in page.find("#coverage").text
    page.driver.get(page.find("#training-done a").get_attribute("href"))
    page.wait("h1", "y, 3 h ahead")
    page.wait("#forecast .main-svg")


def test_a_training_can_be_stopped(page: Page, training_address: str, trainings: Trainings, file: Path) -> None:
    page.open(training_address)
    page.choose("#file", file)
    page.wait("#train-button").click()
    page.wait("#stop").click()
    page.wait("#training-done", "stopped before there was a model")
    assert trainings.describe()[-1]["state"] == "stopped"
