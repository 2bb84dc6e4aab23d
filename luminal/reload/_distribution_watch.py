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

from luminal.discovery import discover
from luminal.errors import LuminalError, PhotonReloadError, PhotonTornError
from luminal.loading import (
    Choice,
    DistributionOrigin,
    extensions_of,
    read_shipment,
    run_in_thread,
)
from luminal.model import Event, EventKind, Problem, Source
from luminal.reload._loop import LoopRunner
from luminal.reload._plan import Change, Upgrade
from luminal.reload.watching import Batch, Note, NoteCode, Watcher

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Sequence

    from luminal.lifecycle import CrossLoopLock, Handler
    from luminal.model import Candidate
    from luminal.reload._reloader import Reloader

__all__ = ["DistributionWatch", "distribution_of", "look_up"]

# === reload.upgrade ===
# Installed distributions: what has an upgrade brought, and may it be swapped in.
#
# An upgrade is looked at by its RECORD alone: every source file is read once, and has to
# have the digest that RECORD gives. What is staged are these bytes, so that neither a
# half-installed version nor a mixture of two is ever executed.


def distribution_of(handler: Handler) -> str:
    """Return the distribution that a photon comes from; empty for a directory."""
    candidate = handler.candidate
    if candidate is None or candidate.source is not Source.DISTRIBUTION:
        return ""
    return candidate.origin.rpartition(" ")[0]


def find_upgrade(handlers: Sequence[Handler]) -> Upgrade:
    """Return what the distribution of *handlers* is on disk now.

    Args:
        handlers: Of its photons.

    Raises:
        PhotonTornError: It is not there, or not complete: pip may be at work.
        PhotonReloadError: It cannot be swapped in, and why.
        LuminalError: One of its photons cannot be loaded any more.
    """
    first = handlers[0]
    if first.generation is None or first.candidate is None:
        raise _refusal(first, "it is not loaded", "load it first")
    if first.generation.borrowed:
        raise _refusal(
            first,
            "the host had imported its modules before Luminal did",
            "load photons before anything imports them, or restart the host",
        )
    candidates = _candidates(first.candidate, distribution_of(first))
    distribution, _, version = candidates[0].origin.rpartition(" ")
    module = candidates[0].target.partition(":")[0].strip()
    location = candidates[0].location
    origin = DistributionOrigin(distribution, version, module, location)
    files = read_shipment(origin, is_checked=True)
    for candidate in candidates:  # only now: half a file is no fault of the author's
        if candidate.problem is not None:
            raise candidate.problem.error(candidate.name)
    _check_swappable(first, origin, first.generation.unit)
    targets = tuple((c.name, c.target) for c in candidates)
    base = first._choice.base if first._choice is not None else object
    choice = Choice(base, (), targets)
    return Upgrade(first.generation.unit, origin, choice, tuple(candidates), files)


def _candidates(known: Candidate, distribution: str) -> list[Candidate]:
    found = [
        candidate
        for candidate in discover(group=known.group)
        if candidate.source is Source.DISTRIBUTION
        and candidate.origin.rpartition(" ")[0] == distribution
    ]
    if not found or not all(candidate.location for candidate in found):
        raise PhotonTornError("is not installed", photon=known.name)
    return found


def _check_swappable(first: Handler, origin: DistributionOrigin, unit: str) -> None:
    """Refuse what there can only be one of in a process."""
    compiled = extensions_of(origin)
    if compiled or (first.generation is not None and first.generation.has_extension):
        name = compiled[0] if compiled else "one of its modules"
        raise _refusal(
            first,
            f"{name} is compiled, and a process can have only one version of that",
            "restart the host",
        )
    if origin.root[0] != unit:
        raise _refusal(
            first,
            f"its package {unit!r} is called {origin.root[0]!r} now",
            "restart the host",
        )


def _refusal(handler: Handler, why: str, hint: str) -> PhotonReloadError:
    return PhotonReloadError(
        "its upgrade cannot be swapped in",
        photon=handler.name,
        file=handler.filepath,
        why=why,
        hint=hint,
    )


# === reload.depot ===
# The depot: what pip has installed is what runs.
#
# In come batches of paths from the folders that distributions lie in, out go orders to
# swap in what has become of them. It works in a watcher's thread and waits there until
# an installation is complete.

_log = logging.getLogger("luminal.watch")
_AGAIN = 0.02
"""Seconds between looks at a distribution that is being installed."""

_GONE_FOR = 1.0
"""Seconds after which a distribution without files counts as uninstalled."""

_PHASE = "upgrade"


