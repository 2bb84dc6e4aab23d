"""Threads that can be halted, and a manager of many of them.

A `TracedThread` runs at a plain thread's speed: what halting needs is installed when
`TracedThread.halt` is called, and removed when the thread has ended. A `ThreadManager`
starts queued functions on such threads, at most a few at once.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from luminal.errors import (
    NoThreadsFoundError,
    ThreadLimitReachedError,
    ThreadManagerAlreadyRunningError,
    ThreadsAlreadyRunningError,
)
from luminal.supervise._halting import halt_thread
from luminal.supervise._ownership import owner_name
from luminal.supervise._waits import begin_noting, end_noting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

    from luminal.supervise._halting import Leftover

__all__ = ["ThreadManager", "TracedThread", "checkpoint", "sleep"]


class TracedThread(threading.Thread):
    """A `threading.Thread` with `halt`.

    Args:
        trace: Trace every line from the start, as a subclass does that overrides
            `globaltrace` or `localtrace`. Slower by far; for debugging.

    Attributes:
        halting: Set by `halt`; cooperative code may look at it or wait for it.
        owner: Name of the photon whose code made the thread, or an empty string.
    """

    def __init__(self, *args: Any, trace: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.halting: threading.Event = threading.Event()
        self.owner: str = owner_name()
        kind = type(self)
        self._is_traced = (
            trace
            or kind.globaltrace is not TracedThread.globaltrace
            or kind.localtrace is not TracedThread.localtrace
        )

    def start(self) -> None:
        """Start the thread; with ``trace``, it is traced from its first line."""
        vars(self)["run"] = functools.partial(_run_until_halted, self, self.run)
        super().start()

    def halt(self) -> None:
        """Make the thread raise `SystemExit`, again and again if it swallows it.

        Returns at once; the thread ends at its next round or call of Python code.
        Without effect on a thread that has ended or was not started.
        """
        if threading.current_thread() is self:
            self.halting.set()
            raise SystemExit
        halt_thread(self, owner=self.owner)

    def halt_and_join(self, timeout: float = 2.0) -> Leftover | None:
        """Halt the thread and wait for its end, at most *timeout* seconds.

        Returns:
            None where it has ended, else what is known of it.
        """
        if threading.current_thread() is self:
            self.halt()
        halt = halt_thread(self, owner=self.owner)
        if halt is None:
            return None
        self.join(timeout)
        return halt.leftover() if self.is_alive() else None

    def globaltrace(  # the signature of a trace function
        self,
        frame: FrameType,  # noqa: ARG002
        event: str,
        arg: object,  # noqa: ARG002
    ) -> object:
        """Trace function for calls; returns the one for the new frame's lines."""
        return self.localtrace if event == "call" else None

    def localtrace(
        self,
        frame: FrameType,  # noqa: ARG002
        event: str,
        arg: object,  # noqa: ARG002
    ) -> object:
        """Trace function for lines: raises `SystemExit` once `halt` was called."""
        if event == "line" and self.halting.is_set():
            raise SystemExit
        return self.localtrace


def _run_until_halted(thread: TracedThread, run: Callable[[], None]) -> None:
    vars(thread).pop("run", None)  # a method again, and no reference to itself
    is_noting = begin_noting()
    if thread._is_traced:  # noqa: SLF001 - ours
        sys.settrace(thread.globaltrace)  # type: ignore[arg-type]
    try:
        run()
    except BaseException as error:
        # No excepthook is called for an end that was asked for; an event loop that is
        # halted ends with CancelledError.
        if issubclass(type(error), Exception) or not thread.halting.is_set():
            raise
    finally:
        # Left on, a trace would slow the other threads down on 3.12 and later.
        if sys.gettrace() is not None:
            sys.settrace(None)
        if is_noting:
            end_noting()


def checkpoint() -> None:
    """End the current thread here, if it is being halted.

    Raises:
        SystemExit: `TracedThread.halt` was called on the current thread.
    """
    flag = getattr(threading.current_thread(), "halting", None)
    if flag is not None and flag.is_set():
        raise SystemExit


def sleep(seconds: float) -> None:
    """Sleep for *seconds*, or until the current thread is halted.

    Raises:
        SystemExit: `TracedThread.halt` was called on the current thread.
    """
    flag = getattr(threading.current_thread(), "halting", None)
    if flag is None:
        import time

        time.sleep(seconds)
    elif flag.wait(seconds):
        raise SystemExit


_logger = logging.getLogger("luminal.supervise")


