"""Keep directories and the running photons the same, see `DirectoryWatch`.

What has changed is reloaded, what is new is loaded and started, what was deleted is
unloaded. All of it is decided in the watcher's thread, and no failure ends the watch.
A directory that cannot be reached is not taken for deleted: it may be mounted again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

import attrs

from luminal._phases import Stopwatch, phase
from luminal.discovery import discover, fold
from luminal.errors import (
    LuminalError,
    PhotonReloadError,
    PhotonStateError,
    PhotonUnreadableError,
)
from luminal.interfaces import IPhoton
from luminal.lifecycle import forked_while_busy
from luminal.loading import (
    BundleOrigin,
    ModuleLocation,
    is_in_transaction,
    look_at_writes,
    reach_loop,
    read_bundle_files,
    run_in_thread,
)
from luminal.model import EventKind, Problem, Source, State
from luminal.reload._installed import Installed
from luminal.reload._loop import LoopRunner
from luminal.reload._pace import SelfWriters, Storms
from luminal.reload._plan import Change, bundle_upgrade, reachable
from luminal.reload._reloader import Reloaded
from luminal.reload.watching import (
    Batch,
    Cause,
    Lost,
    NoteCode,
    Watcher,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from luminal.lifecycle import BatchLoader, CrossLoopLock, Handler, Registry, Runtime
    from luminal.model import Candidate, Event, Outcome
    from luminal.reload._pace import Delay
    from luminal.reload._plan import SameCode
    from luminal.reload._reloader import Reloader
    from luminal.reload.watching import Note

__all__ = ["DirectoryWatch", "UnreachableDirectories", "WatchLog"]

_log = logging.getLogger("luminal.watch")
_note_log = logging.getLogger("luminal.watch.notes")

_PHASE = "watch"
"""Phase of the problem of a photon whose file cannot be reached."""

_LAST_LOOK = 0.25
"""Seconds after which it is checked whether files that were found still exist."""

_COMPLETE_AFTER = 2.0
"""Seconds after which a directory that is back has its files again, or never.

It may be copied file by file.
"""

_MISSING_FOR = 0.02
"""Seconds until photons are unloaded whose file is gone, and is found nowhere else."""

_SECOND_LOOK = 0.005
"""Seconds after which a file that looks half-written is read again."""

_EMPTY_FOR = 0.25
"""Seconds after which a file is read as it is, though it looks half-written."""

_HELD_FOR = 0.25
"""Seconds for which a failure is not reported: the next save may mend it.

Who changes two files that need each other saves one after the other.
"""

_INTERVAL = 0.25
"""Seconds between looks at what is installed, while something has failed.

After as many, what could not be applied is tried again.
"""


@attrs.define(eq=False)
class UnreachableDirectories:
    """Knows which parts of the watched directories cannot be reached.

    Photons of these parts keep running, and their ``problem`` says so.

    Args:
        directories: Paths of the watched directories.
        registry: The photons of the host.
        runtime: Its connections to the photons.
    """

    directories: tuple[str, ...]
    registry: Registry
    runtime: Runtime
    # Directory → why it cannot be reached.
    _unreached: dict[str, str] = attrs.Factory(dict)
    # Watched directory → its real path and its file system.
    _locations: dict[str, tuple[str, int] | None] = attrs.Factory(dict)

    def __attrs_post_init__(self) -> None:
        self._locations = {d: _locate(d) for d in self.directories}

    def on_note(self, note: Note) -> None:
        """Note what the watcher reports of its directories."""
        if note.code in (NoteCode.GONE, NoteCode.UNREADABLE):
            self._begin(note.directory, str(note))
        elif note.code is NoteCode.RETURNED:
            self._end(note.directory)

    def on_batch(self, batch: Batch) -> None:
        """Check whether the directories are still the same ones.

        Args:
            batch: What has changed. After plain edits there is no check: a system call
                beside a busy thread takes as long as everything else together.
        """
        is_edited = batch.cause is Cause.EVENTS and len(batch.changed) == len(batch)
        if is_edited and not self._unreached:
            return
        for directory, known in list(self._locations.items()):
            location = _locate(directory)
            if location is None:
                continue  # the watcher reports it
            self._locations[directory] = known or location
            if known is None or location == known:
                self._end(directory)
            elif location[0] == known[0]:
                why = f"{directory!r} is on another file system now"
                self._begin(directory, why)
            else:  # a link leads elsewhere
                self._locations[directory] = location
                self._end(directory)

    def accept(self) -> None:
        """Take the directories as they are now for the right ones."""
        for directory, known in list(self._locations.items()):
            self._locations[directory] = _locate(directory) or known
            self._end(directory)

    def is_deleted(self, path: str) -> bool:
        """Whether a photon's file was deleted, as far as its directory is reached."""
        is_ours = any(_is_below(path, directory) for directory in self.directories)
        is_loaded = is_ours and bool(self.registry.of_file(path))
        return is_loaded and not self.covers(path) and _is_absent(path)

    def covers(self, path: str) -> bool:
        """Whether *path* cannot be reached, so that its state is not known."""
        if any(_is_below(path, directory) for directory in self._unreached):
            return True
        around = [d for d in self.directories if _is_below(path, d)]
        return not all(map(os.path.isdir, around))

    def _begin(self, directory: str, why: str) -> None:
        if directory in self._unreached:
            return
        self._unreached[directory] = why
        error = PhotonUnreadableError(
            "keeps running without its files",
            why=why,
            hint="make the directory available again, or unload the photon",
        )
        problem = Problem.of(error, _PHASE)
        for handler in self.registry.all().values():
            if _is_below(handler.filepath, directory) and not _is_marked(handler):
                handler.problem = problem
                self.runtime.emit(EventKind.ORPHANED, handler, problem=problem)

    def _end(self, directory: str) -> None:
        """Clear the problem of the photons whose files can be reached again."""
        self._unreached.pop(directory, None)
        for handler in self.registry.all().values():
            path = handler.filepath
            if _is_marked(handler) and not self.covers(path) and os.path.lexists(path):
                handler.problem = None


