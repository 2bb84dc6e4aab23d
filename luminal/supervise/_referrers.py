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

from luminal._plain import (
    class_name,
    module_of,
    namespace_of,
    own_values_of,
    qualname_of,
    repr_of,
    static_of,
)
from luminal.supervise._halting import Leftover
from luminal.supervise._holders import find_holders, find_own
from luminal.supervise._old_code import OldCode, line_of, place_of
from luminal.supervise._registries import exit_functions, generic_functions

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


_traceback_of: Callable[[Any], types.TracebackType | None]
_traceback_of = BaseException.__dict__["__traceback__"].__get__

# Name of what was found, and whose place is given: code, a function or class, an
# object of one; or a module's dictionary and a name in it.
_Found = tuple[str, Any]


def _atexit(code: OldCode, _objects: list[Any]) -> Iterator[_Found]:
    for thing in exit_functions():
        if code.owns(thing):
            yield qualname_of(thing), thing


def _log_handlers(code: OldCode, _objects: list[Any]) -> Iterator[_Found]:
    import logging

    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        values = own_values_of(logger)
        for thing in [*values.get("handlers", ()), *values.get("filters", ())]:
            inner = own_values_of(thing)
            parts = [thing, inner.get("formatter"), *inner.get("filters", ())]
            own = [part for part in parts if code.owns(part)]
            if own:
                name = repr_of(values.get("name"))
                yield f"{qualname_of(thing)} of logger {name}", own[0]


def _threads(code: OldCode, _objects: list[Any]) -> Iterator[_Found]:
    frames = sys._current_frames()  # noqa: SLF001 - the documented way
    for thread in threading.enumerate():
        values = own_values_of(thread)
        frame = frames.get(values.get("_ident") or 0)
        held = [thread, values.get("_target"), values.get("function")]
        own: Any = next((thing for thing in held if code.owns(thing)), None)
        while frame is not None and own is None:
            own = frame.f_code if code.runs(frame) else None
            frame = frame.f_back
        if own is not None and thread is not threading.current_thread():
            yield values.get("_name", ""), own


def _singledispatch(code: OldCode, objects: list[Any]) -> Iterator[_Found]:
    for thing in objects:
        if type(thing) is not types.FunctionType or code.owns(thing):
            continue
        for function in generic_functions(thing):
            for klass, target in function.registry.items():
                own = next((x for x in (target, klass) if code.owns(x)), None)
                if own is not None:
                    yield f"{qualname_of(function)} for {qualname_of(klass)}", own


def _signals(code: OldCode, _objects: list[Any]) -> Iterator[_Found]:
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if code.owns(handler):
            yield signal.Signals(number).name, handler


def _finders(code: OldCode, _objects: list[Any]) -> Iterator[_Found]:
    for place in ("meta_path", "path_hooks"):
        for thing in getattr(sys, place):
            if code.owns(thing):
                yield f"{qualname_of(thing)} in sys.{place}", thing


def _attributes(code: OldCode, _objects: list[Any]) -> Iterator[_Found]:
    hooks = set(_HOOKS)
    for name, module in list(sys.modules.items()):
        space = own_values_of(module)
        if id(space) in code.namespaces:
            continue
        for key, value in list(space.items()):
            if code.owns(value) and (name, key) not in hooks:
                yield f"{name}.{key}", (space, key)
            elif issubclass(type(value), type) and module_of(value) == name:
                for member, held in list(namespace_of(value).items()):
                    if code.owns(held):
                        yield f"{name}.{key}.{member}", (space, key)


def _tracebacks(code: OldCode, objects: list[Any]) -> Iterator[_Found]:
    for thing in objects:
        if issubclass(type(thing), BaseException):
            trace = _traceback_of(thing)
            while trace is not None:
                if code.runs(trace.tb_frame):
                    name = f"{class_name(thing)} raised at line {trace.tb_lineno}"
                    yield name, trace.tb_frame.f_code
                    break
                trace = trace.tb_next


def _context_variables(code: OldCode, objects: list[Any]) -> Iterator[_Found]:
    contexts = [thing for thing in objects if type(thing) is contextvars.Context]
    for context in [contextvars.copy_context(), *contexts]:
        for variable, value in context.items():
            if code.owns(value):
                yield variable.name, value


def _thread_locals(code: OldCode, objects: list[Any]) -> Iterator[_Found]:
    for thing in objects:
        kind = type(thing)
        # One with `__init__` calls it in every thread that looks at it first.
        if (
            issubclass(kind, threading.local)
            and static_of(kind, "__init__") is object.__init__
        ):
            values = threading.local.__getattribute__(thing, "__dict__")
            for key, value in values.items():
                if code.owns(value):
                    yield f"local.{key}", value