class ThreadManager:
    """Starts queued functions on `TracedThread` objects, at most a few at once.

    Args:
        thread_limit: Most threads running at once; 0 means no limit.

    Attributes:
        id: Unique identifier of this manager.
        thread_limit: As above; may be changed at any time.

    Example:
        >>> import queue
        >>> answers = queue.SimpleQueue()
        >>> manager = ThreadManager(thread_limit=2)
        >>> manager.append_thread(answers.put, ("done",))
        True
        >>> manager.run()
        >>> answers.get(timeout=60)
        'done'
    """

    def __init__(self, thread_limit: int = 0) -> None:
        self.id: str = os.urandom(16).hex()
        self.thread_limit = thread_limit
        # Guards the three below; notified when a thread ends, when one is queued
        # and when the manager stops.
        self._changed = threading.Condition()
        self._queued: deque[TracedThread] = deque()
        self._running: list[TracedThread] = []
        self._watcher: TracedThread | None = None

    @property
    def threads(self) -> tuple[TracedThread, ...]:
        """The threads that run now; those that have ended are forgotten."""
        with self._changed:
            self._forget_ended()
            return tuple(self._running)

    def append_thread(
        self,
        function: Callable[..., object],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> bool:
        """Queue a call of *function* for a thread of its own.

        Args:
            function: What the thread runs.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Returns:
            True; the thread waits for `run` or `watch`.

        Raises:
            TypeError: *function* cannot be called.
        """
        if not callable(function):
            raise TypeError(f"a thread needs a callable, not {function!r}")
        thread = TracedThread(
            target=self._run_one, args=(function, tuple(args), dict(kwargs or {}))
        )
        thread.daemon = True
        with self._changed:
            self._queued.append(thread)
            self._changed.notify_all()
        return True

    def _run_one(
        self,
        function: Callable[..., object],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        try:
            function(*args, **kwargs)
        finally:
            with self._changed:
                me = threading.current_thread()
                if me in self._running:
                    self._running.remove(me)
                self._changed.notify_all()

    def run(self) -> None:
        """Start what is queued, as far as the limit allows, and return.

        Raises:
            ThreadsAlreadyRunningError: All of its threads run; none is queued.
            NoThreadsFoundError: Nothing is queued and nothing runs.
            ThreadLimitReachedError: As many threads as the limit allows run already.
        """
        with self._changed:
            self._forget_ended()
            if not self._queued and self._running:
                raise ThreadsAlreadyRunningError(
                    f"all {len(self._running)} threads run already",
                    hint="append another thread, or wait for these to end",
                )
            if not self._queued:
                raise NoThreadsFoundError(
                    "no thread is queued", hint="call append_thread() first"
                )
            if not self._has_room():
                raise ThreadLimitReachedError(
                    f"{len(self._running)} of {self.thread_limit} threads run",
                    hint="raise thread_limit, or wait for one to end",
                )
            self._start_queued()

    def watch(self) -> None:
        """Start queued threads from a background thread as soon as there is room.

        Raises:
            ThreadManagerAlreadyRunningError: It watches already.
        """
        with self._changed:
            if self._watcher is not None and self._watcher.is_alive():
                raise ThreadManagerAlreadyRunningError(
                    f"thread manager {self.id!r} watches already",
                    hint="call stop() or halt() first",
                )
            self._watcher = TracedThread(
                target=self._watch, name=f"luminal-manager-{self.id[:8]}", daemon=True
            )
            self._watcher.start()

    def _watch(self) -> None:
        me = threading.current_thread()
        while True:
            with self._changed:
                if self._watcher is not me:
                    return
                self._forget_ended()
                try:
                    self._start_queued()
                except RuntimeError:
                    # The system has no thread to give now; the next look may find one.
                    _logger.exception("thread manager %r could not start", self.id)
                # A halted thread may end without a notification: look once a second.
                self._changed.wait(1.0)

    def _has_room(self) -> bool:
        return not self.thread_limit or len(self._running) < self.thread_limit

    def _start_queued(self) -> None:
        while self._queued and self._has_room():
            thread = self._queued.popleft()
            self._running.append(thread)
            try:
                thread.start()
            except BaseException:
                self._running.remove(thread)
                self._queued.appendleft(thread)
                raise

    def _forget_ended(self) -> None:
        self._running[:] = [t for t in self._running if t.is_alive() or not t.ident]

    def stop(self) -> None:
        """Stop starting threads and ask those that run to end.

        Cooperative code sees it by `checkpoint`, `sleep` or its thread's ``halting``
        event. What is queued is dropped. Returns at once.
        """
        with self._changed:
            self._watcher = None
            self._queued.clear()
            running = list(self._running)
            self._changed.notify_all()
        for thread in running:
            thread.halting.set()

    def halt(self, timeout: float = 2.0) -> tuple[Leftover, ...]:
        """Halt every thread now and join them all, under one deadline.

        Args:
            timeout: Longest time to wait for all of them together, in seconds.

        Returns:
            What is known of each thread that lives on; empty where all have ended.
        """
        self.stop()
        me = threading.current_thread()
        threads = [t for t in self.threads if t is not me]
        for thread in threads:
            thread.halt()
        end = time.monotonic() + timeout
        found = (t.halt_and_join(max(0.0, end - time.monotonic())) for t in threads)
        return tuple(leftover for leftover in found if leftover is not None)
