"""Let Python's garbage collector run less often while many modules are made."""

from __future__ import annotations

import gc
from _thread import allocate_lock
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["collecting_rarely"]

_NEW = 50_000
"""New objects after which the collector runs within a block; the default is 700."""

_lock = allocate_lock()
# The setting is the process's, and several loaders may be at work.
_users = 0
_before = (0, 0, 0)


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Let the garbage collector run less often within a block.

    A thousand photons start dozens of collections that find nothing and take a fifth of
    the time. The collector is not switched off, since
    photons' code runs. Where the host has switched it off, or lets it run still less
    often, nothing changes.
    """
    global _users, _before
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
