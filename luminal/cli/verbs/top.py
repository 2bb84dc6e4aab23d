"""``luminal top``: a running host at work, as a live table."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Literal

import click

from luminal.cli.asking import answer_of, asking
from luminal.cli.exits import Exit
from luminal.cli.paper import clean, print_json, print_table, say
from luminal.cli.verb import verb

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["command"]

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

    Ctrl-C ends the table, not the host. CALLS, ERRORS and MS (time spent) count since a
    photon's latest swap; memory is that of the whole process. With --json or --once, or
    where the output is no terminal, it is shown once.
    """
    status = answer_of(host, {"ask": "status"})
    if as_json:
        status.pop("exit", None)
        print_json("top", Exit.FINE, **status)
        return Exit.FINE
    if once or not sys.stdout.isatty():
        print_table(_HEADINGS, _rows(status))
        say(_headline(status))
        return Exit.FINE
    return _stay(status["pid"], status, every)


def _stay(host: int, status: dict[str, Any], every: float) -> Exit:
    """Show the table until Ctrl-C, or until the host is gone."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    # The other screen: what was there before comes back at the end.
    with Live(_live(status), console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_live(status), refresh=True)
            time.sleep(every)
            status = answer_of(host, {"ask": "status"})


def _live(status: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from luminal.cli.paper import style_of

    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for at, heading in enumerate(_HEADINGS):
        side: Literal["left", "right"] = "left" if at < 2 else "right"
        share = 1 if at == 0 else None
        table.add_column(
            heading, justify=side, ratio=share, no_wrap=True, overflow="ellipsis"
        )
    for row in _rows(status):
        cells = [Text(clean(cell), style_of(cell)) for cell in row]
        if row[4] != "0":
            cells[4].stylize("red")
        table.add_row(*cells)
    headline = Text(_headline(status), "bold", no_wrap=True, overflow="ellipsis")
    foot = Text("Ctrl-C ends this table; the host goes on", "bright_black")
    return Group(headline, Text(), table, Text(), foot)


def _rows(status: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            photon["name"],
            photon["state"],
            str(photon["generation"]),
            str(photon["calls"]),
            str(photon["errors"]),
            f"{photon['seconds'] * 1000:.1f}",
            str(photon["threads"]),
            str(photon["tasks"]),
        )
        for photon in status["photons"]
    ]


def _headline(status: dict[str, Any]) -> str:
    memory = status["memory"] / 2**20
    size = f"{memory:.0f} MiB, " if memory else ""
    command = clean(" ".join(status["command"]))
    return f"host {status['pid']}: {size}{status['threads']} threads, {command}"
