"""Wraps functions of the standard library while a photon lives: what does it start?

Each wrapper calls the original exactly as it was called. Then it adds a record of what
was started to the scope that owns it by the rule of `_ownership`. Without an owner it
does nothing else. Nothing is wrapped while there is no scope. This module ends nothing
itself.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from luminal.supervise._ownership import (
    add_scope,
    awaited_imports,
    by_rule,
    called,
    find_owner,
    has_scopes,
    owner_by_rule,
    remove_scope,
    running_for,
    started_for,
    unowned,
)
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
    import logging
    from collections.abc import Callable

    from luminal.supervise._ownership import Code
    from luminal.supervise._scope import Scope

__all__ = ["enter", "is_installed", "leave", "refresh"]

# Guards the two below.
_lock = threading.RLock()
# (holder, attribute) → (what was there, what we put there); None for what is inherited.
_wrapped: dict[tuple[Any, str], tuple[Any, Any]] = {}
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
        if not has_scopes():
            _restore()


def is_installed() -> bool:
    """Whether any wrapper is in place."""
    return bool(_wrapped)


def refresh() -> None:
    """Wrap what has been imported since; nothing is imported for this."""
    with _lock:
        if not has_scopes():
            return
        if not _wrapped:
            _missing.clear()
            for patch in _PATCHES:
                _missing.setdefault(patch[0], []).append(patch)
        elif _missing.keys().isdisjoint(sys.modules.keys()):
            return
        # Called for each life that begins: what is wrapped is not looked at again.
        for module in _missing.keys() & sys.modules.keys():
            left = [patch for patch in _missing.pop(module) if not _wrap(*patch)]
            if left:  # it is being imported
                _missing[module] = left
        awaited_imports.clear()
        awaited_imports.update(module.partition(".")[0] for module in _missing)


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
    awaited_imports.clear()


# Executor → the scope that made it. A pool of the host's is not in here.
_makers: weakref.WeakKeyDictionary[Any, Scope] = weakref.WeakKeyDictionary()


def _own(owner: Scope | None, kind: type[OwnedResource], *of: Any, **more: Any) -> None:
    """Add what has been started to what *owner* owns, where there is one."""
    if owner is not None:
        owner.adopt(kind(*of, **more))


def _thread_start(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: threading.Thread) -> None:
        owner = _owner_of_thread(self)
        if owner is None:
            start(self)
            return
        owned = OwnedThread(self, tell=owner.tell, code=owner.code)
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


def _owner_of_thread(thread: Any) -> Scope | None:
    target = getattr(thread, "_target", None)
    args = getattr(thread, "_args", ())
    module = getattr(target, "__module__", None)
    if module == "concurrent.futures.thread" and args:
        # A worker is the executor's, whoever submits the work for which it is started.
        executor = args[0]() if type(args[0]) is weakref.ref else None
        return _makers.get(executor) if executor is not None else None
    run = vars(thread).get("run", type(thread).run)
    return find_owner(run, called(target, args), getattr(thread, "function", None))


def _raw_start(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(function: Any, args: Any, *rest: Any) -> Any:
        owner = find_owner(function)
        if owner is None:
            return start(function, args, *rest)
        raw = OwnedRawThread(function, tell=owner.tell, code=owner.code)
        ident = start(raw.run, args, *rest)
        owner.adopt(raw)
        return ident

    return wrapper


def _create_task(create: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, coro: Any, **kwargs: Any) -> Any:
        owner = find_owner(coro)
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
        if owner is not None and hasattr(handle, "when"):  # else it runs at once
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
        init(self, *args, **kwargs)
        _own(find_owner(), OwnedProcess, self)

    return wrapper


def _process_start(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any) -> None:
        owner = None
        # The workers of a pool belong to the pool, which would replace them.
        if "Pool" not in self.name:
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


def _run_for(code: Code | None, function: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Call *function* in a thread of the host, for a generation that wants it."""
    with running_for(code):
        return function(*args, **kwargs)


def _submit(submit: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        maker = _makers.get(self)
        owner, run = None, fn
        # A child process runs what was sent to it, whatever is loaded here.
        if maker is None and not hasattr(self, "_processes"):
            owner = owner_by_rule(called(fn, args))
            if owner is not None:
                run = functools.partial(_run_for, owner.code, fn)
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


def _late_pool(make: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        import multiprocessing.pool  # noqa: F401 - as the original will

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
        _own(owner, OwnedSignal, handler, number=signalnum, before=before)
        return before

    return wrapper


_PATCHES: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("threading", "Thread.start", _thread_start),
    ("_thread", "start_new_thread", _raw_start),
    ("asyncio", "BaseEventLoop.create_task", _create_task),
    ("asyncio", "BaseEventLoop.call_at", _call_at),
    ("asyncio", "BaseEventLoop.run_in_executor", _loop_executor),
    ("uvloop", "Loop.create_task", _create_task),
    ("uvloop", "Loop.call_later", _call_at),  # its `call_at` calls this
    ("uvloop", "Loop.run_in_executor", _loop_executor),
    ("concurrent.futures", "__getattr__", _late_executors),
    ("asyncio", "Server.__init__", _server_init),
    ("socket", "socket.__init__", _socket_init),
    ("socket", "socket.bind", _socket_bind),
    ("subprocess", "Popen.__init__", _popen_init),
    ("multiprocessing.process", "BaseProcess.start", _process_start),
    ("multiprocessing", "Pool", _late_pool),
    ("multiprocessing.context", "BaseContext.Pool", _late_pool),
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
