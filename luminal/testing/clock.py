"""A fake clock, and an event loop whose timers follow it.

A test advances the clock, and the loop's timers that are due fire in their order, with
no real time between them. Threads, files and processes still need real time. While a
host carries out a call of the test, the clock runs at real speed, since the deadlines
of that call are timers too.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import selectors
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["FakeClock"]


class FakeClock:
    """A clock that stands still until a test advances it.

    ``clock()`` is the time in seconds, so a clock can be passed wherever a function
    like `time.monotonic` can. The timers of a loop made by `new_event_loop` follow it:
    `asyncio.sleep`, `asyncio.timeout` and ``loop.call_later`` wait for `advance`. The
    functions of the module `time` do not change.

    Args:
        start: The time at first, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        # Guards all below, which the loop's thread and the test's both use.
        self._lock = threading.Lock()
        self._now = start
        self._target = start
        # Number of `flowing` blocks entered now.
        self._flows = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        # Called by the loop when it is idle and the target is reached.
        self._arrivals: list[Callable[[], object]] = []

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self._now

    def __repr__(self) -> str:
        return f"<FakeClock {self._now:g}>"

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Return an event loop whose timers follow this clock.

        It can be the ``loop_factory`` of `asyncio.Runner`.

        Raises:
            RuntimeError: An earlier loop of this clock is still open.
        """
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError("another loop uses this clock; close that one first")
        self._loop = _Loop(self)
        return self._loop

    @contextlib.contextmanager
    def flowing(self) -> Iterator[None]:
        """Let the clock run at real speed inside of a ``with`` block.

        `Host` does so while it carries out a call.
        """
        with self._lock:
            self._flows += 1
        self._wake()
        try:
            yield
        finally:
            with self._lock:
                self._flows -= 1
            self._wake()

    def _wake(self) -> None:
        """Make the loop read the clock again."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(lambda: None)

    def advance(self, seconds: float) -> None:
        """Advance the clock, from a thread other than the loop's.

        Returns when the timers due in that time have fired, and the loop only waits for
        threads, files, or later timers.

        Args:
            seconds: By how much.

        Raises:
            RuntimeError: Called on the loop's own thread; await `elapse` there.
            ValueError: *seconds* is negative.
        """
        loop = self._loop
        if loop is None or not loop.is_running():
            with self._lock:
                self._now = self._target = self._target + _checked(seconds)
            return
        try:
            is_own = asyncio.get_running_loop() is loop
        except RuntimeError:
            is_own = False
        if is_own:
            raise RuntimeError("cannot advance on the loop's own thread; await elapse")
        arrived = threading.Event()
        self._set_off(seconds, arrived.set)
        self._wake()
        arrived.wait()

    async def elapse(self, seconds: float) -> None:
        """Advance the clock as `advance` does, from a coroutine on its loop.

        Args:
            seconds: By how much.

        Raises:
            ValueError: *seconds* is negative.
        """
        arrived = asyncio.get_running_loop().create_future()

        def arrive() -> None:
            if not arrived.done():
                arrived.set_result(None)

        self._set_off(seconds, arrive)
        await arrived

    def _set_off(self, seconds: float, on_arrival: Callable[[], object]) -> None:
        with self._lock:
            self._target += _checked(seconds)
            self._arrivals.append(on_arrival)

    def _pass(self, timeout: float | None) -> bool:
        """Advance to the next timer; called by the loop when it is idle.

        Args:
            timeout: Seconds until that timer, None if there is none.

        Returns:
            Whether the loop may have something to do now.
        """
        with self._lock:
            if self._now < self._target:
                until = math.inf if timeout is None else self._now + timeout
                self._now = min(until, self._target)
                return True
            arrivals, self._arrivals = self._arrivals, []
        for arrive in arrivals:
            arrive()
        return bool(arrivals)

    def _add(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds
            self._target += seconds


def _checked(seconds: float) -> float:
    if seconds < 0:
        raise ValueError(f"cannot go back in time: {seconds!r}")
    return seconds


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: FakeClock) -> None:
        self._fake_clock = clock
        super().__init__(_Selector(clock))

    def time(self) -> float:
        now = self._fake_clock()
        # A timer that is nearer than this is due. For a large `now` a smaller step
        # would be lost to rounding, and the timer never due.
        self._clock_resolution = max(math.ulp(now), 1e-9)
        return now


class _Selector(selectors.DefaultSelector):
    """Advances the clock where the loop would wait for a timer."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the files that are ready. Waits for files, never for a timer."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._clock._pass(timeout):  # noqa: SLF001 - ours
            return ready
        if not self._clock._flows:  # noqa: SLF001
            return super().select(None)
        began = time.monotonic()
        ready = super().select(timeout)
        self._clock._add(time.monotonic() - began)  # noqa: SLF001
        return ready
