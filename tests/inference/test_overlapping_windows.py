"""Windows that share their steps have the forecasts that they have one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.helpers.encoded_panels import gather

from fusecast.config import FeatureConfig
from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import make_schema
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.features.preprocessor import Preprocessor
from fusecast.features.targets import FittedTargets
from fusecast.inference import overlapping_windows
from fusecast.inference.network_predictor import NetworkPredictor
from fusecast.inference.overlapping_windows import OverlappingWindows
from fusecast.model import variable_selection
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer
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
    panel = build_panel(table, schema)
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


def forecast_shared(
    network: TemporalFusionTransformer, encoded: EncodedPanel, index: WindowIndex
) -> dict[int, np.ndarray]:
    """Return the scaled quantiles of the windows that share their steps, by their numbers."""
    overlapping = OverlappingWindows(network, encoded, index)
    with torch.inference_mode():
        return {
            int(window): quantiles
            for chunk in overlapping.split_into_chunks(overlapping.find_runs())
            for window, quantiles in zip(
                np.concatenate([run.windows for run in chunk]), overlapping.forecast(chunk).numpy(), strict=True
            )
        }


def assert_as_one_by_one(network: TemporalFusionTransformer, encoded: EncodedPanel, index: WindowIndex) -> int:
    """Compare with the network's own forward pass; return the number of windows that share their steps."""
    forecasts = forecast_shared(network, encoded, index)
    windows = np.array(sorted(forecasts))
    with torch.no_grad():
        expected = network(gather(encoded, index, windows)).quantiles.numpy()
    np.testing.assert_allclose(np.stack([forecasts[w] for w in windows]), expected, rtol=1e-5, atol=1e-5)
    return len(windows)


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
def test_shared_windows_have_the_forecasts_of_the_network_window_by_window(case: str, stride: int) -> None:
    encoded = encode(**CASES[case])
    network, index = network_for(encoded), windows_of(encoded, stride)
    assert assert_as_one_by_one(network, encoded, index) > len(index) / 2


@pytest.mark.parametrize(("lookback", "horizon"), [(20, 3), (17, 5), (12, 9)])
@pytest.mark.parametrize("case", CASES)
def test_a_stride_that_divides_neither_lookback_nor_horizon_gives_the_same(
    case: str, lookback: int, horizon: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        overlapping_windows, "MAX_NUMBERS_DECODED", 3 * (lookback + horizon) * 16
    )  # three windows at a time
    encoded = encode(**CASES[case])
    network = network_for(encoded, lookback=lookback, horizon=horizon)
    index = windows_of(encoded, 7, lookback, horizon)
    assert assert_as_one_by_one(network, encoded, index) >= 5


@pytest.mark.parametrize(
    "options",
    [{"variable_skip": "normalised", "selection_skip_norm": True}, {"num_lstm_layers": 2, "attention_mask": "strict"}],
)
def test_networks_that_differ_from_the_paper_are_shared_alike(options: dict[str, Any]) -> None:
    encoded = encode(missing=0.3)
    network, index = network_for(encoded, **options), windows_of(encoded)
    assert assert_as_one_by_one(network, encoded, index) > 0


def test_forecasts_do_not_depend_on_the_size_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode()
    network, index = network_for(encoded), windows_of(encoded)
    whole = forecast_shared(network, encoded, index)
    monkeypatch.setattr(overlapping_windows, "MAX_STEPS_PER_RUN", 20)
    monkeypatch.setattr(overlapping_windows, "MAX_NUMBERS_DECODED", 2 * (L + H) * 16)
    pieces = forecast_shared(network, encoded, index)
    assert whole.keys() == pieces.keys()
    for number, quantiles in whole.items():
        np.testing.assert_allclose(pieces[number], quantiles, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_series_with_equally_many_windows_share_a_chunk(case: str) -> None:
    encoded = encode(**CASES[case])
    lengths = np.diff(encoded.indptr)
    index = WindowIndex.between(lengths=lengths, begin=lengths - H - 3, end=lengths, lookback=L, horizon=H)
    network = network_for(encoded)
    overlapping = OverlappingWindows(network, encoded, index)
    (first, *others) = overlapping.split_into_chunks(overlapping.find_runs())
    assert [run.series for run in first] == [0, 3]
    assert all(len(chunk) == 1 for chunk in others)
    assert assert_as_one_by_one(network, encoded, index) > 0


def test_long_category_tables_are_shared_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode()
    network, index = network_for(encoded), windows_of(encoded)
    expected = forecast_shared(network, encoded, index)
    monkeypatch.setattr(variable_selection, "MAX_FOLDED_ROWS", 0)
    for number, quantiles in forecast_shared(network, encoded, index).items():
        np.testing.assert_allclose(quantiles, expected[number], rtol=1e-5, atol=1e-5)


def test_the_predictor_joins_shared_windows_and_those_with_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode(missing=0.1)
    network, index = network_for(encoded), windows_of(encoded)
    index = replace(index, first_cutoff=np.ones(4, dtype=np.int64))
    predictor = NetworkPredictor(network, preprocessor=Identity(), device="cpu", batch_size=7)
    together = predictor.predict(encoded, index)
    assert any(run.count for run in OverlappingWindows(network, encoded, index).find_runs())
    monkeypatch.setattr(OverlappingWindows, "find_runs", lambda _: [])
    one_by_one = predictor.predict(encoded, index)
    np.testing.assert_allclose(together.quantiles, one_by_one.quantiles, rtol=1e-5, atol=1e-5)
    assert np.isfinite(together.quantiles).all()


@pytest.mark.parametrize("scaling", ["none", "last"])
def test_forecasts_do_not_depend_on_the_number_of_threads(scaling: str) -> None:
    encoded = encode(window_scaling=scaling)
    network, index = network_for(encoded), windows_of(encoded)
    predictor = NetworkPredictor(network, preprocessor=Identity(), device="cpu", batch_size=7)
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
    assert OverlappingWindows(network_for(encoded), encoded, windows_of(encoded)).find_runs() == []


def test_a_column_with_the_name_of_the_relative_position_is_an_input_like_others() -> None:
    encoded = encode(relative_position=False)
    inputs = replace(encoded.inputs, known_reals=("relative_position",))
    encoded = replace(encoded, inputs=inputs)
    assert assert_as_one_by_one(network_for(encoded), encoded, windows_of(encoded)) > 0


def test_windows_that_do_not_overlap_share_nothing() -> None:
    encoded = encode()
    assert OverlappingWindows(network_for(encoded), encoded, windows_of(encoded, stride=L + H)).find_runs() == []


class Identity:
    """A preprocessor of data that are scaled already."""

    targets = FittedTargets.without_facts(FeatureConfig(), count=1)

    def invert(self, values: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return values * scale[:, None, None] + center[:, None, None]
