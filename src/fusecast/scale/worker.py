"""PartitionForecaster: a model that forecasts one partition at a time, in this process or in one of a cluster."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from fusecast.data.ids.columns import id_names
from fusecast.errors import ArtifactError, DataNote, FusecastError, FusecastWarning
from fusecast.forecaster import Forecaster
from fusecast.io.atomic import replace_file

if TYPE_CHECKING:
    from fusecast.scale.partitions import Partition

RECORD = "fusecast"
"""Key among the metadata of a Parquet file of forecasts: what they were made of, in JSON."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A partition to forecast."""

    partition: Partition
    plan: Partition | Path | None
    path: Path  # of the forecasts
    record: Mapping[str, Any]  # of what the forecasts are made of


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a task: forecasts in its file, or an error."""

    number: int  # of the task
    rows: int = 0
    error: str = ""
    fatal: bool = False  # whether the error would be that of every task
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class PartitionForecaster:
    """Forecast partitions with a run, which is loaded when the first is forecast."""

    def __init__(self, run: Path, options: Mapping[str, Any]) -> None:
        self.run, self.options = run, dict(options)

    @cached_property
    def forecaster(self) -> Forecaster:
        """The model."""
        return Forecaster.load(self.run)

    def forecast(self, number: int, task: Task) -> Outcome:
        """Write the forecasts of a partition; an error is returned, not raised."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", FusecastWarning)
            try:
                rows = self._forecast(task)
            except ArtifactError as error:  # of the run, or where results cannot be written
                return Outcome(number=number, error=str(error), fatal=True)
            except FusecastError as error:
                return Outcome(number=number, error=str(error))
            except Exception as error:  # noqa: BLE001  one partition must not keep the others from being forecast
                return Outcome(number=number, error=f"{type(error).__name__}: {error}")
        said = [each.message for each in caught if isinstance(each.message, FusecastWarning)]
        return Outcome(
            number=number,
            rows=rows,
            warnings=tuple(dict.fromkeys(str(text) for text in said if not isinstance(text, DataNote))),
            notes=tuple(dict.fromkeys(str(text) for text in said if isinstance(text, DataNote))),
        )

    def _forecast(self, task: Task) -> int:
        ids, plan = id_names(self.forecaster.config.table.id), task.plan
        future = plan if plan is None or isinstance(plan, Path) else plan.read(ids)
        forecasts = pl.DataFrame(self.forecaster.predict(future, data=task.partition.read(ids), **self.options))
        write_forecasts(forecasts, task.path, task.record)
        return len(forecasts)


def write_forecasts(forecasts: pl.DataFrame, path: Path, record: Mapping[str, Any]) -> None:
    """Write a Parquet file with a record of what it was made of, whole or not at all."""
    import pyarrow.parquet as pq

    table = forecasts.to_arrow(compat_level=pl.CompatLevel.oldest())
    with replace_file(path) as temporary:
        pq.write_table(table.replace_schema_metadata({RECORD: json.dumps(record)}), temporary, compression="zstd")


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the record in a Parquet file; None where it is damaged, or has none."""
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path).metadata or {}
        record = json.loads(metadata[RECORD.encode()])
    except (OSError, ValueError, KeyError):  # the errors of pyarrow are subclasses of these
        return None
    return record if isinstance(record, dict) else None
