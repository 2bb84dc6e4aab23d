"""Prints progress while the pipeline runs, then the tables of the report.

Uses rich on a terminal, and plain lines elsewhere. Progress goes to standard error, so
that standard output has the report alone.
"""

from __future__ import annotations

import contextlib
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from luminal.model import Candidate, Report
    from plugins_example.pipeline.host import Result, Tally

    Tick = Callable[[int], None]

EVERY = 20_000


def is_rich(stream: TextIO) -> bool:
    """Return whether *stream* is a terminal and rich is installed."""
    return stream.isatty() and find_spec("rich") is not None


def say(text: str) -> None:
    """Print *text* to standard error."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(total: int | None) -> Iterator[Tick]:
    """Show progress. The yielded function is called with each line's length.

    Args:
        total: Number of bytes to read; None if it is unknown.
    """
    is_drawn = is_rich(sys.stderr)
    with rich_progress(total) if is_drawn else plain_progress(total) as tick:
        yield tick


@contextlib.contextmanager
def plain_progress(total: int | None) -> Iterator[Tick]:
    """Print a line for every `EVERY` records."""
    records = done = 0

    def tick(size: int) -> None:
        nonlocal records, done
        records += 1
        done += size
        if records % EVERY == 0:
            share = f" ({done / total:.0%})" if total else ""
            say(f"  {records:,} records{share}")

    yield tick


@contextlib.contextmanager
def rich_progress(total: int | None) -> Iterator[Tick]:
    """Draw a progress bar."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    counter = TextColumn("{task.fields[records]:,} records")
    columns = (*Progress.get_default_columns(), counter)
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("reading", total=total, records=0)
        records = done = 0

        def tick(size: int) -> None:
            nonlocal records, done
            records += 1
            done += size
            if records % 1000 == 0:  # each update costs more than a record
                bar.update(task, completed=done, records=records)

        yield tick
        bar.update(task, completed=done, records=records)


def print_table(title: str, headings: Sequence[str], rows: Sequence[Any]) -> None:
    """Print one table; columns of numbers are aligned right."""
    cells = [
        [f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row]
        for row in rows
    ]
    right = [
        bool(rows) and all(isinstance(row[at], int) for row in rows)
        for at in range(len(headings))
    ]
    if is_rich(sys.stdout):
        print_rich_table(title, headings, cells, right)
        return
    print(f"\n{title}")
    if not rows:
        print("  none")
        return
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    for row in (headings, *cells):
        padded = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        )
        print(("  " + "  ".join(padded)).rstrip())


def print_rich_table(
    title: str,
    headings: Sequence[str],
    cells: Sequence[Sequence[str]],
    right: Sequence[bool],
) -> None:
    """Print one table with rich."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold")
    for heading, is_right in zip(headings, right, strict=True):
        table.add_column(heading, justify="right" if is_right else "left")
    for row in cells:
        table.add_row(*map(Text, row))
    console = Console()
    console.print()
    console.print(table if cells else Text(f"{title}: none"))


def print_photons(candidates: Sequence[Candidate], report: Report) -> None:
    """Print the outcome of each photon, and the problems."""
    versions = {found.name: found.version for found in candidates}
    sources = {found.name: str(found.source) for found in candidates}
    rows = [
        (
            each.photon,
            versions.get(each.photon, ""),
            sources.get(each.photon, ""),
            str(each.result),
        )
        for each in sorted(
            report, key=lambda each: (each.result != "loaded", each.photon)
        )
    ]
    print_table("Photons", ("photon", "version", "from", "result"), rows)
    for each in (*report.skipped, *report.failed):
        if each.problem is not None:
            print(f"\n{each.problem.error(each.photon)}")


def print_tally(tally: Tally) -> None:
    """Print the counts of lines, and the speed."""
    print(
        f"\n{tally.read:,} lines read: {tally.reported:,} reported, "
        f"{tally.dropped:,} filtered, {tally.unparsed:,} of unknown format, "
        f"{tally.errors.total():,} failed"
    )
    for text, count in tally.errors.most_common(5):
        print(f"  {count:,} times {text}")
    if tally.seconds:
        rate = tally.read / tally.seconds
        print(f"{tally.seconds:.2f} s, {rate:,.0f} records per second")


def print_result(result: Result) -> None:
    """Print the report, the photons and the counts."""
    for section in result.sections:
        print_table(section["title"], section["headings"], section["rows"])
    print_photons(result.candidates, result.report)
    print_tally(result.tally)
