"""What old code has registered with the standard library: found, and taken back.

A photon registers codecs, finders, adapters and the like on import or in ``start``, and
its next generation registers them again. `take_back` removes what the old generation
has left, when it ends. An entry belongs to a generation if its function or class does,
whenever it was made.

Most registries are lists and tables that can be looked through. The others are noted
when somebody registers with them, see `record`.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import functools
import gc
import itertools
import logging
import os
import sys
import threading
import types
import weakref
from typing import TYPE_CHECKING, Any

from luminal._plain import module_of, namespace_of, own_values_of, qualname_of, repr_of
from luminal.supervise._halting import Leftover
from luminal.supervise._old_code import OldCode, place_of
from luminal.supervise._ownership import is_photons

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_logger = logging.getLogger("luminal.supervise")

__all__ = [
    "ExitFunction",
    "exit_functions",
    "find_permanent",
    "generic_functions",
    "may_register",
    "record",
    "remember",
    "stop_recording",
    "take_back",
]


class _Entry:
    """Something that old code has registered.

    Attributes:
        kind: Where it is registered.
        thing: What was registered.
        undo: Takes it back; raises or returns False where that is not possible.
    """

    def __init__(self, kind: str, thing: Any, undo: Callable[[], object]) -> None:
        self.kind = kind
        self.thing = thing
        self.undo = undo


# Lists, by module and path in it. What is a tuple is looked into.
_LISTS = (
    ("sys", "meta_path"),
    ("sys", "path_hooks"),
    ("gc", "callbacks"),
    ("warnings", "filters"),
    ("unittest.case", "_module_cleanups"),
    ("threading", "_threading_atexits"),
)
# Dictionaries of which a key, a value or a part of one may be old.
_TABLES = (
    ("copyreg", "dispatch_table"),
    ("sqlite3", "adapters"),
    ("sqlite3", "converters"),
    ("multiprocessing.reduction", "ForkingPickler._extra_reducers"),
    ("multiprocessing.util", "_finalizer_registry"),
    ("shutil", "_ARCHIVE_FORMATS"),
    ("shutil", "_UNPACK_FORMATS"),
    ("webbrowser", "_browsers"),
    ("ctypes", "_pointer_type_cache"),
)
# Attributes with one value, and where the usual one is; None stands for None.
_VALUES = (
    ("sys", "excepthook", "__excepthook__"),
    ("sys", "unraisablehook", "__unraisablehook__"),
    ("sys", "displayhook", "__displayhook__"),
    ("sys", "breakpointhook", "__breakpointhook__"),
    ("sys", "stdout", "__stdout__"),
    ("sys", "stderr", "__stderr__"),
    ("threading", "excepthook", "__excepthook__"),
    ("threading", "_profile_hook", None),
    ("threading", "_trace_hook", None),
    ("warnings", "showwarning", "_showwarning_orig"),
    ("warnings", "formatwarning", "_formatwarning_orig"),
    ("logging", "_loggerClass", "Logger"),
    ("logging", "_logRecordFactory", "LogRecord"),
    ("urllib.request", "_opener", None),
    ("asyncio.events", "_event_loop_policy", None),
)
_MOST_ENTRIES = 1000
"""Entries of one registry that are looked at: this happens at each swap."""


def _of(module: str, path: str) -> Any:
    """Return what is at *path* in *module*; None where that is not imported."""
    found: Any = sys.modules.get(module)
    for name in path.split(".") if found is not None else ():
        found = getattr(found, name, None)
    return found


def _is_old(code: OldCode, thing: Any) -> bool:
    """Whether *thing*, or a part of it, may be old by its name, and is."""
    if type(thing) is tuple or type(thing) is list:
        return any(_is_old(code, part) for part in thing)
    # Nearly always the name says no, and this is asked at each swap.
    return module_of(thing) in code.names and code.owns(thing)


def _may_be_old(code: OldCode, things: Iterable[Any]) -> bool:
    """Whether `_is_old` may say so of one of *things*."""
    names = code.names
    for thing in things:
        for part in thing if type(thing) in (tuple, list) else (thing,):
            if module_of(part) in names:
                return True
    return False


def _lists(code: OldCode) -> Iterator[_Entry]:
    for module, path in _LISTS:
        items = _of(module, path)
        if not items or not _may_be_old(code, items):
            continue
        for thing in items[:_MOST_ENTRIES]:
            if _is_old(code, thing):
                kind = f"{module}.{path}"
                yield _Entry(kind, thing, functools.partial(_drop, items, thing))


def _drop(items: list[Any], thing: Any) -> None:
    items[:] = [other for other in items if other is not thing]
    changed = getattr(sys.modules.get("warnings"), "_filters_mutated", None)
    if changed is not None and items is _of("warnings", "filters"):
        changed()
    if items is sys.path_hooks:
        sys.path_importer_cache.clear()


def _tables(code: OldCode) -> Iterator[_Entry]:
    for module, path in _TABLES:
        table = _of(module, path)
        if not isinstance(table, dict) or len(table) > _MOST_ENTRIES:
            continue
        if not _may_be_old(code, itertools.chain(table, table.values())):
            continue
        for key, value in list(table.items()):
            if _is_old(code, value) or _is_old(code, key):
                thing = value if _is_old(code, value) else key
                undo = functools.partial(_delete, table, key, value)
                yield _Entry(f"{module}.{path}", thing, undo)


def _delete(table: dict[Any, Any], key: Any, value: Any) -> None:
    if table.get(key) is value:
        del table[key]


# What an attribute of `_VALUES` held: when something was staged last, and when that
# was no photon's. Weak references: they keep no generation.
_last: dict[tuple[str, str], Callable[[], Any]] = {}
_hosts: dict[tuple[str, str], Callable[[], Any]] = {}


def remember() -> None:
    """Note what hooks there are, before code is staged that may replace them."""
    for module, name, _ in _VALUES:
        holder = sys.modules.get(module)
        if holder is None:
            continue
        value = getattr(holder, name, None)
        key = module, name
        last = _last.get(key)
        if last is not None and last() is value:
            continue
        ref = _last[key] = _reference(value)
        if not _is_photons(value):
            _hosts[key] = ref


def _reference(value: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(value)
    except TypeError:  # None, for one
        return functools.partial(_same, value)


def _is_photons(value: Any) -> bool:
    space = value.__globals__ if type(value) is types.FunctionType else {}
    if is_photons(space.get("__loader__")):
        return True
    module = sys.modules.get(module_of(value))
    return is_photons(getattr(module, "__loader__", None))


def _values(code: OldCode) -> Iterator[_Entry]:
    for key, ref in list(_last.items()):
        if _is_old(code, ref()):
            del _last[key]
    for module, name, usual in _VALUES:
        holder = sys.modules.get(module)
        value = getattr(holder, name, None)
        if holder is not None and value is not None and _is_old(code, value):
            known = [_last.get((module, name)), _hosts.get((module, name))]
            earlier = [ref() for ref in known if ref is not None]
            usable = [value for value in earlier if value is not None]
            before = usable[0] if usable else getattr(holder, usual or "", None)
            undo = functools.partial(setattr, holder, name, before)
            yield _Entry(f"{module}.{name}", value, undo)


def _signals(code: OldCode) -> Iterator[_Entry]:
    import signal

    from luminal.supervise._interpreter_state import SIGNALS, handler_of

    for number in SIGNALS.values():
        handler = handler_of(number)
        if callable(handler) and _is_old(code, handler):
            is_interrupt = number == signal.SIGINT
            usual = signal.default_int_handler if is_interrupt else signal.SIG_DFL
            undo = functools.partial(signal.signal, number, usual)
            yield _Entry(signal.Signals(number).name, handler, undo)


class _Probe:
    """Equal to nothing; remembers what it was compared with."""

    __hash__ = object.__hash__

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __eq__(self, other: object) -> bool:
        self.seen.append(other)
        return False


def exit_functions() -> list[Any]:
    """Return what `atexit` would call."""
    # They cannot be listed. But to unregister a function compares it with each.
    probe = _Probe()
    atexit.unregister(probe)  # type: ignore[arg-type]
    return [
        vars(thing)["__wrapped__"] if type(thing) is ExitFunction else thing
        for thing in probe.seen
    ]


def _log_handlers(code: OldCode) -> Iterator[_Entry]:
    for ref in list(vars(logging)["_handlerList"]):
        handler = ref()
        if handler is None:
            continue
        values = own_values_of(handler)
        parts = [handler, values.get("formatter"), *values.get("filters", ())]
        if any(part is not None and code.owns(part) for part in parts):
            yield _Entry(
                "logging", handler, functools.partial(_remove_handler, handler)
            )


def _remove_handler(handler: logging.Handler) -> None:
    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger) and handler in logger.handlers:
            logger.removeHandler(handler)


def generic_functions(thing: Any) -> Iterator[Any]:
    """Yield the function of `functools.singledispatch` that *thing* is or has."""
    if type(thing) is functools.singledispatchmethod:
        thing = thing.dispatcher
    if type(thing) is types.FunctionType and "registry" in thing.__dict__:
        if type(thing.__dict__["registry"]) is types.MappingProxyType:
            yield thing
    elif issubclass(type(thing), type):
        for member in list(namespace_of(thing).values()):
            if type(member) is functools.singledispatchmethod:
                yield from generic_functions(member)


def _generic_functions(code: OldCode) -> Iterator[_Entry]:
    found = {
        id(function): function
        for space in _used_by(code)
        for thing in list(space.values())
        for function in generic_functions(thing)
        if not code.owns(function)
    }
    for function in found.values():
        for cls, target in list(function.registry.items()):
            thing = next((x for x in (target, cls) if code.owns(x)), None)
            if thing is not None:
                undo = functools.partial(_unregister, function, cls)
                yield _Entry("singledispatch", thing, undo)


def _used_by(code: OldCode) -> Iterator[dict[str, Any]]:
    """Yield *code*'s own namespaces, and those of the packages that it imports from."""
    tops: set[str] = set()
    for space in code.namespaces.values():
        yield space
        for value in list(space.values()):
            is_module = type(value) is types.ModuleType
            name = value.__dict__["__name__"] if is_module else module_of(value)
            if type(name) is str:
                tops.add(name.partition(".")[0])
    tops -= sys.stdlib_module_names
    tops -= {"luminal"}  # it has no generic function, and many names
    tops |= {"__main__"}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in tops and type(module) is types.ModuleType:
            yield vars(module)


