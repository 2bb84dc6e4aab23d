"""What a host has counted, in a file that outlives its processes.

A `History` writes what was counted since it wrote last, once a minute and at the end,
on a thread of its own. It adds that to the rows of the present five minutes, so that
several processes of one host, and one after the other, are merged by addition. SQLite
makes each write whole or not at all: a process that is killed loses its last minute,
never the file. Old rows are merged to hours and then to days, and the oldest are
dropped, so that the file stays small.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import re
import stat
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

import attrs

from luminal._forks import begin_anew_in_forks
from luminal.hooks._totals import BUCKETS
from luminal.metrics._snapshot import (
    EventTotal,
    MetricsSnapshot,
    PhaseTotal,
    errors_of,
    snapshot,
)
from luminal.store import fingerprint, state_directory
from luminal.supervise import unowned

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping

    from luminal.hooks import HookTotal
    from luminal.managers import Loader

__all__ = [
    "History",
    "HistoryRecord",
    "LoadSpan",
    "histories",
    "history_file",
    "read_history",
]

_VERSION: Final = 1
"""Of the tables; a file of a later one is not written."""

_INTERVAL: Final = 60.0
_FINEST: Final = 300
"""Seconds of a row that is being written."""

_COARSER: Final = ((3600, 3 * 3600), (86400, 2 * 86400))
"""Seconds of a row → the age from which on rows have them."""

_OLDEST: Final = 90 * 86400
_LARGEST: Final = 32 * 2**20
"""Bytes of the file above which the oldest rows are dropped."""

_MOST_RUNS: Final = 1000
_BUSY: Final = 10.0
"""Seconds to wait for another process that writes."""

_ENDING: Final = ".sqlite"

_BUCKETS: Final = tuple([f"b{n}" for n in range(BUCKETS)])

_NO_SQLITE: Final = "this Python was built without sqlite3"

_Key = tuple[str, ...]

# Table → the columns of its key after the time, and those that are added up.
_TABLES: Final[dict[str, tuple[_Key, _Key]]] = {
    "hooks": (
        ("photon", "hook"),
        (
            *("calls", "estimated", "errors", "skipped"),
            *("timed", "seconds", "on_loop", *_BUCKETS),
        ),
    ),
    "events": (("kind", "photon"), ("count", "seconds")),
    "phases": (("step", "phase"), ("count", "seconds", *_BUCKETS)),
    "errors": (("photon", "place", "what", "error"), ("count",)),
}

# ruff: noqa: S608 - names in SQL are those of `_TABLES`

_logger = logging.getLogger("luminal.store")


def history_file(name: str | None = None) -> str | None:
    """Return the file of a host's history, whether it exists or not.

    Args:
        name: A name for the host, of letters, digits, ``.``, ``_`` and ``-``. By
            default one is made of the program and of the current directory, so that
            the processes of one host share a file.

    Returns:
        Its path in the state directory; None for a user without a home directory.

    Raises:
        ValueError: The name has other characters.
    """
    if name is None:
        program = os.path.abspath(sys.argv[0] if sys.argv and sys.argv[0] else "-")
        folder, file = os.path.split(program)
        stem = os.path.basename(folder) if file == "__main__.py" else file
        stem = re.sub(r"[^\w.-]", "_", stem, flags=re.ASCII).removesuffix(".py")
        here = os.path.realpath(os.curdir)
        place = f"{here}\0{stem}".encode("utf-8", "surrogateescape")
        name = f"{stem}-{fingerprint(place)[:12]}"
    elif not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(
            f"history={name!r} is no name of letters, digits, '.', '_' and '-'"
        )
    directory = state_directory()
    if directory is None:
        return None
    return os.path.join(directory, "history", name + _ENDING)


def histories() -> dict[str, str]:
    """Return name → file of the histories in the state directory."""
    directory = os.path.join(state_directory() or "", "history")
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return {}
    return {
        name.removesuffix(_ENDING): os.path.join(directory, name)
        for name in names
        if name.endswith(_ENDING)
    }


class History:
    """Writes what a host counts to its file, on a thread of its own.

    Nothing is raised for the state of the disk: what cannot be written is kept for the
    next time, and said once.

    Args:
        loader: The host; it is referred to weakly.
        file: Where.
        interval: Seconds between two writes.
    """

    def __init__(self, loader: Loader, file: str, interval: float = _INTERVAL) -> None:
        self.file = file
        self._loader = weakref.ref(loader)
        self._interval = interval
        self._warned = ""
        self._is_running = False
        self.begin_anew()

    def begin_anew(self) -> None:
        """Count from zero; in a process that was forked, with a thread of its own."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        # What was counted when it was written last.
        self._last: dict[str, dict[_Key, tuple[float, ...]]] = {}
        self._began = time.time()
        self._run = f"{os.getpid()}-{self._began:.6f}"
        self._tidied = 0.0
        if self._is_running:
            self._start_thread()

    def start(self) -> None:
        """Write from now on, until the host or the process ends."""
        self._is_running = True
        begin_anew_in_forks(self)
        atexit.register(_write_at_exit, weakref.ref(self))
        self._start_thread()

    def _start_thread(self) -> None:
        thread = threading.Thread(
            target=_write_on,
            args=(weakref.ref(self), self._ended, self._interval),
            name="luminal-history",
            daemon=True,
        )
        with unowned():
            thread.start()

    def write(self) -> None:
        """Write what was counted since the last time; from any thread."""
        loader = self._loader()
        if loader is None:
            return
        with self._lock:
            now = _counted(loader)
            added = {
                table: _added(self._last.get(table, {}), rows)
                for table, rows in now.items()
            }
            try:
                import sqlite3
            except ImportError as error:
                self._warn(f"{_NO_SQLITE}: {error}")
                return
            try:
                self._add(added)
            except (sqlite3.Error, OSError) as error:
                self._warn(str(error))
                return
            self._last, self._warned = now, ""

    def _add(self, added: Mapping[str, Mapping[_Key, tuple[float, ...]]]) -> None:
        import sqlite3

        _make_private(self.file)
        before = os.stat(self.file).st_ino
        try:
            self._store(added)
        except sqlite3.OperationalError:
            raise  # the disk, or another process; it may work the next time
        except sqlite3.DatabaseError as error:
            # Another process may have replaced it meanwhile.
            if os.stat(self.file).st_ino == before:
                os.replace(self.file, self.file + ".damaged")
                with contextlib.suppress(OSError):
                    os.unlink(self.file + "-journal")
            self._warn(f"it was damaged ({error}) and is kept as '.damaged'")
            _make_private(self.file)
            self._store(added)

    def _store(self, added: Mapping[str, Mapping[_Key, tuple[float, ...]]]) -> None:
        now = time.time()
        with contextlib.closing(_connect(self.file)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            _create(connection)
            slot = int(now) // _FINEST * _FINEST
            for table, rows in added.items():
                values = [(slot, _FINEST, *key, *row) for key, row in rows.items()]
                connection.executemany(_insert(table), values)
            connection.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET seen = excluded.seen",
                (self._run, os.getpid(), self._began, now, *_about()),
            )
            if not 0 <= now - self._tidied < _COARSER[0][0]:
                _merge_old(connection, now)
                self._tidied = now
            _drop_oldest(connection)
            connection.execute("COMMIT")

    def _warn(self, why: str) -> None:
        if why != self._warned:  # once, until it works again
            self._warned = why
            _logger.warning("the history %r cannot be written: %s", self.file, why)


