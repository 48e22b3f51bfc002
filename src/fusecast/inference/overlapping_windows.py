"""The backtest engine: overlapping windows of a series share what depends on their steps alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusecast.features.encoded_panel import RELATIVE_POSITION, EncodedPanel
from fusecast.inference.shared_selection import SharedSelection
from fusecast.kernels.decoder import Decoder, Sums
from fusecast.model.batch import Batch
from fusecast.model.tft import StaticContexts, TemporalFusionTransformer, future_presence, past_presence
from fusecast.windows.device_gatherer import DevicePanel
from fusecast.windows.gatherer import gatherer_of
from fusecast.windows.window_index import WindowIndex

ROWS_AT_ONCE = 2048
"""Steps of a series whose selections are kept at a time, and worked on by one thread."""

ROWS_TOGETHER = 1024
"""Steps up to which series are worked on together: what is done once a call is then little, and threads have shares."""

NUMBERS_AT_ONCE = 2**20
"""Numbers in a tensor ``[W, T, d]`` of windows that are decoded at a time: more would leave the caches."""


@dataclass(frozen=True, kw_only=True)
class WindowRun:
    """Windows of one series, `apart` steps from one another, all of whose rows are the series' own."""

    series: int
    number: int  # of the first window in the index
    count: int
    cutoff: int  # of the first window
    apart: int

    def part(self, begin: int, count: int) -> WindowRun:
        """Some of the windows."""
        cutoff = self.cutoff + begin * self.apart
        return WindowRun(series=self.series, number=self.number + begin, count=count, cutoff=cutoff, apart=self.apart)

    @property
    def windows(self) -> NDArray[np.int64]:
        """Their numbers in the index."""
        return np.arange(self.number, self.number + self.count)


@dataclass(frozen=True)
class Chunk:
    """What is worked on at a time: runs of different series, in their order, of equally many windows each."""

    runs: tuple[WindowRun, ...]

    @property
    def windows(self) -> NDArray[np.int64]:
        """The numbers of the windows in the index."""
        return np.concatenate([run.windows for run in self.runs])

    def takes(self, run: WindowRun, steps: int) -> bool:
        """Whether a run may join, with which each has so many steps."""
        last = self.runs[-1]
        fits = (len(self.runs) + 1) * steps <= ROWS_TOGETHER
        return fits and run.count == last.count and run.series > last.series


