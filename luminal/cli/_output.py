"""What commands print and how they end: exit codes, tables, JSON, errors, signals.

Data goes to standard output, messages to standard error. Text that comes from photons
and file names is escaped first, so that it cannot control a terminal.
"""

from __future__ import annotations

import contextlib
import enum
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from luminal._plain import to_json

if TYPE_CHECKING:
    from collections.abc import (
        Collection,
        Coroutine,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )
    from typing import TextIO

    from luminal.errors import LuminalError
    from luminal.model import Frame, Problem

__all__ = [
    "EXIT_TIMEOUT",
    "SCHEMA",
    "Exit",
    "clean",
    "clock",
    "count_states",
    "discard_output",
    "exit_after_timeout",
    "exit_for",
    "exit_now",
    "print_durations",
    "print_error",
    "print_json",
    "print_message",
    "print_no_photons",
    "print_problem",
    "print_table",
    "run_async",
    "short",
    "short_names",
    "show_all_frames",
    "step_line",
    "style_of",
    "table_lines",
    "write_new_files",
    "write_unbuffered",
]

_T = TypeVar("_T")


class Exit(enum.IntEnum):
    """Exit codes, the same for every command; scripts may rely on them."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    NOTHING = 3
    REFUSED = 4
    NO_HOST = 5
    INTERRUPTED = 130


def exit_for(error: LuminalError) -> Exit:
    """Return the exit code of a command that *error* ends."""
    from luminal import errors

    if isinstance(error, errors.PhotonNotFoundError | errors.DirectoryNotFoundError):
        return Exit.NOTHING
    if isinstance(error, errors.MissingExtraError):
        return Exit.USAGE
    if isinstance(error, errors.HostNotRunningError):
        return Exit.NO_HOST
    if isinstance(error, errors.PathTakenError | errors.PhotonReloadError):
        return Exit.REFUSED
    return Exit.FAILED


# --- Text ----------------------------------------------------------------------------


def clean(text: str) -> str:
    """Return *text* with every character escaped that is not printable."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def short(path: str) -> str:
    """Return *path*, relative where it lies below the current directory."""
    try:
        here = os.getcwd()
    except OSError:  # it was removed
        return clean(path)
    return clean(path.removeprefix(os.path.join(here, "")))


def short_names(names: Sequence[str], most: int = 3) -> str:
    """Return *names* as one text, only the first few of many.

    Args:
        names: What to print.
        most: How many are printed; of more, one less, and how many others there are.
    """
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"


def clock(at: float) -> str:
    """Return the local time of day of *at*, seconds since the epoch."""
    import time

    return time.strftime("%H:%M:%S", time.localtime(at))


def step_line(event: Mapping[str, Any]) -> str:
    """Return one step of one photon as a line, without its time.

    Args:
        event: The fields of a `luminal.model.Event`.
    """
    words = [f"{event['kind']!s:<11}", clean(event["photon"])]
    if event["generation"]:
        words.append(f"#{event['generation']}")
    if event["seconds"]:
        words.append(f"{event['seconds'] * 1000:.1f} ms")
    if event["kind"] == "unchanged":
        words.append("no code changed")
    if problem := event["problem"]:
        place = f"{short(problem['file'])}:{problem['line']}" if problem["line"] else ""
        why = f"{problem['what']} [{problem['code']}] {problem['why']}"
        words.append(" ".join(filter(None, (clean(why).strip(), place))))
        if problem["consequence"]:
            words.append(f"so: {problem['consequence']}")
    return "  ".join(words)


def print_message(text: str = "", *, err: bool = True, **style: Any) -> None:
    """Print a line for people.

    Args:
        text: What to print.
        err: Whether it goes to standard error.
        **style: As `click.style` takes it.
    """
    wants_color = "NO_COLOR" not in os.environ
    click.echo(
        click.style(text, **style), err=err, color=None if wants_color else False
    )


def print_no_photons() -> None:
    """Print that there are no photons, and what to do."""
    print_message(
        "no photons found; pass a directory, or install a distribution that has some"
    )


