"""Rolling: a trained model forecasts from every origin of a span, beside baselines, and is judged."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.frequency import seasons_for
from fusecast.data.panel import Panel
from fusecast.data.splits import parse_boundary, span_of
from fusecast.errors import ArtifactError, DataError, FusecastError
from fusecast.evaluation.backtest.origins import Origins
from fusecast.evaluation.backtest.part_files import PartFiles
from fusecast.evaluation.backtest.results import Backtest
from fusecast.evaluation.backtest.rolling import Progress, roll, tally
from fusecast.evaluation.baselines.registry import DEFAULT_BASELINES, build_baselines
from fusecast.evaluation.evaluate import untrained_among
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.model_bundle import Bundle
from fusecast.inference.network_predictor import NetworkPredictor
from fusecast.inference.predictor import Predictor
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.calibrate import CALIBRATION, calibrated_by
from fusecast.workflows.prepare import Prepared
from fusecast.workflows.refit import Refits

ENDING = ".parquet"
PIECE_ROWS = 200_000
"""Rows of a predictor in a part file: what is lost at most when a backtest is killed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedPanelPredictor:
    """A network on one panel, which is encoded once and not at every call."""

    predictor: NetworkPredictor
    encoded: EncodedPanel
    name: str = "TFT"

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:  # noqa: ARG002  a Predictor's
        """Forecast every window of the index."""
        return self.predictor.predict(self.encoded, index)


