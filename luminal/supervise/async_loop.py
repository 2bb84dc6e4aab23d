"""A supervised loop whose ``cycle`` is a coroutine, on an event loop of its own."""

from __future__ import annotations

import abc
import contextlib
import time
from typing import TYPE_CHECKING, Any

from luminal.supervise.superloop import SuperLoop

if TYPE_CHECKING:
    import asyncio

    from luminal.supervise.run import Run

__all__ = ["AsyncLoop"]


class AsyncLoop(SuperLoop):
    """A `SuperLoop` with ``async def cycle``; `stop` cancels what it awaits."""

    @abc.abstractmethod
    async def cycle(self) -> Any:
        """Do one turn of the work."""

    def _turn(self, run: Run) -> None:
        import asyncio

        try:
            asyncio.run(self._cycles(run))
        except asyncio.CancelledError:
            if not run.stopping.is_set():
                raise RuntimeError("the cycle was cancelled") from None

    async def _cycles(self, run: Run) -> None:
        import asyncio

        task: asyncio.Task[Any] | None = asyncio.current_task()
        loop = asyncio.get_running_loop()
        if task is not None:
            cancel = task.cancel
            run.cancel = lambda: loop.call_soon_threadsafe(cancel)
        try:
            while not run.stopping.is_set():
                run.beat = time.monotonic()
                await self.cycle()
        finally:
            run.cancel = None

    def _wake(self, run: Run) -> None:
        cancel = run.cancel
        if cancel is not None:
            # Where its event loop has closed, nothing is awaited any more.
            with contextlib.suppress(RuntimeError):
                cancel()
