"""The depot: what pip has installed is what runs.

In come batches of paths from the folders that distributions lie in, out go orders to
swap in what has become of them. It works in a watcher's thread and waits there until
an installation is complete.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from typing import TYPE_CHECKING

import attrs

from luminal.errors import LuminalError, PhotonTornError
from luminal.loading import run_apart
from luminal.model import Event, Happening, Problem
from luminal.reload.change import Change
from luminal.reload.home import Home
from luminal.reload.upgrade import distribution_of, look_up
from luminal.reload.watching import Batch, Note, NoteCode, Watcher

if TYPE_CHECKING:
    import asyncio

    from luminal.lifecycle import Handler, Turn
    from luminal.reload.change import Renewal
    from luminal.reload.reloader import Reloader

__all__ = ["Depot"]

_log = logging.getLogger("luminal.watch")
_AGAIN = 0.02
"""Seconds between looks at a distribution that is being installed."""


@attrs.define(eq=False)
class Depot:
    """Keeps the loaded distributions and what is installed the same.

    Args:
        reloader: Replaces what changes.
        turn: The host's; one change at a time.
        patience: Seconds that an installation may take.
    """

    reloader: Reloader
    turn: Turn
    patience: float = 30.0
    _home: Home = attrs.Factory(Home)
    _watchers: list[Watcher] = attrs.Factory(list)
    # Distributions that were found missing, so that this is said once.
    _missing: set[str] = attrs.Factory(set)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch the folders of the distributions that are loaded now.

        Args:
            loop: Where photons' coroutines run as long as it does.
        """
        self._home.settle(loop)
        packages: set[str] = set()
        folders: set[str] = set()  # of lone modules
        for handlers in self._loaded().values():
            generation = handlers[0].generation
            roots = getattr(generation.origin, "roots", {}) if generation else {}
            for name, directory in roots.items():
                package = os.path.join(directory, *name.split("."))
                is_package = os.path.isdir(package)
                (packages if is_package else folders).add(
                    package if is_package else directory
                )
        try:
            for directories, is_deep in ((packages, True), (folders, False)):
                there = [each for each in directories if os.path.isdir(each)]
                if there:
                    watcher = Watcher(
                        there, self._take, recursive=is_deep, on_note=_note
                    )
                    self._watchers.append(watcher.start())
        except BaseException:
            for watcher in self._watchers:
                watcher.stop(0.0)
            self._home.close()
            raise

    async def stop(self) -> None:
        """End the watch; the photons go on."""
        for watcher in self._watchers:
            await run_apart(watcher.stop, 60.0, "luminal-stop")
        self._watchers.clear()
        await run_apart(self._home.close, 10.0, "luminal-stop")

    def _loaded(self) -> dict[str, list[Handler]]:
        """Return the Handlers of each loaded distribution."""
        loaded: dict[str, list[Handler]] = {}
        for handler in self.reloader.registry.all().values():
            if handler.generation is not None:
                loaded.setdefault(distribution_of(handler), []).append(handler)
        loaded.pop("", None)
        return loaded

    def _take(self, batch: Batch) -> None:
        """Look at every loaded distribution; in the watcher's thread."""
        del batch  # which paths have changed says little about what is complete
        for name, handlers in self._loaded().items():
            renewal = self._settled(name, handlers)
            if renewal is not None:
                self._home.run(functools.partial(self._act, renewal, name))

    def _settled(self, name: str, handlers: list[Handler]) -> Renewal | None:
        """Wait until the distribution is complete; return what it has become."""
        until = time.monotonic() + self.patience
        while True:
            try:
                renewal = look_up(handlers)
            except PhotonTornError as error:
                gone = not _is_there(handlers)
                if gone and time.monotonic() > until - self.patience + 1.0:
                    self._say_missing(name, handlers, error)
                    return None
                if time.monotonic() > until:
                    self._refuse(handlers, error)
                    return None
                time.sleep(_AGAIN)
            except LuminalError as error:
                self._refuse(handlers, error)
                return None
            else:
                self._missing.discard(name)
                return renewal

    async def _act(self, renewal: Renewal, name: str) -> None:
        async with self.turn:
            handlers = self._loaded().get(name, [])
            generation = handlers[0].generation if handlers else None
            change = Change()
            if generation is None or not change.differs(renewal, generation):
                return
            change.include(renewal)
            before = handlers[0].candidate
            began = time.perf_counter()
            done = await self.reloader.replace(change)
        milliseconds = (time.perf_counter() - began) * 1e3
        after = renewal.candidates[0].origin
        if done.errors:
            _log.error("%s: refused: %s", after, done.errors[0])
        elif before is not None:
            _log.info("%s -> %s, %.1f ms", before.origin, after, milliseconds)

    def _refuse(self, handlers: list[Handler], error: LuminalError) -> None:
        _log.error("%s", error)
        self._tell(Happening.REFUSED, handlers, error)

    def _say_missing(
        self, name: str, handlers: list[Handler], error: LuminalError
    ) -> None:
        """Say once that a distribution is gone; its photons stay until told."""
        if name not in self._missing:
            self._missing.add(name)
            _log.warning("%s is not installed any more; its photons go on", name)
            self._tell(Happening.ORPHANED, handlers, error)

    def _tell(
        self, happening: Happening, handlers: list[Handler], error: LuminalError
    ) -> None:
        problem = Problem.of(error, "upgrade")
        for handler in handlers:
            handler.problem = problem
            event = Event(
                happening,
                handler.name,
                handler.number,
                handler.filepath,
                problem=problem,
            )
            self.reloader.ports.events.emit(event)


def _note(note: Note) -> None:
    """Log what the watcher says; pip takes folders away and brings them back."""
    is_pip = note.code in (NoteCode.GONE, NoteCode.RETURNED)
    _log.log(logging.DEBUG if is_pip else logging.WARNING, "%s", note)


def _is_there(handlers: list[Handler]) -> bool:
    return any(os.path.lexists(handler.filepath) for handler in handlers)
