from __future__ import annotations

from tests.helpers.small_table import frame, panel, schema

__all__ = ["frame", "panel", "schema"]