def _unregister(function: Any, cls: type) -> bool:
    # There is no public way. A mapping proxy refers to one thing: its dictionary.
    (table,) = gc.get_referents(function.registry)
    table.pop(cls, None)
    function._clear_cache()  # noqa: SLF001
    return True


_SOURCES: tuple[Callable[[OldCode], Iterator[_Entry]], ...] = (
    _lists,
    _tables,
    _values,
    _signals,
    _log_handlers,
    _generic_functions,
)


# What cannot be looked through is noted when it is registered.


class _Record:
    """A registration that a photon's code has made.

    Attributes:
        kind: With what.
        thing: A reference to what was registered; it need not live for this.
        loader: Of the photon's module, a weak reference.
        undo: Takes *thing* back.
        is_permanent: What was registered cannot be removed, only be emptied.
    """

    def __init__(
        self,
        kind: str,
        thing: Callable[[], Any],
        loader: weakref.ref[Any],
        undo: Callable[[Any], object],
        is_permanent: bool = False,
    ) -> None:
        self.kind = kind
        self.thing = thing
        self.loader = loader
        self.undo = undo
        self.is_permanent = is_permanent

    def is_of(self, code: OldCode) -> bool:
        return id(self.loader()) in code.loaders


_records: list[_Record] = []
# (holder, attribute) → (what was there, what we have put there).
_wrapped: dict[tuple[Any, str], tuple[Any, Any]] = {}
# Guards the two above.
_lock = threading.RLock()


