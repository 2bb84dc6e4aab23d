"""Names what keeps the code of an unloaded photon alive.

`find_referrers` knows the places where references to such code stay behind, and looks
into each. It walks all objects of the garbage collector, which takes tens of
milliseconds: call it when a generation did not go away. It changes nothing.
"""

from __future__ import annotations

import contextvars
import functools
import gc
import signal
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

from luminal.supervise._halting import Leftover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["find_referrers"]


class _Unloaded:
    """The modules of a photon that was unloaded: which objects belong to them.

    Objects are compared by identity, not by name: the next generation has the same
    names.

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

    def owns(self, thing: object) -> bool:
        """Return whether *thing* is code of the modules, or made by a class there."""
        while isinstance(thing, (types.MethodType, functools.partial)):
            if isinstance(thing, types.MethodType) and self.owns(thing.__self__):
                return True
            thing = thing.__func__ if hasattr(thing, "__func__") else thing.func
        if isinstance(thing, types.FunctionType):
            return id(thing.__globals__) in self.namespaces
        if isinstance(thing, types.ModuleType):
            return id(vars(thing)) in self.namespaces
        return id(thing) in self._classes or id(type(thing)) in self._classes

    def runs(self, frame: types.FrameType | None) -> bool:
        """Return whether *frame* runs code of the modules."""
        return frame is not None and id(frame.f_globals) in self.namespaces


_HOOKS = (
    ("sys", "excepthook"),
    ("sys", "unraisablehook"),
    ("sys", "displayhook"),
    ("threading", "excepthook"),
    ("warnings", "showwarning"),
    ("warnings", "formatwarning"),
)


def _name(thing: Any) -> str:
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    return str(name or type(thing).__qualname__)


class _Probe:
    """Equal to nothing; remembers what it was compared with."""

    __hash__ = object.__hash__

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __eq__(self, other: object) -> bool:
        self.seen.append(other)
        return False


def _atexit(unloaded: _Unloaded, _objects: list[Any]) -> Iterator[str]:
    import atexit

    # They cannot be listed. But to unregister a function compares it with each.
    probe = _Probe()
    atexit.unregister(probe)  # type: ignore[arg-type]
    for thing in probe.seen:
        if unloaded.owns(thing):
            yield _name(thing)


def _log_handlers(unloaded: _Unloaded, _objects: list[Any]) -> Iterator[str]:
    import logging

    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger):
            for thing in [*logger.handlers, *logger.filters]:
                parts = [thing, getattr(thing, "formatter", None)]
                parts += getattr(thing, "filters", [])
                if any(unloaded.owns(part) for part in parts):
                    yield f"{_name(thing)} of logger {logger.name!r}"


def _threads(unloaded: _Unloaded, _objects: list[Any]) -> Iterator[str]:
    frames = sys._current_frames()  # noqa: SLF001 - the documented way
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        held = [
            thread,
            getattr(thread, "_target", None),
            getattr(thread, "function", 0),
        ]
        owns = any(unloaded.owns(thing) for thing in held)
        while frame is not None and not owns:
            owns = unloaded.runs(frame)
            frame = frame.f_back
        if owns and thread is not threading.current_thread():
            yield thread.name


def _singledispatch(unloaded: _Unloaded, objects: list[Any]) -> Iterator[str]:
    for function in objects:
        if type(function) is types.FunctionType and "registry" in function.__dict__:
            registry = function.__dict__["registry"]
            if not unloaded.owns(function) and isinstance(
                registry, types.MappingProxyType
            ):
                for klass, target in registry.items():
                    if unloaded.owns(klass) or unloaded.owns(target):
                        yield f"{_name(function)} for {_name(klass)}"


def _signals(unloaded: _Unloaded, _objects: list[Any]) -> Iterator[str]:
    for number in signal.valid_signals():
        if unloaded.owns(signal.getsignal(number)):
            yield signal.Signals(number).name


def _finders(unloaded: _Unloaded, _objects: list[Any]) -> Iterator[str]:
    for place in ("meta_path", "path_hooks"):
        for thing in getattr(sys, place):
            if unloaded.owns(thing):
                yield f"{_name(thing)} in sys.{place}"


def _attributes(unloaded: _Unloaded, _objects: list[Any]) -> Iterator[str]:
    hooks = set(_HOOKS)
    for name, module in list(sys.modules.items()):
        space = getattr(module, "__dict__", None)
        if not isinstance(space, dict) or id(space) in unloaded.namespaces:
            continue
        for key, value in list(space.items()):
            if unloaded.owns(value) and (name, key) not in hooks:
                yield f"{name}.{key}"
            elif isinstance(value, type) and value.__module__ == name:
                for member, held in list(vars(value).items()):
                    if unloaded.owns(held):
                        yield f"{name}.{key}.{member}"


def _tracebacks(unloaded: _Unloaded, objects: list[Any]) -> Iterator[str]:
    for thing in objects:
        if isinstance(thing, BaseException):
            trace = thing.__traceback__
            while trace is not None:
                if unloaded.runs(trace.tb_frame):
                    yield f"{type(thing).__name__} raised at line {trace.tb_lineno}"
                    break
                trace = trace.tb_next


def _context_variables(unloaded: _Unloaded, objects: list[Any]) -> Iterator[str]:
    contexts = [thing for thing in objects if type(thing) is contextvars.Context]
    for context in [contextvars.copy_context(), *contexts]:
        for variable, value in context.items():
            if unloaded.owns(value):
                yield variable.name


def _thread_locals(unloaded: _Unloaded, objects: list[Any]) -> Iterator[str]:
    for thing in objects:
        if isinstance(thing, threading.local):
            for key, value in vars(thing).items():
                if unloaded.owns(value):
                    yield f"local.{key}"


def _copyreg(unloaded: _Unloaded, _objects: list[Any]) -> Iterator[str]:
    import copyreg

    for klass, reduce in copyreg.dispatch_table.items():
        if unloaded.owns(klass) or unloaded.owns(reduce):
            yield _name(klass)


def _tasks(unloaded: _Unloaded, objects: list[Any]) -> Iterator[str]:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return
    for thing in objects:
        if isinstance(thing, asyncio.Task) and not thing.done():
            coroutine = thing.get_coro()
            if unloaded.runs(getattr(coroutine, "cr_frame", None)):
                yield thing.get_name()


def _hooks(unloaded: _Unloaded, _objects: list[Any]) -> Iterator[str]:
    for module, attribute in _HOOKS:
        thing = getattr(sys.modules.get(module), attribute, None)
        if unloaded.owns(thing):
            yield f"{module}.{attribute}"
    for thing in gc.callbacks:
        if unloaded.owns(thing):
            yield "gc.callbacks"


def _finalizers(unloaded: _Unloaded, _objects: list[Any]) -> Iterator[str]:
    import weakref

    registry = weakref.finalize._registry  # type: ignore[attr-defined]  # noqa: SLF001
    for info in list(registry.values()):
        held = [info.func, *(info.args or ())]
        if any(unloaded.owns(thing) for thing in held):
            yield _name(info.func)


def _typing(unloaded: _Unloaded, objects: list[Any]) -> Iterator[str]:
    for thing in objects:
        if type(thing).__module__ == "typing" or type(thing) is types.GenericAlias:
            arguments = getattr(thing, "__args__", None)
            if isinstance(arguments, tuple):
                for argument in arguments:
                    if unloaded.owns(argument):
                        yield repr(thing)
                        break


_PLACES: tuple[tuple[str, Callable[[_Unloaded, list[Any]], Iterator[str]]], ...] = (
    ("atexit", _atexit),
    ("logging", _log_handlers),
    ("thread", _threads),
    ("singledispatch", _singledispatch),
    ("signal", _signals),
    ("finder", _finders),
    ("attribute", _attributes),
    ("traceback", _tracebacks),
    ("contextvar", _context_variables),
    ("threading.local", _thread_locals),
    ("copyreg", _copyreg),
    ("task", _tasks),
    ("hook", _hooks),
    ("weakref.finalize", _finalizers),
    ("typing", _typing),
)
"""Kind of the record, and the function that yields the names of what it found."""


def find_referrers(
    namespaces: Iterable[dict[str, Any]], *, photon: str = ""
) -> tuple[Leftover, ...]:
    """Return what is known to keep the code in *namespaces* alive.

    Args:
        namespaces: Dictionaries of the unloaded modules.
        photon: Name of the photon that they belonged to, for the records.

    Returns:
        A record for each reference that was found; the kind says in which place.
    """
    unloaded = _Unloaded(namespaces)
    objects = gc.get_objects()
    found = []
    for kind, look in _PLACES:
        try:
            names = list(dict.fromkeys(look(unloaded, objects)))
        except Exception as error:  # noqa: BLE001 - a strange object hides one kind only
            names = [f"(could not be read: {error!r})"]
        found += [
            Leftover(kind, name, photon, why="keeps the old code") for name in names
        ]
    del objects
    return tuple(found)
