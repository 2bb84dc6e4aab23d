"""Retire what a swap has replaced: wait for its calls, finalize it, release it.

A reload may be requested by a call of the very photon that it replaces. So this is a
task of its own, and nothing that holds the host's lock waits for such a call.
"""

from __future__ import annotations

import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from luminal._running_loop import running_loop
from luminal.errors import PhotonTimeoutError
from luminal.lifecycle import namespaces_of, report_referrers
from luminal.loading import forget_registrations, reach_loop
from luminal.model import Event, EventKind, Problem, State
from luminal.reload._registrations import registration_error
from luminal.supervise import unowned

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Container, Iterable

    from luminal.lifecycle import Handler, Runtime
    from luminal.loading import Generation, WorkerThread
    from luminal.supervise import Leftover

__all__ = ["Retirement", "Retirements"]

PATIENCE = 0.1
"""Seconds that a reload waits for calls of old photons before it returns."""

_SLICE = 0.05
"""Seconds after which a wait for calls checks whether its limit was shortened."""


@attrs.define(eq=False)
class Retirement:
    """The retirement of what one swap has replaced.

    Args:
        handlers: Of the old photons, the last loaded first.
        generations: What was replaced; also of units without a photon.
        runtime: The connections of photons to the host.
        worker: Emits events where no event loop runs.
        until: `time.monotonic()` until which their calls are waited for.

    Attributes:
        is_over: Whether Luminal refers no more to the old generation.
    """

    handlers: list[Handler]
    generations: Iterable[Generation]
    runtime: Runtime
    worker: WorkerThread
    until: float
    is_over: bool = False
    # Wake those that wait for the end, on whatever loop; guarded, as threads add to it.
    _waiting: list[Callable[[], object]] = attrs.Factory(list)
    _lock: threading.Lock = attrs.Factory(threading.Lock)
    # None before it has begun, and once a thread of its own has taken over.
    _task: asyncio.Task[None] | None = None
    _is_drained: bool = False
    # There is nothing to wait for: it is carried out by who waits for it, in no task.
    _is_short: bool = False
    # Whoever takes the only item carries it out.
    _unbegun: list[None] = attrs.Factory(lambda: [None])

    def begin(self) -> None:
        """Start on the running loop; where none runs, see `ensure_begun`."""
        if running_loop() is None:
            return
        self._is_short = self._has_nothing_to_do()
        if self._is_short or not self._take():
            return
        import asyncio

        # A photon that requested the swap must not own this task.
        with unowned():
            self._task = asyncio.create_task(self._carry_out(), name="luminal-retire")

    def _take(self) -> bool:
        try:
            self._unbegun.pop()  # a list gives each item to one thread
        except IndexError:
            return False
        return True

    async def ensure_begun(self) -> None:
        """Begin, where that could not be done; at once, where there is little to do."""
        if not self._unbegun:
            return
        if self._is_short or self._has_nothing_to_do():
            if self._take():
                await self._carry_out(is_idle=True)
        else:
            await reach_loop()
            self.begin()

    def _has_nothing_to_do(self) -> bool:
        """Whether there is nothing to wait for, and nothing of a photon's to call."""
        in_flight = self.runtime.plugins.in_flight
        for handler in self.handlers:
            if not handler._has_no_end or in_flight(handler.instance):
                return False
        return True

    def shorten(self, seconds: float = 0.0) -> None:
        """Wait for calls at most *seconds* from now; may be called in any thread."""
        self.until = min(self.until, time.monotonic() + seconds)

    async def wait(self) -> None:
        """Wait for the end, but only `PATIENCE` for calls that are under way."""
        await self.ensure_begun()
        if not self.is_over:
            await self._wait_with_patience()

    async def _wait_with_patience(self) -> None:
        import asyncio

        await reach_loop()
        await asyncio.sleep(0)  # enough where no call is under way
        if not self.is_over and not await self._wait(PATIENCE) and self._is_drained:
            await self._wait(None)

    async def end(self, seconds: float | None = None) -> bool:
        """Wait for the end; carry it out here where its own loop has stopped.

        Args:
            seconds: How long to wait at most; None for no limit.

        Returns:
            Whether it is over.
        """
        await self.ensure_begun()
        loop = self._task.get_loop() if self._task is not None else None
        if loop is not None and not loop.is_running() and not self.is_over:
            await self._carry_out()
        return self.is_over or await self._wait(seconds)

    def report_late(self) -> None:
        """Report that a third generation is committed before this one has ended."""
        for handler in self.handlers:
            late = PhotonTimeoutError(
                "is still being retired, and two newer generations have been started",
                hint="let hooks and 'finalize' return sooner, or reload less often",
            )
            problem = Problem.of(late, "drain" if not self._is_drained else "finalize")
            self.runtime.emit(EventKind.LEAKED, handler, problem=problem)

    async def _wait(self, seconds: float | None) -> bool:
        import asyncio

        loop = await reach_loop()
        ended = loop.create_future()

        def wake() -> None:
            if not ended.done():
                ended.set_result(None)

        def end() -> None:
            with suppress(RuntimeError):  # no loop runs here, or ours is closed
                if asyncio.get_running_loop() is loop:
                    wake()  # without the loop's own socket
                    return
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(wake)

        with self._lock:
            if self.is_over:
                return True
            self._waiting.append(end)
        timer = loop.call_later(seconds, wake) if seconds is not None else None
        try:
            await ended
        finally:
            if timer is not None:
                timer.cancel()
        return self.is_over

    async def _carry_out(self, *, is_idle: bool = False) -> None:
        """Retire the old photons.

        Args:
            is_idle: There is nothing to wait for, see `_has_nothing_to_do`.
        """
        running = [h for h in self.handlers if h.state is State.RUNNING]
        if is_idle:
            for handler in running:
                self.runtime.drained(handler, 0.0, is_idle=True)
        else:
            await self._drain_each(running)
        self._is_drained = True
        try:
            for handler in running:
                await (handler._stop() if is_idle else self._finalize(handler))
            self._report_left(forget_registrations(self.generations))
            self.runtime.plugins.forget_specs(self.generations)
            self._watch_survivors()
            self.generations = ()
            for handler in self.handlers:
                self._announce(handler)
                namespaces = namespaces_of(handler)
                handler._release()
                report_referrers(handler, namespaces)
        finally:
            with self._lock:
                self.is_over = True
                waiting, self._waiting = self._waiting, []
            for wake in waiting:
                wake()

    def _report_left(self, registered: Iterable[Leftover]) -> None:
        """Emit an event for each registration that could not be taken back."""
        for one in registered if self.handlers else ():
            problem = Problem.of(registration_error(one), "finalize")
            self.runtime.emit(EventKind.LEAKED, self.handlers[0], problem=problem)

    def _watch_survivors(self) -> None:
        first = self.handlers[-1] if self.handlers else None
        lives = [(h._life.generation, h) for h in self.handlers]
        of = {known.unit: handler for known, handler in lives if known is not None}
        for generation in self.generations:
            handler = of.get(generation.unit, first)
            if handler is not None and not generation.borrowed:
                self.runtime.survivors.watch(generation, handler.name, handler.filepath)

    def _continue_in_thread(self) -> None:
        """Continue in a thread, as the loop ends before the calls.

        One of these calls may have run the loop, so the loop must not wait for them.
        """
        import asyncio

        self._task = None
        thread = threading.Thread(
            target=lambda: asyncio.run(self._carry_out()), name="luminal-retire"
        )
        with unowned():
            thread.start()

    def _announce(self, handler: Handler) -> None:
        """Emit an event when the generation has really been collected."""
        generation = handler.generation
        if generation is None:
            return
        event = Event(
            EventKind.RETIRED, handler.name, generation.number, handler.filepath
        )
        call_soon: Callable[[Callable[[], None]], object] = self.worker.call_soon
        if (loop := running_loop()) is not None:
            call_soon = loop.call_soon_threadsafe
        defer = self.runtime.events.defer
        weakref.finalize(generation, defer, event, call_soon).atexit = False

    async def _drain_each(self, handlers: Iterable[Handler]) -> None:
        import asyncio

        try:
            for handler in handlers:
                await self._drain(handler)
        except asyncio.CancelledError:
            self._continue_in_thread()
            raise

    async def _drain(self, handler: Handler) -> None:
        """Wait until no call of the old photon is under way, or the time is over."""
        began = time.monotonic()
        is_idle = await self._is_idle(handler)
        while not is_idle and time.monotonic() < self.until:
            is_idle = await self._is_idle(handler)
        self.runtime.drained(handler, time.monotonic() - began, is_idle=is_idle)

    async def _is_idle(self, handler: Handler) -> bool:
        import asyncio

        if not self.runtime.plugins.in_flight(handler.instance):
            return True
        await reach_loop()
        left = max(min(_SLICE, self.until - time.monotonic()), 0.0)
        wait_idle = self.runtime.plugins.wait_idle
        try:
            return await wait_idle(handler.instance, left)
        except asyncio.CancelledError:
            # `asyncio.run` ends. Photons that were replaced are still finalized.
            if await wait_idle(handler.instance, PATIENCE):
                return True
            raise

    async def _finalize(self, handler: Handler) -> None:
        import asyncio

        try:
            await handler._stop()
        except asyncio.CancelledError:
            return  # as above; the Handler has ended by force what the photon owned


