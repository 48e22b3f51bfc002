"""Encoded panels of random numbers, and the obvious way to gather their windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from fusecast.features.encoded_panel import EncodedPanel, Inputs
from fusecast.features.new_series import NewSeries
from fusecast.model.batch import Batch
from fusecast.windows.dataloader import WindowLoader, make_loader
from fusecast.windows.device_gatherer import DevicePanel
from fusecast.windows.gatherer import make_gatherer
from fusecast.windows.sampler import SeededSampler
from fusecast.windows.window_index import WindowIndex
from fusecast.windows.window_scaling import MIN_WINDOW_SCALE

SEASON = 2
"""Steps of a season of the panels."""


def make_encoded(
    lengths: Sequence[int],
    *,
    targets: int = 1,
    observed: int = 1,
    known: int = 1,
    static: int = 1,
    observed_categories: int = 1,
    known_categories: int = 1,
    static_categories: int = 1,
    position: bool = True,
    missing: float = 0.0,
    empty_rows: float = 0.0,
    window_scaling: str = "none",
    weighted: bool = False,
    seed: int = 0,
) -> EncodedPanel:
    """Return a panel with so many columns of each kind; `empty_rows` is the share of rows without any value."""
    rng = np.random.default_rng(seed)
    N, S = sum(lengths), len(lengths)
    empty = rng.random((N, 1)) < empty_rows

    def reals(rows: int, columns: int, nothing: np.ndarray | bool = False) -> tuple[np.ndarray, np.ndarray]:
        present = (rng.random((rows, columns)) >= missing) & np.logical_not(nothing)
        values = np.where(present, rng.normal(size=(rows, columns)), 0.0).astype(np.float32)
        return values, present if missing or empty_rows else present[:, :0]

    values, present = reals(N, targets + observed + known, empty)
    static_values, static_present = reals(S, static)
    categories = rng.integers(0, 5, (N, observed_categories + known_categories)).astype(np.int32)
    return EncodedPanel(
        inputs=Inputs(
            targets=tuple(f"y{n}" for n in range(targets)),
            observed_reals=tuple(f"o{n}" for n in range(observed)),
            known_reals=(*(f"k{n}" for n in range(known)), *(("relative_position",) if position else ())),
            static_reals=tuple(f"s{n}" for n in range(static)),
            observed_categories={f"oc{n}": 5 for n in range(observed_categories)},
            known_categories={f"kc{n}": 5 for n in range(known_categories)},
            static_categories={f"sc{n}": 5 for n in range(static_categories)},
        ),
        indptr=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        reals=values,
        reals_present=present,
        categories=np.where(empty, 0, categories).astype(np.int32),
        static_reals=static_values,
        static_reals_present=static_present,
        static_categories=rng.integers(0, 5, (S, static_categories)).astype(np.int32),
        center=rng.normal(size=(S, targets)),
        scale=rng.gamma(2.0, size=(S, targets)),
        weights=np.random.default_rng(seed).integers(0, 4, (N, int(weighted))).astype(np.float32),
        window_scaling=window_scaling,
        season=SEASON,
    )


def assert_same_encoding(one: EncodedPanel | NewSeries, other: EncodedPanel | NewSeries) -> None:
    """Assert that two encoded panels are equal, types of arrays included."""
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, NewSeries):
            assert_same_encoding(a, b)
            continue
        if field.name == "panel":  # what was encoded
            continue
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        else:
            assert a == b


def assert_same_batch(batch: Batch, expected: Batch, *, tolerance: Mapping[str, float] = MappingProxyType({})) -> None:
    """Assert that two batches are equal, in shapes and types too; fields with a tolerance only up to it."""
    for name, reference in expected._asdict().items():
        tensor, limit = getattr(batch, name), tolerance.get(name, 0.0)
        assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == (reference.shape, reference.dtype, True), name
        torch.testing.assert_close(
            tensor, reference, rtol=limit, atol=limit, msg=lambda text, name=name: f"{name}: {text}"
        )


def every_cutoff(lengths: Sequence[int], lookback: int, horizon: int, stride: int = 1) -> WindowIndex:
    """Return an index of all cutoffs, with horizons that reach beyond the end of their series."""
    last = np.asarray(lengths)
    return WindowIndex(
        lookback=lookback, horizon=horizon, first_cutoff=np.ones_like(last), last_cutoff=last, stride=stride
    )


def gather(encoded: EncodedPanel, index: WindowIndex, windows: ArrayLike) -> Batch:
    """Gather windows as one batch."""
    return make_gatherer(encoded, index)(windows)


def slow_batch(encoded: EncodedPanel, index: WindowIndex, windows: Sequence[int]) -> dict[str, np.ndarray]:
    """Gather windows row by row; every mask has its full width."""
    inputs, L, H = encoded.inputs, index.lookback, index.horizon
    Y, observed = len(inputs.targets), len(inputs.targets) + len(inputs.observed_reals)
    position = "relative_position" in inputs.known_reals
    full = encoded.reals_present if encoded.reals_present.shape[1] else np.ones(encoded.reals.shape, dtype=bool)
    static = (
        encoded.static_reals_present
        if encoded.static_reals_present.shape[1]
        else np.ones(encoded.static_reals.shape, dtype=bool)
    )
    samples = []
    for window in windows:
        series, cutoff = (int(array[0]) for array in index.locate([window]))
        begin, end = encoded.indptr[series], encoded.indptr[series + 1]
        reals = np.zeros((L + H, encoded.reals.shape[1]))
        present = np.zeros((L + H, encoded.reals.shape[1]), dtype=bool)
        categories = np.zeros((L + H, encoded.categories.shape[1]), dtype=np.int64)
        mask, weights = np.zeros(L + H, dtype=bool), np.zeros((L + H, encoded.weights.shape[1]))
        for step in range(L + H):
            row = begin + cutoff - L + step
            if begin <= row < end:
                reals[step], present[step], categories[step] = encoded.reals[row], full[row], encoded.categories[row]
                weights[step] = encoded.weights[row]
                mask[step] = full[row].any() or (encoded.categories[row] != 0).any()
        center, scale = encoded.center[series].copy(), encoded.scale[series].copy()
        weight = np.ones(Y if encoded.window_scaling != "none" else 0)
        if encoded.window_scaling != "none":
            for target in range(Y):
                seen = reals[:L, target][present[:L, target]]
                if len(seen):
                    latest = {"mean": L, "last": 1, "season": SEASON if 3 * SEASON <= L else 1}[encoded.window_scaling]
                    shift = seen[-latest:].mean()
                    factor = max(seen.std(), MIN_WINDOW_SCALE)
                    column = reals[:, target]
                    reals[:, target] = np.where(present[:, target], (column - shift) / factor, 0.0)
                    center[target] += shift * scale[target]
                    scale[target] *= factor
                    weight[target] = factor
        positions = [np.arange(-L, H)[:, None] / max(L, H)] if position else []
        always = [np.ones((L + H, 1), dtype=bool)] if position else []
        samples.append(
            {
                "static_real": encoded.static_reals[series],
                "static_cat": encoded.static_categories[series],
                "past_real": np.hstack([reals, *positions])[:L],
                "past_cat": categories[:L],
                "future_real": np.hstack([reals[:, observed:], *positions])[L:],
                "future_cat": categories[L:, len(inputs.observed_categories) :],
                "static_real_present": static[series],
                "past_real_present": np.hstack([present, *always])[:L],
                "future_real_present": np.hstack([present[:, observed:], *always])[L:],
                "past_mask": mask[:L],
                "target": reals[L:, :Y],
                "target_mask": present[L:, :Y],
                "center": center,
                "scale": scale,
                "sample_weight": weights[L:].reshape(H if encoded.weights.shape[1] else 0),
                "weight": weight,
                "window": np.int64(window),
            }
        )
    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


def load(source: EncodedPanel | DevicePanel, index: WindowIndex, *, num_workers: int = 0, **order: Any) -> WindowLoader:
    """Return a loader of windows, in the order of a sampler with these options."""
    return make_loader(source, index, SeededSampler(len(index), **order), num_workers=num_workers)