def backtest(
    prepared: Prepared,
    bundle: Bundle,
    *,
    stride: int = 1,
    start: str | None = None,
    end: str | None = None,
    refit_every: int | None = None,
    warm: bool = True,
    baselines: Sequence[str] = DEFAULT_BASELINES,
    calibrated: bool = False,
    out: Path | None = None,
    on_progress: Progress | None = None,
    piece_windows: int | None = None,
) -> Backtest:
    """Forecast from every `stride`-th origin of a span, write the long table, and score it.

    Parameters
    ----------
    start, end
        ISO dates or times (or integer steps): the steps that are forecast lie in [start, end). None is the start of
        the test span, and the end of the data.
    refit_every
        Train the model anew after so many origins, on everything before the next; None never does.
    warm
        Whether such a training starts from the weights of the one before.
    baselines
        Names of rivals, see :func:`fusecast.evaluation.baselines.registry.build_baselines`.
    calibrated
        Whether the bundle's calibration stands in the table too, as a predictor of its own.
    out
        Parquet file of the long table; while it grows, its parts are in ``<out>.parts``, from which a backtest that
        was killed goes on. None keeps the table in memory.

    Raises
    ------
    ConfigError, DataError, ArtifactError
        For impossible options, a span without a window, and parts of another backtest in the way.
    """
    config, panel, parts = prepared.config, prepared.panel, prepared.parts
    index = WindowIndex.between(
        lengths=panel.lengths,
        begin=parts.valid_end if start is None else _first_row(panel, start, "start"),
        end=panel.lengths if end is None else _first_row(panel, end, "end"),
        lookback=config.lookback,
        horizon=config.horizon,
        stride=stride,
    )
    if len(index) == 0:
        raise DataError.no_origin(config.horizon, span_of(panel), start, end)
    if out is not None and out.suffix.lower() != ENDING:
        raise ArtifactError.unknown_ending(out, (ENDING,))
    size = piece_windows or max(1, PIECE_ROWS // config.horizon)
    origins = Origins(index=index, refit_every=refit_every, piece_windows=size)
    levels = bundle.network.config.quantiles
    season = seasons_for(panel.schema.frequency)[0]
    names: list[str] = []

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "parts" if out is None else out.with_name(out.name + ".parts")
        identity = _identity(prepared, bundle, origins) | {
            "baselines": list(baselines),
            "warm": warm,
            "calibrated": calibrated and bundle.extra.get(CALIBRATION),
        }
        files = PartFiles(folder, identity)
        refits = Refits(prepared=prepared, bundle=bundle, origins=origins, folder=folder, warm=warm)

        def predictors_of(block: int) -> Sequence[Predictor]:
            model = bundle if refit_every is None else refits.of(block)
            known = parts.train_end if refit_every is None else refits.known_rows(block)
            network = NetworkPredictor(model.network, model.fitted)
            encoded = prepared.encoded if model.fitted is prepared.fitted else model.fitted.encode(panel)
            rivals = build_baselines(baselines, panel, known, config.horizon, levels)
            placed = EncodedPanelPredictor(predictor=network, encoded=encoded)
            return [placed, *([calibrated_by(bundle, placed, prepared)] if calibrated else []), *rivals]

        try:
            count = roll(panel, origins, predictors_of, files, on_progress)
        except FusecastError:
            files.remove_if_empty()
            raise
        tallies = tally(panel, origins, files, train_end=parts.train_end, season=season)
        names = [name for name in tallies if not name.startswith(EncodedPanelPredictor.name)]
        table = None
        if out is None:
            table = pl.concat(files.read(number) for number in range(count))
        else:
            files.merge(count, out)
            files.remove()
    early = _windows_before(index, parts.valid_end)
    return Backtest(
        targets=panel.schema.targets,
        season=season,
        windows=len(index),
        horizon=config.horizon,
        stride=stride,
        span=_span(panel, index),
        tallies=tallies,
        baselines=tuple(names),
        seen=0 if refit_every is not None else early,
        untrained=0 if refit_every is not None else untrained_among(index, parts.train_end),
        calibration_seen=early if refit_every is not None and calibrated else 0,
        path=out,
        table=table,
    )


def _first_row(panel: Panel, text: str, name: str) -> NDArray[np.int64]:
    """Row of each series at or after a written time, [S]; before its first row 0."""
    return np.maximum(panel.clock.first_step_at(panel.start, parse_boundary(panel, text, name)), 0)


def _span(panel: Panel, index: WindowIndex) -> tuple[Any, Any]:
    """Times of the first and the last step that any window forecasts."""
    busy = np.flatnonzero(index.counts)
    last = index.first_cutoff[busy] + (index.counts[busy] - 1) * index.stride + index.horizon - 1
    return panel.times_of(busy, index.first_cutoff[busy]).min(), panel.times_of(busy, last).max()


def _windows_before(index: WindowIndex, rows: NDArray[np.int64]) -> int:
    """Windows whose first step lies before a row of their series."""
    early = -(-(rows - index.first_cutoff) // index.stride)
    return int(np.clip(early, 0, index.counts).sum())


def _identity(prepared: Prepared, bundle: Bundle, origins: Origins) -> dict[str, Any]:
    """Everything that the parts follow from, as plain values."""
    panel, index = prepared.panel, origins.index
    weights = [(name, tensor.detach().cpu().numpy()) for name, tensor in bundle.network.state_dict().items()]
    columns: dict[str, NDArray[Any]] = {
        **panel.reals,
        **panel.categories,
        **panel.static_reals,
        **panel.static_categories,
    }
    training = asdict(prepared.config.training) if origins.refit_every is not None else {}
    return {
        "format": 1,
        "data": _checksum([*columns.items(), ("indptr", panel.indptr), ("start", panel.start)]),
        "model": _checksum([*weights, ("fitted", np.frombuffer(bundle.fitted.to_json().encode(), dtype=np.uint8))]),
        "origins": _checksum([("first", index.first_cutoff), ("last", index.last_cutoff)]),
        "sizes": [index.lookback, index.horizon, index.stride, origins.piece_windows, origins.refit_every],
        "training": hashlib.sha256(json.dumps(training, sort_keys=True).encode()).hexdigest(),
    }


def _checksum(arrays: Sequence[tuple[str, NDArray[Any]]]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays:
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
