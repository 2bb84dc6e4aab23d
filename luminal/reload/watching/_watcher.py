"""The watcher: a thread that turns changes of files into settled batches.

First station of a reload. In: directories. Out: one `Batch` for each change, handed to
a callable in the watcher's own thread, whatever event loops come and go. It never reads
a file, and nothing that the callable raises ends it.
"""

from __future__ import annotations

import functools
import logging
import os
import queue
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

import attrs

from luminal.errors import DirectoryNotFoundError, ThreadManagerAlreadyRunningError
from luminal.reload.watching._ignore import silent_file_system
from luminal.reload.watching._settle import Cause, Note, NoteCode, Pace, Settle
from luminal.reload.watching._snapshot import Snapshot, Tracker
from luminal.reload.watching._source import News, PollingSource
from luminal.supervise import unowned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from luminal.reload.watching._settle import Batch
    from luminal.reload.watching._snapshot import Difference
    from luminal.reload.watching._source import Source

__all__ = ["Duty", "Reporter", "Watcher", "new_source"]

# === reload.watching.reporter ===
# What the watcher says of itself: each state once, when it begins.
#
# In: the states that hold now. Out: notes on what is different from the last time.


@attrs.define
class Reporter:
    """Remembers what has been said.

    Attributes:
        say: Takes each note.
        poll: Seconds between two looks where nobody tells; named in the notes.
    """

    say: Callable[[Note], None]
    poll: float
    _said: set[tuple[NoteCode, str]] = attrs.field(init=False, factory=set)

    def forget(self, directory: str) -> None:
        """Say no more of *directory*, which nobody watches any longer."""
        self._said = {said for said in self._said if said[1] != directory}

    def report(
        self,
        *,
        blind: str | None,
        silent: Mapping[str, str],
        gone: Iterable[str],
        unreadable: Iterable[str],
    ) -> None:
        """Say what is new among the states that hold.

        Args:
            blind: Why the source misses changes; None if it does not.
            silent: Directory → type of its file system, which sends no events.
            gone: Watched directories that are not there.
            unreadable: Folders that cannot be listed.
        """
        every = f"every file is looked at every {self.poll:g} s"
        now: dict[tuple[NoteCode, str], str] = {}
        if blind:
            now[NoteCode.WATCH_LIMIT, ""] = f"{blind}: {every}"
        for path, kind in silent.items():
            text = f"{path!r} is on a file system without events ({kind}): {every}"
            now[NoteCode.NO_EVENTS, path] = text
        for path in gone:
            text = f"the watched directory {path!r} is gone: waiting for its return"
            now[NoteCode.GONE, path] = text
        for path in unreadable:
            text = f"{path!r} cannot be read: what was known of it is kept"
            now[NoteCode.UNREADABLE, path] = text
        before, self._said = self._said, set(now)
        for code, path in before - self._said:
            if code is NoteCode.GONE:
                text = f"the watched directory {path!r} is back"
                self.say(Note(NoteCode.RETURNED, path, text))
            elif code is NoteCode.UNREADABLE:
                text = f"{path!r} can be read again"
                self.say(Note(NoteCode.RETURNED, path, text))
        for (code, path), text in now.items():
            if (code, path) not in before:
                self.say(Note(code, path, text))


# === reload.watching.duty ===
# The watcher's turn: wait, look, settle, deliver, sweep. No thread of its own.
#
# Between the source, the tracker and the receiver. It decides how long to sleep, when to
# look at every file, and what of the watcher's state is worth a note.

# Sleeps are whole milliseconds, rounded: a batch due within half of one is due now.
_SLACK = 0.0006
# While a batch is open and nobody tells of locks, they are looked at so often.
_LOOK = 0.050


def new_source(force_polling: bool | None = None) -> Source:
    """Return the best source of this system, or one that polls and says why."""
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
        return PollingSource(f"the system's events cannot be had ({problem})")