def _write_on(
    reference: weakref.ref[History], ended: threading.Event, interval: float
) -> None:
    """Write again and again, as long as the history and its host are there."""
    while not ended.wait(interval):
        history = reference()
        if history is None or history._loader() is None:  # noqa: SLF001 - its thread
            return
        history.write()
        del history


def _write_at_exit(reference: weakref.ref[History]) -> None:
    history = reference()
    if history is not None:
        history.write()


def _counted(loader: Loader) -> dict[str, dict[_Key, tuple[float, ...]]]:
    """Return table → key → numbers that were counted since the host began."""
    numbers = snapshot(loader)
    return {
        "hooks": {
            (h.photon, h.hook): (
                *(h.calls, 0 if h.is_exact else h.calls, h.errors, h.skipped),
                *(h.timed, h.seconds, h.seconds_on_loop, *h.buckets),
            )
            for h in numbers.hooks
        },
        "events": {(e.kind, e.photon): (e.count, e.seconds) for e in numbers.events},
        "phases": {
            (p.step, p.phase): (p.count, p.seconds, *p.buckets) for p in numbers.phases
        },
        "errors": _counted_errors(loader),
    }


def _counted_errors(loader: Loader) -> dict[_Key, tuple[float, ...]]:
    """Return how often there was an error, by photon, place, kind and class.

    Names of tasks and texts of errors are left out: those of one place may differ each
    time, and only the latest are known.
    """
    counts: dict[_Key, tuple[float, ...]] = {}
    for each in errors_of(loader):
        what = each["what"]
        if not what.startswith("hook "):
            what = re.split(r" ['\"]", what)[0]
        key = each["photon"], each["where"], what, each["error"].partition(":")[0]
        (before,) = counts.get(key, (0,))
        counts[key] = (before + each["count"],)
    return counts


