"""Finds who holds old code, wherever the reference is.

The garbage collector knows for every object what it refers to. An object of old code
that has more references than its own module and its like account for is held from
outside. From there the references are followed back, to a module or to running code.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
import types
from collections import Counter, deque
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

from luminal._plain import SIMPLE, module_of, own_values_of, qualname_of
from luminal.supervise._old_code import OldCode, line_of, place_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find_holders", "find_own"]

_MOST_STEPS = 80
"""Objects whose referrers are asked for: each takes some milliseconds in a program of a
million objects."""
_MOST_INNER = 200_000
_MOST_DEPTH = 12
# Through these a reference from old code to old code may lead.
_CONTAINERS = frozenset(
    {
        dict,
        list,
        tuple,
        set,
        frozenset,
        deque,
        property,
        staticmethod,
        classmethod,
        functools.partial,
        types.MethodType,
        types.CellType,
        types.MappingProxyType,
        ModuleSpec,
    }
)
_FILES = (__file__, os.path.join(os.path.dirname(__file__), "_referrers.py"))
_RUNNING = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)


def find_own(code: OldCode, objects: list[Any]) -> list[Any]:
    """Return those of *objects* that are *code*'s functions, classes and instances."""
    spaces = code.namespaces
    own: list[Any] = [*spaces.values()]
    classes: set[int] = set()
    for thing in objects:
        kind = type(thing)
        if kind is types.FunctionType:
            if id(thing.__globals__) in spaces:
                own.append(thing)
        elif issubclass(kind, type):
            if code.owns(thing):
                own.append(thing)
                classes.add(id(thing))
        elif kind is types.ModuleType and id(vars(thing)) in spaces:
            own.append(thing)
    own += [thing for thing in objects if id(type(thing)) in classes]
    return own


def _inner(code: OldCode, own: list[Any]) -> dict[int, Any]:
    """Return *own* and the containers that can be reached from it, by identity."""
    inner = {id(thing): thing for thing in own}
    inner[id(code)] = code
    inner[id(vars(code))] = vars(code)
    queue = list(inner.values())
    while queue and len(inner) < _MOST_INNER:
        for thing in gc.get_referents(queue.pop()):
            if id(thing) not in inner and _is_inner(thing, code):
                inner[id(thing)] = thing
                queue.append(thing)
    return inner


def _is_inner(thing: Any, code: OldCode) -> bool:
    kind = type(thing)
    if kind is dict:
        # Not the dictionary of somebody else's module.
        return "__name__" not in thing or "__spec__" not in thing
    if kind in _CONTAINERS:
        return True
    if module_of(kind).startswith("luminal.loading."):
        if qualname_of(kind) == "Generation":
            spaces = code.namespaces
            return any(id(vars(m)) in spaces for m in list(thing.modules.values()))
        return qualname_of(kind) == "PhotonLoader"
    return False


def _held_from_outside(inner: dict[int, Any]) -> list[int]:
    """Return the identities of what has references that are not from *inner*."""
    counts: Counter[int] = Counter()
    for thing in inner.values():
        counts.update(map(id, gc.get_referents(thing)))
    # What a reference count is of something that only such a table and loop refer to.
    table = {0: object()}
    for thing in table.values():
        base = sys.getrefcount(thing)
    found = []
    for key, thing in inner.items():
        if sys.getrefcount(thing) - base > counts[key]:
            found.append(key)
    return found


def _leads_to(core: set[int], key: int, inner: dict[int, Any]) -> bool:
    """Whether the object *key* is, or refers by containers to, one of *core*.

    Others may share an empty tuple, or a container of the host.
    """
    seen, queue = {key}, [key]
    while queue:
        key = queue.pop()
        if key in core:
            return True
        for thing in gc.get_referents(inner[key]):
            number = id(thing)
            if number in inner and number not in seen:
                seen.add(number)
                queue.append(number)
    return False


def find_holders(
    code: OldCode, own: list[Any], *, is_known: bool
) -> Iterator[tuple[str, str, bool]]:
    """Yield what holds *code*: name, ``file:line``, whether that is the library's.

    Args:
        code: Code that has ended.
        own: What `find_own` returned; it is emptied.
        is_known: Whether a holder has been found already. Otherwise it is said where
            the code is that something invisible holds.
    """
    inner = _inner(code, own)
    core = {id(thing) for thing in own}
    own.clear()
    held = [key for key in _held_from_outside(inner) if _leads_to(core, key, inner)]
    # Functions and instances first: they say more than a tuple or a dictionary.
    held.sort(key=lambda key: type(inner[key]) in _CONTAINERS)
    walk = _Walk(inner)
    seen: set[str] = set()
    for key in held:
        for name, where, is_library in walk.holders_of(key):
            if name not in seen:
                seen.add(name)
                yield name, where, is_library
    if not seen and not is_known:
        things = [inner[key] for key in held if type(inner[key]) not in _CONTAINERS]
        for thing in things[:1]:
            unseen = "something that the garbage collector cannot see"
            yield f"{qualname_of(thing)}, by {unseen}", place_of(thing), False


