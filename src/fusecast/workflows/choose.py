"""Choose the options that a user has left open from the table, each with the reason that is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusecast.data.arrays import FloatArray
from fusecast.data.frequency import Frequency, format_duration, format_weekdays, seasons_for
from fusecast.features.scaling import TrainingRows
from fusecast.features.targets import COUNT_HEAD, compute_share_up_to, is_count, measure_spikes
from fusecast.windows.window_index import WindowIndex

if TYPE_CHECKING:
    from fusecast.config import RunConfig, TrainingConfig
    from fusecast.data.inspection import Inspection
    from fusecast.data.panel import Panel
    from fusecast.data.splits import Split

STEPS_WITHOUT_SEASON = 30
"""Least lookback of series whose frequency has no usual season."""
MAX_STEPS = 512
"""Largest lookback that is chosen for a horizon, where the horizon itself is not longer: cost grows with it."""
MAX_SEASON = 7 * 24 * 12
"""Longest season that is chosen as a lookback, a week of five minutes: a day of seconds would take minutes a step."""

BATCH_OF_MANY, RATE_OF_MANY = 32, 2e-3
"""Windows a step and learning rate where there are more windows than :data:`MANY_WINDOWS`: see docs/accuracy.md."""
MANY_WINDOWS = 16_384
SMALL_COUNT, SHARE_OF_SMALL_COUNTS = 10, 0.5
"""Counts of which such a share is at most so large have a distribution of counts as head: see docs/accuracy.md."""
LARGEST_COUNT = 1_000 * SMALL_COUNT
"""Largest training value of counts that have a distribution as head: one of such size among small ones is an error of
the data, or another process, and would rule the likelihood."""
EXTREME_DEVIATION = 50.0
"""Robust standard deviations from the median of a series beyond which its largest value is an extreme spike: the
median over series decides about the transform of the targets. See docs/accuracy.md."""
HORIZONS_TO_CHOOSE_BY = 100
"""Horizons that the validation rows of all series hold at least where they decide about window scaling and blend."""


@dataclass(frozen=True)
class Choice:
    """An option that was chosen from the table."""

    option: str  # its full name
    value: object
    reason: str


def choose_options(config: RunConfig, panel: Panel, splits: Split) -> tuple[RunConfig, tuple[Choice, ...]]:
    """Return a configuration in which nothing is open, and what was chosen; only training rows are looked at."""
    choices = []
    if config.table.frequency is None and (closed := Frequency.parse(panel.schema.frequency).closed_weekdays):
        choices.append(Choice("frequency", panel.schema.frequency, f"no row lies on {format_weekdays(closed)}"))
    if config.lookback is None:
        lengths = splits.train_end[splits.train_end > 0]
        typical = int(np.median(lengths)) if len(lengths) else 1
        choices.append(choose_lookback(panel.schema.frequency, config.horizon, typical))
        config = config.model_copy(update={"lookback": choices[-1].value})
    if config.network.head == "auto":
        head = choose_head(config, panel, splits)
        config = config.model_copy(update={"network": config.network.model_copy(update={"head": head.value})})
        if head.value != "quantile":
            choices.append(head)
    if config.features.target_transform == "auto":
        spikes = find_spikes(panel, splits) if config.network.head == "quantile" else None
        features = config.features.model_copy(update={"target_transform": "asinh" if spikes else "none"})
        config = config.model_copy(update={"features": features})
        if spikes:
            choices.append(Choice("target transform", "asinh", spikes))
    judged = int(((splits.valid_end - splits.train_end)[splits.train_end > 0] // config.horizon).sum())
    if config.blend == "auto":
        mixes = judged >= HORIZONS_TO_CHOOSE_BY and config.network.head == "quantile"
        config = config.model_copy(update={"blend": "validation" if mixes else "none"})
        if mixes:
            reason = f"the validation rows of all series hold {judged:,} horizons to learn weights of baselines from"
            choices.append(Choice("blend", "validation", reason))
    if config.features.window_scaling == "auto":
        choices.append(choose_window_scaling(config.training.members, judged))
        features = config.features.model_copy(update={"window_scaling": choices[-1].value})
        config = config.model_copy(update={"features": features})
    windows = count_training_windows(config, panel, splits)
    chosen = [] if windows <= MANY_WINDOWS else choose_steps(config.training, windows)
    if chosen:
        steps = {each.option.replace(" ", "_"): each.value for each in chosen}
        config = config.model_copy(update={"training": config.training.model_copy(update=steps)})
    return config, (*choices, *chosen)


def choose_head(config: RunConfig, panel: Panel, splits: Split) -> Choice:
    """Choose a distribution of counts where all targets are small whole numbers from 0 on, and quantiles elsewhere."""
    if config.features.transform != "none":
        return Choice("head", "quantile", "the target is transformed")
    training, least = TrainingRows(panel, splits.train_end), 1.0
    for target in panel.schema.targets:
        if not is_count(panel.reals[target]):
            return Choice("head", "quantile", f"{target} is no count")
        values = training.values(panel.reals[target])[0]
        least = min(least, compute_share_up_to(values, SMALL_COUNT))
        if values.max(initial=0.0) > LARGEST_COUNT:
            return Choice("head", "quantile", f"{target} is {values.max():g} in a training row")
    if spikes := find_spikes(panel, splits):
        return Choice("head", "quantile", spikes)
    if least < SHARE_OF_SMALL_COUNTS:
        return Choice("head", "quantile", f"{least:.0%} of the training values are small counts")
    reason = f"all values are whole numbers from 0 on, and {least:.0%} of those to train on at most {SMALL_COUNT}"
    return Choice("head", COUNT_HEAD, reason)


def find_spikes(panel: Panel, splits: Split) -> str | None:
    """Return which target has extreme spikes in the training rows of a typical series, in words; None where none has.

    Mean and deviation of such a series are those of its spikes, beside which all else looks constant.
    """
    for target in panel.schema.targets:
        deviation = measure_spikes(panel, target, splits.train_end)
        if deviation > EXTREME_DEVIATION:
            return f"values of {target} lie up to {deviation:,.0f} robust standard deviations from the median"
    return None


def count_training_windows(config: RunConfig, panel: Panel, splits: Split) -> int:
    """Return the number of windows to train on; the lookback must be chosen."""
    assert config.lookback is not None
    end, lookback, horizon = splits.train_end, config.lookback, config.horizon
    return len(WindowIndex.for_training(lengths=panel.lengths, end=end, lookback=lookback, horizon=horizon))


def choose_steps(training: TrainingConfig, windows: int) -> list[Choice]:
    """Choose the batch and the learning rate, where they are open, for so many windows that training ends by the clock.

    More and smaller steps then reach a lower validation loss in the same time; with few windows they over-fit sooner.
    """
    reason = f"there are {windows:,} windows to train on"
    options = {
        "batch size": (training.batch_size, BATCH_OF_MANY),
        "learning rate": (training.learning_rate, RATE_OF_MANY),
    }
    return [Choice(name, value, reason) for name, (given, value) in options.items() if given is None]


def choose_window_scaling(members: int, horizons: int) -> Choice:
    """Choose the kinds of window scaling where the validation rows of all series hold so many `horizons`.

    Few of them belong to one stretch of time, and what is best there need not be best later: see docs/accuracy.md.
    """
    option = "window scaling"
    if members == 1:
        return Choice(option, "season", "the choice for a single network")
    if horizons < HORIZONS_TO_CHOOSE_BY:
        found = "1 horizon" if horizons == 1 else f"{horizons} horizons"
        reason = f"the validation rows of all series hold {found}, too few to choose by ({HORIZONS_TO_CHOOSE_BY})"
        return Choice(option, "season", reason)
    return Choice(option, ("season", "mean"), "both are trained, and the validation rows decide")


def describe_lower_bounds(targets: Sequence[str], lowest: FloatArray) -> tuple[Choice, ...]:
    """Return what forecasts of each target never lie below, [Y], as it was found in the training rows."""
    choices = []
    for target, bound in zip(targets, lowest.tolist(), strict=True):
        option = "lower bound" if len(targets) == 1 else f"lower bound of {target}"
        some = bound == -np.inf
        reason = f"{'some' if some else 'no'} value of the training rows is negative"
        choices.append(Choice(option, "none" if some else f"{bound:g}", reason))
    return tuple(choices)


def choose_lookback(frequency: str, horizon: int, rows: int) -> Choice:
    """Choose the lookback for series with so many `rows` to train on.

    It is whole seasons, the longest there is (of at most :data:`MAX_SEASON` steps), that hold two horizons; and at most
    half of the rows of a typical series, so that there are windows to train on.
    """
    longest = min(MAX_SEASON, max(2, rows // 2))
    season = next((season for season in reversed(seasons_for(frequency)) if 1 < season <= longest), None)
    wanted = max(season or STEPS_WITHOUT_SEASON, min(2 * horizon, max(MAX_STEPS, horizon)))
    if season is not None:
        wanted = -(-wanted // season) * season
    steps = max(1, min(wanted, rows // 2))
    if steps < wanted:
        reason = f"half of the {rows:,} rows that a typical series has to train on"
    elif season is None:
        reason = f"two horizons, and at least 30 steps where no season of up to {MAX_SEASON:,} steps fits twice"
    else:
        count = steps // season
        seasons = "one season" if count == 1 else f"{count} seasons"
        reason = f"{seasons} of {format_duration(season, frequency)}, for a horizon of {horizon}"
    return Choice("lookback", steps, reason)


def propose_horizon(inspection: Inspection) -> int:
    """Return a first horizon: the future rows in the table, or a season, within an eighth of the shortest series."""
    if inspection.future_steps:
        return inspection.future_steps
    seasons = [season for season in seasons_for(inspection.frequency or "1i") if season > 1] or [30]
    half = max(2, (inspection.lengths[0] if inspection.lengths else 2 * seasons[-1]) // 2)
    return min(seasons[0], max(1, half // 4))
