"""Overlapping windows share their steps, and forecasts are what they would be one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from fusecast.data.panel_builder import validate
from fusecast.data.schema import make_schema
from fusecast.features.config import FeatureConfig
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.features.preprocessor import Preprocessor
from fusecast.inference import overlapping_windows as engine_module
from fusecast.inference.network_predictor import NetworkPredictor
from fusecast.inference.overlapping_windows import BacktestEngine
from fusecast.model import variable_selection as selection
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.windows.gatherer import gather
from fusecast.windows.window_index import WindowIndex

L, H = 10, 3


def encode(*, missing: float = 0.0, known: bool = True, **features: Any) -> EncodedPanel:
    random = np.random.default_rng(0)
    lengths = (60, 14, 9, 45)
    parts = []
    for number, rows in enumerate(lengths):
        values = random.normal(size=(rows, 3))
        values[random.random((rows, 3)) < missing] = np.nan
        values[20:22] = np.nan if missing else values[20:22]  # steps with nothing in them
        parts.append(
            {
                "unique_id": [f"s{number}"] * rows,
                "ds": list(range(rows)),
                "y": values[:, 0],
                "seen": values[:, 1],
                "plan": values[:, 2],
                "kind": random.choice(["a", "b", "c"], rows),
                "size": [float(number)] * rows,
            }
        )
    table = pl.concat([pl.DataFrame(part).with_columns(pl.col(pl.Float64).fill_nan(None)) for part in parts])
    table = table if known else table.drop("plan", "kind")
    options = {"known": ("plan", "kind")} if known else {}
    schema = make_schema(
        table,
        id="unique_id",
        time="ds",
        targets=("y",),
        observed=("seen",),
        static=("size",),
        frequency="1i",
        **options,
    )
    panel = validate(table, schema)
    fitted = Preprocessor(FeatureConfig(**{"window_scaling": "none", **features})).fit(panel, np.asarray(panel.lengths))
    return fitted.encode(panel)


def network_for(encoded: EncodedPanel, **options: Any) -> TemporalFusionTransformer:
    torch.manual_seed(0)
    sizes = {"lookback": L, "horizon": H, **encoded.inputs.sizes()}
    network = TemporalFusionTransformer(ModelConfig(**{**sizes, "hidden_size": 16, "num_heads": 2, **options}))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def windows_of(encoded: EncodedPanel, stride: int = 1, lookback: int = L, horizon: int = H) -> WindowIndex:
    lengths = np.diff(encoded.indptr)
    return WindowIndex.between(lengths=lengths, begin=0, end=lengths, lookback=lookback, horizon=horizon, stride=stride)


def shared(network: TemporalFusionTransformer, encoded: EncodedPanel, index: WindowIndex) -> dict[int, np.ndarray]:
    engine = BacktestEngine(network, encoded, index)
    with torch.inference_mode():
        return {
            int(number): one
            for part in engine.parts(engine.runs())
            for number, one in zip(part.windows, engine.forecast(part).numpy(), strict=True)
        }


CASES = {
    "with relative position": {},
    "without": {"relative_position": False},
    "with gaps": {"missing": 0.3},
    "with gaps, without relative position": {"missing": 0.3, "relative_position": False},
    "with nothing known but the position": {"known": False},
    "with nothing known at all": {"known": False, "relative_position": False},
    "with one context for all": {"series_embedding": False, "missing": 0.3},
}


@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("case", CASES)
def test_the_engine_gives_what_the_network_gives_window_by_window(case: str, stride: int) -> None:
    encoded = encode(**CASES[case])
    network, index = network_for(encoded), windows_of(encoded, stride)
    found = shared(network, encoded, index)
    assert len(found) > len(index) / 2
    numbers = np.array(sorted(found))
    with torch.no_grad():
        expected = network(gather(encoded, index, numbers)).quantiles.numpy()
    np.testing.assert_allclose(np.stack([found[n] for n in numbers]), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("lookback", "horizon"), [(20, 3), (17, 5), (12, 9)])
@pytest.mark.parametrize("case", CASES)
def test_a_stride_that_divides_neither_lookback_nor_horizon_gives_the_same(
    case: str, lookback: int, horizon: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "NUMBERS_AT_ONCE", 3 * (lookback + horizon) * 16)  # three windows at a time
    encoded = encode(**CASES[case])
    network = network_for(encoded, lookback=lookback, horizon=horizon)
    index = windows_of(encoded, 7, lookback, horizon)
    found = shared(network, encoded, index)
    assert len(found) >= 5
    numbers = np.array(sorted(found))
    with torch.no_grad():
        expected = network(gather(encoded, index, numbers)).quantiles.numpy()
    np.testing.assert_allclose(np.stack([found[n] for n in numbers]), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"variable_skip": "normalised", "selection_skip_norm": True}, {"num_lstm_layers": 2, "attention_mask": "strict"}],
)
def test_networks_that_differ_from_the_paper_are_shared_alike(options: dict[str, Any]) -> None:
    encoded = encode(missing=0.3)
    network, index = network_for(encoded, **options), windows_of(encoded)
    found = shared(network, encoded, index)
    numbers = np.array(sorted(found))
    with torch.no_grad():
        expected = network(gather(encoded, index, numbers)).quantiles.numpy()
    np.testing.assert_allclose(np.stack([found[n] for n in numbers]), expected, rtol=1e-5, atol=1e-5)


def test_pieces_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode()
    network, index = network_for(encoded), windows_of(encoded)
    whole = shared(network, encoded, index)
    monkeypatch.setattr(engine_module, "ROWS_AT_ONCE", 20)
    monkeypatch.setattr(engine_module, "NUMBERS_AT_ONCE", 2 * (L + H) * 16)
    pieces = shared(network, encoded, index)
    assert whole.keys() == pieces.keys()
    for number, quantiles in whole.items():
        np.testing.assert_allclose(pieces[number], quantiles, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_series_with_equally_many_windows_are_worked_on_together(case: str) -> None:
    encoded = encode(**CASES[case])
    lengths = np.diff(encoded.indptr)
    index = WindowIndex.between(lengths=lengths, begin=lengths - H - 3, end=lengths, lookback=L, horizon=H)
    network = network_for(encoded)
    engine = BacktestEngine(network, encoded, index)
    (first, *others) = engine.parts(engine.runs())
    assert [run.series for run in first.runs] == [0, 3]
    assert all(len(part.runs) == 1 for part in others)
    found = shared(network, encoded, index)
    numbers = np.array(sorted(found))
    with torch.no_grad():
        expected = network(gather(encoded, index, numbers)).quantiles.numpy()
    np.testing.assert_allclose(np.stack([found[n] for n in numbers]), expected, rtol=1e-5, atol=1e-5)


def test_long_category_tables_are_shared_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode()
    network, index = network_for(encoded), windows_of(encoded)
    expected = shared(network, encoded, index)
    monkeypatch.setattr(selection, "FOLD_ROWS_UP_TO", 0)
    for number, quantiles in shared(network, encoded, index).items():
        np.testing.assert_allclose(quantiles, expected[number], rtol=1e-5, atol=1e-5)


def test_the_predictor_joins_shared_windows_and_those_with_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode(missing=0.1)
    network, index = network_for(encoded), windows_of(encoded)
    index = replace(index, first_cutoff=np.ones(4, dtype=np.int64))
    predictor = NetworkPredictor(network, fitted=Identity(), device="cpu", batch_size=7)
    together = predictor.predict(encoded, index)
    assert any(run.count for run in BacktestEngine(network, encoded, index).runs())
    monkeypatch.setattr(BacktestEngine, "runs", lambda _: [])
    one_by_one = predictor.predict(encoded, index)
    np.testing.assert_allclose(together.quantiles, one_by_one.quantiles, rtol=1e-5, atol=1e-5)
    assert np.isfinite(together.quantiles).all()


@pytest.mark.parametrize("scaling", ["none", "last"])
def test_threads_that_work_side_by_side_change_nothing(scaling: str) -> None:
    encoded = encode(window_scaling=scaling)
    network, index = network_for(encoded), windows_of(encoded)
    predictor = NetworkPredictor(network, fitted=Identity(), device="cpu", batch_size=7)
    one = predictor.predict(encoded, index)
    torch.set_num_threads(3)
    try:
        three = predictor.predict(encoded, index)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    np.testing.assert_array_equal(three.quantiles, one.quantiles)


def test_windows_scaled_one_by_one_share_nothing() -> None:
    encoded = encode(window_scaling="mean")
    assert BacktestEngine(network_for(encoded), encoded, windows_of(encoded)).runs() == []


def test_windows_that_do_not_overlap_share_nothing() -> None:
    encoded = encode()
    assert BacktestEngine(network_for(encoded), encoded, windows_of(encoded, stride=L + H)).runs() == []


class Identity:
    """A preprocessor of data that are scaled already."""

    def invert(self, values: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return values * scale[:, None, None] + center[:, None, None]
