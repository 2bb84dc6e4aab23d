"""A clock that a test moves, and the event loop that goes by it.

In come seconds from a test, out come the timers that are due in them, in order, at once
in real time. Threads, files and processes live in real time all the same: what waits
for them waits for them. While a host carries out an order the clock goes at real speed,
since the deadlines of that order are timers too.
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
    """Seconds that pass when a test says so.

    ``clock()`` is the time in seconds, so a clock can stand wherever a function like
    `time.monotonic` is taken. A loop made by `new_event_loop` goes by it:
    `asyncio.sleep`, `asyncio.timeout` and ``loop.call_later`` wait for `advance`. The
    functions of `time` are not touched.

    Args:
        start: The time at first.
    """

    def __init__(self, start: float = 0.0) -> None:
        # Guards all below; the loop's thread and the test's come here.
        self._lock = threading.Lock()
        self._now = start
        self._target = start
        # How many want time to go by itself at present.
        self._flows = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        # Called by the loop when it has nothing to do and the target is reached.
        self._arrivals: list[Callable[[], object]] = []

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self._now

    def __repr__(self) -> str:
        return f"<FakeClock {self._now:g}>"

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Return a loop that goes by this clock; fit for `asyncio.Runner`.

        Raises:
            RuntimeError: An earlier one is still open.
        """
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError("a loop goes by this clock already; close that first")
        self._loop = _Loop(self)
        return self._loop

    @contextlib.contextmanager
    def flowing(self) -> Iterator[None]:
        """Let time go by itself, at real speed, within a ``with`` block.

        `Host` does so while it carries out an order.
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
        """Have the loop look at the clock again."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has been closed
                self._loop.call_soon_threadsafe(lambda: None)

    def advance(self, seconds: float) -> None:
        """Let time pass, from a thread other than the loop's.

        Returns when the timers due in that time have fired and the loop has nothing
        left to do but wait for threads, for files, or for later timers.

        Args:
            seconds: How much.

        Raises:
            RuntimeError: Called on the loop's own thread; await `elapse` there.
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
            raise RuntimeError("cannot advance from inside of the loop; await elapse")
        arrived = threading.Event()
        self._set_off(seconds, arrived.set)
        self._wake()
        arrived.wait()

    async def elapse(self, seconds: float) -> None:
        """Let time pass as `advance` does, on the loop that goes by this clock.

        Args:
            seconds: How much.
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
        """Move on to the next timer; called by a loop that has nothing to do.

        Args:
            timeout: Seconds until that timer, None where there is none.

        Returns:
            Whether something may have to be done now.
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
        raise ValueError(f"time does not go back: {seconds!r}")
    return seconds


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: FakeClock) -> None:
        self._fake_clock = clock
        super().__init__(_Selector(clock))

    def time(self) -> float:
        now = self._fake_clock()
        # A timer is due that is nearer than this; late in time, a smaller step would
        # be none at all, and the timer never due.
        self._clock_resolution = max(math.ulp(now), 1e-9)
        return now


class _Selector(selectors.DefaultSelector):
    """Lets time pass where the loop would wait for it."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; wait for files only, never for time."""
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
