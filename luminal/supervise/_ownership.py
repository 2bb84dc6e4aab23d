"""Which photon owns what is started here: by context variable, or by thread."""

from __future__ import annotations

import contextvars
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luminal.supervise._scope import Scope

__all__ = [
    "current_owner",
    "find_owner",
    "own_thread",
    "owned_by",
    "owner_name",
    "unowned",
]


current_owner: contextvars.ContextVar[Scope | None] = contextvars.ContextVar(
    "luminal_current_owner", default=None
)
"""Owner of what is started in this context; None where the thread's owner counts."""

# The value of the context variable for: no owner, on whatever thread.
_NOBODY: Any = object()

# Context variables do not follow threads: this does, from a thread to those it starts.
_of_threads: weakref.WeakKeyDictionary[threading.Thread, Scope] = (
    weakref.WeakKeyDictionary()
)


def find_owner() -> Scope | None:
    """Return the owner of what is started here and now, or None."""
    owner = current_owner.get()
    if owner is _NOBODY:
        return None
    if owner is None and _of_threads:
        owner = _of_threads.get(threading.current_thread())
    return owner


class owned_by:  # noqa: N801 - used as a function, in a ``with`` statement
    """Let what is started within the ``with`` block belong to *owner*."""

    __slots__ = ("_owner", "_token")

    def __init__(self, owner: Scope) -> None:
        self._owner = owner

    def __enter__(self) -> None:
        self._token = current_owner.set(self._owner)

    def __exit__(self, *_: object) -> None:
        current_owner.reset(self._token)


def unowned() -> owned_by:
    """Let what is started within the ``with`` block belong to no photon.

    For threads, tasks and pools that the host makes when they are first needed: they
    serve all photons, and must not end with the one that needed them first.
    """
    return owned_by(_NOBODY)


def own_thread(thread: threading.Thread, owner: Scope) -> None:
    """Let what *thread* starts belong to *owner*."""
    _of_threads[thread] = owner


def owner_name() -> str:
    """Return the name of the present owner, or an empty string."""
    owner = find_owner()
    return owner.name if owner is not None else ""
