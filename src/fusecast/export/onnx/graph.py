"""The whole forecast as one module of torch, to be traced: raw windows in, quantiles in the units of the data out."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fusecast.calibration.conformal import MIN_WIDTH
from fusecast.data.frequency import seasons_for
from fusecast.export.onnx.baselines import BlendedBaseline
from fusecast.export.onnx.encoding import EncodedWindows, WindowEncoder
from fusecast.export.onnx.inputs import GraphInputs
from fusecast.export.onnx.quantiles import compute_median, count_quantiles, mix_quantiles, sort_last
from fusecast.export.onnx.recurrence import OnnxRecurrence
from fusecast.features.targets import AMOUNT_HEAD, COUNT_HEAD
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.inference.network_predictor import ZERO_TOLERANCE
from fusecast.model.batch import Batch
from fusecast.windows.window_scaling import compute_window_scales, count_values_of_center

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusecast.calibration.conformal import Conformal
    from fusecast.evaluation.blend import BlendPart
    from fusecast.inference.model_bundle import Bundle

EXPLANATIONS = ("static_weights", "past_weights", "future_weights", "attention")


class OnnxForecast(nn.Module):
    """The networks of a bundle with all that stands around them: scaling, members, calibration, bounds, order."""

    bound: Tensor
    lowest: Tensor
    shifts: Tensor
    usual: Tensor
    encoder: WindowEncoder

    def __init__(
        self, bundle: Bundle, conformal: Conformal | None, parts: Sequence[BlendPart] = (), *, explain: bool
    ) -> None:
        super().__init__()
        fitted, self.config = bundle.preprocessor, bundle.config
        self.inputs, self.explain = GraphInputs.of(fitted, has_history=bool(parts)), explain
        self.encoder = WindowEncoder(fitted, self.inputs, self.config.lookback, self.config.horizon)
        self.networks = nn.ModuleList(copy.deepcopy(member.network).eval() for member in bundle.members)
        for network in self.networks:
            network.recurrence = OnnxRecurrence(network.recurrence)  # type: ignore[arg-type]
        self.scalings = [member.window_scaling for member in bundle.members]
        self.season = seasons_for(fitted.schema.frequency)[0]
        self.transform, self.targets = fitted.targets.transform, fitted.targets
        self.register_buffer("bound", torch.from_numpy(fitted.targets.lowest))
        self.register_buffer("lowest", torch.from_numpy(EnsemblePredictor.from_bundle(bundle, "cpu").lowest))
        baselines = [BlendedBaseline(part, fitted.series, self.config.horizon) for part in parts]
        self.baselines = nn.ModuleList(baselines)
        self.method = None if conformal is None else conformal.method
        if conformal is not None:
            by_series = [conformal.scales.get(name, conformal.usual) for name in fitted.series]
            self.register_buffer("shifts", torch.from_numpy(conformal.shifts))
            self.register_buffer("usual", torch.tensor([conformal.usual, *by_series], dtype=torch.float64))

    @property
    def output_names(self) -> list[str]:
        """Names of what :meth:`forward` returns."""
        sizes = {"static_weights": self.config.num_static, "future_weights": self.config.num_future}
        return ["forecast", *(name for name in EXPLANATIONS if self.explain and sizes.get(name, 1))]

    def forward(self, windows: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Return quantiles ``[B, H, Y, Q]``, and with `explain` the weights and the attention."""
        encoded = self.encoder(windows)
        series = self.encoder.find_series(windows)
        outputs, quantiles = [], []
        for network, scaling in zip(self.networks, self.scalings, strict=True):
            batch, center, scale = self._scale_windows(encoded, scaling)
            counts = self.config.head == COUNT_HEAD
            output = network(batch, () if counts else None)
            outputs.append(output)
            if counts:
                mean, dispersion = output.parameters.double().unbind(-1)
                values = torch.maximum(count_quantiles(mean, dispersion, self.config.quantiles), self.bound[:, None])
            else:
                values = sort_last(self._to_units(output.quantiles, batch, center, scale))
            quantiles.append(values)
        forecast = self._combine(quantiles)
        for baseline in self.baselines:
            forecast = baseline(forecast, windows["history"], series)
        if len(self.baselines):
            forecast = torch.maximum(forecast, self.lowest[:, None])
        forecast = self._calibrate(forecast, series)
        if not self.encoder.scales_all_series:
            forecast = torch.where((series > 0)[:, None, None, None], forecast, torch.nan)
        names = self.output_names[1:]
        means = [torch.stack([getattr(output, name) for output in outputs]).mean(dim=0) for name in names]
        return forecast, *means

    def _scale_windows(self, encoded: EncodedWindows, scaling: str) -> tuple[Batch, Tensor, Tensor]:
        """Return windows as a member reads them, and the center and scale ``[B, Y]`` of its forecasts."""
        Y, H = encoded.center.shape[1], self.config.horizon
        past, center, scale = encoded.past_real, encoded.center, encoded.scale
        if scaling != "none":
            present = encoded.past_present[:, :, :Y]
            count = count_values_of_center(scaling, self.season, self.config.lookback)
            shift, factor = compute_window_scales(past[:, :, :Y], present, count)
            targets = ((past[:, :, :Y] - shift[:, None]) / factor[:, None]).masked_fill(~present, 0.0)
            past = torch.cat((targets, past[:, :, Y:]), dim=2)
            center, scale = center + shift * scale, scale * factor
        nothing = past.new_zeros(past.shape[0], 0)
        batch = Batch(
            static_real=encoded.static_real.float(),
            static_cat=encoded.static_cat,
            past_real=past.float(),
            past_cat=encoded.past_cat,
            future_real=encoded.future_real.float(),
            future_cat=encoded.future_cat,
            static_real_present=encoded.static_present,
            past_real_present=encoded.past_present,
            future_real_present=encoded.future_present,
            past_mask=encoded.past_mask,
            target=past.new_zeros(past.shape[0], H, Y).float(),
            target_mask=nothing.bool(),
            center=center.float(),
            scale=scale.float(),
            weight=nothing.float(),
            sample_weight=nothing.float(),
            window=encoded.past_mask.sum(dim=1),
        )
        return batch, center, scale

    def _to_units(self, scaled: Tensor, batch: Batch, center: Tensor, scale: Tensor) -> Tensor:
        """As :meth:`fusecast.inference.network_predictor.NetworkPredictor.to_units`."""
        amounts = self.config.head == AMOUNT_HEAD
        if amounts:
            center, scale = batch.center.double(), batch.scale.double()
        values = scaled.double() * scale[:, None, :, None] + center[:, None, :, None]
        match self.transform:
            case "log1p":
                values = torch.exp(values) - 1  # expm1 is no operator of ONNX
            case "asinh":
                sinh = (torch.exp(values) - torch.exp(-values)) / 2
                values = sinh * self.encoder.target_scale[:, None] + self.encoder.target_center[:, None]
        if not np.isneginf(self.targets.lowest).all():
            values = torch.maximum(values, self.bound[:, None])
        if amounts:
            smallest = ZERO_TOLERANCE * (scale + center.abs())[:, None, :, None]
            values = torch.where(values < smallest, 0.0, values)
        return values

    def _combine(self, quantiles: list[Tensor]) -> Tensor:
        if len(quantiles) == 1:
            return quantiles[0]
        if self.config.head == "quantile":
            return mix_quantiles(torch.stack(quantiles, dim=-2), self.config.quantiles)
        average = torch.stack(quantiles).mean(dim=0)
        return torch.round(average) if self.config.head == COUNT_HEAD else average

    def _calibrate(self, quantiles: Tensor, series: Tensor) -> Tensor:
        """As :meth:`fusecast.calibration.conformal.Conformal.apply`."""
        if self.method is None:
            return quantiles
        scale = self.usual[series][:, None]  # [B, 1, Y]
        if self.method == "split" or len(self.config.quantiles) == 1:
            unit = scale
        else:
            unit = quantiles[..., -1] - quantiles[..., 0] + MIN_WIDTH * scale
        base = quantiles
        if self.method == "split":
            base = compute_median(quantiles, self.config.quantiles).unsqueeze(-1)
        shifted = sort_last(base + self.shifts * unit.unsqueeze(-1))
        return torch.maximum(shifted, self.lowest[:, None])
