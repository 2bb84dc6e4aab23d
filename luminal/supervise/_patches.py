"""Wraps functions of the standard library while a photon lives: what does it start?

Each wrapper calls the original exactly as it was called. Then it adds a record of what
was started to the scope that owns the running code: the one in the context variable,
or that of the starting thread. Without an owner it does nothing else. Nothing is
wrapped while there is no scope. This module ends nothing itself.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from luminal.supervise._ownership import current_owner, find_owner, own_thread
from luminal.supervise._registries import ExitFunction
from luminal.supervise._resources import (
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
)

if TYPE_CHECKING:
    import asyncio
    import logging
    from collections.abc import Callable

    from luminal.supervise._scope import Scope

__all__ = ["enter", "is_installed", "leave", "refresh", "sees_tasks_of"]

# Guards the two below.
_lock = threading.RLock()
_scopes: set[Scope] = set()
# (holder, attribute) → (what was there, what we put there); None for what is inherited.
_wrapped: dict[tuple[Any, str], tuple[Any, Any]] = {}
# What could not be wrapped yet, because its module has not been imported, by module.
_missing: dict[str, list[tuple[str, str, Callable[[Any], Any]]]] = {}


def enter(scope: Scope) -> None:
    """Attribute to *scope* from now on what runs under it."""
    with _lock:
        _scopes.add(scope)
        refresh()


def leave(scope: Scope) -> None:
    """Attribute to *scope* no more; after the last, everything is put back."""
    with _lock:
        _scopes.discard(scope)
        if not _scopes:
            _restore()


def is_installed() -> bool:
    """Whether any wrapper is in place."""
    return bool(_wrapped)


def refresh() -> None:
    """Wrap what has been imported since; nothing is imported for this."""
    with _lock:
        if not _scopes:
            return
        if not _wrapped:
            _missing.clear()
            for patch in _PATCHES:
                _missing.setdefault(patch[0], []).append(patch)
        # Called for each life that begins: what is wrapped is not looked at again.
        for module in _missing.keys() & sys.modules.keys():
            left = [patch for patch in _missing.pop(module) if not _wrap(*patch)]
            if left:  # it is being imported
                _missing[module] = left


def _wrap(module: str, path: str, make: Callable[[Any], Any]) -> bool:
    holder: Any = sys.modules.get(module)
    *outer, attribute = path.split(".")
    for name in outer:
        holder = getattr(holder, name, None)
    if holder is None:
        return False
    if (holder, attribute) in _wrapped:
        return True
    before = getattr(holder, attribute, None)
    if before is None:
        return False
    after = make(before)
    after.__wrapped__ = before
    after.__name__ = getattr(before, "__name__", attribute)
    after.__qualname__ = getattr(before, "__qualname__", attribute)
    after.__doc__ = before.__doc__
    _wrapped[holder, attribute] = vars(holder).get(attribute), after
    setattr(holder, attribute, after)
    return True


def _restore() -> None:
    for (holder, attribute), (before, after) in list(_wrapped.items()):
        # Somebody else's wrapper around ours stays; ours then does nothing.
        if vars(holder).get(attribute) is after:
            if before is None:
                delattr(holder, attribute)
            else:
                setattr(holder, attribute, before)
    _wrapped.clear()


def sees_tasks_of(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the tasks of *loop* are made by a function that is wrapped."""
    import asyncio

    made_by = getattr(type(loop), "create_task", None)
    return made_by is vars(asyncio.BaseEventLoop)["create_task"] and bool(_wrapped)


# Executor → the scope that made it. A pool of the host's is not in here.
_makers: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def _own(kind: type[OwnedResource], thing: Any, **attributes: Any) -> None:
    """Add *thing* to what the present owner owns, where there is one."""
    owner = find_owner()
    if owner is not None:
        owner.adopt(kind(thing, **attributes))


def _thread_start(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: threading.Thread) -> None:
        owner = find_owner()
        if owner is None or _serves_a_loop(self):
            start(self)
            return
        own_thread(self, owner)
        owned = OwnedThread(self, tell=owner.tell)
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


def _serves_a_loop(thread: threading.Thread) -> bool:
    """Whether *thread* is of the executor that an event loop makes for itself.

    The photon that is the first to need one may also be the first to import the module
    of executors, so the executor itself has not been seen.
    """
    target = getattr(thread, "_target", None)
    if getattr(target, "__module__", None) != "concurrent.futures.thread":
        return False
    return thread.name.startswith("asyncio_")


