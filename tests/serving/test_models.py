"""Models are taken up anew when their files change, and requests notice nothing of it."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import polars as pl
import pytest
from tests.helpers.serving import running, wait_until

from fusecast.errors import ArtifactError
from fusecast.forecaster import Forecaster
from fusecast.serving.answers import to_rows
from fusecast.serving.app import create_app
from fusecast.serving.models import Models

JSON = {"Content-Type": "application/json"}


def test_a_new_model_at_the_same_path_is_taken_up_without_a_lost_request(
    run: Path, other_run: Path, table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fusecast.serving.app.SECONDS_BETWEEN_LOOKS", 0.05)
    folder = shutil.copytree(run, tmp_path / "model")
    expected = [to_rows(Forecaster.load(each).predict(data=table)) for each in (run, other_run)]
    body = json.dumps({"history": to_rows(table)})
    models = Models({"model": folder})
    old = models.get().model_id
    with running(create_app(models)) as url, httpx.Client(base_url=url, timeout=60) as client:

        def ask(_: int) -> list[dict[str, object]]:
            answer = client.post("/v1/forecast", content=body, headers=JSON)
            assert answer.status_code == 200, answer.text
            rows: list[dict[str, object]] = answer.json()["forecasts"]
            return rows

        with ThreadPoolExecutor(4) as pool:
            answers = pool.map(ask, range(60))
            Forecaster.load(other_run).save(folder)  # as a training that is run again does
            assert all(rows in expected for rows in answers)
        wait_until(lambda: models.get().model_id != old)
        assert ask(0) == expected[1]
        assert client.get("/v1/model").json()["model_id"] == models.get().model_id


def test_a_broken_model_leaves_the_present_one_in_place(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "model")
    models = Models({"model": folder})
    app, present, intact = create_app(models), models.get(), (folder / "config.json").read_bytes()
    (folder / "config.json").write_bytes(intact[:100])
    with running(app) as url, httpx.Client(base_url=url) as client:
        models.refresh()
        assert models.get() is present
        answer = client.get("/readyz")
        assert answer.status_code == 200
        assert "model" in answer.json()["not_loaded"]
        assert 'fusecast_model_reload_failed{model="model"} 1.0' in client.get("/metrics").text
        (folder / "config.json").unlink()
        models.refresh()
        assert models.get() is present
        (folder / "config.json").write_bytes(intact)
        models.refresh()
        assert client.get("/readyz").json() == {"status": "ready", "not_loaded": {}}
        assert models.get() is not present
        assert models.get().model_id == present.model_id


def test_models_that_cannot_be_loaded_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        Models({"model": tmp_path})


def test_a_server_without_models(table: pl.DataFrame) -> None:
    with running(create_app(Models())) as url, httpx.Client(base_url=url) as client:
        assert client.get("/v1/models").json()["models"] == []
        assert client.get("/v1/model").status_code == 404
        body = json.dumps({"history": to_rows(table)})
        assert client.post("/v1/forecast", content=body, headers=JSON).json()["error"]["code"] == "no_model"


def test_scores_of_a_model_card_are_told(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "bundle")
    assert Models({"model": folder}).get().describe()["accuracy"] is None
    rows = [
        {"predictor": "TFT", "target": "y", "baseline": False, "WQL": 0.1, "skill": 0.2},
        {"predictor": "last value", "target": "y", "baseline": True, "WQL": 0.3, "skill": None},
    ]
    card = {"created": "2026-01-02T03:04:05+00:00", "splits": {"test": {"rows": 3}}}
    card |= {"scores": {"windows": 9, "rows": rows}, "coverage": {"y": {"80": 0.7}, "z": {"80": 0.9}}}
    (folder / "model_card.json").write_text(json.dumps(card))
    model = Models({"model": folder}).get().describe()
    assert model["accuracy"] == [
        {"model": "TFT", "WQL": 0.1, "skill": 0.2},
        {"model": "last value", "WQL": 0.3, "skill": None},
    ]
    assert model["coverage"] == {"80": pytest.approx(0.8)}
    assert model["splits"] == {"test": {"rows": 3}}
    assert model["created"] == "2026-01-02T03:04:05+00:00"
