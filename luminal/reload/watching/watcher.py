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
import threading
import time
from typing import TYPE_CHECKING, Self

from luminal.errors import DirectoryNotFoundError, ThreadManagerAlreadyRunningError
from luminal.reload.watching.batch import Note, NoteCode
from luminal.reload.watching.duty import Duty
from luminal.supervise import unowned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from luminal.reload.watching.batch import Batch
    from luminal.reload.watching.settle import Pace

__all__ = ["Watcher"]

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
