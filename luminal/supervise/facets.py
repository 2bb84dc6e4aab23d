"""The facets of the interpreter's shared state, and how each is read and put back.

Each facet is read into a plain value that can be compared; where a public way exists,
it can be put back. Reading imports nothing, calls nothing of a photon's, and costs a
few microseconds.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import attrs

from luminal.supervise.hurry import set_usual_interval, usual_interval

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FACETS", "Facet"]


@attrs.frozen
class Facet:
    """One kind of shared state.

    Attributes:
        name: Its name, as in a policy.
        read: Returns its present value: a mapping or a sequence of hashable items,
            compared by identity or equality, or a plain value.
        restore: Puts an earlier value back; None where there is no public way.
        has_ends: What is in it ends by itself, so that only what has come counts.
    """

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], None] | None = None
    has_ends: bool = False


# Children are looked for among so many threads.
_MOST_THREADS = 64


def _module(name: str) -> Any:
    return sys.modules.get(name)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (ChildProcessError, AttributeError):
        return False
    return True


def _children() -> tuple[str, ...]:
    # Most hosts have none, and to ask costs less than to open one file.
    if not _has_children():
        return ()
    threads = list(threading._active.values())[:_MOST_THREADS]  # type: ignore[attr-defined]  # noqa: SLF001
    return tuple(pid for thread in threads for pid in _children_of(thread.native_id))


def _children_of(thread: int) -> list[str]:
    """Return those that *thread* has started, and the orphans of those that ended."""
    # By descriptor: a file object would cost as much again as the system does.
    try:
        file = os.open(f"/proc/self/task/{thread}/children", os.O_RDONLY)
    except OSError:
        return []
    try:
        return os.read(file, 65536).decode().split()
    except OSError:
        return []  # the thread has ended meanwhile
    finally:
        os.close(file)


def _descriptors() -> tuple[str, ...]:
    try:
        return tuple(os.listdir("/proc/self/fd"))
    except OSError:
        return ()


# By name. Not the real-time signals: few use them, and they cost as much again.
_SIGNALS = {
    one.name: int(one)
    for one in signal.Signals
    if one not in {signal.SIGKILL, signal.SIGSTOP}
    and one.name not in {"SIGRTMIN", "SIGRTMAX"}
}
# What `signal.getsignal` calls before it makes enumerations of numbers, which is most
# of what it costs.
_handler_of: Callable[[int], Any] = vars(signal)["_signal"].getsignal


def _signals() -> dict[str, Any]:
    return dict(zip(_SIGNALS, map(_handler_of, _SIGNALS.values()), strict=True))


def _restore_signals(before: dict[str, Any]) -> None:
    for name, handler in before.items():
        number = _SIGNALS[name]
        if _handler_of(number) is not handler and handler is not None:
            signal.signal(number, handler)


def _log_handlers() -> tuple[Any, ...]:
    logging = _module("logging")
    if logging is None:
        return ()
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    return tuple(
        (logger.name, handler)
        for logger in loggers
        for handler in getattr(logger, "handlers", ())
    )


def _restore_log_handlers(before: tuple[Any, ...]) -> None:
    logging = _module("logging")
    for name in {name for name, _ in (*before, *_log_handlers())}:
        logger = logging.getLogger(name if name != "root" else None)
        handlers = [handler for whose, handler in before if whose == name]
        if logger.handlers != handlers:
            logger.handlers[:] = handlers


def _tasks() -> tuple[Any, ...]:
    asyncio = _module("asyncio.tasks")
    if asyncio is None:
        return ()
    # Names only: the set of all tasks is walked without touching any of them.
    known = getattr(asyncio, "_scheduled_tasks", getattr(asyncio, "_all_tasks", None))
    return tuple(id(ref()) for ref in list(getattr(known, "data", ())))


def _list_of(holder: str, attribute: str) -> Facet:
    """Return the facet of a list that is restored in place."""

    def read() -> tuple[Any, ...]:
        return tuple(getattr(_module(holder), attribute, ()))

    def restore(before: tuple[Any, ...]) -> None:
        getattr(_module(holder), attribute)[:] = before

    return Facet(f"{holder}.{attribute}", read, restore)


def _value_of(holder: str, attribute: str) -> Facet:
    """Return the facet of one attribute."""

    def read() -> Any:
        return getattr(_module(holder), attribute, None)

    def restore(before: Any) -> None:
        setattr(_module(holder), attribute, before)

    return Facet(f"{holder}.{attribute}", read, restore)


def _table_of(holder: str, attribute: str) -> Facet:
    """Return the facet of a dictionary that is restored in place."""

    def read() -> dict[Any, Any]:
        return dict(getattr(_module(holder), attribute, None) or {})

    def restore(before: dict[Any, Any]) -> None:
        table = getattr(_module(holder), attribute)
        for key in [key for key in table if key not in before]:
            del table[key]
        table.update(before)

    return Facet(f"{holder}.{attribute}", read, restore)


def _restore_environ(before: dict[Any, Any]) -> None:
    table = os.environ._data  # type: ignore[attr-defined]  # noqa: SLF001
    for key in set(table) - set(before):
        os.unsetenv(key)
    for key, value in before.items():
        if table.get(key) != value:
            os.putenv(key, value)
    table.clear()
    table.update(before)


def _environ() -> dict[Any, Any]:
    return dict(os.environ._data)  # type: ignore[attr-defined]  # noqa: SLF001


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # it has been removed; there is no way back, either


def _exit_functions() -> Any:
    import atexit

    return atexit._ncallbacks()  # noqa: SLF001


FACETS: tuple[Facet, ...] = (
    Facet(
        "threads",
        lambda: tuple(threading._active),  # type: ignore[attr-defined]  # noqa: SLF001
        has_ends=True,
    ),
    Facet("tasks", _tasks, has_ends=True),
    Facet("children", _children, has_ends=True),
    Facet("descriptors", _descriptors, has_ends=True),
    Facet("signals", _signals, _restore_signals),
    Facet("atexit", _exit_functions),
    Facet("logging.handlers", _log_handlers, _restore_log_handlers),
    _list_of("sys", "meta_path"),
    _list_of("sys", "path"),
    _list_of("sys", "path_hooks"),
    _list_of("warnings", "filters"),
    _value_of("warnings", "showwarning"),
    Facet("os.environ", _environ, _restore_environ),
    Facet("cwd", _directory, os.chdir),
    _table_of("copyreg", "dispatch_table"),
    _value_of("sys", "excepthook"),
    _value_of("sys", "unraisablehook"),
    _value_of("sys", "displayhook"),
    _value_of("threading", "excepthook"),
    _value_of("sys", "stdout"),
    _value_of("sys", "stderr"),
    _list_of("gc", "callbacks"),
    Facet("gc.enabled", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    Facet("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Facet("switch interval", usual_interval, set_usual_interval),
    _table_of("builtins", "__dict__"),
)
"""In the order in which they are compared, and restored in reverse."""