@attrs.define
class Duty:
    """What the watcher's thread does, one `turn` after the other.

    Attributes:
        tracker: The watched trees and the open batch.
        deliver: Takes each batch.
        say: Takes each note.
        pace: The times.
        force_polling: See `Watcher`.
    """

    tracker: Tracker
    deliver: Callable[[Batch], None]
    say: Callable[[Note], None]
    pace: Pace
    force_polling: bool | None = None
    # Roots on file systems that send no events → the file system's type.
    _silent: dict[str, str] = attrs.field(init=False, factory=dict)
    _reporter: Reporter = attrs.field(init=False)
    # The sweep under way: interrupted where its budget is used up.
    _sweep: Iterator[list[Difference]] | None = attrs.field(init=False, default=None)
    _next_sweep: float = attrs.field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        self._reporter = Reporter(self.say, self.pace.poll)

    @classmethod
    def begin(
        cls,
        deliver: Callable[[Batch], None],
        say: Callable[[Note], None],
        clock: Callable[[], float],
        pace: Pace | None = None,
        recursive: bool = True,
        force_polling: bool | None = None,
    ) -> Duty:
        """Make a duty with a fresh source and nothing to watch yet."""
        pace = pace or Pace()
        snapshot = Snapshot(new_source(force_polling), recursive)
        tracker = Tracker(snapshot, Settle(pace), clock)
        duty = cls(tracker, deliver, say, pace, force_polling)
        duty._plan_sweep()
        return duty

    def renew(self) -> None:
        """Go on with a fresh source, and look at everything once."""
        self.end()
        tracker = self.tracker
        tracker.snapshot.attach(new_source(self.force_polling))
        for root in tracker.roots:
            tracker.snapshot.source.link(root)
        tracker.rescan(Cause.RESCAN)

    def plant(self, root: str) -> None:
        """Watch the tree at *root*."""
        self.tracker.plant(root)
        self._learn_file_systems()
        self._report()
        self._plan_sweep()

    def uproot(self, root: str) -> None:
        """Watch the tree at *root* no more."""
        self.tracker.uproot(root)
        self._silent.pop(root, None)
        self._reporter.forget(root)

    def wake(self) -> None:
        """Make a sleeping `turn` return; from any thread."""
        self.tracker.snapshot.source.wake()

    def end(self) -> None:
        """Give everything back to the system."""
        self.tracker.snapshot.source.close()

    def turn(self) -> None:
        """Sleep until something is to be done, and do it."""
        tracker, settle = self.tracker, self.tracker.settle
        source = tracker.snapshot.source
        if source.wait(self._sleep()):
            self._hear(source.read())
        if not settle.is_pending:
            if tracker.clock() >= self._next_sweep:
                self._look_around()
            return
        if self._must_look:
            tracker.believe_locks()
            if settle.is_uncertain and settle.is_due(tracker.clock() + _SLACK):
                tracker.confirm()
        batch = settle.take(tracker.clock(), _SLACK)
        if batch is not None:
            self.deliver(batch)

    @property
    def _is_blind(self) -> bool:
        snapshot = self.tracker.snapshot
        return bool(
            snapshot.source.blind
            or self._silent
            or snapshot.unreadable
            or not all(self.tracker.roots.values())
        )

    @property
    def _must_look(self) -> bool:
        """Whether the end of an open batch is not told, and has to be looked for."""
        source = self.tracker.snapshot.source
        return (
            not source.tells_locks
            or source.blind is not None
            or self.tracker.settle.is_uncertain
        )

    def _sleep(self) -> float:
        now, due = self.tracker.clock(), self.tracker.settle.due()
        if due is None:
            return max(0.0, self._next_sweep - now)
        return max(0.0, min(due - now, _LOOK) if self._must_look else due - now)

    def _hear(self, news: dict[str, News]) -> None:
        was_there = dict(self.tracker.roots)
        if self.tracker.hear(news):
            text = "more changes than the system's queue holds: looked at every file"
            self.say(Note(NoteCode.OVERFLOW, "", text))
        if self.tracker.roots != was_there or News.MOUNTED in news.values():
            self._learn_file_systems()
            self._plan_sweep()
        self._report()

    def _learn_file_systems(self) -> None:
        if self.force_polling is None:
            kinds = {
                root: silent_file_system(os.path.realpath(root))
                for root in self.tracker.roots
            }
            self._silent = {root: kind for root, kind in kinds.items() if kind}

    def _plan_sweep(self) -> None:
        wait = self.pace.poll if self._is_blind else self.pace.sweep
        self._next_sweep = self.tracker.clock() + wait

    def _look_around(self) -> None:
        """Sweep: all at once where nobody tells, else as far as the budget goes."""
        tracker, is_blind = self.tracker, self._is_blind
        began = time.thread_time()
        if self._sweep is None:
            self._sweep = self._everything()
        for differences in self._sweep:
            tracker.note(differences, Cause.SWEEP)
            if not is_blind and time.thread_time() - began > self.pace.sweep_budget:
                break
        else:
            self._sweep = None
        self._report()
        self._plan_sweep()

    def _everything(self) -> Iterator[list[Difference]]:
        snapshot = self.tracker.snapshot
        for root, was_there in list(self.tracker.roots.items()):
            if root not in self.tracker.roots:
                continue
            if not was_there or not os.path.isdir(root):
                self.tracker.hear({root: News.RELIST})
            else:
                yield from snapshot.sweep(root)

    def _report(self) -> None:
        snapshot = self.tracker.snapshot
        self._reporter.report(
            blind=snapshot.source.blind,
            silent=self._silent,
            gone=[root for root, there in self.tracker.roots.items() if not there],
            unreadable=snapshot.unreadable,
        )


# === reload.watching.watcher ===
# The watcher: a thread that turns changes of files into settled batches.
#
# First station of a reload. In: directories. Out: one `Batch` for each change, handed to
# a callable in the watcher's own thread, whatever event loops come and go. It never reads
# a file, and nothing that the callable raises ends it.

