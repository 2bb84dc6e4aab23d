"""Find what photons left behind: compare the process with an earlier snapshot of it.

Only looks: no code of a photon is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import LuminalWarning
from luminal.loading import describe_position
from luminal.supervise import Footprint

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from types import FrameType

    from luminal.managers import Loader

__all__ = ["THREAD_NAME", "Leak", "LeakCheck"]

THREAD_NAME = "luminal-testing"
"""Name of every thread that `luminal.testing` starts for itself."""

_INTERPRETER_STATE = (
    "sys.meta_path",
    "sys.path_hooks",
    "sys.path",
    "signals",
    "cwd",
)
# Threads that serve the whole process and outlive every host.
_THREADS_OF_OURS = frozenset({THREAD_NAME, "luminal-reaper", "luminal-leaks"})
_PROC = "/proc/self"


@attrs.frozen
class Leak:
    """Something that exists after the host's photons were unloaded.

    Attributes:
        kind: ``thread``, ``task``, ``hook``, ``module``, ``child``, ``descriptor``, or
            a part of the interpreter's state such as ``sys.meta_path``.
        name: Name of the thing.
        where: The file and line that it is at, or its path; empty if unknown.
    """

    kind: str
    name: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" {self.where}" if self.where else "")


class LeakCheck:
    """Compares the process with a snapshot from before the first photon was loaded.

    Args:
        loader: The host's Loader.
        directory: The directory of photons' files.
        other_files: Returns the paths of photons' files outside of *directory*.
        owns_loop: Whether every task on the running loop counts; else only tasks that
            run a file of *directory*.
    """

    def __init__(
        self,
        loader: Loader,
        directory: str,
        other_files: Callable[[], Collection[str]],
        *,
        owns_loop: bool,
    ) -> None:
        self._loader = loader
        self._directory = directory
        self._other_files = other_files
        self._owns_loop = owns_loop
        self._before: _Snapshot | None = None

    def begin(self) -> None:
        """Take the first snapshot. Further calls do nothing."""
        if self._before is None:
            self._before = self._now()

    def leaks(self) -> list[Leak]:
        """Return what exists now and did not in the first snapshot."""
        return self._now().since(self._before) if self._before is not None else []

    def _now(self) -> _Snapshot:
        tasks = {
            task: Leak("task", repr(task.get_name()), _place_of_task(task))
            for task in asyncio.all_tasks()
            if task is not asyncio.current_task() and self._counts(task)
        }
        hooks = {
            (name, id(plugin)): Leak("hook", f"implementations of {name!r}")
            for name, plugin in self._loader.plugins.list_name_plugin()
            if plugin is not None
        }
        places = {self._directory, *self._other_files()}
        tables = {
            "thread": dict(_threads()),
            "task": tasks,
            "hook": hooks,
            "module": dict(_modules(places)),
            "child": dict(_children()),
            "descriptor": dict(_descriptors()),
        }
        return _Snapshot(tables, Footprint.take())

    def _counts(self, task: Task[Any]) -> bool:
        """Whether *task* may be a photon's."""
        code = getattr(task.get_coro(), "cr_code", None)
        file = code.co_filename if code is not None else ""
        return self._owns_loop or file.startswith(self._directory)


@attrs.frozen(repr=False)
class _Snapshot:
    """Everything that could leak, at one moment.

    Attributes:
        tables: Kind → identity → the leak that it would be.
        state: The interpreter's shared state.
    """

    tables: Mapping[str, Mapping[Any, Leak]]
    state: Footprint

    def since(self, before: _Snapshot) -> list[Leak]:
        """Return what is in this snapshot and not in *before*."""
        leaks = [
            leak
            for kind, table in self.tables.items()
            for key, leak in table.items()
            if key not in before.tables[kind]
        ]
        for change in self.state.since(before.state):
            if change.facet in _INTERPRETER_STATE:
                changes = [f"+{text}" for text in change.added]
                changes += [f"-{text}" for text in change.removed]
                leaks.append(Leak(change.facet, ", ".join(changes)))
        return leaks


def _threads() -> Iterator[tuple[Any, Leak]]:
    """Yield all threads but the current one and those that serve the whole process."""
    known = {thread.ident: thread for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented
        thread = known.get(ident)
        name = thread.name if thread is not None else f"number {ident}"
        # A loop's own executor belongs to the loop, which is not the host's.
        is_pool = name.startswith("asyncio_")
        if ident == threading.get_ident() or name in _THREADS_OF_OURS or is_pool:
            continue
        yield (
            thread or ident,
            Leak("thread", repr(name), describe_position(list(_stack(frame)))),
        )


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place_of_task(task: Task[Any]) -> str:
    stack = task.get_stack(limit=1)
    return describe_position(stack) if stack else ""


def _modules(places: Collection[str]) -> Iterator[tuple[Any, Leak]]:
    """Yield the modules whose files are at or below *places*."""
    for name, module in list(sys.modules.items()):
        with contextlib.suppress(Exception):  # any object can be in `sys.modules`
            own = object.__getattribute__(module, "__dict__")
            files = [own.get("__file__"), *list(own.get("__path__") or ())]
            where = next((f for f in files if f and _is_in(str(f), places)), None)
            if where is not None or type(module).__name__ == "ModuleProxy":
                yield (name, id(module)), Leak("module", repr(name), str(where or ""))


def _is_in(file: str, places: Iterable[str]) -> bool:
    return any(file == place or file.startswith(place + os.sep) for place in places)


def _children() -> Iterator[tuple[Any, Leak]]:
    """Yield the child processes."""
    if os.path.isdir(_PROC):
        for number in os.listdir(f"{_PROC}/task"):
            for child in _read(f"{_PROC}/task/{number}/children").split():
                command = _read(f"/proc/{child}/cmdline").replace("\0", " ").strip()
                yield child, _child(child, command)
    elif (process := _process()) is not None:
        for each in process.children():
            with contextlib.suppress(Exception):  # it has ended
                yield each.pid, _child(each.pid, " ".join(each.cmdline()))


def _child(pid: object, command: str) -> Leak:
    return Leak("child", f"process {pid}", command or "(has ended)")


def _descriptors() -> Iterator[tuple[Any, Leak]]:
    """Yield the open files and sockets; on Linux pipes and other descriptors too."""
    if os.path.isdir(_PROC):
        for number in os.listdir(f"{_PROC}/fd"):
            # The one that listed the directory is closed by now.
            with contextlib.suppress(OSError):
                target = os.readlink(f"{_PROC}/fd/{number}")
                if "/libffi.so" in target:
                    continue  # which ctypes opens once for the whole process
                yield (number, target), Leak("descriptor", number, target)
    elif (process := _process()) is not None:
        for file in process.open_files():
            yield (file.fd, file.path), Leak("descriptor", str(file.fd), file.path)
        for socket in process.net_connections("all"):
            name = f"socket {socket.laddr or ''}"
            yield (socket.fd, name), Leak("descriptor", str(socket.fd), name)


def _process() -> Any | None:
    """Return psutil's view of this process, or warn that it is not installed."""
    try:
        import psutil  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        warnings.warn(
            "child processes and open files are not checked for leaks: "
            "this system has no /proc; pip install psutil",
            LuminalWarning,
            stacklevel=2,
        )
        return None
    return psutil.Process()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:  # it has ended
        return ""
