"""The wrappers of `attribution`: one for each way of starting or registering.

Each takes the function that was there and returns the one that replaces it. Each
calls it exactly as it was called, and adds the owner's belonging afterwards.
"""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING, Any

from luminal.supervise import belongings, registrations
from luminal.supervise.owners import current_owner, find_owner, own_thread
from luminal.supervise.pools import OwnedExecutor, OwnedPool
from luminal.supervise.raw_thread import OwnedRawThread

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

__all__ = ["POINTS"]

# Executor → who made it. A pool of the host's stays the host's, whoever uses it.
_makers: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def _thread_start(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: threading.Thread) -> None:
        owner = find_owner()
        if owner is None:
            start(self)
            return
        own_thread(self, owner)
        owned = belongings.OwnedThread(self)
        self.run = functools.partial(owned.run_until_halted, self.run)  # type: ignore[method-assign]
        # Owned before it runs: a scope that closes meanwhile must not miss it.
        owned.is_starting = True
        owner.adopt(owned)
        try:
            start(self)
        finally:
            owned.is_starting = False
        if owner.is_closed:
            owned.ask()
            owned.press()

    return wrapper


def _raw_start(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(function: Any, args: Any, *rest: Any) -> Any:
        owner = find_owner()
        if owner is None:
            return start(function, args, *rest)
        raw = OwnedRawThread(function)
        ident = start(raw.run, args, *rest)
        owner.adopt(raw)
        return ident

    return wrapper


def _create_task(create: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, coro: Any, **kwargs: Any) -> Any:
        task = create(self, coro, **kwargs)
        owner = find_owner()
        if owner is not None:
            owner.adopt(belongings.OwnedTask(task))
        return task

    return wrapper


def _call_at(call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        handle = call(self, *args, **kwargs)
        owner = find_owner()
        # asyncio's own calls (`sleep`, time-outs) end with the task that made them.
        if owner is not None and not _is_of_asyncio(args[1]):
            owner.adopt(belongings.OwnedHandle(handle))
        return handle

    return wrapper


def _is_of_asyncio(callback: Any) -> bool:
    module = getattr(callback, "__module__", None) or ""
    return module.startswith(("asyncio", "_asyncio"))


def _popen_init(init: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        owner = find_owner()
        if owner is not None:
            owner.adopt(belongings.OwnedProcess(self))

    return wrapper


def _process_start(start: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any) -> None:
        start(self)
        owner = find_owner()
        # The workers of a pool belong to the pool, which would replace them.
        if owner is not None and "Pool" not in self.name:
            owner.adopt(belongings.OwnedProcess(self))

    return wrapper


def _pool_init(init: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        owner = find_owner()
        init(self, *args, **kwargs)
        if owner is not None:
            owner.adopt(OwnedPool(self))

    return wrapper


def _executor_init(init: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        owner = find_owner()
        # A loop's default executor is the loop's, whoever needed it first.
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


POINTS: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("threading", "Thread.start", _thread_start),
    ("_thread", "start_new_thread", _raw_start),
    ("asyncio", "BaseEventLoop.create_task", _create_task),
    ("asyncio", "BaseEventLoop.call_at", _call_at),
    ("subprocess", "Popen.__init__", _popen_init),
    ("multiprocessing.process", "BaseProcess.start", _process_start),
    ("multiprocessing.pool", "Pool.__init__", _pool_init),
    ("concurrent.futures.thread", "ThreadPoolExecutor.__init__", _executor_init),
    ("concurrent.futures.process", "ProcessPoolExecutor.__init__", _executor_init),
    ("concurrent.futures.thread", "ThreadPoolExecutor.submit", _submit),
    ("concurrent.futures.process", "ProcessPoolExecutor.submit", _submit),
    ("atexit", "register", registrations.atexit_register),
    ("logging", "Logger.addHandler", registrations.add_handler),
    ("signal", "signal", registrations.set_signal),
)
"""Module, path in it, and the maker of the wrapper."""
