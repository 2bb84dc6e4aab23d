"""Keep the loaded distributions and what is installed the same.

`DistributionWatch` watches the directories of distributions, waits until an
installation is complete, and swaps it in.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from typing import TYPE_CHECKING

import attrs

from luminal.errors import LuminalError, PhotonTornError
from luminal.loading import run_in_thread
from luminal.model import EventKind, Problem
from luminal.reload._loop import LoopRunner
from luminal.reload._plan import Change, distribution_of, find_upgrade
from luminal.reload.watching import Batch, Note, NoteCode, Watcher

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from luminal.lifecycle import CrossLoopLock, Handler
    from luminal.model import Event
    from luminal.reload._plan import Upgrade
    from luminal.reload._reloader import Reloader

__all__ = ["DistributionWatch"]

_log = logging.getLogger("luminal.watch")

_INTERVAL = 0.02
"""Seconds between checks of a distribution that is being installed."""

_GONE_FOR = 1.0
"""Seconds after which a distribution without files counts as uninstalled."""

_PHASE = "upgrade"
"""Phase of the problem of a photon whose distribution could not be swapped in."""


@attrs.define(eq=False)
class DistributionWatch:
    """Keeps the loaded distributions and what is installed the same.

    Args:
        reloader: Replaces photons that have changed.
        lock: Of the host; held for one change at a time.
        patience: Seconds that an installation may take.
    """

    reloader: Reloader
    lock: CrossLoopLock
    patience: float = 30.0
    _runner: LoopRunner = attrs.Factory(LoopRunner)
    # Whether directories inside of directories are watched → the watcher.
    _watchers: dict[bool, Watcher] = attrs.Factory(dict)
    # Distributions that were reported as not installed, as that is reported once.
    _missing: set[str] = attrs.Factory(set)
    # Incomplete distribution → `time.monotonic()` when that was noticed.
    _incomplete: dict[str, float] = attrs.Factory(dict)
    _is_over: bool = False
    _unsubscribe: Callable[[], None] = lambda: None

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
                    new, self._on_batch, recursive=is_deep, on_note=_log_note
                )
                watcher.start()
                self._watchers[is_deep] = watcher
            elif new and watcher is not None:
                watcher.call(functools.partial(self._add, watcher, new))

    def _add(self, watcher: Watcher, directories: list[str]) -> None:
        """Watch more directories; in the watcher's thread."""
        for directory in directories:
            watcher.add(directory)
        self._on_batch()  # something may have been installed in between

    async def stop(self) -> None:
        """Stop watching; the photons keep running."""
        self._is_over = True
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
        """Check every loaded distribution; in a watcher's thread."""
        del batch  # the changed paths do not show what is complete
        for name, handlers in self._loaded().items():
            self._check(name, handlers)
        self._check_incomplete()

    def _check_incomplete(self) -> None:
        """Check incomplete distributions until they are complete."""
        loaded = self._loaded()
        for name in [*self._incomplete]:
            if name in loaded and not self._is_over:
                self._check(name, loaded[name])
            else:
                self._incomplete.pop(name, None)
        if self._incomplete:
            time.sleep(_INTERVAL)
            for watcher in [*self._watchers.values()][:1]:
                watcher.call(self._check_incomplete)

    def _check(self, name: str, handlers: list[Handler]) -> None:
        """Swap in the installed version of a distribution once it is complete."""
        try:
            upgrade = find_upgrade(handlers)
        except PhotonTornError as error:
            seconds = time.monotonic() - self._incomplete.setdefault(
                name, time.monotonic()
            )
            if seconds > _GONE_FOR and not _is_there(handlers):
                self._incomplete.pop(name, None)
                self._report_missing(name, handlers, error)
            elif seconds > self.patience:
                self._incomplete.pop(name, None)
                self._reject(handlers, error)
        except LuminalError as error:
            self._incomplete.pop(name, None)
            self._reject(handlers, error)
        else:
            self._incomplete.pop(name, None)
            self._missing.discard(name)
            for handler in handlers:
                if handler.problem is not None and handler.problem.phase == _PHASE:
                    handler.problem = None  # it is installed again
            self._runner.run(functools.partial(self._act, upgrade, name))

    async def _act(self, upgrade: Upgrade, name: str) -> None:
        async with self.lock:
            handlers = self._loaded().get(name, [])
            generation = handlers[0].generation if handlers else None
            change = Change()
            if (
                self._is_over
                or generation is None
                or not change.differs(upgrade, generation)
            ):
                return
            change.include(upgrade)
            before = handlers[0].candidate
            began = time.perf_counter()
            done = await self.reloader.replace(change)
        milliseconds = (time.perf_counter() - began) * 1e3
        after = upgrade.candidates[0].origin
        if done.errors:
            _log.error("%s: rejected: %s", after, done.errors[0])
        elif before is not None:
            _log.info("%s -> %s, %.1f ms", before.origin, after, milliseconds)
        for warning in {w for outcome in done.report for w in outcome.warnings}:
            _log.warning("%s: %s: %s", after, warning.what, warning.why)

    def _reject(self, handlers: list[Handler], error: LuminalError) -> None:
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