def _locate(directory: str) -> tuple[str, int] | None:
    try:
        return os.path.realpath(directory), os.stat(directory).st_dev
    except OSError:
        return None


def _is_marked(handler: Handler) -> bool:
    return handler.problem is not None and handler.problem.phase == _PHASE


def _is_absent(path: str) -> bool:
    """Whether nothing is at *path*; False where that cannot be known (EACCES, EIO)."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _changed(path: str) -> int:
    """Return when the file at *path* was changed; 0 where that cannot be known."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(os.path.join(directory, ""))


@attrs.define(eq=False)
class WatchLog:
    """Logs one line for each change in watched directories, to ``luminal.watch``.

    Paths are relative to the directory, or to what several have in common.

    Args:
        directories: Their paths.
    """

    directories: tuple[str, ...]
    # Photon → its problem that was logged last.
    _logged: dict[str, Problem] = attrs.Factory(dict)

    def started(self, handler: Handler, seconds: float) -> None:
        """Log that a new photon was started."""
        path = self._short(handler.filepath)
        _log.info("%s: %r started, %.1f ms", path, handler.name, seconds * 1e3)

    def failed(self, path: str, why: str) -> None:
        """Log that the photon of a new file could not be started."""
        _log.error("%s: %s", self._short(path), why)

    def unchanged(self, handler: Handler) -> None:
        """Log that a photon runs on, as no code has changed."""
        path, number = self._short(handler.filepath), handler.number
        line = "%s: %r no code changed, generation %d runs on"
        _log.info(line, path, handler.name, number)

    def throttled(self, path: str, problem: Problem) -> None:
        """Log that a file is not followed for now, as a photon has written it."""
        path = self._short(path)
        line = "%s: %s; %s: %s; %s"
        args = problem.what, problem.consequence, problem.why, problem.hint
        _log.warning(line, path, *args)

    def recovered(self, handler: Handler) -> None:
        """Log that a rejected save was undone."""
        self._logged.pop(handler.name, None)
        path, number = self._short(handler.filepath), handler.number
        _log.info("%s: %r is as generation %d again", path, handler.name, number)

    def unloaded(self, path: str, handlers: Iterable[Handler]) -> None:
        """Log that the photons of a file are unloaded."""
        names = ", ".join(repr(handler.name) for handler in handlers)
        _log.info("%s: %s unloaded", self._short(path), names)

    def settled(self, outcome: Outcome, before: int, seconds: float) -> None:
        """Log the outcome of a load or a reload of one photon.

        Args:
            outcome: What became of the photon.
            before: Number of the generation that ran before; 0 where there was none.
            seconds: How long it took.
        """
        problem = outcome.problem
        logged = self._logged.pop(outcome.photon, None)
        if problem is None:
            if not outcome.warnings and not _log.isEnabledFor(logging.INFO):
                return
            line = "%s: %r generation %d -> %d, %.1f ms"
            path, number = self._short(outcome.file), outcome.generation
            _log.info(line, path, outcome.photon, before, number, seconds * 1e3)
            for warning in outcome.warnings:
                line = "%s: %r %s: %s; %s"
                _log.warning(
                    line, path, outcome.photon, warning.what, warning.why, warning.hint
                )
            return
        self._logged[outcome.photon] = problem
        path = self._short(problem.file or outcome.file)
        place = f"{path}:{problem.line}" if problem.line else path
        running = problem.consequence or "not loaded"
        # A rejected photon is tried again with every change. Its error is logged once.
        level = logging.DEBUG if logged == problem else logging.ERROR
        line = "%s: %r %s: %s; %s"
        _log.log(level, line, place, outcome.photon, problem.what, problem.why, running)

    def _short(self, path: str) -> str:
        short = path
        with contextlib.suppress(ValueError):  # on different drives of Windows
            short = os.path.relpath(path, os.path.commonpath(self.directories))
        # A name that is not UTF-8 must not end a log file.
        return short.encode(errors="backslashreplace").decode()


