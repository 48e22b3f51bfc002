"""EnsemblePredictor: the forecasts of a bundle, the distributions of its members mixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from fusecast.data.arrays import FloatArray, IntArray, is_mapped
from fusecast.data.panel import Panel
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.features.preprocessor import FittedPreprocessor
from fusecast.features.targets import COUNT_HEAD
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.model_bundle import Bundle, Member
from fusecast.inference.network_predictor import NetworkPredictor, evaluation_mode
from fusecast.inference.quantiles import mix_quantiles
from fusecast.model.batch import Batch, Output
from fusecast.model.config import Head, ModelConfig
from fusecast.windows.window_index import WindowIndex
from fusecast.windows.window_scaling import compute_window_units, rescale_windows


class EnsemblePredictor:
    """One network, or several whose forecasts are combined, with their preprocessor.

    The combined forecast is the mixture of the distributions that the members forecast, so that it is the wider the
    less they agree (:func:`~fusecast.inference.quantiles.mix_quantiles`); under a head that is a distribution, it has
    the mean of their quantiles at each level (Vincentization), rounded where they are counts. Both in the units of the
    data. One network alone predicts exactly as by itself.

    Parameters
    ----------
    members, preprocessor
        As in a :class:`~fusecast.inference.model_bundle.Bundle`.
    batch_size, device, panel_on_device
        As of :class:`~fusecast.inference.network_predictor.NetworkPredictor`, with its errors.
    """

    name = NetworkPredictor.name
    """Name in tables."""

    def __init__(
        self,
        members: Sequence[Member],
        preprocessor: FittedPreprocessor,
        *,
        batch_size: int = 256,
        device: str | torch.device | None = None,
        panel_on_device: bool | None = None,
    ) -> None:
        self.members = tuple(members)
        self.preprocessor = preprocessor
        self.batch_size = batch_size
        self._predictors = [
            NetworkPredictor(
                member.network, preprocessor, batch_size=batch_size, device=device, panel_on_device=panel_on_device
            )
            for member in members
        ]
        self.device = self._predictors[0].device

    @classmethod
    def from_bundle(cls, bundle: Bundle, device: str | torch.device | None = None) -> EnsemblePredictor:
        """Return the predictor of a bundle."""
        return cls(bundle.members, bundle.preprocessor, device=device)

    def __repr__(self) -> str:
        return f"EnsemblePredictor({len(self.members)} x {self._predictors[0]!r})"

    @property
    def config(self) -> ModelConfig:
        """Sizes of each network."""
        return self.members[0].network.config

    @property
    def lowest(self) -> FloatArray:
        """What no forecast of a target lies below, [Y], -inf for no bound."""
        return self._predictors[0].lowest

    @property
    def supports_any_level(self) -> bool:
        """Whether the head is a distribution, which has a quantile at any level."""
        return self._predictors[0].supports_any_level

    def predict(
        self, source: Panel | EncodedPanel, index: WindowIndex, levels: Sequence[float] | None = None
    ) -> Forecasts:
        """Forecast every window of an index, in its order; see :meth:`NetworkPredictor.predict`.

        Raise a DataError where forecasts of a panel that is not encoded yet are not finite.
        """
        skipped = self._count_skipped(source, index) if isinstance(source, Panel) else None
        if isinstance(source, Panel):
            encoded = self.preprocessor.encode(source if skipped is None else source.crop(skipped))
        else:
            encoded = source
        if skipped is not None:
            bounds = index.first_cutoff - skipped, index.last_cutoff - skipped
            index = replace(index, first_cutoff=bounds[0], last_cutoff=bounds[1])
        first, *others = (
            predictor.predict(_scaled_by(encoded, member), index, levels)
            for member, predictor in zip(self.members, self._predictors, strict=True)
        )
        if skipped is not None:
            first = replace(first, cutoff=first.cutoff + skipped[first.series])
        if isinstance(source, Panel):
            for forecasts in (first, *others):
                forecasts.require_finite(source.names)
        return replace(
            first,
            quantiles=combine_quantiles(
                [first.quantiles, *(each.quantiles for each in others)], first.levels, self.config.head
            ),
        )

    def _count_skipped(self, panel: Panel, index: WindowIndex) -> IntArray | None:
        """Return how many of the first rows of each series, [S], need not be encoded for windows of a mapped panel.

        None for all others; new series are encoded from their first row on, and so are steps of months, which are
        counted from there.
        """
        if not is_mapped(panel.reals[panel.schema.targets[0]]) or panel.time_grid.step.months:
            return None
        last = np.maximum(panel.lengths - 1, 0)  # without windows one row stays
        skipped = np.where(index.counts > 0, np.clip(index.first_cutoff - index.lookback, 0, last), last)
        return np.where(self.preprocessor.locate_series(panel) < 0, 0, skipped)

    def outputs(self, encoded: EncodedPanel, index: WindowIndex) -> Iterator[tuple[IntArray, Batch, Output]]:
        """Yield, batch by batch, the numbers of the windows [B], their batch as the first network reads it, and the
        scaled output, combined as by :meth:`forward`.
        """
        encoded = _scaled_by(encoded, self.members[0])
        forward = self.forward(encoded, index)
        for windows, batch, output in self._predictors[0].outputs(encoded, index):
            yield windows, batch, output if len(self.members) == 1 else forward(batch, output)

    def forward(self, encoded: EncodedPanel, index: WindowIndex) -> Callable[..., Output]:
        """Return a function from a batch of windows of a panel, on any device, to the combined output of the networks.

        Selection weights and attention are averaged; quantiles are combined in the units of the data, and then scaled
        as the batch is. Of several networks there are no parameters of a distribution. The values of the batch
        may have been changed since it was gathered.
        """
        encoded = _scaled_by(encoded, self.members[0])

        def run(batch: Batch, first: Output | None = None) -> Output:
            """Run the networks; `first` is the output of the first, where it is known."""
            if len(self.members) == 1:
                return self._run(0, batch)
            series, cutoff = index.locate(batch.window.cpu().numpy())
            center, scale = compute_window_units(encoded, index.lookback, series, cutoff)
            outputs, quantiles = [], []
            for number, member in enumerate(self.members):
                rescaled, units = batch, (center, scale)
                if member.window_scaling != encoded.window_scaling:
                    rescaled, *others = rescale_windows(batch, encoded, index, member.window_scaling)
                    units = (others[0], others[1])
                output = self._run(number, rescaled) if first is None or number else first
                outputs.append(output)
                quantiles.append(np.sort(self._predictors[number].to_units(output.quantiles, *units), axis=-1))
            average = Output(*(torch.stack(tensors).mean(dim=0) for tensors in zip(*outputs, strict=True)))
            scaled = self._scale(combine_quantiles(quantiles, self.config.quantiles, self.config.head), center, scale)
            return average._replace(
                quantiles=torch.from_numpy(scaled).to(average.quantiles), parameters=average.parameters[..., :0]
            )

        return run

    def _run(self, number: int, batch: Batch) -> Output:
        network = self._predictors[number].network
        with evaluation_mode(network):
            output: Output = network(Batch(*(tensor.to(self.device) for tensor in batch)))
        return output

    def _scale(self, quantiles: FloatArray, center: FloatArray, scale: FloatArray) -> FloatArray:
        """Scale quantiles [B, H, Y, Q] in the units of the data by center and scale [B, Y]."""
        transformed = self.preprocessor.targets.apply(quantiles)
        return np.asarray((transformed - center[:, None, :, None]) / scale[:, None, :, None])


def combine_quantiles(quantiles: Sequence[FloatArray], levels: Sequence[float], head: Head) -> FloatArray:
    """Return rising quantiles [B, H, Y, Q] of one forecast, made of those of each member."""
    if len(quantiles) == 1:
        return quantiles[0]
    if head == "quantile":
        return mix_quantiles(quantiles, levels)
    average = np.mean(quantiles, axis=0)
    return np.asarray(np.rint(average) if head == COUNT_HEAD else average)


def _scaled_by(encoded: EncodedPanel, member: Member) -> EncodedPanel:
    """Return a panel, the windows of which are scaled as those of a member."""
    if encoded.window_scaling == member.window_scaling:
        return encoded
    return replace(encoded, window_scaling=member.window_scaling)
