"""After the swap: calls end, the old photons are finalized, nothing refers to them.

In come the pairs of a swap, out comes news. A reload may be asked for by the very call
that the old photon has to finish first, so this is a task of its own, which nobody who
holds the host's turn waits for.
"""

from __future__ import annotations

import threading
import time
import weakref
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from luminal.errors import PhotonTimeoutError
from luminal.lifecycle import namespaces_of, report_referrers
from luminal.loading import drop_type_caches
from luminal.model import Event, EventKind, Problem, State
from luminal.supervise import unowned

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Container, Iterable

    from luminal.lifecycle import Handler, Runtime

__all__ = ["Retirement", "Retirements"]

PATIENCE = 0.1
"""Seconds that a reload waits for calls of the old; then they end without it."""

_SLICE = 0.05
"""Seconds after which a wait for calls notices that it has been hurried."""


@attrs.define(eq=False)
class Retirement:
    """What one swap has left behind.

    Args:
        leaving: The old Handlers, the last loaded first.
        runtime: What connects them to the host.
        until: `time.monotonic()` after which their calls are waited for no more.
    """

    leaving: list[Handler]
    runtime: Runtime
    until: float
    # It belongs to no loop: who waits may be on another one.
    _ended: Future[None] = attrs.Factory(Future)
    # None where a thread of its own has taken over.
    _task: asyncio.Task[None] | None = None
    _is_drained: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is left of the old generation that we hold."""
        return self._ended.done()

    def begin(self) -> None:
        """Start on the running loop."""
        import asyncio

        self._ended.set_running_or_notify_cancel()  # who waits cannot cancel it
        # Whoever asked for the swap may be a photon, and must not own this.
        with unowned():
            self._task = asyncio.create_task(self._carry_out(), name="luminal-retire")

    def shorten(self, seconds: float = 0.0) -> None:
        """Wait for calls *seconds* longer at most; may be called in any thread."""
        self.until = min(self.until, time.monotonic() + seconds)

    async def wait(self) -> None:
        """Wait for the end, but only a moment for calls that are still under way."""
        import asyncio

        await asyncio.sleep(0)  # where nothing is under way, that is all it needs
        if not self.is_over and not await self._wait(PATIENCE) and self._is_drained:
            await self._wait(None)

    async def end(self, seconds: float | None = None) -> bool:
        """Wait for the end; bring it about where the loop it began on has stopped.

        Args:
            seconds: After which to wait no more where it does go on; None for never.

        Returns:
            Whether it is over.
        """
        loop = self._task.get_loop() if self._task is not None else None
        if loop is not None and not loop.is_running() and not self.is_over:
            await self._carry_out()
        return await self._wait(seconds)

    def report_late(self) -> None:
        """Say that two newer generations serve, or are about to, before this ends."""
        for handler in self.leaving:
            late = PhotonTimeoutError(
                "is on its way out, and two newer generations have come meanwhile",
                hint="let hooks and 'finalize' return sooner, or reload less often",
            )
            problem = Problem.of(late, "drain" if not self._is_drained else "finalize")
            self.runtime.emit(EventKind.LEAKED, handler, problem=problem)

    async def _wait(self, seconds: float | None) -> bool:
        import asyncio

        loop = asyncio.get_running_loop()
        news = loop.create_future()

        def wake() -> None:
            if not news.done():
                news.set_result(None)

        def end(_: object) -> None:
            with suppress(RuntimeError):  # no loop runs here, or ours is closed
                if asyncio.get_running_loop() is loop:
                    wake()  # without a round through the loop's own socket
                    return
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(wake)

        self._ended.add_done_callback(end)
        alarm = loop.call_later(seconds, wake) if seconds is not None else None
        try:
            await news
        finally:
            if alarm is not None:
                alarm.cancel()
        return self.is_over

    async def _carry_out(self) -> None:
        import asyncio

        running = [h for h in self.leaving if h.state is State.RUNNING]
        try:
            for handler in running:
                await self._drain(handler)
        except asyncio.CancelledError:
            self._move()
            raise
        self._is_drained = True
        try:
            for handler in running:
                await self._finalize(handler)
            for handler in self.leaving:
                self._announce(handler)
                namespaces = namespaces_of(handler)
                handler.release()
                report_referrers(handler, namespaces)
            drop_type_caches()
        finally:
            if not self.is_over:
                self._ended.set_result(None)

    def _move(self) -> None:
        """Go on in a thread: the loop ends, and the calls have not.

        The loop may have been run by one of these calls, so it must not wait for them.
        """
        import asyncio

        self._task = None
        thread = threading.Thread(
            target=lambda: asyncio.run(self._carry_out()), name="luminal-retire"
        )
        with unowned():
            thread.start()

    def _announce(self, leaving: Handler) -> None:
        """Emit an event when the generation has really been collected."""
        import asyncio

        if leaving.generation is None:
            return
        event = Event(EventKind.RETIRED, leaving.name, leaving.number, leaving.filepath)
        defer, loop = self.runtime.events.defer, asyncio.get_running_loop()
        weakref.finalize(leaving.generation, defer, event, loop).atexit = False

    async def _drain(self, leaving: Handler) -> None:
        """Wait until no call of the old photon is under way, or the limit is over."""
        began = time.monotonic()
        is_idle = await self._is_idle(leaving)
        while not is_idle and time.monotonic() < self.until:
            is_idle = await self._is_idle(leaving)
        seconds = time.monotonic() - began
        problem = None
        if not is_idle:
            late = PhotonTimeoutError(
                f"calls were still under way after {seconds:.3g} seconds",
                hint="let hooks return sooner, or give them a longer drain deadline",
            )
            problem = Problem.of(late, "drain")
        self.runtime.emit(EventKind.DRAINED, leaving, seconds=seconds, problem=problem)

    async def _is_idle(self, leaving: Handler) -> bool:
        import asyncio

        left = max(min(_SLICE, self.until - time.monotonic()), 0.0)
        wait_idle = self.runtime.plugins.wait_idle
        try:
            return await wait_idle(leaving.instance, left)
        except asyncio.CancelledError:
            # `asyncio.run` ends. What has been swapped out is brought to its end.
            if await wait_idle(leaving.instance, PATIENCE):
                return True
            raise

    async def _finalize(self, leaving: Handler) -> None:
        import asyncio

        try:
            await leaving.stop()
        except asyncio.CancelledError:
            return  # as above; the Handler has ended by force what it began


@attrs.define(eq=False)
class Retirements:
    """All that one host has under way.

    Args:
        runtime: What connects its photons to it.

    Attributes:
        late: How many were not over when a third generation was committed.
    """

    runtime: Runtime
    late: int = 0
    _under_way: list[Retirement] = attrs.Factory(list)

    async def retire_earlier(self, names: Container[str]) -> None:
        """Let one generation of some photons live, before another one is committed.

        Those on their way out get their limit: a tenth of the drain deadline for calls
        under way, and as much for the rest. What takes longer, a call that never ends
        or a ``finalize`` that hangs, is told, counted, and waited for no more.

        Args:
            names: Of the photons.
        """
        room = self.runtime.deadlines.drain / 10
        leaving = self._of(names, is_shortened=False)
        for retirement in leaving:
            retirement.shorten(room)
        until = time.monotonic() + 2 * room
        for retirement in leaving:
            if not await retirement.end(max(until - time.monotonic(), 0.0)):
                self.late += 1
                retirement.report_late()

    def begin(self, handlers: Iterable[Handler]) -> Retirement:
        """Retire what a swap has replaced; the caller need not wait.

        What goes wrong here is reported and does not undo the swap. A photon has two
        generations at most: one that is being retired already gets its limit at once.

        Args:
            handlers: Of what was replaced, in the order of loading.
        """
        leaving = list(handlers)[::-1]
        self._of({handler.name for handler in leaving}, is_shortened=True)
        until = time.monotonic() + self.runtime.deadlines.drain
        retirement = Retirement(leaving, self.runtime, until)
        self._under_way.append(retirement)
        retirement.begin()
        return retirement

    async def end(self, names: Container[str] | None = None) -> None:
        """Wait until the earlier generations of photons have been retired.

        Args:
            names: Of which photons, whose calls are waited for no longer; None for
                all, which are given the time that they have.
        """
        for retirement in self._of(names, is_shortened=names is not None):
            await retirement.end()

    def _of(
        self, names: Container[str] | None, *, is_shortened: bool
    ) -> list[Retirement]:
        self._under_way = [r for r in self._under_way if not r.is_over]
        found = [
            retirement
            for retirement in self._under_way
            if names is None or any(h.name in names for h in retirement.leaving)
        ]
        for retirement in found if is_shortened else ():
            retirement.shorten()
        return found
