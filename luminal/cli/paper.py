"""How things are put on paper: tables, JSON documents, problems.

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

    from luminal.errors import LuminalError
    from luminal.model import Problem

__all__ = [
    "SCHEMA",
    "clean",
    "print_json",
    "print_table",
    "say",
    "short",
    "style_of",
    "tell_error",
    "tell_problem",
]

SCHEMA = 1
"""Number of the form of all JSON documents; raised when a key changes its meaning."""

_AROUND = 1
"""Lines that are shown before and after the one to blame."""

_STYLES = {
    "ok": "green",
    "running": "green",
    "disabled": "bright_black",
    "skipped": "bright_black",
    "failed": "red",
}


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
    indent: int | None = 2,
    stream: TextIO | None = None,
    **data: Any,
) -> None:
    """Print one document: ``schema``, ``verb``, ``exit``, and *data*.

    Args:
        verb: The verb that answers.
        code: Its exit code.
        indent: Columns of indentation; None prints the document on one line.
        stream: Where it is printed, by default standard output.
        **data: Values of JSON, and attrs records.
    """
    import json

    document = {"schema": SCHEMA, "verb": verb, "exit": int(code), **data}
    text = json.dumps(document, indent=indent, default=_plain)
    click.echo(text, file=stream)


def _plain(value: object) -> object:
    import attrs

    if attrs.has(type(value)):
        return attrs.asdict(value)  # type: ignore[arg-type]
    return list(value)  # type: ignore[call-overload]


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


def tell_error(error: LuminalError) -> None:
    """Tell what *error* says."""
    from luminal.model import Problem

    tell_problem(error.photon or "", Problem.of(error, ""))


def tell_problem(
    photon: str, problem: Problem, *, err: bool = True, indent: str = ""
) -> None:
    """Tell which photon, what, where with the line itself, why, and what to do.

    Args:
        photon: Its name; empty where none is concerned.
        problem: What there is to tell.
        err: Whether this is talk; else it is what was asked for.
        indent: Blanks before each line.
    """
    subject = f"photon {clean(photon)!r}: " if photon else ""
    say(f"{indent}{subject}{clean(problem.what)} [{problem.code}]", fg="red", err=err)
    if problem.file:
        line = f":{problem.line}" if problem.line else ""
        say(f"{indent}  at: {short(problem.file)}{line}", err=err)
        for number, text in _lines_at(problem.file, problem.line):
            is_it = number == problem.line
            mark = ">" if is_it else " "
            line = f"{indent}  {mark} {number} | {text}".rstrip()
            say(line, dim=not is_it, err=err)
    for label, value in (("because", problem.why), ("try", problem.hint)):
        if value:
            say(f"{indent}  {label}: {clean(value)}", err=err)


def _lines_at(path: str, number: int) -> list[tuple[int, str]]:
    """Return line *number* and its neighbours, of a regular file of sensible size.

    Read from the disk: what runs, and `linecache` knows, may be another generation.
    """
    try:
        if not number or not os.path.isfile(path) or os.path.getsize(path) > 2**20:
            return []
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().expandtabs().splitlines()
    except OSError:
        return []
    first = max(number - 1 - _AROUND, 0)
    around = [line[:200] for line in lines[first : number + _AROUND]]
    found = [(at, clean(line)) for at, line in enumerate(around, first + 1)]
    return found if first < number <= len(lines) else []
