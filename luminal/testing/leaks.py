"""What a host has left behind: compared with a moment before it loaded anything.

In come two moments, out come leaks, each by name and with the place in the code where
that is known. It only looks; nothing of a photon is called.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import attrs

from luminal.loading import describe_position
from luminal.supervise.footprint import Footprint
from luminal.testing.patience import THREAD_NAME

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from types import FrameType

    from luminal.hooks import PluginManager

__all__ = ["Leak", "Moment"]

_FACETS = ("sys.meta_path", "sys.path_hooks", "sys.path", "signals", "cwd")
_OURS = frozenset({THREAD_NAME, "luminal-reaper"})
"""Threads that serve the whole process and outlive every host."""


@attrs.frozen
class Leak:
    """Something that outlived the host's photons.

    Attributes:
        kind: ``thread``, ``task``, ``hook``, ``module``, ``child``, ``descriptor``, or
            a facet of the interpreter such as ``sys.meta_path``.
        name: Its own name.
        where: Where it stands, as far as that is known.
    """

    kind: str
    name: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" {self.where}" if self.where else "")


@attrs.frozen(repr=False)
class Moment:
    """All that could leak, as it was once.

    Tables of what is there, by something that tells one from another.
    """

    _tables: Mapping[str, Mapping[Any, Leak]]
    _footprint: Footprint

    @classmethod
    def now(
        cls, plugins: PluginManager, places: Collection[str], tasks: Iterable[Task[Any]]
    ) -> Moment:
        """Look at everything.

        Args:
            plugins: Where the host's hooks are.
            places: Files and directories that photons come from.
            tasks: The tasks to count.
        """
        tables = {
            "thread": dict(_threads()),
            "task": {task: Leak("task", *_of_task(task)) for task in tasks},
            "hook": {
                (name, id(plugin)): Leak("hook", f"implementations of {name!r}")
                for name, plugin in plugins.list_name_plugin()
                if plugin is not None
            },
            "module": dict(_modules(places)),
            "child": dict(_children()),
            "descriptor": dict(_descriptors()),
        }
        return cls(tables, Footprint.take())

    def since(self, before: Moment) -> list[Leak]:
        """Return what is here and was not there at the moment *before*."""
        leaks = [
            leak
            for kind, table in self._tables.items()
            for key, leak in table.items()
            if key not in before._tables[kind]
        ]
        for change in self._footprint.since(before._footprint):
            if change.facet in _FACETS:
                changes = [f"+{text}" for text in change.added]
                changes += [f"-{text}" for text in change.removed]
                leaks.append(Leak(change.facet, ", ".join(changes)))
        return leaks


def _threads() -> Iterator[tuple[Any, Leak]]:
    """Yield every thread but the asking one and those that serve everybody."""
    known = {thread.ident: thread for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented
        thread = known.get(ident)
        name = thread.name if thread is not None else f"number {ident}"
        # A loop's own executor belongs to the loop, which is not the host's.
        is_pool = name.startswith("asyncio_")
        if ident == threading.get_ident() or name in _OURS or is_pool:
            continue
        yield (
            thread or ident,
            Leak("thread", repr(name), describe_position(list(_stack(frame)))),
        )


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _of_task(task: Task[Any]) -> tuple[str, str]:
    stack = task.get_stack(limit=1)
    return repr(task.get_name()), describe_position(stack) if stack else ""


def _modules(places: Collection[str]) -> Iterator[tuple[Any, Leak]]:
    """Yield the modules that come from *places*."""
    for name, module in list(sys.modules.items()):
        with contextlib.suppress(Exception):  # anything may stand in `sys.modules`
            own = object.__getattribute__(module, "__dict__")
            files = [own.get("__file__"), *list(own.get("__path__") or ())]
            where = next((f for f in files if f and _is_in(str(f), places)), None)
            if where is not None or type(module).__name__ == "ModuleProxy":
                yield (name, id(module)), Leak("module", repr(name), str(where or ""))


def _is_in(file: str, places: Collection[str]) -> bool:
    return any(file == place or file.startswith(place + os.sep) for place in places)


def _children() -> Iterator[tuple[Any, Leak]]:
    """Yield the child processes, as far as the system tells."""
    tasks = "/proc/self/task"
    for number in _listed(tasks):
        for child in _read(f"{tasks}/{number}/children").split():
            command = _read(f"/proc/{child}/cmdline").replace("\0", " ").strip()
            yield child, Leak("child", f"process {child}", command or "(has ended)")


def _descriptors() -> Iterator[tuple[Any, Leak]]:
    """Yield the open files and sockets, as far as the system tells."""
    for number in _listed("/proc/self/fd"):
        # The one that listed the directory is gone by now.
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{number}")
            yield (number, target), Leak("descriptor", number, target)


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
