"""An event loop on a thread of its own, for programs and tests that have none."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from luminal._running_loop import new_event_loop, run_coroutine
from luminal.supervise._ownership import unowned

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

__all__ = ["LoopThread"]

T = TypeVar("T")


class _Call(Generic[T]):
    """A coroutine that another thread waits for, and may cancel at any moment.

    Args:
        coroutine: Not begun yet.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False

    async def make(self) -> T:
        """Run the coroutine, unless it was cancelled before."""
        import asyncio

        if self._is_cancelled:
            raise asyncio.CancelledError
        self._task = asyncio.current_task()
        return await self._coroutine

    def cancel(self) -> None:
        """Cancel it, whether or not it has begun; on its loop."""
        self._is_cancelled = True
        if self._task is None:
            self._coroutine.close()
        else:
            self._task.cancel()


class LoopThread:
    """Runs coroutines for a thread without a loop; what they start lives on there.

    Args:
        name: Name of the thread.
        make_loop: Makes the loop; by default what asyncio makes.
    """

    def __init__(
        self,
        name: str,
        make_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = (make_loop or new_event_loop)()
        # What is handed to the loop is handed to it before its end, or refused.
        self._lock = threading.Lock()
        self._is_closed = False
        # Set on the loop's thread, read by others once `_begun` is set.
        self._over: asyncio.Event
        begun = threading.Event()
        self._thread = threading.Thread(
            target=self._live, args=(begun,), name=name, daemon=True
        )
        with unowned():
            self._thread.start()
        begun.wait()

    def _live(self, begun: threading.Event) -> None:
        import asyncio

        async def stay() -> None:
            self._over = asyncio.Event()
            begun.set()
            await self._over.wait()

        # It cancels tasks, and ends generators and the executor, when it is left.
        run_coroutine(stay(), lambda: self.loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run *coroutine* to its end and return what it returns.

        Raises:
            RuntimeError: The loop has ended, or ends meanwhile, or it is this thread's
                own, which would wait for itself.
        """
        import asyncio
        from concurrent.futures import CancelledError

        call = _Call(coroutine)
        why = "it is closed already"
        try:
            # A child that was forked has no thread, and may have a lock that is held.
            if self.is_running:
                with self._lock:
                    if self.is_here:
                        why = "this is its own loop; await the coroutine here"
                    elif self.is_running:
                        why = ""
                        future = asyncio.run_coroutine_threadsafe(
                            call.make(), self.loop
                        )
            if not why:
                return future.result()
        except BaseException as error:  # a Ctrl-C, too, which comes anywhere in here
            with suppress(RuntimeError):  # the loop has been closed
                self.loop.call_soon_threadsafe(call.cancel)
            if isinstance(error, CancelledError) and self._is_closed:
                raise RuntimeError(
                    "the host cannot do that: it was closed meanwhile"
                ) from None
            raise
        coroutine.close()
        raise RuntimeError(f"the host cannot do that: {why}")

    @property
    def is_here(self) -> bool:
        """Whether this thread is its own."""
        return self._thread is threading.current_thread()

    @property
    def is_running(self) -> bool:
        """Whether it takes coroutines; never in a child that was forked."""
        return self._thread.is_alive() and not self._is_closed

    def close(self) -> None:
        """End the loop and its thread. Twice does no harm.

        On the loop itself it returns before that end.
        """
        if self.is_running:
            with self._lock:
                if self.is_running:
                    self._is_closed = True
                    self.loop.call_soon_threadsafe(self._over.set)
        if not self.is_here:
            self._thread.join()
