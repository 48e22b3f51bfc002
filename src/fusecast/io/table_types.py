"""Types of the tables that users pass in and get back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame, IntoLazyFrame

TableLike: TypeAlias = "IntoDataFrame | IntoLazyFrame | Mapping[str, Sequence[Any]] | str | Path"
"""A path, a pandas, polars or Arrow frame, or a dict of columns."""
