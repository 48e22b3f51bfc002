"""OverlappingWindows: forecasts of windows that overlap, with the computation that they share done once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fusecast.data.arrays import IntArray
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.inference.shared_selection import SharedSelection
from fusecast.kernels.decoder import GateSums, decode
from fusecast.model.batch import Batch
from fusecast.model.decoder import FusedDecoder
from fusecast.model.masking import future_presence, past_presence
from fusecast.model.tft import StaticContexts, TemporalFusionTransformer
from fusecast.windows.device_gatherer import DevicePanel
from fusecast.windows.gatherer import make_gatherer
from fusecast.windows.torch_gatherer import relative_positions
from fusecast.windows.window_index import WindowIndex

MAX_STEPS_PER_RUN = 2048
"""Steps of a series in one chunk: their selected vectors are kept in memory, and one thread computes them."""

MAX_STEPS_PER_CHUNK = 1024
"""Steps up to which short runs of several series are joined: enough to spread the cost of a call, and over threads."""

MAX_NUMBERS_DECODED = 2**20
"""Numbers in a tensor ``[W, T, d]`` of windows that are decoded at a time: more would leave the caches."""


@dataclass(frozen=True, kw_only=True)
class WindowRun:
    """Consecutive windows of one series, `stride` steps apart, with all of their rows inside the series."""

    series: int
    number: int  # of the first window in the index
    count: int
    cutoff: int  # of the first window
    stride: int

    def slice(self, begin: int, count: int) -> WindowRun:
        """Return some of the windows."""
        return replace(self, number=self.number + begin, count=count, cutoff=self.cutoff + begin * self.stride)

    @property
    def windows(self) -> IntArray:
        """Their numbers in the index."""
        return np.arange(self.number, self.number + self.count)


@dataclass(frozen=True)
class Chunk:
    """Windows that are computed together: runs of different series, in their order, of equally many windows each."""

    runs: tuple[WindowRun, ...]

    @property
    def windows(self) -> IntArray:
        """The numbers of the windows in the index."""
        return np.concatenate([run.windows for run in self.runs])

    def can_append(self, run: WindowRun, steps: int) -> bool:
        """Return whether a run of so many steps may join."""
        last = self.runs[-1]
        fits = (len(self.runs) + 1) * steps <= MAX_STEPS_PER_CHUNK
        return fits and run.count == last.count and run.series > last.series


class OverlappingWindows:
    """Forecasts many windows of the same series, with the same quantiles as the network's forward pass.

    Everything before the LSTM depends on the time step, and at most on its position in the window: see
    :class:`SharedSelection`. This is useful where windows overlap and are not scaled one by one.
    """

    def __init__(
        self, network: TemporalFusionTransformer, source: EncodedPanel | DevicePanel, index: WindowIndex
    ) -> None:
        self.network, self.source, self.index = network, source, index
        self.encoded = encoded = source.encoded if isinstance(source, DevicePanel) else source
        self.device = network.head.projection.weight.device
        self.position: Tensor | None = None
        if encoded.has_position:
            self.position = relative_positions(index.lookback, index.horizon, self.device)

    @cached_property
    def decoder(self) -> FusedDecoder | None:
        """The kernel that decodes in one pass, with the network's weights at first use; None where there is none."""
        return self.network.fused_decoder(self.index.horizon)

    def find_runs(self) -> list[WindowRun]:
        """Return the windows that share most of their steps; the others have padding or little overlap."""
        if self.encoded.window_scaling != "none":
            return []
        index, lengths = self.index, np.diff(self.encoded.indptr)
        L, H, stride = index.lookback, index.horizon, index.stride
        runs = []
        for series in np.flatnonzero(index.counts).tolist():
            cutoffs = index.first_cutoff[series] + stride * np.arange(index.counts[series])
            inside = np.flatnonzero((cutoffs >= L) & (cutoffs + H <= lengths[series]))
            count = len(inside)
            if not count or count * (L + H) < 2 * ((count - 1) * stride + L + H):
                continue
            first = int(inside[0])
            number = int(index.offsets[series]) + first
            runs.append(WindowRun(series=series, number=number, count=count, cutoff=int(cutoffs[first]), stride=stride))
        return runs

    def split_into_chunks(self, runs: list[WindowRun]) -> list[Chunk]:
        """Split long runs, and join short ones of neighbouring series."""
        L, H = self.index.lookback, self.index.horizon
        max_count = max(1, (MAX_STEPS_PER_RUN - L - H) // self.index.stride)
        chunks: list[Chunk] = []
        for run in runs:
            for begin in range(0, run.count, max_count):
                piece = run.slice(begin, min(max_count, run.count - begin))
                if chunks and chunks[-1].can_append(piece, (piece.count - 1) * piece.stride + L + H):
                    chunks[-1] = Chunk((*chunks[-1].runs, piece))
                else:
                    chunks.append(Chunk((piece,)))
        return chunks

    def forecast(self, chunk: Chunk, levels: Sequence[float] | None = None) -> Tensor:
        """Return the scaled quantiles of the windows of a chunk: [W, H, Y, Q]; `levels` as in the network's forward."""
        steps = self.index.lookback + self.index.horizon
        batch_size = max(1, MAX_NUMBERS_DECODED // (steps * self.network.config.hidden_size))
        shared, count = _SharedSteps(self, chunk), chunk.runs[0].count
        return torch.cat(
            [
                shared.quantiles(run, begin, min(batch_size, count - begin), levels)
                for run in range(len(chunk.runs))
                for begin in range(0, count, batch_size)
            ]
        )

    def batch(self, series: list[int], cutoffs: list[int], lookback: int, horizon: int) -> Batch:
        """Gather one long window of each series, which are in order, on the network's device."""
        zeros = np.zeros(len(self.encoded.indptr) - 1, dtype=np.int64)
        first, last = zeros.copy(), zeros - 1
        first[series] = last[series] = cutoffs
        index = WindowIndex(lookback=lookback, horizon=horizon, first_cutoff=first, last_cutoff=last)
        batch = make_gatherer(self.source, index)(np.arange(len(series)))
        return Batch(*(tensor.to(self.device) for tensor in batch))


class _SharedSteps:
    """The static contexts and the selected vectors of all steps of G runs, from which their windows are forecast."""

    def __init__(self, windows: OverlappingWindows, chunk: Chunk) -> None:
        run = chunk.runs[0]
        self.network, self.stride = windows.network, run.stride
        L, H = windows.index.lookback, windows.index.horizon
        reach = (run.count - 1) * run.stride
        series, cutoffs = [run.series for run in chunk.runs], [run.cutoff for run in chunk.runs]
        network, position = self.network, windows.position
        past = windows.batch(series, [cutoff + reach for cutoff in cutoffs], L + reach, H)
        contexts, _ = network.encode_static(past)
        self.contexts: StaticContexts = contexts
        self.units = past.center, past.scale  # [G, Y]
        self.mask = past.past_mask if past.past_mask.shape[-1] else None  # [G, L + reach]
        self.lookback, self.past_steps, self.future_steps = L, L + reach, H + reach
        self.past = SharedSelection(
            network.select_past,
            network.past_embedding,
            past.past_real,
            past.past_cat,
            present=past_presence(past),
            context=contexts.selection,
            position=None if position is None else position[:L],
            length=L,
        )
        self.future: SharedSelection | None = None
        self.no_future = past.past_real.new_zeros(1, H, network.config.hidden_size)
        if network.select_future is not None:
            future = windows.batch(series, cutoffs, 1, H + reach)
            self.future = SharedSelection(
                network.select_future,
                network.future_embedding,
                future.future_real,
                future.future_cat,
                present=future_presence(future),
                context=contexts.selection,
                position=None if position is None else position[L:],
                length=H,
            )

        self.decoder = windows.decoder
        self.enrichment = network.enrichment_bias(contexts).expand(len(series), -1)
        self.sums: GateSums | None = None
        if self.decoder is not None:
            self.past.pad(self.decoder.width)
            self.no_future = self.decoder.pad(self.no_future)
            if self.future is not None:
                self.future.pad(self.decoder.width)
            if self.future is not None and not self.past.by_position:
                self.sums = GateSums(
                    self.decoder.compute_gate_sums(self.past.steps, future=False),
                    self.decoder.compute_gate_sums(self.future.steps, future=True),
                )

    def quantiles(self, run: int, begin: int, count: int, levels: Sequence[float] | None = None) -> Tensor:
        """Return the scaled quantiles of windows [begin, begin + count) of a run: [W, H, Y, Q]."""
        stride, step = self.stride, begin * self.stride
        first, first_future = run * self.past_steps + step, run * self.future_steps + step
        past = self.past.windows(run, first, count, stride)
        future = self.no_future.expand(count, -1, -1)
        if self.future is not None:
            future = self.future.windows(run, first_future, count, stride)
        mask = None
        if self.mask is not None:
            mask = self.mask[run, step:].as_strided((count, self.lookback), (stride, 1))
        contexts = StaticContexts(*(None if c is None else c[run].expand(count, -1) for c in self.contexts))
        center, scale = (unit[run].expand(count, -1) for unit in self.units)
        if self.decoder is None:
            quantiles, *_ = self.network.decode(past, future, contexts, mask, units=(center, scale), levels=levels)
            return quantiles
        sums = None
        if self.sums is not None and self.future is not None:
            past_sums, future_sums = self.sums
            sums = GateSums(
                self.past.view_windows(past_sums, first, count, stride),
                self.future.view_windows(future_sums, first_future, count, stride),
            )
        decoded, _ = decode(
            self.decoder.weights,
            past,
            future,
            hidden=contexts.hidden,
            cell=contexts.cell,
            context=self.enrichment[run].expand(count, -1),
            past_mask=mask,
            sums=sums,
            with_attention=False,
        )
        quantiles, _ = self.network.head.forecast(decoded, center, scale, levels)
        return quantiles
