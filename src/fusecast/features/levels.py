"""Levels of categories: those of a newer table under the names that they have in the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from fusecast.data.arrays import count_codes, map_values
from fusecast.data.issues import Issues, report_unknown_levels
from fusecast.data.parsing import holds_booleans, match_levels, to_boolean

if TYPE_CHECKING:
    from fusecast.data.panel import Panel
    from fusecast.features.preprocessor import FittedPreprocessor


def unify_levels(panel: Panel, vocabularies: Mapping[str, Sequence[str]] | None = None) -> Panel:
    """Return a panel in which other spellings of a level are that level: of those in `vocabularies`, or of its own.

    Its own levels are unified where they are the spellings of one boolean. Levels that do not occur are left out, and
    those of a vocabulary are added.
    """
    levels, values = dict(panel.levels), {**panel.categories, **panel.static_categories}
    for name, own_levels in panel.levels.items():
        occurs = count_codes(values[name], len(own_levels)) > 0
        own = tuple(level for level, is_there in zip(own_levels, occurs, strict=True) if is_there)
        known = vocabularies[name] if vocabularies else find_representatives(own)
        matched = match_levels(own, known)
        names = tuple(dict.fromkeys(matched.values()))
        if names != own_levels:
            position = {level: code for code, level in enumerate(names)}
            lookup = np.array([*(position.get(matched.get(level, ""), -1) for level in own_levels), -1], dtype=np.int32)
            values[name] = map_values(values[name], lookup.__getitem__, np.int32)
        levels[name] = names + tuple(level for level in known if level not in names)
    return replace(
        panel,
        levels=levels,
        categories={name: values[name] for name in panel.categories},
        static_categories={name: values[name] for name in panel.static_categories},
    )


def find_representatives(levels: Sequence[str]) -> Sequence[str]:
    """Return the first spelling of true and of false where all levels are spellings of these; else all levels."""
    if len(levels) < 3 or not all(map(to_boolean, levels)):
        return levels
    return tuple({to_boolean(level): level for level in reversed(levels)}.values())


def check_levels(panel: Panel, fitted: Sequence[FittedPreprocessor]) -> None:
    """Raise a DataError where most values of a category are levels that none of the networks has learned from.

    Statics are those of the series of the training: new series may well have new ones.
    """
    trained = fitted[0].locate_series(panel) >= 0
    for name, levels in panel.levels.items():
        codes = panel.categories[name] if name in panel.categories else panel.static_categories[name][trained]
        counts = count_codes(codes, len(levels))
        known = {level for preprocessor in fitted for level in preprocessor.vocabularies[name]}
        report_unknown_levels(name, counts, levels, known, warns=False)


def check_booleans(frame: pl.DataFrame, fitted: FittedPreprocessor) -> None:
    """Raise a DataError where a column has booleans, and numbers other than 0 and 1 in the training."""
    issues = Issues()
    for name, scales in {**fitted.scales, **fitted.static_scales}.items():
        may_be_flag = scales.shared and (scales.pooled_center, scales.pooled_scale) == (0.0, 1.0)
        is_covariate = name in frame.columns and name not in fitted.schema.targets
        if is_covariate and not may_be_flag and holds_booleans(frame[name]):
            issues.booleans_for_numbers(frame[name])
    issues.raise_if_any()
