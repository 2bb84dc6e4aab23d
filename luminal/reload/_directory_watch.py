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
from luminal.errors import LuminalError, PhotonUnreadableError
from luminal.interfaces import IPhoton
from luminal.lifecycle import depart
from luminal.loading import run_in_thread
from luminal.model import EventKind, Problem
from luminal.reload._loop import LoopRunner
from luminal.reload._plan import Change, affected
from luminal.reload.watching import Batch, Cause, NoteCode, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    from luminal.lifecycle import CrossLoopLock, Handler, Intake, Registry, Runtime
    from luminal.model import Candidate, Outcome
    from luminal.reload._reloader import Reloader
    from luminal.reload.watching import Note

__all__ = ["UnreachableDirectories", "DirectoryWatch", "WatchLog"]

# === reload.absence ===
# Absence: the directory of photons is out of reach, and its photons go on.
#
# In comes what the watcher says of itself, and paths that are not there any more; out
# comes whether a file was really deleted. The photons' state says that they are on their
# own. It must never take a photon away: a directory that vanished may be mounted again.

_PHASE = "watch"


@attrs.define(eq=False)
class UnreachableDirectories:
    """What of one watched directory is out of reach.

    Args:
        directory: Its path.
        registry: Where its photons are known.
        ports: What connects them to the host.
    """

    directory: str
    registry: Registry
    ports: Runtime
    # Directory → why it is out of reach.
    _away: dict[str, str] = attrs.Factory(dict)
    # Where the path leads, links followed, and on which file system.
    _place: tuple[str, int] | None = None

    def __attrs_post_init__(self) -> None:
        self._place = self._look()

    def _look(self) -> tuple[str, int] | None:
        try:
            return os.path.realpath(self.directory), os.stat(self.directory).st_dev
        except OSError:
            return None

    def hear(self, note: Note) -> None:
        """Take in what the watcher says of its directories."""
        if note.code in (NoteCode.GONE, NoteCode.UNREADABLE):
            self._begin(note.directory, str(note))
        elif note.code is NoteCode.RETURNED:
            self._end(note.directory)

    def look(self, batch: Batch) -> None:
        """See whether the directory is the one that it was, unless it must be.

        Args:
            batch: What is to be acted on. Plain edits are read without a look: a system
                call beside a busy thread costs as much as all the rest of it.
        """
        is_edited = batch.cause is Cause.EVENTS and len(batch.changed) == len(batch)
        if is_edited and not self._away:
            return
        place = self._look()
        if place is None:
            return  # the watcher will say so, or has
        known, self._place = self._place, self._place or place
        if known is None or place == known:
            self._end(self.directory)
        elif place[0] == known[0]:
            self._begin(
                self.directory, f"{self.directory!r} is on another file system now"
            )
        else:  # a link leads elsewhere
            self.settle()

    def settle(self) -> None:
        """Take the directory as it is now: what it holds is what is meant."""
        self._place = self._look() or self._place
        self._end(self.directory)

    def is_gone(self, path: str) -> bool:
        """Whether a photon's file has been deleted, and is not just out of reach."""
        is_ours = _is_below(path, self.directory) and self.registry.of_file(path)
        is_there = self.covers(path) or os.path.lexists(path)
        return bool(is_ours) and not is_there

    def covers(self, path: str) -> bool:
        """Whether *path* is out of reach, so that nothing can be said of it."""
        away = any(_is_below(path, directory) for directory in self._away)
        return away or not os.path.isdir(self.directory)

    def _begin(self, directory: str, why: str) -> None:
        if directory in self._away:
            return
        self._away[directory] = why
        error = PhotonUnreadableError(
            "goes on without its files",
            why=why,
            hint="bring them back, or unload the photon",
        )
        problem = Problem.of(error, _PHASE)
        for handler in self.registry.all().values():
            if _is_below(handler.filepath, directory) and not _is_marked(handler):
                handler.problem = problem
                self.ports.tell(EventKind.ORPHANED, handler, problem=problem)

    def _end(self, directory: str) -> None:
        """Take the word back of the photons whose files are there again."""
        self._away.pop(directory, None)
        for handler in self.registry.all().values():
            path = handler.filepath
            if _is_marked(handler) and not self.covers(path) and os.path.lexists(path):
                handler.problem = None


