"""At the interpreter's exit, every loop that still runs is stopped, in one deadline."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luminal.supervise.superloop import SuperLoop

__all__ = ["stop_at_exit"]

_DEADLINE_SECONDS = 5.0
# Everything that was ever started and still exists; registered with atexit once.
_loops: weakref.WeakSet[SuperLoop] = weakref.WeakSet()
_is_registered = False


def stop_at_exit(loop: SuperLoop) -> None:
    """Have *loop* stopped when the interpreter exits, if it runs then."""
    global _is_registered
    _loops.add(loop)
    if not _is_registered:
        import atexit

        atexit.register(_stop_all)
        _is_registered = True


def _stop_all() -> None:
    loops = [loop for loop in list(_loops) if loop.is_alive]
    for loop in loops:
        loop.ask_to_stop()
    end = time.monotonic() + _DEADLINE_SECONDS
    while any(loop.is_alive for loop in loops) and time.monotonic() < end:
        time.sleep(0.005)
    for loop in loops:
        if not loop.is_alive:
            loop.stop()
