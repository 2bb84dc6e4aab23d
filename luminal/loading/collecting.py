"""Fewer garbage collections while many modules are made, which are no garbage.

A thousand modules set off dozens of collections that go through all that the program
holds and find nothing: a fifth of the time of a load. For that time the collector
waits for more new objects; it is never switched off, since photons' code runs.
"""

from __future__ import annotations

import gc
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["collecting_rarely"]

_MANY = 100
"""Modules from which on it pays."""
_NEW = 50_000
"""New objects after which the collector runs meanwhile; by default it is 700."""

_lock = threading.Lock()
# The setting is the process's, and several loaders may be at work.
_users = 0
_before = (0, 0, 0)


@contextmanager
def collecting_rarely(modules: int) -> Iterator[None]:
    """Let the garbage collector run less often within a block.

    A host that has switched it off, or set it rarer still, keeps what it has set.

    Args:
        modules: How many are to be made; for a few nothing changes.
    """
    global _users, _before
    if modules < _MANY:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            _before = gc.get_threshold()
            if 0 < _before[0] < _NEW:
                gc.set_threshold(_NEW, *_before[1:])
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            is_ours = gc.get_threshold() == (_NEW, *_before[1:])
            if _users == 0 and is_ours:
                gc.set_threshold(*_before)
