from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from fusecast.errors import ArtifactError, ConfigError
from fusecast.explain.attention import AttentionTally
from fusecast.explain.explanation import Explanation, explain
from fusecast.explain.importance import ImportanceByStep, ImportanceTally
from fusecast.explain.regimes import Regimes
from fusecast.reporting.explanation_figures import draw_regimes


@pytest.fixture
def batches(windows_of) -> list:
    return [windows_of(0, 5), windows_of(1, 8, first=5)]


@pytest.fixture
def found(batches, inputs, panel_of, windows_in) -> Explanation:
    panel = panel_of(21)
    return explain(((b.window.numpy(), b, o) for b, o in batches), inputs, panel, windows_in(panel))


def test_an_explanation_holds_what_the_tallies_of_all_batches_hold(batches, found, inputs, panel_of, windows_in):
    panel = panel_of(21)
    importance, attention = ImportanceTally(inputs), AttentionTally(6, 3)
    by_step = ImportanceByStep(inputs, panel, windows_in(panel))
    for batch, output in batches:
        importance.add(batch, output)
        attention.add(batch, output)
        by_step.add(batch.window.numpy(), batch, output)

    assert found.windows == 13
    assert found.importances == importance.table()
    np.testing.assert_array_equal(found.attention.p90, attention.profile().p90)
    assert_frame_equal(found.importance_by_step, by_step.by_position())
    assert_frame_equal(found.importance_over_time, by_step.over_time())
    assert len(found.regimes.distance) == 13


def test_how_windows_are_batched_changes_nothing(windows_of, inputs, panel_of, windows_in) -> None:
    panel = panel_of(21)
    batch, output = windows_of(0, 13)
    whole = explain([(batch.window.numpy(), batch, output)], inputs, panel, windows_in(panel))
    cut = [
        (batch.window[part].numpy(), type(batch)(*(t[part] for t in batch)), type(output)(*(t[part] for t in output)))
        for part in (slice(0, 1), slice(1, 12), slice(12, 13))
    ]
    pieces = explain(cut, inputs, panel, windows_in(panel))
    for name, table in whole.tables().items():
        assert_frame_equal(table, pieces.tables()[name])


def test_tables_are_tidy_and_written_in_every_kind(found: Explanation, tmp_path: Path) -> None:
    tables = found.tables()
    assert set(tables) >= {
        "importances",
        "importance_by_step",
        "importance_over_time",
        "attention",
        "regimes",
        "events",
    }
    assert tables["attention_by_step"].height == 3 * 9
    assert tables["attention"]["words"][5] == "1 h before"
    for kind in ("csv", "parquet"):
        paths = found.write(tmp_path / kind, table=kind, figure=None)
        assert sorted(p.name for p in paths if p.suffix == f".{kind}") == sorted(f"{name}.{kind}" for name in tables)
    assert_frame_equal(pl.read_parquet(tmp_path / "parquet" / "regimes.parquet"), tables["regimes"])


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_every_figure_is_drawn_and_written(kind: str, found: Explanation, tmp_path: Path) -> None:
    paths = found.with_permutation(a_permutation()).write(tmp_path, figure=kind)
    drawn = {path.stem: path for path in paths if path.suffix == f".{kind}"}
    assert set(drawn) == {
        "importances", "importance_over_time", "importance_by_step", "attention", "attention_by_step", "regimes",
        "agreement",
    }  # fmt: skip
    assert all(path.stat().st_size > 5000 for path in drawn.values())


def test_a_name_is_no_formula(batches, inputs, panel_of, windows_in, tmp_path: Path) -> None:
    """matplotlib reads what stands between two dollar signs as a formula, and refuses one that is none."""
    panel = panel_of(21)
    odd = replace(inputs, known_reals=("$x_{$", "relative_position"), static_reals=("$}$",))
    found = explain(((b.window.numpy(), b, o) for b, o in batches), odd, panel, windows_in(panel))
    names = {row.variable for row in found.importances}
    assert {"$x_{$", "$}$"} <= names
    shuffled = pl.DataFrame({"variable": list(names), "increase": 0.1, "constant": False})
    assert found.with_permutation(shuffled).write(tmp_path, figure="svg")


def test_distances_of_series_with_few_forecasts_are_drawn_together(found: Explanation, panel_of) -> None:
    def regimes(counts: list[int]) -> Regimes:
        series = np.repeat(np.arange(len(counts)), counts)
        cutoff = np.concatenate([6 + np.arange(count) for count in counts])
        return Regimes(series=series, cutoff=cutoff, distance=0.1 + 0.01 * series, threshold=np.full(len(series), 0.5))

    few = replace(found, panel=panel_of(9, 9, 9), regimes=regimes([1, 1, 2]))
    axis = draw_regimes(few).axes[0]
    assert axis.get_title(loc="left").startswith("3 series: distance")
    assert len(axis.collections[0].get_offsets()) == 4
    many = replace(found, panel=panel_of(21, 9), regimes=regimes([8, 1]))
    many.regimes.distance[0] = 0.4
    axis = draw_regimes(many).axes[0]
    assert axis.get_title(loc="left").startswith("series a: distance")
    assert len(axis.lines[0].get_xdata()) == 8


def test_a_folder_holds_one_explanation(found: Explanation, tmp_path: Path) -> None:
    (tmp_path / "what I think.txt").write_text("mine")
    single = {"series_1_steps": pl.DataFrame({"a": [1]}), "what_if": pl.DataFrame({"a": [1]})}
    first = found.with_permutation(a_permutation()).write(tmp_path, figure="svg", more=single)
    assert {"what_if.csv", "permutation.csv", "regimes.svg"} <= {path.name for path in first}
    second = found.write(tmp_path, table="parquet", figure=None)
    seen = {path for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert seen == {*second, tmp_path / "what I think.txt"}


def test_a_kind_of_figure_that_is_none_is_refused_in_words(found: Explanation, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"\.png, \.svg, \.pdf"):
        found.write(tmp_path, figure="gif")


def test_figures_without_matplotlib_name_the_line_that_installs_it(found: Explanation, monkeypatch) -> None:
    monkeypatch.setattr("fusecast.reporting.explanation_figures.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'fusecast\[plot\]'"):
        found.figures()


def test_the_sentences_name_variables_lags_and_disagreement(found: Explanation) -> None:
    text = " ".join(found.with_permutation(a_permutation()).sentences())
    assert "13 forecasts of 1 series" in text
    assert "The past variables selected most are" in text
    assert "rank correlation" in text


def a_permutation() -> pl.DataFrame:
    names = ["y", "temperature", "price", "relative_position", "size", "holiday", "shop"]
    rise = np.linspace(0.5, 0.0, len(names))
    return pl.DataFrame({"variable": names, "increase": rise, "constant": [False] * len(names)})
