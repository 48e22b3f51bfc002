"""OverlappingWindows: forecasts of windows that overlap, with the computation that they share done once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fusecast.data.arrays import IntArray
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.kernels.decoder import GateSums, decode
from fusecast.kernels.library import are_plain
from fusecast.model.batch import Batch, find_present
from fusecast.model.decoder import FusedDecoder
from fusecast.model.embedding import EmbeddingWeights
from fusecast.model.tft import StaticContexts, TemporalFusionTransformer
from fusecast.model.variable_selection import VariableSelection
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

    @property
    def windows(self) -> IntArray:
        """Their numbers in the index."""
        return np.arange(self.number, self.number + self.count)


Chunk = tuple[WindowRun, ...]
"""Windows that are computed together: runs of different series, in their order, of equally many windows each."""


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
        if self.encoded.window_scaling != "none" or not are_plain((self.network,)):
            return []
        index, lengths = self.index, np.diff(self.encoded.indptr)
        L, H, stride = index.lookback, index.horizon, index.stride
        runs = []
        new = self.encoded.new_series  # whose windows are scaled one by one
        for series in np.flatnonzero((index.counts > 0) & (True if new is None else new.position < 0)).tolist():
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
                count, cutoff = min(max_count, run.count - begin), run.cutoff + begin * run.stride
                piece = replace(run, number=run.number + begin, count=count, cutoff=cutoff)
                joined = chunks[-1] if chunks else ()
                fits = (len(joined) + 1) * ((count - 1) * run.stride + L + H) <= MAX_STEPS_PER_CHUNK
                if joined and fits and count == joined[-1].count and run.series > joined[-1].series:
                    chunks[-1] = (*joined, piece)
                else:
                    chunks.append((piece,))
        return chunks

    def forecast(self, chunk: Chunk, levels: Sequence[float] | None = None) -> Tensor:
        """Return the scaled quantiles of the windows of a chunk: [W, H, Y, Q]; `levels` as in the network's forward."""
        steps = self.index.lookback + self.index.horizon
        batch_size = max(1, MAX_NUMBERS_DECODED // (steps * self.network.config.hidden_size))
        shared, count = _SharedSteps(self, chunk), chunk[0].count
        return torch.cat(
            [
                shared.quantiles(run, begin, min(batch_size, count - begin), levels)
                for run in range(len(chunk))
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
        run = chunk[0]
        self.network, self.stride = windows.network, run.stride
        L, H = windows.index.lookback, windows.index.horizon
        reach = (run.count - 1) * run.stride
        series, cutoffs = [run.series for run in chunk], [run.cutoff for run in chunk]
        network, position = self.network, windows.position
        past = windows.batch(series, [cutoff + reach for cutoff in cutoffs], L + reach, H)
        contexts, _ = network.encode_static(past)
        self.contexts = contexts
        self.units = past.center, past.scale  # [G, Y]
        self.mask = past.past_mask if past.past_mask.shape[-1] else None  # [G, L + reach]
        self.lookback, self.past_steps, self.future_steps = L, L + reach, H + reach
        of_past = None if position is None else position[:L]
        self.past = SharedSelection(
            network.select_past, network.past_embedding, past, "past", contexts.selection, position=of_past, length=L
        )
        self.future: SharedSelection | None = None
        self.no_future = past.past_real.new_zeros(1, H, network.config.hidden_size)
        if network.select_future is not None:
            select, embedding = network.select_future, network.future_embedding
            future = windows.batch(series, cutoffs, 1, H + reach)
            of_future = None if position is None else position[L:]
            self.future = SharedSelection(
                select, embedding, future, "future", contexts.selection, position=of_future, length=H
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


class SharedSelection:
    """The vectors that a :class:`VariableSelection` selects at the steps of series of one length, viewed as windows.

    Where inputs depend on the step alone, so do the selected vectors. A relative position depends on the window as
    well; then the transformed embeddings of the other variables are shared, and the first map of the joint network,
    which is a sum over variables, has two terms: one a step, and one a position.

    `batch` has all R steps of G series, as if they were windows; `context` is [G, d]. Steps are then numbered over
    all series, end to end: N = G R. `position` [T] replaces the last real by the relative positions of the T steps
    of a window. The network is in evaluation mode.
    """

    def __init__(
        self,
        selection: VariableSelection,
        embedding: EmbeddingWeights,
        batch: Batch,
        group: Literal["past", "future"],
        context: Tensor | None,
        *,
        position: Tensor | None,
        length: int,
    ) -> None:
        reals, codes = (
            (batch.past_real, batch.past_cat) if group == "past" else (batch.future_real, batch.future_cat)
        )  # [G, R, ...]
        present = find_present(batch, group)
        self.selection, self.length, self.context = selection, length, context
        self.by_position = position is not None
        if position is None:
            selected, _ = selection(embedding, reals, codes, present=present, context=context)
            self.steps = selected.flatten(0, 1)  # [N, d]
            return
        self.position_index = last = selection.num_reals - 1
        self.present = None if present is None else present.flatten(0, 1)  # [N, V]
        others = torch.ones(*reals.shape[:2], reals.shape[2] + codes.shape[2], dtype=torch.bool, device=reals.device)
        others[..., last] = False
        mapped = selection.embed(embedding, reals, codes, others if present is None else present & others)
        self.transformed = selection.variables.finish(mapped.variable_input, mapped.residual)  # [V, N, d]
        self.joint = mapped.joint_input  # [N, d + V]

        positions = reals.new_zeros(1, length, selection.num_reals)
        positions[0, :, last] = position
        only_position = torch.zeros(1, length, others.shape[-1], dtype=torch.bool, device=reals.device)
        only_position[..., last] = True
        no_codes = codes.new_zeros(1, length, codes.shape[2])
        alone = selection.embed(embedding, positions, no_codes, only_position)
        absent = selection.embed(embedding, torch.zeros_like(positions), no_codes, torch.zeros_like(only_position))
        # [T, d + V]: without the term of absent categories
        self.joint_of_position = alone.joint_input - absent.joint_input
        self.of_position = selection.variables.finish(alone.variable_input, alone.residual)[last]  # [T, d]

    def pad(self, width: int) -> None:
        """Pad the selected vectors to a width with zeros, and all tensors that they are computed from."""
        more = (0, width - self.selection.d_model)
        if more[1] and self.by_position:
            self.transformed = functional.pad(self.transformed, more)
            self.of_position = functional.pad(self.of_position, more)
        elif more[1]:
            self.steps = functional.pad(self.steps, more)

    def windows(self, series: int, first: int, count: int, stride: int) -> Tensor:
        """Return the selected vectors [W, T, d] of windows of a series, the first of which begins at step `first`."""
        if not self.by_position:
            return self.view_windows(self.steps, first, count, stride)
        joint = self.view_windows(self.joint, first, count, stride) + self.joint_of_position
        present = None if self.present is None else self.view_windows(self.present, first, count, stride)
        context = None if self.context is None else self.context[series].expand(count, -1)
        weights = self.selection.weigh(joint, present, context)
        selected = weights[..., self.position_index, None] * self.of_position
        for variable, transformed in enumerate(self.transformed):
            if variable != self.position_index:
                vectors = self.view_windows(transformed, first, count, stride)
                selected.addcmul_(weights[..., variable, None], vectors)
        return selected

    def view_windows(self, rows: Tensor, first: int, count: int, stride: int) -> Tensor:
        """View rows ``[N, w]`` as overlapping windows ``[count, T, w]``."""
        width = rows.shape[1]
        return rows[first:].as_strided((count, self.length, width), (stride * rows.stride(0), rows.stride(0), 1))
