"""Names of the variables of a pytorch-forecasting network, by group, and what of them cannot be taken over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusecast.errors import ArtifactError

LISTS = (
    "static_categoricals",
    "static_reals",
    "time_varying_categoricals_encoder",
    "time_varying_categoricals_decoder",
    "time_varying_reals_encoder",
    "time_varying_reals_decoder",
)


@dataclass(frozen=True)
class Names:
    """Variables by group, in this network's order."""

    targets: tuple[str, ...]
    observed: tuple[str, ...]  # the targets first
    known: tuple[str, ...]
    observed_categories: tuple[str, ...]
    known_categories: tuple[str, ...]
    static: tuple[str, ...]
    static_categories: tuple[str, ...]

    def group(self, group: str) -> tuple[str, ...]:
        """Give the variables of the static, past or future group."""
        known = (self.known, self.known_categories)
        if group == "static":
            return (*self.static, *self.static_categories)
        if group == "future":
            return (*known[0], *known[1])
        return (*self.observed, *known[0], *self.observed_categories, *known[1])

    @property
    def reals(self) -> tuple[str, ...]:
        """All reals, static ones first."""
        return (*self.static, *self.observed, *self.known)

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories, static ones first."""
        return (*self.static_categories, *self.observed_categories, *self.known_categories)


def names_of(path: Path, theirs: Mapping[str, Any]) -> Names:
    """Sort the variables into groups; refuse what this network cannot be given."""
    refuse = ArtifactError.cannot_reproduce
    encoder, decoder = (
        [(*theirs[f"time_varying_{kind}_{part}"],) for kind in ("reals", "categoricals")]
        for part in ("encoder", "decoder")
    )
    target = theirs["target"]
    targets = (target,) if isinstance(target, str) else tuple(target)
    if theirs.get("categorical_groups"):
        raise refuse(path, "it sums groups of categories into one embedding (categorical_groups)")
    not_observed = [name for name in targets if name not in encoder[0]]
    if not_observed:
        raise refuse(path, f"the target {not_observed[0]!r} is no real input of its encoder")
    only_future = [name for seen, ahead in zip(encoder, decoder, strict=True) for name in ahead if name not in seen]
    if only_future:
        raise refuse(path, f"known variable {only_future[0]!r} is an input of its decoder, not of its encoder")
    observed = tuple(name for name in encoder[0] if name not in decoder[0] and name not in targets)
    return Names(
        targets=targets,
        observed=targets + observed,
        known=decoder[0],
        observed_categories=tuple(name for name in encoder[1] if name not in decoder[1]),
        known_categories=decoder[1],
        static=tuple(theirs["static_reals"]),
        static_categories=tuple(theirs["static_categoricals"]),
    )


def check_widths(path: Path, names: Names, widths: Mapping[str, int], d: int, *, shared: bool) -> bool:
    """Say whether what goes around the reals' networks is resampled and normalised; refuse what has no switch."""
    refuse = ArtifactError.cannot_reproduce
    wide = [name for name, width in widths.items() if width > d]
    if wide:
        raise refuse(path, f"the embedding of {wide[0]!r} is wider than the hidden size {d}")
    resampled = {widths[name] != d for name in names.reals}
    if len(resampled) > 1:
        raise refuse(path, f"hidden_continuous_sizes are the hidden size {d} for some reals, not for all")
    stretched = [name for name in names.categories[len(names.static_categories) :] if shared and widths[name] != d]
    if stretched:
        raise refuse(
            path,
            f"category {stretched[0]!r} has a network of its own around an embedding narrower than the hidden size "
            "(share_single_variable_networks)",
        )
    groups = [names.group(group) for group in ("static", "past", "future")]
    if any(len(group) > 1 and all(widths[name] == 1 for name in group) for group in groups):
        raise refuse(path, "all embeddings of a group have width 1, so that nothing is normalised around them")
    return True in resampled
