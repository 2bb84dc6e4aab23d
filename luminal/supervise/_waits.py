"""Which lock a supervised thread waits on inside of `threading.Condition.wait`.

Events, queues, semaphores, barriers and futures all wait there, each time on a new
lock. A halted thread is woken by releasing that lock, which is the thread's alone. The
lock is noted by the thread that makes it, because nobody may read another thread's
local variables. While no supervised thread runs, nothing is replaced.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock, get_ident
from typing import Any

__all__ = [
    "begin_noting",
    "end_noting",
    "forget_waits",
    "waiter_of",
]

# Guards the two below.
_lock = allocate_lock()
# Identifier of each supervised thread → the last lock that `threading` made in it.
_waiters: dict[int, Any] = {}
# What was in our place.
_before: Any = None


def _allocate_lock() -> Any:
    """Make a lock, as the function does that this one replaces; note whose it is."""
    lock = _before()
    ident = get_ident()
    if ident in _waiters:
        _waiters[ident] = lock
    return lock


def begin_noting() -> bool:
    """Note from now on what the current thread waits on.

    Returns:
        Whether that is new; only then `end_noting` has to be called.
    """
    global _before
    with _lock:
        ident = get_ident()
        if ident in _waiters:
            return False
        if not _waiters and threading._allocate_lock is not _allocate_lock:  # type: ignore[attr-defined]  # noqa: SLF001
            _before = threading._allocate_lock  # type: ignore[attr-defined]  # noqa: SLF001
            threading._allocate_lock = _allocate_lock  # type: ignore[attr-defined]  # noqa: SLF001
        _waiters[ident] = None
        return True


def end_noting() -> None:
    """Note nothing more of the current thread; after the last, put all back."""
    with _lock:
        _waiters.pop(get_ident(), None)
        # Where somebody else has replaced ours since, it stays and only passes on.
        if not _waiters and threading._allocate_lock is _allocate_lock:  # type: ignore[attr-defined]  # noqa: SLF001
            threading._allocate_lock = _before  # type: ignore[attr-defined]  # noqa: SLF001


def waiter_of(ident: int) -> Any:
    """Return the last lock that `threading` made in the thread *ident*, or None."""
    return _waiters.get(ident)


def forget_waits() -> None:
    """Forget all other threads; in the child after a fork, which has none of them."""
    global _lock
    _lock = allocate_lock()
    mine = get_ident()
    for ident in [one for one in _waiters if one != mine]:
        del _waiters[ident]
