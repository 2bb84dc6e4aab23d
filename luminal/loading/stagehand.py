"""The stagehand: the one thread of a host on which new generations are staged.

In come pieces of work, one at a time; whoever gives one waits elsewhere. A thread that
stays is woken in a fraction of the time that a new one takes, and what it compiles is
compiled in memory that is warm. It must never keep anything of a photon.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import attrs

from luminal.supervise.owners import unowned

if TYPE_CHECKING:
    from collections.abc import Callable

    # What is to be done, and who is told when it is.
    _Work = tuple[Callable[[], object], Callable[[], object]]

__all__ = ["Stagehand"]


@attrs.define(eq=False)
class _Place:
    """A thread and where it finds its work; None is the last."""

    work: SimpleQueue[_Work | None] = attrs.Factory(SimpleQueue)
    thread: threading.Thread = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.thread = threading.Thread(
            target=_serve, args=(self.work,), name="luminal-stage", daemon=True
        )
        with unowned():
            self.thread.start()


def _serve(work: SimpleQueue[_Work | None]) -> None:
    while (given := work.get()) is not None:
        job, done = given
        job()
        # Nothing of the photon is here any more when its reload goes on. What it has
        # put into a `threading.local` belongs to that object, not to the thread.
        del job, given
        done()
        del done


@attrs.define(eq=False)
class Stagehand:
    """Has a thread from `begin` to `end`; a host that never swaps needs none."""

    _place: _Place | None = None
    _lock: threading.Lock = attrs.Factory(threading.Lock)

    def begin(self) -> None:
        """Have a thread wait for work."""
        with self._lock:
            if self._place is None or not self._place.thread.is_alive():  # by a fork
                self._place = _Place()

    def give(
        self, job: Callable[[], object], done: Callable[[], object]
    ) -> threading.Thread | None:
        """Have *job* called, then *done*, on the thread that is returned.

        None where there is none; then neither is called.
        """
        with self._lock:
            if self._place is None or not self._place.thread.is_alive():
                return None
            self._place.work.put((job, done))
            return self._place.thread

    def lose(self, thread: threading.Thread) -> None:
        """Use *thread* no more; it ends when its job does."""
        with self._lock:
            if self._place is not None and self._place.thread is thread:
                self._place.work.put(None)
                self._place = None

    def end(self) -> None:
        """Let the thread end, which waits for work, and wait until it has."""
        with self._lock:
            place, self._place = self._place, None
        if place is not None:
            place.work.put(None)
            if place.thread is not threading.current_thread():
                place.thread.join(1.0)
