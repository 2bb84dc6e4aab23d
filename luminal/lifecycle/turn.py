"""A lock for coroutines that belongs to no event loop.

`asyncio.Lock` is tied to the loop that it first waited on; a Loader is used from
several, one after the other or at once. First come, first served.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType

__all__ = ["Turn"]


@attrs.define(eq=False)
class Turn:
    """``async with turn:`` runs one such block at a time, whatever loop it is on."""

    _is_taken: bool = False
    _waiting: deque[Future[None]] = attrs.Factory(deque)
    # Held for a few instructions only, never while anything is awaited.
    _lock: threading.Lock = attrs.Factory(threading.Lock)

    async def __aenter__(self) -> None:
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            from concurrent.futures import Future

            ticket: Future[None] = Future()
            self._waiting.append(ticket)
        await self._wait(ticket)

    async def _wait(self, ticket: Future[None]) -> None:
        import asyncio

        try:
            await asyncio.wrap_future(ticket)
        except asyncio.CancelledError:
            # The turn may have come in the very moment of the cancellation.
            if ticket.done() and not ticket.cancelled():
                self._pass_on()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_taken = False
                    return
                ticket = self._waiting.popleft()
            if ticket.set_running_or_notify_cancel():
                ticket.set_result(None)
                return
