"""One start of a loop, with a stop flag of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable  # noqa: TC003 - attrs reads it
from typing import Any

import attrs

from luminal.supervise.thread import TracedThread  # noqa: TC001 - attrs reads it

__all__ = ["Run"]


@attrs.define(eq=False)
class Run:
    """One start of a loop: its thread, and what that thread was told.

    Attributes:
        stopping: Set once; the thread ends after the cycle under way.
        begun: Set when ``on_thread_start`` has run.
        settled: Set when the `start` that made it is through.
        asked: When it was first asked to stop, `time.monotonic`; 0 before.
        beat: When the last cycle began, `time.monotonic`.
        error: What ended it, where that was an exception.
        is_over: Its cycles have ended; the thread is about to.
        is_killed: It was given up; it may still be alive.
        cancel: Cancels what the cycle awaits, from any thread; None where it awaits
            nothing.
        on_stop: Arguments for ``on_stop``, while that is still owed.
    """

    thread: TracedThread
    stopping: threading.Event = attrs.field(factory=threading.Event)
    begun: threading.Event = attrs.field(factory=threading.Event)
    settled: threading.Event = attrs.field(factory=threading.Event)
    asked: float = 0.0
    beat: float = attrs.field(factory=time.monotonic)
    error: BaseException | None = None
    is_killed: bool = False
    is_over: bool = False
    cancel: Callable[[], object] | None = None
    on_stop: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def ask(self) -> None:
        """Tell the thread to end after its present cycle."""
        if not self.asked:
            self.asked = time.monotonic()
        self.stopping.set()

    def wait(self, until: float) -> bool:
        """Wait for the end of the thread; return whether it has ended.

        Args:
            until: How long at most, by `time.monotonic`.
        """
        # A thread that is just being started cannot be joined yet.
        self.settled.wait(max(0.0, until - time.monotonic()))
        if self.thread.ident is None:
            return self.settled.is_set()  # it could not be started, or may be yet
        self.thread.join(max(0.0, until - time.monotonic()))
        return not self.thread.is_alive()
