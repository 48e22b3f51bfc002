"""The options of the command line: which there are, that they reach the configuration, and that old spellings work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from tests.helpers.config_options import all_options
from typer.testing import CliRunner

from fusecast.cli.app import app
from fusecast.cli.options import CONFIG_OPTIONS, OLD_SPELLINGS
from fusecast.config import RunConfig
from fusecast.forecaster import Forecaster
from fusecast.io.databases.address import Query
from fusecast.reporting import export

COMMANDS = typer.main.get_group(app).commands
GOLDEN = Path(__file__).with_name("options.txt")
SIZES = ("--horizon", "2", "--lookback", "5")
OTHER = """
data: table.csv
query: select 1
horizon: 7
lookback: 9
time_budget: 90s
calibration: split
blend: validation
table: {id: shop, time: day, target: [a, b], static: [c], known: [d, e], observed: [f], categorical: [c],
  weight: g, frequency: 1h, time_zone: UTC, future_rows: each, streaming: true}
split: {validation: 3, test: "2017-01-01"}
features: {calendar: [hour], country: [DE, FR], target_scaling: robust, covariate_scaling: none,
  target_transform: log1p, lower_bound: -1.5, window_scaling: last, series_embedding: true, relative_position: false}
network: {hidden_size: 64, num_heads: 8, num_lstm_layers: 2, dropout: 0.2, quantiles: [0.2, 0.7], head: tweedie,
  tweedie_power: 1.25}
training: {learning_rate: 0.01, batch_size: 32, max_epochs: 3, max_steps: 4, max_minutes: 2.5, members: 3, final: none,
  windows_per_epoch: 128, validation_windows: 100, early_stopping_patience: 1, early_stopping_min_delta: 0.1,
  lr_scheduler_factor: 0.3, lr_scheduler_patience: 3, lr_schedule: cosine, weight_init: paper, weight_decay: 0.1,
  gradient_clip: 0.5, precision: bf16, accelerator: cpu, devices: 2, num_nodes: 2, seed: 1, deterministic: true,
  num_workers: 1, average_weights: false, min_epoch_steps: 7, max_epoch_steps: 70, panel_on_device: true, compile: true,
  checkpoint_minutes: 1.5, checkpoint_steps: 5, logger: csv, progress: false}
"""
"""Every option with another value than its default."""


def values_of(config: RunConfig) -> dict[str, Any]:
    """Return the value of every option by its full name."""
    values = config.to_dict()
    return {
        name: values[name.partition(".")[0]][name.partition(".")[2]] if "." in name else values[name]
        for name in all_options()
    }


DEFAULTS = values_of(RunConfig(horizon=2, lookback=5))
OTHERS = values_of(RunConfig.parse(yaml.safe_load(OTHER)))


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function from words after ``fusecast fit`` to the options of the run, of which nothing is trained."""

    class Stop(Exception):  # noqa: N818
        pass

    def stop(config: RunConfig) -> Forecaster:
        raise Stop(config)

    def run(*words: str) -> dict[str, Any]:
        ended = CliRunner().invoke(app, ["fit", *words])
        assert isinstance(ended.exception, Stop), ended.output
        return values_of(ended.exception.args[0])

    monkeypatch.setattr(Forecaster, "from_config", stop)
    return run


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Return a dictionary that takes the arguments of every call of a loaded forecaster, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    arguments: dict[str, Any] = {}

    class Loaded:
        config = RunConfig(horizon=1, lookback=1)

        def __getattr__(self, verb: str) -> Any:
            return lambda *words, **options: arguments.update(options, **find_future(words))

    monkeypatch.setattr(Forecaster, "load", lambda _: Loaded())
    monkeypatch.setattr(export, "find_browser", lambda: Path("chromium"))  # nothing is drawn
    return arguments


def find_future(words: Sequence[Any]) -> dict[str, Any]:
    """Return the plan among the arguments without a name."""
    plans = [word for word in words if isinstance(word, Query)]
    return {"future": plans[0]} if plans else {}


def options_of(command: str) -> set[str]:
    parameters = COMMANDS[command].get_params(typer.Context(COMMANDS[command]))
    return {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}


def test_the_commands_and_their_options_are_these() -> None:
    """A new option is a decision: write it into the file too. Most belong into the configuration, behind --set."""
    lines = [f"{name}: {' '.join(sorted(o for o in options_of(name) if o.startswith('--')))}" for name in COMMANDS]
    assert lines == GOLDEN.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", all_options())
