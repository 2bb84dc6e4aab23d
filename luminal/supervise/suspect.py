"""The modules of a photon that should be gone: what belongs to them."""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Suspect"]


class Suspect:
    """Tells whether an object is code of, or an instance made by, some modules.

    By identity, not by name: the next generation has the same names.

    Args:
        namespaces: The modules' dictionaries.
    """

    def __init__(self, namespaces: Iterable[dict[str, Any]]) -> None:
        self.namespaces = {id(space): space for space in namespaces}
        self._classes: set[int] = set()
        for space in self.namespaces.values():
            for value in list(space.values()):
                if isinstance(value, type) and value.__module__ == space["__name__"]:
                    self._classes.add(id(value))

    def is_ours(self, thing: object) -> bool:
        """Whether *thing* belongs to the modules."""
        while isinstance(thing, (types.MethodType, functools.partial)):
            if isinstance(thing, types.MethodType) and self.is_ours(thing.__self__):
                return True
            thing = thing.__func__ if hasattr(thing, "__func__") else thing.func
        if isinstance(thing, types.FunctionType):
            return id(thing.__globals__) in self.namespaces
        if isinstance(thing, types.ModuleType):
            return id(vars(thing)) in self.namespaces
        return id(thing) in self._classes or id(type(thing)) in self._classes

    def is_frame_ours(self, frame: types.FrameType | None) -> bool:
        """Whether *frame* runs the modules' code."""
        return frame is not None and id(frame.f_globals) in self.namespaces
