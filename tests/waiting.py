"""Waiting for what a test expects: one deadline, and it is no measure of speed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE = 60.0
"""Seconds that only a hang lasts; a machine that has other work is slow, not wrong."""


def wait_until(condition: Callable[[], T], deadline: float = DEADLINE) -> T:
    """Wait until *condition* returns something true, and return that.

    For what sets no event that a test could wait for.
    """
    end = time.monotonic() + deadline
    while not (found := condition()):
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.002)
    return found


async def async_wait_until(condition: Callable[[], T], deadline: float = DEADLINE) -> T:
    """Wait as `wait_until` does, while the event loop goes on."""
    end = time.monotonic() + deadline
    while not (found := condition()):
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.002)
    return found


def tasks_left() -> set[asyncio.Task[object]]:
    """Return the running loop's tasks but for the one that asks and the test runner's.

    A test that is a coroutine runs beside a task of anyio's pytest plugin.
    """
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return {task for task in others if "TestRunner" not in str(task.get_coro())}


_QUIET = 0.004
"""Seconds that twenty threads take, one after the other, on a machine at rest."""


def brief(seconds: float) -> float:
    """Return a limit that only a hang reaches: *seconds*, or more on a busy machine.

    For limits that a test waits out, where `DEADLINE` would take too long.
    """
    began = time.perf_counter()
    for _ in range(20):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    factor = (time.perf_counter() - began) / _QUIET
    return round(seconds * min(max(factor, 1.0), 20.0), 2)