@attrs.define(eq=False)
class Retirements:
    """The retirements of one host that are under way.

    Args:
        runtime: The connections of photons to the host.
        worker: Emits events where no event loop runs.

    Attributes:
        late: How many were not over when a third generation was committed.
    """

    runtime: Runtime
    worker: WorkerThread
    late: int = 0
    _under_way: list[Retirement] = attrs.Factory(list)

    async def retire_earlier(self, names: Container[str]) -> None:
        """Retire earlier generations of some photons, before another is committed.

        Calls under way get a tenth of the drain deadline, and ``finalize`` as much.
        What takes longer, such as a call that never ends, is reported, counted, and
        waited for no more.

        Args:
            names: Of the photons.
        """
        limit = self.runtime.deadlines.drain / 10
        found = self._of(names, is_shortened=False)
        for retirement in found:
            retirement.shorten(limit)
        until = time.monotonic() + 2 * limit
        for retirement in found:
            if not await retirement.end(max(until - time.monotonic(), 0.0)):
                self.late += 1
                retirement.report_late()

    def begin(
        self, handlers: Iterable[Handler], generations: Iterable[Generation]
    ) -> Retirement:
        """Retire what a swap has replaced; the caller need not wait.

        Where no event loop runs, it calls `Retirement.ensure_begun`, and holds no lock.

        A failure is reported, and does not undo the swap. A photon has at most two
        generations: the calls of one that is already being retired are waited for no
        longer.

        Args:
            handlers: Of what was replaced, in the order of loading.
            generations: What was replaced; also of units without a photon.
        """
        replaced = list(handlers)[::-1]
        self._of({handler.name for handler in replaced}, is_shortened=True)
        until = time.monotonic() + self.runtime.deadlines.drain
        retirement = Retirement(
            replaced, tuple(generations), self.runtime, self.worker, until
        )
        self._under_way.append(retirement)
        retirement.begin()
        return retirement

    async def end(self, names: Container[str] | None = None) -> None:
        """Wait until the earlier generations of photons have been retired.

        Args:
            names: Of the photons, whose calls are then waited for no longer. None for
                all photons, within the time that they have.
        """
        for retirement in self._of(names, is_shortened=names is not None):
            await retirement.end()

    def _of(
        self, names: Container[str] | None, *, is_shortened: bool
    ) -> list[Retirement]:
        if not self._under_way:
            return []
        left: list[Retirement] = []
        found: list[Retirement] = []
        for retirement in self._under_way:
            if retirement.is_over:
                continue
            left.append(retirement)
            if names is None or any(h.name in names for h in retirement.handlers):
                found.append(retirement)
                if is_shortened:
                    retirement.shorten()
        self._under_way = left
        return found
