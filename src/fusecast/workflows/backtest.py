"""Backtest a trained model: forecast from every origin of a span, beside baselines, and score what was forecast."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from fusecast.calibration.calibrated_predictor import raw_name
from fusecast.data.frequency import seasons_for
from fusecast.data.splits import format_time_range, parse_split_start
from fusecast.errors import ArtifactError, DataError, FusecastError
from fusecast.evaluation.backtest.results import Backtest
from fusecast.evaluation.backtest.rolling import Origins, PartFiles, score_part_files, write_part_files
from fusecast.evaluation.baselines.registry import DEFAULT_BASELINES, build_baselines
from fusecast.evaluation.blend import stored_blend
from fusecast.evaluation.evaluate import ProgressCallback, count_series_without_training_rows
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.io.atomic import compute_checksum, scratch_folder
from fusecast.io.tables import check_apart
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.calibrate import (
    EncodedPanelPredictor,
    mix_in_baselines,
    predictor_ahead,
    predictors_to_score,
    stored_calibration,
)
from fusecast.workflows.evaluate import warn_of_values_below_bound
from fusecast.workflows.refit import Refits

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from fusecast.data.arrays import IntArray
    from fusecast.data.panel import Panel
    from fusecast.inference.forecasts import Predictor
    from fusecast.inference.model_bundle import Bundle
    from fusecast.workflows.prepare import Prepared

ENDING = ".parquet"
PART_FILE_ROWS = 200_000
"""Rows of a predictor in a part file: at most so many are lost when a backtest is killed."""


def backtest(
    prepared: Prepared,
    bundle: Bundle,
    *,
    stride: int = 1,
    start: str | None = None,
    end: str | None = None,
    refit_every: int | None = None,
    warm_start: bool = True,
    baselines: Sequence[str] = DEFAULT_BASELINES,
    raw: bool = False,
    out: str | Path | None = None,
    sources: Sequence[object] = (),
    device: str | torch.device | None = None,
    on_progress: ProgressCallback | None = None,
    chunk_windows: int | None = None,
) -> Backtest:
    """Forecast from every `stride`-th origin of a span, write the long table of forecasts, and score it.

    The arguments are those of :meth:`fusecast.Forecaster.backtest`. While the table grows, its part files are in
    ``<out>.parts``, from which a backtest that was killed continues; `out` must be none of the tables in `sources`.
    """
    config, panel, splits = prepared.config, prepared.panel, prepared.splits
    path = None if out is None else Path(out)
    if path is not None:
        check_apart(path, *sources)
    index = WindowIndex.between(
        lengths=panel.lengths,
        begin=splits.valid_end if start is None else _first_row(panel, start, "start"),
        end=panel.lengths if end is None else _first_row(panel, end, "end"),
        lookback=prepared.lookback,
        horizon=config.horizon,
        stride=stride,
    )
    if len(index) == 0:
        raise DataError.no_origin(config.horizon, format_time_range(panel), start, end)
    if path is not None and path.suffix.lower() != ENDING:
        raise ArtifactError.unknown_ending(path, (ENDING,))
    size = chunk_windows or max(1, PART_FILE_ROWS // config.horizon)
    origins = Origins(index=index, refit_every=refit_every, chunk_windows=size)
    levels = bundle.config.quantiles
    season = seasons_for(panel.schema.frequency)[0]
    names: list[str] = []
    conformal, blend = None if raw else stored_calibration(bundle), stored_blend(bundle)

    with scratch_folder("fusecast-backtest-") as scratch:
        folder = scratch / "parts" if path is None else path.with_name(path.name + ".parts")
        identity = _identity(prepared, bundle, origins) | {
            "baselines": list(baselines),
            "warm": warm_start,
            "calibrated": conformal and conformal.to_dict(),
            **({} if blend is None else {"blend": blend.to_dict()}),
        }
        files = PartFiles(folder, identity)
        refits = Refits(
            prepared=prepared,
            bundle=bundle,
            origins=origins,
            folder=folder,
            warm_start=warm_start,
            calibration="none" if conformal is None else conformal.method,
        )

        def predictors_for(block: int) -> Sequence[Predictor]:
            model = bundle if refit_every is None else refits.model_for_block(block)
            known = splits.train_end if refit_every is None else refits.known_rows(block)
            network = EnsemblePredictor.from_bundle(model, device)
            if block == 0:
                warn_of_values_below_bound(panel, index, network)
            if model is bundle:
                models = predictors_to_score(prepared, bundle, network, raw=raw)
            else:
                own = EncodedPanelPredictor(predictor=network, encoded=model.preprocessor.encode(panel))
                models = [predictor_ahead(prepared, model, own, panel, raw=raw)]
                if conformal is not None:
                    models.append(mix_in_baselines(prepared, model, replace(own, name=raw_name(own.name))))
            return [*models, *build_baselines(baselines, panel, known, config.horizon, levels)]

        try:
            count = write_part_files(panel, origins, predictors_for, files, on_progress)
        except FusecastError:
            files.remove_if_empty()
            raise
        grouped_scores = score_part_files(panel, origins, files, train_end=splits.train_end, season=season)
        names = [name for name in grouped_scores if not name.startswith(EncodedPanelPredictor.name)]
        table = None
        if path is None:
            table = pl.concat(files.read(i) for i in range(count))
        else:
            files.merge(count, path)
            files.remove()
    early = _windows_before(index, splits.valid_end)
    return Backtest(
        targets=panel.schema.targets,
        season=season,
        windows=len(index),
        horizon=config.horizon,
        stride=stride,
        span=_span(panel, index),
        grouped_scores=grouped_scores,
        baselines=tuple(names),
        windows_seen_in_training=0 if refit_every is not None else early,
        series_without_training_rows=0
        if refit_every is not None
        else count_series_without_training_rows(index, splits.train_end),
        path=path,
        table=table,
    )


def _first_row(panel: Panel, text: str, name: str) -> IntArray:
    """Return the row of each series at or after a time given as text, [S]; 0 before its first row."""
    return np.maximum(panel.time_grid.first_step_at(panel.start, parse_split_start(panel, text, name)), 0)


def _span(panel: Panel, index: WindowIndex) -> tuple[Any, Any]:
    """Return the times of the first and the last step that any window forecasts."""
    series = np.flatnonzero(index.counts)
    last = index.first_cutoff[series] + (index.counts[series] - 1) * index.stride + index.horizon - 1
    return panel.times_at(series, index.first_cutoff[series]).min(), panel.times_at(series, last).max()


def _windows_before(index: WindowIndex, rows: IntArray) -> int:
    """Return how many windows begin before a given row of their series, [S]."""
    early = (rows - index.first_cutoff + index.stride - 1) // index.stride  # rounded up
    return int(np.clip(early, 0, index.counts).sum())


def _identity(prepared: Prepared, bundle: Bundle, origins: Origins) -> dict[str, Any]:
    """Return all that determines the part files, as plain values."""
    panel, index = prepared.panel, origins.index
    weights = [
        (name if number == 0 else f"{number}.{name}", tensor.detach().cpu().numpy())
        for number, member in enumerate(bundle.members)
        for name, tensor in member.network.state_dict().items()
    ]
    scalings = [member.window_scaling for member in bundle.members]
    columns: dict[str, NDArray[Any]] = {
        **panel.reals,
        **panel.categories,
        **panel.static_reals,
        **panel.static_categories,
    }
    training = prepared.config.training.to_dict() if origins.refit_every is not None else {}
    training.pop("final", None)  # of no importance here, and unknown to earlier versions
    return {
        "format": 1,
        "data": _checksum([*columns.items(), ("indptr", panel.indptr), ("start", panel.start)]),
        "model": _checksum(
            [*weights, ("fitted", np.frombuffer(bundle.preprocessor.to_json().encode(), dtype=np.uint8))]
        ),
        "origins": _checksum([("first", index.first_cutoff), ("last", index.last_cutoff)]),
        **({} if set(scalings) == {bundle.preprocessor.config.window_scaling} else {"scalings": scalings}),
        "sizes": [index.lookback, index.horizon, index.stride, origins.chunk_windows, origins.refit_every],
        "training": compute_checksum(json.dumps(training, sort_keys=True).encode()),
    }


def _checksum(arrays: Sequence[tuple[str, NDArray[Any]]]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays:
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
