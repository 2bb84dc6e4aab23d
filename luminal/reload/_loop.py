"""Run coroutines from a background thread: on the host's event loop, or on our own.

What a photon starts on a loop lives only as long as that loop. So its coroutines run on
the host's loop while it runs, and after that on a loop on a thread of Luminal's.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import attrs

from luminal._running_loop import run_coroutine
from luminal.loading import run_from_thread
from luminal.supervise import unowned

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from luminal.loading import WorkerThread

__all__ = ["LoopRunner"]

_INTERVAL = 0.05
"""Seconds between checks whether the host's loop still runs."""


# A loop of our own, and the event that ends it.
_Own = tuple[asyncio.AbstractEventLoop, asyncio.Event]


@attrs.define(eq=False)
class LoopRunner:
    """Runs coroutines from threads that have no event loop.

    Attributes:
        is_halted: Whether `halt` was called.
    """

    # The host's loop; None where there is none, or it has ended.
    _host: asyncio.AbstractEventLoop | None = None
    # A task on the host's loop that is cancelled when `asyncio.run` ends.
    _canary: asyncio.Task[None] | None = None
    _own: _Own | None = None
    _thread: threading.Thread | None = None
    # What runs just now; there is one at a time.
    _task: asyncio.Task[Any] | None = None
    is_halted: bool = attrs.field(default=False, init=False)

    def use(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Run coroutines on the host's loop as long as it runs.

        Args:
            loop: The running loop; None for a loop of our own from the start.
        """
        if loop is not None:
            self._host = loop
            with unowned():
                self._canary = loop.create_task(_wait_for_ever(), name="luminal-canary")

    def run(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a coroutine, and wait for its end.

        If the host's loop stops in the middle, a second coroutine is made and run on
        our own loop.

        Args:
            make: Returns a new coroutine.

        Returns:
            What the coroutine returned.

        Raises:
            concurrent.futures.CancelledError: It was cancelled by `halt`.
            BaseException: Whatever the coroutine raised.
        """
        while True:
            loop = self._loop()
            work = self._checked(make, is_host=loop is self._host)
            try:
                future = asyncio.run_coroutine_threadsafe(work, loop)
            except RuntimeError:  # the loop was closed just before the call
                work.close()
                continue
            while True:
                try:
                    return future.result(_INTERVAL)
                except FutureCancelledError:
                    if self.is_halted:
                        raise
                    break  # the loop ended and cancelled its tasks
                except TimeoutError:
                    if future.done():  # it ended just after the wait timed out
                        return future.result()
                    if not loop.is_running():
                        _abandon(future, work, loop)
                        break

    def run_on_worker(
        self,
        make: Callable[[], Coroutine[Any, Any, Any]],
        worker: WorkerThread,
        patience: float,
    ) -> Any:
        """Run a coroutine on a worker as far as it needs no loop, the rest as in `run`.

        Args:
            make: Returns a new coroutine.
            worker: See `run_from_thread`.
            patience: Likewise.

        Returns:
            What the coroutine returned.

        Raises:
            BaseException: Whatever the coroutine raised.
        """

        def run_rest(rest: Coroutine[Any, Any, Any]) -> Any:
            begun = [rest]
            return self.run(lambda: begun.pop() if begun else make())

        return run_from_thread(
            worker, make(), patience, run_rest, lambda: self.is_halted
        )

    def halt(self) -> None:
        """Cancel what runs, and all that would run from now on; from any thread."""
        self.is_halted = True
        task = self._task
        if task is not None:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                task.get_loop().call_soon_threadsafe(task.cancel)

    async def _checked(
        self, make: Callable[[], Coroutine[Any, Any, Any]], *, is_host: bool
    ) -> Any:
        """Run it, unless the host's loop is about to end.

        `asyncio.run` cancels the tasks that it finds at its end. A task that is created
        later would begin, never continue, and keep the locks that it holds.
        """
        canary = self._canary
        if is_host and canary and (canary.done() or canary.cancelling()):
            self._host = None
            raise asyncio.CancelledError
        task = self._task = asyncio.current_task()
        if task is not None and self.is_halted:
            task.cancel()  # where it waits, so that it gives back what it holds
        try:
            return await make()
        finally:
            self._task = None

    def _loop(self) -> asyncio.AbstractEventLoop:
        host = self._host
        if host is not None and host.is_running():
            return host
        self._host = None
        if self._own is None:
            begun: Future[_Own] = Future()
            self._thread = threading.Thread(
                target=lambda: run_coroutine(_serve(begun)),
                name="luminal-loop",
                daemon=True,
            )
            with unowned():
                self._thread.start()
            self._own = begun.result()
        return self._own[0]

    def close(self) -> None:
        """Forget the host's loop, and end our own if there is one."""
        canary, self._canary = self._canary, None
        if canary is not None:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                canary.get_loop().call_soon_threadsafe(canary.cancel)
        own, thread = self._own, self._thread
        self._own = self._thread = None
        if own is None or thread is None:
            return
        loop, is_over = own
        loop.call_soon_threadsafe(is_over.set)
        if thread is not threading.current_thread():
            thread.join()


def _abandon(
    future: Future[Any],
    work: Coroutine[Any, Any, Any],
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Give up *work*, which was submitted to a loop that does not run any more."""
    if loop.is_closed():
        work.close()  # it was never begun, and Python would warn of it
    else:
        future.cancel()  # in case that the loop is run again


async def _serve(begun: Future[_Own]) -> None:
    """Keep a loop running; at its end, `asyncio.run` cancels whatever runs on it."""
    is_over = asyncio.Event()
    begun.set_result((asyncio.get_running_loop(), is_over))
    await is_over.wait()


async def _wait_for_ever() -> None:
    await asyncio.Event().wait()