class _Relay:
    """Passes calls on to a function, which can be taken away from it."""

    __slots__ = ("__weakref__", "function")

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        function = self.function
        return function(*args) if function is not None else None

    def empty(self) -> None:
        self.function = None


def _photon_of(thing: Any, *, is_direct: bool = True) -> Any:
    """Return the loader of the photon's module that registers *thing*; None for none.

    That is the module of a function, else the nearest one on the stack that is not
    ours.

    Args:
        thing: What is registered.
        is_direct: What the standard library registers is nobody's: `random` and
            `concurrent.futures` do so when they are imported, by a photon it may be.
            Otherwise its modules are passed over.
    """
    function = getattr(thing, "__func__", thing)
    if type(function) is types.FunctionType:
        loader = function.__globals__.get("__loader__")
        if is_photons(loader):
            return loader
    frame: types.FrameType | None = sys._getframe(2)  # noqa: SLF001 - documented
    while frame is not None:
        top = str(frame.f_globals.get("__name__")).partition(".")[0]
        is_standard = top in sys.stdlib_module_names
        if is_standard and is_direct:
            return None
        if not is_standard and top != "luminal":
            loader = frame.f_globals.get("__loader__")
            return loader if is_photons(loader) else None
        frame = frame.f_back
    return None


def _note(
    kind: str,
    thing: Any,
    loader: Any,
    undo: Callable[[Any], object],
    *,
    is_permanent: bool = False,
    is_kept: bool = False,
) -> None:
    is_method = type(thing) is types.MethodType
    ref = weakref.WeakMethod(thing) if is_method else _reference(thing)
    if is_kept:
        ref = functools.partial(_same, thing)
    with _lock:
        _records.append(_Record(kind, ref, weakref.ref(loader), undo, is_permanent))


