"""Wraps functions of the standard library while a photon lives: what does it start?

Each wrapper calls the original exactly as it was called. Then it adds a record of what
was started to the scope that owns it by the rule of `_ownership`. Without an owner it
does nothing else. Nothing is wrapped while there is no scope. This module ends nothing
itself.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
import weakref
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from luminal.supervise._halting import exit_if_halted
from luminal.supervise._ownership import (
    add_scope,
    awaited_imports,
    by_rule,
    called,
    find_owner,
    goes_on,
    has_ended_code,
    has_scopes,
    owner_by_rule,
    reference_to,
    remove_scope,
    running_for,
    started_for,
    unowned,
)
from luminal.supervise._registries import ExitFunction
from luminal.supervise._resources import (
    OwnedCallback,
    OwnedExecutor,
    OwnedExitFunction,
    OwnedHandle,
    OwnedLogHandler,
    OwnedPool,
    OwnedProcess,
    OwnedRawThread,
    OwnedResource,
    OwnedSignal,
    OwnedThread,
    OwnedTransport,
    callbacks_of,
    handlers_of,
    started_at,
)

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from luminal.supervise._ownership import Code
    from luminal.supervise._scope import Scope

__all__ = ["enter", "is_installed", "leave", "refresh", "unwrapped"]

# Guards the two below.
_lock = threading.RLock()
# (module, path) → (holder, attribute, what was there, what we put there). What was
# there is None for what is inherited.
_wrapped: dict[tuple[str, str], tuple[Any, str, Any, Any]] = {}
# Likewise of what could not be put back, as somebody else's wrapper was around ours.
_left: dict[tuple[str, str], tuple[Any, str, Any, Any]] = {}
_is_on = False
# What could not be wrapped yet, because its module has not been imported, by module.
_missing: dict[str, list[tuple[str, str, Callable[[Any], Any]]]] = {}


def enter(scope: Scope) -> None:
    """Attribute to *scope* from now on what runs under it."""
    with _lock:
        add_scope(scope)
        refresh()


def leave(scope: Scope) -> None:
    """Attribute to *scope* no more; after the last, everything is put back."""
    with _lock:
        remove_scope(scope)
        if has_ended_code():
            for module, path in _CALLS.keys() - _wrapped.keys():
                if module in sys.modules:
                    _wrap(module, path, _CALLS[module, path])
        if not has_scopes():
            _restore()


def is_installed() -> bool:
    """Whether what photons start is looked at."""
    return _is_on


def refresh() -> None:
    """Wrap what has been imported since; nothing is imported for this."""
    global _is_on
    with _lock:
        # Called for each step of a life: mostly nothing has been imported since.
        if _is_on and _missing.keys().isdisjoint(sys.modules.keys()):
            return
        if not has_scopes():
            return
        if not _is_on:
            _is_on = True
            _missing.clear()
            for patch in _PATCHES:
                _missing.setdefault(patch[0], []).append(patch)
        # Called for each life that begins: what is wrapped is not looked at again.
        for module in _missing.keys() & sys.modules.keys():
            left = [patch for patch in _missing.pop(module) if not _wrap(*patch)]
            if left:  # it is being imported
                _missing[module] = left
        awaited_imports.clear()
        awaited_imports.update(module.partition(".")[0] for module in _missing)


def _wrap(module: str, path: str, make: Callable[[Any], Any]) -> bool:
    holder: Any = sys.modules.get(module)
    # Interned: CPython caches look-ups by the identity of the name, and keeps it.
    *outer, attribute = map(sys.intern, path.split("."))
    for name in outer:
        holder = getattr(holder, name, None)
    if holder is None:
        return False
    if (module, path) in _wrapped:
        return True
    before = getattr(holder, attribute, None)
    if before is None:
        return False
    left = _left.pop((module, path), None)
    if left is not None and before is left[3]:  # ours has come back since
        _wrapped[module, path] = left
        return True
    after = make(before)
    after.__wrapped__ = before
    after.__name__ = getattr(before, "__name__", attribute)
    after.__qualname__ = getattr(before, "__qualname__", attribute)
    after.__doc__ = before.__doc__
    before = vars(holder).get(attribute)
    _wrapped[module, path] = holder, attribute, before, after
    setattr(holder, attribute, after)
    return True


def unwrapped(method: Any) -> Any:
    """Return a bound *method* as it was before it was wrapped here.

    For what Luminal schedules for the host: no wrapper has to find out whose it is.
    """
    wrapper = getattr(method, "__func__", None)
    if type(wrapper) is FunctionType and wrapper.__globals__ is globals():
        return MethodType(wrapper.__wrapped__, method.__self__)  # type: ignore[attr-defined]
    return method


def _restore() -> None:
    """Put back what is wrapped while there are scopes."""
    global _is_on
    _is_on = False
    kept = _CALLS.keys() if has_ended_code() else set()
    for key in _wrapped.keys() - kept:
        _unwrap(key)
    awaited_imports.clear()


def _restore_calls() -> None:
    """Put back what is wrapped while there is ended code; called on event loops."""
    if _lock.acquire(blocking=False):
        try:
            if not has_ended_code():
                needed = {patch[:2] for patch in _PATCHES} if _is_on else set()
                for key in (_wrapped.keys() & _CALLS.keys()) - needed:
                    _unwrap(key)
        finally:
            _lock.release()


def _unwrap(key: tuple[str, str]) -> None:
    holder, attribute, before, after = _wrapped.pop(key)
    # Somebody else's wrapper around ours stays; ours then does nothing.
    if vars(holder).get(attribute) is after:
        if before is None:
            delattr(holder, attribute)
        else:
            setattr(holder, attribute, before)
    else:
        _left[key] = holder, attribute, before, after


# Executor or queue → the scope that made it. One of the host's is not in here.
_makers: weakref.WeakKeyDictionary[Any, Scope] = weakref.WeakKeyDictionary()


def _own(owner: Scope | None, kind: type[OwnedResource], *of: Any, **more: Any) -> None:
    """Add what has been started to what *owner* owns, where there is one."""
    if owner is not None:
        owner.adopt(kind(*of, **more))


def _thread_start(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: threading.Thread) -> None:
        exit_if_halted()
        owner = _owner_of_thread(self)
        if owner is None:
            start(self)
            return
        owned = OwnedThread(self, tell=owner.tell, code=reference_to(owner.code))
        self.run = functools.partial(owned.run_until_halted, self.run)  # type: ignore[method-assign]
        # Owned before it runs: a scope that closes meanwhile must not miss it.
        owned.is_starting = True
        owner.adopt(owned)
        try:
            start(self)
        finally:
            owned.is_starting = False
        if owner.is_closed:
            owned.cancel()
            owned.interrupt()

    return wrapper


_SERVING = frozenset({"asyncio.unix_events", "multiprocessing.resource_sharer"})
"""Where the standard library has threads that serve all, or a loop: nobody's.

