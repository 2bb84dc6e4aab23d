"""Reload the photons whose table in the host's settings file was edited."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from luminal.errors import PhotonSettingsError
from luminal.model import Event, EventKind, Problem
from luminal.reload._file_poll import FilePoll, state_of
from luminal.reload._plan import Change

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from luminal.lifecycle import CrossLoopLock, SettingsFile
    from luminal.reload._reloader import Reloader

__all__ = ["SettingsWatch"]

_log = logging.getLogger("luminal.watch")

_INTERVAL = 0.25
"""Seconds between two looks at the file.

Whoever writes it has that long between two writes: a file that was only emptied so
far is valid TOML as well.
"""


class SettingsWatch:
    """Looks at a settings file, and reloads the photons whose tables have changed.

    Only those: the others keep running. Where the file is not valid TOML, or a table
    does not fit its photon, everything stays as it is and that is reported.

    Args:
        settings: The file.
        reloader: Replaces the photons.
        lock: Of the host; held while photons are reloaded.

    Attributes:
        is_paused: Whether changes are left for later.
    """

    def __init__(
        self, settings: SettingsFile, reloader: Reloader, lock: CrossLoopLock
    ) -> None:
        self.settings = settings
        self.is_paused = False
        self._reloader = reloader
        self._lock = lock
        self._seen = state_of(settings.file)
        # What the latest look found, if that is not applied yet.
        self._found: object = self._seen
        self._poll = FilePoll(
            self._look,
            name="luminal-settings",
            interval=_INTERVAL,
            failure="the settings could not be applied",
        )

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start looking, from a thread; again does nothing, but after a fork.

        Args:
            loop: The loop for the photons' coroutines, as long as it runs.
        """
        self._poll.start(loop)

    def stop(self) -> None:
        """Look no more; returns when a reload that is under way has ended."""
        self._poll.stop()

    def halt(self) -> None:
        """Cancel what is under way, and look no more."""
        self._poll.halt()

    def _look(self) -> None:
        """Apply what is in the file, once two looks have found it alike."""
        before, self._found = self._found, state_of(self.settings.file)
        if self.is_paused or self._found == self._seen or self._found != before:
            return
        self._seen = self._found
        try:
            changed = self.settings.read()
        except PhotonSettingsError as error:
            self._report(error)
            return
        if changed:
            self._poll.runner.run(lambda: self._apply(changed))

    def _report(self, error: PhotonSettingsError) -> None:
        error.consequence = "all photons keep their settings"
        _log.error("%s", error)
        event = Event(
            EventKind.REJECTED,
            "",
            file=self.settings.file,
            problem=Problem.of(error, "settings"),
        )
        self._reloader.runtime.events.emit(event)

    async def _apply(self, changed: Iterable[str]) -> None:
        registry = self._reloader.registry
        async with self._lock:
            found = [registry.get(name) for name in sorted(changed)]
            handlers = [h for h in found if h is not None and h.generation is not None]
            before = {handler.name: handler.number for handler in handlers}
            units = {h.generation.unit for h in handlers if h.generation is not None}
            done = await self._reloader.replace(Change(units), policy="component")
        await done.ensure_retired()
        place = os.path.basename(self.settings.file)
        for outcome in done.report:
            line = self.settings.line_of(outcome.photon)
            where = f"{place}:{line}" if line else place
            if outcome.problem is None:
                text = "%s: settings of %r: generation %d -> %d"
                was = before.get(outcome.photon, 0)
                _log.info(text, where, outcome.photon, was, outcome.generation)
            else:
                _log.error("%s", outcome.problem.error(outcome.photon))
