"""A shorter turn on the GIL while a change is on its way.

Each system call lets go of the GIL, and a thread that computes keeps it for the whole
switch interval, 5 ms as a rule: ten calls, and a save is late. For the few
milliseconds between the first event and the delivery the interval is shortened for the
whole process. It must never be left short, nor overwrite what the host sets meanwhile.
"""

from __future__ import annotations

import sys
import threading
from typing import Self

__all__ = ["Hurry"]

_SHORT = 0.0001  # seconds; 1,000 system calls in 0.1 s beside one busy thread
_lock = threading.Lock()
# The interval is the process's, so its bookkeeping is, too: how many are in a hurry,
# and what the interval was before the first of them.
_hurried = 0
_usual = 0.0


class Hurry:
    """One thread's claim on short turns; begin and end any number of times."""

    def __init__(self) -> None:
        self._is_on = False

    def begin(self) -> None:
        """Shorten the interval unless it is short."""
        global _hurried, _usual
        if self._is_on:
            return
        with _lock:
            self._is_on = True
            _hurried += 1
            if _hurried == 1:
                _usual = sys.getswitchinterval()
                if _usual > _SHORT:
                    sys.setswitchinterval(_SHORT)

    def end(self) -> None:
        """Give the interval back, if it is still ours."""
        global _hurried
        if not self._is_on:
            return
        with _lock:
            self._is_on = False
            _hurried -= 1
            if not _hurried and abs(sys.getswitchinterval() - _SHORT) < _SHORT / 100:
                sys.setswitchinterval(max(_usual, _SHORT))

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
