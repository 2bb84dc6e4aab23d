"""One shared thread that climbs the ladder for every halt that is under way.

What comes in are halts, what goes out are their ends and, for those that outlive
every rung, a place in the list of abandoned threads. It runs only while there is a
halt to follow, and it never blocks on one.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING

from luminal.supervise import monitored
from luminal.supervise.halts import ABANDON_SECONDS, Halt
from luminal.supervise.hurry import Hurry
from luminal.supervise.owners import unowned

if TYPE_CHECKING:
    from luminal.supervise.leftovers import Leftover

__all__ = ["abandoned_threads", "begin_halt", "halt_thread"]

_logger = logging.getLogger("luminal.supervise")

# While a young halt is under way, threads take turns more often. CPython lets two busy
# threads hand its lock to and fro past a third, so a victim's turn may come after many
# of theirs. At the default of 5 ms 95 of 100 halts took up to 26..144 ms, at this 1..5
# (3.11 and 3.13, two busy threads, 2 cores).
_HURRIED_INTERVAL = 0.00005
_YOUNG_SECONDS = 0.25

# Owner of everything below. The condition wakes the reaper for a new halt.
_changed = threading.Condition()
_halts: list[Halt] = []
_reaper: threading.Thread | None = None
_hurry = Hurry(_HURRIED_INTERVAL)
_is_registered = False


def halt_thread(thread: threading.Thread, *, owner: str = "") -> Halt | None:
    """Tell *thread* to end, and return at once.

    Args:
        thread: Any started thread; one of ours has a ``halting`` event as well.
        owner: Name of the photon that it belongs to, for the report.

    Returns:
        The halt, or None where the thread is not running.
    """
    ident = thread.ident

    def is_open() -> bool:
        # A thread leaves this table before its identifier can be given away.
        return threading._active.get(ident) is thread  # type: ignore[attr-defined]  # noqa: SLF001

    is_running = ident is not None and is_open()
    _follow_forks()
    if is_running:
        # At once: who loses the interpreter's lock now gets it back late.
        with _changed:
            _hurry.begin()
    flag = getattr(thread, "halting", None)
    if isinstance(flag, threading.Event):
        flag.set()
    if ident is None or not is_running:
        return None
    return begin_halt(
        Halt(
            name=thread.name,
            ident=ident,
            is_open=is_open,
            native_id=thread.native_id or 0,
            owner=owner,
        )
    )


def begin_halt(halt: Halt) -> Halt:
    """Climb the first rung in the caller's thread and leave the rest to the reaper."""
    global _reaper
    _follow_forks()
    with _changed:
        known = next((h for h in _halts if h.ident == halt.ident and h.is_open()), None)
        if known is not None:
            return known
        _hurry.begin()
        _halts.append(halt)
    # First of all: while we have the interpreter's lock, the thread stands still.
    halt.strike()
    with _changed:
        if _reaper is None:
            _reaper = threading.Thread(target=_reap, name="luminal-reaper", daemon=True)
            with unowned():
                _reaper.start()
        _changed.notify()
    return halt


def _follow_forks() -> None:
    global _is_registered
    if not _is_registered and sys.platform != "win32":
        os.register_at_fork(after_in_child=_begin_anew)
    _is_registered = True


def _begin_anew() -> None:
    """Forget every halt; in the child after a fork, which has none of the threads."""
    global _changed, _reaper
    _changed = threading.Condition()
    _halts.clear()
    _reaper = None
    monitored.begin_anew()


def abandoned_threads() -> tuple[Leftover, ...]:
    """Describe every halted thread that outlived all rungs and still lives."""
    with _changed:
        halts = [h for h in _halts if h.is_abandoned and h.is_open()]
    return tuple(h.leftover() for h in halts)


def _pause(halts: list[Halt]) -> float:
    youngest = min((h.seconds for h in halts), default=0.0)
    if youngest > ABANDON_SECONDS:
        return 0.2
    # Without a monitor, a look has to find the thread at a safe point by chance.
    is_unlucky = any(not h.raises and h.seconds < ABANDON_SECONDS for h in halts)
    if is_unlucky and youngest < 0.02:
        return 0.0001
    return 0.001 if youngest < 0.02 or is_unlucky else 0.01


def _reap() -> None:
    global _reaper
    while True:
        with _changed:
            if not _halts:
                _hurry.end()
                _reaper = None
                return
            _changed.wait(_pause(_halts))
            if all(h.seconds > _YOUNG_SECONDS for h in _halts):
                _hurry.end()
            halts = list(_halts)
        ended = [h for h in halts if _is_over(h)]
        with _changed:
            for halt in ended:
                _halts.remove(halt)


def _is_over(halt: Halt) -> bool:
    try:
        if halt.climb():
            if halt.is_abandoned:
                _logger.warning(
                    "thread %r, abandoned %.1f s ago, has ended",
                    halt.name,
                    halt.seconds,
                )
            return True
    except Exception:
        # One halt that fails must not end the reaper for the others.
        _logger.exception("thread %r could not be pressed to end", halt.name)
    if not halt.is_abandoned and halt.seconds > ABANDON_SECONDS:
        halt.is_abandoned = True
        _logger.error("abandoned: %s", halt.leftover())
    return False