class BacktestEngine:
    """Forecasts many windows of the same series; the same quantiles as the network gives window by window.

    Everything before the LSTM depends on the step, and at most on its place in the window: see
    :class:`SharedSelection`. It is of use where windows overlap and are not scaled one by one.
    """

    def __init__(
        self, network: TemporalFusionTransformer, source: EncodedPanel | DevicePanel, index: WindowIndex
    ) -> None:
        self.network, self.source, self.index = network, source, index
        self.encoded = encoded = source.encoded if isinstance(source, DevicePanel) else source
        self.device = network.head.projection.weight.device
        known = encoded.inputs.known_reals
        L, H = index.lookback, index.horizon
        self.position: Tensor | None = None
        if known and known[-1] == RELATIVE_POSITION:
            self.position = (torch.arange(L + H, dtype=torch.float32, device=self.device) - L) / max(L, H)

    @cached_property
    def decoder(self) -> Decoder | None:
        """What decodes in one pass, from the network's weights as they were at first use."""
        return self.network.decoder(self.index.horizon)

    def runs(self) -> list[WindowRun]:
        """Give the windows worth sharing; the others have padding or little in common."""
        if self.encoded.window_scaling != "none":
            return []
        index, lengths = self.index, np.diff(self.encoded.indptr)
        L, H, apart = index.lookback, index.horizon, index.stride
        runs = []
        for series in np.flatnonzero(index.counts).tolist():
            cutoffs = index.first_cutoff[series] + apart * np.arange(index.counts[series])
            inside = np.flatnonzero((cutoffs >= L) & (cutoffs + H <= lengths[series]))
            count = len(inside)
            if not count or count * (L + H) < 2 * ((count - 1) * apart + L + H):
                continue
            first = int(inside[0])
            number = int(index.offsets[series]) + first
            runs.append(WindowRun(series=series, number=number, count=count, cutoff=int(cutoffs[first]), apart=apart))
        return runs

    def parts(self, runs: list[WindowRun]) -> list[Chunk]:
        """Cut runs, or join those of neighbouring series, into what is worked on at a time."""
        L, H = self.index.lookback, self.index.horizon
        at_once = max(1, (ROWS_AT_ONCE - L - H) // self.index.stride)
        parts: list[Chunk] = []
        for run in runs:
            for begin in range(0, run.count, at_once):
                piece = run.part(begin, min(at_once, run.count - begin))
                if parts and parts[-1].takes(piece, (piece.count - 1) * piece.apart + L + H):
                    parts[-1] = Chunk((*parts[-1].runs, piece))
                else:
                    parts.append(Chunk((piece,)))
        return parts

    def forecast(self, part: Chunk, levels: Sequence[float] | None = None) -> Tensor:
        """Give the scaled quantiles of the windows of a part: [W, H, Y, Q]; `levels` as the network takes them."""
        steps = self.index.lookback + self.index.horizon
        together = max(1, NUMBERS_AT_ONCE // (steps * self.network.config.hidden_size))
        shared, count = _Shared(self, part), part.runs[0].count
        return torch.cat(
            [
                shared.quantiles(number, start, min(together, count - start), levels)
                for number in range(len(part.runs))
                for start in range(0, count, together)
            ]
        )

    def batch(self, series: list[int], cutoffs: list[int], lookback: int, horizon: int) -> Batch:
        """Gather one long window of each series, which are in order, on the network's device."""
        none = np.zeros(len(self.encoded.indptr) - 1, dtype=np.int64)
        first, last = none.copy(), none - 1
        first[series] = last[series] = cutoffs
        index = WindowIndex(lookback=lookback, horizon=horizon, first_cutoff=first, last_cutoff=last)
        batch = gatherer_of(self.source, index)(np.arange(len(series)))
        return Batch(*(tensor.to(self.device) for tensor in batch))


class _Shared:
    """What the windows of each run share; G runs."""

    def __init__(self, engine: BacktestEngine, part: Chunk) -> None:
        run = part.runs[0]
        self.network, self.apart = engine.network, run.apart
        L, H = engine.index.lookback, engine.index.horizon
        reach = (run.count - 1) * run.apart
        series, cutoffs = [run.series for run in part.runs], [run.cutoff for run in part.runs]
        network, position = self.network, engine.position
        past = engine.batch(series, [cutoff + reach for cutoff in cutoffs], L + reach, H)
        contexts, _ = network.encode_static(past)
        self.contexts: StaticContexts = contexts
        self.units = past.center, past.scale  # [G, Y]
        self.mask = past.past_mask if past.past_mask.shape[-1] else None  # [G, L + reach]
        self.lookback, self.past_steps, self.future_steps = L, L + reach, H + reach
        self.past = SharedSelection(
            network.select_past,
            network.past_codebook,
            past.past_real,
            past.past_cat,
            present=past_presence(past),
            context=contexts.selection,
            position=None if position is None else position[:L],
            length=L,
        )
        self.future: SharedSelection | None = None
        self.nothing = past.past_real.new_zeros(1, H, network.config.hidden_size)
        if network.select_future is not None:
            future = engine.batch(series, cutoffs, 1, H + reach)
            self.future = SharedSelection(
                network.select_future,
                network.future_codebook,
                future.future_real,
                future.future_cat,
                present=future_presence(future),
                context=contexts.selection,
                position=None if position is None else position[L:],
                length=H,
            )

        self.decoder = engine.decoder
        self.enrichment = network.enrichment(contexts).expand(len(series), -1)
        self.sums: Sums | None = None
        if self.decoder is not None:
            self.past.pad(self.decoder.width)
            self.nothing = self.decoder.padded(self.nothing)
            if self.future is not None:
                self.future.pad(self.decoder.width)
            if self.future is not None and not self.past.by_position:
                self.sums = Sums(
                    self.decoder.first_sums(self.past.steps, future=False),
                    self.decoder.first_sums(self.future.steps, future=True),
                )

    def quantiles(self, number: int, start: int, count: int, levels: Sequence[float] | None = None) -> Tensor:
        """Give the scaled quantiles of `count` windows of a run, from the start-th on: [W, H, Y, Q]."""
        apart, begin = self.apart, start * self.apart
        first, first_future = number * self.past_steps + begin, number * self.future_steps + begin
        past = self.past.windows(number, first, count, apart)
        future = self.nothing.expand(count, -1, -1)
        if self.future is not None:
            future = self.future.windows(number, first_future, count, apart)
        mask = None
        if self.mask is not None:
            mask = self.mask[number, begin:].as_strided((count, self.lookback), (apart, 1))
        contexts = StaticContexts(*(None if c is None else c[number].expand(count, -1) for c in self.contexts))
        center, scale = (unit[number].expand(count, -1) for unit in self.units)
        if self.decoder is None:
            quantiles, *_ = self.network.decode(past, future, contexts, mask, units=(center, scale), levels=levels)
            return quantiles
        sums = None
        if self.sums is not None and self.future is not None:
            of_past, of_future = self.sums
            sums = Sums(
                self.past.cut(of_past, first, count, apart), self.future.cut(of_future, first_future, count, apart)
            )
        decoded, _ = self.decoder(
            past,
            future,
            hidden=contexts.hidden,
            cell=contexts.cell,
            context=self.enrichment[number].expand(count, -1),
            past_mask=mask,
            sums=sums,
            with_attention=False,
        )
        quantiles, _ = self.network.head.forecast(decoded, center, scale, levels)
        return quantiles
