"""Files that an earlier version wrote, loaded by the version in use.

They are copied first: nothing is written beside them.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import torch
from tests.golden.outside import FLAT, predicted_by_script, the_scripts, trained_by_script
from tests.golden.scenarios import LEVELS, ahead, judged
from tests.golden.tables import (
    FILES,
    Data,
    Tables,
    backtested,
    bike_plan,
    bikes,
    commands,
    explained,
    flat,
    one_explained,
)

from fusecast import Forecaster


def saved_run(data: Data, scratch: Path) -> Tables:
    """The folder of `fusecast fit`, calibrated, with its own table beside it."""
    folder = Path(shutil.copytree(FILES / "run", scratch / "run"))
    with contextlib.chdir(folder):
        forecaster = Forecaster.load(".")
        made = ahead(forecaster, bike_plan(6)) | judged(forecaster)
        made["predict_calibrated"] = forecaster.predict(bike_plan(6), quantiles=LEVELS)
        made |= backtested("backtest", forecaster.backtest(stride=9, baselines=["seasonal"]))
        made |= explained("explain", forecaster.explain(max_windows=20, permutation=20))
        made |= one_explained("explain_forecast", forecaster.explain_forecast("DC", bike_plan(6), raw=True))
        made["what_if"] = forecaster.what_if({"holiday": 0}, bike_plan(6), raw=True)
    bike_plan(6).write_csv(folder / "plan.csv")
    commands(
        ["evaluate", ".", "--raw"],
        ["predict", ".", "--future", "plan.csv", "--out", "predict.parquet"],
        ["explain", ".", "--shuffle", 10, *FLAT, "--what-if", "holiday=0", "--raw"],
        folder=folder,
    )
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    del metrics["validation"]  # which these files were made without
    made["command_evaluate"] = flat(metrics)
    made["command_predict"] = pl.read_parquet(folder / "predict.parquet")
    made["command_what_if"] = pl.read_parquet(folder / "explanation" / "what_if.parquet")
    return made


def resumed_run(data: Data, scratch: Path) -> Tables:
    """Training goes on for four steps from the run's last checkpoint: weights, optimizer and order of the windows."""
    folder = Path(shutil.copytree(FILES / "run", scratch / "run"))
    bike_plan(6).write_csv(folder / "plan.csv")
    said = commands(
        ["fit", "--out", ".", "--resume", "--max-steps", 16, "--epochs", 4, "--calibration", "none", "--final", "none"],
        ["predict", ".", "--future", "plan.csv", "--out", "predict.parquet"],
        folder=folder,
    )
    history = pl.read_csv(folder / "history.csv").drop("seconds", "windows_per_second")
    return {"said": said[0], "history": history, "predict": pl.read_parquet(folder / "predict.parquet")}


def saved_bundle(data: Data, scratch: Path) -> Tables:
    """The three files of `Forecaster.save`: a negative binomial, categories, logs off, windows not scaled."""
    folder = Path(shutil.copytree(FILES / "bundle", scratch / "bundle"))
    forecaster, table, plan = Forecaster.load(folder), bikes(14), bike_plan(4)
    return {
        "predict": forecaster.predict(plan, data=table),
        "predict_levels": forecaster.predict(plan, data=table, quantiles=LEVELS),
        "sample": forecaster.sample(3, plan, data=table, seed=1),
        "evaluate": pl.DataFrame(forecaster.evaluate(data=table).to_rows()),
        **explained("explain", forecaster.explain(data=table, split="all", max_windows=20, permutation=10)),
    }


def exported_bundle(data: Data, scratch: Path) -> Tables:
    """A folder of `Forecaster.export`: two members, final networks, a calibration, and a blend without its spreads."""
    return _exported("exported", scratch)


def blended_bundle(data: Data, scratch: Path) -> Tables:
    """The same with the spreads of the blend."""
    return _exported("blended", scratch)


