"""The line magic ``%photon``: its commands, the host behind it, and its tables."""

from __future__ import annotations

import atexit
import datetime as dt
import html
import os
import shlex
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from luminal.discovery import Discovered, discover, discover_file
from luminal.errors import LuminalError, MissingExtraError, did_you_mean
from luminal.lifecycle import Handler
from luminal.managers.loader import Handlers, Loader, start_all
from luminal.model import Event, EventKind, Report
from luminal.reload import LoopRunner

try:
    from IPython.core.error import UsageError
    from IPython.core.magic import Magics, line_magic, magics_class
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "'%photon' needs 'IPython'",
        why=f"{error.name!r} is not installed",
        hint="pip install 'luminal-photons[ipython]'",
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from IPython.core.interactiveshell import InteractiveShell

    from luminal.model import Candidate, Problem

__all__ = ["PhotonMagics", "add_formatters", "remove_formatters"]

T = TypeVar("T")

_USAGE = """%photon list [PATH ...]    list loaded photons, or those found at paths
%photon load PATH ...      load and start the photons of files and directories
%photon reload [NAME ...]  reload photons from their files; by default all
%photon unload [NAME ...]  stop and unload photons; by default all
%photon watch DIRECTORY    load and start its photons, and reload what is saved
%photon watch --stop       stop watching, and unload what the watch loaded"""

_PRINTED = frozenset(
    {
        EventKind.REJECTED,
        EventKind.RECOVERED,
        EventKind.UNCHANGED,
        EventKind.STARTED,
        EventKind.FAILED,
        EventKind.RAISED,
        EventKind.SWAPPED,
        EventKind.QUARANTINED,
        EventKind.RELEASED,
        EventKind.CONFIRMED,
        EventKind.ROLLED_BACK,
        EventKind.ORPHANED,
        EventKind.UNLOADED,
        EventKind.SIDE_EFFECT,
        EventKind.OUTDATED,
        EventKind.DRIFTED,
        EventKind.THROTTLED,
        EventKind.LEAKED,
    }
)
"""Events that are printed below the next cell, if no command caused them."""


@magics_class
class PhotonMagics(Magics):
    """The line magic ``%photon``.

    The user's namespace gets its Loader as ``photon_loader``.

    Args:
        shell: The shell that it belongs to.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._host = _Host()
        shell.user_ns["photon_loader"] = self._host.loader

    @line_magic
    def photon(self, line: str) -> Table | None:
        """Load, list, reload and watch photons; ``%photon`` alone lists the commands.

        Args:
            line: A command and its arguments.

        Raises:
            UsageError: The command failed. IPython prints it without a traceback.
        """
        commands: dict[str, Callable[[list[str]], Table]] = {
            "list": self._list,
            "load": self._load,
            "reload": self._reload,
            "unload": self._unload,
            "watch": self._watch,
        }
        try:
            command, *words = shlex.split(line) or ["help"]
        except ValueError as error:
            raise UsageError(f"cannot read {line!r}: {error}") from None
        if command in ("help", "--help", "-h"):
            print(_USAGE)  # noqa: T201 - output of the shell
            return None
        if command not in commands:
            question = did_you_mean(command, commands, "; ")
            raise UsageError(f"no such command: {command!r}{question}\n{_USAGE}")
        try:
            return commands[command](words)
        except LuminalError as error:
            raise UsageError(str(error)) from None

    def _list(self, paths: list[str]) -> Table:
        if paths:
            return _table_of_candidates(self._host.find(paths))
        return _table_of_handlers(self._host.loader.photons.values())

    def _load(self, paths: list[str]) -> Table:
        if not paths:
            raise UsageError("name a file or a directory: %photon load PATH ...")
        return _table_of_report(self._host.load(paths))

    def _reload(self, names: list[str]) -> Table:
        return _table_of_handlers(self._host.reload(names))

    def _unload(self, names: list[str]) -> Table:
        self._host.unload(names)
        return self._list([])

    def _watch(self, words: list[str]) -> Table:
        if len(words) != 1:
            raise UsageError("name one directory: %photon watch DIRECTORY")
        if words == ["--stop"]:
            self._host.stop_watching()
            return self._list([])
        return _table_of_report(self._host.watch(words[0]))

    def print_events(self, *_: Any) -> None:
        """Print what the watch has done since the last cell."""
        for event in self._host.take_events():
            print(event)  # noqa: T201 - output of the shell

    def close(self) -> None:
        """Unload all photons and remove ``photon_loader``."""
        self._host.close()
        names = self.shell.user_ns if self.shell is not None else {}
        if names.get("photon_loader") is self._host.loader:
            del names["photon_loader"]


class _Host:
    """A Loader, and the event loop that runs its coroutines.

    Its methods are called from the shell's thread.

    Attributes:
        loader: The Loader.
    """

    def __init__(self) -> None:
        self.loader = Loader()
        self._runner = LoopRunner()
        # Filled by any thread, emptied by the shell's.
        self._events: deque[Event] = deque(maxlen=100)
        self._is_used = False
        self.loader.events.subscribe(self._keep)
        atexit.register(self.close)

    def _keep(self, event: Event) -> None:
        if event.kind in _PRINTED:
            self._events.append(event)

    def take_events(self) -> list[Event]:
        """Return the events since the last time that no method of this caused."""
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def find(self, paths: Sequence[str]) -> list[Candidate]:
        """Return the photons of files and directories. Imports nothing."""
        found: list[Candidate] = []
        for path in map(os.path.expanduser, paths):
            if os.path.isfile(path):
                found += discover_file(path)
            else:
                found += discover(path, group=None)
        return found

    def load(self, paths: Sequence[str]) -> Report:
        """Load and start the photons at *paths*.

        Returns:
            The outcome of each photon; one that fails does not stop the others.
        """
        loaded = {handler.filepath for handler in self.loader.photons.values()}
        found = [c for c in self.find(paths) if c.location not in loaded]
        return self._run(lambda: self._load(found))

    async def _load(self, found: Sequence[Candidate]) -> Report:
        report = await self.loader.load(found)
        photons = self.loader.photons
        started = await start_all([photons[each.photon] for each in report.loaded])
        return report.followed_by(started)

    def reload(self, names: Sequence[str]) -> list[Handler]:
        """Reload photons by name or file; all of them if there are no names.

        Raises:
            LuminalError: New generations were rejected.
        """
        wanted = [*(names or self.loader.photons)]
        return self._run(lambda: self.loader.reload_photons(wanted))

    def unload(self, names: Sequence[str]) -> None:
        """Stop and unload photons; all of them if there are no names."""
        wanted = [*(names or self.loader.photons)]
        self._run(lambda: self.loader.unload_photons(wanted))

    def watch(self, directory: str) -> Report:
        """Load and start the photons of *directory*, and watch it."""
        report = self.load([directory])
        path = os.path.expanduser(directory)
        self._run(lambda: self.loader.watch_photons(path))
        return report

    def stop_watching(self) -> None:
        """Stop watching, and unload what the watch loaded."""
        self._run(self.loader.stop_watching_photons)

    def close(self) -> None:
        """Unload everything. May be called twice."""
        atexit.unregister(self.close)
        if not self._is_used:
            return
        try:
            self._runner.run(self.loader.close)
        finally:
            self._runner.close()

    def _run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run the coroutine that *make* returns; forget the events that it causes."""
        self._is_used = True
        before = list(self._events)
        try:
            result: T = self._runner.run(make)
        finally:
            self._events.clear()
            self._events.extend(before)
        return result


