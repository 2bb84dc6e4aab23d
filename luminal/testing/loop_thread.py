"""An event loop on a thread of its own, for tests that are plain functions."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from luminal.testing.patience import THREAD_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["LoopThread"]

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for a thread without a loop; what they start lives on there.

    Args:
        make_loop: Makes the loop.
    """

    def __init__(
        self,
        make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        self.loop = make_loop()
        # Set on the loop's thread, read by others once `_begun` is set.
        self._over: asyncio.Event
        begun = threading.Event()
        self._thread = threading.Thread(
            target=self._live, args=(begun,), name=THREAD_NAME, daemon=True
        )
        self._thread.start()
        begun.wait()

    def _live(self, begun: threading.Event) -> None:
        async def stay() -> None:
            self._over = asyncio.Event()
            begun.set()
            await self._over.wait()

        # It cancels tasks, and ends generators and the executor, when it is left.
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(stay())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run *coroutine* to its end and return what it returns.

        Raises:
            RuntimeError: The loop has ended, or it is this thread's own, which would
                wait for itself.
        """
        why = ""
        if not self.is_running:
            why = "it is closed already"
        elif self._thread is threading.current_thread():
            why = "this is its own loop; await the coroutine here"
        if why:
            coroutine.close()
            raise RuntimeError(f"the host cannot do that: {why}")
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:  # a Ctrl-C in a test, too
            future.cancel()
            raise

    @property
    def is_running(self) -> bool:
        """Whether it takes coroutines."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End the loop and its thread. Twice does no harm."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._over.set)
            self._thread.join()
