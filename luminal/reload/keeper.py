"""The keeper: what a watched directory holds is what runs.

In come settled batches of paths, out go orders: reload what has changed, load and
start what has appeared, unload what is gone. It works in the watcher's thread, and
nothing that goes wrong ends the watch.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import time
from typing import TYPE_CHECKING

import attrs

from luminal.discovery import discover
from luminal.errors import LuminalError
from luminal.interfaces import IPhoton
from luminal.lifecycle._batch import depart
from luminal.loading import run_apart
from luminal.reload.absence import Absence
from luminal.reload.change import Change
from luminal.reload.home import Home
from luminal.reload.log_lines import LogLines
from luminal.reload.plan import affected
from luminal.reload.watching import Batch, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from luminal.lifecycle import Intake, Turn
    from luminal.model import Candidate
    from luminal.reload.reloader import Reloader
    from luminal.reload.watching import Note

__all__ = ["Keeper"]

_log = logging.getLogger("luminal.watch")
_LAST_LOOK = 0.25
"""Seconds after which files that have just been found are looked for once more."""

_SECOND_LOOK = 0.005
"""Seconds after which a file that looks half-written is read again."""

_EMPTY_FOR = 0.25
"""Seconds after which an empty file, or one without end, is taken as it is."""


def _absolute(path: str) -> str:
    return os.path.abspath(path)


@attrs.define(eq=False)
class Keeper:
    """Keeps one directory and the running photons the same.

    Args:
        directory: Path of the directory.
        intake: Loads what appears.
        reloader: Replaces what changes.
        turn: The host's; one change at a time.
        recursive: Whether directories below are kept too.
        is_wanted: Whether a photon that appears is to be loaded.
    """

    directory: str = attrs.field(converter=_absolute)
    intake: Intake
    reloader: Reloader
    turn: Turn
    recursive: bool = False
    is_wanted: Callable[[Candidate], bool] = attrs.field(default=lambda _: True)
    _home: Home = attrs.field(init=False)
    _watcher: Watcher = attrs.field(init=False)
    _absence: Absence = attrs.field(init=False)
    _lines: LogLines = attrs.field(init=False)
    # Path → what it is called in the log; the files that the watch has loaded.
    _loaded: set[str] = attrs.Factory(set)
    # Files whose photons were loaded at some time: what the host then unloads by hand
    # stays away until it is saved again.
    _seen: set[str] = attrs.Factory(set)
    # Units whose files differ from what serves, because that was refused.
    _refused: set[str] = attrs.Factory(set)
    # Whether files that have appeared could not be loaded. What they miss may come
    # with the next change, whatever that is.
    _is_waiting: bool = False

    def __attrs_post_init__(self) -> None:
        self._home, self._lines = Home(), LogLines(self.directory)
        directories = [self.directory]
        self._watcher = Watcher(directories, self._take, on_note=self._hear)
        registry, ports = self.intake.registry, self.intake.ports
        self._absence = Absence(self.directory, registry, ports)

    def start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Begin to watch; what is there is loaded in the background.

        Args:
            loop: Where photons' coroutines run as long as it does.
        """
        self._home.settle(loop)
        try:
            self._watcher.start()
        except BaseException:
            self._home.close()
            raise
        self._watcher.call(self._catch_up)

    async def stop(self, is_forced: bool) -> None:
        """End the watch, and unload what it has loaded.

        It may be called again where it was cancelled.

        Args:
            is_forced: Skip ``finalize``.

        Raises:
            PhotonStateError: The caller is part of what the watch waits for.
        """
        async with self.turn:
            pass  # refused in there, before anything has ended
        stopped = await run_apart(self._watcher.stop, 60.0, "luminal-stop")
        if stopped.error is not None:
            raise stopped.error
        async with self.turn:
            await self._unload(self._loaded, is_forced)
        closed = await run_apart(self._home.close, 10.0, "luminal-stop")
        if closed.error is not None:
            raise closed.error

    def _catch_up(self) -> None:
        """Load what is there, and reload what was edited since the host loaded it."""
        self._seen.update(self.intake.registry.files())
        below = os.path.join(self.directory, "")
        known = {
            path
            for generation in self.intake.world.generations.values()
            for path in generation.sources
            if path.startswith(below)
        }
        self._take(Batch(created=frozenset([self.directory]), changed=frozenset(known)))

    def _hear(self, note: Note) -> None:
        """Pass on what the watcher says of itself; in its thread."""
        _log.warning("%s", note)
        self._absence.hear(note)

    def _take(self, batch: Batch) -> None:
        """Act on *batch*; in the watcher's thread."""
        self._absence.look(batch)
        # Files are read here: every change of threads costs time in a busy host.
        away = {path for path in batch.deleted if self._absence.covers(path)}
        paths = batch.paths - away
        change, known = self._read(paths)
        until = time.monotonic() + _EMPTY_FOR
        while change.may_be_half_written:
            time.sleep(_SECOND_LOOK)
            before, (change, known) = change, self._read(paths)
            is_same = change.equals(before) and not change.has_empty
            if is_same or time.monotonic() > until:
                break
        gone = {path for path in batch.deleted if self._absence.is_gone(path)}
        is_new = any(map(_may_be_photon, paths - known - gone))
        if change.units or gone or is_new:
            self._home.run(lambda: self._act(batch, change, gone, is_new))

    def _look_again(self) -> None:
        """Unload what is gone already; in the watcher's thread."""
        gone = {path for path in self._loaded if self._absence.is_gone(path)}
        if gone:
            self._home.run(lambda: self._act(Batch(), Change(), gone, is_new=False))

    async def _act(
        self, batch: Batch, change: Change, gone: set[str], is_new: bool
    ) -> None:
        began = time.perf_counter()
        async with self.turn:
            if gone:
                await self._unload(gone, is_forced=False)
            change.drop_unchanged(self.intake.world.generations)
            if change.units:
                await self._reload(change)
            # What is gone may have had the name of another.
            if gone or is_new or (change.units and self._is_waiting):
                await self._load_new(batch.paths)
            if is_new:
                # A file that came and went within one batch makes no news, and may
                # have been found in between.
                again = asyncio.get_running_loop().call_later
                again(_LAST_LOOK, self._watcher.call, self._look_again)
        _log.debug("%r acted on in %.1f ms", batch, (time.perf_counter() - began) * 1e3)

    def _read(self, paths: AbstractSet[str]) -> tuple[Change, set[str]]:
        """Return what has other bytes now, and which of the paths we know."""
        change = Change()
        known: set[str] = set()
        world = self.intake.world
        readers = {unit for path in paths for unit in world.readers(path)}
        for unit in readers | self._refused:
            generation = world.generations.get(unit)
            for path, source in generation.sources.items() if generation else ():
                # What a refused one misses may be there now.
                if unit in self._refused or path in paths:
                    change.compare(unit, path, source)
                if path in paths:
                    known.add(path)
        return change, known

    async def _unload(self, files: set[str], is_forced: bool) -> None:
        registry = self.intake.registry
        leaving = {f: registry.of_file(f) for f in files if registry.of_file(f)}
        for path, handlers in leaving.items():
            self._lines.unloaded(path, handlers)
        gone = [h for handlers in leaving.values() for h in handlers]
        await self.reloader.confirm([h.generation.unit for h in gone if h.generation])
        await self.reloader.retirements.end({h.name for h in gone})
        await depart(leaving, registry, self.intake.world, self.intake.ports, is_forced)
        self._loaded -= files

    async def _reload(self, change: Change) -> None:
        """Replace what has changed, and note what was refused."""
        world, registry = self.intake.world, self.intake.registry
        serving = world.generations
        concerned = registry.of_units(affected(change.units, world.users))
        before = {handler.name: handler.number for handler in concerned}
        began = time.perf_counter()
        done = await self.reloader.replace(change, policy="component")
        seconds = time.perf_counter() - began
        for outcome in done.report:
            self._lines.settled(outcome, before.get(outcome.photon, 0), seconds)
        after = world.generations
        self._refused = {u for u in change.units if after.get(u) is serving.get(u)}

    async def _load_new(self, paths: AbstractSet[str]) -> None:
        look = functools.partial(self._look, paths)
        found = await run_apart(look, 60.0, "luminal-discover")
        if found.error is not None:
            raise found.error
        candidates = found.value or ()
        self.intake.ports.hear_of(candidates)
        # A folder that was found, and has moved since, had the name until now.
        holders = (self.intake.registry.get(c.name) for c in candidates)
        moved = {h.filepath for h in holders if h and self._absence.is_gone(h.filepath)}
        if moved:
            await self._unload(moved, is_forced=False)
        batch = await self.intake.take(candidates, IPhoton)
        for outcome in batch.report.failed:
            self._lines.settled(outcome, 0, 0.0)
        self._is_waiting = bool(batch.errors)
        if batch.handlers:
            self._absence.settle()
            if self._refused:  # what they miss may be there now
                self._watcher.call(functools.partial(self._take, Batch()))
        for handler in batch.handlers:
            self._loaded.add(handler.filepath)
            self._seen.add(handler.filepath)
            began = time.perf_counter()
            try:
                await handler.start()
            except LuminalError as error:
                self._lines.failed(handler, error)
            else:
                self._lines.started(handler, time.perf_counter() - began)

    def _look(self, paths: AbstractSet[str]) -> list[Candidate]:
        """Return what lies there, is not loaded, and was not unloaded by hand.

        Args:
            paths: Of what has just changed.
        """
        registry = self.intake.registry
        if not os.path.isdir(self.directory):
            return []
        found = discover(self.directory, group=None, recursive=self.recursive)
        new = [c for c in found if not registry.of_file(c.location)]
        away = {path for path in self._seen if not _is_touched(path, paths)}
        return [c for c in new if c.location not in away and self.is_wanted(c)]


def _may_be_photon(path: str) -> bool:
    """Whether it is worth while to look for new photons because of *path*."""
    return path.endswith(".py") or os.path.isdir(path)


def _is_touched(path: str, paths: AbstractSet[str]) -> bool:
    """Whether the file at *path*, or its package, is among what has changed."""
    folder, leaf = os.path.split(path)
    if leaf != "__init__.py":
        return path in paths
    return any(each.startswith(folder + os.sep) for each in paths)
