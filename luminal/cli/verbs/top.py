"""``luminal top``: a running host at work, as a live table."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

import click

from luminal.cli.asking import answer_of, asking
from luminal.cli.exits import Exit
from luminal.cli.paper import clean, print_json, print_table, say
from luminal.cli.verb import verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["command", "picture"]

_HEADINGS = ("NAME", "STATE", "GEN", "CALLS", "ERRORS", "MS", "THREADS", "TASKS")


@verb("top")
@click.option("--once", is_flag=True, help="Print the table once, and end.")
@click.option(
    "--every",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="How often to look.",
)
@asking
def command(host: int | None, once: bool, every: float, as_json: bool) -> Exit:
    """Show a running host at work: photons, calls, time, threads, tasks.

    Ctrl-C ends the table, not the host. CALLS, ERRORS and MS (milliseconds spent in its
    hooks, an estimate) count since a photon's latest swap; THREADS and TASKS are those
    that it owns. Memory and threads at the top are the whole process's. With --json or
    --once, or where the output is no terminal, or one that cannot move its cursor, it
    is shown once.
    """
    status = answer_of(host, {"ask": "status"})
    if as_json:
        status.pop("exit", None)
        print_json("top", Exit.FINE, **status)
        return Exit.FINE
    is_dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    if once or is_dumb or not sys.stdout.isatty():
        print_table(_HEADINGS, [*map(_row, status["photons"])])
        say(f"{_headline(status)}  {_command(status)}")
        return Exit.FINE
    return _stay(status["pid"], status, every)


def _stay(host: int, status: dict[str, Any], every: float) -> Exit:
    """Show the table until Ctrl-C, or until the host is gone."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    for name in ("SIGTERM", "SIGHUP"):
        # As Ctrl-C does: a terminal must not be left with the other screen.
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)

    def screen() -> RenderableType:
        return picture(status, console.width, console.height)

    # The other screen: what was there before comes back at the end.
    live = Live(screen(), console=console, screen=True, auto_refresh=False)
    try:  # not `with`: that gives nothing back where its own beginning is interrupted
        live.start()
        while True:
            live.update(screen(), refresh=True)
            time.sleep(every)
            status = answer_of(host, {"ask": "status"})
    finally:
        live.stop()


def picture(status: dict[str, Any], width: int, height: int) -> RenderableType:
    """Return the live table, with as much of it as there is room for.

    Args:
        status: As `luminal.managers.status.status_of` returns it.
        width: Columns of the terminal.
        height: Its lines.
    """
    from rich.console import Group
    from rich.text import Text

    photons = status["photons"]
    # A line for each failure, where there is room for at least as many photons.
    most = max(min(height // 4, height - _AROUND - 1), 0)
    why = [_why(photon) for photon in photons if photon["problem"]][:most]
    room = max(height - _AROUND - len(why), 1)
    rows = [_row(photon) for photon in _weightiest(photons, room)]
    left = len(photons) - room
    foot = f"{left} quieter ones; a taller terminal shows them" if left > 0 else ""

    def line(text: str, style: str = "") -> Text:
        return Text(text, style, no_wrap=True, overflow="ellipsis")

    return Group(
        line(_headline(status), "bold"),
        line(_command(status), "bright_black"),
        line(""),
        _table(rows, width),
        line(foot, "bright_black"),
        *(line(text, "red") for text in why),
        line("Ctrl-C ends this table; the host goes on", "bright_black"),
    )


def _table(rows: Sequence[tuple[str, ...]], width: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    from luminal.cli.paper import style_of

    table = Table(box=None, pad_edge=False, header_style="bold")
    widths = _widths(rows, width)
    for at, (heading, wide) in enumerate(zip(_HEADINGS, widths, strict=False)):
        side: Literal["left", "right"] = "left" if at < 2 else "right"
        table.add_column(
            heading, justify=side, width=wide, no_wrap=True, overflow="ellipsis"
        )
    for row in rows:
        cells = [Text(cell, style_of(cell)) for cell in row[: len(widths)]]
        if len(cells) > 4 and row[4] != "0":
            cells[4].stylize("red")
        table.add_row(*cells)
    return table


_AROUND = 6
"""Lines of the screen that are no rows: above the table, its head, and below it."""

_NAME = 12
"""Columns that a long name should have, before others are left out."""


def _widths(rows: Sequence[tuple[str, ...]], width: int) -> list[int]:
    """Return how wide each column is; what there is no room for is left out."""
    from rich.cells import cell_len

    columns = zip(_HEADINGS, *rows, strict=True)
    needed = [max(map(cell_len, column)) for column in columns]
    count = len(needed)
    while True:
        room = width - sum(needed[1:count]) - 2 * (count - 1)
        if count == 2 or room >= min(needed[0], _NAME):
            return [max(min(needed[0], room), 1), *needed[1:count]]
        count -= 1


def _weightiest(photons: Sequence[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    """Return so many of *photons* in their order: what fails, errs, or takes long."""
    ranked = sorted(
        range(len(photons)),
        key=lambda at: (
            photons[at]["problem"] is None,
            -photons[at]["errors"],
            -photons[at]["seconds"],
        ),
    )
    return [photons[at] for at in sorted(ranked[:room])]


def _why(photon: dict[str, Any]) -> str:
    problem = photon["problem"]
    why = f": {problem['why']}" if problem["why"] else ""
    return clean(f"{photon['name']}: {problem['what']} [{problem['code']}]{why}")


def _row(photon: dict[str, Any]) -> tuple[str, ...]:
    return (
        clean(photon["name"]),
        photon["state"],
        str(photon["generation"]),
        str(photon["calls"]),
        str(photon["errors"]),
        f"{photon['seconds'] * 1000:.1f}",
        str(photon["threads"]),
        str(photon["tasks"]),
    )


def _headline(status: dict[str, Any]) -> str:
    memory = status["memory"] / 2**20
    photons = status["photons"]
    running = sum(photon["state"] == "running" for photon in photons)
    parts = [
        f"host {status['pid']}",
        f"{running} of {len(photons)} running",
        f"memory {memory:.0f} MiB" if memory else "",
        f"threads {status['threads']}",
    ]
    return "  ".join(filter(None, parts))


def _command(status: dict[str, Any]) -> str:
    return clean(" ".join(status["command"]))