def count_states(states: Iterable[str]) -> str:
    """Return how many photons are in each state, as ``3 running, 1 failed``."""
    from collections import Counter

    counts = Counter(states).most_common()
    return ", ".join(f"{count} {state}" for state, count in counts)


# --- JSON ----------------------------------------------------------------------------

SCHEMA = 2
"""Version of the format of all JSON documents; raised when a key changes or goes."""

_ONE_LINE_EACH = ("run", "watch")
"""Commands that print several documents, one a line."""

_frames = {"all": False}
"""Whether Luminal's own calls are shown in tracebacks; the process has one ``-v``."""


def show_all_frames(wanted: bool) -> None:
    """Show Luminal's own calls in failures from now on, or no longer.

    Args:
        wanted: Whether ``-v`` was typed.
    """
    _frames["all"] = wanted


def print_json(
    command: str,
    code: int,
    *,
    stream: TextIO | None = None,
    **data: Any,
) -> None:
    """Print one document: ``schema``, ``command``, ``exit``, and *data*.

    Args:
        command: Name of the command. The documents of `run` and `watch` take one
            line each.
        code: Its exit code.
        stream: Where it is printed, by default standard output.
        **data: Values of JSON, and attrs records.
    """
    head = {"schema": SCHEMA, "command": command, "exit": int(code)}
    indent = None if command in _ONE_LINE_EACH else 2
    document = {**head, **_without_own_frames(data)}
    click.echo(to_json(document, indent=indent, default=_plain), file=stream)


def _plain(value: object) -> object:
    import attrs

    if attrs.has(type(value)):
        return _without_own_frames(attrs.asdict(value))  # type: ignore[arg-type]
    return list(value)  # type: ignore[call-overload]


def _without_own_frames(value: Any) -> Any:
    """Return *value* without Luminal's own calls, except with ``-v``."""
    if _frames["all"]:
        return value
    if isinstance(value, dict):
        return {
            key: [frame for frame in inside if frame["is_own"]]
            if key == "frames"
            else _without_own_frames(inside)
            for key, inside in value.items()
        }
    return [*map(_without_own_frames, value)] if isinstance(value, list) else value


# --- Tables --------------------------------------------------------------------------

_STYLES = {
    "ok": "green",
    "running": "green",
    "disabled": "bright_black",
    "skipped": "bright_black",
    "failed": "red",
}


def style_of(cell: str) -> str:
    """Return the style in which the word *cell* is shown."""
    return _STYLES.get(cell, "")


