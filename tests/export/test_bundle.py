"""An exported bundle: the forecasts of its run, none of its rows, and no file that could change unnoticed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from tests.export.conftest import SECRET, Exported
from typer.testing import CliRunner

from fusecast import ArtifactError, ConfigError, DataNote, Forecaster
from fusecast.cli.app import app, main
from fusecast.inference.manifest import MANIFEST


@pytest.fixture
def copied(exported: Exported, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.bundle, tmp_path / "bundle"))


def test_it_forecasts_explains_and_scores_bit_for_bit_as_its_run(exported: Exported) -> None:
    run, bundle = Forecaster.load(exported.run), Forecaster.load(exported.bundle)
    data, future = exported.table, exported.future
    assert bundle.run_id == run.run_id
    for raw in (False, True):
        assert bundle.predict(future, data=data, raw=raw).equals(run.predict(future, data=data, raw=raw))
    changes = {"promotion": 1.0}
    assert bundle.what_if(changes, future, data=data).equals(run.what_if(changes, future, data=data))
    assert bundle.evaluate(data=data).to_dict() == run.evaluate(data=data).to_dict()
    mine, theirs = (each.explain_forecast("shop 1", future, data=data).tables() for each in (bundle, run))
    assert mine.keys() == theirs.keys()
    assert all(mine[name].equals(theirs[name]) for name in mine)
    mine, theirs = (each.explain(data=data).tables() for each in (bundle, run))
    assert all(mine[name].equals(theirs[name]) for name in theirs)


def test_it_forecasts_in_a_new_process_without_lightning(exported: Exported, tmp_path: Path) -> None:
    script = f"""
import sys
from fusecast import Forecaster
forecasts = Forecaster.load({str(exported.bundle)!r}).predict({str(exported.future)!r}, data={str(exported.table)!r})
forecasts.write_parquet("out.parquet")
heavy = ("pytorch_lightning", "lightning_fabric", "tensorboard", "plotly", "onnx")
sys.exit(", ".join(name for name in heavy if name in sys.modules) or 0)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = Forecaster.load(exported.run).predict(exported.future, data=exported.table)
    assert pl.read_parquet(tmp_path / "out.parquet").equals(expected)


def test_it_holds_no_row_and_no_place_of_the_table(exported: Exported) -> None:
    table = pl.read_parquet(exported.table)
    assert SECRET in table["visitors"]
    for path in exported.bundle.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(SECRET).encode() not in content, path
            assert b"private-table" not in content, path
            for value in table["y"].head(5):
                assert str(value).encode() not in content, path
    names = {path.relative_to(exported.bundle).as_posix() for path in exported.bundle.rglob("*") if path.is_file()}
    listed = json.loads((exported.bundle / MANIFEST).read_text())["sha256"]
    assert names == {*listed, MANIFEST}
    assert {"model-2.safetensors", "final/model.safetensors", "final/model-2.safetensors", "MODEL_CARD.md"} < names


def test_the_card_says_what_it_is_and_how_good(exported: Exported) -> None:
    card = json.loads((exported.bundle / "model_card.json").read_text())
    run = Forecaster.load(exported.run)
    evaluation = run.evaluate()
    assert card["model_id"] == run.run_id
    assert card["schema"]["known_real"] == ["promotion"]
    assert card["schema"]["observed_categorical"] == ["weather"]
    assert card["members"] == 2
    assert card["splits"]["test"]["last"] == "2024-01-07 15:00:00"
    by_name = {row["predictor"]: row for row in card["scores"]["rows"]}
    assert by_name["TFT"]["WQL"] == evaluation.scores["TFT"][0].wql
    assert by_name["last value"]["baseline"]
    assert card["coverage"]["y"]["80"] == next(iter(evaluation.scores["TFT"][0].coverage.values()))
    text = (exported.bundle / "MODEL_CARD.md").read_text()
    for words in ("## Scores", "last value", "## Limits", "Apache-2.0", "80% interval", "cqr", "blend: "):
        assert words in text


@pytest.mark.parametrize("name", ["MODEL_CARD.md", "run.yaml", "preprocessor.json", "final/model-2.safetensors"])
def test_a_changed_or_missing_file_is_named(copied: Path, name: str) -> None:
    path = copied / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match=f"{name} cannot be read: it is not the file that manifest.json"):
        Forecaster.load(copied)
    path.unlink()
    with pytest.raises(ArtifactError, match=f"{name} does not exist"):
        Forecaster.load(copied)


