"""How things are put on paper: tables, JSON documents, plain talk.

Data goes to standard output, talk to standard error. What comes from photons and
file names is cleaned first: it must not be able to steer a terminal.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

__all__ = [
    "SCHEMA",
    "clean",
    "print_json",
    "print_table",
    "say",
    "short",
    "show_all_frames",
    "shows_all_frames",
    "style_of",
]

SCHEMA = 1
"""Number of the form of all JSON documents; raised when a key changes its meaning."""

_SEVERAL = ("run", "watch")
"""Verbs that print one document a line."""

_STYLES = {
    "ok": "green",
    "running": "green",
    "disabled": "bright_black",
    "skipped": "bright_black",
    "failed": "red",
}


_manner = {"all frames": False}
"""What ``-v`` says; one process has one command line."""


def show_all_frames(wanted: bool) -> None:
    """Show Luminal's own calls in failures from now on, or no longer.

    Args:
        wanted: Whether ``-v`` was typed.
    """
    _manner["all frames"] = wanted


def shows_all_frames() -> bool:
    """Return whether Luminal's own calls are shown."""
    return _manner["all frames"]


def clean(text: str) -> str:
    """Return *text* with everything escaped that is no printable character."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def short(path: str) -> str:
    """Return *path* from here, where it lies below the current directory."""
    try:
        here = os.getcwd()
    except OSError:  # the current directory is gone
        return clean(path)
    below = os.path.join(here, "")
    return clean(path.removeprefix(below))


def say(text: str = "", *, err: bool = True, **style: Any) -> None:
    """Tell *text* to whoever sits there; *style* is that of `click.style`."""
    wants_color = "NO_COLOR" not in os.environ
    click.echo(
        click.style(text, **style), err=err, color=None if wants_color else False
    )


def print_json(
    verb: str,
    code: int,
    *,
    stream: TextIO | None = None,
    **data: Any,
) -> None:
    """Print one document: ``schema``, ``verb``, ``exit``, and *data*.

    Args:
        verb: The verb that answers; the document of one that prints several takes
            one line, also where it is the only one.
        code: Its exit code.
        stream: Where it is printed, by default standard output.
        **data: Values of JSON, and attrs records.
    """
    import json

    document = {"schema": SCHEMA, "verb": verb, "exit": int(code), **_shown(data)}
    indent = None if verb in _SEVERAL else 2
    text = json.dumps(document, indent=indent, default=_plain)
    click.echo(text, file=stream)


def _plain(value: object) -> object:
    import attrs

    if attrs.has(type(value)):
        return _shown(attrs.asdict(value))  # type: ignore[arg-type]
    return list(value)  # type: ignore[call-overload]


def _shown(value: Any) -> Any:
    """Return *value* without Luminal's own calls, where they were not asked for."""
    if shows_all_frames():
        return value
    if isinstance(value, dict):
        return {
            key: [frame for frame in inside if frame["is_own"]]
            if key == "frames"
            else _shown(inside)
            for key, inside in value.items()
        }
    return [*map(_shown, value)] if isinstance(value, list) else value


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; in a terminal with colour, folded to its width.

    Args:
        headings: One word a column.
        rows: As many cells each; an empty one is shown as a dash, so that every
            line has the same number of columns.
    """
    rows = [[clean(cell) or "-" for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(headings, rows)
        return
    lines = [list(headings), *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(headings))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _print_rich(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        # Text, not str: a name with brackets is no markup.
        cells = [Text(cell, style_of(cell)) for cell in row]
        if row and row[-1].startswith("LUM"):
            cells[-1].stylize("red")
        table.add_row(*cells)
    Console(highlight=False).print(table)


def style_of(cell: str) -> str:
    """Return the style that the word *cell* is shown in."""
    return _STYLES.get(cell, "")