def _raw_start(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(function: Any, args: Any, *rest: Any) -> Any:
        owner = find_owner()
        if owner is None:
            return start(function, args, *rest)
        raw = OwnedRawThread(function, tell=owner.tell)
        ident = start(raw.run, args, *rest)
        owner.adopt(raw)
        return ident

    return wrapper


def _create_task(create: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, coro: Any, **kwargs: Any) -> Any:
        task = create(self, coro, **kwargs)
        owner = find_owner()
        if owner is not None:
            owner.adopt_task(task)
        return task

    return wrapper


def _call_at(call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        handle = call(self, *args, **kwargs)
        # asyncio's own calls (`sleep`, time-outs) and ours end with the task or the
        # step that made them.
        if not _is_of_machinery(args[1]):
            _own(OwnedHandle, handle)
        return handle

    return wrapper


def _is_of_machinery(callback: Any) -> bool:
    module = getattr(callback, "__module__", None) or ""
    return module.partition(".")[0] in {"asyncio", "_asyncio", "luminal"}


def _popen_init(init: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        _own(OwnedProcess, self)

    return wrapper


def _process_start(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any) -> None:
        start(self)
        # The workers of a pool belong to the pool, which would replace them.
        if "Pool" not in self.name:
            _own(OwnedProcess, self)

    return wrapper


def _pool_init(init: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        _own(OwnedPool, self)

    return wrapper


def _executor_init(init: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        owner = find_owner()
        # A loop's default executor belongs to the loop, not to its first user.
        prefix = getattr(self, "_thread_name_prefix", "")
        if owner is not None and prefix != "asyncio":
            _makers[self] = owner
            owner.adopt(OwnedExecutor(self))

    return wrapper


def _submit(submit: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner = find_owner()
        if owner is None:
            return submit(self, fn, *args, **kwargs)
        # The worker that this may start is the maker's, the work is the caller's.
        token = current_owner.set(_makers.get(self))
        try:
            if not hasattr(self, "_threads"):
                return submit(self, fn, *args, **kwargs)
            return submit(self, _owned_call, owner, fn, *args, **kwargs)
        finally:
            current_owner.reset(token)

    return wrapper


def _owned_call(owner: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    token = current_owner.set(owner)
    try:
        return fn(*args, **kwargs)
    finally:
        current_owner.reset(token)


def _atexit_register(register: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(function: Any, /, *args: Any, **kwargs: Any) -> Any:
        # Those of the standard library must outlive the photon.
        owner = None if _is_of_library(function) else find_owner()
        if owner is None:
            return register(function, *args, **kwargs)
        own = ExitFunction(function)
        register(own, *args, **kwargs)
        owner.adopt(OwnedExitFunction(own))
        return function

    return wrapper


def _is_of_library(function: Any) -> bool:
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] in {
        "concurrent",
        "logging",
        "luminal",
        "multiprocessing",
        "weakref",
    }


def _add_handler(add: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: logging.Logger, hdlr: logging.Handler) -> None:
        add(self, hdlr)
        _own(OwnedLogHandler, hdlr, logger=self)

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
        _own(OwnedSignal, handler, number=signalnum, before=before)
        return before

    return wrapper


_PATCHES: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("threading", "Thread.start", _thread_start),
    ("_thread", "start_new_thread", _raw_start),
    ("asyncio", "BaseEventLoop.create_task", _create_task),
    ("asyncio", "BaseEventLoop.call_at", _call_at),
    ("asyncio", "Server.__init__", _server_init),
    ("socket", "socket.__init__", _socket_init),
    ("socket", "socket.bind", _socket_bind),
    ("subprocess", "Popen.__init__", _popen_init),
    ("multiprocessing.process", "BaseProcess.start", _process_start),
    ("multiprocessing.pool", "Pool.__init__", _pool_init),
    ("concurrent.futures.thread", "ThreadPoolExecutor.__init__", _executor_init),
    ("concurrent.futures.process", "ProcessPoolExecutor.__init__", _executor_init),
    ("concurrent.futures.thread", "ThreadPoolExecutor.submit", _submit),
    ("concurrent.futures.process", "ProcessPoolExecutor.submit", _submit),
    ("atexit", "register", _atexit_register),
    ("logging", "Logger.addHandler", _add_handler),
    ("signal", "signal", _set_signal),
)
"""Module, path in it, and the maker of the wrapper."""
