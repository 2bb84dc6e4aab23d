"""Keep the loaded distributions and what is installed the same.

`DistributionWatch` watches the directories of distributions, waits until pip or uv has
ended, and swaps in all that has changed: one discovery, one transaction.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
import time
from typing import TYPE_CHECKING

import attrs

from luminal._phases import Stopwatch
from luminal.errors import LuminalError, PhotonDependencyError, PhotonTornError
from luminal.lifecycle import forked_while_busy
from luminal.loading import run_in_thread
from luminal.model import EventKind, Problem
from luminal.reload._installed import Installed
from luminal.reload._loop import LoopRunner
from luminal.reload._plan import Change, distribution_of, find_upgrades
from luminal.reload._reloader import Reloaded
from luminal.reload.watching import (
    Batch,
    Lost,
    Note,
    NoteCode,
    Watcher,
    is_pip_backup,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from luminal.lifecycle import CrossLoopLock, Handler
    from luminal.loading import Generation
    from luminal.model import Event
    from luminal.reload._plan import Upgrade
    from luminal.reload._reloader import Reloader

__all__ = ["DistributionWatch"]

_log = logging.getLogger("luminal.watch")

_INTERVAL = 0.02
"""Seconds between looks whether an installer is still at work."""

_QUIET, _MOST_QUIET = 0.1, 1.0
"""Seconds without a change after which an installer has ended, at least and at most.

Between two distributions of one ``pip install`` there are some tens of milliseconds.
"""

_SHARE = 0.5
"""How long there has to be no change, as a share of the time for which there were some.

