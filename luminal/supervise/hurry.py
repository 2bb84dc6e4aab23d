"""Shorter turns on the GIL, for the moments in which something must not be late.

Each system call lets go of the GIL, and a thread that computes keeps it for the whole
switch interval, 5 ms as a rule: ten calls, and a save is late. The interval is the
process's, and several may be in a hurry at a time, so its bookkeeping is kept here for
all of them. It must never be left short, nor overwrite what the host sets meanwhile.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Self

__all__ = ["Hurry", "set_usual_interval", "usual_interval"]

# The interpreter counts whole microseconds, and cuts off the rest.
_ROUNDING = 5e-7

_lock = threading.RLock()  # a signal's handler may come between
# Who is in a hurry → the interval that it wants.
_wanted: dict[Hurry, float] = {}
# What the interval was before the first of them, or what the host has set since.
_usual = 0.0
# What it is because of us, as the interpreter rounds it; 0 where it is not.
_ours = 0.0
_is_registered = False


class Hurry:
    """One claim on short turns; begin and end any number of times, from any thread.

    Args:
        seconds: The switch interval that is wanted. At 0.0001, 1,000 system calls take
            0.1 s beside one busy thread.
    """

    def __init__(self, seconds: float = 0.0001) -> None:
        self._seconds = seconds

    def begin(self) -> None:
        """Shorten the interval unless it is short."""
        global _is_registered
        with _lock:
            if self in _wanted:
                return
            if not _is_registered and sys.platform != "win32":
                # A child has none of the threads that would give the interval back.
                os.register_at_fork(after_in_child=_give_all_back)
            _is_registered = True
            usual = usual_interval()
            _wanted[self] = self._seconds
            _apply(usual)

    def end(self) -> None:
        """Give the interval back where nobody else is in a hurry."""
        with _lock:
            if _wanted.pop(self, None) is not None:
                _apply(usual_interval())

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def usual_interval() -> float:
    """Return the switch interval in seconds, as it is when nobody is in a hurry."""
    with _lock:
        # What the host has set meanwhile is another one than ours, and stands.
        interval = sys.getswitchinterval()
        return _usual if interval == _ours else interval


def set_usual_interval(seconds: float) -> None:
    """Set the switch interval, at once or for when the last hurry is over."""
    with _lock:
        _apply(seconds)


def _apply(usual: float) -> None:
    """Set the shortest interval that is wanted, and remember the *usual* one."""
    global _usual, _ours
    shortest = min(_wanted.values(), default=usual)
    _usual = usual
    sys.setswitchinterval(min(shortest, usual) + _ROUNDING)
    _ours = sys.getswitchinterval() if shortest < usual else 0.0


def _give_all_back() -> None:
    """Forget every hurry; in the child after a fork."""
    global _lock
    _lock = threading.RLock()
    _wanted.clear()
    _apply(usual_interval())
