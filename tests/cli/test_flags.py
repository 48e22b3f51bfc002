"""A run is one YAML file: the command line has few flags, and none is added by accident."""

from __future__ import annotations

import typer

from fusecast.cli.app import app

FLAGS = {
    "inspect": set(),
    "fit": {
        "--out", "--horizon", "--lookback", "--id", "--time", "--target", "--static", "--known", "--observed",
        "--categorical", "--frequency", "--validation", "--test", "--hidden-size", "--heads", "--dropout",
        "--quantiles", "--lr", "--batch-size", "--epochs", "--max-steps", "--max-minutes", "--seed", "--config",
        "--set", "--resume",
    },
    "predict": {"--out", "--data", "--future", "--quantiles", "--calibrated"},
    "evaluate": {"--data", "--stride"},
    "backtest": {
        "--data", "--stride", "--start", "--end", "--refit-every", "--fresh", "--baselines", "--out",
        "--calibrated",
    },
    "calibrate": {"--method", "--data"},
    "explain": {
        "--data", "--series", "--out", "--part", "--windows", "--shuffle", "--threshold", "--future", "--what-if",
        "--tables", "--figures",
    },
    "report": {"--out", "--data", "--future", "--figures", "--kind"},
    "migrate": {"--to", "--from", "--config", "--set", "--partial"},
    "demo": {"--out", "--max-minutes"},
}  # fmt: skip


def test_the_verbs_and_their_flags_are_these() -> None:
    group = typer.main.get_group(app)
    found = {
        name: {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        for name, command in group.commands.items()
    }
    assert {name: flags - {"--help"} for name, flags in found.items()} == FLAGS
