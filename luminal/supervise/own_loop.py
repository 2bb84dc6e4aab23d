"""Luminal's own event loop, for coroutines that are spawned where none runs.

One daemon thread with one loop, started at the first need and ended with the last
scope that used it.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["borrow_loop", "return_loop"]

# Guards the three below.
_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_borrowers = 0
_process = 0


def borrow_loop() -> asyncio.AbstractEventLoop:
    """Return the running loop; every call is answered by one of `return_loop`."""
    import asyncio

    from luminal.supervise.owners import unowned

    global _borrowers, _loop, _process
    with _lock:
        if _process != os.getpid():  # a child after a fork has not the thread
            _process, _borrowers, _loop = os.getpid(), 0, None
        _borrowers += 1
        if _loop is None:
            _loop = asyncio.new_event_loop()
            # The thread is everybody's, whoever asks for it first.
            with unowned():
                threading.Thread(
                    target=_run, args=(_loop,), name="luminal-loop", daemon=True
                ).start()
        return _loop


def return_loop() -> None:
    """Give the loop back; the last one stops it."""
    global _borrowers, _loop
    with _lock:
        _borrowers -= 1
        if _borrowers or _loop is None:
            return
        loop, _loop = _loop, None
    loop.call_soon_threadsafe(loop.stop)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
