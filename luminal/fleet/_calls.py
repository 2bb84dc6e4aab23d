"""Count the calls of hooks that a fleet may hold, with one counter.

In the mode ``barrier`` no call begins on the new generation while one goes on on the
old. So new calls are held, those under way end, all members commit, and the held calls
go on. A call that is made by another one belongs to it, and is not held: the outer one
could not end. Calls that come before a member runs what was decided when it joined are
held as well.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from luminal._running_loop import running_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["AsyncHooks", "CallCounter", "Hooks"]

_is_inside: ContextVar[bool] = ContextVar("luminal_fleet_call", default=False)


class CallCounter:
    """How many calls are under way, and whether new ones are held."""

    def __init__(self) -> None:
        self._lock: threading.Lock = threading.Lock()
        self._count: int = 0
        # Done when held calls may go on; None where none is held.
        self._released: Future[None] | None = None
        # Done when no call is under way; there is one while calls are held.
        self._drained: Future[None] | None = None

    def begin(self) -> Future[None] | None:
        """Count a call; return what it must wait for instead, where calls are held."""
        with self._lock:
            if self._released is not None and not _is_inside.get():
                return self._released
            self._count += 1
            return None

    def end(self) -> None:
        """Count that a call has ended."""
        with self._lock:
            self._count -= 1
            if not self._count and self._drained is not None:
                _finish(self._drained)

    def hold(self) -> Future[None]:
        """Hold calls that begin from now on.

        Returns:
            Done when no call is under way.
        """
        with self._lock:
            if self._released is None or self._drained is None:
                self._released, self._drained = Future(), Future()
                if not self._count:
                    _finish(self._drained)
            return self._drained

    def release(self) -> None:
        """Let held calls go on."""
        with self._lock:
            released, self._released, self._drained = self._released, None, None
        if released is not None:
            _finish(released)

    @property
    def is_held(self) -> bool:
        """Whether calls that begin now have to wait."""
        return self._released is not None

    @property
    def count(self) -> int:
        """How many calls are under way."""
        return self._count


def _finish(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _may_wait() -> bool:
    """Whether this thread may block: the loop of a thread would stand still."""
    return running_loop() is None


class Hooks:
    """Calls hooks by their names, as ``loader.hook`` does; counted.

    A call on the thread of an event loop is not held: to block the loop would keep from
    ending what it waits for. `AsyncHooks` waits there.

    Args:
        relay: What calls them.
        calls: Counts them.
    """

    def __init__(self, relay: Any, calls: CallCounter) -> None:
        self._relay = relay
        self._calls = calls

    def __getattr__(self, name: str) -> Callable[..., Any]:
        relay, calls = self._relay, self._calls
        if not calls.is_held:  # what is held for may bring the hook
            getattr(relay, name)

        def counted(**arguments: Any) -> Any:
            while (held := calls.begin()) is not None:
                if _may_wait():
                    held.result()
                else:
                    return getattr(relay, name)(**arguments)
            token = _is_inside.set(True)
            try:
                return getattr(relay, name)(**arguments)
            finally:
                _is_inside.reset(token)
                calls.end()

        return counted


class AsyncHooks:
    """Awaits hooks by their names, as ``loader.ahook`` does; counted.

    Args:
        relay: What calls them.
        calls: Counts them.
    """

    def __init__(self, relay: Any, calls: CallCounter) -> None:
        self._relay = relay
        self._calls = calls

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        relay, calls = self._relay, self._calls
        if not calls.is_held:
            getattr(relay, name)

        async def counted(**arguments: Any) -> Any:
            while (held := calls.begin()) is not None:
                # Shielded: one call that is cancelled must not let the others go on.
                await asyncio.shield(asyncio.wrap_future(held))
            token = _is_inside.set(True)
            try:
                return await getattr(relay, name)(**arguments)
            finally:
                _is_inside.reset(token)
                calls.end()

        return counted
