"""A coroutine that runs on another thread's event loop, and who asks for its result."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Spawned", "run_on"]

_SECONDS = 0.5
"""How long after its end whoever wants the result has had the time to ask for it.

Shorter than the time after which what keeps an ended photon's code alive is reported:
an exception does, until it is told."""


class Spawned(Future[Any]):
    """The result of a coroutine on another thread's event loop.

    To cancel it is to cancel the task.

    Args:
        running: What `asyncio.run_coroutine_threadsafe` has returned.

    Attributes:
        tell: Called with the exception if nobody asks for it; None afterwards.
    """

    tell: Callable[[BaseException], object] | None = None
    _is_asked = False
    _is_late = False

    def __init__(self, running: Future[Any]) -> None:
        super().__init__()
        self._running = running

    def cancel(self) -> bool:
        """Do what the base class does; the task is cancelled as well."""
        self._running.cancel()
        return super().cancel()

    def result(self, timeout: float | None = None) -> Any:
        """Do what the base class does."""
        self._is_asked = True
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Do what the base class does."""
        self._is_asked = True
        return super().exception(timeout)

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Do what the base class does."""
        self._is_asked = True
        super().add_done_callback(fn)

    def tell_unasked(self) -> None:
        """Tell of the exception, where there is one and nobody has asked.

        Where it has not ended, do so when it ends.
        """
        self._is_late = True
        if not self.done():
            return
        tell, self.tell = self.tell, None
        if tell is None or self._is_asked or self.cancelled():
            return
        error = super().exception()
        if error is not None:
            tell(error)

    def take(self, running: Future[Any]) -> None:
        """Take over how *running* has ended."""
        if running.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
        elif self.set_running_or_notify_cancel():
            error = running.exception()
            if error is not None:
                self.set_exception(error)
            else:
                self.set_result(running.result())


def run_on(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any],
    tell: Callable[[BaseException], object],
) -> Spawned:
    """Run *coroutine* on *loop*, from another thread.

    Args:
        loop: It runs.
        coroutine: What to run.
        tell: See `Spawned`.

    Returns:
        Its result.
    """
    running = asyncio.run_coroutine_threadsafe(coroutine, loop)
    future = Spawned(running)
    future.tell = tell

    def end(_: object) -> None:
        future.take(running)
        if future.cancelled():
            return  # nothing is to be told of it
        if future._is_late:  # noqa: SLF001 - ours
            future.tell_unasked()
        else:
            with suppress(RuntimeError):  # the loop has ended: its scope asks
                loop.call_soon_threadsafe(
                    loop.call_later, _SECONDS, future.tell_unasked
                )

    running.add_done_callback(end)
    return future