class _Walk:
    """Follows references back.

    Args:
        inner: What is old code itself.
    """

    def __init__(self, inner: dict[int, Any]) -> None:
        self.inner = inner
        self.steps = 0
        # Identity → the object, and what it refers to on the way to the old code.
        self.seen: dict[int, tuple[Any, int]] = {}
        self.queue: deque[tuple[int, int]] = deque()
        # Frames outlive their calls in tracebacks: those of calls under way.
        self.calls: set[int] = set()
        for frame in sys._current_frames().values():  # noqa: SLF001 - documented
            caller: types.FrameType | None = frame
            while caller is not None:
                self.calls.add(id(caller))
                caller = caller.f_back

    def _is_ours(self, thing: Any) -> bool:
        if thing is self.inner or thing is self.seen or thing is self.queue:
            return True
        if type(thing) is tuple and len(thing) == 2 and type(thing[1]) is int:
            return id(thing[0]) in self.seen  # an entry of the table
        if type(thing) is types.GeneratorType:  # from Python 3.14 on
            return thing.gi_code.co_filename == __file__
        if type(thing) is types.FrameType:
            return thing.f_code.co_filename in _FILES
        return False

    def holders_of(self, key: int) -> Iterator[tuple[str, str, bool]]:
        """Yield the holders of the object *key* of the old code."""
        self.queue.append((key, 0))
        last = key
        has_found = False
        while self.queue:
            child, depth = self.queue.popleft()
            if self.steps >= _MOST_STEPS:
                self.queue.clear()
                break
            self.steps += 1
            thing = self.inner[child] if child in self.inner else self.seen[child][0]
            for referrer in gc.get_referrers(thing):
                number = id(referrer)
                if number in self.inner or number in self.seen:
                    continue
                if self._is_ours(referrer):
                    continue
                self.seen[number] = referrer, child
                last = number
                root = self._root(referrer, child)
                if root is not None:
                    has_found = True
                    yield root
                elif depth < _MOST_DEPTH:
                    self.queue.append((number, depth + 1))
            thing = None
        if not has_found and last != key:
            fallback = self._nearest(last)
            if fallback is not None:
                yield fallback

    def _root(self, thing: Any, child: int) -> tuple[str, str, bool] | None:
        """Return what is said of *thing*, if nothing further back says more."""
        if type(thing) is types.FrameType and id(thing) in self.calls:
            where = f"{thing.f_code.co_filename}:{thing.f_lineno}"
            return f"a call of {thing.f_code.co_qualname}", where, False
        is_module = type(thing) is dict and "__name__" in thing and "__spec__" in thing
        if is_module and "_attempt" not in thing:  # what stands for one is no holder
            name = self._path(child, thing)
            key = name[1:].partition(".")[0].partition("[")[0]
            line = line_of(thing, key)
            file, module = thing.get("__file__"), thing["__name__"]
            file = file if type(file) is str else ""
            module = module if type(module) is str else "a module"
            is_library = module.partition(".")[0] in sys.stdlib_module_names
            is_library = is_library and module != "__main__"
            where = f"{file}:{line}" if line else file
            return f"{module}{name}"[:200], where, is_library
        return None

    def _path(self, child: int, holder: Any) -> str:
        """Return how *holder* leads to the old code, like ``.app.hooks[0]``."""
        path = ""
        while True:
            thing = self.inner[child] if child in self.inner else self.seen[child][0]
            if not _is_attributes(holder, thing):
                path += _step(holder, thing)
            if child in self.inner:
                return path
            holder, child = thing, self.seen[child][1]

    def _nearest(self, number: int) -> tuple[str, str, bool] | None:
        """Return what is said of the outermost object with a name on this way."""
        while number in self.seen:
            thing, child = self.seen[number]
            kind = type(thing)
            if kind in _RUNNING:
                name, where = _place_of_running(thing)
                return f"a suspended {kind.__name__} of {name}", where, False
            if module_of(kind) == "builtins":
                number = child
                continue
            path = self._path(child, thing)
            name = f"{module_of(kind)}.{qualname_of(kind)} object{path}"
            return name[:200], place_of(thing), False
        return None


def _place_of_running(thing: Any) -> tuple[str, str]:
    prefix = {types.GeneratorType: "gi", types.CoroutineType: "cr"}.get(
        type(thing), "ag"
    )
    code = getattr(thing, f"{prefix}_code")
    frame = getattr(thing, f"{prefix}_frame")
    line = frame.f_lineno if frame is not None else code.co_firstlineno
    return code.co_qualname, f"{code.co_filename}:{line}"


def _is_attributes(holder: Any, thing: Any) -> bool:
    """Whether *thing* is where *holder* has its attributes."""
    return type(thing) is dict and own_values_of(holder) is thing


def _step(holder: Any, thing: Any) -> str:
    """Return how *holder* refers to *thing*, or an empty string."""
    kind = type(holder)
    if issubclass(kind, dict):
        is_module = "__name__" in holder and "__spec__" in holder
        for key, value in list(dict.items(holder)):
            if value is thing or key is thing:
                if type(key) is str and (is_module or key.isidentifier()):
                    return f".{key}"
                is_simple = type(key) in SIMPLE  # another's text is somebody's code
                return f"[{repr(key) if is_simple else qualname_of(key):.40}]"
    elif issubclass(kind, list | tuple):
        values = (list if issubclass(kind, list) else tuple).__iter__(holder)
        return "".join(f"[{n}]" for n, value in enumerate(values) if value is thing)
    else:
        for name, value in list(own_values_of(holder).items()):
            if value is thing:
                return f".{name}"
    return ""
