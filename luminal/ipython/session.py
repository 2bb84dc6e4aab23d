"""The host beside a shell: a Loader, and where its coroutines run.

In come orders, one at a time, from the shell's thread; out come what they return. It
needs no IPython.
"""

from __future__ import annotations

import atexit
import os
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from luminal.discovery import discover, discover_file
from luminal.managers.loader import Loader
from luminal.model import Event, EventKind, Report
from luminal.reload import LoopRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from luminal.lifecycle import Handler
    from luminal.model import Candidate

__all__ = ["IS_NEWS", "Session"]

T = TypeVar("T")

IS_NEWS = {
    EventKind.DISCOVERED: False,
    EventKind.LOADED: False,
    EventKind.SKIPPED: False,
    EventKind.REJECTED: True,
    EventKind.STARTED: True,
    EventKind.FAILED: True,
    EventKind.STAGED: False,
    EventKind.SWAPPED: True,
    EventKind.DRAINED: False,
    EventKind.CONFIRMED: True,
    EventKind.ROLLED_BACK: True,
    EventKind.FINALIZED: False,
    EventKind.ORPHANED: True,
    EventKind.RETIRED: False,
    EventKind.UNLOADED: True,
    EventKind.SIDE_EFFECT: True,
    EventKind.LEAKED: True,
}
"""What is told below the next cell, and what goes without saying."""


class Session:
    """One host, for as long as the shell lives.

    Attributes:
        loader: Its Loader.
    """

    def __init__(self) -> None:
        self.loader = Loader()
        self._runner = LoopRunner()
        # Filled by any thread, emptied by the shell's.
        self._news: deque[Event] = deque(maxlen=100)
        self._is_used = False
        self.loader.events.subscribe(self._hear)
        atexit.register(self.close)

    def _hear(self, event: Event) -> None:
        if IS_NEWS.get(event.kind):
            self._news.append(event)

    def news(self) -> list[Event]:
        """Return what has happened since the last time, apart from orders."""
        news = []
        while self._news:
            news.append(self._news.popleft())
        return news

    def find(self, paths: Sequence[str]) -> list[Candidate]:
        """Return the photons of files and directories; nothing is imported."""
        found: list[Candidate] = []
        for path in map(os.path.expanduser, paths):
            if os.path.isfile(path):
                found += discover_file(path)
            else:
                found += discover(path, group=None)
        return found

    def load(self, paths: Sequence[str]) -> Report:
        """Load and start what is at *paths*.

        Returns:
            What became of each photon; a failure keeps no other from running.
        """
        loaded = {handler.filepath for handler in self.loader.photons.values()}
        found = [c for c in self.find(paths) if c.location not in loaded]
        return self._do(lambda: self._load(found))

    async def _load(self, found: Sequence[Candidate]) -> Report:
        from luminal.managers.loader import start_all

        report = await self.loader.load(found)
        photons = self.loader.photons
        started = await start_all([photons[each.photon] for each in report.loaded])
        return report.followed_by(started)

    def reload(self, names: Sequence[str]) -> list[Handler]:
        """Reload photons by name or file; all of them where there are no names.

        Raises:
            LuminalError: New generations were refused, and why.
        """
        wanted = [*(names or self.loader.photons)]
        return self._do(lambda: self.loader.reload_photons(wanted))

    def unload(self, names: Sequence[str]) -> list[str]:
        """Stop and forget photons; all of them where there are no names."""
        wanted = [*(names or self.loader.photons)]
        return self._do(lambda: self.loader.unload_photons(wanted))

    def watch(self, directory: str) -> Report:
        """Load and start what is in *directory*, and keep it as it is there."""
        report = self.load([directory])
        path = os.path.expanduser(directory)
        self._do(lambda: self.loader.watch_photons(path))
        return report

    def stop_watching(self) -> None:
        """End the watch, and unload what has appeared since it began."""
        self._do(self.loader.stop_watching_photons)

    def close(self) -> None:
        """Unload everything; twice does no harm."""
        atexit.unregister(self.close)
        if not self._is_used:
            return
        try:
            self._runner.run(self.loader.close)
        finally:
            self._runner.close()

    def _do(self, order: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Carry *order* out; what happens meanwhile is no news to who gave it."""
        self._is_used = True
        before = list(self._news)
        try:
            answer: T = self._runner.run(order)
        finally:
            self._news.clear()
            self._news.extend(before)
        return answer