def _exported(name: str, scratch: Path) -> Tables:
    folder = Path(shutil.copytree(FILES / name, scratch / name))
    forecaster, table, plan = Forecaster.load(folder), bikes(20), bike_plan(4)
    return {
        "predict": forecaster.predict(plan, data=table),
        "predict_raw": forecaster.predict(plan, data=table, quantiles=LEVELS, raw=True),
        "what_if": forecaster.what_if({"holiday": 0}, plan, data=table),
        "evaluate": pl.DataFrame(forecaster.evaluate(data=table).to_rows()),
    }


def script_checkpoint(data: Data, scratch: Path) -> Tables:
    """The folder of the scripts: its checkpoint forecasts, and training goes on from it."""
    folder = Path(shutil.copytree(FILES / "scripts", scratch / "scripts"))
    (best,) = (folder / "checkpoints_lightning").glob("tft-*.ckpt")
    made = predicted_by_script(best)
    more, best = trained_by_script(folder, num_epochs=3, ckpt_path=str(best))
    made |= {f"resumed_{name}": table for name, table in more.items()}
    return made | {f"resumed_{name}": table for name, table in predicted_by_script(best).items()}


MIGRATIONS: dict[str, list[Any]] = {
    "native": ["native.pth", "--set", "horizon=3", "--set", "lookback=5"],
    "bundle": [FILES / "bundle" / "model.safetensors", "--config", FILES / "bundle" / "config.json"],
    "checkpoint": ["checkpoint.ckpt", "--config", FILES / "run" / "config.json"],
    "scripts": ["scripts.pth", "--from", "scripts"],
    "nvidia": ["nvidia.pth", "--set", "lookback=5"],
    "pytorch-forecasting": ["pytorch-forecasting.pth"],
}


def old_weights(data: Data, scratch: Path) -> Tables:
    """Every kind of file that `fusecast migrate` takes: what it prints, and what the converted network forecasts."""
    folder = Path(shutil.copytree(FILES / "weights", scratch / "weights"))
    shutil.copy(FILES / "run" / "checkpoints" / "last.ckpt", folder / "checkpoint.ckpt")
    lines = [["migrate", *words, "--to", f"{name}.new.ckpt"] for name, words in MIGRATIONS.items()]
    said = commands(*lines, folder=folder)
    made: Tables = {f"{name}_said": re.sub(" +", " ", text) for name, text in zip(MIGRATIONS, said, strict=True)}
    for name in ("bundle_said", "checkpoint_said", "nvidia_said"):  # the tables of the others are enough
        made = {key: text if key != name else text.partition("\n\n")[2] for key, text in made.items()}
    for name in MIGRATIONS:
        made[name] = (
            _of_the_scripts(folder / f"{name}.new.ckpt") if name == "scripts" else _bare(folder / f"{name}.new.ckpt")
        )
    return made


def _of_the_scripts(checkpoint: Path) -> pl.DataFrame:
    with the_scripts() as script:
        module = (
            script("tft_lightning_model").TemporalFusionTransformerLightning.load_from_checkpoint(checkpoint).eval()
        )
    x = torch.randn(3, 6, module.input_size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return pl.DataFrame({"forecast": module(x).flatten().numpy()})


def _bare(checkpoint: Path) -> pl.DataFrame:
    """Outputs of the network in a converted checkpoint for example batches, one without gaps and one with them.

    The checkpoint is opened as plain values, since the class of its LightningModule has no public name.
    """
    from fusecast.model import ModelConfig, TemporalFusionTransformer, example_batch

    content = torch.load(checkpoint, weights_only=True)
    config = ModelConfig(**content["hyper_parameters"]["model"])
    network = TemporalFusionTransformer(config).eval()
    network.load_state_dict({name.removeprefix("network."): each for name, each in content["state_dict"].items()})
    rows = []
    for missing in (0.0, 0.2):
        generator = torch.Generator().manual_seed(1)
        batch = example_batch(config, 3, missing=missing, generator=generator)
        with torch.no_grad():
            output = network(batch)
        for field in ("quantiles", "attention", "past_weights", "static_weights"):
            values = getattr(output, field).flatten().double().tolist()
            rows += [(missing, field, number, value) for number, value in enumerate(values)]
    return pl.DataFrame(rows, schema=["missing", "field", "number", "value"], orient="row")
