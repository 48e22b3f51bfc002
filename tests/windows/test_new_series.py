"""Windows of series that training never saw: scaled by their own rows, on every path alike; others stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.encoded_panels import assert_same_batch, every_cutoff
from tests.helpers.panels import make_panel

from fusecast.config import FeatureConfig
from fusecast.features.preprocessor import Preprocessor
from fusecast.model.batch import Batch
from fusecast.windows.device_gatherer import DevicePanel
from fusecast.windows.gatherer import make_gatherer
from fusecast.windows.new_series import NewSeriesGatherer
from fusecast.windows.torch_gatherer import PanelTensors, TorchGatherer
from fusecast.windows.window_index import WindowIndex
from fusecast.windows.window_scaling import compute_window_units, rescale_windows

L, H = 6, 3
LENGTHS = (40, 25, 33, 5)
SCALINGS = pytest.mark.parametrize("scaling", ["none", "mean", "last"])
KINDS = pytest.mark.parametrize("kind", ["standard", "robust", "mean_abs"])


def encode(scaling: str, kind: str, missing: float = 0.2):
    """Return a panel of two series of the training and two new ones, encoded; and the panel."""
    panel = make_panel(LENGTHS, missing=missing)
    panel.reals["y"][:65] *= 1e4
    config = FeatureConfig(window_scaling=scaling, target_scaling=kind)  # type: ignore[arg-type]
    return Preprocessor(config).fit(panel, [30, 20, 0, 0]).encode(panel), panel


def expected_values(encoded, panel, series: int, cutoff: int, name: str, column: int) -> tuple[np.ndarray, ...]:
    """Scale the values of one column of one window by hand: L + H numbers, center, scale and window scale."""
    new, begin = encoded.new_series, int(panel.indptr[series])
    values = np.full(L + H, np.nan)
    for step in range(L + H):
        if 0 <= cutoff - L + step < LENGTHS[series]:
            values[step] = panel.reals[name][begin + cutoff - L + step]
    number = np.array([new.position[series]])
    center, scale = (each[0, column] for each in new.compute_scales(number, np.array([cutoff]), L))
    factor = 1.0
    if name == "y" and encoded.window_scaling != "none":
        past = values[:L][~np.isnan(values[:L])]
        usual_center, usual = new.usual[:, 0]
        weight = min(max(len(past) - 1, 0) / 8, 1.0)
        factor = usual
        if len(past):
            factor = max(past.std() / scale, 0.02) ** weight * usual ** (1 - weight)
            middle = past[-1] if encoded.window_scaling == "last" else past.mean()
        else:
            middle = center + usual_center * scale
        center, scale = middle, scale * factor
    return np.nan_to_num((values - center) / scale), center, scale, factor


@SCALINGS
@KINDS
def test_a_window_of_a_new_series_is_scaled_by_its_own_rows(scaling: str, kind: str) -> None:
    encoded, panel = encode(scaling, kind)
    index = every_cutoff(LENGTHS, L, H)
    windows = np.arange(len(index))
    batch = make_gatherer(encoded, index)(windows)
    units = compute_window_units(encoded, L, *index.locate(windows))
    for window, series, cutoff in zip(windows, *index.locate(windows), strict=True):
        if series < 2:
            continue
        scaled, center, scale, factor = expected_values(encoded, panel, series, cutoff, "y", 0)
        np.testing.assert_allclose(batch.past_real[window, :, 0], scaled[:L], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(batch.target[window, :, 0], scaled[L:], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose((units[0][window, 0], units[1][window, 0]), (center, scale), rtol=1e-9)
        np.testing.assert_allclose((batch.center[window, 0], batch.scale[window, 0]), (center, scale), rtol=1e-5)
        if scaling != "none":
            np.testing.assert_allclose(batch.weight[window, 0], factor, rtol=1e-5)
        scaled, *_ = expected_values(encoded, panel, series, cutoff, "price", 2)  # known: past and future
        np.testing.assert_allclose(batch.past_real[window, :, 2], scaled[:L], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(batch.future_real[window, :, 0], scaled[L:], rtol=1e-5, atol=1e-5)


@SCALINGS
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_every_gatherer_returns_the_same_windows_and_leaves_trained_series_as_they_are(
    scaling: str, missing: float
) -> None:
    encoded, _ = encode(scaling, "standard", missing)
    index = every_cutoff(LENGTHS, L, H)
    windows = np.arange(len(index))
    batch = make_gatherer(encoded, index)(windows)
    others = [
        NewSeriesGatherer(TorchGatherer(PanelTensors(encoded), index), encoded, index)(windows),
        make_gatherer(DevicePanel(encoded, torch.device("cpu")), index)(windows),
        Batch(*map(torch.cat, zip(*make_gatherer(encoded, index).batches(windows, 103), strict=True))),
    ]
    near = dict.fromkeys(("past_real", "target", "center", "scale", "weight"), 1e-4)
    for other in others:
        assert_same_batch(other, batch, tolerance=near)
    plain = make_gatherer(replace(encoded, new_series=None), index)(windows)
    trained = index.locate(windows)[0] < 2
    assert_same_batch(
        Batch(*(tensor[trained].contiguous() for tensor in batch)),
        Batch(*(tensor[trained].contiguous() for tensor in plain)),
    )
    assert not torch.equal(batch.past_real[~trained], plain.past_real[~trained])


@SCALINGS
@pytest.mark.parametrize("to", ["none", "mean", "last", "season"])
def test_rescaled_windows_of_new_series_are_those_that_would_have_been_gathered(scaling: str, to: str) -> None:
    encoded, _ = encode(scaling, "mean_abs")
    index = every_cutoff(LENGTHS, L, H)
    other, windows = replace(encoded, window_scaling=to), np.arange(len(index))
    got, *units = rescale_windows(make_gatherer(encoded, index)(windows), encoded, index, to)
    for name, one, two in zip(Batch._fields, got, make_gatherer(other, index)(windows), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3, msg=name)
    for one, two in zip(units, compute_window_units(other, L, *index.locate(windows)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-3)


def test_an_index_without_windows_of_new_series_is_gathered_as_ever() -> None:
    encoded, _ = encode("mean", "standard")
    index = WindowIndex.between(lengths=LENGTHS, begin=0, end=[30, 20, 0, 0], lookback=L, horizon=H)
    assert not isinstance(make_gatherer(encoded, index), NewSeriesGatherer)
