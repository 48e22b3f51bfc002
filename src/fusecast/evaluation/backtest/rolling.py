"""Rolling forecasts: origins in blocks and chunks, part files that survive a kill, and the scores of these files."""

from __future__ import annotations

import io
import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.errors import ArtifactError, ConfigError, DataError, SchemaError
from fusecast.errors.base import some_of
from fusecast.evaluation.actuals import gather_actuals, seasonal_error, stack_targets
from fusecast.evaluation.backtest.forecast_table import ACTUAL, PREDICTOR, target_prefixes
from fusecast.evaluation.breakdown import GroupedScores, build_groupings
from fusecast.evaluation.evaluate import ProgressCallback, check_unique_names
from fusecast.inference.forecasts import Forecasts, Predictor
from fusecast.io.atomic import compute_checksum, replace_file, write_bytes_atomically
from fusecast.windows.window_index import WindowIndex

MANIFEST = "manifest.json"
MAX_PART_BYTES = 2**32  # of a part file that was not damaged


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """Windows of a backtest that are forecast together, by the model of their block, and stored in one part file."""

    part: int  # number of the part file
    block: int
    index: WindowIndex = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Origins:
    """Rolling origins: every `stride` steps of each series from its first cutoff on.

    The k-th origin of a series is its cutoff ``first_cutoff + k * stride``. Block b holds the origins from
    b * `refit_every` up to the next block's; without `refit_every` there is one block.
    """

    index: WindowIndex = field(repr=False)
    refit_every: int | None = None
    chunk_windows: int = 10_000  # windows of a chunk, about

    def __post_init__(self) -> None:
        if self.refit_every is not None and self.refit_every < 1:
            raise ConfigError.not_positive("refit_every", self.refit_every)

    @property
    def num_blocks(self) -> int:
        """Number of blocks, each with a separate model."""
        return 1 if self.refit_every is None else math.ceil(int(self.index.counts.max(initial=0)) / self.refit_every)

    def known_rows(self, block: int, lengths: IntArray) -> IntArray:
        """Return the rows of each series that are known at the first origin of a block, [S]: its model may use these.

        Where a series has no origin left, all its `lengths` [S] rows may be known; where it never had one, as many as
        its first cutoff, as for the others.
        """
        first = self.index.first_cutoff
        later = first + block * (self.refit_every or 0) * self.index.stride
        return np.clip(np.where(self.index.counts > 0, later, first), 0, lengths)

    def chunks(self) -> Iterator[Chunk]:
        """Yield all windows in order of their origins, in chunks that are the same at every call.

        A chunk holds consecutive origins of all series and one block, as many as make up `chunk_windows`, one at least.
        """
        every = self.refit_every
        size = max(1, self.chunk_windows // max(1, int((self.index.counts > 0).sum())))
        parts = itertools.count()
        for block in range(self.num_blocks):
            index = self.index if every is None else _slice_origins(self.index, block * every, every)
            for start in range(0, int(index.counts.max(initial=0)), size):
                yield Chunk(part=next(parts), block=block, index=_slice_origins(index, start, size))


class PartFiles:
    """Numbered part files in a separate folder, and a manifest that identifies the work they belong to.

    A part file is complete or absent, and its name holds the checksum of its content, so that a damaged one counts as
    absent. Existing parts of the same work are reused; parts of other work are never mixed in, and never deleted. A
    manifest without parts is overwritten.

    The folder is created if it does not exist. `identity` are plain values that determine the parts: same values, same
    parts. Raise an ArtifactError when the folder holds parts of other work.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        manifest = folder / MANIFEST
        content = json.dumps(identity, indent=1, sort_keys=True, allow_nan=False).encode()
        if manifest.is_file() and manifest.stat().st_size == len(content) and manifest.read_bytes() == content:
            return
        if self._has_parts():
            raise ArtifactError.other_backtest(folder)
        write_bytes_atomically(manifest, content)

    def __repr__(self) -> str:
        return f"PartFiles({str(self.folder)!r})"

    def _has_parts(self) -> bool:
        """Return whether there is anything but the manifest, and temporary files of an interrupted write."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.exists() else []
        return any(name != MANIFEST and not name.startswith(".") for name in names)

    def path(self, part: int) -> Path | None:
        """Return the path of an intact part file; None where there is none."""
        for path in self.folder.glob(f"part-{part:06d}-*.parquet"):
            is_sensible = path.is_file() and path.stat().st_size <= MAX_PART_BYTES
            if is_sensible and path.name == _part_name(part, compute_checksum(path)):
                return path
        return None

    def has(self, part: int) -> bool:
        """Return whether a part file exists and is intact."""
        return self.path(part) is not None

    def write(self, part: int, frame: pl.DataFrame) -> None:
        """Write a part file, whole or not at all, in place of damaged ones."""
        content = io.BytesIO()
        frame.write_parquet(content)
        for damaged in self.folder.glob(f"part-{part:06d}-*.parquet"):
            if damaged.is_dir() and not damaged.is_symlink():
                raise ArtifactError.cannot_write(damaged, "is a folder where a file is to be written", "rename it")
            damaged.unlink()
        path = self.folder / _part_name(part, compute_checksum(content.getvalue()))
        write_bytes_atomically(path, content.getvalue())

    def read(self, part: int) -> pl.DataFrame:
        """Read a part file; raise an ArtifactError where it is damaged or missing."""
        path = self._require(part)
        try:
            return pl.read_parquet(path, glob=False)
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            raise ArtifactError.unreadable(path, str(error).splitlines()[0]) from None

    def _require(self, part: int) -> Path:
        path = self.path(part)
        if path is None:
            raise ArtifactError.missing(self.folder / _part_name(part, "*"), "an intact part of the backtest")
        return path

    def merge(self, count: int, path: Path) -> None:
        """Write parts 0 to `count` - 1 to one Parquet file, a row group each; only one is in memory at a time."""
        schema = pq.read_schema(self._require(0))
        with replace_file(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for part in range(count):
                writer.write_table(pq.read_table(self._require(part), partitioning=None).cast(schema))

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)

    def remove_if_empty(self) -> None:
        """Remove the folder where it has no part."""
        if not self._has_parts():
            self.remove()


def write_part_files(
    panel: Panel,
    origins: Origins,
    predictors_for_block: Callable[[int], Sequence[Predictor]],
    files: PartFiles,
    on_progress: ProgressCallback | None = None,
) -> int:
    """Forecast from every origin, write the long table, a part file for each chunk, and return the number of parts.

    Existing parts are kept. `predictors_for_block` is called once a block, in order, and not for blocks whose parts all
    exist. Raise a DataError when there is no window.
    """
    if len(origins.index) == 0:
        raise DataError.nothing_to_evaluate(origins.index.horizon)
    values = stack_targets(panel)
    predictors: Sequence[Predictor] = ()
    block, done, count = -1, 0, 0
    for chunk in origins.chunks():
        if not files.has(chunk.part):
            if chunk.block != block:
                block, predictors = chunk.block, predictors_for_block(chunk.block)
                check_unique_names(predictors)
            files.write(chunk.part, build_part(panel, chunk, predictors, values))
        done, count = done + len(chunk.index), chunk.part + 1
        if on_progress is not None:
            on_progress(done, len(origins.index))
    return count


def build_part(panel: Panel, chunk: Chunk, predictors: Sequence[Predictor], values: FloatArray) -> pl.DataFrame:
    """Return the long table of a chunk: one row a predictor, window and step, with the actual beside the forecast.

    Columns as in :meth:`Forecasts.to_frame`, with ``predictor`` before them and ``actual`` after ``step``
    (``<target>:actual`` where there are several targets). `values` are the panel's targets, [N, Y].
    """
    for name in (*panel.schema.id_names, panel.schema.time):
        if name in (PREDICTOR, ACTUAL):
            raise SchemaError.reserved_name(name, "a column of every backtest")
    frames = []
    for predictor in predictors:
        forecasts = predictor.predict(panel, chunk.index)
        actual = gather_actuals(panel, forecasts.series, forecasts.cutoff, forecasts.horizon, values)
        frame = forecasts.to_frame(panel)
        actual_columns = [
            pl.Series(f"{prefix}{ACTUAL}", actual[..., y].ravel(), nan_to_null=True)
            for y, prefix in enumerate(_target_prefixes(panel))
        ]
        keys = frame.columns[: frame.columns.index("step") + 1]
        frames.append(frame.select(pl.lit(predictor.name).alias(PREDICTOR), *keys, *actual_columns, pl.exclude(keys)))
    return pl.concat(frames)


def score_part_files(
    panel: Panel, origins: Origins, files: PartFiles, *, train_end: IntArray, season: int
) -> dict[str, GroupedScores]:
    """Score the part files, one at a time: predictor -> its scores by series, step, calendar and origin.

    `train_end` [S] and `season` determine the divisors of MASE and RMSSE.
    """
    error_scale = seasonal_error(panel, train_end, season)
    square_scale = seasonal_error(panel, train_end, season, power=2)
    groupings = build_groupings(panel, origins.index)
    scores: dict[str, GroupedScores] = {}
    schema: pl.Schema | None = None
    for chunk in origins.chunks():
        part = files.read(chunk.part)
        if (problem := _find_problem(panel, chunk, part, schema)) is not None:
            raise ArtifactError.unreadable(files.folder / f"part-{chunk.part:06d}-*.parquet", problem)
        schema = part.schema
        for name, forecasts, actual in read_part(panel, chunk, part):
            if name not in scores:
                scores[name] = GroupedScores(panel.schema.targets, forecasts.levels, groupings)
            scores[name].add(forecasts, actual, error_scale, square_scale)
    return scores


def read_part(panel: Panel, chunk: Chunk, frame: pl.DataFrame) -> Iterator[tuple[str, Forecasts, FloatArray]]:
    """Yield each predictor's name, forecasts and the actuals [W, H, Y] from the long table of a chunk."""
    series, cutoff = chunk.index.locate(np.arange(len(chunk.index)))
    horizon, prefixes = chunk.index.horizon, _target_prefixes(panel)
    levels = _levels_of_columns(frame.columns, prefixes[0])
    quantile_columns = [f"{prefix}q{level}" for level in levels for prefix in prefixes]
    actual_columns = [f"{prefix}{ACTUAL}" for prefix in prefixes]
    num_rows = len(series) * horizon
    for i, name in enumerate(frame[PREDICTOR].gather_every(num_rows).to_list()):
        rows = frame.slice(i * num_rows, num_rows)
        values = rows.select(quantile_columns).to_numpy().reshape(len(series), horizon, len(levels), len(prefixes))
        forecasts = Forecasts(
            series=series, cutoff=cutoff, quantiles=np.moveaxis(values, 2, 3), levels=tuple(map(float, levels))
        )
        actual = rows.select(pl.col(actual_columns).fill_null(np.nan)).to_numpy()
        yield name, forecasts, actual.reshape(len(series), horizon, len(prefixes))


def _find_problem(panel: Panel, chunk: Chunk, frame: pl.DataFrame, schema: pl.Schema | None) -> str | None:
    """Return why a table cannot be the part of a chunk, whose columns are those of the other parts; None if it can."""
    num_rows, prefixes = len(chunk.index) * chunk.index.horizon, _target_prefixes(panel)
    levels = _levels_of_columns(frame.columns, prefixes[0])
    numbers = [f"{prefix}{name}" for prefix in prefixes for name in (ACTUAL, *(f"q{level}" for level in levels))]
    if schema is not None and frame.schema != schema:
        return "its columns are not those of the parts before it"
    if frame.schema.get(PREDICTOR) != pl.String or any(frame.schema.get(name) != pl.Float64 for name in numbers):
        return f"it lacks column {PREDICTOR!r} or one of {some_of(numbers)}, or they have other types"
    if not levels or any(low >= high for low, high in itertools.pairwise(map(float, levels))):
        return "its quantiles do not increase"
    if len(frame) == 0 or len(frame) % num_rows:
        return f"it has {len(frame)} rows, which is no multiple of {num_rows}"
    predictors = frame[PREDICTOR].gather_every(num_rows)
    repeated = predictors.to_frame().select(pl.col(PREDICTOR).repeat_by(num_rows).explode()).to_series()
    if predictors.null_count() or predictors.is_duplicated().any() or not frame[PREDICTOR].equals(repeated):
        return "its rows are not those of one predictor after the other"
    return None


def _levels_of_columns(columns: Sequence[str], prefix: str) -> list[str]:
    """Return the quantile levels, as texts, that have a column each."""
    names = [column.removeprefix(f"{prefix}q") for column in columns if column.startswith(f"{prefix}q")]
    return [name for name in names if name.replace(".", "", 1).replace("e-", "", 1).isdecimal()]


def _part_name(part: int, checksum: str) -> str:
    return f"part-{part:06d}-{checksum[:16]}.parquet"


def _target_prefixes(panel: Panel) -> list[str]:
    """Return the prefix of the columns of each target; it is empty where there is one target."""
    return list(target_prefixes(panel.schema.targets).values())


def _slice_origins(index: WindowIndex, start: int, count: int) -> WindowIndex:
    """Return the windows of `count` origins of each series, from origin `start` on."""
    first = index.first_cutoff + start * index.stride
    last = np.minimum(index.last_cutoff, first + (count - 1) * index.stride)
    return replace(index, first_cutoff=first, last_cutoff=np.maximum(last, first - 1))
