"""Watch directories from a background thread, and deliver complete batches of changes.

`Watcher` is the public face of the thread; `WatchLoop` is what the thread does;
`Reporter` remembers which states of the watch were reported. The thread belongs to no
event loop. It never reads a file, and no exception of a receiver ends it.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import logging
import os
import queue
import sys
import threading
import time
import weakref
from concurrent.futures import Future
from itertools import filterfalse
from typing import TYPE_CHECKING, Self

import attrs

from luminal.errors import (
    DirectoryNotFoundError,
    ThreadManagerAlreadyRunningError,
)
from luminal.reload.watching._ignore import is_rebase, silent_file_system
from luminal.reload.watching._settle import Cause, Note, NoteCode, Settle, Timing
from luminal.reload.watching._snapshot import Snapshot, Tracker
from luminal.reload.watching._source import (
    FileEvent,
    PollingSource,
    polling_of_environment,
)
from luminal.supervise import unowned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from luminal.reload.watching._settle import Batch
    from luminal.reload.watching._snapshot import Difference
    from luminal.reload.watching._source import Source

__all__ = ["Lost", "Reporter", "WatchLoop", "Watcher", "new_source"]

_log = logging.getLogger("luminal.reload.watching")

# Seconds between checks of locks, while a batch is open and no event reports them.
_LOCK_INTERVAL = 0.050


@attrs.define
class Reporter:
    """Reports each state of the watch once, when it begins or ends.

    Attributes:
        send: Takes each note.
        poll: Seconds between two scans where events are missed; named in the notes.
    """

    send: Callable[[Note], None]
    poll: float
    # States that were reported and hold still, with the directory concerned.
    _reported: set[tuple[NoteCode, str]] = attrs.field(init=False, factory=set)

    def forget(self, directory: str) -> None:
        """Forget the states of *directory*, which is not watched any more."""
        self._reported = {state for state in self._reported if state[1] != directory}

    def report(
        self,
        *,
        polling_reason: str | None,
        silent: Mapping[str, str],
        gone: Iterable[str],
        unreadable: Iterable[str],
        stale_locks: Iterable[str] = (),
    ) -> None:
        """Report the states that are new, and those that have ended.

        Args:
            polling_reason: Why the source misses changes; None if it does not.
            silent: Directory → type of its file system, which sends no events.
            gone: Watched directories that do not exist.
            unreadable: Folders that cannot be listed.
            stale_locks: Locks that exist for too long to be waited for.
        """
        every = f"every file is looked at every {self.poll:g} s"
        now: dict[tuple[NoteCode, str], str] = {}
        if polling_reason:
            now[NoteCode.WATCH_LIMIT, ""] = f"{polling_reason}: {every}"
        for path, kind in silent.items():
            text = f"{path!r} is on a file system without events ({kind}): {every}"
            now[NoteCode.NO_EVENTS, path] = text
        for path in gone:
            text = f"the watched directory {path!r} is gone"
            now[NoteCode.GONE, path] = text
        for path in unreadable:
            text = f"{path!r} cannot be read: its files are taken as unchanged"
            now[NoteCode.UNREADABLE, path] = text
        for path in filterfalse(is_rebase, stale_locks):  # a rebase may wait for a user
            text = (
                f"{path!r} is there for a long time, so changes do not wait for it any "
                "more: delete it if the git or pip that made it does not run any more"
            )
            now[NoteCode.STALE_LOCK, path] = text
        before, self._reported = self._reported, set(now)
        for code, path in before - self._reported:
            if code is NoteCode.GONE:
                text = f"the watched directory {path!r} is back"
                self.send(Note(NoteCode.RETURNED, path, text))
            elif code is NoteCode.UNREADABLE:
                text = f"{path!r} can be read again"
                self.send(Note(NoteCode.RETURNED, path, text))
        for (code, path), text in now.items():
            if (code, path) not in before:
                self.send(Note(code, path, text))


def new_source(force_polling: bool | None = None) -> Source:
    """Return the best source of file events that this system has."""
    if force_polling:
        return PollingSource()
    try:
        if sys.platform == "linux":
            from luminal.reload.watching._inotify import InotifySource

            return InotifySource()
        else:  # noqa: RET505 - the type checker leaves out the other system's branch
            from luminal.reload.watching._watchfiles import WatchfilesSource

            return WatchfilesSource()
    except (ImportError, OSError) as problem:
        return PollingSource(f"the system's file events are unavailable ({problem})")


@attrs.define
class WatchLoop:
    """What the watcher's thread does: `run_once`, again and again.

    Attributes:
        tracker: The watched trees and the open batch.
        deliver: Takes each batch.
        send: Takes each note.
        timing: How long to wait for what.
        force_polling: See `Watcher`.
        is_paused: Whether batches stay open; set from any thread.
    """

    tracker: Tracker
    deliver: Callable[[Batch], None]
    send: Callable[[Note], None]
    timing: Timing
    force_polling: bool | None = None
    is_paused: bool = False
    # Roots on file systems that send no events → the file system's type.
    _silent: dict[str, str] = attrs.field(init=False, factory=dict)
    _reporter: Reporter = attrs.field(init=False)
    # The scan under way: interrupted where its budget is used up.
    _current_scan: Iterator[list[Difference]] | None = attrs.field(
        init=False, default=None
    )
    _next_scan: float = attrs.field(init=False, default=0.0)
    # When to look at what cannot be reached.
    _next_look: float = attrs.field(init=False, default=float("inf"))
    # When a function is to be called, and the function.
    _timers: list[tuple[float, Callable[[], object]]] = attrs.field(
        init=False, factory=list
    )

    def __attrs_post_init__(self) -> None:
        self._reporter = Reporter(self.send, self.timing.poll)

    @classmethod
    def begin(
        cls,
        deliver: Callable[[Batch], None],
        send: Callable[[Note], None],
        clock: Callable[[], float],
        timing: Timing | None = None,
        recursive: bool = True,
        force_polling: bool | None = None,
    ) -> WatchLoop:
        """Make a loop with a source of events and nothing to watch yet."""
        timing = timing or Timing()
        snapshot = Snapshot(new_source(force_polling), recursive)
        tracker = Tracker(snapshot, Settle(timing), clock)
        loop = cls(tracker, deliver, send, timing, force_polling)
        loop._plan_scan()
        return loop

    def renew(self) -> None:
        """Use a new source of events, and look at every file once."""
        self.end()
        tracker = self.tracker
        tracker.snapshot.attach(new_source(self.force_polling))
        for root in tracker.roots:
            tracker.snapshot.source.add_link(root)
        tracker.rescan(Cause.RESCAN)

    def add_root(self, root: str) -> None:
        """Watch the tree at *root*."""
        self.tracker.add_root(root)
        self._find_silent_file_systems()
        self._report()
        self._plan_scan()

    def remove_root(self, root: str) -> None:
        """Stop watching the tree at *root*."""
        self.tracker.remove_root(root)
        self._silent.pop(root, None)
        self._reporter.forget(root)

    def wake(self) -> None:
        """Make a sleeping `run_once` return; from any thread."""
        self.tracker.snapshot.source.wake()

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        """Have *function* among those that are due in *seconds*."""
        self._timers.append((self.tracker.clock() + seconds, function))

    def take_due(self) -> list[Callable[[], object]]:
        """Return the functions that are due, each of them once."""
        now = self.tracker.clock()
        due = [function for at, function in self._timers if at <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        return due

    def end(self) -> None:
        """Release descriptors and threads."""
        self.tracker.snapshot.source.close()

    def run_once(self) -> None:
        """Sleep until there are events or something is due; handle it."""
        tracker, settle = self.tracker, self.tracker.settle
        source = tracker.snapshot.source
        if source.wait(self._sleep()):
            self._handle(source.read())
        if tracker.clock() >= self._next_look:
            self._next_look = float("inf")
            self._handle(dict.fromkeys(tracker.unreachable(), FileEvent.RELIST))
        if self.is_paused or not settle.is_pending:
            if tracker.clock() >= self._next_scan:
                self._scan()
            return
        if self._must_check_locks:
            tracker.refresh_locks()
            if settle.is_uncertain and settle.is_due(tracker.clock()):
                tracker.confirm()
        batch = settle.take(tracker.clock())
        if batch is not None:
            if settle.locks:
                self._report()
            self.deliver(batch)

    @property
    def _needs_polling(self) -> bool:
        return bool(self.tracker.snapshot.source.polling_reason or self._silent)

    @property
    def _must_check_locks(self) -> bool:
        """Whether no event reports the end of an open batch."""
        source = self.tracker.snapshot.source
        return (
            not source.reports_locks
            or source.polling_reason is not None
            or self.tracker.settle.is_uncertain
        )

    def _sleep(self) -> float:
        now, due = self.tracker.clock(), self.tracker.settle.due()
        if due is None or self.is_paused:
            due = self._next_scan
        elif self._must_check_locks:
            due = min(due, now + _LOCK_INTERVAL)
        timers = [] if self.is_paused else [at for at, _ in self._timers]
        return max(0.0, min(due, self._next_look, *timers) - now)

    def _handle(self, events: dict[str, FileEvent]) -> None:
        was_there = dict(self.tracker.roots)
        if self.tracker.handle(events):
            text = "more changes than the system's queue holds: looked at every file"
            self.send(Note(NoteCode.OVERFLOW, "", text))
        if self.tracker.roots != was_there or FileEvent.MOUNTED in events.values():
            self._find_silent_file_systems()
            self._plan_scan()
        self._report()

    def _find_silent_file_systems(self) -> None:
        if self.force_polling is None:
            kinds = {
                root: silent_file_system(os.path.realpath(root))
                for root in self.tracker.roots
            }
            self._silent = {root: kind for root, kind in kinds.items() if kind}

    def _plan_scan(self) -> None:
        wait = self.timing.poll if self._needs_polling else self.timing.scan
        self._next_scan = self.tracker.clock() + wait

    def _scan(self) -> None:
        """Look at every file; where events are sent, as far as the budget allows."""
        tracker, needs_polling = self.tracker, self._needs_polling
        began = time.thread_time()
        if self._current_scan is None:
            self._current_scan = self._everything()
        for differences in self._current_scan:
            tracker.note(differences, Cause.SCAN)
            if (
                not needs_polling
                and time.thread_time() - began > self.timing.scan_budget
            ):
                break
        else:
            self._current_scan = None
        self._report()
        self._plan_scan()

    def _everything(self) -> Iterator[list[Difference]]:
        snapshot = self.tracker.snapshot
        for root, was_there in list(self.tracker.roots.items()):
            if root not in self.tracker.roots:
                continue
            if not was_there or not os.path.isdir(root):
                self.tracker.handle({root: FileEvent.RELIST})
            else:
                yield from snapshot.scan(root)

    def _report(self) -> None:
        snapshot = self.tracker.snapshot
        gone = [root for root, there in self.tracker.roots.items() if not there]
        if not gone and not snapshot.unreadable:
            self._next_look = float("inf")
        else:
            soon = self.tracker.clock() + self.timing.unreachable
            self._next_look = min(self._next_look, soon)
        self._reporter.report(
            polling_reason=snapshot.source.polling_reason,
            silent=self._silent,
            gone=gone,
            unreadable=snapshot.unreadable,
            stale_locks=self.tracker.settle.stale_locks(self.tracker.clock()),
        )


class Watcher:
    """Watches directories from a background thread.

    Args:
        directories: What to watch; each must exist when the watch begins, and may be
            deleted and created again later.
        on_batch: Called with each `Batch`, in the watcher's thread. Later changes
            wait until it returns; what it raises is logged.
        recursive: Whether directories inside of directories are watched.
        on_note: Called with each `Note` on the watcher's own state, in its thread;
            without it the notes are logged as warnings.
        clock: Monotonic seconds; the wall clock plays no part.
        force_polling: True looks at every file every ``timing.poll`` seconds. None does
            so where the environment variable ``LUMINAL_POLLING`` asks for it, or the
            file system is known to send no events. False relies on events there too.
        timing: How long to wait for what.

    Raises:
        ValueError: ``LUMINAL_POLLING`` is neither true nor false.
    """

    def __init__(
        self,
        directories: Iterable[str | os.PathLike[str]],
        on_batch: Callable[[Batch], object],
        *,
        recursive: bool = True,
        on_note: Callable[[Note], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        force_polling: bool | None = None,
        timing: Timing | None = None,
    ) -> None:
        if force_polling is None:
            force_polling = polling_of_environment()
        self._directories = list(dict.fromkeys(map(_absolute, directories)))
        self._on_batch = on_batch
        self._on_note = on_note
        self._begin = functools.partial(
            WatchLoop.begin,
            self._deliver,
            self._send,
            clock,
            timing,
            recursive,
            force_polling,
        )
        # Owned by the watcher's thread, from its start to its end.
        self._loop: WatchLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        # What other threads want called between two batches, also during a pause; and
        # what waits for the end of a pause.
        self._requests = _Requests()
        self._calls = _Requests()
        # Whether something is delivered or called just now.
        self._is_busy = False
        self._lost: Lost | None = None

    @property
    def directories(self) -> tuple[str, ...]:
        """What is watched, as absolute paths; links are kept as they are."""
        return tuple(self._directories)

    @property
    def is_collecting(self) -> bool:
        """Whether changes were seen that are not delivered yet; in its thread."""
        return self._loop is not None and self._loop.tracker.settle.is_pending

    @property
    def is_running(self) -> bool:
        """Whether the background thread lives."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def lost(self) -> Lost | None:
        """What the thread did at a fork, in a process where it does not run since."""
        return self._lost

    def start(self) -> Self:
        """Begin to watch; on return no later change can be missed.

        Raises:
            ThreadManagerAlreadyRunningError: It runs already.
            DirectoryNotFoundError: A directory does not exist.
        """
        if self.is_running:
            raise ThreadManagerAlreadyRunningError(
                "the watcher runs already", hint="stop it first, or add directories"
            )
        for directory in self._directories:
            _require(directory)
        self._stopping.clear()
        self._lost = None
        begun: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, args=(begun,), name="luminal-watcher", daemon=True
        )
        with unowned():
            self._thread.start()
        problem = begun.get()
        if problem is not None:
            self._thread.join()
            raise problem
        _watchers.add(self)
        return self

    def stop(self, deadline: float = 5.0) -> bool:
        """End the watch; an open batch is dropped, a delivery under way is waited for.

        Args:
            deadline: Seconds to wait for the thread.

        Returns:
            Whether the thread has ended. It cannot have where `stop` is called from
            ``on_batch``; it ends when that returns.
        """
        self._stopping.set()
        _watchers.discard(self)
        thread, loop = self._thread, self._loop
        if loop is not None:
            loop.wake()
        if thread is None:
            return True
        if thread is threading.current_thread():
            return False
        thread.join(deadline)
        return not thread.is_alive()

    def add(self, directory: str | os.PathLike[str]) -> None:
        """Watch one more directory; on return no later change in it can be missed.

        Raises:
            DirectoryNotFoundError: It does not exist.
        """
        path = _absolute(directory)
        _require(path)
        if path not in self._directories:
            self._directories.append(path)
            self._do(lambda loop: loop.add_root(path))

    def remove(self, directory: str | os.PathLike[str]) -> None:
        """Watch a directory no more; one that is not watched is ignored."""
        path = _absolute(directory)
        if path in self._directories:
            self._directories.remove(path)
            self._do(lambda loop: loop.remove_root(path))

    def call(self, function: Callable[[], object]) -> Future[None]:
        """Call *function* in the watcher's thread, between two batches.

        Returns:
            Done when it has returned or raised, or when the watch has ended. What it
            raises is logged too.
        """
        return self._request(self._calls, functools.partial(self._call, function))

    def pause(self) -> Future[None]:
        """Deliver nothing and call nothing until `resume`; changes are collected.

        Returns:
            Done when no delivery or call is under way any more.
        """
        loop = self._loop
        if loop is not None:
            loop.is_paused = True
        if self._thread is threading.current_thread():
            return _done()
        return self._request(self._requests, lambda: None)

    def resume(self) -> None:
        """Deliver what has changed since `pause` as one batch."""
        loop = self._loop
        if loop is not None:
            loop.is_paused = False
            loop.wake()

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        """Do so in *seconds*; not where the watch has ended by then."""
        loop = self._loop
        if loop is not None:
            self.call(lambda: loop.call_later(seconds, function))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _do(self, request: Callable[[WatchLoop], None]) -> None:
        """Have *request* called in the watcher's thread, and wait until it was."""
        loop = self._loop
        if loop is None:
            return
        if self._thread is threading.current_thread():
            request(loop)
            return
        self._request(self._requests, lambda: request(self._loop or loop)).result()

    def _request(
        self, requests: _Requests, function: Callable[[], object]
    ) -> Future[None]:
        loop = self._loop
        if loop is None:
            return _done()
        future = requests.add(function)
        if self._loop is loop:
            loop.wake()
        else:  # it has ended meanwhile, perhaps before it could see the request
            requests.drop()
        return future

    def _run(self, begun: queue.SimpleQueue[BaseException | None]) -> None:
        try:
            self._loop = self._begin()
            for directory in self._directories:
                self._loop.add_root(directory)
        except BaseException as problem:  # noqa: BLE001 - raised in `start`
            begun.put(problem)
            return
        begun.put(None)
        try:
            while not self._stopping.is_set():
                self._run_once(self._loop)
        finally:
            loop, self._loop = self._loop, None
            loop.end()
            self._requests.drop()
            self._calls.drop()

    def _run_once(self, loop: WatchLoop) -> None:
        """Run the loop once and what other threads request; a failure ends nothing."""
        try:
            loop.run_once()
            self._requests.serve()
            if not loop.is_paused:
                for function in loop.take_due():
                    self._calls.add(functools.partial(self._call, function))
                self._calls.serve()
        except Exception as problem:  # noqa: BLE001 - a watch never ends by itself
            _log.exception("the watcher failed and starts again")
            text = f"the watcher failed and starts again: {problem}"
            self._send(Note(NoteCode.TROUBLE, "", text))
            # A second for a system that is out of descriptors to recover.
            self._stopping.wait(1.0)
            try:
                loop.renew()
            except Exception:  # noqa: BLE001 - the next run fails too, and tries again
                _log.exception("the watcher could not start again")

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        self._is_busy = True
        try:
            yield
        finally:
            self._is_busy = False

    def _call(self, function: Callable[[], object]) -> None:
        try:
            with self._busy():
                function()
        except BaseException:
            _log.exception("%r failed", function)
            raise

    def lose_thread(self) -> None:
        """Be stopped: the process was forked, and the thread is the parent's alone.

        The loop is left as it is. Its descriptors are the parent's too.
        """
        if self.is_running:
            return  # this very thread has forked
        self._lost = Lost.BUSY if self._is_busy else Lost.IDLE
        self._thread = self._loop = None
        self._is_busy = False
        self._requests, self._calls = _Requests(), _Requests()

    def _deliver(self, batch: Batch) -> None:
        try:
            with self._busy():
                self._on_batch(batch)
        except BaseException:  # noqa: BLE001 - not even by a photon's SystemExit
            _log.exception("the receiver of %r failed", batch)

    def _send(self, note: Note) -> None:
        if self._on_note is None:
            _log.warning("%s", note)
            return
        try:
            self._on_note(note)
        except Exception:  # noqa: BLE001 - a receiver must not end the watch
            _log.exception("the receiver of %r failed", note)


