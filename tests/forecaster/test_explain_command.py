"""The verb explain: what it writes, prints and refuses."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from tests.helpers.images import write_empty_images
from tests.helpers.tables import future_of
from typer.testing import CliRunner

from fusecast import Forecaster
from fusecast.cli.app import app
from fusecast.errors import ArtifactError, ConfigError, DataError
from fusecast.reporting import explanation_report


def test_the_command_line_writes_tables_figures_and_words(
    fitted: Forecaster, table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures are drawn in tests/reporting/test_explanation_report.py."""
    monkeypatch.setattr(explanation_report, "write_images", write_empty_images)
    run, data = fitted.save(tmp_path / "run"), tmp_path / "table.parquet"
    table.write_parquet(data)
    options = ["--series", "shop 1", "--what-if", "promotion=0", "--figures", "svg", "--shuffle", "20"]
    ran = CliRunner().invoke(app, ["explain", str(run), "--data", str(data), *options])
    assert ran.exit_code == 0, ran.output
    written = {path.name for path in (run / "explanation").iterdir()}
    assert {"importances.csv", "regimes.svg", "agreement.csv", "what_if.csv", "series_1_steps.csv"} <= written
    assert "rank correlation" in (run / "explanation" / "explanation.txt").read_text()
    assert "Median with promotion=0\n" in ran.output
    assert pl.read_csv(run / "explanation" / "what_if.csv")["unique_id"].unique().to_list() == ["shop 1"]
    again = CliRunner().invoke(app, ["explain", str(run), "--data", str(data), "--figures", "none", "--shuffle", "0"])
    assert again.exit_code == 0, again.output
    left = {path.name for path in (run / "explanation").iterdir()}
    assert not left & {"regimes.svg", "agreement.csv", "what_if.csv", "series_1_steps.csv"}
    assert "importances.csv" in left


def test_a_series_too_new_for_the_span_is_explained_by_its_next_forecast(
    fitted: Forecaster, table: pl.DataFrame, tmp_path: Path
) -> None:
    run, data, plan = fitted.save(tmp_path / "run"), tmp_path / "table.parquet", tmp_path / "plan.parquet"
    new = table.filter(unique_id="shop 1").head(3).with_columns(unique_id=pl.lit("new"))
    pl.concat([table, new]).write_parquet(data)
    future_of(new).with_columns(level=pl.lit("low")).write_parquet(plan)
    ask = ["explain", str(run), "--data", str(data), "--series", "new", "--figures", "none"]
    ran = CliRunner().invoke(app, [*ask, "--future", str(plan), "--what-if", "promotion=0"])
    assert ran.exit_code == 0, ran.output
    assert "Series 'new', 4 h from 2024-01-01 03:00:00" in ran.output
    assert "no window lies in the span to explain, 'test'" in ran.output
    written = {path.name for path in (run / "explanation").iterdir() if path.name[0] != "."}
    assert written == {"series_1_forecast.csv", "series_1_variables.csv", "series_1_steps.csv", "what_if.csv"}
    nothing = CliRunner().invoke(
        app, ["explain", str(run), "--data", str(data), "--series", "new", "--figures", "none"]
    )
    assert isinstance(nothing.exception, DataError)


def test_a_mistake_in_a_change_is_said_before_the_work(fitted: Forecaster, table: pl.DataFrame, tmp_path: Path) -> None:
    run, data = fitted.save(tmp_path / "run"), tmp_path / "table.parquet"
    table.write_parquet(data)
    ran = CliRunner().invoke(app, ["explain", str(run), "--data", str(data), "--what-if", "visitors=3"])
    assert isinstance(ran.exception, ConfigError)
    assert not (run / "explanation").exists()
    ran = CliRunner().invoke(app, ["explain", str(run), "--data", str(data), "--out", str(data)])
    assert isinstance(ran.exception, ArtifactError)
    assert "is a file" in str(ran.exception)


def test_the_change_of_each_target_is_printed_for_itself(capsys: pytest.CaptureFixture[str]) -> None:
    from fusecast.cli import output

    moved = pl.DataFrame(
        {
            "unique_id": ["a"] * 4, "step": [1, 1, 2, 2], "target": ["y", "z"] * 2, "quantile": [0.4] * 4,
            "before": [1.0, 100.0, 2.0, 200.0], "after": [3.0, 500.0, 5.0, 700.0],
            "difference": [2.0, 400.0, 3.0, 500.0],
        }
    )  # fmt: skip
    output.print_what_if(moved, ["price=1"])
    said = capsys.readouterr().out
    assert "0.4 quantile of y with price=1\n" in said
    assert [line.split() for line in said.splitlines() if line.strip()[:1] in ("1", "2")] == [
        ["1", "1", "3", "2"], ["2", "2", "5", "3"], ["1", "100", "500", "400"], ["2", "200", "700", "500"],
    ]  # fmt: skip
