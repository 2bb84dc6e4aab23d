"""A thread that can be told to end: `TracedThread`, and what its code may ask.

It runs at a plain thread's speed; everything that halting needs is installed when
`TracedThread.halt` is called, and taken away when the thread is dead.
"""

from __future__ import annotations

import functools
import sys
import threading
from typing import TYPE_CHECKING, Any

from luminal.supervise.owners import owner_name
from luminal.supervise.reaper import halt_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from luminal.supervise.leftovers import Leftover

__all__ = ["TracedThread", "checkpoint", "sleep"]


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
        self.halting = threading.Event()
        self.owner = owner_name()
        kind = type(self)
        self._is_traced = (
            trace
            or kind.globaltrace is not TracedThread.globaltrace
            or kind.localtrace is not TracedThread.localtrace
        )

    def start(self) -> None:
        """Start the thread; traced from its first line where that was asked for."""
        self.run = functools.partial(  # type: ignore[method-assign]
            _run_until_halted, self, self.run
        )
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
    if thread._is_traced:  # noqa: SLF001 - ours
        sys.settrace(thread.globaltrace)  # type: ignore[arg-type]
    try:
        run()
    except BaseException as error:
        # Its own end, asked for, is nothing that an excepthook has to hear of; an
        # event loop that was told to stop ends with CancelledError.
        if isinstance(error, Exception) or not thread.halting.is_set():
            raise
    finally:
        # Left on, a trace would slow the other threads down on 3.12 and later.
        if sys.gettrace() is not None:
            sys.settrace(None)


def checkpoint() -> None:
    """End the current thread here, if it has been told to halt.

    Raises:
        SystemExit: `TracedThread.halt` was called on the current thread.
    """
    flag = getattr(threading.current_thread(), "halting", None)
    if flag is not None and flag.is_set():
        raise SystemExit


def sleep(seconds: float) -> None:
    """Sleep for *seconds*, or until the current thread is told to halt.

    Raises:
        SystemExit: `TracedThread.halt` was called on the current thread.
    """
    flag = getattr(threading.current_thread(), "halting", None)
    if flag is None:
        import time

        time.sleep(seconds)
    elif flag.wait(seconds):
        raise SystemExit
