"""A coroutine that runs on another thread's event loop, and who asks for its result."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Spawned", "run_on"]

_SECONDS = 1.0
"""How long after its end whoever wants the result has had the time to ask for it."""


class Spawned(Future[Any]):
    """The result of a coroutine on another thread's event loop.

    Attributes:
        tell: Called with the exception if nobody asks for it; None afterwards.
    """

    tell: Callable[[BaseException], object] | None = None
    _is_asked = False
    _is_late = False
    # The thread that connects it with its task: that is no question.
    _connecting = 0

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
        if self._connecting != threading.get_ident():
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
        Its result; to cancel that is to cancel the task.
    """
    future = Spawned()
    future.tell = tell

    def begin() -> None:
        task = asyncio.ensure_future(coroutine, loop=loop)
        future._connecting = threading.get_ident()  # noqa: SLF001 - ours
        # As `asyncio.run_coroutine_threadsafe` does.
        asyncio.futures._chain_future(task, future)  # type: ignore[attr-defined]  # noqa: SLF001
        future._connecting = 0  # noqa: SLF001 - ours
        task.add_done_callback(end)

    def end(_: object) -> None:
        if future._is_late:  # noqa: SLF001 - ours
            future.tell_unasked()
        else:
            loop.call_later(_SECONDS, future.tell_unasked)

    loop.call_soon_threadsafe(begin)
    return future