def _added(
    before: Mapping[_Key, tuple[float, ...]], now: Mapping[_Key, tuple[float, ...]]
) -> dict[_Key, tuple[float, ...]]:
    """Return what was added; a count that is smaller has begun anew."""
    added = {}
    for key, row in now.items():
        old = before.get(key)
        if old is not None and old[0] <= row[0]:
            row = tuple([b - a for a, b in zip(old, row, strict=True)])  # noqa: PLW2901
        if any(row):
            texts = [text.encode("utf-8", "backslashreplace").decode() for text in key]
            added[tuple(texts)] = row
    return added


# --- The file ------------------------------------------------------------------------


def _make_private(file: str) -> None:
    """Make the file and its directory for this user alone.

    Raises:
        OSError: They cannot be made, or are another user's.
    """
    directory = os.path.dirname(file)
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    about = os.lstat(directory)
    if not stat.S_ISDIR(about.st_mode):
        raise NotADirectoryError(f"{directory!r} is no directory")
    if os.name != "nt" and (about.st_uid != os.geteuid() or about.st_mode & 0o022):
        raise PermissionError(f"{directory!r} is open to other users")
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(file, flags, 0o600))


def _connect(file: str) -> sqlite3.Connection:
    import sqlite3

    return sqlite3.connect(file, timeout=_BUSY, isolation_level=None)


def _create(connection: sqlite3.Connection) -> None:
    import sqlite3

    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > _VERSION:
        raise sqlite3.OperationalError(f"a later version has written it: {version}")
    for table, (key, numbers) in _TABLES.items():
        columns = ", ".join([*key, *numbers])
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table} (slot, width, {columns},"
            f" PRIMARY KEY (slot, {', '.join(key)})) WITHOUT ROWID"
        )
    connection.execute(
        "CREATE TABLE IF NOT EXISTS runs (run PRIMARY KEY, pid, began, seen,"
        " directory, command) WITHOUT ROWID"
    )
    connection.execute(f"PRAGMA user_version = {_VERSION}")


def _insert(table: str, source: str = "") -> str:
    """Return SQL that adds rows to those that are there.

    Args:
        table: Its name.
        source: Where they come from; by default parameters.
    """
    key, numbers = _TABLES[table]
    marks = ", ".join("?" * (2 + len(key) + len(numbers)))
    sums = ", ".join([f"{n} = {n} + excluded.{n}" for n in numbers])
    return (
        f"INSERT INTO {table} {source or f'VALUES ({marks})'}"
        f" ON CONFLICT DO UPDATE SET width = MAX(width, excluded.width), {sums}"
    )


