"""Waiting for what a test expects: by its event, under a deadline in real time.

The deadline does not go by the event loop, whose clock a test may hold still.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

__all__ = ["THREAD_NAME", "until"]

THREAD_NAME = "luminal-testing"
"""Name of every thread that the test kit itself starts."""

T = TypeVar("T")


async def until(
    find: Callable[[], T | None],
    deadline: float,
    *,
    waking: Callable[[Callable[[], object]], AbstractContextManager[None]]
    | None = None,
    every: float | None = None,
) -> T | None:
    """Call *find* until it returns something, and return that.

    Args:
        find: Returns None as long as there is nothing.
        deadline: Seconds of real time; after it *find* is asked once more.
        waking: Given a function, has it called at each occasion to ask, for a while.
        every: Seconds of real time between occasions, for what sends no event.

    Returns:
        What *find* returned last.
    """
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(changed.set)

    end = time.monotonic() + deadline
    with contextlib.ExitStack() as stack:
        if waking is not None:
            stack.enter_context(waking(wake))
        stack.enter_context(_beats(every or deadline, wake))
        while True:
            changed.clear()  # before the question, or its answer may be missed
            found = find()
            if found is not None or time.monotonic() >= end:
                return found
            await changed.wait()


@contextlib.contextmanager
def _beats(seconds: float, beat: Callable[[], object]) -> Iterator[None]:
    """Call *beat* every so many seconds, in a thread of its own."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(seconds):
            beat()

    thread = threading.Thread(target=run, name=THREAD_NAME, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