def _same(thing: Any) -> Any:
    return thing


def _codec(register: Any) -> Any:
    def wrapper(search_function: Any, /) -> None:
        register(search_function)
        loader = _photon_of(search_function)
        if loader is not None:
            _note("codecs.register", search_function, loader, codecs.unregister)

    return wrapper


def _codec_error(register: Any) -> Any:
    def wrapper(errors: str, handler: Any, /) -> None:
        before: Callable[[], Any] = int
        with contextlib.suppress(LookupError, TypeError):
            before = _reference(codecs.lookup_error(errors))
        register(errors, handler)
        loader = _photon_of(handler)
        if loader is not None:

            def undo(handler: Any) -> None:
                if codecs.lookup_error(errors) is handler:
                    # Before CPython 3.14 there is no way to take one out.
                    register(errors, before() or _unknown_codec_error)

            # Until its generation ends: if the next one is rejected, it comes back.
            _note("codecs.register_error", handler, loader, undo, is_kept=True)

    return wrapper


def _unknown_codec_error(error: Exception) -> Any:
    raise LookupError("unknown error handler name: its photon is gone") from error


class ExitFunction:
    """What a photon registers with `atexit`, so that it alone can be unregistered.

    `atexit.unregister` removes all that are equal, those of the next generation too.

    Args:
        function: The photon's, or any function that it wants called.
    """

    def __init__(self, function: Any) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        return self._function(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        """Whether *other* is this, or the function."""
        if type(other) is ExitFunction:
            return self is other
        if type(other) is _Probe:
            return other == self
        return bool(self._function == other)

    def __hash__(self) -> int:
        """Return the function's."""
        return hash(self._function)


def _exit_function(register: Any) -> Any:
    def wrapper(func: Any, /, *args: Any, **kwargs: Any) -> Any:
        loader = None if type(func) is ExitFunction else _photon_of(func)
        if loader is None:
            return register(func, *args, **kwargs)
        own = ExitFunction(func)
        register(own, *args, **kwargs)
        _note("atexit", own, loader, atexit.unregister)
        return func

    return wrapper


def _log_handler(add: Any) -> Any:
    def wrapper(self: logging.Logger, hdlr: logging.Handler) -> None:
        add(self, hdlr)
        loader = _photon_of(hdlr, is_direct=False)
        if loader is not None:
            _note("logging", hdlr, loader, self.removeHandler)

    return wrapper


def _audit_hook(add: Any) -> Any:
    def wrapper(hook: Any) -> None:
        loader = _photon_of(hook)
        if loader is None:
            add(hook)
            return
        relay = _Relay(hook)
        add(relay)
        _note_relay("sys.addaudithook", relay, loader)

    return wrapper


def _fork_functions(register: Any) -> Any:
    def wrapper(**functions: Any) -> None:
        loader = next(filter(None, map(_photon_of, functions.values())), None)
        if loader is None or not all(map(callable, functions.values())):
            register(**functions)
            return
        relays = {when: _Relay(function) for when, function in functions.items()}
        register(**relays)
        for relay in relays.values():
            _note_relay("os.register_at_fork", relay, loader)

    return wrapper


def _note_relay(kind: str, relay: _Relay, loader: Any) -> None:
    _note(kind, relay, loader, _Relay.empty, is_permanent=True)


_RECORDED: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = (
    (codecs, "register", _codec),
    (codecs, "register_error", _codec_error),
    (atexit, "register", _exit_function),
    (logging.Logger, "addHandler", _log_handler),
    (sys, "addaudithook", _audit_hook),
    (os, "register_at_fork", _fork_functions),
)


def record() -> None:
    """Note from now on what photons register where it cannot be found later."""
    with _lock:
        for holder, name, make in _RECORDED:
            before = getattr(holder, name, None)
            if before is None or (holder, name) in _wrapped:
                continue  # there is no fork on this system
            after = functools.wraps(before)(make(before))
            _wrapped[holder, name] = before, after
            setattr(holder, name, after)


def stop_recording() -> None:
    """Put the functions back that `record` has replaced."""
    with _lock:
        for (holder, name), (before, after) in list(_wrapped.items()):
            # What somebody else has put around ours stays; ours passes on.
            if getattr(holder, name) is after:
                setattr(holder, name, before)
                del _wrapped[holder, name]


def find_permanent(
    namespaces: Callable[[], Iterable[dict[str, Any]]],
) -> list[Leftover]:
    """Return what code has registered that cannot be taken back, only be emptied.

    Args:
        namespaces: Returns the dictionaries of its modules.
    """
    permanent = [one for one in tuple(_records) if one.is_permanent] if _records else ()
    if not permanent:  # as nearly always
        return []
    code = OldCode(namespaces())
    found = [(r.kind, r.thing()) for r in permanent if r.is_of(code)]
    why = "it cannot be unregistered: at each reload an empty function stays"
    return [_leftover(kind, relay.function, why) for kind, relay in found if relay]


# One of these is in every text that registers something where we look.
_WORDS = (
    b"register",
    b"meta_path",
    b"path_hooks",
    b"excepthook",
    b"displayhook",
    b"breakpointhook",
    b"unraisablehook",
    b"callbacks",
    b"filter",
    b"warning",
    b"copyreg",
    b"dispatch",
    b"Cleanup",
    b"Finalize",
    b"stdout",
    b"stderr",
    b"Handler",
    b"Logger",
    b"LogRecord",
    b"opener",
    b"Policy",
    b"policy",
    b"signal",
    b"profile",
    b"settrace",
    b"POINTER",
)


def may_register(text: bytes) -> bool:
    """Return whether code may register something itself; most does not.

    What others register on its behalf, and is not found for that, is reported as what
    keeps it in memory.
    """
    # In each reload: `any` takes three times as long, and so does ``in``, which first
    # makes an error of it that a word is no number.
    for word in _WORDS:  # noqa: SIM110
        if text.find(word) >= 0:
            return True
    return False


def take_back(
    namespaces: Iterable[dict[str, Any]], *, is_searched: bool = True
) -> list[Leftover]:
    """Remove what old code has left in registries of the standard library.

    Args:
        namespaces: The dictionaries of its modules.
        is_searched: Look through registries, see `may_register`. What was noted when
            it was registered is taken back in any case.

    Returns:
        What could not be removed.
    """
    if not is_searched and not _records:
        return []
    code, left = OldCode(namespaces), []
    for source in _SOURCES if is_searched else ():
        try:
            entries = list(source(code))
        except BaseException as error:  # noqa: BLE001 - a strange object hides one kind
            _logger.debug("a registry cannot be read: %s", repr_of(error))
            continue
        for entry in entries:
            try:
                entry.undo()
            except Exception as error:  # noqa: BLE001 - it is told
                left.append(_leftover(entry.kind, entry.thing, str(error)))
    if _records:
        _take_back_records(code)
    return left


def _take_back_records(code: OldCode) -> None:
    with _lock:
        own = [one for one in _records if one.is_of(code)]
        gone = [one for one in _records if one.loader() is None]
        _records[:] = [one for one in _records if one not in own and one not in gone]
    for one in own:
        thing = one.thing()
        if thing is not None:
            with contextlib.suppress(Exception):
                one.undo(thing)


def _leftover(kind: str, thing: Any, why: str) -> Leftover:
    return Leftover(kind, qualname_of(thing), where=place_of(thing), why=why)
