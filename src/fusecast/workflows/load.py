"""Read a saved run: its bundle, and the configuration, split and calibration in it, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from fusecast.config import EARLIER_DEFAULTS, FinalTraining, RunConfig
from fusecast.errors import ArtifactError, ConfigError
from fusecast.evaluation.blend import stored_parts
from fusecast.inference.manifest import EXPORTED, MANIFEST, check_manifest, is_exported
from fusecast.inference.model_bundle import CONFIG, FINAL, load_bundle
from fusecast.io.documents import take
from fusecast.workflows.calibrate import CALIBRATION_AHEAD, stored_calibration, stored_calibration_ahead
from fusecast.workflows.predict import LEARNED

if TYPE_CHECKING:
    from fusecast.inference.model_bundle import Bundle


def load_run(folder: Path) -> tuple[Bundle, RunConfig]:
    """Return the bundle in a folder, and the configuration of its run.

    Raise an ArtifactError as :func:`~fusecast.inference.model_bundle.load_bundle`, and where the bundle holds no run,
    or one that does not belong to its network; and, of an exported bundle, where any of its files is not as exported.
    """
    exported = is_exported(folder)
    if exported:
        check_manifest(folder)
    bundle = load_bundle(folder)
    if EXPORTED in bundle.extra and not exported:
        raise ArtifactError.missing(folder / MANIFEST, "the list of the files of the bundle; copy all of it again")
    if not {"run", "split"} <= bundle.extra.keys():
        raise ArtifactError.no_run(folder)
    try:
        config = RunConfig.parse(EARLIER_DEFAULTS, take(bundle.extra, "run", dict))
        _require_same_sizes(config, bundle)
        split = take(bundle.extra, "split", dict)
        _check_ticks(split, "validation", "test", *(["begin"] if "begin" in split else []))
        if CALIBRATION_AHEAD in bundle.extra:
            _check_ticks(take(bundle.extra, CALIBRATION_AHEAD, dict), "end")
    except (ConfigError, ValueError) as error:
        raise ArtifactError.unreadable(folder / CONFIG, str(error)) from None
    try:
        stored_parts(bundle)
    except ValueError as error:
        raise ArtifactError.unreadable(folder / CONFIG, f"its blend is damaged ({error})") from None
    _check_calibrations(bundle, folder)
    if bundle.final is not None:
        try:
            _require_same_sizes(config, bundle.final)
            _check_final(bundle.final.extra)
        except ValueError as error:
            raise ArtifactError.unreadable(folder / FINAL / CONFIG, str(error)) from None
    return bundle, config


def _check_calibrations(bundle: Bundle, folder: Path) -> None:
    """Raise an ArtifactError where a bundle has calibrations of other networks."""
    network = bundle.config
    shape = (network.horizon, network.num_targets, len(network.quantiles))
    for conformal in (stored_calibration(bundle), stored_calibration_ahead(bundle)):
        if conformal is not None and (conformal.shifts.shape != shape or conformal.levels != network.quantiles):
            raise ArtifactError.unreadable(folder / CONFIG, "its calibration belongs to another network")


def _require_same_sizes(config: RunConfig, bundle: Bundle) -> None:
    """Raise a ValueError where the run has other sizes, columns or features than the network and its preprocessor."""
    network, fitted = bundle.config, bundle.preprocessor
    sizes = {"horizon": config.horizon, "lookback": config.lookback, **dict(config.network)}
    for name, size in sizes.items():
        if getattr(network, name) != size:
            raise ValueError(f"{name} of the run is {size}, and that of the network {getattr(network, name)}")
    if config.features != fitted.config:
        raise ValueError("the features of the run are not those of the preprocessor")
    table, schema = config.table, fitted.schema
    run = (table.id, table.time, table.target, table.frequency)
    if run != (schema.id, schema.time, schema.targets, schema.frequency):
        raise ValueError("the columns of the run are not those of the preprocessor")


def _check_ticks(record: Mapping[str, Any], *names: str) -> None:
    """Raise a ValueError where recorded times have other types, or are not as many as series."""
    series = take(record, "series", list, items=str)
    for name in names:
        if len(take(record, name, list, items=int)) != len(series):
            raise ValueError(f"the split has not as many times of {name} as series")
    if record.get("closest") is not None:
        take(record, "closest", int)


def _check_final(extra: Mapping[str, Any]) -> None:
    """Raise a ValueError where what is recorded of a final training has other types than those written."""
    if take(extra, "kind", str) not in set(get_args(FinalTraining)) - {"none"}:
        raise ValueError("the kind of the final training is unknown")
    for name in ("judged_until", "until"):
        take(extra, name, str)
    for pair in take(extra, "steps", list, items=list):
        if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) for n in pair):
            raise ValueError("the steps of the final training are no pairs of numbers")
    learned = take(extra, LEARNED, dict)
    if len(take(learned, "series", list, items=str)) != len(take(learned, "end", list, items=int)):
        raise ValueError("the final training has not as many ends as series")
