"""A lock for coroutines that belongs to no event loop.

`asyncio.Lock` is tied to the loop that it first waited on; a Loader is used from
several, one after the other or at once. First come, first served. Whoever asks for a
turn from inside of it would wait for itself, and is refused.
"""

from __future__ import annotations

import threading
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs

from luminal.errors import PhotonStateError

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType

__all__ = ["CrossLoopLock"]

# Turns that the calling code is part of. Threads and tasks that are started in a turn
# inherit it, and it means nothing any more once the turn is over.
_holders: ContextVar[tuple[object, ...]] = ContextVar("luminal_turns", default=())


@attrs.define(eq=False)
class CrossLoopLock:
    """``async with turn:`` runs one such block at a time, whatever loop it is on."""

    # Whose turn it is, a new object each time; None where it is nobody's.
    _holder: object | None = None
    _waiting: deque[Future[None]] = attrs.Factory(deque)
    # Held for a few instructions only, never while anything is awaited.
    _lock: threading.Lock = attrs.Factory(threading.Lock)

    async def __aenter__(self) -> None:
        inside = _holders.get()
        ticket: Future[None] | None = None
        with self._lock:
            if self._holder is None:
                self._holder = object()
            elif self._holder in inside:
                raise PhotonStateError(
                    "cannot wait for what it is part of",
                    why="a step of a photon asked for another one of the same turn",
                    hint="ask once that step is over",
                )
            else:
                from concurrent.futures import Future

                ticket = Future()
                self._waiting.append(ticket)
        if ticket is not None:
            await self._wait(ticket)
        _holders.set((*inside, self._holder))

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
        own = self._holder
        _holders.set(tuple(h for h in _holders.get() if h is not own))
        self._pass_on()

    def _pass_on(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._holder = None
                    return
                self._holder = object()
                ticket = self._waiting.popleft()
            if ticket.set_running_or_notify_cancel():
                ticket.set_result(None)
                return
