"""Networks that learn from all rows and forecast the future, beside those that are scored."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from tests.helpers.killed_final import fit, table
from tests.helpers.python_server import ROOT, run_python
from tests.helpers.tables import HORIZON, LOOKBACK, future_of, shop_table
from tests.helpers.training_by_hand import by_hand
from typer.testing import CliRunner

from fusecast import Forecaster
from fusecast.cli.app import app
from fusecast.errors import ArtifactError, TrainingError
from fusecast.features.preprocessor import Preprocessor
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.inference.model_bundle import Bundle
from fusecast.training.callbacks import history, stopping
from fusecast.training.checkpoints import load_checkpoint
from fusecast.training.final import FINETUNE_RATE, FINETUNE_STEPS, FollowPlan, LearningRates
from fusecast.training.members import fit as members_fit
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows import fit as workflow
from fusecast.workflows import sample


@pytest.fixture(autouse=True)
def ctrl_c_and_one_core(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Background jobs of a shell ignore Ctrl+C; members take seconds to start as processes, and train the same."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(members_fit, "available_cores", lambda: 1)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("final") / "run"


@pytest.fixture(scope="module")
def fitted(folder: Path) -> Forecaster:
    """A run whose learning rate has been reduced."""
    return fit(folder)


def final_of(forecaster: Forecaster) -> Bundle:
    assert forecaster._bundle is not None
    assert forecaster._bundle.final is not None
    return forecaster._bundle.final


def without_final(forecaster: Forecaster) -> Forecaster:
    """Return a forecaster with the judged networks alone, which is saved nowhere."""
    assert forecaster._bundle is not None
    judged = Forecaster.from_config(forecaster.config)
    judged._bundle = replace(forecaster._bundle, final=None)
    judged._prepared, judged._source = forecaster._prepared, forecaster._source
    return judged


def weights(bundle: Bundle | None) -> list[torch.Tensor]:
    assert bundle is not None
    return [tensor for member in bundle.members for tensor in member.network.state_dict().values()]


def same(one: Bundle | None, other: Bundle | None) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_the_final_network_is_the_one_that_is_trained_by_hand_on_all_rows(fitted: Forecaster) -> None:
    result = fitted.result
    assert result is not None
    steps = load_checkpoint(result.checkpoint)["global_step"]
    begins = [0, *(row["step"] for row in result.history)]
    rates = [row["lr"] for row, begin in zip(result.history, begins, strict=False) for _ in range(row["step"] - begin)]
    assert len(set(rates[:steps])) > 1, "the test needs a learning rate that falls before the best weights"
    assert steps < result.history[-1]["step"], "the test needs weights that are not the last"
    panel = fitted.prepared.panel
    preprocessor = Preprocessor(fitted.config.features).fit(panel, panel.lengths)
    network = by_hand(fitted, preprocessor, steps, rates)
    final = final_of(fitted)
    assert final.preprocessor.to_json() == preprocessor.to_json()
    trained = final.members[0].network
    for name, tensor in network.state_dict().items():
        if "embedding" not in name:  # the rows of unknown categories are set afterwards
            assert torch.equal(trained.state_dict()[name], tensor), name
    assert final.extra["steps"] == [(steps, steps)]


def test_the_final_network_has_the_average_of_its_weights_too() -> None:
    forecaster = fit(None, average_weights=True, lr_scheduler_patience=100, learning_rate=0.01)
    ((steps, planned),) = final_of(forecaster).extra["steps"]
    assert steps == planned
    network = by_hand(forecaster, final_of(forecaster).preprocessor, steps, [0.01] * steps)
    trained = final_of(forecaster).members[0].network.state_dict()
    for name, tensor in network.state_dict().items():
        if "embedding" not in name:
            torch.testing.assert_close(trained[name], tensor, rtol=1e-5, atol=1e-6)


def test_forecasts_are_those_of_the_final_network_and_scores_those_of_the_judged_one(
    fitted: Forecaster, folder: Path, tmp_path: Path
) -> None:
    plan = future_of(table())

    def ask(forecaster: Forecaster) -> dict[str, Any]:
        return {
            "predict": forecaster.predict(plan),
            "sample": forecaster.sample(3, plan),
            "what_if": forecaster.what_if({"promotion": 0.0}, plan),
            "explain_forecast": forecaster.explain_forecast("shop 0", plan).forecast,
            "last steps explained": forecaster.explain_forecast("shop 0").forecast,
            "what_if of the last steps": forecaster.what_if({"promotion": 0.0}),
            "evaluate": pl.DataFrame(forecaster.evaluate().to_rows(), strict=False),
            "backtest": forecaster.backtest(stride=5, baselines=[]).table,
            "explain": forecaster.explain(max_windows=10).tables()["importances"],
            "predictor": pl.DataFrame(forecaster.predictor.predict(forecaster.prepared.panel, fitted.prepared.valid)
                                      .quantiles.reshape(-1, 3)),
        }  # fmt: skip

    before = ask(fitted)
    other = Forecaster.load(folder)
    other._prepared, other._source = fitted.prepared, fitted._source
    with torch.no_grad():
        final_of(other).members[0].network.head.projection.bias.add_(1.0)
    after = ask(other)
    moved = {name for name, answer in before.items() if not answer.equals(after[name])}
    assert moved == {"predict", "sample", "what_if", "explain_forecast"}
    for text in (
        fitted.report(tmp_path / "report.html", future=plan).read_text(),
        CliRunner().invoke(app, ["evaluate", str(folder)]).output if other.config.data else "",
    ):
        assert (
            not text or "networks trained on rows up to 2024-01-04 11:00:00; forecasts: networks trained anew" in text
        )
    final = EnsemblePredictor.from_bundle(final_of(fitted), "cpu")
    expected = forecast_by_hand(fitted, final)
    np.testing.assert_array_equal(fitted.predict(plan, raw=True)["q0.5"].to_numpy(), expected)


def test_sample_paths_depend_on_each_other_as_the_errors_of_the_judged_network(
    fitted: Forecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    learn = sample.learn_dependence
    monkeypatch.setattr(sample, "learn_dependence", lambda *both: asked.append(both) or learn(*both))
    fitted.sample(3, future_of(table()))
    assert asked[0][0].preprocessor is fitted.prepared.preprocessor
    assert asked[0][1].members == fitted._bundle.members  # type: ignore[union-attr]


def forecast_by_hand(forecaster: Forecaster, predictor: EnsemblePredictor) -> np.ndarray:
    from fusecast.data.future import extend_panel

    panel = forecaster.prepared.panel
    extended = extend_panel(panel, HORIZON, future_of(table()))
    index = WindowIndex.at_end(lengths=panel.lengths, lookback=LOOKBACK, horizon=HORIZON)
    return predictor.predict(extended, index).quantiles[..., 0, 1].ravel()


def test_what_the_final_network_has_learned_is_forecast_by_the_judged_one(fitted: Forecaster) -> None:
    """A table that ends earlier; and the last steps of a table that has grown by a horizon, or by less."""
    longer = table(120 + HORIZON)
    judged = without_final(fitted)
    earlier = table(110)
    assert fitted.predict(future_of(earlier), data=earlier).equals(judged.predict(future_of(earlier), data=earlier))
    new = fitted.predict(future_of(longer), data=longer)
    assert not new.equals(judged.predict(future_of(longer), data=longer))
    changes = {"promotion": 0.0}
    assert not fitted.what_if(changes, data=longer).equals(judged.what_if(changes, data=longer))
    partly = table(120 + HORIZON - 1)
    assert fitted.what_if(changes, data=partly).equals(judged.what_if(changes, data=partly))


def test_a_series_that_ends_earlier_leaves_the_others_to_the_final_network(fitted: Forecaster) -> None:
    longer = table(120 + HORIZON)
    ended = longer.filter((pl.col("unique_id") != "shop 1") | (pl.int_range(pl.len()).over("unique_id") < 119))
    is_ended = pl.col("unique_id") == "shop 1"
    plan = pl.concat([future_of(longer).filter(~is_ended), future_of(table(119)).filter(is_ended)])
    found = fitted.predict(plan, data=ended, raw=True)
    assert found["unique_id"].unique(maintain_order=True).to_list() == ["shop 0", "shop 1", "shop 2"]
    final = fitted.predict(future_of(longer), data=longer, raw=True)
    judged = without_final(fitted).predict(plan, data=ended, raw=True)
    assert_frame_equal(found.filter(~is_ended), final.filter(~is_ended))
    assert_frame_equal(found.filter(is_ended), judged.filter(is_ended))
    assert not found.filter(~is_ended).equals(judged.filter(~is_ended))


def test_the_final_network_has_windows_as_short_as_the_judged_one(monkeypatch: pytest.MonkeyPatch) -> None:
    indices: list[WindowIndex] = []
    train = workflow.train_bundle

    def recorded(*positional: Any, **named: Any) -> Any:
        indices.append(named["train"])
        return train(*positional, **named)

    monkeypatch.setattr(workflow, "train_bundle", recorded)
    fit(None, table(2 * LOOKBACK + HORIZON), max_epochs=1)
    judged, final = indices
    assert judged.last_cutoff.max() < 2 * LOOKBACK <= final.last_cutoff.min()
    assert max(judged.first_cutoff.max(), final.first_cutoff.max()) < LOOKBACK


def test_a_saved_run_forecasts_as_before_and_one_without_final_networks_drops_them(
    fitted: Forecaster, folder: Path, tmp_path: Path
) -> None:
    plan = future_of(table())
    loaded = Forecaster.load(fitted.save(tmp_path / "copy"))
    assert loaded.predict(plan, data=table()).equals(fitted.predict(plan))
    assert loaded.networks == fitted.networks
    assert loaded._bundle is not None
    loaded.calibrate("split", data=table())
    again = Forecaster.load(tmp_path / "copy")
    assert same(final_of(again), final_of(fitted)), "a calibration keeps the final networks"
    shifts = []
    for one in (again, without_final(again)):
        one.calibrate("adaptive", data=table())
        raw, calibrated = (one.predict(plan, data=table(), raw=each) for each in (True, False))
        shifts.append(((calibrated["q0.9"] - raw["q0.9"]) / (raw["q0.9"] - raw["q0.1"])).to_numpy())
    np.testing.assert_allclose(*shifts, rtol=0.01)  # learned from the errors of the judged networks
    assert np.abs(shifts[0]).max() > 0
    loaded._bundle = replace(loaded._bundle, final=None)
    loaded.save(tmp_path / "copy")
    assert list((tmp_path / "copy" / "final").iterdir()) == []
    assert Forecaster.load(tmp_path / "copy").networks == ""


@pytest.mark.parametrize(
    "damage",
    [{"kind": "none"}, {"steps": [[1, "2"]]}, {"until": 3}, {"learned": {"series": ["a"], "end": []}}],
)
def test_a_final_model_that_is_not_described_rightly_is_refused(
    damage: dict[str, Any], fitted: Forecaster, tmp_path: Path
) -> None:
    bundle = fitted._bundle
    assert bundle is not None
    other = Forecaster.from_config(fitted.config)
    other._bundle = replace(bundle, final=replace(final_of(fitted), extra={**final_of(fitted).extra, **damage}))
    other.save(tmp_path)
    with pytest.raises(ArtifactError, match=r"final/config.json cannot be read"):
        Forecaster.load(tmp_path)


def test_rows_after_the_training_rows_change_nothing_in_the_judged_network(fitted: Forecaster) -> None:
    end = datetime(2024, 1, 4, 12)
    later = pl.col("ds") >= end
    changed = table().with_columns(
        pl.when(later & (pl.col("ds") >= datetime(2024, 1, 5, 6))).then(500.0).otherwise(pl.col("y")).alias("y"),
        pl.when(later).then(pl.lit("hail")).otherwise(pl.col("weather")).alias("weather"),
    )
    first = fit(None, changed, validation=0.15, max_steps=4)
    second = fit(None, table(), validation=0.15, max_steps=4)
    assert same(first._bundle, second._bundle)
    assert first.prepared.preprocessor.to_json() == second.prepared.preprocessor.to_json()
    assert "hail" not in first.prepared.preprocessor.vocabularies["weather"]
    assert "hail" in final_of(first).preprocessor.vocabularies["weather"]
    assert not np.allclose(first.evaluate().scores["TFT"][0].mae, second.evaluate().scores["TFT"][0].mae)
    test = first.prepared.windows("test", stride=10_000)
    quantiles = [each.predictor.predict(second.prepared.panel, test).quantiles for each in (first, second)]
    np.testing.assert_array_equal(*quantiles)


def test_a_series_of_the_newest_rows_alone_is_known_to_the_final_network() -> None:
    new = shop_table(4).filter((pl.col("unique_id") == "shop 3") & (pl.col("ds") >= datetime(2024, 1, 5)))
    split = {"validation": "2024-01-04T12:00:00", "test": "2024-01-05T00:00:00"}
    both = fit(None, pl.concat([table(), new]), max_steps=4, split=split)
    assert "shop 3" not in both.prepared.preprocessor.series
    final = final_of(both)
    assert "shop 3" in final.preprocessor.series
    assert final.config.static_categories[-1] == both._bundle.config.static_categories[-1] + 1  # type: ignore[union-attr]
    assert both.predict(future_of(pl.concat([table(), new]))).height == 4 * HORIZON
    one = pl.concat([shop_table(1), new])
    alone = fit(None, one, max_steps=2, split=split)
    inputs = final_of(alone).preprocessor.inputs
    assert list(inputs.static_categories) == ["city"], "the kinds of inputs stay"


def test_finetuning_goes_on_from_the_judged_weights(tmp_path: Path) -> None:
    forecaster = fit(tmp_path / "run", final="finetune", max_steps=12, dropout=0.0)
    final, judged = final_of(forecaster), forecaster._bundle
    result = forecaster.result
    assert result is not None
    steps = load_checkpoint(result.checkpoint)["global_step"]
    assert final.extra["steps"] == [(max(1, round(FINETUNE_STEPS * steps)),) * 2]
    assert final.preprocessor.scales is forecaster.prepared.preprocessor.scales
    rows = pl.read_csv(tmp_path / "run" / "final" / "history.csv")
    assert rows["lr"].to_list() == [FINETUNE_RATE * forecaster.config.training.rate] * rows.height
    apart = [(a - b).abs().max().item() for a, b in zip(weights(judged), weights(final), strict=True) if a.numel()]
    assert 0 < max(apart) <= 3 * FINETUNE_RATE * forecaster.config.training.rate * final.extra["steps"][0][0]
    assert "forecasts: the same networks, trained on with all rows up to" in forecaster.networks
    before = (tmp_path / "run" / "final" / "model.safetensors").read_bytes()
    resumed = fit(tmp_path / "run", final="finetune", max_steps=12, dropout=0.0, resume=True)
    assert (tmp_path / "run" / "final" / "model.safetensors").read_bytes() == before
    assert same(final_of(resumed), final)


def test_the_schedule_cosine_stops_where_the_judged_weights_are_from(tmp_path: Path) -> None:
    forecaster = fit(tmp_path / "run", lr_schedule="cosine", learning_rate=0.02)
    assert forecaster.result is not None
    state = load_checkpoint(forecaster.result.checkpoint)
    recorded = state["callbacks"]["LearningRates"]
    assert len(set(recorded["rates"])) > 4
    plan = workflow.plan_final(forecaster.result.checkpoint, forecaster.result.history, forecaster.config.training)
    assert plan.rates == tuple(zip(recorded["steps"], recorded["rates"], strict=True))
    rows = pl.read_csv(tmp_path / "run" / "final" / "history.csv")
    assert rows["lr"].to_list() == pytest.approx([plan.rate(step - 1) for step in rows["step"]])


def test_only_members_that_are_kept_have_a_final_one_with_their_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "keep_best_members", lambda bundle, *_: replace(bundle, members=bundle.members[1:]))
    forecaster = fit(None, max_steps=4, members=2)
    final = final_of(forecaster)
    assert len(final.members) == 1
    monkeypatch.undo()
    assert same(final, final_of(fit(None, max_steps=4, seed=43)))


def test_nothing_is_trained_where_every_row_is_a_training_row(capsys: pytest.CaptureFixture[str]) -> None:
    forecaster = fit(None, max_steps=2, split={"validation": 0, "test": 0})
    assert forecaster._bundle is not None
    assert forecaster._bundle.final is None
    assert "every row is a training row" in capsys.readouterr().err


def interrupt_in_step(step: int, patched: pytest.MonkeyPatch, kind: type) -> None:
    """Press Ctrl+C in a step of the final training, or of the judged one."""
    plain = kind.on_train_batch_start

    def press(self: Any, trainer: Any, *rest: Any) -> None:
        plain(self, trainer, *rest)
        if trainer.global_step == step:
            signal.raise_signal(signal.SIGINT)

    patched.setattr(kind, "on_train_batch_start", press)


@pytest.mark.parametrize("step", [0, 3])  # before and after the end of the first epoch
def test_ctrl_c_in_the_final_training_leaves_the_judged_network_and_resuming_completes_the_run(
    step: int, fitted: Forecaster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        interrupt_in_step(step, patched, FollowPlan)
        forecaster = fit(tmp_path / "run")
    assert forecaster._bundle is not None
    assert forecaster._bundle.final is None
    assert same(forecaster._bundle, fitted._bundle)
    assert "the training of the final networks was interrupted: the scored ones forecast" in capsys.readouterr().err
    assert not (tmp_path / "run" / "final" / "config.json").exists()
    assert forecaster.predict(future_of(table())).height == 3 * HORIZON
    resumed = fit(tmp_path / "run", resume=True)
    assert same(final_of(resumed), final_of(fitted))
    assert same(resumed._bundle, fitted._bundle)


def test_no_final_training_follows_a_judged_one_that_was_interrupted(
    tmp_path: Path, fitted: Forecaster, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        interrupt_in_step(3, patched, LearningRates)
        forecaster = fit(tmp_path / "run")
    assert forecaster._bundle is not None
    assert forecaster._bundle.final is None
    assert (
        "the final networks are not trained: those so far forecast; `fusecast fit --resume" in capsys.readouterr().err
    )
    assert same(final_of(fit(tmp_path / "run", resume=True)), final_of(fitted))


def test_a_run_that_is_resumed_with_more_steps_trains_its_final_network_anew(tmp_path: Path) -> None:
    first = fit(tmp_path / "run", max_steps=4, early_stopping_patience=None)
    again = fit(tmp_path / "run", max_steps=8, early_stopping_patience=None, resume=True)
    whole = fit(None, max_steps=8, early_stopping_patience=None)
    assert same(final_of(again), final_of(whole))
    assert not same(final_of(again), final_of(first))
    without = fit(tmp_path / "run", max_steps=8, early_stopping_patience=None, resume=True, final="none")
    assert without._bundle is not None
    assert without._bundle.final is None
    assert Forecaster.load(tmp_path / "run").networks == ""


def test_a_folder_with_another_run_in_the_place_of_the_final_networks_is_refused_at_once(tmp_path: Path) -> None:
    place = tmp_path / "run" / "final" / "checkpoints"
    place.mkdir(parents=True)
    (place / "last.ckpt").touch()
    with pytest.raises(TrainingError, match=r"run/final/checkpoints already holds checkpoints: 'last.ckpt'"):
        fit(tmp_path / "run", max_steps=2)
    assert not (tmp_path / "run" / "run.yaml").exists()


def test_a_final_training_that_fails_is_an_error_that_says_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise TrainingError.loss_not_finite(float("nan"), 1, 0, [3])

    monkeypatch.setattr(FollowPlan, "on_train_batch_start", fail)
    with pytest.raises(
        TrainingError, match=r"the final networks, on all rows: the training loss became nan[\s\S]*--final none"
    ):
        fit(tmp_path / "run", max_steps=2)
    assert fit(tmp_path / "run", max_steps=2, resume=True, final="none").networks == ""


@pytest.fixture
def seconds_a_step(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets how long steps of the judged and the final training take, by a clock of its own."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    for module in (stopping, history):
        monkeypatch.setattr(module, "time", clock)

    def set_seconds(**by_kind: float) -> None:
        for kind in (LearningRates, FollowPlan):
            plain = getattr(kind, "plain", kind.on_train_batch_start)
            monkeypatch.setattr(kind, "plain", plain, raising=False)

            def wait(self: Any, trainer: Any, *rest: Any, kind: Any = kind, plain: Any = plain) -> None:
                plain(self, trainer, *rest)
                clock.now += by_kind[kind.__name__]

            monkeypatch.setattr(kind, "on_train_batch_start", wait)

    return set_seconds


@pytest.mark.parametrize(
    ("final", "seconds", "judged_steps", "steps"),
    [
        ("refit", 1.8, 10, (6, 10)),  # half of the time for each
        ("refit", 3.0, 10, None),
        ("finetune", 3.0, 16, (2, 4)),  # four fifths, and a fourth of the steps
    ],
)
def test_the_time_is_shared_out_and_a_resumed_run_keeps_the_shares(
    final: str, seconds: float, judged_steps: int, steps: tuple[int, int] | None,
    seconds_a_step: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    seconds_a_step(LearningRates=1.0, FollowPlan=seconds)
    options = {"final": final, "max_steps": None, "max_minutes": 20 / 60, "windows_per_epoch": None}
    options |= {"batch_size": 4, "learning_rate": 0.01}  # so that the first epoch is the only one
    for resume in (False, True) if seconds == 1.8 or final == "finetune" else (False,):
        forecaster = fit(tmp_path / "run", **options, resume=resume)
        result, bundle = forecaster.result, forecaster._bundle
        assert result is not None
        assert bundle is not None
        assert result.history[-1]["step"] == judged_steps
        printed = capsys.readouterr().err
        assert (None if bundle.final is None else bundle.final.extra["steps"]) == (steps and [steps])
        done = steps or (4, 10)
        cut = f"the training of a final network was cut at step {done[0]} of {done[1]}: the time was over"
        assert (cut in printed) == (done[0] < done[1])
        assert ("that is too little: the scored networks forecast" in printed) == (steps is None)
        if steps and done[0] < done[1]:
            assert f"{done[0]} of {done[1]} steps" in forecaster.networks


@pytest.mark.slow
def test_a_run_that_is_killed_in_each_phase_and_resumed_is_the_one_that_nothing_disturbed(
    fitted: Forecaster, folder: Path, tmp_path: Path
) -> None:
    two = fit(tmp_path / "two", members=2)
    ran = run_python("-m", "tests.helpers.killed_final", tmp_path, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for members, whole, place in ((1, fitted, folder), (2, two, tmp_path / "two")):
        killed = tmp_path / str(members)
        resumed = fit(killed, members=members, resume=True)
        assert same(resumed._bundle, whole._bundle)
        assert same(final_of(resumed), final_of(whole))
        names = ["preprocessor.json", "model.safetensors", *(f"model-{n}.safetensors" for n in range(2, members + 1))]
        for name in (*names, *(f"final/{name}" for name in names)):
            assert (killed / name).read_bytes() == (place / name).read_bytes(), name
        for name in ("history.csv", "final/history.csv"):
            tables = [pl.read_csv(run / name).drop("seconds", "windows_per_second") for run in (place, killed)]
            assert tables[0].equals(tables[1])


def test_options_are_refused_and_shown_on_the_command_line(tmp_path: Path) -> None:
    table().write_csv(tmp_path / "table.csv")
    words = ["--horizon", "4", "--lookback", "12", "--hidden-size", "8", "--num-heads", "2", "--max-steps", "2"]
    words += ["--members", "1", "--set", "training.logger=none", "--out", str(tmp_path / "run")]
    ran = CliRunner().invoke(app, ["fit", str(tmp_path / "table.csv"), *words, "--final", "finetune"])
    assert ran.exit_code == 0, ran.output
    line = "networks trained on rows up to 2024-01-04 11:00:00; forecasts: the same networks, trained on with all rows"
    assert line in ran.output
    ran = CliRunner().invoke(app, ["evaluate", str(tmp_path / "run")])
    assert line in ran.output
    ran = CliRunner().invoke(app, ["fit", str(tmp_path / "table.csv"), *words, "--final", "again"])
    assert "training.final cannot be 'again'" in str(ran.exception)
