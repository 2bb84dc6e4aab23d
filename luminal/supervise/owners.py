"""Whose code runs now: a context variable, and the owner of the running thread."""

from __future__ import annotations

import contextlib
import contextvars
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Owner",
    "current_owner",
    "find_owner",
    "own_thread",
    "owner_name",
    "unowned",
]


class Owner(Protocol):
    """Who may own things; a `Scope`."""

    @property
    def name(self) -> str:
        """Name of the photon."""

    @property
    def is_closed(self) -> bool:
        """Whether its life has ended."""

    def adopt(self, belonging: object) -> None:
        """Take *belonging*, and stop it when the life of the photon ends."""


current_owner: contextvars.ContextVar[Owner | None] = contextvars.ContextVar(
    "luminal_current_owner", default=None
)
"""Owner of what is started in this context; None for the host's own code."""


class _Nobody:
    """Stands in the context variable for: the host's, whatever thread this is."""

    name = ""
    is_closed = False

    def adopt(self, belonging: object) -> None:
        """Own nothing."""


_NOBODY: Owner = _Nobody()

# Context variables do not follow threads: this does, from a thread to those it starts.
_of_threads: weakref.WeakKeyDictionary[threading.Thread, Owner] = (
    weakref.WeakKeyDictionary()
)


def find_owner() -> Owner | None:
    """Return the owner of what is started here and now, or None."""
    owner = current_owner.get()
    if owner is _NOBODY:
        return None
    if owner is None and _of_threads:
        owner = _of_threads.get(threading.current_thread())
    return owner


@contextlib.contextmanager
def unowned() -> Iterator[None]:
    """Let what is started within the ``with`` block belong to nobody.

    For threads and tasks that serve everybody, whoever needed them first.
    """
    token = current_owner.set(_NOBODY)
    try:
        yield
    finally:
        current_owner.reset(token)


def own_thread(thread: threading.Thread, owner: Owner) -> None:
    """Let what *thread* starts belong to *owner*."""
    _of_threads[thread] = owner


def owner_name() -> str:
    """Return the name of the present owner, or an empty string."""
    owner = find_owner()
    return owner.name if owner is not None else ""