def _copyreg(code: OldCode, _objects: list[Any]) -> Iterator[_Found]:
    import copyreg

    for klass, reduce in copyreg.dispatch_table.items():
        if code.owns(klass) or code.owns(reduce):
            yield qualname_of(klass), klass


def _tasks(code: OldCode, objects: list[Any]) -> Iterator[_Found]:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return
    for thing in objects:
        if issubclass(type(thing), asyncio.Task) and not asyncio.Task.done(thing):
            coroutine = asyncio.Task.get_coro(thing)
            if type(coroutine) is types.CoroutineType and code.runs(coroutine.cr_frame):
                yield asyncio.Task.get_name(thing), coroutine.cr_code


def _hooks(code: OldCode, _objects: list[Any]) -> Iterator[_Found]:
    for module, attribute in _HOOKS:
        thing = getattr(sys.modules.get(module), attribute, None)
        if code.owns(thing):
            yield f"{module}.{attribute}", thing
    for thing in gc.callbacks:
        if code.owns(thing):
            yield "gc.callbacks", thing


def _finalizers(code: OldCode, _objects: list[Any]) -> Iterator[_Found]:
    import weakref

    registry = weakref.finalize._registry  # type: ignore[attr-defined]  # noqa: SLF001
    for info in list(registry.values()):
        held = [info.func, *(info.args or ())]
        if any(code.owns(thing) for thing in held):
            yield qualname_of(info.func), info.func


def _typing(code: OldCode, objects: list[Any]) -> Iterator[_Found]:
    typing = own_values_of(sys.modules.get("typing"))
    kinds = {each for each in typing.values() if type(each) is type}
    for thing in objects:
        kind = type(thing)
        if kind is types.GenericAlias:
            name, arguments = f"{qualname_of(thing.__origin__)}", thing.__args__
        elif kind in kinds:
            values = own_values_of(thing)
            name, arguments = f"typing.{values.get('_name')}", values.get("__args__")
        else:
            continue
        for argument in arguments or ():
            if code.owns(argument):
                inner = (f"{module_of(each)}.{qualname_of(each)}" for each in arguments)
                yield f"{name}[{', '.join(inner)}]", argument
                break


_PLACES: tuple[tuple[str, Callable[[OldCode, list[Any]], Iterator[_Found]]], ...] = (
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


_MOST_LISTED = 20
"""Referrers that are listed."""


def find_referrers(
    namespaces: Iterable[dict[str, Any]], *, photon: str = "", is_thorough: bool = False
) -> tuple[Leftover, ...]:
    """Return what keeps the code in *namespaces* alive, as far as that is known.

    Args:
        namespaces: Dictionaries of the unloaded modules.
        photon: Name of the photon that they belonged to, for the records.
        is_thorough: Follow every reference back, also those in no known place. Only
            where the caller and its callers have no reference left.

    Returns:
        A record for each reference that was found, with file and line; the kind says
        in which place.
    """
    code = OldCode(namespaces)
    objects = gc.get_objects()
    found: dict[tuple[str, str], str] = {}
    for kind, look in _PLACES:
        try:
            for name, thing in look(code, objects):
                found.setdefault((kind, name), _where(thing))
                thing = None  # noqa: PLW2901 - or it would seem to be held by us
        except BaseException as error:  # noqa: BLE001 - one kind only is hidden
            found[kind, f"(could not be read: {repr_of(error)})"] = ""
    own = find_own(code, objects) if is_thorough else []
    del objects
    is_known = bool(found)
    holders = find_holders(code, own, is_known=is_known) if is_thorough else ()
    for name, where, is_library in holders:
        if not (is_library and is_known):
            found.setdefault(("held", name), where)
    why = "keeps the old code"
    listed = [
        Leftover(kind, name, photon, at, why) for (kind, name), at in found.items()
    ]
    # Variables of the host's first: there the reference can be removed.
    listed.sort(key=lambda one: one.kind != "held")
    return tuple(listed[:_MOST_LISTED])


def _where(thing: Any) -> str:
    if isinstance(thing, tuple):
        space, name = thing
        file = space.get("__file__")
        file = file if type(file) is str else ""
        line = line_of(space, name)
        return f"{file}:{line}" if line else file
    if isinstance(thing, types.CodeType):
        return f"{thing.co_filename}:{thing.co_firstlineno}"
    return place_of(thing)