def test_a_manifest_that_is_missing_damaged_newer_or_points_elsewhere_is_refused(copied: Path) -> None:
    path = copied / MANIFEST
    values = json.loads(path.read_text())
    for wrong, words in (
        ({**values, "format": 9}, "reads formats up to 1"),
        ({**values, "sha256": {"../x": ""}}, "outside the bundle"),
        ({**values, "sha256": []}, "cannot be read"),
        ([], "no manifest"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(ArtifactError, match=words):
            Forecaster.load(copied)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"manifest\.json does not exist"):
        Forecaster.load(copied)


def test_a_verb_that_needs_the_table_says_so(exported: Exported) -> None:
    bundle = Forecaster.load(exported.bundle)
    with pytest.raises(ConfigError, match=r"no table to read: a bundle.*\n.*data="):
        bundle.predict()
    with pytest.raises(ConfigError, match="--data"):
        bundle.evaluate()


def test_an_earlier_bundle_is_replaced_and_nothing_else(
    exported: Exported, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied / "notes.txt").write_text("mine")
    smaller = Forecaster.load(exported.run)
    smaller._bundle = smaller._bundle and smaller._bundle.final
    smaller._bundle.extra.update(Forecaster.load(exported.run)._bundle.extra)
    smaller.export(copied, scores=False)
    assert not (copied / "final" / "model.safetensors").exists()  # they were of the earlier bundle
    assert (copied / "notes.txt").read_text() == "mine"
    assert Forecaster.load(copied).run_id == smaller.run_id
    for place in (exported.run, tmp_path / "file", tmp_path / "full"):
        if place.name == "file":
            place.write_text("")
        elif place.name == "full":
            place.mkdir()
            (place / "table.csv").write_text("a,b")
        with pytest.raises(ArtifactError, match="exists already, and is no exported bundle"):
            smaller.export(place, scores=False)
    (tmp_path / "empty").mkdir()
    smaller.export(tmp_path / "empty", scores=False)


def test_what_a_killed_export_left_is_finished_when_it_is_loaded(exported: Exported, copied: Path) -> None:
    for name in ("preprocessor.json", "final/config.json"):
        path = copied / name
        path.rename(path.with_name(f".{path.name}.0123abcd.fusecast"))
        if name == "preprocessor.json":
            path.write_text("of the bundle before")
    assert Forecaster.load(copied).run_id == Forecaster.load(exported.bundle).run_id


def test_nothing_is_written_into_a_bundle(exported: Exported, copied: Path) -> None:
    bundle = Forecaster.load(copied)
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    bundle.calibrate("split", data=exported.table)  # stays in memory
    assert bundle.calibration is not None
    assert bundle.calibration.method == "split"
    with pytest.raises(ArtifactError, match="is an exported bundle"):
        bundle.save(copied)
    with pytest.raises(ArtifactError, match="is an exported bundle"):
        Forecaster.from_config(bundle.config).fit(exported.table, folder=copied)
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_a_bundle_is_exported_again_without_a_table(copied: Path, tmp_path: Path) -> None:
    with pytest.warns(DataNote, match="no scores"):
        Forecaster.load(copied).export(tmp_path / "again")
    assert "no table to compute them on" in (tmp_path / "again" / "MODEL_CARD.md").read_text()
    assert Forecaster.load(tmp_path / "again").run_id == Forecaster.load(copied).run_id


def test_the_commands(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> str:
        result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    said = run("export", exported.run, "--to", "shop")
    assert "Wrote bundle: shop" in said
    data, plan = ("--data", exported.table), ("--future", exported.future)
    run("predict", "shop", *data, *plan)
    expected = Forecaster.load(exported.run).predict(exported.future)
    assert pl.read_parquet("forecasts.parquet").equals(expected)
    run("evaluate", "shop", *data)
    run("explain", "shop", *data, "--permutation", 0, "--figures", "none")
    assert Path("metrics.json").exists()
    assert Path("explanation").is_dir()
    Forecaster.load("shop")
    assert not (Path("shop") / "metrics.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "{run}"], "nothing to export to"),
        (["export", "{run}", "--to", "{run}"], "is no exported bundle"),
        (["calibrate", "{bundle}"], "is an exported bundle"),
        (["evaluate", "{bundle}"], "no table to read"),
    ],
)
def test_a_wrong_command_ends_in_words(
    exported: Exported,
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [word.format(run=exported.run, bundle=exported.bundle) for word in words]
    monkeypatch.setattr(sys, "argv", ["fusecast", *filled])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
