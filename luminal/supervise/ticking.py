"""Calls at fixed times, on one thread that can be halted."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["tick"]


def tick(seconds: float, function: Callable[[], Any], owner: str) -> None:
    """Call *function* every *seconds* until the current thread is told to halt.

    A call that takes too long delays the next one and is not made up for.
    """
    halting = getattr(threading.current_thread(), "halting", threading.Event())
    due = time.monotonic() + seconds
    while not halting.wait(max(0.0, due - time.monotonic())):
        due = max(due + seconds, time.monotonic())
        try:
            result = function()
            if inspect.isawaitable(result):
                import asyncio

                asyncio.run(_wait_for(result))
        except Exception:
            logging.getLogger("luminal.supervise").exception(
                "photon %r: a timed call raised", owner
            )


async def _wait_for(awaitable: Any) -> None:
    await awaitable
