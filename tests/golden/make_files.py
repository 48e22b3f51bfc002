"""Make the files that a version wrote, for later ones to load: ``python tests/golden/make_files.py FOLDER``.

They were made once, by the version before the package was rearranged, and are kept: made again by a later version they
would show nothing. FOLDER must not exist.
"""

# ruff: noqa: T201  a script that talks on stdout

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.golden.outside import the_scripts, trained_by_script  # noqa: E402
from tests.golden.scenarios import SHORT, SMALL  # noqa: E402
from tests.golden.tables import ROOT, bikes, commands  # noqa: E402

from fusecast import Forecaster  # noqa: E402


def reference(name: str) -> Path:
    """Path of what imitates another library, among the tests of the version in use."""
    return next((ROOT / "tests").rglob(name))


def make_run(folder: Path) -> None:
    """A run of the command line, with its table in its folder; the path of the table is made relative to it."""
    folder.mkdir()
    bikes(20).select("unique_id", "ds", "y", "holiday", "weather", "temp").write_csv(folder / "table.csv")
    commands(
        [
            *("fit", "table.csv", "--out", ".", "--horizon", 6, "--lookback", 24, "--hidden-size", 8, "--heads", 1),
            *("--known", "holiday", "--observed", "weather,temp", "--max-steps", 12, "--batch-size", 32),
            *("--set", "training.windows_per_epoch=128", "--set", "training.logger=none"),
            *("--set", "features.calendar=[hour]", "--dropout", 0, "--final", "none"),
            *("--set", "training.progress=false", "--set", "training.accelerator=cpu"),
        ],
        ["calibrate", ".", "--method", "adaptive"],
        folder=folder,
    )
    for name in ("run.yaml", "config.json"):
        path = folder / name
        path.write_text(path.read_text(encoding="utf-8").replace(f"{folder.resolve()}/", ""), encoding="utf-8")


def make_bundle(folder: Path) -> None:
    """A bundle of a distribution on counts."""
    forecaster = Forecaster(
        4,
        24,
        known=["holiday", "workingday"],
        observed=["weather"],
        categorical=["holiday"],
        network={**SMALL, "hidden_size": 8, "num_heads": 1, "head": "negative_binomial"},
        features={"window_scaling": "none"},
        training=SHORT,
    )
    forecaster.fit(bikes(20)).save(folder)


def make_exported(folder: Path) -> None:
    """An exported bundle with two members, final networks, a calibration and a blend.

    In `exported` is one of an earlier version, whose blend has no spreads.
    """
    forecaster = Forecaster(
        4,
        24,
        known=["holiday"],
        observed=["weather"],
        network={"hidden_size": 4, "num_heads": 1, "dropout": 0.0},
        features={"calendar": ["hour"]},
        training={**SHORT, "members": 2, "final": "refit"},
        calibration="cqr",
        blend="validation",
    )
    forecaster.fit(bikes(20)).export(folder)


def make_scripts(folder: Path) -> None:
    """What the four scripts leave in their folder."""
    folder.mkdir()
    trained_by_script(folder)


def make_weights(folder: Path) -> None:
    """A file of each kind that `fusecast migrate` takes."""
    from fusecast.model import ModelConfig, TemporalFusionTransformer

    folder.mkdir()
    torch.manual_seed(5)
    config = ModelConfig(
        horizon=3, lookback=5, static_reals=1, static_categories=(4,), observed_reals=2, known_reals=2, hidden_size=8,
        num_heads=1, num_lstm_layers=2,
    )  # fmt: skip
    state = TemporalFusionTransformer(config).state_dict()
    torch.save({"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}}, folder / "native.pth")
    with the_scripts() as script:
        network = script("tft_lightning_model").TemporalFusionTransformerLightning(
            4, hidden_size=8, num_heads=1, seed=1
        )
    network.center.copy_(torch.tensor([1.0, -2.0, 3.0, 0.5]))
    network.target_scale.fill_(7.0)
    torch.save(network.state_dict(), folder / "scripts.pth")
    sys.path.insert(0, str(reference("nvidia_reference.py").parent))
    from nvidia_reference import Sizes, random_state

    sizes = Sizes(static_categories=(4,), static_reals=1, known_categories=(5,), known_reals=1, observed_reals=1)
    torch.save(random_state(sizes), folder / "nvidia.pth")
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, str(reference("*forecasting_reference.py")), scratch], check=True)
        shutil.copy(Path(scratch) / "stretched.pth", folder / "pytorch-forecasting.pth")


def main() -> None:
    """Make everything in a new folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    folder = folder.resolve()
    make_exported(folder / "blended")
    make_run(folder / "run")
    make_bundle(folder / "bundle")
    make_scripts(folder / "scripts")
    make_weights(folder / "weights")
    # One checkpoint of each kind is enough, and they are large.
    for path in (*folder.rglob("previous.ckpt"), *folder.glob("run/*/tft-*.ckpt"), *folder.glob("scripts/*/last.ckpt")):
        path.unlink()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:9,} {path.relative_to(folder)}")


if __name__ == "__main__":
    main()