@attrs.define(eq=False)
class DistributionWatch:
    """Keeps the loaded distributions and what is installed the same.

    Args:
        reloader: Replaces what changes.
        turn: The host's; one change at a time.
        patience: Seconds that an installation may take.
    """

    reloader: Reloader
    turn: CrossLoopLock
    patience: float = 30.0
    _runner: LoopRunner = attrs.Factory(LoopRunner)
    # Whether directories inside of directories are watched → the watcher that does so.
    _watchers: dict[bool, Watcher] = attrs.Factory(dict)
    # Distributions that were found missing, so that this is said once.
    _missing: set[str] = attrs.Factory(set)
    # Distribution that is not complete → `time.monotonic()` when that was seen.
    _incomplete: dict[str, float] = attrs.Factory(dict)
    _is_over: bool = False
    _unsubscribe: Callable[[], None] = lambda: None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch the folders of the distributions that are loaded, now and later.

        Args:
            loop: Where photons' coroutines run as long as it does.
        """
        self._runner.use(loop)
        self._unsubscribe = self.reloader.ports.events.subscribe(self._hear)
        try:
            self._extend(self.reloader.registry.all().values())
        except BaseException:
            self._unsubscribe()
            self._runner.close()
            raise

    def _hear(self, event: Event) -> None:
        """Watch what has been loaded meanwhile, or lies elsewhere since an upgrade."""
        if event.kind in (EventKind.LOADED, EventKind.SWAPPED):
            handler = self.reloader.registry.get(event.photon)
            self._extend([handler] if handler is not None else [])

    def _extend(self, handlers: Iterable[Handler]) -> None:
        """Watch the folders of their distributions; in any thread, without a wait."""
        folders: dict[bool, set[str]] = {True: set(), False: set()}
        for handler in handlers:
            generation = handler.generation if distribution_of(handler) else None
            roots = getattr(generation.origin, "roots", {}) if generation else {}
            for name, directory in roots.items():
                package = os.path.join(directory, *name.split("."))
                is_package = os.path.isdir(package)  # else a lone module
                folders[is_package].add(package if is_package else directory)
        for is_deep, directories in folders.items():
            watcher = self._watchers.get(is_deep)
            known = watcher.directories if watcher is not None else ()
            new = [d for d in directories if d not in known and os.path.isdir(d)]
            if new and watcher is None:
                watcher = Watcher(new, self._take, recursive=is_deep, on_note=_note)
                watcher.start()
                self._watchers[is_deep] = watcher
            elif new and watcher is not None:
                watcher.call(functools.partial(self._add, watcher, new))

    def _add(self, watcher: Watcher, directories: list[str]) -> None:
        """Watch some more; in the watcher's thread."""
        for directory in directories:
            watcher.add(directory)
        self._take()  # what was installed in between

    async def stop(self) -> None:
        """End the watch; the photons go on."""
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

    def _take(self, batch: Batch | None = None) -> None:
        """Look at every loaded distribution; in a watcher's thread."""
        del batch  # which paths have changed says little about what is complete
        for name, handlers in self._loaded().items():
            self._look(name, handlers)
        self._look_again()

    def _look_again(self) -> None:
        """Look at what is not complete until it is, and at news in between."""
        loaded = self._loaded()
        for name in [*self._incomplete]:
            if name in loaded and not self._is_over:
                self._look(name, loaded[name])
            else:
                self._incomplete.pop(name, None)
        if self._incomplete:
            time.sleep(_AGAIN)
            for watcher in [*self._watchers.values()][:1]:
                watcher.call(self._look_again)

    def _look(self, name: str, handlers: list[Handler]) -> None:
        """Swap in what the distribution has become, once it is complete."""
        try:
            upgrade = find_upgrade(handlers)
        except PhotonTornError as error:
            seconds = time.monotonic() - self._incomplete.setdefault(name, time.monotonic())
            if seconds > _GONE_FOR and not _is_there(handlers):
                self._incomplete.pop(name, None)
                self._say_missing(name, handlers, error)
            elif seconds > self.patience:
                self._incomplete.pop(name, None)
                self._refuse(handlers, error)
        except LuminalError as error:
            self._incomplete.pop(name, None)
            self._refuse(handlers, error)
        else:
            self._incomplete.pop(name, None)
            self._missing.discard(name)
            for handler in handlers:
                if handler.problem is not None and handler.problem.phase == _PHASE:
                    handler.problem = None  # it is there again
            self._runner.run(functools.partial(self._act, upgrade, name))

    async def _act(self, upgrade: Upgrade, name: str) -> None:
        async with self.turn:
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
            _log.error("%s: refused: %s", after, done.errors[0])
        elif before is not None:
            _log.info("%s -> %s, %.1f ms", before.origin, after, milliseconds)

    def _refuse(self, handlers: list[Handler], error: LuminalError) -> None:
        _log.error("%s", error)
        self._tell(EventKind.REJECTED, handlers, error)

    def _say_missing(
        self, name: str, handlers: list[Handler], error: LuminalError
    ) -> None:
        """Say once that a distribution is gone; its photons stay until told."""
        if name not in self._missing:
            self._missing.add(name)
            _log.warning("%s is not installed any more; its photons go on", name)
            self._tell(EventKind.ORPHANED, handlers, error)

    def _tell(
        self, kind: EventKind, handlers: list[Handler], error: LuminalError
    ) -> None:
        problem = Problem.of(error, _PHASE)
        for handler in handlers:
            handler.problem = problem
            self.reloader.ports.tell(kind, handler, problem=problem)


def _note(note: Note) -> None:
    """Log what the watcher says; pip takes folders away and brings them back."""
    is_pip = note.code in (NoteCode.GONE, NoteCode.RETURNED)
    _log.log(logging.DEBUG if is_pip else logging.WARNING, "%s", note)


def _is_there(handlers: list[Handler]) -> bool:
    return any(os.path.lexists(handler.filepath) for handler in handlers)
