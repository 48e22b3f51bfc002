"""From raw windows to what the network reads, in torch: scaling, transforms, calendar and masks, for tracing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fusecast.export.onnx.inputs import GraphInputs, embeds_series
from fusecast.windows.torch_gatherer import relative_positions

if TYPE_CHECKING:
    from fusecast.features.calendar import CalendarFeature
    from fusecast.features.preprocessor import FittedPreprocessor
    from fusecast.features.public_holidays import HolidayCalendar

DAY = 86_400.0


class EncodedWindows(NamedTuple):
    """Windows that are scaled as their series are, in float64, before their own lookback scales them."""

    past_real: Tensor  # [B, L, V] targets, observed, known; 0 where missing
    past_present: Tensor  # bool [B, L, V]
    past_cat: Tensor  # int64 [B, L, V]
    past_mask: Tensor  # bool [B, L]
    future_real: Tensor  # [B, H, V]
    future_present: Tensor  # bool [B, H, V]
    future_cat: Tensor  # int64 [B, H, V]
    static_real: Tensor  # [B, V]
    static_present: Tensor  # bool [B, V]
    static_cat: Tensor  # int64 [B, V]
    center: Tensor  # [B, Y]
    scale: Tensor  # [B, Y]


class WindowEncoder(nn.Module):
    """Encodes raw windows as a fitted preprocessor encodes a panel. Names of inputs as in :class:`GraphInputs`."""

    tables: Tensor
    statics: Tensor
    position: Tensor
    target_center: Tensor
    target_scale: Tensor

    def __init__(self, fitted: FittedPreprocessor, inputs: GraphInputs, lookback: int, horizon: int) -> None:
        super().__init__()
        self.inputs, self.L, self.H = inputs, lookback, horizon
        self.num_targets = len(fitted.schema.targets)
        self.transform = fitted.targets.transform
        self.calendar, self.holidays = fitted.calendar, fitted.holidays
        self.embeds_series = embeds_series(fitted)
        self.num_series = len(fitted.series)
        missing = np.array([name in fitted.without_values for name in inputs.past_real])
        self.unread = torch.from_numpy(missing) if missing.any() else None
        self.unread_static = torch.tensor(
            [name in fitted.without_values for name in inputs.static_real], dtype=torch.bool
        )
        tables = np.empty((len(fitted.series) + 1, 2, len(inputs.past_real)))  # row 0: a series that is not known
        known = np.arange(len(fitted.series))
        for column, name in enumerate(inputs.past_real):
            scales = fitted.scales[name]
            center, scale = scales.at(known)
            tables[1:, 0, column], tables[1:, 1, column] = center, scale
            unknown = (scales.pooled_center, scales.pooled_scale) if scales.shared else (np.nan, np.nan)
            tables[0, :, column] = unknown
        self.scales_all_series = bool(np.isfinite(tables[0]).all())
        self.register_buffer("tables", torch.from_numpy(tables))
        pairs = [fitted.static_scales[name] for name in inputs.static_real]
        statics = [[each.pooled_center for each in pairs], [each.pooled_scale for each in pairs]]
        self.register_buffer("statics", torch.tensor(statics, dtype=torch.float64).reshape(2, -1))
        self.register_buffer("target_center", torch.from_numpy(fitted.targets.center))
        self.register_buffer("target_scale", torch.from_numpy(fitted.targets.scale))
        position = relative_positions(lookback, horizon, torch.device("cpu")).double()
        self.register_buffer("position", position)
        self.has_position = fitted.config.relative_position

    def find_series(self, windows: Mapping[str, Tensor]) -> Tensor:
        """Return the rows of the series ``[B]`` in the tables: 0 for those that are not known."""
        if self.inputs.has_series:
            series = windows["series"].long()
            return torch.where((series < 0) | (series > self.num_series), 0, series)
        return torch.ones_like(windows["past_real"][:, 0, 0], dtype=torch.int64)

    def forward(self, windows: Mapping[str, Tensor]) -> EncodedWindows:
        """Encode windows."""
        L, Y, past = self.L, self.num_targets, windows["past_real"]
        series = self.find_series(windows)
        pairs = self.tables[series]  # [B, 2, V]
        center, scale = pairs[:, 0], pairs[:, 1]
        past_real, past_present = self._scale(self._transform_targets(past), center, scale, self.unread)
        derived = self._derive(windows)
        past_cat = self._join(windows, "past_category", derived[:, :L])
        first = past.shape[2] - len(self.inputs.future_real)
        future = windows.get("future_real")
        if future is None:
            future = past.new_zeros(past.shape[0], self.H, 0)
        unread = None if self.unread is None else self.unread[first:]
        future_real, future_present = self._scale(future, center[:, first:], scale[:, first:], unread)
        past_mask = past_present.any(dim=2)
        if past_cat.shape[2]:
            past_mask = past_mask | (past_cat != 0).any(dim=2)
        static = windows.get("static_real")
        if static is None:
            static = past.new_zeros(past.shape[0], 0)
        static_present = ~(static.isnan() | self.unread_static)
        static = ((static - self.statics[0]) / self.statics[1]).masked_fill(~static_present, 0.0)
        if self.has_position:
            past_real, past_present = self._append_position(past_real, past_present, self.position[:L])
            future_real, future_present = self._append_position(future_real, future_present, self.position[L:])
        static_cat = windows.get("static_category")
        codes = [] if static_cat is None else [static_cat.long()]
        if self.embeds_series:
            codes.append(series.unsqueeze(1))
        return EncodedWindows(
            past_real=past_real,
            past_present=past_present,
            past_cat=past_cat,
            past_mask=past_mask,
            future_real=future_real,
            future_present=future_present,
            future_cat=self._join(windows, "future_category", derived[:, L:]),
            static_real=static,
            static_present=static_present,
            static_cat=torch.cat(codes, dim=1) if codes else series.new_zeros(series.shape[0], 0),
            center=center[:, :Y],
            scale=scale[:, :Y],
        )

    def _transform_targets(self, past: Tensor) -> Tensor:
        if self.transform == "none":
            return past
        values, rest = past[:, :, : self.num_targets], past[:, :, self.num_targets :]
        if self.transform == "log1p":
            values = torch.log1p(values)
        else:
            scaled = (values - self.target_center) / self.target_scale
            size = scaled.abs()
            values = scaled.sign() * torch.log1p(size + size * size / (1 + (size * size + 1).sqrt()))
        return torch.cat((values, rest), dim=2)

    def _scale(self, values: Tensor, center: Tensor, scale: Tensor, unread: Tensor | None) -> tuple[Tensor, Tensor]:
        missing = values.isnan() if unread is None else values.isnan() | unread
        return ((values - center.unsqueeze(1)) / scale.unsqueeze(1)).masked_fill(missing, 0.0), ~missing

    def _append_position(self, reals: Tensor, present: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        column = position[None, :, None].expand(reals.shape[0], -1, 1)
        return torch.cat((reals, column), dim=2), torch.cat((present, torch.ones_like(column, dtype=torch.bool)), dim=2)

    def _join(self, windows: Mapping[str, Tensor], name: str, derived: Tensor) -> Tensor:
        """Return the codes of the columns of an input, and of what is derived from the time."""
        codes = windows.get(name)
        return derived if codes is None else torch.cat((codes.long(), derived), dim=2)

    def _derive(self, windows: Mapping[str, Tensor]) -> Tensor:
        """Return the codes of calendar and holidays ``[B, T, V]``."""
        if not self.inputs.has_time:
            past = windows["past_real"]
            return torch.zeros(past.shape[0], self.L + self.H, 0, dtype=torch.int64)
        time = windows["time"]
        unknown = time.isnan()
        seconds = time.masked_fill(unknown, 0.0)
        columns = [_calendar_code(feature, seconds) for feature in self.calendar]
        columns += [_holiday_code(holidays, seconds) for holidays in self.holidays]
        return torch.stack([code.masked_fill(unknown, 0.0) for code in columns], dim=2).long()


def _calendar_code(feature: CalendarFeature, seconds: Tensor) -> Tensor:
    """Return the code of a calendar feature at local times, as float64; the days of a date after Howard Hinnant."""
    day = (seconds / DAY).floor()
    rest = seconds - day * DAY
    match feature.name:
        case "minute":
            return ((rest - (rest / 3600).floor() * 3600) / (60 * feature.every)).floor() + 1
        case "hour":
            return (rest / 3600).floor() + 1
        case "day_of_week":  # the first of January 1970 was a Thursday
            return day + 3 - ((day + 3) / 7).floor() * 7 + 1
    shifted = day + 719_468  # since the first of March of the year 0
    era = (shifted / 146_097).floor()
    of_era = shifted - era * 146_097
    leap = (of_era / 1460).floor() - (of_era / 36_524).floor() + (of_era / 146_096).floor()
    year = ((of_era - leap) / 365).floor()
    of_year = of_era - (365 * year + (year / 4).floor() - (year / 100).floor())
    month = ((5 * of_year + 2) / 153).floor()
    if feature.name == "day_of_month":
        return of_year - ((153 * month + 2) / 5).floor() + 1
    return torch.where(month < 10, month + 3, month - 9)


def _holiday_code(holidays: HolidayCalendar, seconds: Tensor) -> Tensor:
    """Return 2 on a holiday, 1 on other days, and 0 outside the years that the model knows."""
    first = date(1970, 1, 1).toordinal()
    dates = [float(date.fromisoformat(text).toordinal() - first) for text in holidays.dates]
    begin = date(holidays.first_year, 1, 1).toordinal() - first
    end = date(holidays.last_year, 12, 31).toordinal() - first
    day = (seconds / DAY).floor()
    is_holiday = (day.unsqueeze(-1) == torch.tensor(dates, dtype=day.dtype)).any(dim=-1)
    return torch.where((day >= begin) & (day <= end), is_holiday.double() + 1, 0.0)
