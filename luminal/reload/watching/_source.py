"""Where news comes from: the interface that every back end answers.

A source tells names; whether something changed is for the snapshot to find out. It
must never lose news silently: what it cannot tell it reports as `News.LOST`.
"""

from __future__ import annotations

import enum
import threading
from typing import Protocol

__all__ = ["News", "PollingSource", "Source"]

# === reload.watching.source ===
# Where news comes from: the interface that every back end answers.
#
# A source tells names; whether something changed is for the snapshot to find out. It
# must never lose news silently: what it cannot tell it reports as `News.LOST`.


class News(enum.Enum):
    """What a source says of a path. The last news of a path counts, save two.

    RELIST and RELINKED outlive later news of the same path: they ask for more.
    """

    CREATED = "a file appeared, possibly still empty"
    WRITING = "a file was written and is still open"
    WRITTEN = "a file was closed after writing, or moved here"
    GONE = "a file was deleted or moved away"
    RELIST = "a directory appeared, went or moved: list it again"
    RELINKED = "a link on the way to the path leads elsewhere"
    LOCKED = "a lock appeared: the tree is being changed"
    UNLOCKED = "a lock went"
    MOUNTED = "file systems came or went: look whether the trees are the same"
    LOST = "news was lost: look at everything"


class Source(Protocol):
    """A back end. All but `wake` is called from one thread at a time.

    Attributes:
        tells_locks: Whether it says LOCKED and UNLOCKED; else they are looked at.
    """

    tells_locks: bool

    @property
    def blind(self) -> str | None:
        """Why the source misses changes and needs fast sweeps; None if it does not."""

    def enter(self, folder: str) -> None:
        """Tell news of *folder* from now on; called before it is listed."""

    def leave(self, folder: str) -> None:
        """Tell no more news of *folder*."""

    def link(self, path: str) -> None:
        """Tell `News.RELINKED` when what *path* leads to changes."""

    def unlink(self, path: str) -> None:
        """Take `link` back."""

    def guard(self, git_directory: str) -> None:
        """Tell of locks that come and go in *git_directory*."""

    def wait(self, timeout: float) -> bool:
        """Sleep; return whether news came within *timeout* seconds."""

    def read(self) -> dict[str, News]:
        """Return the news that came, in the order of arrival."""

    def wake(self) -> None:
        """Make `wait` return; may be called from any thread, and from a signal."""

    def close(self) -> None:
        """Give everything back to the system."""


def add(news: dict[str, News], path: str, what: News) -> None:
    """Put *what* at the end of *news*, unless *path* awaits something greater."""
    before = news.pop(path, None)
    lasting = before is News.RELIST or before is News.RELINKED
    news[path] = before if lasting and before is not None else what


# === reload.watching.polling ===
# A source without any news: everything is left to the sweeps.
#
# For file systems and systems that send no events, and for hosts that ask for it.


class PollingSource:
    """Sleeps, and says that it is blind."""

    tells_locks = False

    def __init__(self, why: str = "polling was asked for") -> None:
        self.blind: str | None = why
        self._bell = threading.Event()

    def enter(self, folder: str) -> None:
        """Nothing to do: sweeps look at every folder."""

    def leave(self, folder: str) -> None:
        """Nothing to do."""

    def link(self, path: str) -> None:
        """Nothing to do: sweeps follow links."""

    def unlink(self, path: str) -> None:
        """Nothing to do."""

    def guard(self, git_directory: str) -> None:
        """Nothing to do: locks are looked at while a batch is open."""

    def wait(self, timeout: float) -> bool:
        """Sleep for *timeout* seconds or until `wake`."""
        self._bell.wait(timeout)
        self._bell.clear()
        return False

    def read(self) -> dict[str, News]:
        """Return nothing."""
        return {}

    def wake(self) -> None:
        """End the sleep."""
        self._bell.set()

    def close(self) -> None:
        """Nothing to do."""
