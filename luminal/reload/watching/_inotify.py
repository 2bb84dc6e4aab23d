"""File events of the Linux kernel: one watch for each directory, none for files.

Paths are reported as the watched tree names them, also behind links. Directories are
never listed here. See inotify(7).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
from typing import TYPE_CHECKING

import attrs
from inotify_simple import INotify, parse_events  # type: ignore[import-untyped]

from luminal.reload.watching._ignore import GIT_LOCKS
from luminal.reload.watching._snapshot import links_on_the_way
from luminal.reload.watching._source import FileEvent, add

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["InotifySource"]

MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF = 0x400, 0x800
UNMOUNT, OVERFLOW, IGNORED, ISDIR = 0x2000, 0x4000, 0x8000, 0x40000000
ONLYDIR, MASK_ADD = 0x01000000, 0x20000000

_NAMES = MOVED_FROM | MOVED_TO | CREATE | DELETE
_APPEARED, _WENT = MOVED_TO | CREATE, MOVED_FROM | DELETE
_SELF = DELETE_SELF | MOVE_SELF
_LINK = _NAMES | MODIFY | CLOSE_WRITE | _SELF
_TREE = _LINK | ATTRIB

# One read takes so many bytes; an event has 16 and its name. Small enough for the
# allocator not to ask the system for it each time.
_CHUNK = 65_536

# The links on the way to a path are read until they are the same twice, so often.
_ATTEMPTS = 5


@attrs.define
class _Watch:
    """What the watch of one directory is for."""

    # The paths of this directory in the tree; links may give it several.
    folders: set[str] = attrs.field(factory=set)
    # Name in this directory → the tree's paths that depend on what it leads to. The
    # empty name has those that depend on this directory alone.
    pivots: dict[str, set[str]] = attrs.field(factory=dict)
    # Its path where it is a git directory.
    git: str | None = None

    @property
    def is_idle(self) -> bool:
        return not (self.folders or self.pivots or self.git)


class InotifySource:
    """Reports the events of inotify."""

    reports_locks = True

    def __init__(self) -> None:
        self._kernel = INotify(nonblocking=True)
        self._fd: int = self._kernel.fileno()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._inputs = [self._fd, self._wakeup]
        # A mount over a watched directory hides it without an event of inotify. But
        # the kernel reports when the table of mounts changes, see proc(5).
        self._mounts: int | None = None
        with contextlib.suppress(OSError):  # some sandboxes have no /proc
            self._mounts = os.open("/proc/self/mounts", os.O_RDONLY | os.O_CLOEXEC)
        self._has_mounted = False
        self._watches: dict[int, _Watch] = {}
        self._folders: dict[str, int] = {}
        self._links: dict[str, list[tuple[int, str]]] = {}
        # Directories around these that need no further watch; until one is moved.
        self._around: dict[str, int] = {}
        self._full = False
        # `wake` must not write into a descriptor that was closed and is used anew.
        self._closing = threading.Lock()

    @property
    def polling_reason(self) -> str | None:
        """Set when the limit of watches was reached."""
        if not self._full:
            return None
        return "the limit of watches is reached (fs.inotify.max_user_watches)"

    def add_folder(self, folder: str) -> None:
        """Watch *folder*; nothing is done where it was deleted or cannot be read.

        A watch from before that reports when it can be read again.
        """
        wd = self._add(folder, _TREE)
        if wd is None:
            return
        if self._folders.get(folder, wd) != wd:
            self.remove_folder(folder)
        self._folders[folder] = wd
        self._watches[wd].folders.add(folder)

    def remove_folder(self, folder: str) -> None:
        """Stop watching *folder* under this path."""
        wd = self._folders.pop(folder, None)
        if wd is not None and wd in self._watches:
            self._watches[wd].folders.discard(folder)
            self._drop_idle(wd)

    def add_link(self, path: str) -> None:
        """Watch the directory of each link on the way to *path*, and its end.

        Of the directories above these it is watched whether they are moved.
        """
        way: list[tuple[str, str]] = []
        # A link may change before its directory is watched, so it is read again.
        for _ in range(_ATTEMPTS):
            before, way = way, links_on_the_way(path)
            if way == before:
                return
            self.remove_link(path)
            pairs = self._links[path] = []
            # A real directory has a watch; its parent may be as busy as /tmp.
            is_plain = not os.path.islink(path) and os.path.isdir(path)
            wanted = [(*pair, _LINK) for pair in (way[:-1] if is_plain else way)]
            wanted += [(folder, "", _SELF) for folder in _directories_around(way)]
            for folder, name, mask in wanted:
                wd = self._around.get(folder) if mask == _SELF else None
                wd = self._add(folder, mask) if wd is None else wd
                if wd is not None:
                    self._around[folder] = wd
                    self._watches[wd].pivots.setdefault(name, set()).add(path)
                    pairs.append((wd, name))

    def remove_link(self, path: str) -> None:
        """Forget what *path* leads to."""
        for wd, name in self._links.pop(path, ()):
            watch = self._watches.get(wd)
            if watch is not None:
                paths = watch.pivots.get(name, set())
                paths.discard(path)
                if not paths:
                    watch.pivots.pop(name, None)
                self._drop_idle(wd)

    def add_git_directory(self, git_directory: str) -> None:
        """Watch the names in *git_directory*."""
        wd = self._add(git_directory, _NAMES)
        if wd is not None:
            self._watches[wd].git = git_directory

    def wait(self, timeout: float) -> bool:
        """Sleep until the kernel has events, `wake` is called or *timeout* is over."""
        ready = self._ready(max(0.0, timeout))
        if self._wakeup in ready:
            os.eventfd_read(self._wakeup)
        self._has_mounted = self._mounts in ready
        return self._has_mounted or self._fd in ready

    def _ready(self, timeout: float) -> set[int]:
        """Return the descriptors that have something, after *timeout* at the latest."""
        urgent = [] if self._mounts is None else [self._mounts]
        try:
            found = select.select(self._inputs, [], urgent, timeout)
        except ValueError:  # a descriptor above FD_SETSIZE
            poll = select.poll()  # it counts whole milliseconds, and rounds up
            for fd in self._inputs:
                poll.register(fd, select.POLLIN)
            for fd in urgent:
                poll.register(fd, select.POLLPRI)
            return {fd for fd, _ in poll.poll(timeout * 1000)}
        return {fd for each in found for fd in each}

    def read(self) -> dict[str, FileEvent]:
        """Empty the kernel's queue."""
        events: dict[str, FileEvent] = (
            {"mounts": FileEvent.MOUNTED} if self._has_mounted else {}
        )
        while True:
            try:
                data = os.read(self._fd, _CHUNK)
            except BlockingIOError:
                return events
            self._translate(parse_events(data), events)
            # A shorter answer means that the queue is empty: one system call, and one
            # release of the GIL, less. A name has at most 255 bytes.
            if len(data) < _CHUNK - 512:
                return events

    def wake(self) -> None:
        """Make `wait` return."""
        with self._closing:
            if not self._kernel.closed:
                os.eventfd_write(self._wakeup, 1)

    def close(self) -> None:
        """Close the descriptors; the kernel drops the watches."""
        with self._closing:
            if not self._kernel.closed:
                self._kernel.close()
                os.close(self._wakeup)
                if self._mounts is not None:
                    os.close(self._mounts)

    def _add(self, folder: str, mask: int) -> int | None:
        try:
            wd: int = self._kernel.add_watch(folder, mask | ONLYDIR | MASK_ADD)
        except OSError as problem:
            # ENOMEM and EMFILE do not happen here. After any other error the next
            # listing of the directory says why it cannot be watched.
            if problem.errno == errno.ENOSPC:
                self._full = True
            return None
        self._watches.setdefault(wd, _Watch())
        return wd

    def _drop_idle(self, wd: int) -> None:
        if self._watches[wd].is_idle:
            del self._watches[wd]
            self._around.clear()
            try:
                self._kernel.rm_watch(wd)
            except OSError:
                return  # the directory was deleted, and its watch with it

    def _translate(
        self, kernel: Iterable[tuple[int, int, int, str]], events: dict[str, FileEvent]
    ) -> None:
        for wd, mask, _, name in kernel:
            if mask & OVERFLOW:
                add(events, "", FileEvent.LOST)
                continue
            watch = self._watches.get(wd)
            if watch is None:
                continue
            if mask & IGNORED:
                self._forget(wd)
            elif not name:  # of the directory itself
                what = FileEvent.TOUCHED if mask & ATTRIB else FileEvent.RELIST
                for folder in watch.folders:
                    add(events, folder, what)
                if not mask & ATTRIB:  # what links lead to goes with it
                    self._around.clear()
                    for path in set().union(*watch.pivots.values()):
                        add(events, path, FileEvent.RELINKED)
            elif watch.git and name in GIT_LOCKS:
                lock = os.path.join(watch.git, name)
                add(
                    events,
                    lock,
                    FileEvent.LOCKED if mask & _APPEARED else FileEvent.UNLOCKED,
                )
            else:
                what = _event_of(mask)
                for folder in watch.folders:
                    add(events, f"{folder}{os.sep}{name}", what)
                for path in watch.pivots.get(name, ()):
                    add(events, path, FileEvent.RELINKED if mask & _NAMES else what)

    def _forget(self, wd: int) -> None:
        watch = self._watches.pop(wd)
        self._around.clear()
        for folder in watch.folders:
            if self._folders.get(folder) == wd:
                del self._folders[folder]


def _directories_around(way: Iterable[tuple[str, str]]) -> set[str]:
    """Return the directories of a *way* and all that they are in."""
    found: set[str] = set()
    for here, _ in way:
        folder = here
        while folder not in found and folder != os.sep:
            found.add(folder)
            folder = os.path.dirname(folder)
    return found


def _event_of(mask: int) -> FileEvent:
    if mask & ATTRIB:
        return FileEvent.TOUCHED
    if mask & ISDIR:
        return FileEvent.RELIST
    if mask & (CLOSE_WRITE | MOVED_TO):
        return FileEvent.WRITTEN
    if mask & _WENT:
        return FileEvent.GONE
    return FileEvent.CREATED if mask & CREATE else FileEvent.WRITING
