"""The halt of one thread: a ladder of rungs, climbed until it is dead or reported.

What comes in is a running thread, what goes out is its end, or a record that says
where it stands and why it cannot be stopped. The rungs: a flag that cooperative code
sees; a polite `SystemExit` at a safe point, so that ``finally`` and ``with`` run;
waking what blocks; pressure on those that swallow it; a report. It never waits for
the thread, and never installs anything before a halt is asked for.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import attrs

from luminal.supervise import asynchronous, monitored
from luminal.supervise.halt_state import PATIENCE_SECONDS, HaltState
from luminal.supervise.leftovers import Leftover
from luminal.supervise.points import (
    is_in_machinery,
    is_own,
    is_safe_point,
    stack_of,
    where,
)
from luminal.supervise.waking import wake

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["ABANDON_SECONDS", "PATIENCE_SECONDS", "Halt"]

ABANDON_SECONDS = 2.0
"""After this time a thread that lives on is listed as abandoned."""
_WAKE_EVERY = 0.02
_LUCK_SECONDS = 0.001


@attrs.define(eq=False)
class Halt(HaltState):
    """The ladder of one thread that was told to end."""

    # When it was last woken; only the reaper writes it.
    _woken: float = 0.0
    # Held while a rung is climbed, so that caller and reaper do not both raise.
    _turn: threading.Lock = attrs.field(factory=threading.Lock)
    # Frame, offset and CPU time at the last look; equal twice means blocked.
    _look: tuple[int, int, int] = (0, -1, -1)
    # The same when it was last told while blocked.
    _told: tuple[int, int, int] = (0, -1, -1)

    def strike(self) -> None:
        """Climb the first rung, in the thread that asks for the halt.

        Without a system call: each lets go of the interpreter's lock, and gets it
        back only after the turns of all others.
        """
        with self._turn:
            self._raise()

    def climb(self) -> bool:
        """Do what is due now, in the reaper; tell whether the thread has ended."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            if self.is_open():
                self._raise()
                self._unblock()
                return False
            monitored.disarm(self)
            asynchronous.forget(self)
            return True
        finally:
            self._turn.release()

    def _raise(self) -> None:
        if monitored.is_available():
            monitored.arm(self)
        elif self._may_tell():
            asynchronous.raise_at_safe_point(self)

    def _unblock(self) -> None:
        frame = stack_of(self.ident)
        if frame is None or is_safe_point(frame) or is_in_machinery(frame):
            return
        look = (id(frame), frame.f_lasti, _cpu_time(self.native_id))
        is_still, self._look = look == self._look, look
        # Its chances to be met at a safe point may be slim: take a covered one.
        is_unlucky = not self.raises and self.seconds > _LUCK_SECONDS
        if (
            is_unlucky
            and not monitored.is_available()
            and asynchronous.raise_if_covered(self)
        ):
            return
        now = time.monotonic()
        if now - self._woken < _WAKE_EVERY:
            return
        if is_still or frame.f_code.co_name == "wait" or not is_own(frame.f_code):
            if wake(self, is_blocked=is_still):
                self._woken = now
                return
            if monitored.is_available():
                return
            # Nothing wakes it, but it may return by itself, and is told so then, once.
            if is_still and look != self._told and self._may_tell():
                self._told = look
                asynchronous.raise_at_return(self, frame)
        elif self.is_pressing:
            asynchronous.raise_anywhere(self)

    def _may_tell(self) -> bool:
        return not self.raises or self.is_pressing

    def leftover(self) -> Leftover:
        """Describe the thread as it stands now."""
        frame = stack_of(self.ident)
        is_blocked = frame is not None and not self._has_moved(frame)
        return Leftover(
            kind="thread",
            name=self.name,
            owner=self.owner,
            where=where(frame),
            why=(
                "blocked in a call that does not return to Python"
                if is_blocked
                else f"it swallowed SystemExit {self.raises} times"
                if self.raises
                else "it runs code that cannot be interrupted"
            ),
            seconds=round(self.seconds, 3),
            stack=_lines_of(frame),
        )

    def _has_moved(self, frame: FrameType) -> bool:
        look = (id(frame), frame.f_lasti, _cpu_time(self.native_id))
        return look != self._look


def _cpu_time(native_id: int) -> int:
    """Nanoseconds that the thread has run; -1 where the system does not tell."""
    try:
        with open(f"/proc/self/task/{native_id}/schedstat", "rb") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return -1


def _lines_of(frame: FrameType | None) -> tuple[str, ...]:
    lines: list[str] = []
    while frame is not None:
        code = frame.f_code
        lines.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_name}")
        frame = frame.f_back
    return tuple(reversed(lines))
