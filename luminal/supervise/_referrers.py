"""What keeps the code of an unloaded photon alive, by name.

What comes in are the namespaces of its modules, what goes out is a record for each
holder that is known to keep such code. Slow on purpose (tens of milliseconds, the
garbage collector's list is walked): ask when a generation did not die. It only reads.
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

__all__ = ["PLACES", "Suspect", "find_pins"]


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


def _atexit(suspect: Suspect, _objects: list[Any]) -> Iterator[str]:
    import atexit

    # There is no way to list them, but to take back one that is not there compares
    # it with each.
    probe = _Probe()
    atexit.unregister(probe)  # type: ignore[arg-type]
    for thing in probe.seen:
        if suspect.is_ours(thing):
            yield _name(thing)


def _log_handlers(suspect: Suspect, _objects: list[Any]) -> Iterator[str]:
    import logging

    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger):
            for thing in [*logger.handlers, *logger.filters]:
                parts = [thing, getattr(thing, "formatter", None)]
                parts += getattr(thing, "filters", [])
                if any(suspect.is_ours(part) for part in parts):
                    yield f"{_name(thing)} of logger {logger.name!r}"


def _threads(suspect: Suspect, _objects: list[Any]) -> Iterator[str]:
    frames = sys._current_frames()  # noqa: SLF001 - the documented way
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        held = [
            thread,
            getattr(thread, "_target", None),
            getattr(thread, "function", 0),
        ]
        is_ours = any(suspect.is_ours(thing) for thing in held)
        while frame is not None and not is_ours:
            is_ours = suspect.is_frame_ours(frame)
            frame = frame.f_back
        if is_ours and thread is not threading.current_thread():
            yield thread.name


def _singledispatch(suspect: Suspect, objects: list[Any]) -> Iterator[str]:
    for function in objects:
        if type(function) is types.FunctionType and "registry" in function.__dict__:
            registry = function.__dict__["registry"]
            if not suspect.is_ours(function) and isinstance(
                registry, types.MappingProxyType
            ):
                for klass, target in registry.items():
                    if suspect.is_ours(klass) or suspect.is_ours(target):
                        yield f"{_name(function)} for {_name(klass)}"


def _signals(suspect: Suspect, _objects: list[Any]) -> Iterator[str]:
    for number in signal.valid_signals():
        if suspect.is_ours(signal.getsignal(number)):
            yield signal.Signals(number).name


def _finders(suspect: Suspect, _objects: list[Any]) -> Iterator[str]:
    for place in ("meta_path", "path_hooks"):
        for thing in getattr(sys, place):
            if suspect.is_ours(thing):
                yield f"{_name(thing)} in sys.{place}"


def _attributes(suspect: Suspect, _objects: list[Any]) -> Iterator[str]:
    hooks = set(_HOOKS)
    for name, module in list(sys.modules.items()):
        space = getattr(module, "__dict__", None)
        if not isinstance(space, dict) or id(space) in suspect.namespaces:
            continue
        for key, value in list(space.items()):
            if suspect.is_ours(value) and (name, key) not in hooks:
                yield f"{name}.{key}"
            elif isinstance(value, type) and value.__module__ == name:
                for member, held in list(vars(value).items()):
                    if suspect.is_ours(held):
                        yield f"{name}.{key}.{member}"


def _tracebacks(suspect: Suspect, objects: list[Any]) -> Iterator[str]:
    for thing in objects:
        if isinstance(thing, BaseException):
            trace = thing.__traceback__
            while trace is not None:
                if suspect.is_frame_ours(trace.tb_frame):
                    yield f"{type(thing).__name__} raised at line {trace.tb_lineno}"
                    break
                trace = trace.tb_next


def _context_variables(suspect: Suspect, objects: list[Any]) -> Iterator[str]:
    contexts = [thing for thing in objects if type(thing) is contextvars.Context]
    for context in [contextvars.copy_context(), *contexts]:
        for variable, value in context.items():
            if suspect.is_ours(value):
                yield variable.name


def _thread_locals(suspect: Suspect, objects: list[Any]) -> Iterator[str]:
    for thing in objects:
        if isinstance(thing, threading.local):
            for key, value in vars(thing).items():
                if suspect.is_ours(value):
                    yield f"local.{key}"


def _copyreg(suspect: Suspect, _objects: list[Any]) -> Iterator[str]:
    import copyreg

    for klass, reduce in copyreg.dispatch_table.items():
        if suspect.is_ours(klass) or suspect.is_ours(reduce):
            yield _name(klass)


def _tasks(suspect: Suspect, objects: list[Any]) -> Iterator[str]:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return
    for thing in objects:
        if isinstance(thing, asyncio.Task) and not thing.done():
            coroutine = thing.get_coro()
            if suspect.is_frame_ours(getattr(coroutine, "cr_frame", None)):
                yield thing.get_name()


def _hooks(suspect: Suspect, _objects: list[Any]) -> Iterator[str]:
    for module, attribute in _HOOKS:
        thing = getattr(sys.modules.get(module), attribute, None)
        if suspect.is_ours(thing):
            yield f"{module}.{attribute}"
    for thing in gc.callbacks:
        if suspect.is_ours(thing):
            yield "gc.callbacks"


def _finalizers(suspect: Suspect, _objects: list[Any]) -> Iterator[str]:
    import weakref

    registry = weakref.finalize._registry  # type: ignore[attr-defined]  # noqa: SLF001
    for info in list(registry.values()):
        held = [info.func, *(info.args or ())]
        if any(suspect.is_ours(thing) for thing in held):
            yield _name(info.func)


def _typing(suspect: Suspect, objects: list[Any]) -> Iterator[str]:
    for thing in objects:
        if type(thing).__module__ == "typing" or type(thing) is types.GenericAlias:
            arguments = getattr(thing, "__args__", None)
            if isinstance(arguments, tuple):
                for argument in arguments:
                    if suspect.is_ours(argument):
                        yield repr(thing)
                        break


PLACES: tuple[tuple[str, Callable[[Suspect, list[Any]], Iterator[str]]], ...] = (
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


def find_pins(
    namespaces: Iterable[dict[str, Any]], *, photon: str = ""
) -> tuple[Leftover, ...]:
    """Return what is known to keep the code in *namespaces* alive.

    Args:
        namespaces: Dictionaries of the retired modules.
        photon: Whose they were, for the records.
    """
    suspect = Suspect(namespaces)
    objects = gc.get_objects()
    found = []
    for kind, look in PLACES:
        try:
            names = list(dict.fromkeys(look(suspect, objects)))
        except Exception as error:  # noqa: BLE001 - a strange object hides one kind only
            names = [f"(could not be read: {error!r})"]
        found += [
            Leftover(kind, name, photon, why="keeps the old code") for name in names
        ]
    del objects
    return tuple(found)
