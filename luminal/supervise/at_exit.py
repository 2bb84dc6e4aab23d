"""At the interpreter's exit, every loop that still runs is stopped, in one deadline."""

from __future__ import annotations

import time
import weakref
from typing import Any, Protocol

__all__ = ["stop_at_exit"]


class Running(Protocol):
    """A loop, as far as it matters here."""

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""

    def ask_to_stop(self) -> None:
        """Tell it to stop, and do not wait."""

    def stop(self) -> Any:
        """Stop it."""


_DEADLINE_SECONDS = 5.0
# Everything that was ever started and still exists; registered with atexit once.
_loops: weakref.WeakSet[Running] = weakref.WeakSet()
_is_registered = False


def stop_at_exit(loop: Running) -> None:
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
