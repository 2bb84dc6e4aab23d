"""Who started that? Wrappers around what starts things, while a photon lives.

What comes in are scopes that begin and end; what goes out is a `Belonging` in the
right scope for each thread, task, timer, child, pool, executor and registration that
a photon starts *without* its context. The owner is the one in the context variable,
or that of the starting thread. Nothing is wrapped while there is no scope, and each
wrapper does nothing without an owner. This module never stops anything itself.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from luminal.supervise.owners import Owner

__all__ = ["enter", "is_installed", "leave", "refresh", "sees_tasks_of"]

# Guards the two below.
_lock = threading.RLock()
_scopes: set[Owner] = set()
# (holder, attribute) → (what was there, what we put there).
_wrapped: dict[tuple[Any, str], tuple[Any, Any]] = {}
# What could not be wrapped yet, because its module has not been imported, by module.
_missing: dict[str, list[tuple[str, str, Callable[[Any], Any]]]] = {}


def enter(scope: Owner) -> None:
    """Attribute to *scope* from now on what runs under it."""
    with _lock:
        _scopes.add(scope)
        refresh()


def leave(scope: Owner) -> None:
    """Attribute to *scope* no more; after the last, everything is put back."""
    with _lock:
        _scopes.discard(scope)
        if not _scopes:
            _restore()


def is_installed() -> bool:
    """Whether any wrapper is in place."""
    return bool(_wrapped)


def refresh() -> None:
    """Wrap what has been imported since; nothing is imported for this."""
    with _lock:
        if not _scopes:
            return
        if not _wrapped:
            from luminal.supervise import starters

            _missing.clear()
            for point in starters.POINTS:
                _missing.setdefault(point[0], []).append(point)
        # Called for each life that begins: what is wrapped is not looked at again.
        for module in _missing.keys() & sys.modules.keys():
            left = [point for point in _missing.pop(module) if not _wrap(*point)]
            if left:  # it is being imported
                _missing[module] = left


def _wrap(module: str, path: str, make: Callable[[Any], Any]) -> bool:
    holder: Any = sys.modules.get(module)
    *outer, attribute = path.split(".")
    for name in outer:
        holder = getattr(holder, name, None)
    if holder is None:
        return False
    if (holder, attribute) in _wrapped:
        return True
    # From the class itself: an inherited method is wrapped where it is defined.
    before = vars(holder).get(attribute)
    if before is None:
        return False
    after = make(before)
    after.__wrapped__ = before
    after.__name__ = getattr(before, "__name__", attribute)
    after.__qualname__ = getattr(before, "__qualname__", attribute)
    after.__doc__ = before.__doc__
    setattr(holder, attribute, after)
    _wrapped[holder, attribute] = before, after
    return True


def _restore() -> None:
    for (holder, attribute), (before, after) in list(_wrapped.items()):
        # Somebody else's wrapper around ours stays; ours then does nothing.
        if vars(holder).get(attribute) is after:
            setattr(holder, attribute, before)
    _wrapped.clear()


def sees_tasks_of(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the tasks of *loop* are made by a function that is wrapped."""
    import asyncio

    made_by = getattr(type(loop), "create_task", None)
    return made_by is vars(asyncio.BaseEventLoop)["create_task"] and bool(_wrapped)
