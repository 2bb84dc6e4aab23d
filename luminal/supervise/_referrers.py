"""Names what keeps the code of an unloaded photon alive.

`find_referrers` knows the places where references to such code stay behind, and looks
into each. It walks all objects of the garbage collector, which takes tens of
milliseconds: call it when a generation did not go away. It changes nothing.
"""

from __future__ import annotations

import contextvars
import gc
import signal
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

from luminal.supervise._halting import Leftover
from luminal.supervise._old_code import OldCode
from luminal.supervise._registries import exit_functions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["find_referrers"]


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


def _atexit(code: OldCode, _objects: list[Any]) -> Iterator[str]:
    for thing in exit_functions():
        if code.owns(thing):
            yield _name(thing)


def _log_handlers(code: OldCode, _objects: list[Any]) -> Iterator[str]:
    import logging

    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger):
            for thing in [*logger.handlers, *logger.filters]:
                parts = [thing, getattr(thing, "formatter", None)]
                parts += getattr(thing, "filters", [])
                if any(code.owns(part) for part in parts):
                    yield f"{_name(thing)} of logger {logger.name!r}"


def _threads(code: OldCode, _objects: list[Any]) -> Iterator[str]:
    frames = sys._current_frames()  # noqa: SLF001 - the documented way
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        held = [
            thread,
            getattr(thread, "_target", None),
            getattr(thread, "function", 0),
        ]
        owns = any(code.owns(thing) for thing in held)
        while frame is not None and not owns:
            owns = code.runs(frame)
            frame = frame.f_back
        if owns and thread is not threading.current_thread():
            yield thread.name


def _singledispatch(code: OldCode, objects: list[Any]) -> Iterator[str]:
    for function in objects:
        if type(function) is types.FunctionType and "registry" in function.__dict__:
            registry = function.__dict__["registry"]
            if not code.owns(function) and isinstance(registry, types.MappingProxyType):
                for klass, target in registry.items():
                    if code.owns(klass) or code.owns(target):
                        yield f"{_name(function)} for {_name(klass)}"


def _signals(code: OldCode, _objects: list[Any]) -> Iterator[str]:
    for number in signal.valid_signals():
        if code.owns(signal.getsignal(number)):
            yield signal.Signals(number).name


def _finders(code: OldCode, _objects: list[Any]) -> Iterator[str]:
    for place in ("meta_path", "path_hooks"):
        for thing in getattr(sys, place):
            if code.owns(thing):
                yield f"{_name(thing)} in sys.{place}"


def _attributes(code: OldCode, _objects: list[Any]) -> Iterator[str]:
    hooks = set(_HOOKS)
    for name, module in list(sys.modules.items()):
        space = getattr(module, "__dict__", None)
        if not isinstance(space, dict) or id(space) in code.namespaces:
            continue
        for key, value in list(space.items()):
            if code.owns(value) and (name, key) not in hooks:
                yield f"{name}.{key}"
            elif isinstance(value, type) and value.__module__ == name:
                for member, held in list(vars(value).items()):
                    if code.owns(held):
                        yield f"{name}.{key}.{member}"


def _tracebacks(code: OldCode, objects: list[Any]) -> Iterator[str]:
    for thing in objects:
        if isinstance(thing, BaseException):
            trace = thing.__traceback__
            while trace is not None:
                if code.runs(trace.tb_frame):
                    yield f"{type(thing).__name__} raised at line {trace.tb_lineno}"
                    break
                trace = trace.tb_next


def _context_variables(code: OldCode, objects: list[Any]) -> Iterator[str]:
    contexts = [thing for thing in objects if type(thing) is contextvars.Context]
    for context in [contextvars.copy_context(), *contexts]:
        for variable, value in context.items():
            if code.owns(value):
                yield variable.name


def _thread_locals(code: OldCode, objects: list[Any]) -> Iterator[str]:
    for thing in objects:
        if isinstance(thing, threading.local):
            for key, value in vars(thing).items():
                if code.owns(value):
                    yield f"local.{key}"


def _copyreg(code: OldCode, _objects: list[Any]) -> Iterator[str]:
    import copyreg

    for klass, reduce in copyreg.dispatch_table.items():
        if code.owns(klass) or code.owns(reduce):
            yield _name(klass)


def _tasks(code: OldCode, objects: list[Any]) -> Iterator[str]:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return
    for thing in objects:
        if isinstance(thing, asyncio.Task) and not thing.done():
            coroutine = thing.get_coro()
            if code.runs(getattr(coroutine, "cr_frame", None)):
                yield thing.get_name()


def _hooks(code: OldCode, _objects: list[Any]) -> Iterator[str]:
    for module, attribute in _HOOKS:
        thing = getattr(sys.modules.get(module), attribute, None)
        if code.owns(thing):
            yield f"{module}.{attribute}"
    for thing in gc.callbacks:
        if code.owns(thing):
            yield "gc.callbacks"


def _finalizers(code: OldCode, _objects: list[Any]) -> Iterator[str]:
    import weakref

    registry = weakref.finalize._registry  # type: ignore[attr-defined]  # noqa: SLF001
    for info in list(registry.values()):
        held = [info.func, *(info.args or ())]
        if any(code.owns(thing) for thing in held):
            yield _name(info.func)


def _typing(code: OldCode, objects: list[Any]) -> Iterator[str]:
    for thing in objects:
        if type(thing).__module__ == "typing" or type(thing) is types.GenericAlias:
            arguments = getattr(thing, "__args__", None)
            if isinstance(arguments, tuple):
                for argument in arguments:
                    if code.owns(argument):
                        yield repr(thing)
                        break


_PLACES: tuple[tuple[str, Callable[[OldCode, list[Any]], Iterator[str]]], ...] = (
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
    code = OldCode(namespaces)
    objects = gc.get_objects()
    found = []
    for kind, look in _PLACES:
        try:
            names = list(dict.fromkeys(look(code, objects)))
        except Exception as error:  # noqa: BLE001 - a strange object hides one kind only
            names = [f"(could not be read: {error!r})"]
        found += [
            Leftover(kind, name, photon, why="keeps the old code") for name in names
        ]
    del objects
    return tuple(found)
