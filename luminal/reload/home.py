"""Where a background thread runs coroutines: the host's loop, or one of its own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError as FutureCancelledError
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Home"]

_LOOK = 0.5
"""Seconds between looks whether the host's loop still runs."""


@attrs.define(eq=False)
class Home:
    """Runs coroutines from a thread that has no loop.

    What a photon starts on a loop lives as long as the loop does. So they run on the
    host's as long as it runs, and after that on a loop on a thread of our own.

    Args:
        host: The host's loop; None where it has none.
    """

    host: asyncio.AbstractEventLoop | None = None
    _own: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    def run(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run the coroutine that *make* returns, and wait for its end.

        If the host's loop stops in the middle, a second one is made and run here.
        """
        while True:
            loop = self._loop()
            future = asyncio.run_coroutine_threadsafe(make(), loop)
            while True:
                try:
                    return future.result(_LOOK)
                except FutureCancelledError:
                    break  # the loop ended and cancelled its tasks
                except TimeoutError:
                    if future.done():
                        raise
                    if not loop.is_running():
                        future.cancel()
                        break

    def _loop(self) -> asyncio.AbstractEventLoop:
        host = self.host
        if host is not None and host.is_running():
            return host
        self.host = None
        if self._own is None:
            self._own = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._own.run_forever, name="luminal-loop", daemon=True
            )
            self._thread.start()
        return self._own

    def close(self) -> None:
        """End the loop of our own, if there is one."""
        own, thread = self._own, self._thread
        self._own = self._thread = None
        if own is None or thread is None:
            return
        own.call_soon_threadsafe(own.stop)
        if thread is not threading.current_thread():
            thread.join()
            own.close()
