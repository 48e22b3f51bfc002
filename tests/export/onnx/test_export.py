"""What is refused before anything is written; the command; the file; and the two examples that read it alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.export.conftest import Exported
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table
from typer.testing import CliRunner

from fusecast import ConfigError, Forecaster
from fusecast.cli.app import app, main
from fusecast.evaluation.blend import BLEND, Blend

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
IDS = ["region", "unique_id"]
ORT_WEB = "FUSECAST_ORT_WEB"
"""Variable with a folder in which `npm install onnxruntime-web` was run, see the Makefile."""


Forecast = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run")
    table, region = shop_table(), pl.lit("north").alias("region")
    table.with_columns(region).write_csv(place / "history.csv")
    future_of(table).with_columns(region).write_csv(place / "plan.csv")
    forecaster = Forecaster(HORIZON, LOOKBACK, id=IDS, **ROLES, **TINY).fit(place / "history.csv")
    return forecaster.save(place / "run")


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    path = run.parent / "model.onnx"
    said = CliRunner().invoke(app, ["export", str(run), "--onnx", str(path), "--explain"], catch_exceptions=False)
    assert said.exit_code == 0
    assert "ONNX Runtime and fusecast differ by" in said.output
    return path


def expected(run: Path) -> list[float]:
    forecasts = Forecaster.load(run).predict(run.parent / "plan.csv")
    return forecasts.select("q0.1", "q0.5", "q0.9").to_numpy().ravel().tolist()


def check(output: str, run: Path) -> None:
    lines = [line.split(",") for line in output.strip().splitlines()]
    assert lines[0] == [*IDS, "step", "target", "q0.1", "q0.5", "q0.9"]
    assert [line[:4] for line in lines[1:3]] == [["north", "shop 0", "1", "y"], ["north", "shop 0", "2", "y"]]
    np.testing.assert_allclose([float(cell) for line in lines[1:] for cell in line[4:]], expected(run), rtol=1e-4)


@pytest.fixture(scope="module")
def mixed(run: Path) -> Path:
    """Return a run on the same table, whose forecasts are mixed with those of baselines."""
    forecaster = Forecaster(HORIZON, LOOKBACK, id=IDS, blend="validation", **ROLES, **TINY)
    return forecaster.fit(run.parent / "history.csv").save(run.parent / "mixed")


def run_in_python(model: Path, *tables: str) -> subprocess.CompletedProcess[str]:
    guard = "import sys; sys.modules['fusecast'] = sys.modules['torch'] = None; sys.argv = sys.argv[1:]"
    code = f"{guard}; import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    words = [sys.executable, "-c", code, str(EXAMPLES / "onnx_forecast.py"), str(model), *tables]
    return subprocess.run(words, cwd=model.parent, capture_output=True, text=True, check=False)


def run_in_javascript(model: Path, *tables: str) -> subprocess.CompletedProcess[str]:
    folder = os.environ.get(ORT_WEB)
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if folder is None or not (Path(folder) / "node_modules" / "onnxruntime-web").is_dir():
        pytest.skip(f"{ORT_WEB} names no folder with onnxruntime-web: `make ort-web` makes one")
    words = ["node", str(EXAMPLES / "onnx_forecast.js"), str(model), *tables]
    variables = os.environ | {"NODE_PATH": str(Path(folder) / "node_modules")}
    return subprocess.run(words, cwd=model.parent, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("forecast", [run_in_python, run_in_javascript])
def test_the_examples_need_neither_fusecast_nor_torch(model: Path, run: Path, mixed: Path, forecast: Forecast) -> None:
    done = forecast(model, "history.csv", "plan.csv")
    assert done.returncode == 0, done.stderr
    check(done.stdout, run)
    done = forecast(model, "history.csv")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the plan needs the {HORIZON} steps after the last one of each series" in done.stderr
    exported = Forecaster.load(mixed).export_onnx(run.parent / "mixed.onnx")
    assert exported.description["inputs"][-1]["name"] == "history"
    done = forecast(exported.path, "history.csv", "plan.csv")
    assert done.returncode == 0, done.stderr
    check(done.stdout, mixed)


def test_the_file_says_what_it_reads_and_nothing_of_this_machine(model: Path) -> None:
    import onnx

    loaded = onnx.load(model)
    about = json.loads({each.key: each.value for each in loaded.metadata_props}["fusecast"])
    assert [each["name"] for each in about["inputs"]] == [each.name for each in loaded.graph.input]
    assert [each["name"] for each in about["outputs"]] == [each.name for each in loaded.graph.output]
    assert about["levels"] == [0.1, 0.5, 0.9]
    assert about["vocabularies"]["weather"] == ["rain", "sun"]
    assert about["series"] == ["north,shop 0", "north,shop 1", "north,shop 2"]
    past = next(each for each in about["outputs"] if each["name"] == "past_weights")
    assert past["columns"][:2] == ["y", "visitors"]
    content = model.read_bytes()
    assert b"/src/fusecast" not in content
    assert os.fsencode(Path.home()) + b"/" not in content


def test_a_series_that_is_not_known_has_no_forecast(model: Path, run: Path) -> None:
    from fusecast.export.onnx.inputs import GraphInputs
    from fusecast.export.onnx.verification import draw_windows, run_session

    bundle = Forecaster.load(run)._require_bundle()
    panel, index = draw_windows(bundle, bundle.extra["split"], 0)
    inputs = GraphInputs.of(bundle.preprocessor).gather(bundle.preprocessor, panel, index)
    for code in (0, -1, 99):
        inputs["series"][0] = code
        forecast = run_session(model, inputs)["forecast"]
        assert np.isnan(forecast[0]).all()
        assert np.isfinite(forecast[1:]).all()


def test_the_loss_of_eight_bits_is_measured_and_said(run: Path, tmp_path: Path) -> None:
    exported = Forecaster.load(run).export_onnx(tmp_path / "small.onnx", int8=True)
    assert 1e-4 < exported.difference.largest < 0.2
    assert "With 8 bits forecasts change by" in exported.words


def test_a_blend_without_spreads_is_refused_in_words_and_raw_networks_are_not(
    exported: Exported, tmp_path: Path
) -> None:
    model, path = Forecaster.load(exported.run), tmp_path / "model.onnx"
    bundle = model._require_bundle()
    blend = Blend(series=("shop 0",), baseline=("drift",), weight=(0.5,))
    model._bundle = replace(bundle, extra={**bundle.extra, BLEND: blend.to_dict()}, arrays={})  # of earlier versions
    with pytest.raises(
        ConfigError, match=r"a blend with baselines cannot be exported to ONNX: .* has no spreads of them"
    ):
        model.export_onnx(path)
    assert not path.exists()
    said = model.export_onnx(path, raw=True)  # two members, and the final networks
    assert said.description["raw"]
    assert said.description["members"] == 2


@pytest.mark.parametrize(("name", "message"), [("model.pt", "ending"), ("no/model.onnx", "does not exist")])
def test_a_place_that_cannot_be_is_refused(
    run: Path,
    name: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(sys, "argv", ["fusecast", "export", str(run), "--onnx", str(tmp_path / name)])
    with pytest.raises(SystemExit):
        main()
    assert message in capsys.readouterr().err