def print_durations(
    photons: Mapping[str, Mapping[str, float]], discovery: float, most: int = 0
) -> None:
    """Print how long photons took to load and start, the slowest first.

    Args:
        photons: Name → seconds of each phase.
        discovery: Seconds that it took to find all of them.
        most: How many are shown; 0 for all.
    """
    from luminal._phases import PHASES

    happened = [p for p in PHASES if any(p in phases for phases in photons.values())]
    ranked = sorted(photons.items(), key=lambda item: -sum(item[1].values()))
    shown = ranked[:most] if most else ranked
    rows = [
        (name, *(_milliseconds(s) for s in (sum(phases.values()), *each)))
        for name, phases in shown
        for each in [[phases.get(phase) for phase in happened]]
    ]
    print_table(("PHOTON", "MS", *(phase.upper() for phase in happened)), rows)
    if len(shown) < len(ranked):
        click.echo(f"{len(ranked) - len(shown)} more; --durations=0 shows all")
    whole = sum(sum(phases.values()) for phases in photons.values())
    click.echo(f"discovery: {discovery * 1e3:.1f} ms; photons: {whole * 1e3:.1f} ms")


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.1f}"


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; in a terminal with colour, cut and folded to its width.

    Args:
        headings: One word a column.
        rows: As many cells each; an empty one is shown as a dash, so that every
            line has the same number of columns.
    """
    rows = [[clean(cell) or "-" for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(headings, rows)
        return
    # Not by rich: its import takes longer than `luminal list` itself, and it fills
    # each line up with blanks.
    for text in table_lines(headings, rows):
        click.echo(text)


def table_lines(
    headings: Sequence[str], rows: Sequence[Sequence[str]]
) -> Iterator[str]:
    """Yield the lines of a table as plain text.

    Args:
        headings: One word a column.
        rows: As many cells each.
    """
    lines = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _is_problem(cell: str) -> bool:
    """Whether *cell* begins with the code of an error."""
    return cell.startswith("LUM") and cell[3:6].isdecimal()


def _print_rich(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    rows = _cut(headings, rows, console.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    # The names stay readable, however narrow the terminal is.
    longest = max(len(row[0]) for row in (headings, *rows))
    for number, heading in enumerate(headings):
        least = None if number else min(longest, console.width // 3)
        table.add_column(heading, overflow="fold", min_width=least)
    for row in rows:
        # Text, not str: a name with brackets is no markup.
        cells = [Text(cell, style_of(cell)) for cell in row]
        for cell in cells:
            if _is_problem(cell.plain):
                cell.stylize("red")
        table.add_row(*cells)
    console.print(table)


_LONG = {"DESCRIPTION", "HOOKS", "TAGS", "AUTHOR", "REQUIRES", "REQUIRED-BY"}
"""Columns whose cells are cut rather than folded: a photon stays one line."""


def _cut(
    headings: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> list[list[str]]:
    """Return *rows* with long texts cut, as far as the table is wider than *width*.

    The widest column gives way first, down to its heading.
    """
    columns = [*zip(headings, *rows, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    long = [at for at, heading in enumerate(headings) if heading in _LONG]
    excess = sum(widths) + 2 * (len(widths) - 1) - width
    while excess > 0 and (
        wide := [at for at in long if widths[at] > len(headings[at])]
    ):
        widths[max(wide, key=widths.__getitem__)] -= 1
        excess -= 1
    return [
        [
            cell if len(cell) <= most else f"{cell[: most - 1].rstrip()}…"
            for cell, most in zip(row, widths, strict=True)
        ]
        for row in rows
    ]


# --- Failures ------------------------------------------------------------------------

_MAX_CALLERS = 5
"""How many of the author's calls are shown without ``-v``."""


def print_error(error: LuminalError) -> None:
    """Print what *error* says to standard error."""
    from luminal.model import Problem

    print_problem(error.photon or "", Problem.of(error, ""))


def print_problem(
    photon: str,
    problem: Problem,
    *,
    required_by: Collection[str] = (),
    err: bool = True,
    indent: str = "",
) -> None:
    """Print which photon failed, how, where with the source line, why, and a fix.

    The author's calls come first; Luminal's own are shown with ``-v`` only.

    Args:
        photon: Its name; empty where none is concerned.
        problem: What to print.
        required_by: Names of the photons that require it.
        err: Whether it goes to standard error.
        indent: Blanks before each line.
    """
    subject = f"photon {clean(photon)!r}: " if photon else ""
    headline = f"{indent}{subject}{clean(problem.what)} [{problem.code}]"
    print_message(headline, fg="red", err=err)
    if problem.file:
        line = f":{problem.line}" if problem.line else ""
        print_message(f"{indent}  at: {short(problem.file)}{line}", err=err)
        _print_source(problem, err, indent)
    _print_calls(problem, err, indent)
    labels = (
        ("because", problem.why),
        ("so", problem.consequence),
        ("required by", ", ".join(map(repr, required_by))),
        ("try", problem.hint),
    )
    for label, value in labels:
        if value:
            print_message(f"{indent}  {label}: {clean(value)}", err=err)


def _print_source(problem: Problem, err: bool, indent: str) -> None:
    """Print the line that *problem* points at, and its neighbours."""
    from luminal.managers.excerpt import lines_of

    for at, text in lines_of(problem, 1):
        is_it = at == problem.line
        line = f"{indent}  {'>' if is_it else ' '} {at} | {clean(text)}".rstrip()
        print_message(line, dim=not is_it, err=err)