def _is_marked(handler: Handler) -> bool:
    return handler.problem is not None and handler.problem.phase == _PHASE


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(os.path.join(directory, ""))


# === reload.log_lines ===
# What a watch says in the log: one line for each change.
#
# In come outcomes of what the keeper ordered; out go lines for people, with paths as
# they are called below the watched directory. Decides nothing.

_log = logging.getLogger("luminal.watch")


@attrs.define(eq=False)
class WatchLog:
    """Words for what happens in one watched directory.

    Args:
        directory: Its path.
    """

    directory: str
    # Photon → what was last said against it.
    _told: dict[str, Problem] = attrs.Factory(dict)

    def started(self, handler: Handler, seconds: float) -> None:
        """Say that a photon has appeared and runs."""
        path = self._short(handler.filepath)
        _log.info("%s: %r started, %.1f ms", path, handler.name, seconds * 1e3)

    def failed(self, handler: Handler, error: Exception) -> None:
        """Say that a photon has appeared and does not start."""
        _log.error("%s: %s", self._short(handler.filepath), error)

    def unloaded(self, path: str, handlers: Iterable[Handler]) -> None:
        """Say that the photons of a file are taken away."""
        names = ", ".join(repr(handler.name) for handler in handlers)
        _log.info("%s: %s unloaded", self._short(path), names)

    def settled(self, outcome: Outcome, before: int, seconds: float) -> None:
        """Say how a load or a reload has ended.

        Args:
            outcome: What became of one photon.
            before: The generation that served; 0 where there was none.
            seconds: How long it took.
        """
        problem = outcome.problem
        told = self._told.pop(outcome.photon, None)
        if problem is None:
            line = "%s: %r generation %d -> %d, %.1f ms"
            path, number = self._short(outcome.file), outcome.generation
            _log.info(line, path, outcome.photon, before, number, seconds * 1e3)
            return
        self._told[outcome.photon] = problem
        path = self._short(problem.file or outcome.file)
        place = f"{path}:{problem.line}" if problem.line else path
        serving = f"generation {before} goes on" if before else "not loaded"
        # Refused photons are tried again with every change; that is said once.
        level = logging.DEBUG if told == problem else logging.ERROR
        line = "%s: %r %s: %s; %s"
        _log.log(level, line, place, outcome.photon, problem.what, problem.why, serving)

    def _short(self, path: str) -> str:
        short = os.path.relpath(path, self.directory)
        # A name that is not UTF-8 must not end a log file.
        return short.encode(errors="backslashreplace").decode()


