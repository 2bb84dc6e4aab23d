"""The command ``top``: a running host as a live table."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Literal

import attrs
import click

from luminal.cli._options import ask_cpu, ask_host, command, host_option
from luminal.cli._output import (
    Exit,
    clean,
    print_json,
    print_message,
    print_table,
    style_of,
)
from luminal.errors import HostNotRunningError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["keys_of", "live_table", "top_command"]

_HEADINGS = (
    "NAME",
    "STATE",
    "GEN",
    "CALLS",
    "CALLS/S",
    "ERRORS",
    "P50",
    "P95",
    "THREADS",
    "TASKS",
)
_ERRORS = _HEADINGS.index("ERRORS")


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
@click.option(
    "--cpu", is_flag=True, help="Let the host sample whose code uses the CPU."
)
@host_option
def top_command(
    host: int | None, once: bool, every: float, cpu: bool, as_json: bool
) -> Exit:
    """Show a running host live: photons, calls, time, threads, tasks.

    Up and down, or k and j, select a photon: r reloads it, d disables it, l shows what
    it did and logged. e enables all that are disabled, s sorts by another column, space
    pauses, q or Ctrl-C ends the table, not the host.

    CALLS and ERRORS count since a photon's last swap, but errors of its tasks and
    threads since it was loaded. CALLS/S are calls a second since the last look. P50 and
    P95 are the times within which 50 and 95 of 100 calls of its hooks ended, right
    within a factor of two, over all its generations. A quarantined photon has a hook
    that is skipped, as it has failed again and again. THREADS and TASKS are those that
    it owns. Memory and threads at the top are those of the whole process. With --json
    or --once, or where the output is not a terminal that can move its cursor, the table
    is printed once.

    With --cpu, the host looks 50 times a second at what its threads run, for as long as
    the table is shown. CPU is a photon's part of what was seen to compute. It is a
    statistic; where many looks came late, the photons' parts are too small.
    """
    status = ask_host(host, {"ask": "status"})
    is_dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    is_live = not (as_json or once or is_dumb or not sys.stdout.isatty())
    if cpu and not is_live:
        status["cpu"] = ask_cpu(status["pid"], every)
    if as_json:
        # The command of the host; the document has one of its own.
        status["argv"] = status.pop("command", [])
        print_json("top", Exit.FINE, **status)
        return Exit.FINE
    if not is_live:
        rows = [_row(photon, status.get("cpu")) for photon in status["photons"]]
        print_table(_headings(status), rows)
        print_message(f"{_headline(status)}  {_argv(status)}")
        return Exit.FINE
    return _show_live(status["pid"], status, every, cpu)


class _CpuLooks:
    """Asks a host again and again whose code uses the CPU, on a thread of its own.

    Attributes:
        latest: The latest answer; None before the first one.
    """

    def __init__(self, host: int, every: float) -> None:
        self.latest: dict[str, Any] | None = None
        self._host, self._every = host, every
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(HostNotRunningError):  # the table says that itself
            while True:
                self.latest = ask_cpu(self._host, self._every)


def _show_live(host: int, status: dict[str, Any], every: float, cpu: bool) -> Exit:
    """Show the table until Ctrl-C, or until the host ends."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    for name in ("SIGTERM", "SIGHUP"):
        # As Ctrl-C does: the terminal must not keep the alternate screen.
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)

    view = _View(host)
    view.rate(status)

    looks = _CpuLooks(host, every) if cpu else None

    def screen() -> RenderableType:
        if looks is not None:
            status["cpu"] = looks.latest or {}
        return live_table(status, console.width, console.height, view)

    # On the alternate screen, so that the terminal's content comes back at the end.
    live = Live(screen(), console=console, screen=True, auto_refresh=False)
    with _keys() as read_keys:
        try:  # not `with`: that restores nothing where a signal interrupts its start
            live.start()
            while True:
                due = time.monotonic() + every
                while True:
                    live.update(screen(), refresh=True)
                    typed = read_keys(max(due - time.monotonic(), 0))
                    if not typed:
                        break
                    for key in typed:
                        if key == "q":
                            return Exit.FINE
                        view.press(key, status["photons"])
                    if set(typed) & set("rde"):
                        status = ask_host(host, {"ask": "status"})
                        view.rate(status)
                if not view.is_paused:
                    status = ask_host(host, {"ask": "status"})
                    view.rate(status)
                    view.look()
        finally:
            live.stop()


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Read keys from the terminal, which does not show them meanwhile.

    Yields:
        A function that returns the next keys, none after so many seconds. Where there
        is no terminal to read from, it only waits.
    """

    def wait(seconds: float) -> str:
        time.sleep(seconds)
        return ""

    try:
        import termios
        import tty
    except ImportError:  # there are no such terminals on this system
        yield wait
        return
    try:
        number = sys.stdin.fileno()
        before = termios.tcgetattr(number)
    except (OSError, ValueError, AttributeError, termios.error):
        yield wait
        return
    tty.setcbreak(number)

    def read(seconds: float) -> str:
        if not select.select([number], [], [], seconds)[0]:
            return ""
        typed = os.read(number, 64).decode(errors="replace")
        if not typed:  # the end of the input: there will be no more keys
            time.sleep(seconds)
        return keys_of(typed)

    try:
        yield read
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


_ARROWS = {"\x1b[A": "k", "\x1b[B": "j", "\x1bOA": "k", "\x1bOB": "j"}
"""What arrow keys send, with and without application mode → the letter."""

_SEQUENCE = re.compile(r"\x1b(\[\[?[0-?]*[ -/]*[@-~]|O.|.|$)", re.DOTALL)
"""What any other key sends that is no character, and Alt with one that is."""


def keys_of(typed: str) -> str:
    """Return the letters that *typed* stands for; of unknown keys nothing.

    Such keys must not do what a letter of their sequence does: Shift and an arrow may
    send ``ESC [ d``, for example.
    """
    for sequence, key in _ARROWS.items():
        typed = typed.replace(sequence, key)
    return _SEQUENCE.sub("", typed)


_ORDERS = ("", "errors", "calls", "seconds", "name")
"""What ``s`` sorts by, one after the other; first the order of the host."""

_HELP = "q quit  j k select  r reload  d disable  e enable  l log  s sort  space pause"


@attrs.define
class _View:
    """What the keys have chosen.

    Args:
        host: The process that is shown.
    """

    host: int
    order: str = ""
    selected: str = ""
    is_paused: bool = False
    # What came of the latest key.
    message: str = ""
    # The photon's whose log is shown, and its lines.
    logged: str = ""
    log: list[str] = attrs.Factory(list)
    # When the host was asked, and how many calls each photon had by then.
    _asked: float = 0.0
    _calls: dict[str, int] = attrs.Factory(dict)

    def rate(self, status: dict[str, Any]) -> None:
        """Add to the photons of *status* their calls a second since the last look."""
        now = time.monotonic()
        for photon in status["photons"]:
            before = self._calls.get(photon["name"])
            if before is not None and now > self._asked:
                calls = photon["total_calls"] - before
                photon["rate"] = max(calls / (now - self._asked), 0.0)
        self._calls = {p["name"]: p.get("total_calls", 0) for p in status["photons"]}
        self._asked = now

    def arranged(self, photons: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return *photons* in the chosen order."""
        if self.order == "name":
            return sorted(photons, key=lambda photon: photon["name"].casefold())
        if self.order:
            return sorted(photons, key=lambda photon: -photon[self.order])
        return list(photons)

    def press(self, key: str, photons: Sequence[dict[str, Any]]) -> None:
        """Do what *key* stands for."""
        self.message = ""
        names = [photon["name"] for photon in self.arranged(photons)]
        at = names.index(self.selected) if self.selected in names else -1
        if key in "jk" and names:
            step = 1 if key == "j" else -1
            self.selected = names[min(max(at + step, 0), len(names) - 1)]
            self.logged = self.selected if self.logged else ""
            self.look()
        elif key == "s":
            self.order = _ORDERS[(_ORDERS.index(self.order) + 1) % len(_ORDERS)]
            self.message = f"sorted by {self.order or 'the order of loading'}"
        elif key == " ":
            self.is_paused = not self.is_paused
        elif key == "e":
            self._ask("enable", [])
        elif key in "rdl" and at < 0:
            self.message = "select a photon first, with j and k"
        elif key == "r":
            self._ask("reload", [self.selected])
        elif key == "d":
            self._ask("disable", [self.selected])
        elif key == "l":
            self.logged = "" if self.logged else self.selected
            self.look()

    def look(self) -> None:
        """Read the log that is shown anew."""
        self.log = []
        if self.logged:
            from luminal.cli._remote import log_lines

            answer = ask_host(self.host, {"ask": "log", "photon": self.logged})
            self.log = list(log_lines(answer))

    def _ask(self, ask: str, names: list[str]) -> None:
        answer = ask_host(self.host, {"ask": ask, "photons": names}, None)
        done = ", ".join(row["photon"] for row in answer["photons"]) or "nothing to do"
        for failure in answer.get("failures", ())[:1]:
            problem = failure["problem"]
            why = f": {problem['why']}" if problem["why"] else ""
            done = f"{failure['photon']} {problem['what']}{why}".lstrip()
        if answer.get("unknown"):
            done = f"{', '.join(names)} is not there any more"
        self.message = clean(f"{ask}: {done}")


def live_table(
    status: dict[str, Any], width: int, height: int, view: _View | None = None
) -> RenderableType:
    """Return the live table, as much of it as fits.

    Args:
        status: As `luminal.managers.status.status_of` returns it.
        width: Columns of the terminal.
        height: Its lines.
        view: What was chosen by keys; None where there are none.
    """
    from rich.console import Group
    from rich.text import Text

    view = view or _View(status["pid"])
    photons = view.arranged(status["photons"])
    # One line a failure, or the log, while as many photons still fit.
    most = max(min(height // 4, height - _AROUND - 1), 0)
    why = [_why(photon) for photon in photons if photon["problem"]]
    below = [(text, "") for text in view.log] or [(text, "red") for text in why]
    below = (below[-most:] if view.log else below[:most]) if most else []
    room = max(height - _AROUND - len(below), 1)
    shown = _most_important(photons, room)
    if view.order or view.selected:
        names = [photon["name"] for photon in photons]
        at = names.index(view.selected) if view.selected in names else 0
        first = max(min(at - room // 2, len(photons) - room), 0)
        shown = photons[first : first + room]
    rows = [_row(photon, status.get("cpu")) for photon in shown]
    left = len(photons) - room
    foot = f"{left} more; a taller terminal shows them" if left > 0 else ""

    def line(text: str, style: str = "") -> Text:
        return Text(text, style, no_wrap=True, overflow="ellipsis")

    paused = "  paused" if view.is_paused else ""
    return Group(
        line(_headline(status) + paused, "bold"),
        line(_argv(status), "bright_black"),
        line(""),
        _table(_headings(status), rows, width, clean(view.selected)),
        line(view.message or foot, "" if view.message else "bright_black"),
        *(line(text, style) for text, style in below),
        line(_HELP, "bright_black"),
    )


def _table(
    headings: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    width: int,
    selected: str = "",
) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    widths = _widths(headings, rows, width)
    for at, (heading, wide) in enumerate(zip(headings, widths, strict=False)):
        side: Literal["left", "right"] = "left" if at < 2 else "right"
        table.add_column(
            heading, justify=side, width=wide, no_wrap=True, overflow="ellipsis"
        )
    for row in rows:
        cells = [Text(cell, style_of(cell)) for cell in row[: len(widths)]]
        if len(cells) > _ERRORS and row[_ERRORS] != "0":
            cells[_ERRORS].stylize("red")
        table.add_row(*cells, style="reverse" if row[0] == selected else "")
    return table


_AROUND = 6
"""Lines of the screen that are no rows: above the table, its head, and below it."""

_NAME = 12
"""Columns that a long name should have, before others are left out."""


def _widths(
    headings: Sequence[str], rows: Sequence[tuple[str, ...]], width: int
) -> list[int]:
    """Return how wide each column is; what there is no room for is left out."""
    from rich.cells import cell_len

    columns = zip(headings, *rows, strict=True)
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


def _headings(status: dict[str, Any]) -> tuple[str, ...]:
    return _HEADINGS if "cpu" not in status else (*_HEADINGS, "CPU")


def _row(photon: dict[str, Any], cpu: dict[str, Any] | None) -> tuple[str, ...]:
    """Return the cells of a photon; with *cpu*, its part of what computed as well."""
    if cpu is None:
        return _cells(photon)
    part = f"{cpu_parts(cpu).get(photon['name'], 0):.0%}" if cpu else ""
    return (*_cells(photon), part)


def cpu_parts(cpu: dict[str, Any]) -> dict[str, float]:
    """Return name of a photon → its part of the samples that computed; "" is the host.

    Args:
        cpu: A `luminal.metrics.CpuSample` as a mapping.
    """
    samples = {**cpu["photons"], "": cpu["host"]}
    whole = sum(samples.values()) or 1
    return {name: count / whole for name, count in samples.items()}


def _cells(photon: dict[str, Any]) -> tuple[str, ...]:
    return (
        clean(photon["name"]),
        "quarantined" if photon.get("quarantined") else photon["state"],
        str(photon["generation"]),
        str(photon["calls"]),
        "" if photon.get("rate") is None else _short_number(photon["rate"]),
        str(photon["errors"]),
        _short_time(photon.get("p50", 0.0)),
        _short_time(photon.get("p95", 0.0)),
        str(photon["threads"]),
        str(photon["tasks"]),
    )


def _short_number(number: float) -> str:
    return f"{number:.1f}" if 0 < number < 100 else f"{number:.0f}"


def _short_time(seconds: float) -> str:
    """Return a time in three or four characters and its unit; empty for none."""
    for unit, factor in (("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)):
        if seconds * factor >= 1:
            value = seconds * factor
            return f"{value:.1f}{unit}" if value < 10 else f"{value:.0f}{unit}"
    return ""


def _headline(status: dict[str, Any]) -> str:
    memory = status["memory"] / 2**20
    photons = status["photons"]
    running = sum(photon["state"] == "running" for photon in photons)
    parts = [
        f"host {status['pid']}",
        f"{running} of {len(photons)} running",
        f"memory {memory:.0f} MiB" if memory else "",
        f"threads {status['threads']}",
        _cpu_line(status.get("cpu")),
        f"disabled: {clean(', '.join(status['disabled']))}"
        if status.get("disabled")
        else "",
    ]
    return "  ".join(filter(None, parts))


def _cpu_line(cpu: dict[str, Any] | None) -> str:
    if not cpu:
        return ""
    late = cpu["late"] / max(cpu["ticks"], cpu["late"], 1)
    return (
        f"cpu: host {cpu_parts(cpu)['']:.0%}, {late:.0%} of {cpu['ticks']} looks late"
    )


def _argv(status: dict[str, Any]) -> str:
    return clean(" ".join(status["command"]))
