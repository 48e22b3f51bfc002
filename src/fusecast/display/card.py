"""A card: the HTML with which a notebook shows a result. It has no colours of its own, so that it suits every theme."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence

MAX_ROWS = 8
MAX_TEXT, MAX_NOTE = 120, 600
_BOX = (
    "display:inline-block;max-width:60em;overflow-x:auto;border:1px solid rgba(128,128,128,.45);border-radius:6px;"
    "padding:8px 12px;color:inherit;background:transparent;font-size:13px;line-height:1.4"
)
_CELL = "padding:1px 14px 1px 0;border:0;background:transparent;color:inherit;font-weight:{weight};text-align:{align}"


def build_card(
    title: str,
    facts: Mapping[str, object],
    *,
    columns: Sequence[str] = (),
    rows: Iterable[Sequence[object]] = (),
    note: str = "",
) -> str:
    """Return HTML with facts by name, and a table of at most eight rows; every text is escaped, and cut if long."""
    body = f"<b>{_escape(title)}</b>"
    if shown := [(name, value) for name, value in facts.items() if value not in (None, "")]:
        body += _table("".join(f"<tr>{_cell(f'{name}:')}{_cell(value)}</tr>" for name, value in shown))
    every = list(rows)
    if every:
        head = "".join(_cell(name, right=i > 0, bold=True) for i, name in enumerate(columns))
        lines = ["".join(_cell(value, right=i > 0) for i, value in enumerate(row)) for row in every[:MAX_ROWS]]
        body += _table("".join(f"<tr>{line}</tr>" for line in (head, *lines)))
    if len(every) > MAX_ROWS:
        body += f"<div>and {len(every) - MAX_ROWS:,} more</div>"
    if note:
        body += f'<div style="opacity:.75">{_escape(note, MAX_NOTE)}</div>'
    return f'<div style="{_BOX}">{body}</div>'


def list_names(names: Sequence[str], limit: int = 5) -> str:
    """Return names joined by commas, a few of them where there are many."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _table(rows: str) -> str:
    return (
        f'<table style="margin:4px 0;border-collapse:collapse;border:0;color:inherit;font-size:inherit">{rows}</table>'
    )


def _cell(value: object, *, right: bool = False, bold: bool = False) -> str:
    text = _format_number(value) if isinstance(value, float) else str(value)
    style = _CELL.format(weight=600 if bold else 400, align="right" if right else "left")
    return f'<td style="{style}">{_escape(text)}</td>'


def _format_number(value: float) -> str:
    return f"{value:,.4g}" if math.isfinite(value) else "none"


def _escape(text: str, limit: int = MAX_TEXT) -> str:
    return html.escape(text if len(text) <= limit else f"{text[: limit - 1]}…")