# === reload.keeper ===
# The keeper: what a watched directory holds is what runs.
#
# In come settled batches of paths, out go orders: reload what has changed, load and
# start what has appeared, unload what is gone. It works in the watcher's thread, and
# nothing that goes wrong ends the watch.

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
class DirectoryWatch:
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
    turn: CrossLoopLock
    recursive: bool = False
    is_wanted: Callable[[Candidate], bool] = attrs.field(default=lambda _: True)
    _runner: LoopRunner = attrs.field(init=False)
    _watcher: Watcher = attrs.field(init=False)
    _unreachable: UnreachableDirectories = attrs.field(init=False)
    _watch_log: WatchLog = attrs.field(init=False)
    # Path → what it is called in the log; the files that the watch has loaded.
    _loaded: set[str] = attrs.Factory(set)
    # Files whose photons were loaded at some time: what the host then unloads by hand
    # stays away until it is saved again.
    _seen: set[str] = attrs.Factory(set)
    # Units whose files differ from what serves, because that was refused.
    _rejected: set[str] = attrs.Factory(set)
    # Whether files that have appeared could not be loaded. What they miss may come
    # with the next change, whatever that is.
    _is_waiting: bool = False

    def __attrs_post_init__(self) -> None:
        self._runner, self._watch_log = LoopRunner(), WatchLog(self.directory)
        directories = [self.directory]
        self._watcher = Watcher(directories, self._take, on_note=self._hear)
        registry, ports = self.intake.registry, self.intake.ports
        self._unreachable = UnreachableDirectories(self.directory, registry, ports)

    def start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Begin to watch; what is there is loaded in the background.

        Args:
            loop: Where photons' coroutines run as long as it does.
        """
        self._runner.use(loop)
        try:
            self._watcher.start()
        except BaseException:
            self._runner.close()
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
        stopped = await run_in_thread(self._watcher.stop, 60.0, "luminal-stop")
        if stopped.error is not None:
            raise stopped.error
        async with self.turn:
            await self._unload(self._loaded, is_forced)
        closed = await run_in_thread(self._runner.close, 10.0, "luminal-stop")
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
        self._unreachable.hear(note)

    def _take(self, batch: Batch) -> None:
        """Act on *batch*; in the watcher's thread."""
        self._unreachable.look(batch)
        # Files are read here: every change of threads costs time in a busy host.
        away = {path for path in batch.deleted if self._unreachable.covers(path)}
        paths = batch.paths - away
        change, known = self._read(paths)
        until = time.monotonic() + _EMPTY_FOR
        while change.may_be_half_written:
            time.sleep(_SECOND_LOOK)
            before, (change, known) = change, self._read(paths)
            is_same = change.equals(before) and not change.has_empty
            if is_same or time.monotonic() > until:
                break
        gone = {path for path in batch.deleted if self._unreachable.is_gone(path)}
        is_new = any(map(_may_be_photon, paths - known - gone))
        if change.units or gone or is_new:
            self._runner.run(lambda: self._act(batch, change, gone, is_new))

    def _look_again(self) -> None:
        """Unload what is gone already; in the watcher's thread."""
        gone = {path for path in self._loaded if self._unreachable.is_gone(path)}
        if gone:
            self._runner.run(lambda: self._act(Batch(), Change(), gone, is_new=False))

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
        for unit in readers | self._rejected:
            generation = world.generations.get(unit)
            for path, source in generation.sources.items() if generation else ():
                # What a refused one misses may be there now.
                if unit in self._rejected or path in paths:
                    change.compare(unit, path, source)
                if path in paths:
                    known.add(path)
        return change, known

    async def _unload(self, files: set[str], is_forced: bool) -> None:
        registry = self.intake.registry
        leaving = {f: registry.of_file(f) for f in files if registry.of_file(f)}
        for path, handlers in leaving.items():
            self._watch_log.unloaded(path, handlers)
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
            self._watch_log.settled(outcome, before.get(outcome.photon, 0), seconds)
        after = world.generations
        self._rejected = {u for u in change.units if after.get(u) is serving.get(u)}

    async def _load_new(self, paths: AbstractSet[str]) -> None:
        look = functools.partial(self._look, paths)
        found = await run_in_thread(look, 60.0, "luminal-discover")
        if found.error is not None:
            raise found.error
        candidates = found.value or ()
        self.intake.ports.hear_of(candidates)
        # A folder that was found, and has moved since, had the name until now.
        holders = (self.intake.registry.get(c.name) for c in candidates)
        moved = {h.filepath for h in holders if h and self._unreachable.is_gone(h.filepath)}
        if moved:
            await self._unload(moved, is_forced=False)
        batch = await self.intake.take(candidates, IPhoton)
        for outcome in batch.report.failed:
            self._watch_log.settled(outcome, 0, 0.0)
        self._is_waiting = bool(batch.errors)
        if batch.handlers:
            self._unreachable.settle()
            if self._rejected:  # what they miss may be there now
                self._watcher.call(functools.partial(self._take, Batch()))
        for handler in batch.handlers:
            self._loaded.add(handler.filepath)
            self._seen.add(handler.filepath)
            began = time.perf_counter()
            try:
                await handler.start()
            except LuminalError as error:
                self._watch_log.failed(handler, error)
            else:
                self._watch_log.started(handler, time.perf_counter() - began)

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
