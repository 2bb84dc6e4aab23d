"""The interpreter's shared state: what changed between two moments, and how to undo it.

The state has facets, such as ``os.environ``, ``sys.path`` and signal handlers. A
`Footprint` reads all of them into plain values. Two footprints are compared, and the
differences can be put back where Python has a public way. Reading imports nothing,
calls no code of a photon, and takes a fraction of a millisecond, so every load, swap
and unload can have two footprints.
"""

from __future__ import annotations

import enum
import gc
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

__all__ = [
    "FACETS",
    "Change",
    "Facet",
    "Footprint",
    "Policy",
]


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
SIGNALS = {
    one.name: int(one)
    for one in signal.Signals
    if one not in {signal.SIGKILL, signal.SIGSTOP}
    and one.name not in {"SIGRTMIN", "SIGRTMAX"}
}
# What `signal.getsignal` calls before it makes enumerations of numbers, which is most
# of what it costs.
handler_of: Callable[[int], Any] = vars(signal)["_signal"].getsignal


def _signals() -> dict[str, Any]:
    return dict(zip(SIGNALS, map(handler_of, SIGNALS.values()), strict=True))


def _restore_signals(before: dict[str, Any]) -> None:
    for name, handler in before.items():
        number = SIGNALS[name]
        if handler_of(number) is not handler and handler is not None:
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
    Facet("switch interval", sys.getswitchinterval, sys.setswitchinterval),
    _table_of("builtins", "__dict__"),
)
"""In the order in which they are compared, and restored in reverse."""


class Policy(enum.StrEnum):
    """What is done about a change of one facet."""

    ALLOW = "allow"
    WARN = "warn"
    RESTORE = "restore"
    REFUSE = "refuse"


@attrs.frozen
class Change:
    """One facet that is not as it was.

    Attributes:
        facet: Its name, see `luminal.supervise.FACETS`.
        added: What is there now and was not, as text.
        removed: What was there and is not, as text.
        can_restore: Whether there is a way to put it back.
        is_restored: Whether that has been done.
    """

    facet: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    can_restore: bool = False
    is_restored: bool = False

    def __str__(self) -> str:
        words = [*(f"+{text}" for text in self.added)]
        words += [f"-{text}" for text in self.removed]
        return f"{self.facet}: {', '.join(words)}"


@attrs.frozen(repr=False)
class Footprint:
    """The facets' values at one moment."""

    _values: tuple[Any, ...]

    @classmethod
    def take(cls) -> Footprint:
        """Read every facet now."""
        return cls(tuple([facet.read() for facet in FACETS]))

    def since(self, before: Footprint) -> tuple[Change, ...]:
        """Return what changed from *before* to this."""
        changes = []
        for facet, old, new in zip(FACETS, before._values, self._values, strict=True):
            if old is new or old == new:
                continue
            if facet.has_ends:
                present = set(new)
                kept = tuple(item for item in old if item in present)
                if len(kept) < len(new):
                    changes.append(_change(facet, kept, new))
            else:
                changes.append(_change(facet, old, new))
        return tuple(changes)

    def restore(self, change: Change) -> Change:
        """Put the facet of *change* back to what it was at this moment."""
        for facet, value in zip(FACETS, self._values, strict=True):
            if facet.name == change.facet and facet.restore is not None:
                return _restored(facet, value, change)
        return change

    def undo(self, change: Change, before: Footprint) -> Change:
        """Take back what became of a facet between *before* and this moment.

        What others have added or removed since stays as it is.
        """
        moments = zip(FACETS, before._values, self._values, strict=True)
        for facet, old, new in moments:
            if facet.name != change.facet or facet.restore is None:
                continue
            present = facet.read()
            target = _without(present, old, new)
            if target is present:
                return attrs.evolve(change, is_restored=True)
            return _restored(facet, target, change)
        return change

    def without(
        self, before: Footprint, after: Footprint, facets: AbstractSet[str]
    ) -> Footprint:
        """Return this moment as if *facets* had not changed from *before* to *after*.

        So that what rests on a change that has been taken back does not revive it.
        """
        moments = zip(FACETS, self._values, before._values, after._values, strict=True)
        return Footprint(
            tuple(
                _without(mine, old, new) if facet.name in facets else mine
                for facet, mine, old, new in moments
            )
        )

    def __repr__(self) -> str:
        return f"<Footprint facets={len(self._values)}>"


def _restored(facet: Facet, value: Any, change: Change) -> Change:
    if facet.restore is None:
        return change
    try:
        facet.restore(value)
    except (OSError, ValueError):
        return change  # a signal, away from the main thread; a lost directory
    return attrs.evolve(change, is_restored=True)


def _change(facet: Facet, old: Any, new: Any) -> Change:
    added, removed = _difference(old, new)
    return Change(facet.name, added, removed, facet.restore is not None)


def _difference(old: Any, new: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if isinstance(old, dict):
        keys = [k for k in {**old, **new} if old.get(k, ...) is not new.get(k, ...)]
        changed = [k for k in keys if old.get(k, ...) != new.get(k, ...)]
        return (
            tuple(_text(k) for k in changed if k in new),
            tuple(_text(k) for k in changed if k in old),
        )
    if isinstance(old, tuple):
        added = tuple(_text(item) for item in new if item not in old)
        removed = tuple(_text(item) for item in old if item not in new)
        # Else it is their order, or how often one of them is there.
        return (added, removed) if added or removed else ((_text(new),), (_text(old),))
    return (_text(new),), (_text(old),)


def _without(present: Any, old: Any, new: Any) -> Any:
    """Return *present* without what leads from *old* to *new*."""
    if isinstance(new, dict):
        target = dict(present)
        for key in {**old, **new}:
            was, became = old.get(key, ...), new.get(key, ...)
            if was is became or present.get(key, ...) is not became:
                continue
            if was is ...:
                target.pop(key, None)
            else:
                target[key] = was
        return target
    if isinstance(new, tuple):
        return old if present == new else _merged(present, old, new)
    return old if present is new or present == new else present


def _merged(
    present: tuple[Any, ...], old: tuple[Any, ...], new: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Return *present* with what was lost, after what stood before it."""
    merged = [one for one in present if one in old or one not in new]
    for index, one in enumerate(old):
        if one not in new and one not in present:
            ahead = [merged.index(o) + 1 for o in old[:index] if o in merged]
            merged.insert(max(ahead, default=0), one)
    return tuple(merged)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    name = getattr(value, "__qualname__", None)
    try:
        return f"{value.__module__}.{name}" if name else repr(value)[:120]
    except Exception:  # noqa: BLE001 - a photon's own object
        return f"<{type(value).__qualname__}>"
