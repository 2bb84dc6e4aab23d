"""Sets of weak references that several threads use."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from weakref import WeakSet

__all__ = ["members_of"]

T = TypeVar("T")


def members_of(weak: WeakSet[T]) -> list[T]:
    """Return what is in *weak*, also where another thread adds to it meanwhile.

    `WeakSet` is iterated by Python code, which raises then; that is tried again. A copy
    of a ``set`` or ``dict`` needs none of this: it is one step of the interpreter.
    """
    while True:
        try:
            return list(weak)
        except RuntimeError:
            continue