def _distinct(paths: Iterable[str]) -> tuple[str, ...]:
    """Return absolute paths; of those that lead to one directory, the first."""
    found: dict[str, str] = {}
    for path in paths:
        found.setdefault(os.path.realpath(path), os.path.abspath(path))
    return tuple(found.values())


@attrs.frozen
class _Failure:
    """A failure that is reported unless another try succeeds before.

    Attributes:
        due: When it is reported, in seconds of the monotonic clock.
        log: Logs it.
        events: Of it.
    """

    due: float
    log: Callable[[], object]
    events: list[Event] = attrs.Factory(list)


@attrs.define(eq=False, on_setattr=attrs.setters.NO_OP)
class DirectoryWatch:
    """Keeps directories and the running photons the same.

    Args:
        directories: Their paths, at least one.
        batch_loader: Loads new photons.
        reloader: Replaces photons that have changed.
        lock: Of the host; held for one change at a time.
        recursive: Whether photons of directories below are loaded too.
        is_wanted: Whether a new photon is to be loaded.
        polling: See ``force_polling`` of `Watcher`.
    """

    directories: tuple[str, ...] = attrs.field(converter=_distinct)
    batch_loader: BatchLoader
    reloader: Reloader
    lock: CrossLoopLock
    recursive: bool = False
    is_wanted: Callable[[Candidate], bool] = attrs.field(default=lambda _: True)
    polling: bool | None = None
    _runner: LoopRunner = attrs.field(init=False)
    _watcher: Watcher = attrs.field(init=False)
    _unreachable: UnreachableDirectories = attrs.field(init=False)
    _watch_log: WatchLog = attrs.field(init=False)
    # Done when what was there at the start is loaded or rejected.
    _caught_up: Future[None] = attrs.Factory(Future)
    # Files that the watch has loaded, and will unload at its end.
    _loaded: set[str] = attrs.Factory(set)
    # Files whose photons were loaded at some time. Those that the host unloads stay
    # unloaded until they are saved again.
    _seen: set[str] = attrs.Factory(set)
    # What is probably a mistake, and has been logged.
    _warned: set[Problem] = attrs.Factory(set)
    # Units whose files differ from the generation that runs, as they were rejected.
    _rejected: set[str] = attrs.Factory(set)
    # Units that were loaded and could not be started.
    _unstarted: set[str] = attrs.Factory(set)
    # Whether new files could not be loaded. Any further change may add what they miss.
    _is_waiting: bool = False
    # (File, photon) → its latest failure, until that is reported or mended.
    _failures: dict[tuple[str, str], _Failure] = attrs.Factory(dict)
    _storms: Storms = attrs.Factory(Storms)
    _self_writers: SelfWriters = attrs.Factory(SelfWriters)
    # Units whose files differ from what runs, as they have written them themselves.
    _delayed: set[str] = attrs.Factory(set)
    # Whether there are files likewise that are not loaded.
    _is_new_delayed: bool = False
    # Files of photons that were gone at the latest look, see `_look_for`.
    _missing: set[str] = attrs.Factory(set)
    # What could not be applied, and is to be tried again.
    _unapplied: Batch | None = None
    # What is to be applied with the next batch, as files of it are missing.
    _postponed: Batch | None = None
    # What is installed; None while nothing has failed.
    _installed: Installed | None = None

    def __attrs_post_init__(self) -> None:
        self._runner, self._watch_log = LoopRunner(), WatchLog(self.directories)
        self._watcher = Watcher(
            [*self.directories, *self._roots()],
            self._on_batch,
            on_note=self._on_note,
            force_polling=self.polling,
        )
        self._unreachable = UnreachableDirectories(
            self.directories, self.batch_loader.registry, self.batch_loader.runtime
        )

    def _roots(self) -> list[str]:
        """Return the declared directories that are not watched otherwise."""
        declared = self.batch_loader.world.roots.declared
        return [d for d in declared if not self._has(os.path.join(d, ""))]

    def _has(self, path: str) -> bool:
        """Whether *path* is below a watched directory."""
        return any(_is_below(path, directory) for directory in self.directories)

    def start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Start watching; what the directories have is loaded in the background.

        Args:
            loop: The loop for the photons' coroutines, as long as it runs.
        """
        self._runner.use(loop)
        try:
            self._watcher.start()
        except BaseException:
            self._runner.close()
            raise
        self._caught_up = self._watcher.call(self._catch_up)

    async def wait_until_caught_up(self) -> None:
        """Wait until what was there at the start is started or rejected.

        Returns at once where the caller is part of what it would wait for. The watch
        continues when this is cancelled.
        """
        if is_in_transaction():
            return
        try:
            async with self.lock:
                pass
        except PhotonStateError:
            return
        await asyncio.shield(asyncio.wrap_future(self._caught_up))

    async def pause(self) -> None:
        """Apply no changes until `resume`; one that is under way is finished first.

        Raises:
            PhotonStateError: The caller is part of what this waits for.
        """
        async with self.lock:
            pass  # raises in there
        try:
            await asyncio.shield(asyncio.wrap_future(self._watcher.pause()))
        except asyncio.CancelledError:
            self._watcher.resume()
            raise

    async def resume(self) -> None:
        """Apply what has changed since `pause`, or since the process was forked.

        Raises:
            PhotonStateError: It was forked while a change was being applied.
        """
        if self._watcher.lost is None:
            self._watcher.resume()
            return
        if self._watcher.lost is Lost.BUSY:
            raise forked_while_busy()
        self._runner = LoopRunner()
        self.start(asyncio.get_running_loop())
        await self.wait_until_caught_up()

    async def stop(self, is_forced: bool) -> None:
        """Stop watching, and unload what the watch has loaded.

        It may be called again after a cancellation.

        Args:
            is_forced: Skip ``finalize``, and cancel what is under way.

        Raises:
            PhotonStateError: The caller is part of what the watch waits for.
        """
        if is_forced and not self.lock.is_held_here:
            self._runner.halt()  # not to wait for a photon that hangs
        async with self.lock:
            pass  # raises in there, before anything was stopped
        stopped = await run_in_thread(self._watcher.stop, 60.0, "luminal-stop")
        if stopped.error is not None:
            raise stopped.error
        self._report_failures(is_over=True)
        async with self.lock:
            await self._unload(self._loaded, is_forced)
        closed = await run_in_thread(self._runner.close, 10.0, "luminal-stop")
        if closed.error is not None:
            raise closed.error

    def _catch_up(self) -> None:
        """Load what there is, and reload what was edited since the host loaded it."""
        self._seen.update(self.batch_loader.registry.files())
        known = {
            path
            for generation in self.batch_loader.world.generations.values()
            for path in generation.files
            if self._has(path)
        }
        batch = Batch(created=frozenset(self.directories), changed=frozenset(known))
        self._on_batch(batch)
        self._report_failures(is_over=True)  # no save is under way

    def _on_note(self, note: Note) -> None:
        """Log a note of the watcher; in its thread."""
        _note_log.warning("%s", note)
        self._unreachable.on_note(note)
        if note.code is NoteCode.RETURNED:
            self._watcher.call_later(_COMPLETE_AFTER, self._look_again)

    def _retry(self) -> None:
        """Try again what has failed; in the watcher's thread."""
        self._on_batch(Batch(), is_new=self._is_waiting or self._is_new_delayed)

    def _on_batch(self, batch: Batch, is_new: bool = False) -> None:
        """Bring the photons up to date; in the watcher's thread.

        What could not be applied, since something of ours or of the system has failed,
        is tried again a little later, and with the next change.

        Args:
            batch: What has changed.
            is_new: Whether to look for new photons whatever has changed.
        """
        before, self._unapplied = self._unapplied, batch
        if before is not None:
            self._unapplied = batch = batch.after(before)
        try:
            self._bring_up_to_date(batch, is_new)
        except BaseException:
            if self._runner.is_halted:
                return  # the watch is being stopped
            if before is None:
                self._watcher.call_later(_INTERVAL, self._retry)
            raise
        self._unapplied, self._postponed = self._postponed, None

    def _bring_up_to_date(self, batch: Batch, is_new: bool) -> None:
        look_at_writes()
        self._unreachable.on_batch(batch)
        if delay := self._storms.delay(batch.began):  # even 0 lets other threads run
            time.sleep(delay)
        # Files are read in this thread: to change threads takes time in a busy host.
        unknown = {path for path in batch.deleted if self._unreachable.covers(path)}
        paths = batch.paths - unknown | self._missing
        change, known = self._read(paths)
        until = time.monotonic() + _EMPTY_FOR
        while change.may_be_half_written:
            time.sleep(_SECOND_LOOK)
            before, (change, known) = change, self._read(paths)
            is_same = change.equals(before) and not change.has_empty
            if is_same or time.monotonic() > until:
                break
        is_deleted = self._unreachable.is_deleted
        deleted = {path for path in batch.deleted | self._missing if is_deleted(path)}
        self._missing &= deleted
        same = change.take_same_code(self.batch_loader.world)
        change.units |= self._unstarted
        self._forget_rejections(self._rejected - change.units)
        new = {path for path in paths - known - deleted if _may_be_photon(path)}
        self._delay_self_writers(change, new, batch.began)
        is_new = is_new or bool(new)
        if not change.units:
            for handler in self.reloader.end_undone(paths):
                self._watch_log.recovered(handler)
        if change.units or deleted or is_new or same:
            self._storms.begin()
            served = self.batch_loader.world.generations.keys()
            is_new = self._runner.run_on_worker(
                lambda: self._act(batch, change, deleted, is_new, same),
                self.batch_loader.world.worker,
                self.batch_loader.runtime.deadlines.shortest,
            )
            self._storms.end()
            if self._postponed is not None:
                return
            self._self_writers.note_tried(change.units | new)
            if is_new:
                serving = self.batch_loader.world.generations.keys()
                self._self_writers.note_tried(serving - served)
                # A file that was created and deleted within one batch is not reported,
                # and may have been loaded in between, whatever this batch was about.
                self._watcher.call_later(_LAST_LOOK, self._look_again)
            self._plan_report()
            self._plan_retry()

    def _delay_self_writers(self, change: Change, new: set[str], began: float) -> None:
        """Take out of *change* and *new* what photons write themselves too often.

        Args:
            change: Units that have changed.
            new: Files that are not loaded.
            began: When the first change was seen.
        """
        world, registry = self.batch_loader.world, self.batch_loader.registry
        self._delayed.clear()
        self._is_new_delayed = False
        for unit in sorted(change.units):
            generation = world.generations.get(unit)
            files = generation.files if generation else {}
            changed = {
                path: source.checksum
                for path, source in change.snapshot.items()
                if path in files and files[path].checksum != source.checksum
            }
            users = reachable([unit], world.users)
            delay = self._self_writers.delay(unit, changed, users, began)
            if delay is not None:
                change.units.discard(unit)
                self._delayed.add(unit)
                self._throttle([*changed][-1], registry.of_units(users), delay)
        for path in sorted(new):
            delay = self._self_writers.delay(path, {path: _changed(path)}, None, began)
            if delay is not None:
                new.discard(path)
                self._is_new_delayed = True
                self._throttle(path, [], delay)

    def _throttle(self, path: str, handlers: Sequence[Handler], delay: Delay) -> None:
        """Try the file at *path* again later; report it, where that is new."""
        self._watcher.call_later(delay.seconds, self._retry)
        if not delay.is_new:
            return
        why = f"it has written {path!r} again after it was reloaded because of that"
        if delay.is_indirect:
            why = (
                f"{path!r} changes after each reload, and only then, by the process "
                "that is started here, or by what is written here"
            )
        error = PhotonReloadError(
            "writes its own files",
            file=delay.write.file,
            line=delay.write.line,
            why=why,
            hint="write to another place, or write only what differs",
        )
        error.consequence = (
            f"reloaded again in {delay.seconds:.0f} s, then less and less often, and "
            "at once when somebody else saves a file of it"
        )
        problem = Problem.of(error, "reload")
        for handler in handlers:
            self.batch_loader.runtime.emit(
                EventKind.THROTTLED, handler, problem=problem
            )
        self._watch_log.throttled(path, problem)

    def _forget_rejections(self, units: set[str]) -> None:
        """Forget that *units* were rejected: they run what is in their files."""
        self._rejected -= units
        users = self.batch_loader.world.users
        for handler in self.batch_loader.registry.of_units(reachable(units, users)):
            self._failures.pop((handler.filepath, handler.name), None)

    def _plan_report(self) -> None:
        """Have what has failed reported when it is due."""
        if self._failures:
            due = min(failure.due for failure in self._failures.values())
            self._watcher.call_later(due - time.monotonic(), self._report_failures)

    def _plan_retry(self) -> None:
        """Have what has failed tried again when something was installed."""
        if not (self._rejected or self._is_waiting or self._unstarted):
            self._installed = None
        elif self._installed is None:
            self._installed = Installed()
            self._watcher.call_later(_INTERVAL, self._look_at_installed)

    def _look_at_installed(self) -> None:
        """Try again what has failed, if something was installed."""
        installed = self._installed
        if installed is None:
            return
        if installed.has_changed():
            self._retry()
        if self._installed is installed:
            self._watcher.call_later(_INTERVAL, self._look_at_installed)

    def _note_failure(self, file: str, photon: str, log: Callable[[], object]) -> None:
        """Note that a try has failed, instead of the earlier ones of the photon."""
        known = self._failures.get((file, photon))
        due = known.due if known is not None else time.monotonic() + _HELD_FOR
        self._failures[file, photon] = _Failure(due, log)

    def _report_failures(self, *, is_over: bool = False) -> None:
        """Emit and log the failures that are due.

        Args:
            is_over: Whether there will be no further try in time; then all are due.
        """
        now = time.monotonic()
        for key, failure in list(self._failures.items()):
            if is_over or failure.due <= now:
                del self._failures[key]
                if not _is_absent(key[0]):
                    for event in failure.events:
                        self.batch_loader.runtime.events.emit(event)
                    failure.log()
        self._plan_report()

    def _look_again(self) -> None:
        """Unload what was deleted already; in the watcher's thread.

        Where changes are about to be delivered, these may tell of it, and where it has
        moved to.
        """
        if self._watcher.is_collecting:
            self._watcher.call_later(_LAST_LOOK, self._look_again)
            return
        deleted = {path for path in self._loaded if self._unreachable.is_deleted(path)}
        if deleted:
            self._on_batch(Batch(deleted=frozenset(deleted)), is_new=True)

    async def _act(
        self,
        batch: Batch,
        change: Change,
        deleted: set[str],
        is_new: bool,
        same: Sequence[SameCode] = (),
    ) -> bool:
        """Do what *batch* asks for, and keep its failures back for a while.

        Returns:
            Whether it was about new photons.
        """
        events = self.batch_loader.runtime.events
        with events.holding() as held:
            is_new = await self._apply(batch, change, deleted, is_new, same)
        for event in held:
            failure = self._failures.get((event.file, event.photon))
            handler = self.batch_loader.registry.get(event.photon)
            if failure is not None:
                failure.events.append(event)
            elif handler is None or handler.state is State.FAILED:
                events.emit(event)
            # Else it has failed alone, and then succeeded with what it needs.
        return is_new

    async def _apply(
        self,
        batch: Batch,
        change: Change,
        deleted: set[str],
        is_new: bool,
        same: Sequence[SameCode],
    ) -> bool:
        began = time.perf_counter()
        if deleted or is_new or self._is_waiting:
            await reach_loop()
        done, moved = Reloaded(), dict[str, set[str]]()
        try:
            async with self.lock:
                if change.units and (deleted or is_new):
                    moved = await self._find_moves(deleted, batch.paths, change)
                going = self._gone(deleted - moved.keys(), change)
                if going is None:
                    self._postponed = batch
                    return is_new
                if going:
                    await self._unload(going, is_forced=False)
                change.drop_unchanged(self.batch_loader.world.generations)
                if change.units:
                    done = await self._reload(change)
                self._take_texts(same, {outcome.photon for outcome in done.report})
                if moved:
                    self._end_moves(moved)
                    # What could not move goes.
                    if going := self._gone(deleted & moved.keys(), change):
                        await self._unload(going, is_forced=False)
                is_loaded = False
                # A deleted file may have had the name of one that could not be loaded.
                if deleted or is_new or (change.units and self._is_waiting):
                    is_loaded = await self._load_new(batch.paths)
        finally:  # what has failed is tried again, and finds that it was replaced
            await done.ensure_retired()
        _log.debug("%r applied in %.1f ms", batch, (time.perf_counter() - began) * 1e3)
        return is_new or is_loaded or bool(moved)

    def _gone(self, deleted: set[str], change: Change) -> set[str] | None:
        """Return what of *deleted* is to be unloaded; None to look again first.

        Files move while they are looked at. One that is back keeps its photons, and is
        taken out of *change*. One that is gone is looked for once more: where it is now
        may not be known yet.
        """
        gone = {path for path in deleted if self._unreachable.is_deleted(path)}
        if gone - self._missing:
            self._look_for(gone)
            return None
        for path in deleted - gone:
            for handler in self.batch_loader.registry.of_file(path):
                if handler.generation is not None:
                    change.units.discard(handler.generation.unit)
        return gone

    def _look_for(self, missing: set[str]) -> None:
        """Look soon where the photons of files that are gone are now, then unload them.

        Args:
            missing: The files, which were there when it was looked before.
        """
        self._missing |= missing
        if missing:
            self._watcher.call_later(_MISSING_FOR, self._look_for_missing)

    def _look_for_missing(self) -> None:
        """Do what `_look_for` plans; where more is told soon, that batch does it."""
        if self._missing and not self._watcher.is_collecting:
            self._on_batch(Batch(deleted=frozenset(self._missing)), is_new=True)

    def _take_texts(self, same: Sequence[SameCode], reported: AbstractSet[str]) -> None:
        """Go on with other texts of the code that runs: nothing is started.

        Args:
            same: The texts.
            reported: Names of photons of which something else is reported already.
        """
        world, registry = self.batch_loader.world, self.batch_loader.registry
        for each in same:
            unit = each.generation.unit
            if world.generations.get(unit) is not each.generation:
                continue  # something that it imports from was replaced, and so was it
            world.take_texts(each.generation, each.texts)
            for handler in registry.of_units([unit]):
                text = each.texts.get(handler.filepath)
                if text is not None:
                    handler._take_text(text.checksum)  # noqa: SLF001 - our own
            recovered = self.reloader.end_undone(each.texts.keys())
            for handler in recovered:
                self._watch_log.recovered(handler)
            for handler in registry.of_units(reachable([unit], world.users)):
                if handler not in recovered and handler.name not in reported:
                    self.batch_loader.runtime.emit(EventKind.UNCHANGED, handler)
                    self._watch_log.unchanged(handler)

    async def _find_moves(
        self, deleted: set[str], paths: AbstractSet[str], change: Change
    ) -> dict[str, set[str]]:
        """Let photons that have moved to another file be replaced by what is there.

        So they keep their state, and answer all the time.

        Args:
            deleted: Files that have gone.
            paths: What has just changed.
            change: Completed.

        Returns:
            File that has gone or changed → new files with photons that it had.
        """
        world, registry = self.batch_loader.world, self.batch_loader.registry
        with change.stopwatch.running():
            found = await run_in_thread(self._discover, 60.0, "luminal-discover")
        candidates = found.value or ()
        new = {c.location for c in self._new_of(candidates, paths)}
        stay = {(c.location, fold(c.name)) for c in candidates}
        moved: dict[str, set[str]] = {}
        arrived: set[str] = set()
        for candidate in candidates:
            handler = registry.get(candidate.name)
            generation = handler.generation if handler else None
            path = candidate.location
            if handler is None or generation is None or handler.filepath == path:
                continue
            is_gone = handler.filepath in deleted
            if (
                candidate.problem is not None
                or generation.unit not in change.units
                or (handler.filepath, fold(candidate.name)) in stay
                or not (is_gone or path in new)
            ):
                continue
            if candidate.source is Source.BUNDLE:
                if candidate.root != generation.unit or path not in new:
                    continue
                bundle = BundleOrigin(path, candidate.root)
                pinned = await run_in_thread(
                    functools.partial(read_bundle_files, bundle, change.read),
                    60.0,
                    "luminal-read",
                )
                if pinned.value is None:
                    continue  # it has changed once more
                handlers = registry.of_units([generation.unit])
                change.include(bundle_upgrade(pinned.value, bundle, handlers))
            elif path in new:
                origin = world.roots.claim(candidate.origin)
                if type(generation.origin) is not type(origin):
                    continue  # it is an installed one
                location = ModuleLocation(
                    "package" if os.path.basename(path) == "__init__.py" else "module",
                    path,
                    origin.name_of(path),
                )
                if path not in arrived:  # else its other photons bring it
                    arrived.add(path)
                    targets = change.moves.setdefault(generation.unit, {})
                    targets[location.unit] = (origin, location)
                change.candidates.append(candidate)
            if is_gone and candidate.source is not Source.BUNDLE:
                change.gone.add(generation.unit)
            moved.setdefault(handler.filepath, set()).add(path)
        return moved

    def _end_moves(self, moved: Mapping[str, set[str]]) -> None:
        """Note which files the photons are in now."""
        registry = self.batch_loader.registry
        arrived = {path for targets in moved.values() for path in targets}
        arrived = {path for path in arrived if registry.of_file(path)}
        self._loaded |= arrived
        self._seen |= arrived

    def _read(self, paths: AbstractSet[str]) -> tuple[Change, set[str]]:
        """Return what has other bytes now, and which paths a photon was read from."""
        change = Change()
        known: set[str] = set()
        world = self.batch_loader.world
        readers = {unit for path in paths for unit in world.readers(path)}
        # A rejected unit is tried again whatever has changed.
        again = self._rejected | self._delayed
        for unit in readers | again:
            generation = world.generations.get(unit)
            for path, source in generation.files.items() if generation else ():
                if unit in again or path in paths:
                    change.compare(unit, path, source)
                if path in paths:
                    known.add(path)
        for path in paths - known:
            change.extended |= world.declarers(path)
        change.units |= self._unstarted | change.extended
        return change, known

    async def _unload(self, files: set[str], is_forced: bool) -> None:
        registry = self.batch_loader.registry
        leaving = {f: registry.of_file(f) for f in files if registry.of_file(f)}
        for path, handlers in leaving.items():
            self._watch_log.unloaded(path, handlers)
        unloaded = [h for handlers in leaving.values() for h in handlers]
        await self.reloader.end_earlier(unloaded)
        await self.batch_loader.unload_batch(leaving, is_forced)
        self._loaded -= files
        # A file that comes back is new, also if it cannot be loaded yet.
        self._seen -= files

    async def _reload(self, change: Change) -> Reloaded:
        """Replace what has changed, and note what was rejected."""
        world, registry = self.batch_loader.world, self.batch_loader.registry
        running = world.generations
        concerned = registry.of_units(reachable(change.units, world.users))
        before = {handler.name: handler.number for handler in concerned}
        began = time.perf_counter()
        done = await self.reloader.replace(change, policy="component")
        seconds = time.perf_counter() - began
        for outcome in done.report:
            log = functools.partial(
                self._watch_log.settled,
                outcome,
                before.get(outcome.photon, 0),
                seconds,
            )
            if outcome.problem is not None:
                self._note_failure(outcome.file, outcome.photon, log)
            else:
                self._failures.pop((outcome.file, outcome.photon), None)
                log()
        after = world.generations
        self._rejected = {u for u in change.units if after.get(u) is running.get(u)}
        self._unstarted = {
            h.generation.unit
            for h in registry.of_units(self._unstarted)
            if h.generation is not None and h.state is State.FAILED
        }
        return done

    async def _load_new(self, paths: AbstractSet[str]) -> bool:
        """Load photons that are not loaded; return whether there was one.

        Args:
            paths: What has just changed.
        """
        find = functools.partial(self._find_new, paths)
        registry = self.batch_loader.registry
        stopwatch = Stopwatch()
        with stopwatch.running():
            found = await run_in_thread(find, 60.0, "luminal-discover")
        if found.error is not None:
            raise found.error
        candidates = found.value or ()
        phases = stopwatch.seconds()
        self.batch_loader.runtime.events.count_phases("load", phases)
        self.batch_loader.runtime.emit_discovered(candidates, phases)
        # Where a folder has moved, photons of its old path still have their names.
        holders = (registry.get(c.name) for c in candidates)
        moved = {
            h.filepath
            for h in holders
            if h and self._unreachable.is_deleted(h.filepath)
        }
        if moved:
            self._look_for(moved)
            candidates = [
                c
                for c in candidates
                if (holder := registry.get(c.name)) is None
                or holder.filepath not in moved
            ]
        batch = await self.batch_loader.load_batch(candidates, IPhoton)
        failed = {(o.file, o.photon): o for o in batch.report.failed}
        for file, photon in list(self._failures):
            if (file, photon) not in failed and not registry.of_file(file):
                del self._failures[file, photon]  # the file has that photon no more
        for (file, photon), outcome in failed.items():
            log = functools.partial(self._watch_log.settled, outcome, 0, 0.0)
            self._note_failure(file, photon, log)
        self._is_waiting = bool(batch.errors)
        if batch.handlers:
            self._unreachable.accept()
            if self._rejected:  # they may require what was loaded now
                self._watcher.call(self._retry)
        for handler in batch.handlers:
            self._loaded.add(handler.filepath)
            self._seen.add(handler.filepath)
            began = time.perf_counter()
            key = handler.filepath, handler.name
            try:
                await handler.start()
            except LuminalError as error:
                self._unstarted.add(
                    handler.generation.unit if handler.generation else ""
                )
                why = str(error)  # the error itself has the photon's frames
                log = functools.partial(self._watch_log.failed, handler.filepath, why)
                self._note_failure(*key, log)
            else:
                self._failures.pop(key, None)
                self._watch_log.started(handler, time.perf_counter() - began)
        return bool(batch.handlers)

    def _find_new(self, paths: AbstractSet[str]) -> list[Candidate]:
        """Return photons that are not loaded, and that the host did not unload."""
        return self._new_of(self._discover(), paths)

    def _discover(self) -> Sequence[Candidate]:
        """Return all photons of the directories."""
        reached = [d for d in self.directories if os.path.isdir(d)]
        if not reached:
            return ()
        with phase("discover"):
            found = discover(
                *reached,
                group=None,
                recursive=self.recursive,
                api_version=self.batch_loader.registry.api_version,
                roots=self.batch_loader.world.roots.declared,
            )
        for problem in found.warnings:
            if problem not in self._warned:
                self._warned.add(problem)
                _log.warning("%s", problem.error(""))
        return [*found]

    def _new_of(
        self, found: Iterable[Candidate], paths: AbstractSet[str]
    ) -> list[Candidate]:
        """Return those of *found* that are not loaded, and not unloaded by the host.

        Args:
            found: Photons of the directories.
            paths: What has just changed. A photon that the host unloaded is returned
                when its file is among them.
        """
        registry = self.batch_loader.registry
        new = [c for c in found if not registry.of_file(c.location)]
        unloaded = {path for path in self._seen if not _is_touched(path, paths)}
        return [c for c in new if c.location not in unloaded and self.is_wanted(c)]


def _may_be_photon(path: str) -> bool:
    """Whether there may be a new photon because of a change of *path*."""
    return path.endswith((".py", ".photon")) or os.path.isdir(path)


def _is_touched(path: str, paths: AbstractSet[str]) -> bool:
    """Whether the file at *path*, or its package, is among what has changed."""
    folder, leaf = os.path.split(path)
    if leaf != "__init__.py":
        return path in paths
    return any(each.startswith(folder + os.sep) for each in paths)
