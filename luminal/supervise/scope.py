"""`Scope`: the owner of everything that one photon starts.

What comes in are threads, tasks, processes, loops, timers, context managers and
closers, started through the photon's context or attributed to it; what goes out, when
the photon's life ends, is their end, and a record of each that lives on. It never
waits longer than its deadline.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import attrs

from luminal.supervise import attribution
from luminal.supervise.closers import Closer, run_closer
from luminal.supervise.leftovers import Leftover
from luminal.supervise.starting import Starting

if TYPE_CHECKING:
    from collections.abc import Callable

    from luminal.supervise.belongings import Belonging

__all__ = ["Scope"]

# After which share of the deadline, or seconds at most, the next rung is climbed.
_RUNGS = (("ask", 0, 0), ("hurry", 0.1, 0.15), ("press", 0.1, 60), ("kill", 0.5, 60))
_TICK_SECONDS = 0.003
# For all that is left, where whoever closes the scope is cancelled.
_HURRIED_SECONDS = 0.5
_TOO_LATE = "it was not called: the time for closing was over"


@attrs.define(eq=False, repr=False)
class Scope(Starting):
    """Owns what a photon starts, and ends it with the photon.

    Args:
        name: Name of the photon.

    Attributes:
        errors: What closers raised, in the order in which they ran.
        is_closed: It has been closed; what is started later is ended at once.
    """

    errors: list[BaseException] = attrs.field(factory=list, init=False)
    # In the order in which they were started; closed in reverse.
    _owned: list[Belonging] = attrs.field(factory=list, init=False)
    _closers: list[Closer] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        attribution.enter(self)

    def __repr__(self) -> str:
        return f"<Scope {self.name!r} owned={len(self.living())}>"

    def living(self) -> list[Belonging]:
        """Return what it owns and what has not ended, in the order of starting."""
        with self._lock:
            self._owned[:] = [one for one in self._owned if one.is_alive()]
            return list(self._owned)

    def adopt(self, belonging: Any) -> None:
        """Own *belonging* from now on; after `close`, end it at once."""
        with self._lock:
            if len(self._owned) > 32:
                self._owned[:] = [one for one in self._owned if one.is_alive()]
            self._owned.append(belonging)
        if self.is_closed:
            belonging.ask()
            belonging.press()

    # What is given back -----------------------------------------------------------

    def enter(self, manager: Any) -> Any:
        """Enter the context *manager* now, leave it when the life ends.

        Returns what its ``__enter__`` returned; for an asynchronous one, an awaitable.

        Raises:
            PhotonStateError: The life has ended.
        """
        if hasattr(manager, "__aenter__") and not hasattr(manager, "__enter__"):
            return self._aenter(manager)
        self._check_open()
        value = manager.__enter__()
        if not self._add(lambda: manager.__exit__(None, None, None)):
            manager.__exit__(None, None, None)
            self._check_open()
        return value

    async def _aenter(self, manager: Any) -> Any:
        self._check_open()
        value = await manager.__aenter__()
        if not self._add(lambda: manager.__aexit__(None, None, None)):
            await manager.__aexit__(None, None, None)
            self._check_open()
        return value

    def on_close(self, function: Callable[[], Any]) -> None:
        """Call *function* when the life ends, the last one given first.

        Raises:
            PhotonStateError: The life has ended.
        """
        if not self._add(function):
            self._check_open()

    def _add(self, function: Callable[[], Any]) -> bool:
        with self._lock:
            if not self.is_closed:
                self._closers.append(Closer(function))
            return not self.is_closed

    # The end ----------------------------------------------------------------------

    async def close(self, deadline: float = 5.0) -> tuple[Leftover, ...]:
        """End everything: closers in reverse, then ask, wait, press, kill.

        What closers raise is collected in `errors`. Cancelled, it ends everything all
        the same, in half a second, and passes the cancellation on then.

        Args:
            deadline: Seconds for all of it together.

        Returns:
            What is left, with the reason; empty where nothing is.
        """
        import asyncio

        try:
            return await self._end(deadline)
        except asyncio.CancelledError:
            await self._end(min(deadline, _HURRIED_SECONDS))
            raise

    async def _end(self, deadline: float) -> tuple[Leftover, ...]:
        import asyncio

        begun = time.monotonic()
        left: list[Leftover] = []
        while (closer := self._next_closer()) is not None:
            passed = time.monotonic() - begun
            if passed > deadline:
                left.append(Leftover("callback", closer.name, self.name, why=_TOO_LATE))
                continue
            late = await run_closer(closer, max(0.05, deadline * 0.8 - passed), self)
            if late is not None:
                left.append(late)
        climbed = time.monotonic()
        budget = max(0.2, begun + deadline - climbed)
        rungs = list(_RUNGS)
        while alive := self._not_mine():
            passed = time.monotonic() - climbed
            if passed > budget:
                break
            while rungs and passed >= min(rungs[0][1] * budget, rungs[0][2]):
                self._climb(rungs.pop(0)[0], alive)
            await asyncio.sleep(_TICK_SECONDS)
        left.extend(one.leftover(self.name, time.monotonic() - begun) for one in alive)
        self._leave()
        return tuple(left)

    def _next_closer(self) -> Closer | None:
        """Return the closer that is next; without any, the scope is closed."""
        with self._lock:
            if self._closers:
                return self._closers.pop()
            self.is_closed = True
            return None

    def _not_mine(self) -> list[Belonging]:
        import asyncio

        try:
            mine = {asyncio.current_task(), threading.current_thread()}
        except RuntimeError:
            mine = {None, threading.current_thread()}
        return [one for one in self.living() if one.thing not in mine]

    def _climb(self, rung: str, alive: list[Belonging]) -> None:
        for one in reversed(alive):
            try:
                getattr(one, rung)()
            except Exception as error:  # noqa: BLE001 - the others go on
                self.errors.append(error)

    def _leave(self) -> None:
        attribution.leave(self)
        self._return_loops()

    def close_sync(self, deadline: float = 5.0) -> tuple[Leftover, ...]:
        """Do what `close` does, from code that is not ``async``."""
        import asyncio

        result: list[tuple[Leftover, ...]] = []

        def run() -> None:
            result.append(asyncio.run(self.close(deadline)))

        thread = threading.Thread(target=run, name=f"{self.name}-close", daemon=True)
        thread.start()
        thread.join(deadline + 1.0)
        return result[0] if result else ()