_log = logging.getLogger("luminal.reload.watching")


class Watcher:
    """Watches directories from a background thread.

    Args:
        directories: What to watch; each must exist when the watch begins, and may go
            and come back later.
        on_batch: Called with each `Batch`, in the watcher's thread. News that come
            meanwhile wait; what it raises is logged.
        recursive: Whether directories inside of directories are watched.
        on_note: Called with each `Note` on the watcher's own state, in its thread;
            without it the notes are logged as warnings.
        clock: Monotonic seconds; the wall clock plays no part.
        force_polling: True looks at every file every ``pace.poll`` seconds; False does
            so never for a file system that is said to send no events; None decides by
            the kind of the file system.
        pace: The watcher's times.
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
        pace: Pace | None = None,
    ) -> None:
        self._directories = list(dict.fromkeys(map(_absolute, directories)))
        self._on_batch = on_batch
        self._on_note = on_note
        self._begin = functools.partial(
            Duty.begin, self._deliver, self._say, clock, pace, recursive, force_polling
        )
        # Owned by the watcher's thread, from its start to its end.
        self._duty: Duty | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        # What other threads want done between two batches.
        self._wishes: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    @property
    def directories(self) -> tuple[str, ...]:
        """What is watched, as absolute paths; links are kept as they are."""
        return tuple(self._directories)

    @property
    def is_running(self) -> bool:
        """Whether the background thread lives."""
        return self._thread is not None and self._thread.is_alive()

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
        thread, duty = self._thread, self._duty
        if duty is not None:
            duty.wake()
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
            self._do(lambda duty: duty.plant(path))

    def remove(self, directory: str | os.PathLike[str]) -> None:
        """Watch a directory no more; one that is not watched is ignored."""
        path = _absolute(directory)
        if path in self._directories:
            self._directories.remove(path)
            self._do(lambda duty: duty.uproot(path))

    def call(self, function: Callable[[], object]) -> None:
        """Call *function* in the watcher's thread, between two batches; do not wait."""
        duty = self._duty
        if duty is not None:
            self._wishes.put(lambda: _contained(function))
            duty.wake()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _do(self, wish: Callable[[Duty], None]) -> None:
        """Have *wish* done by the watcher's thread, and wait until it is."""
        duty = self._duty
        if duty is None:
            return
        if self._thread is threading.current_thread():
            wish(duty)
            return
        done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

        def fulfil() -> None:
            try:
                wish(self._duty or duty)
            except Exception as problem:  # noqa: BLE001 - raised in the asking thread
                done.put(problem)
            else:
                done.put(None)

        self._wishes.put(fulfil)
        duty.wake()
        while self.is_running:
            try:
                problem = done.get(timeout=0.1)
            except queue.Empty:
                continue
            if problem is not None:
                raise problem
            return

    def _run(self, begun: queue.SimpleQueue[BaseException | None]) -> None:
        try:
            self._duty = self._begin()
            for directory in self._directories:
                self._duty.plant(directory)
        except BaseException as problem:  # noqa: BLE001 - raised in `start`
            begun.put(problem)
            return
        begun.put(None)
        try:
            while not self._stopping.is_set():
                self._turn(self._duty)
        finally:
            self._duty.end()
            self._duty = None

    def _turn(self, duty: Duty) -> None:
        """Wait for the next thing and do it; whatever goes wrong, the watch goes on."""
        try:
            duty.turn()
            for _ in range(self._wishes.qsize()):  # one may ask to be called again
                self._wishes.get()()
        except Exception as problem:  # noqa: BLE001 - a watch never ends by itself
            _log.exception("the watcher failed and begins anew")
            self._say(Note(NoteCode.TROUBLE, "", f"the watcher begins anew: {problem}"))
            # A second for a system that is out of descriptors to recover.
            self._stopping.wait(1.0)
            try:
                duty.renew()
            except Exception:  # noqa: BLE001 - the next turn fails, and comes here again
                _log.exception("the watcher could not begin anew")

    def _deliver(self, batch: Batch) -> None:
        try:
            self._on_batch(batch)
        except BaseException:  # noqa: BLE001 - nor by a photon's SystemExit
            _log.exception("the receiver of %r failed", batch)

    def _say(self, note: Note) -> None:
        if self._on_note is None:
            _log.warning("%s", note)
            return
        try:
            self._on_note(note)
        except Exception:  # noqa: BLE001 - a note is a courtesy
            _log.exception("the receiver of %r failed", note)


def _contained(function: Callable[[], object]) -> None:
    try:
        function()
    except BaseException:  # noqa: BLE001 - it must not end the watch
        _log.exception("%r failed", function)


def _absolute(directory: str | os.PathLike[str]) -> str:
    return os.path.abspath(os.fspath(directory))


def _require(directory: str) -> None:
    if not os.path.isdir(directory):
        raise DirectoryNotFoundError(
            f"there is no directory {directory!r} to watch",
            file=directory,
            hint="create it before the watch begins",
        )
