"""What begins anew in a process that was forked: counters, locks, threads."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["begin_anew_in_forks"]


class _Anew(Protocol):
    def begin_anew(self) -> None: ...


_all: weakref.WeakSet[_Anew] = weakref.WeakSet()


def begin_anew_in_forks(each: _Anew) -> None:
    """Call ``each.begin_anew()`` in each process that is forked from this one.

    A process that was forked counts from zero: what its parent counts is the parent's.
    Of its parent's threads it has only one, so a lock that another held stays held.

    Args:
        each: It is not kept alive.
    """
    _all.add(each)


def _begin_anew() -> None:
    for each in tuple(_all):
        each.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
