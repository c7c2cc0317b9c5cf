"""What commands print: tables for people, JSON for scripts."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], nothing: str) -> None:
    """A table, or a sentence where there is no row. Nothing from the server is read as markup."""
    listed = [[text(cell) for cell in row] for row in rows]
    if not listed:
        console.print(nothing)
        return
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in listed:
        shown.add_row(*map(escape, row))
    console.print(shown)


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """Names and values below each other."""
    shown = Table(box=None, show_header=False, pad_edge=False)
    for name, value in pairs:
        shown.add_row(f"[bold]{name}[/bold]", escape(text(value)))
    console.print(shown)


def text(value: Any) -> str:
    if value is None:
        return "-"
    if value is True or value is False:
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(text, value)) or "-"
    return str(value)


def left(expires_at: str | None) -> str:
    """How long until then, in words."""
    if expires_at is None:
        return "-"
    seconds = (datetime.fromisoformat(expires_at) - datetime.now(UTC)).total_seconds()
    if seconds <= 0:
        return "expired"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
