"""`OldCode`: which functions, classes and objects belong to code that runs no more.

Identity decides, never a name: the next generation of a photon has the same names.
"""

from __future__ import annotations

import functools
import re
import types
from typing import TYPE_CHECKING, Any

from luminal._plain import (
    module_of,
    name_of_class,
    namespace_of,
    own_values_of,
    qualname_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["OldCode", "line_of", "place_of"]

_LruCache = type(functools.lru_cache(maxsize=None)(int))
_WRAPPERS = (staticmethod, classmethod, _LruCache)


class OldCode:
    """The modules of a photon's generation that has ended.

    Args:
        namespaces: The modules' dictionaries.

    Attributes:
        namespaces: Identity of each dictionary → the dictionary.
        by_name: Name of a module → its dictionaries.
        loaders: Identity of the loader of each module.
        names: What ``__module__`` of what belongs to them may say: the modules' names,
            and where the wrappers are from that are looked into.
    """

    def __init__(self, namespaces: Iterable[dict[str, Any]]) -> None:
        self.namespaces = {id(space): space for space in namespaces}
        spaces = self.namespaces.values()
        self.loaders = {id(loader) for s in spaces if (loader := s.get("__loader__"))}
        # Several generations of a photon have modules of one name.
        self.by_name: dict[str, list[dict[str, Any]]] = {}
        for space in spaces:
            name = space.get("__name__")
            if type(name) is str:
                self.by_name.setdefault(name, []).append(space)
        self.names = {*self.by_name, "functools"}

    def owns(self, thing: Any) -> bool:
        """Return whether *thing* is code of the modules, or made by a class there."""
        kind = type(thing)
        if kind is types.FunctionType:
            return self._owns_function(thing)
        if kind is types.MethodType:
            return self.owns(thing.__self__) or self.owns(thing.__func__)
        if kind is functools.partial:
            held = (thing.func, *thing.args, *thing.keywords.values())
            return any(map(self.owns, held))
        if kind in _WRAPPERS:
            return self.owns(thing.__wrapped__)
        if kind is property:
            return any(map(self.owns, (thing.fget, thing.fset, thing.fdel)))
        if issubclass(kind, types.ModuleType):
            return id(object.__getattribute__(thing, "__dict__")) in self.namespaces
        return self._owns_class(thing if issubclass(kind, type) else kind)

    def _owns_function(self, function: Any) -> bool:
        while id(function.__globals__) not in self.namespaces:
            function = function.__dict__.get("__wrapped__")
            if type(function) is not types.FunctionType:
                return False
        return True

    def _owns_class(self, cls: Any) -> bool:
        spaces = self.by_name.get(module_of(cls))
        if spaces is None:
            return False
        own, path = namespace_of(cls), qualname_of(cls)
        if any(_found(space, path) is cls for space in spaces):
            return True
        # One that a function has made. What it has of functions says whose it is.
        return any(
            self.owns(value)
            for value in own.values()
            if type(value) in (types.FunctionType, property, staticmethod, classmethod)
        )

    def runs(self, frame: types.FrameType | None) -> bool:
        """Return whether *frame* runs code of the modules."""
        return frame is not None and id(frame.f_globals) in self.namespaces


def _found(space: Any, path: str) -> object:
    """Return what the dotted *path* leads to, from a module's dictionary."""
    found: object = None
    for name in path.split("."):
        found = space.get(name)
        if not issubclass(type(found), type):
            return None
        space = namespace_of(found)  # type: ignore[arg-type]
    return found


def place_of(thing: Any) -> str:
    """Return ``file:line`` of the code of *thing*, or an empty string.

    Args:
        thing: A function or a class, or an object made of one.
    """
    while True:
        kind = type(thing)
        if kind is types.MethodType:
            thing = thing.__func__
        elif kind is functools.partial:
            thing = thing.func
        elif kind in _WRAPPERS:
            thing = thing.__wrapped__
        elif kind is property:
            thing = thing.fget
        elif kind is types.FunctionType and "__wrapped__" in thing.__dict__:
            thing = thing.__dict__["__wrapped__"]
        else:
            break
    if kind is types.FunctionType:
        return f"{thing.__code__.co_filename}:{thing.__code__.co_firstlineno}"
    return _place_of_class(thing if issubclass(kind, type) else kind)


def _place_of_class(cls: type) -> str:
    import sys

    own, module = namespace_of(cls), module_of(cls)
    functions = [v for v in own.values() if type(v) is types.FunctionType]
    spaces = [function.__globals__ for function in functions]
    # First the module that it was made in: another may have the name by now.
    spaces += [own_values_of(sys.modules.get(module))]
    for space in spaces:
        name, file = space.get("__name__"), space.get("__file__")
        if type(name) is str and name == module and type(file) is str:
            line = own.get("__firstlineno__") or line_of(space, name_of_class(cls))
            return f"{file}:{line}" if line else file
    return ""


def line_of(space: dict[str, Any], name: str) -> int:
    """Return the line of a module that gives *name* its meaning; 0 if none is found.

    Args:
        space: The module's dictionary.
        name: Of a variable, function or class at its top.
    """
    import linecache

    try:
        loader: Any = space["__loader__"]
        text = loader.get_source(space["__name__"]) or ""
    except BaseException:  # noqa: BLE001 - a loader of somebody else
        text = "".join(linecache.getlines(str(space.get("__file__"))))
    given = rf"^[ \t]*(?:(?:async\s+)?def|class)\s+{name}\b|^{name}\s*(?::[^=]*)?="
    found = re.search(given, text, re.MULTILINE) if name.isidentifier() else None
    return text.count("\n", 0, found.start()) + 1 if found else 0
