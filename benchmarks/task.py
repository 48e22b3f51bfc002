"""Task: what every library is asked to learn, as plain files. Knows no library, fusecast included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

TABLE = "table.npz"
"""Plain arrays, which every library can be given without a Parquet reader in its environment. Rows sorted by series and
time: `series` (code of the series, from 0), `names` of the series (text, [S]), `ds` (datetime64), `t` (row number
within the series), `y` and the covariates, reals as float32, categories as codes from 0."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A table beside which everything stands that a library has to be told; all that is said is said in numbers."""

    folder: str
    horizon: int
    lookback: int
    frequency: str  # as pandas spells it
    hidden_size: int
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    num_heads: int = 4
    dropout: float = 0.1
    batch_size: int = 64
    learning_rate: float = 1e-3
    gradient_clip: float = 1.0
    calendar: tuple[str, ...] = ()  # known reals that say nothing but the time: hour, dow, month
    known_reals: tuple[str, ...] = ()  # the calendar's counted in, first
    observed_reals: tuple[str, ...] = ()
    static_reals: tuple[str, ...] = ()
    known_categories: Mapping[str, int] = field(default_factory=dict)  # name -> number of codes
    observed_categories: Mapping[str, int] = field(default_factory=dict)
    static_categories: Mapping[str, int] = field(default_factory=dict)
    relative_position: bool = False  # whether the network gets each step's place in the window, where a library can
    train_end: tuple[int, ...] = ()  # [S] rows to learn from; empty: all
    cutoffs: tuple[tuple[int, ...], ...] = ()  # [S] of numbers of known rows at which to forecast, H apart

    @property
    def table(self) -> Path:
        """Where the rows are."""
        return Path(self.folder) / TABLE

    def columns(self) -> dict[str, Any]:
        """Read the rows: one array a column, `unique_id` among them as text."""
        import numpy as np

        with np.load(self.table) as arrays:
            columns = {name: arrays[name] for name in arrays.files}
        return {"unique_id": columns.pop("names")[columns["series"]], **columns}

    @property
    def temporal(self) -> tuple[str, ...]:
        """Covariates that change over time, in the order of the table's columns."""
        return (*self.known_reals, *self.known_categories, *self.observed_reals, *self.observed_categories)

    @property
    def static(self) -> tuple[str, ...]:
        """Covariates with one value a series."""
        return (*self.static_reals, *self.static_categories)

    def write(self) -> Path:
        """Write ``task.json`` beside the table."""
        path = Path(self.folder) / "task.json"
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Task:
        """Inverse of ``dataclasses.asdict`` after JSON."""
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        plain["cutoffs"] = tuple(tuple(series) for series in values.get("cutoffs", ()))
        return cls(**plain)

    @classmethod
    def read(cls, path: Path) -> Task:
        """Read what :meth:`write` wrote."""
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
