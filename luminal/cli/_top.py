"""The command ``top``: a running host as a live table."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

import click

from luminal.cli._options import ask_host, command, host_option
from luminal.cli._output import (
    Exit,
    clean,
    print_json,
    print_message,
    print_table,
    style_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["live_table", "top_command"]

_HEADINGS = ("NAME", "STATE", "GEN", "CALLS", "ERRORS", "MS", "THREADS", "TASKS")


@command("top")
@click.option("--once", is_flag=True, help="Print the table once, and end.")
@click.option(
    "--every",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="How often to look.",
)
@host_option
def top_command(host: int | None, once: bool, every: float, as_json: bool) -> Exit:
    """Show a running host live: photons, calls, time, threads, tasks.

    Ctrl-C ends the table, not the host. CALLS, ERRORS and MS (milliseconds spent in its
    hooks, an estimate) count since a photon's last swap, but errors of its tasks and
    threads since it was loaded. A quarantined photon has a hook that is skipped, as it
    has failed again and again. THREADS and TASKS are those
    that it owns. Memory and threads at the top are those of the whole process. With
    --json or --once, or where the output is not a terminal that can move its cursor,
    the table is printed once.
    """
    status = ask_host(host, {"ask": "status"})
    if as_json:
        # The command of the host; the document has one of its own.
        status["argv"] = status.pop("command", [])
        print_json("top", Exit.FINE, **status)
        return Exit.FINE
    is_dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    if once or is_dumb or not sys.stdout.isatty():
        print_table(_HEADINGS, [*map(_row, status["photons"])])
        print_message(f"{_headline(status)}  {_argv(status)}")
        return Exit.FINE
    return _show_live(status["pid"], status, every)


def _show_live(host: int, status: dict[str, Any], every: float) -> Exit:
    """Show the table until Ctrl-C, or until the host ends."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    for name in ("SIGTERM", "SIGHUP"):
        # As Ctrl-C does: the terminal must not keep the alternate screen.
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)

    def screen() -> RenderableType:
        return live_table(status, console.width, console.height)

    # On the alternate screen, so that the terminal's content comes back at the end.
    live = Live(screen(), console=console, screen=True, auto_refresh=False)
    try:  # not `with`: that restores nothing where a signal interrupts its start
        live.start()
        while True:
            live.update(screen(), refresh=True)
            time.sleep(every)
            status = ask_host(host, {"ask": "status"})
    finally:
        live.stop()


def live_table(status: dict[str, Any], width: int, height: int) -> RenderableType:
    """Return the live table, as much of it as fits.

    Args:
        status: As `luminal.managers.status.status_of` returns it.
        width: Columns of the terminal.
        height: Its lines.
    """
    from rich.console import Group
    from rich.text import Text

    photons = status["photons"]
    # One line a failure, while as many photons still fit.
    most = max(min(height // 4, height - _AROUND - 1), 0)
    why = [_why(photon) for photon in photons if photon["problem"]][:most]
    room = max(height - _AROUND - len(why), 1)
    rows = [_row(photon) for photon in _most_important(photons, room)]
    left = len(photons) - room
    foot = f"{left} more; a taller terminal shows them" if left > 0 else ""

    def line(text: str, style: str = "") -> Text:
        return Text(text, style, no_wrap=True, overflow="ellipsis")

    return Group(
        line(_headline(status), "bold"),
        line(_argv(status), "bright_black"),
        line(""),
        _table(rows, width),
        line(foot, "bright_black"),
        *(line(text, "red") for text in why),
        line("Ctrl-C ends this table; the host keeps running", "bright_black"),
    )


def _table(rows: Sequence[tuple[str, ...]], width: int) -> Table:
    from rich.table import Table
    from rich.text import Text

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


def _most_important(
    photons: Sequence[dict[str, Any]], room: int
) -> list[dict[str, Any]]:
    """Return *room* of *photons* in their order: those that fail, err, or take long."""
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
        "quarantined" if photon.get("quarantined") else photon["state"],
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
        f"disabled: {clean(', '.join(status['disabled']))}"
        if status.get("disabled")
        else "",
    ]
    return "  ".join(filter(None, parts))


def _argv(status: dict[str, Any]) -> str:
    return clean(" ".join(status["command"]))
