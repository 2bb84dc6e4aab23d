"""A lock for coroutines that belongs to no event loop.

`asyncio.Lock` is tied to the loop that it first waited on; a Loader is used from
several, one after the other or at once. First come, first served. Whoever holds the
lock and asks for it again would wait for itself, and gets an error instead.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING

from luminal.errors import PhotonStateError
from luminal.loading import reach_loop

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

__all__ = ["CrossLoopLock", "forked_while_busy"]

# Holders that the calling code runs under. Threads and tasks that are started by a
# holder inherit it, and it means nothing any more once the lock was released.
_holders: ContextVar[tuple[object, ...]] = ContextVar("luminal_holders", default=())

_Waiter = tuple["asyncio.AbstractEventLoop", "asyncio.Future[None]"]


class _Holder:
    """Who holds a lock, one object each time.

    Attributes:
        forks: How often the process had been forked by then, see `_forks`.
    """

    __slots__ = ("forks",)
    forks: int


_forks = 0
"""How often this process, and those that it was forked from, were made by a fork."""


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


def forked_while_busy() -> PhotonStateError:
    """Return the error of what cannot be done in a process since its fork."""
    return PhotonStateError(
        "cannot be done in this process",
        why="the process was forked while a photon was loaded or reloaded",
        hint="fork before that, or after pause_watching() and resume in both",
    )


class CrossLoopLock:
    """``async with lock:`` runs one such block at a time, whatever loop it is on."""

    def __init__(self) -> None:
        # None where nobody holds the lock.
        self._holder: _Holder | None = None
        # In order of arrival. A waiter that is not in here has been handed the lock.
        self._waiting: deque[_Waiter] = deque()
        # Held for a few instructions only, never while anything is awaited.
        self._lock: threading.Lock = threading.Lock()

    @property
    def is_held_here(self) -> bool:
        """Whether the caller runs under it, and so must not wait for it."""
        with self._lock:
            return self._holder in _holders.get()

    async def __aenter__(self) -> None:
        inside = _holders.get()
        with self._lock:
            is_free = self._holder is None
            if is_free:
                self._holder = _Holder()
                self._holder.forks = _forks
        if not is_free and not self._take(inside):
            loop = await reach_loop()
            waiter = (loop, loop.create_future())
            if not self._take(inside, waiter):
                await self._wait(waiter)
        _holders.set((*inside, self._holder))

    def _take(self, inside: tuple[object, ...], waiter: _Waiter | None = None) -> bool:
        """Take the lock if nobody has it; else append *waiter*, if one is given."""
        with self._lock:
            if self._holder is None:
                self._holder = _Holder()
                self._holder.forks = _forks
                return True
            if self._holder.forks != _forks:
                raise forked_while_busy()
            if self._holder in inside:
                raise PhotonStateError(
                    "cannot wait for what it is part of",
                    why="a step of a photon asked for another one of the same turn",
                    hint="ask once that step is over",
                )
            if waiter is not None:
                self._waiting.append(waiter)
            return False

    async def _wait(self, waiter: _Waiter) -> None:
        try:
            await waiter[1]
        except BaseException:
            # Cancelled. The lock may have been handed over in that very moment.
            with self._lock:
                is_handed_over = waiter not in self._waiting
                if not is_handed_over:
                    self._waiting.remove(waiter)
            if is_handed_over:
                self._pass_on()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        inside, own = _holders.get(), self._holder
        if inside and inside[-1] is own:
            _holders.set(inside[:-1])
        else:
            _holders.set(tuple(h for h in inside if h is not own))
        with self._lock:
            is_wanted = bool(self._waiting)
            if not is_wanted:
                self._holder = None
        if is_wanted:
            self._pass_on()

    def _pass_on(self) -> None:
        """Hand the lock to the next waiter whose loop can still run it."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._holder = None
                    return
                self._holder = _Holder()
                self._holder.forks = _forks
                loop, arrived = self._waiting.popleft()
            try:
                loop.call_soon_threadsafe(_wake, arrived)
            except RuntimeError:  # closed: nothing that waited on it will ever go on
                continue
            return


def _wake(arrived: asyncio.Future[None]) -> None:
    if not arrived.done():  # else it was cancelled, and `_wait` passes the lock on
        arrived.set_result(None)