def _merge_old(connection: sqlite3.Connection, now: float) -> None:
    """Merge rows that are old enough to longer spans; drop the oldest."""
    for table, (key, numbers) in _TABLES.items():
        connection.execute(f"DELETE FROM {table} WHERE slot < ?", (now - _OLDEST,))
        for width, age in _COARSER:
            # Whole spans only: to one that is merged, nothing is added any more.
            cut = int(now - age) // width * width
            names = ", ".join([*key, *[f"SUM({n})" for n in numbers]])
            found = f"FROM {table} WHERE slot < {cut} AND width < {width}"
            group = ", ".join(key)
            rows = connection.execute(
                f"SELECT slot / {width} * {width} AS s, {width}, {names} {found}"
                f" GROUP BY s, {group}"
            ).fetchall()
            connection.execute(f"DELETE {found}")
            connection.executemany(_insert(table), rows)
    connection.execute("DELETE FROM runs WHERE seen < ?", (now - _OLDEST,))
    connection.execute(
        "DELETE FROM runs WHERE run NOT IN"
        f" (SELECT run FROM runs ORDER BY seen DESC LIMIT {_MOST_RUNS})"
    )


def _drop_oldest(connection: sqlite3.Connection) -> None:
    """Drop the oldest rows until the file is small enough."""

    def value(name: str) -> int:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

    size = value("page_size")
    while (value("page_count") - value("freelist_count")) * size > _LARGEST:
        slots = [
            connection.execute(f"SELECT MIN(slot) FROM {table}").fetchone()[0]
            for table in _TABLES
        ]
        oldest = min([slot for slot in slots if slot is not None], default=None)
        if oldest is None:
            return
        for table in _TABLES:
            connection.execute(f"DELETE FROM {table} WHERE slot = ?", (oldest,))


def _about() -> tuple[str, str]:
    """Return the current directory and the command line of this process."""
    try:
        here = os.path.realpath(os.curdir)
    except OSError:
        here = ""
    words = " ".join(sys.argv)[:1000]
    return tuple(t.encode("utf-8", "backslashreplace").decode() for t in (here, words))  # type: ignore[return-value]


# --- Reading -------------------------------------------------------------------------


@attrs.frozen
class LoadSpan:
    """What all hooks did in a span of time.

    Attributes:
        at: Wall-clock time at which it begins.
        seconds: How long it is.
        calls, errors: Of all photons in all hooks.
        busy: Seconds in all implementations.
        buckets: The timed calls by time, see `luminal.hooks.records.bounds`.
    """

    at: float
    seconds: float
    calls: int
    errors: int
    busy: float
    buckets: tuple[int, ...]


@attrs.frozen
class HistoryRecord:
    """What a history has of a host since some time.

    Attributes:
        file: Where it is from.
        began: Wall-clock time at which its first span begins; rows are merged with
            age, so this is earlier than what was asked for by up to a day.
        at: Wall-clock time until which it was written.
        runs: How many processes wrote it.
        directory, command: Of the latest one.
        numbers: As a snapshot of the host would have them.
        errors: As `luminal.metrics.errors_of` has them.
        load: Oldest first.
    """

    file: str
    began: float
    at: float
    runs: int
    directory: str
    command: str
    numbers: MetricsSnapshot
    errors: tuple[dict[str, Any], ...]
    load: tuple[LoadSpan, ...]


def read_history(file: str, since: float = 0.0) -> HistoryRecord:
    """Return what was written since some time; hosts may write meanwhile.

    Args:
        file: Path of the history.
        since: Wall-clock time in seconds.

    Raises:
        OSError: It cannot be read, or is no history.
    """
    from urllib.parse import quote

    if not os.path.isfile(file):
        raise FileNotFoundError(f"there is no history {file!r}")
    try:
        import sqlite3
    except ImportError as missing:
        raise OSError(f"{file!r} cannot be read: {_NO_SQLITE}: {missing}") from missing
    place = f"file:{quote(os.path.abspath(file))}"
    for mode in ("ro", "rw"):
        try:
            with contextlib.closing(
                sqlite3.connect(
                    f"{place}?mode={mode}",
                    timeout=_BUSY,
                    isolation_level=None,
                    uri=True,
                )
            ) as connection:
                connection.execute("BEGIN")
                return _read(connection, file, since)
        except sqlite3.OperationalError as found:
            # Who was killed while he wrote leaves a journal; to read, it is undone.
            error: sqlite3.Error = found
        except sqlite3.Error as found:
            error = found
            break
    raise OSError(f"{file!r} is no history that can be read: {error}") from error