@attrs.frozen(repr=False)
class Table:
    """A table that is text in a terminal and HTML in a notebook.

    Attributes:
        headings: One for each column.
        rows: The cells, as many in each row as there are headings.
        empty: Shown if there are no rows.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str = "no photons"

    def __repr__(self) -> str:
        if not self.rows:
            return self.empty
        lines = [self.headings, *self.rows]
        # Only a last cell, an error, has several lines; it is indented as a whole.
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
            "<tr>" + "".join(f"<td>{_html_of(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_of(cell: str) -> str:
    text = html.escape(cell)
    return f"<pre>{text}</pre>" if "\n" in cell else text


def _table_of_handlers(handlers: Iterable[Handler]) -> Table:
    """Return the table of loaded photons."""
    rows = tuple(
        (
            handler.name,
            str(handler.state),
            str(handler.number),
            dt.datetime.fromtimestamp(handler.since).strftime("%H:%M:%S"),
            _shortest(handler.filepath),
            _text_of(handler.problem, handler.name),
        )
        for handler in handlers
    )
    headings = ("photon", "state", "generation", "since", "file", "problem")
    return Table(headings, rows, "no photon is loaded")


def _table_of_candidates(candidates: Iterable[Candidate]) -> Table:
    """Return the table of photons that were found."""
    rows = tuple(
        (
            candidate.name,
            candidate.version,
            candidate.description,
            _shortest(candidate.location),
            _text_of(candidate.problem, candidate.name),
        )
        for candidate in candidates
    )
    headings = ("photon", "version", "description", "file", "problem")
    return Table(headings, rows, "no photon was found")


def _table_of_report(report: Report) -> Table:
    """Return the table of the outcomes of a batch."""
    rows = tuple(
        (
            outcome.photon,
            str(outcome.result),
            str(outcome.generation or ""),
            _shortest(outcome.file),
            _text_of(outcome.problem, outcome.photon),
        )
        for outcome in report
    )
    headings = ("photon", "result", "generation", "file", "problem")
    return Table(headings, rows)


def _shortest(path: str) -> str:
    """Return *path*, relative to the working directory if that is shorter."""
    if not path:
        return ""
    try:
        return min(os.path.relpath(path), path, key=len)
    except ValueError:  # another drive
        return path


def _text_of(problem: Problem | None, photon: str) -> str:
    return "" if problem is None else str(problem.error(photon))


_TABLES: dict[type, Callable[[Any], Table]] = {
    Handler: lambda handler: _table_of_handlers([handler]),
    Handlers: _table_of_handlers,
    Report: _table_of_report,
    Discovered: _table_of_candidates,
}


def add_formatters(shell: InteractiveShell) -> None:
    """Show Handlers, reports and discovered photons as tables.

    Args:
        shell: The shell that shows them: in HTML, and reports in text as well.
    """
    formatters = _formatters(shell)
    for kind, table in _TABLES.items():
        formatters["text/html"].for_type(kind, _as_html(table))
    formatters["text/plain"].for_type(Report, _print_report)


def remove_formatters(shell: InteractiveShell) -> None:
    """Undo `add_formatters`.

    Args:
        shell: The same shell.
    """
    formatters = _formatters(shell)
    for kind in _TABLES:
        formatters["text/html"].pop(kind, None)
    formatters["text/plain"].pop(Report, None)


def _formatters(shell: InteractiveShell) -> Any:
    return shell.display_formatter.formatters  # type: ignore[union-attr] # it has one


def _as_html(table: Callable[[Any], Table]) -> Callable[[Any], str]:
    return lambda value: table(value)._repr_html_()


def _print_report(report: Report, printer: Any, is_cycle: bool) -> None:
    del is_cycle  # a report contains no report
    printer.text(str(report))