class Lost(enum.Enum):
    """What the thread of a watcher did when the process was forked."""

    IDLE = "it waited"
    BUSY = "it applied a change"


# Those that have a thread.
_watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()


def _after_fork() -> None:
    """Note that no watcher of the parent runs in this process, and say so once."""
    watchers = list(_watchers)
    _watchers.clear()
    for watcher in watchers:
        watcher.lose_thread()
    if watchers:
        paths = [path for watcher in watchers for path in watcher.directories]
        _log.warning(
            "process %d was forked from one that watches %s, and does not watch it: "
            "call resume_watching() there to watch it as well",
            os.getpid(),
            ", ".join(map(repr, dict.fromkeys(paths))),
        )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@attrs.define
class _Requests:
    """What other threads want called in the watcher's thread."""

    _queue: queue.SimpleQueue[tuple[Callable[[], object], Future[None]]] = attrs.field(
        init=False, factory=queue.SimpleQueue
    )

    def add(self, function: Callable[[], object]) -> Future[None]:
        """Append *function*; the result is done when it has been called, or dropped."""
        future: Future[None] = Future()
        self._queue.put((function, future))
        return future

    def serve(self) -> None:
        """Call what is there; what that adds is called next time."""
        for _ in range(self._queue.qsize()):
            function, future = self._queue.get()
            try:
                function()
            except BaseException as error:  # noqa: BLE001 - it must not end the watch
                future.set_exception(error)
            else:
                future.set_result(None)

    def drop(self) -> None:
        """Call nothing more: the thread has ended. From any thread."""
        while True:
            try:
                _, future = self._queue.get_nowait()
            except queue.Empty:
                return
            future.set_result(None)


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future


def _absolute(directory: str | os.PathLike[str]) -> str:
    return os.path.abspath(os.fspath(directory))


def _require(directory: str) -> None:
    if not os.path.isdir(directory):
        from luminal.discovery import archive_of

        why, remedy = archive_of(directory)
        raise DirectoryNotFoundError(
            f"there is no directory {directory!r} to watch",
            file=directory,
            why=why,
            hint=remedy or "create it before the watch begins",
        )
