"""What the columns of a table mean. No table is ever touched here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from fusecast.errors import SchemaError


class Role(StrEnum):
    """When the values of a column are known."""

    TARGET = "target"  # to be forecast; known up to the cutoff
    OBSERVED = "observed"  # known up to the cutoff only
    KNOWN = "known"  # known in the future too: prices, holidays, plans
    STATIC = "static"  # one value a series


class Kind(StrEnum):
    """How the values of a column are read."""

    REAL = "real"
    CATEGORICAL = "categorical"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One input column of a table."""

    name: str
    role: Role
    kind: Kind = Kind.REAL


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The meaning of a table of time series: one row a series and step."""

    columns: tuple[Column, ...]
    frequency: str
    """Length of a step: a count and a unit of s, m, h, d, w, mo, q, y, or i for integer steps ("30m", "1mo", "1i")."""
    id: str | None = "unique_id"
    """Column that names the series; None for a table of one series."""
    time: str = "ds"
    time_zone: str | None = None
    """Zone of the time column; calendar features are read in it. None for naive stamps and integer steps."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        uses: dict[str, list[str]] = {}
        for name, use in (
            (self.time, "time"),
            *(((self.id, "id"),) if self.id is not None else ()),
            *((column.name, str(column.role)) for column in self.columns),
        ):
            uses.setdefault(name, []).append(use)
        for name, roles in uses.items():
            if len(roles) > 1:
                raise SchemaError.column_twice(name, roles)
        if not self.targets:
            raise SchemaError.no_target()

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the columns to forecast."""
        return self.names(Role.TARGET)

    def names(self, role: Role, kind: Kind | None = None) -> tuple[str, ...]:
        """Names of the columns of one role (and kind), in the order declared."""
        return tuple(c.name for c in self.columns if c.role == role and (kind is None or c.kind == kind))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and YAML."""
        return {
            "id": self.id,
            "time": self.time,
            "frequency": self.frequency,
            "time_zone": self.time_zone,
            "columns": [{"name": c.name, "role": str(c.role), "kind": str(c.kind)} for c in self.columns],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_dict`."""
        columns = tuple(
            Column(name=c["name"], role=Role(c["role"]), kind=Kind(c.get("kind", "real"))) for c in values["columns"]
        )
        return cls(**{**values, "columns": columns})
