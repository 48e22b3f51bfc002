from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fusecast.errors import ArtifactError, ConfigError
from fusecast.reporting.export import still, write_figures
from fusecast.reporting.page import figures_of


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_every_figure_of_the_page_and_the_first_fans_become_files(kind: str, made_up, tmp_path: Path) -> None:
    data = made_up.report_data(2)
    paths = write_figures(data, tmp_path / "figures", kind)
    names = {path.stem for path in paths}
    assert names == {*figures_of(data), "forecast-1-station_0_y", "forecast-2-station_1_y"}
    assert all(path.suffix == f".{kind}" and path.stat().st_size > 3000 for path in paths)


def test_lines_and_bars_are_where_plotly_would_draw_them(made_up) -> None:
    drawn = figures_of(made_up.report_data(1))
    lines = {line.get_label(): line.get_ydata() for line in still(drawn["loss"]).axes[0].get_lines()}
    np.testing.assert_allclose(lines["training"], made_up.curves().train_loss)
    bars = [bar.get_width() for bar in still(drawn["importance-static"]).axes[0].patches]
    assert sorted(bars) == pytest.approx([0.29, 0.71])
    image = still(drawn["attention-map"]).axes[0].collections[0].get_array()
    assert image.max() == pytest.approx(made_up.attention().mean.max(), abs=1e-5)


def test_the_ticks_of_a_logarithmic_axis_are_those_of_the_page(made_up) -> None:
    drawn = figures_of(made_up.report_data(1))["learning-rate"]
    axis = still(drawn).axes[0].yaxis
    assert [label.get_text() for label in axis.get_ticklabels(which="both")] == ["0.00025", "0.0005", "0.001"]


def test_a_name_is_no_formula(made_up, tmp_path: Path) -> None:
    name = "$x_{$"
    rows = [replace(row, variable=name) for row in made_up.importances()[:2]]
    fans = [replace(made_up.a_fan(name, 0), target=name)]
    paths = write_figures(made_up.report_data(1, importances=rows, fans=fans), tmp_path, "svg")
    assert len(paths) > 5


def test_a_kind_that_is_none_and_a_missing_library_are_said(made_up, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(ArtifactError, match=r"\.png"):
        write_figures(made_up.report_data(1), tmp_path, "bmp")
    monkeypatch.setattr("fusecast.reporting.explanation_figures.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install"):
        write_figures(made_up.report_data(1), tmp_path)


def test_a_folder_holds_the_figures_of_one_page(made_up, tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_text("mine")
    write_figures(made_up.report_data(3), tmp_path, "svg")
    paths = write_figures(made_up.report_data(1), tmp_path, "png")
    assert {path for path in tmp_path.iterdir() if path.name[0] != "."} == {*paths, tmp_path / "mine.png"}
