"""A source without any news: everything is left to the sweeps.

For file systems and systems that send no events, and for hosts that ask for it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luminal.reload.watching.source import News

__all__ = ["PollingSource"]


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
