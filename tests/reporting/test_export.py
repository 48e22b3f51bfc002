from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import pytest
from tests.helpers import report_samples as samples
from tests.helpers.images import assert_is_image, needs_kaleido, write_empty_images

from fusecast.errors import ArtifactError, ConfigError
from fusecast.reporting import export
from fusecast.reporting.export import write_images, write_report_figures
from fusecast.reporting.figures_accuracy import forecast_figure
from fusecast.reporting.figures_explanation import attention_map_figure, importance_figure
from fusecast.reporting.sections import page_figures


def test_every_figure_of_the_page_and_the_first_forecasts_become_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "write_images", write_empty_images)
    data = samples.report_data(14)
    paths = write_report_figures(data, tmp_path, "svg")
    forecasts = {f"forecast-{i + 1}-station_{i}_y" for i in range(12)}
    assert {path.name for path in paths} == {f"{name}.svg" for name in {*page_figures(data), *forecasts}}


def test_a_folder_holds_the_figures_of_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "write_images", write_empty_images)
    (tmp_path / "mine.png").write_text("mine")
    write_report_figures(samples.report_data(3), tmp_path, "svg")
    paths = write_report_figures(samples.report_data(1), tmp_path, "png")
    assert {path for path in tmp_path.iterdir() if path.name[0] != "."} == {*paths, tmp_path / "mine.png"}


@needs_kaleido
@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_figures_are_drawn_in_every_kind_and_names_are_neither_formula_nor_markup(kind: str, tmp_path: Path) -> None:
    name = "$x_{$ <b>"
    rows = [replace(row, variable=name) for row in samples.importances()[:2]]
    figures = {
        "importance": importance_figure(rows),
        "forecast": forecast_figure(replace(samples.forecast_plot("s", 0), target=name)),
        "map": attention_map_figure(samples.attention_by_step(), "1h"),
    }
    if kind == "pdf":  # drawn by the same browser
        del figures["forecast"], figures["map"]
    for path in write_images(figures, tmp_path, kind):
        assert path.suffix == f".{kind}"
        assert_is_image(path)
    if kind == "svg":
        for stem in ("importance", "forecast"):
            assert name in html.unescape((tmp_path / f"{stem}.svg").read_text(encoding="utf-8"))


def test_an_unknown_kind_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"\.png, \.svg, \.pdf"):
        write_report_figures(samples.report_data(1), tmp_path, "bmp")


def test_a_missing_library_is_an_error_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'fusecast\[plot\]'"):
        write_report_figures(samples.report_data(1), tmp_path)


@needs_kaleido
def test_a_missing_browser_is_an_error_that_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="install the package `chromium`, or set BROWSER_PATH"):
        write_report_figures(samples.report_data(1), tmp_path)