def test_every_field_of_the_configuration_is_reached_by_set(name: str, configured: Any) -> None:
    assert OTHERS[name] != DEFAULTS[name]
    values = configured(*SIZES, "--set", f"{name}={yaml.safe_dump(OTHERS[name], default_flow_style=True)}")
    assert values == DEFAULTS | {name: OTHERS[name]}


@pytest.mark.parametrize(
    "name", [f"{section}.{name}".lstrip(".") for section, names in CONFIG_OPTIONS.items() for name in names]
)
def test_an_option_is_the_field_that_it_is_named_after(name: str, configured: Any) -> None:
    value = OTHERS[name]
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    words = ["--" + name.rpartition(".")[2].replace("_", "-"), *([] if value is True else [text])]
    values = configured(*SIZES, *words)
    assert values == DEFAULTS | {name: value}


def test_options_override_the_file_and_what_is_not_given_does_not(tmp_path: Path, configured: Any) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("horizon: 2\nlookback: 5\ntraining: {learning_rate: 1e-2, seed: 1}\n")
    values = configured("--config", str(path), "--set", "training.seed=43", "--max-steps", "3")
    assert values == DEFAULTS | {"training.learning_rate": 0.01, "training.seed": 43, "training.max_steps": 3}
    assert configured("--config", str(path), "--seed", "42")["training.seed"] == 42  # the default, but given


def test_the_help_has_the_defaults_and_descriptions_of_the_configuration() -> None:
    shown = CliRunner().invoke(app, ["fit", "--help"], env={"COLUMNS": "200"}).output
    for name in ("network.hidden_size", "network.dropout", "split.validation", "table.time"):
        assert f"[default: {DEFAULTS[name]}]" in shown
        assert all_options()[name].description in shown
    assert "[default: 0.1,0.5,0.9]" in shown


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--lr", "0.02"], "training.learning_rate", 0.02),
        (["--lr=0.02"], "training.learning_rate", 0.02),
        (["--heads", "2"], "network.num_heads", 2),
        (["--epochs", "3"], "training.max_epochs", 3),
    ],
)
def test_an_old_spelling_of_a_field_works(words: list[str], name: str, value: Any, configured: Any) -> None:
    assert configured(*SIZES, *words) == DEFAULTS | {name: value}


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["backtest", "--fresh"], "warm_start", False),
        (["explain", "--part", "all"], "split", "all"),
        (["explain", "--windows=7"], "max_windows", 7),
        (["explain", "--shuffle", "5"], "permutation", 5),
    ],
)
def test_an_old_spelling_of_another_option_works(
    words: list[str], name: str, value: Any, passed: dict[str, Any], tmp_path: Path
) -> None:
    CliRunner().invoke(app, [*words, str(tmp_path)])
    assert passed[name] == value


def test_old_spellings_are_not_shown_and_stand_for_options_that_exist() -> None:
    shown = set().union(*map(options_of, COMMANDS))
    assert not set(OLD_SPELLINGS) & shown
    assert set(OLD_SPELLINGS.values()) <= shown


def test_an_old_spelling_is_an_error_where_the_option_never_was() -> None:
    ran = CliRunner().invoke(app, ["predict", "run", "--lr", "0.1"])
    assert ran.exit_code == 2
    assert "--lr" in ran.output


@pytest.mark.parametrize("command", ["predict", "evaluate", "backtest", "calibrate", "explain", "report"])
def test_the_device_of_inference_is_an_option(command: str, passed: dict[str, Any], tmp_path: Path) -> None:
    CliRunner().invoke(app, [command, str(tmp_path), "--device", "cuda:1"])
    assert passed["device"] == "cuda:1"


@pytest.mark.parametrize("command", ["predict", "evaluate", "backtest", "calibrate", "explain", "report"])
def test_a_query_of_a_database_is_a_table_of_every_verb(command: str, passed: dict[str, Any], tmp_path: Path) -> None:
    words = ["--data", "sqlite:///shop.db", "--query", "select 1"]
    if command in ("predict", "explain", "report"):
        words += ["--future", "duckdb:///plan.db", "--future-query", "select 2"]
    CliRunner().invoke(app, [command, str(tmp_path), *words, *(["--series", "a"] if command == "explain" else [])])
    assert passed["data"] == Query("sqlite:///shop.db", "select 1")
    if command in ("predict", "explain", "report"):
        assert passed["future"] == Query("duckdb:///plan.db", "select 2")
