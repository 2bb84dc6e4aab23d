"""How Handlers, reports and candidates look in a notebook and in a terminal.

In come values, out come tables as HTML and as text. The classes themselves know
nothing of this: the shell is told how to show them.
"""

from __future__ import annotations

import datetime as dt
import html
import os
from typing import TYPE_CHECKING, Any

import attrs

from luminal.discovery import Discovered
from luminal.lifecycle import Handler
from luminal.managers.loader import Handlers
from luminal.model import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from IPython.core.interactiveshell import InteractiveShell

    from luminal.model import Candidate, Problem

__all__ = [
    "Table",
    "hang_up",
    "of_candidates",
    "of_handlers",
    "of_report",
    "take_down",
]


@attrs.frozen(repr=False)
class Table:
    """Rows below headings, for people.

    Attributes:
        headings: One a column.
        rows: As many cells each.
        empty: What to say where there are no rows.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str = "no photons"

    def __repr__(self) -> str:
        if not self.rows:
            return self.empty
        lines = [self.headings, *self.rows]
        # A cell of several lines, an error say, comes last and is indented as a whole.
        widths = [
            max(len(line[n].split("\n")[0]) for line in lines)
            for n in range(len(self.headings))
        ]
        return "\n".join(
            "  ".join(
                cell.replace("\n", "\n    ").ljust(width)
                for cell, width in zip(line, widths, strict=True)
            ).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<p>{html.escape(self.empty)}</p>"
        head = "".join(f"<th scope='col'>{html.escape(h)}</th>" for h in self.headings)
        body = "".join(
            "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    safe = html.escape(text)
    return f"<pre>{safe}</pre>" if "\n" in text else safe


def of_handlers(handlers: Iterable[Handler]) -> Table:
    """Return the table of loaded photons."""
    rows = []
    for handler in handlers:
        since = dt.datetime.fromtimestamp(handler.since).strftime("%H:%M:%S")
        cells = (
            handler.name,
            str(handler.state),
            str(handler.number),
            since,
            _short(handler.filepath),
            _words(handler.problem, handler.name),
        )
        rows.append(cells)
    headings = ("photon", "state", "generation", "since", "file", "problem")
    return Table(headings, tuple(rows), "no photon is loaded")


def of_candidates(candidates: Iterable[Candidate]) -> Table:
    """Return the table of photons that were found."""
    rows = tuple(
        (
            candidate.name,
            candidate.version,
            candidate.description,
            _short(candidate.location),
            _words(candidate.problem, candidate.name),
        )
        for candidate in candidates
    )
    headings = ("photon", "version", "description", "file", "problem")
    return Table(headings, rows, "no photon was found")


def of_report(report: Report) -> Table:
    """Return the table of what became of a batch."""
    rows = tuple(
        (
            outcome.photon,
            str(outcome.result),
            str(outcome.generation or ""),
            _short(outcome.file),
            _words(outcome.problem, outcome.photon),
        )
        for outcome in report
    )
    headings = ("photon", "result", "generation", "file", "problem")
    return Table(headings, rows)


def _short(path: str) -> str:
    """Return *path* as seen from the working directory, where that is shorter."""
    if not path:
        return ""
    try:
        return min(os.path.relpath(path), path, key=len)
    except ValueError:  # another drive
        return path


def _words(problem: Problem | None, photon: str) -> str:
    return "" if problem is None else str(problem.error(photon))


_PICTURES: dict[type, Callable[[Any], Table]] = {
    Handler: lambda handler: of_handlers([handler]),
    Handlers: of_handlers,
    Report: of_report,
    Discovered: of_candidates,
}


def _as_html(picture: Callable[[Any], Table]) -> Callable[[Any], str]:
    return lambda value: picture(value)._repr_html_()


def _formatters(shell: InteractiveShell) -> Any:
    return shell.display_formatter.formatters  # type: ignore[union-attr] # it has one


def hang_up(shell: InteractiveShell) -> None:
    """Have *shell* show values as tables: all as HTML, reports as text as well."""
    formatters = _formatters(shell)
    for kind, picture in _PICTURES.items():
        formatters["text/html"].for_type(kind, _as_html(picture))
    formatters["text/plain"].for_type(Report, _print_report)


def take_down(shell: InteractiveShell) -> None:
    """Undo `hang_up`."""
    formatters = _formatters(shell)
    for kind in _PICTURES:
        formatters["text/html"].pop(kind, None)
    formatters["text/plain"].pop(Report, None)


def _print_report(report: Report, printer: Any, is_cycle: bool) -> None:
    del is_cycle  # a report holds no report
    printer.text(str(report))
