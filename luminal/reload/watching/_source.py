"""What a source of file events must provide, and the source that has no events.

A source reports names. Whether a file has changed is found out by `Snapshot`. A source
must never lose an event silently: it reports `FileEvent.LOST` instead.
"""

from __future__ import annotations

import enum
import os
import threading
from typing import Protocol

__all__ = ["FileEvent", "PollingSource", "Source", "add", "polling_of_environment"]

_VARIABLE = "LUMINAL_POLLING"
_TRUE, _FALSE = (
    ("1", "true", "t", "yes", "y", "on"),
    ("0", "false", "f", "no", "n", "off"),
)


def polling_of_environment() -> bool | None:
    """Return whether ``LUMINAL_POLLING`` asks for polling; None where it is not set.

    It takes what the command line's options take.

    Raises:
        ValueError: It is neither true nor false.
    """
    value = os.environ.get(_VARIABLE, "").strip().lower()
    if value and value not in (*_TRUE, *_FALSE):
        raise ValueError(f"{_VARIABLE} is {value!r}: set it to 1 or 0, or unset it")
    return value in _TRUE if value else None


class FileEvent(enum.Enum):
    """What a source reports of a path.

    Of several events of one path the last one counts, except that RELIST and RELINKED
    are kept, because they ask for more work than the others. TOUCHED replaces none.
    """

    CREATED = "a file appeared, possibly still empty"
    WRITING = "a file was written and is still open"
    WRITTEN = "a file was closed after writing, or moved here"
    TOUCHED = "permissions or times of a file or directory were changed"
    GONE = "a file was deleted or moved away"
    RELIST = "a directory was created, deleted or moved: list it again"
    RELINKED = "a link on the way to the path leads elsewhere"
    LOCKED = "a lock file was created: the tree is being changed"
    UNLOCKED = "a lock file was deleted"
    MOUNTED = "a file system was mounted or unmounted: check the watched trees"
    LOST = "events were lost: check everything"


class Source(Protocol):
    """Where file events come from. All but `wake` is called from one thread at a time.

    Attributes:
        reports_locks: Whether it reports LOCKED and UNLOCKED. Otherwise the watcher
            checks for locks by itself.
    """

    reports_locks: bool

    @property
    def polling_reason(self) -> str | None:
        """Why changes are missed, so that files are polled; None if none is missed."""

    def add_folder(self, folder: str) -> None:
        """Report events in *folder* from now on; called before it is listed."""

    def remove_folder(self, folder: str) -> None:
        """Report no more events in *folder*."""

    def add_link(self, path: str) -> None:
        """Report `FileEvent.RELINKED` when *path* leads to something else."""

    def remove_link(self, path: str) -> None:
        """Undo `add_link`."""

    def add_git_directory(self, git_directory: str) -> None:
        """Report lock files that are created and deleted in *git_directory*."""

    def wait(self, timeout: float) -> bool:
        """Sleep; return whether events came within *timeout* seconds."""

    def read(self) -> dict[str, FileEvent]:
        """Return path → event for the events that came, in the order of arrival."""

    def wake(self) -> None:
        """Make `wait` return; may be called from any thread, and from a signal."""

    def close(self) -> None:
        """Release descriptors and threads."""


def add(events: dict[str, FileEvent], path: str, event: FileEvent) -> None:
    """Put *event* at the end of *events*, or keep that of *path*; see `FileEvent`."""
    before = events.pop(path, None)
    is_kept = (
        event is FileEvent.TOUCHED
        or before is FileEvent.RELIST
        or before is FileEvent.RELINKED
    )
    events[path] = before if is_kept and before is not None else event


class PollingSource:
    """Has no events: all changes are found by looking at every file.

    For file systems and operating systems that send none, and for hosts that ask for
    it.

    Args:
        why: The reason, for `polling_reason`.
    """

    reports_locks = False

    def __init__(self, why: str = "polling was asked for") -> None:
        self.polling_reason: str | None = why
        self._wakeup = threading.Event()

    def add_folder(self, folder: str) -> None:
        """Nothing to do: every folder is looked at."""

    def remove_folder(self, folder: str) -> None:
        """Nothing to do."""

    def add_link(self, path: str) -> None:
        """Nothing to do: links are followed."""

    def remove_link(self, path: str) -> None:
        """Nothing to do."""

    def add_git_directory(self, git_directory: str) -> None:
        """Nothing to do: locks are checked while a batch is open."""

    def wait(self, timeout: float) -> bool:
        """Sleep for *timeout* seconds or until `wake`."""
        self._wakeup.wait(timeout)
        self._wakeup.clear()
        return False

    def read(self) -> dict[str, FileEvent]:
        """Return nothing."""
        return {}

    def wake(self) -> None:
        """End the sleep."""
        self._wakeup.set()

    def close(self) -> None:
        """Nothing to do."""