One waits for the end of a child and tells the loop; the other hands out connections.
"""


def _owner_of_thread(thread: Any) -> Scope | None:
    target = getattr(thread, "_target", None)
    args = getattr(thread, "_args", ())
    module = getattr(target, "__module__", None)
    if module == "concurrent.futures.thread" and args:
        # A worker is the executor's, whoever submits the work for which it is started.
        executor = args[0]() if type(args[0]) is weakref.ref else None
        return _makers.get(executor) if executor is not None else None
    if module in _SERVING:
        return None
    run = vars(thread).get("run", type(thread).run)
    return find_owner(run, called(target, args), getattr(thread, "function", None))


def _raw_start(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(function: Any, args: Any, *rest: Any) -> Any:
        owner = find_owner(function)
        if owner is None:
            return start(function, args, *rest)
        raw = OwnedRawThread(function, tell=owner.tell, code=reference_to(owner.code))
        ident = start(raw.run, args, *rest)
        owner.adopt(raw)
        return ident

    return wrapper


_ENDINGS = frozenset(
    f"{loop}.shutdown_{what}"
    for loop in ("BaseEventLoop", "Loop")
    for what in ("asyncgens", "default_executor")
)
"""Coroutines by which `asyncio.run` brings a loop of asyncio or uvloop to its end."""


def _create_task(create: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, coro: Any, **kwargs: Any) -> Any:
        name = getattr(coro, "__qualname__", None)
        owner = None if name in _ENDINGS else find_owner(coro)
        with by_rule():  # an eager task runs at once
            task = create(self, coro, **kwargs)
        if owner is not None and not task.done():
            owner.adopt_task(task)
        return task

    return wrapper


def _call_at(call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, when: Any, callback: Any, *args: Any, **kwargs: Any) -> Any:
        handle = call(self, when, callback, *args, **kwargs)
        # asyncio's own calls (`sleep`, time-outs) end with the task that made them.
        owner = find_owner(callback, is_direct=True)
        if has_ended_code() and goes_on(callback, args):
            handle.cancel()
        elif owner is not None and hasattr(handle, "when"):  # else it runs at once
            owner.adopt(OwnedHandle(handle, loop=self))
        return handle

    return wrapper


def _loop_executor(run: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, executor: Any, func: Any, *args: Any) -> Any:
        # Where this makes the loop's default executor, that belongs to the loop.
        with unowned():
            return run(self, executor, func, *args)

    return wrapper


def _popen_init(init: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        exit_if_halted()
        try:
            init(self, *args, **kwargs)
        finally:
            # The child may be there though a halt or a signal has ended this.
            if getattr(self, "pid", None) is not None:
                _own(find_owner(), OwnedProcess, self)

    return wrapper


def _process_start(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any) -> None:
        exit_if_halted()
        owner = None
        # The workers of a pool belong to the pool, which would replace them.
        if getattr(self._target, "__module__", None) != "multiprocessing.pool":
            run = vars(self).get("run", type(self).run)
            owner = find_owner(run, self._target)
        start(self)
        _own(owner, OwnedProcess, self)

    return wrapper


def _pool_init(init: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        _own(find_owner(), OwnedPool, self)

    return wrapper


def _executor_init(init: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        owner = find_owner()
        if owner is not None:
            _makers[self] = owner
            owner.adopt(OwnedExecutor(self))

    return wrapper


def _queue_init(init: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        owner = find_owner()
        if owner is not None:
            _makers[self] = owner

    return wrapper


def _queue_thread(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any) -> None:
        # It sends what is put into the queue, whoever is the first to do that.
        with started_for(_makers.get(self)):
            start(self)

    return wrapper


def _run_for(
    code: weakref.ref[Code] | None, function: Any, /, *args: Any, **kwargs: Any
) -> Any:
    """Call *function* in a thread of the host, for a generation that wants it."""
    with running_for(code):
        return function(*args, **kwargs)


def _submit(submit: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        maker = _makers.get(self)
        owner, run = None, fn
        # A child process runs what was sent to it, whatever is loaded here.
        processes = sys.modules.get("concurrent.futures.process")
        if maker is None and not (
            processes and issubclass(type(self), processes.ProcessPoolExecutor)
        ):
            owner = owner_by_rule(called(fn, args))
            if owner is not None:
                run = functools.partial(_run_for, reference_to(owner.code), fn)
        # The worker that this may start is the maker's, the work is the photon's.
        with started_for(maker):
            future = submit(self, run, *args, **kwargs)
        if owner is not None:
            owner.adopt_work(future, fn)
        return future

    return wrapper


def _late_executors(get: Callable[[str], Any]) -> Callable[[str], Any]:
    def wrapper(name: str) -> Any:
        value = get(name)  # it imports what makes the executor
        refresh()
        return value

    return wrapper


def _late(module: str, make: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        importlib.import_module(module)  # as the original will
        refresh()
        return make(*args, **kwargs)

    return wrapper


def _atexit_register(register: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(function: Any, /, *args: Any, **kwargs: Any) -> Any:
        # Those of the standard library must outlive the photon.
        owner = find_owner(function, is_direct=True)
        if owner is None:
            return register(function, *args, **kwargs)
        own = ExitFunction(function)
        register(own, *args, **kwargs)
        owner.adopt(OwnedExitFunction(own))
        return function

    return wrapper


def _add_handler(add: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: logging.Logger, hdlr: logging.Handler) -> None:
        add(self, hdlr)
        _own(find_owner(hdlr), OwnedLogHandler, hdlr, logger=self)

    return wrapper


def _server_init(init: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        _note_opened(self)

    return wrapper


def _socket_init(init: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        owner = find_owner()
        if owner is not None:
            owner.note_socket(self)

    return wrapper


def _socket_bind(bind: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, address: Any, /) -> None:
        bind(self, address)
        _note_opened(self)

    return wrapper


def _note_opened(thing: Any) -> None:
    owner = find_owner()
    if owner is not None:
        owner.note_opened(thing)


def _set_signal(set_: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(signalnum: int, handler: Any) -> Any:
        before = set_(signalnum, handler)
        # asyncio's own serve the loop, and are taken back with it.
        owner = find_owner(handler, is_direct=True)
        if owner is not None:
            others = handlers_of(signalnum, before)
            owner.adopt(
                OwnedSignal(handler, number=signalnum, before=before, others=others)
            )
        return before

    return wrapper


# What an event loop calls ------------------------------------------------------------


def _number_of(key: Any) -> int:
    """Return the number of a signal, or of what has a descriptor; -1 for neither."""
    try:
        return key if isinstance(key, int) else int(key.fileno())
    except (AttributeError, TypeError, ValueError):
        return -1  # the loop itself will say what is wrong with it


def _adding(what: str, add: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, key: Any, callback: Any, *args: Any) -> Any:
        owner = find_owner(callback, is_direct=True)
        number = _number_of(key)
        others = callbacks_of(self, what, number)
        before: Any = others[-1].thing if others else None
        if not others and what == "signal":  # asyncio tells, uvloop does not
            handle = getattr(self, "_signal_handlers", {}).get(number)
            before = (handle._callback, *handle._args) if handle else None  # noqa: SLF001
        with unowned():  # what the loop itself does for this
            result = add(self, key, callback, *args)
        if owner is None:
            others.clear()
            return result
        owner.adopt(
            OwnedCallback(
                (callback, *args),
                kind=what,
                number=number,
                loop=self,
                before=before,
                others=others,
            )
        )
        return result

    return wrapper


def _removing(what: str, remove: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, key: Any) -> Any:
        callbacks_of(self, what, _number_of(key)).clear()
        return remove(self, key)

    return wrapper


def _call_soon(call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, callback: Any, *args: Any, **kwargs: Any) -> Any:
        handle = call(self, callback, *args, **kwargs)
        if not has_ended_code():
            _restore_calls()
        elif goes_on(callback, args):
            handle.cancel()
        return handle

    return wrapper


def _subprocess(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        starting = start(self, protocol_factory, *args, **kwargs)
        owner = find_owner(protocol_factory)
        return starting if owner is None else _owned_child(owner, starting)

    return wrapper


async def _owned_child(owner: Scope, starting: Any) -> Any:
    where = started_at()
    transport, protocol = await starting
    owner.adopt(OwnedTransport(transport, where))
    return transport, protocol


_PATCHES: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("threading", "Thread.start", _thread_start),
    ("_thread", "start_new_thread", _raw_start),
    ("asyncio", "BaseEventLoop.create_task", _create_task),
    ("asyncio", "BaseEventLoop.call_at", _call_at),
    ("asyncio", "BaseEventLoop.run_in_executor", _loop_executor),
    ("uvloop", "Loop.create_task", _create_task),
    ("uvloop", "Loop.call_later", _call_at),  # its `call_at` calls this
    ("uvloop", "Loop.run_in_executor", _loop_executor),
    ("uvloop", "Loop.subprocess_exec", _subprocess),  # asyncio's are of `Popen`
    ("uvloop", "Loop.subprocess_shell", _subprocess),
    *(
        (module, f"{loop}.{name}_{what}", functools.partial(make, what.split("_")[0]))
        for module, loop, what in (
            ("asyncio.selector_events", "BaseSelectorEventLoop", "reader"),
            ("asyncio.selector_events", "BaseSelectorEventLoop", "writer"),
            ("asyncio.unix_events", "_UnixSelectorEventLoop", "signal_handler"),
            ("uvloop", "Loop", "reader"),
            ("uvloop", "Loop", "writer"),
            ("uvloop", "Loop", "signal_handler"),
        )
        for name, make in (("add", _adding), ("remove", _removing))
    ),
    ("concurrent.futures", "__getattr__", _late_executors),
    ("asyncio", "Server.__init__", _server_init),
    ("socket", "socket.__init__", _socket_init),
    ("socket", "socket.bind", _socket_bind),
    ("subprocess", "Popen.__init__", _popen_init),
    ("multiprocessing.process", "BaseProcess.start", _process_start),
    *(
        (module, f"{path}{name}", functools.partial(_late, imported))
        for name, imported in (
            ("Pool", "multiprocessing.pool"),
            ("Queue", "multiprocessing.queues"),
            ("JoinableQueue", "multiprocessing.queues"),
        )
        for module, path in (
            ("multiprocessing", ""),
            ("multiprocessing.context", "BaseContext."),
        )
    ),
    ("multiprocessing.pool", "Pool.__init__", _pool_init),
    ("multiprocessing.queues", "Queue.__init__", _queue_init),
    ("multiprocessing.queues", "Queue._start_thread", _queue_thread),
    ("concurrent.futures.thread", "ThreadPoolExecutor.__init__", _executor_init),
    ("concurrent.futures.process", "ProcessPoolExecutor.__init__", _executor_init),
    ("concurrent.futures.thread", "ThreadPoolExecutor.submit", _submit),
    ("concurrent.futures.process", "ProcessPoolExecutor.submit", _submit),
    ("atexit", "register", _atexit_register),
    ("logging", "Logger.addHandler", _add_handler),
    ("signal", "signal", _set_signal),
)
"""Module, path in it, and the maker of the wrapper."""

_CALLS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("asyncio", "BaseEventLoop.call_soon"): _call_soon,
    ("asyncio", "BaseEventLoop.call_soon_threadsafe"): _call_soon,
    ("asyncio", "BaseEventLoop.call_at"): _call_at,
    ("uvloop", "Loop.call_soon"): _call_soon,
    ("uvloop", "Loop.call_soon_threadsafe"): _call_soon,
    ("uvloop", "Loop.call_later"): _call_at,
}
"""The same, wrapped only while code of a photon that has ended is in memory.

What schedules itself again and again keeps its code in memory, and ends at its next
turn. A host whose photons have not ended does not pay for it.
"""