Where other processes need the processor, an installer takes longer for all that it
does, between two distributions too.
"""

_BACKUP_LASTS = 60.0
"""Seconds for which a version that pip keeps shows that pip is at work."""

_AGAIN = 0.25
"""Seconds between looks at an incomplete distribution without a further change."""

_GONE_FOR = 1.0
"""Seconds after which a distribution without files counts as uninstalled, and one whose
requirements are not met as rejected: pip may be about to install these."""

_HELD_FOR = 5.0
"""Seconds for which what is complete waits for what is not: uv works on several."""

_PHASE = "upgrade"
"""Phase of the problem of a photon whose distribution could not be swapped in."""


@attrs.frozen
class _Mark:
    """What an installer changes in one place, told without reading any file.

    Attributes:
        times: When names came or went there, and when each RECORD was replaced.
        is_at_work: Whether pip keeps a version that it replaces: it moves that to names
            with a tilde, and deletes them after the RECORD of the new one.
    """

    times: tuple[int, ...]
    is_at_work: bool

    @classmethod
    def of(cls, site: str, metadata: Iterable[str], before: _Mark | None) -> _Mark:
        """Look at *site* and the folders of loaded distributions in it."""
        records = [os.path.join(folder, "RECORD") for folder in sorted(metadata)]
        times = tuple(map(_changed, (site, *records)))
        is_known = before is not None and before.times[0] == times[0]
        if is_known and before is not None and not before.is_at_work:
            return cls(times, False)
        return cls(times, any(_is_recent(site, n) for n in _names_in(site)))


_Marks = dict[str, _Mark]
"""Directory that distributions are installed in → what was seen there."""


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _is_recent(site: str, name: str) -> bool:
    """Whether *name* is a backup of pip at work; one that was killed leaves some."""
    if not is_pip_backup(name):
        return False
    try:
        moved = os.stat(os.path.join(site, name)).st_ctime
    except OSError:
        return False
    return time.time() - moved < _BACKUP_LASTS


def _names_in(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


@attrs.define(eq=False)
class DistributionWatch:
    """Keeps the loaded distributions and what is installed the same.

    Args:
        reloader: Replaces photons that have changed.
        lock: Of the host; held for one change at a time.
        patience: Seconds that an installation may take.
        polling: See ``force_polling`` of `Watcher`.
    """

    reloader: Reloader
    lock: CrossLoopLock
    patience: float = 30.0
    polling: bool | None = None
    _runner: LoopRunner = attrs.Factory(LoopRunner)
    # Whether directories inside of directories are watched → the watcher.
    _watchers: dict[bool, Watcher] = attrs.Factory(dict)
    # Distributions that were reported as not installed, as that is reported once.
    _missing: set[str] = attrs.Factory(set)
    # Distribution → digests of the installed version that was rejected, and why.
    _rejected: dict[str, tuple[dict[str, str], str]] = attrs.Factory(dict)
    # Incomplete distribution → `time.monotonic()` when that was noticed.
    _incomplete: dict[str, float] = attrs.Factory(dict)
    _is_over: bool = False
    _is_paused: bool = False
    # One thread looks at a time; there may be two watchers.
    _looking: threading.Lock = attrs.Factory(threading.Lock)
    # When that was, and what installers had changed by then.
    _looked: float = 0.0
    _marks: _Marks = attrs.Factory(dict)
    # Whether `_look_again` will be called.
    _is_planned: bool = False
    # What is installed; None while nothing was rejected.
    _installed: Installed | None = None
    _unsubscribe: Callable[[], None] = lambda: None
    # Measures the discovery of what the next swap replaces.
    _stopwatch: Stopwatch = attrs.Factory(Stopwatch)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch the directories of all distributions that are loaded, now and later.

        Args:
            loop: The loop for the photons' coroutines, as long as it runs.
        """
        self._runner.use(loop)
        self._unsubscribe = self.reloader.runtime.events.subscribe(self._on_event)
        try:
            self._extend(self.reloader.registry.all().values())
        except BaseException:
            self._unsubscribe()
            self._runner.close()
            raise

    def _on_event(self, event: Event) -> None:
        """Watch the directories of what was loaded or upgraded just now."""
        if event.kind in (EventKind.LOADED, EventKind.SWAPPED):
            handler = self.reloader.registry.get(event.photon)
            self._extend([handler] if handler is not None else [])

    def _extend(self, handlers: Iterable[Handler]) -> None:
        """Watch the directories of distributions; in any thread, without waiting."""
        folders: dict[bool, set[str]] = {True: set(), False: set()}
        for handler in handlers:
            generation = handler.generation if distribution_of(handler) else None
            if generation is None:
                continue
            roots = getattr(generation.origin, "roots", {})
            for name, directory in (*roots.items(), *generation.owned.items()):
                package = os.path.join(directory, *name.split("."))
                is_package = os.path.isdir(package)  # else a lone module
                folders[is_package].add(package if is_package else directory)
        for is_deep, directories in folders.items():
            watcher = self._watchers.get(is_deep)
            known = watcher.directories if watcher is not None else ()
            new = [d for d in directories if d not in known and os.path.isdir(d)]
            if new and watcher is None:
                watcher = Watcher(
                    new,
                    self._on_batch,
                    recursive=is_deep,
                    on_note=_log_note,
                    force_polling=self.polling,
                )
                watcher.start()
                if self._is_paused:
                    watcher.pause()
                self._watchers[is_deep] = watcher
            elif new and watcher is not None:
                watcher.call(functools.partial(self._add, watcher, new))

    def _add(self, watcher: Watcher, directories: list[str]) -> None:
        """Watch more directories; in the watcher's thread."""
        for directory in directories:
            watcher.add(directory)
        self._on_batch()  # something may have been installed in between

    async def pause(self) -> None:
        """Swap nothing in until `resume`; what is under way is finished first.

        Raises:
            PhotonStateError: The caller is part of what this waits for.
        """
        async with self.lock:
            pass  # raises in there
        self._is_paused = True
        try:
            for watcher in [*self._watchers.values()]:
                await asyncio.shield(asyncio.wrap_future(watcher.pause()))
        except asyncio.CancelledError:
            await self.resume()
            raise

    async def resume(self) -> None:
        """Swap in what was installed since `pause`, or since the process was forked.

        Raises:
            PhotonStateError: It was forked while a change was being applied.
        """
        self._is_paused = False
        lost = {watcher.lost for watcher in self._watchers.values()}
        if Lost.BUSY in lost:
            raise forked_while_busy()
        if Lost.IDLE in lost:
            self._unsubscribe()
            self._watchers.clear()
            self._runner, self._looking = LoopRunner(), threading.Lock()
            self.start(asyncio.get_running_loop())
        for watcher in [*self._watchers.values()]:
            watcher.resume()
            watcher.call(self._on_batch)

    async def stop(self, is_forced: bool = False) -> None:
        """Stop watching; the photons keep running.

        Args:
            is_forced: Cancel a swap that is under way.
        """
        self._is_over = True
        if is_forced and not self.lock.is_held_here:
            self._runner.halt()
        self._unsubscribe()
        for watcher in self._watchers.values():
            await run_in_thread(watcher.stop, 60.0, "luminal-stop")
        self._watchers.clear()
        await run_in_thread(self._runner.close, 10.0, "luminal-stop")

    def _loaded(self) -> dict[str, list[Handler]]:
        """Return the Handlers of each loaded distribution."""
        loaded: dict[str, list[Handler]] = {}
        for handler in self.reloader.registry.all().values():
            if handler.generation is not None:
                loaded.setdefault(distribution_of(handler), []).append(handler)
        loaded.pop("", None)
        return loaded

    def _on_batch(self, batch: Batch | None = None) -> None:
        """Look at what is installed, once installers have ended; in a watcher's thread.

        The changed paths do not show what is complete, so all is looked at.
        """
        began = batch.began if batch is not None else time.monotonic()
        with self._looking:
            self._marks = self._wait_for_installers(began)
            self._look()
        self._plan_another_look()

    def _plan_another_look(self) -> None:
        """Have what is incomplete looked at again, until it is not any more.

        What pip brings next may lie in directories that are not watched.
        """
        if self._incomplete and not self._is_planned and not self._is_over:
            for watcher in [*self._watchers.values()][:1]:
                self._is_planned = True
                watcher.call(self._look_again)

        if self._rejected and self._installed is None:
            self._installed = Installed()
            self._plan_look_at_installed()

    def _plan_look_at_installed(self) -> None:
        for watcher in [*self._watchers.values()][:1]:
            watcher.call_later(_AGAIN, self._look_at_installed)

    def _look_at_installed(self) -> None:
        """Try again what was rejected, if something was installed."""
        if self._installed is None or not self._rejected.keys() & self._loaded().keys():
            self._installed = None
            return
        if self._installed.has_changed():
            self._on_batch()
        self._plan_look_at_installed()

    def _look_again(self) -> None:
        time.sleep(_INTERVAL)
        self._is_planned = False
        with self._looking:
            if self._marks != self._read_marks():
                self._marks = self._wait_for_installers(time.monotonic())
                self._look()
            elif time.monotonic() - self._looked > _AGAIN:
                self._look()
        self._plan_another_look()

    def _wait_for_installers(self, began: float) -> _Marks:
        """Wait until no installer is at work; return what its work changes.

        Args:
            began: When the first change was seen, in seconds of the monotonic clock.
        """
        changed = time.monotonic()
        marks = self._read_marks()
        while not self._is_over:
            time.sleep(_INTERVAL)
            new, now = self._read_marks(), time.monotonic()
            if new != marks:
                marks, changed = new, now
            is_at_work = any(mark.is_at_work for mark in marks.values())
            quiet = min(_MOST_QUIET, max(_QUIET, _SHARE * (changed - began)))
            is_over = now - changed > quiet and not is_at_work
            if is_over or now - began > self.patience:
                break
        return marks

    def _read_marks(self) -> _Marks:
        """Return what an installer changes, of each place that it installs into."""
        folders: dict[str, set[str]] = {}
        for handlers in self._loaded().values():
            for handler in handlers:
                metadata = handler.candidate.metadata if handler.candidate else ""
                if metadata:
                    site = os.path.dirname(metadata)
                    folders.setdefault(site, set()).add(metadata)
        return {
            site: _Mark.of(site, metadata, self._marks.get(site))
            for site, metadata in folders.items()
        }

    def _look(self) -> None:
        """Swap in the installed versions of distributions that are complete."""
        self._looked = time.monotonic()
        loaded = self._loaded()
        for gone in self._incomplete.keys() - loaded.keys():
            del self._incomplete[gone]
        upgrades: dict[str, Upgrade] = {}
        self._stopwatch = Stopwatch()
        with self._stopwatch.running():
            registry = self.reloader.registry
            installed = find_upgrades(loaded, registry.disabled, registry.api_version)
        for name, found in installed.items():
            if isinstance(found, LuminalError):
                self._wait_or_reject(name, loaded[name], found)
                continue
            upgrades[name] = found
            self._incomplete.pop(name, None)
            self._missing.discard(name)
        if upgrades and not self._is_one_awaited():
            try:
                self._runner.run(functools.partial(self._act, upgrades))
            except BaseException:
                if not self._runner.is_halted:
                    raise

    def _is_one_awaited(self) -> bool:
        """Whether an installer seems to work on a distribution just now.

        It may have brought those that are complete, to be swapped in together.
        """
        told = self._missing | self._rejected.keys()
        return any(
            name not in told and self._looked - since < _HELD_FOR
            for name, since in self._incomplete.items()
        )

    def _wait_or_reject(
        self, name: str, handlers: list[Handler], error: LuminalError
    ) -> None:
        """Wait for what an installer may still bring; else report *error*."""
        now = time.monotonic()
        seconds = now - self._incomplete.setdefault(name, now)
        if isinstance(error, PhotonTornError):
            if seconds > _GONE_FOR and not _is_there(handlers):
                self._incomplete.pop(name, None)
                self._report_missing(name, handlers, error)
            elif seconds > self.patience:
                self._incomplete.pop(name, None)
                self._reject(name, handlers, error)
        elif not isinstance(error, PhotonDependencyError) or seconds > _GONE_FOR:
            self._incomplete.pop(name, None)
            self._reject(name, handlers, error)

    async def _act(self, upgrades: dict[str, Upgrade]) -> None:
        """Swap in what differs from what runs, in one transaction.

        What was rejected before, and has not changed since, holds up nothing else. It
        is tried again after the others, or with them where they fail without it.
        """
        async with self.lock:
            done = await self._swap_in(upgrades)
        await done.ensure_retired()

    async def _swap_in(self, upgrades: dict[str, Upgrade]) -> Reloaded:
        """Do what `_act` says; the lock is held."""
        running: dict[str, Generation] = {}
        for name in upgrades:
            for handler in self._loaded().get(name, [])[:1]:
                if handler.generation is not None:
                    running[name] = handler.generation
        different = {n for n, g in running.items() if Change().differs(upgrades[n], g)}
        for name in running.keys() - different:
            await self._end_problems(name, running[name])
        if self._is_over or not different:
            return Reloaded()
        known = {n for n in different if self._is_known(upgrades[n], n)}
        first = different - known or known
        done = await self._replace(first, upgrades)
        if first != different:
            rest = different if done.errors else known
            done += await self._replace(rest, upgrades)
        return done

    async def _end_problems(self, name: str, running: Generation) -> None:
        """Note that what is installed is what runs: nothing is swapped."""
        self._rejected.pop(name, None)
        read = functools.partial(self.reloader.end_undone, running.files.keys())
        found = await run_in_thread(read, 10.0, "luminal-read")
        recovered = found.value or []
        for handler in self._loaded()[name]:
            if handler.problem is not None and handler.problem.phase == _PHASE:
                handler.problem = None
                self.reloader.runtime.emit(EventKind.RECOVERED, handler)
                recovered.append(handler)
        for handler in recovered:
            _log.info(
                "%s: %r is as generation %d again", name, handler.name, handler.number
            )

    async def _replace(self, names: set[str], upgrades: dict[str, Upgrade]) -> Reloaded:
        """Swap in the installed versions of some distributions, or none of them."""
        change, self._stopwatch = Change(stopwatch=self._stopwatch), Stopwatch()
        before: dict[str, str] = {}
        for name in sorted(names):
            (handler, *_) = self._loaded()[name]
            if handler.generation is not None:
                change.differs(upgrades[name], handler.generation)
            change.include(upgrades[name])
            before[name] = handler.candidate.origin if handler.candidate else name
        began = time.perf_counter()
        events = self.reloader.runtime.events
        with events.holding() as held:
            done = await self.reloader.replace(change)
        milliseconds = (time.perf_counter() - began) * 1e3
        why = str(done.errors[0]) if done.errors else ""
        # What was installed with it, or later, is no reason to report it once more.
        is_told = any(self._is_known(upgrades[name], name, why) for name in before)
        for event in held:
            if not (is_told and why and event.kind is EventKind.REJECTED):
                events.emit(event)
        for name, old in before.items():
            new = upgrades[name].candidates[0].origin
            if done.errors:
                if not is_told:
                    _log.error("%s: rejected: %s", new, why)
                self._rejected[name] = upgrades[name].checksums, why
            else:
                self._rejected.pop(name, None)
                _log.info("%s -> %s, %.1f ms", old, new, milliseconds)
        told = {w: outcome for outcome in done.report for w in outcome.warnings}
        for warning, outcome in told.items():
            _log.warning("%s: %s: %s", outcome.photon, warning.what, warning.why)
        return done

    def _is_known(self, upgrade: Upgrade, name: str, why: str | None = None) -> bool:
        """Whether this version of the distribution *name* was rejected before.

        Args:
            upgrade: The installed version.
            name: The distribution.
            why: The reason, where it has to be the same one.
        """
        checksums, reason = self._rejected.get(name, (None, ""))
        return checksums == upgrade.checksums and why in (None, reason)

    def _reject(self, name: str, handlers: list[Handler], error: LuminalError) -> None:
        """Report, once, why what is installed cannot be swapped in."""
        rejected: tuple[dict[str, str], str] = ({}, str(error))
        if self._rejected.get(name) == rejected:
            return
        self._rejected[name] = rejected
        _log.error("%s", error)
        self._emit(EventKind.REJECTED, handlers, error)

    def _report_missing(
        self, name: str, handlers: list[Handler], error: LuminalError
    ) -> None:
        """Report, once, that a distribution is not installed any more."""
        if name not in self._missing:
            self._missing.add(name)
            _log.warning("%s is not installed any more; its photons keep running", name)
            self._emit(EventKind.ORPHANED, handlers, error)

    def _emit(
        self, kind: EventKind, handlers: list[Handler], error: LuminalError
    ) -> None:
        problem = Problem.of(error, _PHASE)
        for handler in handlers:
            handler.problem = problem
            self.reloader.runtime.emit(kind, handler, problem=problem)


def _log_note(note: Note) -> None:
    """Log a note of the watcher; pip deletes directories and makes them again."""
    is_pip = note.code in (NoteCode.GONE, NoteCode.RETURNED)
    _log.log(logging.DEBUG if is_pip else logging.WARNING, "%s", note)


def _is_there(handlers: list[Handler]) -> bool:
    return any(os.path.lexists(handler.filepath) for handler in handlers)