def _print_calls(problem: Problem, err: bool, indent: str) -> None:
    """Print the calls that led to *problem*, the innermost first."""
    if _frames["all"]:
        frames: Sequence[Frame] = problem.frames[::-1]
        left = 0
    else:
        own = [frame for frame in problem.frames if frame.is_own][::-1]
        # The innermost line is shown already, where it is the one to blame.
        if own and (own[0].file, own[0].line) == (problem.file, problem.line):
            own = own[1:]
        frames, left = own[:_MAX_CALLERS], len(own[_MAX_CALLERS:])
    for frame in frames:
        place = f"{short(frame.file)}:{frame.line}"
        print_message(f"{indent}  from: {place} in {clean(frame.function)}", err=err)
        if text := frame.text or _line_on_disk(frame):
            line = f"{indent}    {frame.line} | {clean(text)}"
            print_message(line, dim=True, err=err)
    if left:
        line = f"{indent}  from: {left} more calls; -v shows them"
        print_message(line, dim=True, err=err)


def _line_on_disk(frame: Frame) -> str:
    """Return the line of *frame* as its file has it now."""
    from luminal.managers.excerpt import lines_around

    lines = lines_around(frame.file, frame.line, 0)
    return lines[0][1].strip() if lines else ""


# --- Files ---------------------------------------------------------------------------


def write_new_files(directory: str, files: Mapping[str, str]) -> list[str]:
    """Write *files* below *directory*, all of them or none; overwrite nothing.

    Args:
        directory: Absolute path; made where it is missing.
        files: Path below *directory*, with slashes → text.

    Returns:
        Their absolute paths.

    Raises:
        PathTakenError: One of them exists; nothing has been written.
        OSError: The system fails to write; what had been written is removed again.
    """
    from luminal.errors import PathTakenError

    paths = {os.path.join(directory, *name.split("/")): name for name in files}
    for path in paths:
        if os.path.lexists(path):
            raise PathTakenError(
                "file exists",
                file=path,
                why="existing files are not overwritten",
                hint="choose another name or directory, or remove the file",
            )
    written: list[str] = []
    try:
        for path, name in paths.items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "x", encoding="utf-8") as file:
                written.append(path)
                file.write(files[name])
    except OSError:
        for path in written:
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise
    return list(paths)


# --- The life of the process ---------------------------------------------------------


def run_async(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run *coroutine* as `asyncio.run` does; each signal wakes the event loop.

    Handlers of `signal.signal` run in the main thread's next instruction, and a loop
    that waits has none if the system gave the signal to another thread. With
    `loop.add_signal_handler` a loop that is blocked would never run the handlers, and
    closing the loop would remove them, so that a late signal kills the process.
    """
    import asyncio
    import signal
    import socket

    if os.name == "nt":
        return asyncio.run(coroutine)  # the loop of Windows does it by itself

    async def run() -> _T:
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            far.setblocking(False)
            loop.add_reader(near, near.recv, 4096)
            before = signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
            try:
                return await coroutine
            finally:
                signal.set_wakeup_fd(before)
                loop.remove_reader(near)

    return asyncio.run(run())


EXIT_TIMEOUT = 5.0
"""Seconds that threads have to end after everything was unloaded."""


def exit_now(code: int, abandoned: Sequence[str] = ()) -> NoReturn:
    """End the process at once; print what is *abandoned*, and which threads."""
    threads = [
        f"thread {thread.name!r}"
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon
    ]
    for each in (*abandoned, *threads):
        write_unbuffered(f"luminal: abandoned {each}\n")
    os._exit(code)


def exit_after_timeout(code: int) -> None:
    """End the process in `EXIT_TIMEOUT` seconds, if threads keep it from ending.

    Args:
        code: Exit code for that case.
    """

    def wait() -> None:
        threading.Event().wait(EXIT_TIMEOUT)
        sys.stdout.flush()
        exit_now(code)

    threading.Thread(target=wait, name="luminal-exit", daemon=True).start()


def discard_output() -> None:
    """Redirect streams that cannot be written any more to the null device.

    Else the interpreter would flush them again at its end, and complain.
    """
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            os.close(null)


def write_unbuffered(text: str) -> None:
    """Write to standard error past the buffers, which a signal handler must not use."""
    with contextlib.suppress(OSError):  # standard error is closed
        os.write(2, text.encode(errors="backslashreplace"))
