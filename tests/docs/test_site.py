"""The documentation site: it builds without a warning, has no dead link, and works in a browser without a network."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from tests.helpers.browser import Page, start_browser, wait_for

ROOT = Path(__file__).resolve().parents[2]
PHONE = 390


class Links(HTMLParser):
    """The anchors of a page, where it links to, and what it loads."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag != "a":
            self.loaded += [values[name] for name in ("src", "href") if name in values]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does."""
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "http_proxy": "127.0.0.1:9", "https_proxy": "127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {page: Links(page) for page in site.rglob("*.html") if page.name != "404.html"}


def test_no_link_is_dead(site: Path, pages: dict[Path, Links]) -> None:
    dead, checked = [], 0
    for page, found in pages.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme in {"http", "https", "mailto"}:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchor = unquote(parts.fragment)
            checked += 1
            exists = target.is_file() and (not anchor or target not in pages or anchor in pages[target].anchors)
            if not exists:
                dead.append(f"{page.relative_to(site)}: {link}")
    assert checked > 1000
    assert not dead, "\n".join(dead)


def test_nothing_is_loaded_from_other_places(site: Path, pages: dict[Path, Links]) -> None:
    loaded = [(page, address) for page, found in pages.items() for address in found.loaded]
    assert len(loaded) > 100
    assert [(page.name, address) for page, address in loaded if urlsplit(address).netloc] == []
    missing = [address for page, address in loaded if not (page.parent / urlsplit(address).path).exists()]
    assert missing == []
    sheets = "".join(sheet.read_text(encoding="utf-8") for sheet in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import )[\"']?https?:", sheets) == []


def test_every_page_is_in_the_navigation(site: Path) -> None:
    index = Links(site / "index.html").links
    shown = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    missing = {page.as_posix() for page in shown} - {urlsplit(link).path for link in index}
    assert missing == set()


def test_the_search_index_has_every_page(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert (site / "search" / "search_index.js").is_file(), "without it, pages opened from files have no search"
    found = {entry["location"].partition("#")[0] for entry in index["docs"] if "backtest" in entry["text"].lower()}
    assert {"backtest.html", "reference/forecaster.html"} <= found
    assert {"index.html", "coming-from.html", "contributing.html", "changelog.html"} <= {
        entry["location"].partition("#")[0] for entry in index["docs"]
    }


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with start_browser(tmp_path_factory.mktemp("downloads")) as page:
        yield page


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Serve the site."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is Python's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("place", ["server", "files"])
def test_the_search_finds_a_page(place: str, site: Path, address: str, browser: Page) -> None:
    browser.open(f"{address if place == 'server' else site.as_uri()}/reference/index.html")
    browser.find(".md-search__input").send_keys("backtest")
    browser.wait(".md-search-result__link[href*='backtest.html']", "Backtest").click()
    browser.wait("h1", "Backtest")
    assert urlsplit(browser.driver.current_url).path.endswith("/backtest.html")
    assert browser.complaints() == []


def test_the_site_fits_a_phone(site: Path, browser: Page) -> None:
    names = ("index", "guide", "coming-from", "performance", "reference/forecaster", "reference/network")
    for name in names:
        browser.open((site / f"{name}.html").as_uri(), PHONE)
        browser.wait("h1")
        width = browser.run("return document.documentElement.scrollWidth")
        assert width == PHONE, name
    drawer = "return document.querySelector('.md-sidebar--primary').getBoundingClientRect().right"
    assert browser.run(drawer) <= 0
    browser.find(".md-header__button[for=__drawer]").click()
    browser.wait(".md-nav--primary .md-nav__link", "Errors")
    wait_for(lambda: browser.run(drawer) > PHONE / 2)
    assert browser.complaints() == []


def test_light_and_dark_follow_the_system(site: Path, browser: Page) -> None:
    shades = []
    for dark in (False, True):
        browser.open((site / "heads.html").as_uri(), dark=dark)
        shades.append(browser.run("return document.body.getAttribute('data-md-color-scheme')"))
    assert shades == ["default", "slate"]