def _read(connection: sqlite3.Connection, file: str, since: float) -> HistoryRecord:
    runs = connection.execute(
        "SELECT seen, directory, command, began FROM runs WHERE seen >= ?"
        " ORDER BY seen",
        (since,),
    ).fetchall()
    load = tuple(_load(connection, since))
    at = float(runs[-1][0]) if runs else time.time()
    numbers = MetricsSnapshot(
        host="",
        pid=0,
        at=at,
        photons=(),
        hooks=tuple(_hooks(_sums(connection, "hooks", since))),
        events=tuple(
            EventTotal(kind, photon, count, seconds)
            for kind, photon, count, seconds in _sums(connection, "events", since)
        ),
        phases=tuple(
            PhaseTotal(step, phase, count, seconds, tuple(buckets))
            for step, phase, count, seconds, *buckets in _sums(
                connection, "phases", since
            )
        ),
        subscriber_failures=0,
        events_dropped=0,
        old_generations=0,
        shared_state_changes={},
    )
    errors = [
        {
            "photon": photon,
            "where": where,
            "what": what,
            "error": error,
            "count": count,
            "at": float(last),
        }
        for photon, where, what, error, count, last in _sums(
            connection, "errors", since, ", MAX(slot + width)"
        )
    ]
    directory, command = runs[-1][1:3] if runs else ("", "")
    # A span may be longer than a process was there.
    first = min([run[3] for run in runs], default=since)
    return HistoryRecord(
        file=file,
        began=max(first, load[0].at) if load else first,
        at=at,
        runs=len(runs),
        directory=directory,
        command=command,
        numbers=numbers,
        errors=tuple([{**e, "at": min(e["at"], at)} for e in errors]),
        load=tuple([_clipped(span, first, at) for span in load]),
    )


def _clipped(span: LoadSpan, first: float, last: float) -> LoadSpan:
    """Return *span* without the time before the first process and after the last."""
    begin, end = max(span.at, first), min(span.at + span.seconds, last)
    return attrs.evolve(span, at=begin, seconds=max(end - begin, 1.0))


def _sums(
    connection: sqlite3.Connection, table: str, since: float, more: str = ""
) -> Iterator[tuple[Any, ...]]:
    key, numbers = _TABLES[table]
    names, sums = ", ".join(key), ", ".join([f"SUM({n})" for n in numbers])
    yield from connection.execute(
        f"SELECT {names}, {sums}{more} FROM {table} WHERE slot + width > ?"
        f" GROUP BY {names}",
        (since,),
    )


def _hooks(rows: Iterable[tuple[Any, ...]]) -> Iterator[HookTotal]:
    from luminal.hooks import HookTotal

    for photon, hook, calls, estimated, errors, skipped, *times in rows:
        timed, seconds, on_loop, *buckets = times
        yield HookTotal(
            photon=photon,
            hook=hook,
            calls=calls,
            is_exact=not estimated,
            errors=errors,
            seconds=seconds,
            in_flight=0,
            skipped=skipped,
            timed=timed,
            seconds_on_loop=on_loop,
            buckets=tuple(buckets),
        )


def _load(connection: sqlite3.Connection, since: float) -> Iterator[LoadSpan]:
    sums = ", ".join([f"SUM({n})" for n in ("calls", "errors", "seconds", *_BUCKETS)])
    for at, width, calls, errors, busy, *buckets in connection.execute(
        f"SELECT slot, MAX(width), {sums} FROM hooks WHERE slot + width > ?"
        " GROUP BY slot ORDER BY slot",
        (since,),
    ):
        yield LoadSpan(float(at), float(width), calls, errors, busy, tuple(buckets))
