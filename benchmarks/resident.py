"""A panel on the device, batches gathered there: what stands between the bare step and training on real windows."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch

from fusecast.features.encoded_panel import RELATIVE_POSITION, EncodedPanel, Inputs
from fusecast.model.batch import Batch
from fusecast.model.config import ModelConfig
from fusecast.windows.dataloader import WindowLoader, make_loader
from fusecast.windows.device_gatherer import DevicePanel, bytes_on_device
from fusecast.windows.sampler import SeededSampler
from fusecast.windows.window_index import WindowIndex

SERIES = 370
"""As many as in the electricity data of the paper."""


def draw_panel(config: ModelConfig, rows: int, *, window_scaling: str = "mean", seed: int = 0) -> EncodedPanel:
    """Draw a panel for a network with one static category: standard normal numbers, in series of equal length.

    The last known real is the relative position, which is no column of a panel.
    """
    random = np.random.default_rng(seed)
    (series,), known = config.static_categories, config.known_reals - 1
    names = tuple(f"known_{number}" for number in range(known))
    return EncodedPanel(
        inputs=Inputs(targets=("y",), known_reals=(*names, RELATIVE_POSITION), static_categories={"series": series}),
        indptr=np.linspace(0, rows, series + 1).astype(np.int64),
        reals=random.standard_normal((rows, 1 + known), dtype=np.float32),
        reals_present=np.empty((rows, 0), dtype=np.bool_),
        categories=np.empty((rows, 0), dtype=np.int32),
        static_reals=np.empty((series, 0), dtype=np.float32),
        static_reals_present=np.empty((series, 0), dtype=np.bool_),
        static_categories=np.arange(series, dtype=np.int32)[:, None],
        center=np.zeros((series, 1)),
        scale=np.ones((series, 1)),
        window_scaling=window_scaling,
    )


class PanelOnDevice:
    """The panel, and the loader that training would have; says what its upload took.

    An epoch is a whole number of batches, so that all have one shape.
    """

    def __init__(self, config: ModelConfig, device: torch.device, *, rows: int, batch: int) -> None:
        encoded = draw_panel(config, rows)
        began = time.perf_counter()
        self.panel = DevicePanel(encoded, device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.upload_s = time.perf_counter() - began
        self.megabytes = bytes_on_device(encoded) / 2**20
        self.index = WindowIndex.between(
            lengths=np.diff(encoded.indptr), begin=0, end=rows, lookback=config.lookback, horizon=config.horizon
        )
        self.windows = len(self.index)
        sampler = SeededSampler(self.windows, batch_size=batch, shuffle=True, windows_per_epoch=64 * batch)
        self.loader: WindowLoader = make_loader(self.panel, self.index, sampler)

    def batches(self) -> Iterator[Batch]:
        """Give batches in training's order, without end."""
        while True:
            yield from self.loader
