"""Let a running host follow the kill list, see `KillWatch`."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

from luminal.errors import LuminalError, PhotonVerificationError
from luminal.hooks._totals import begin_anew_in_forks
from luminal.model import EventKind, Problem
from luminal.reload._loop import LoopRunner
from luminal.reload._reloader import Reloaded
from luminal.supervise import unowned
from luminal.trust import current_kill_list, kill_list_files

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from luminal.lifecycle import BatchLoader, CrossLoopLock
    from luminal.loading import Generation, Pinned
    from luminal.reload._reloader import Reloader
    from luminal.trust import Judge, Kill, KillList

__all__ = ["KillWatch"]

_log = logging.getLogger("luminal.watch")

_INTERVAL = 0.5
"""Seconds between two looks at the list: it is for what must not wait for a restart."""


class KillWatch:
    """Looks at the kill list, and ends what it names while the host runs.

    A unit that is killed is rolled back to the newest version that has run in this
    process and is not killed; where there is none, its photons are unloaded.

    Args:
        judge: Of the host.
        reloader: Returns to earlier versions.
        batch_loader: Unloads photons.
        lock: Of the host; held meanwhile.
        may_load: Whether a watch may load photons, though there are none now.
    """

    def __init__(
        self,
        judge: Judge,
        reloader: Reloader,
        batch_loader: BatchLoader,
        lock: CrossLoopLock,
        may_load: Callable[[], bool],
    ) -> None:
        self._judge = judge
        self._reloader = reloader
        self._batch_loader = batch_loader
        self._lock = lock
        self._may_load = may_load
        self._runner = LoopRunner()
        # How the files of the list were at the latest look.
        self._seen: object = None
        # Why it could not be followed, as it was logged last.
        self._logged = ""
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self.begin_anew()
        begin_anew_in_forks(self)

    def begin_anew(self) -> None:
        """Free the lock; also in a process that was just forked."""
        # Held where the thread is started, and where it decides to end.
        self._starting = threading.Lock()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start looking, from a thread that ends where no photon can need it any more.

        Args:
            loop: The loop for the photons' coroutines, as long as it runs.
        """
        with self._starting:
            if self._thread is not None and self._thread.is_alive():
                return
            self._runner = LoopRunner()  # that of a parent has ended with the fork
            self._runner.use(loop)
            self._seen = None
            self._thread = threading.Thread(
                target=self._watch, name="luminal-kill-list", daemon=True
            )
            with unowned():
                self._thread.start()

    def stop(self) -> None:
        """Look no more; returns when what is under way has ended."""
        self._is_over.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._runner.close()

    def _watch(self) -> None:
        while not self._ends() and not self._is_over.wait(_INTERVAL):
            try:
                self._look()
                self._logged = ""
            except LuminalError as error:
                if self._logged != str(error):  # not twice a second
                    self._logged = str(error)
                    _log.error("the kill list could not be followed: %s", error)
            except Exception:  # noqa: BLE001 - it is tried again
                _log.exception("the kill list could not be followed")

    def _ends(self) -> bool:
        """Whether there is nothing to look for; then a later `start` begins anew."""
        with self._starting:
            if len(self._batch_loader.registry) or self._may_load():
                return False
            self._thread = None
            return True

    def _look(self) -> None:
        now = [_state_of(path) for path in kill_list_files(self._judge.file)]
        if now == self._seen:
            return
        killing = current_kill_list(self._judge.file)
        if any(_killed(g, killing) for g in self._generations()):
            self._runner.run(lambda: self._apply(killing))
        self._seen = now  # only now: what has failed is tried again

    def _generations(self) -> list[Generation]:
        handlers = self._batch_loader.registry.all().values()
        found = {h.generation.unit: h.generation for h in handlers if h.generation}
        return list(found.values())

    async def _apply(self, killing: KillList) -> None:
        async with self._lock:
            for generation in self._generations():
                kill = _killed(generation, killing)
                if kill is not None:
                    await self._end(generation, killing, kill)

    async def _end(self, generation: Generation, killing: KillList, kill: Kill) -> None:
        """Return to an earlier version of what is killed, or unload it."""
        registry = self._batch_loader.registry
        handlers = registry.of_units([generation.unit])
        asked = generation.snapshot.unit if generation.snapshot else None
        what = f"{asked.name} {asked.version}" if asked else generation.unit
        error = PhotonVerificationError(
            f"{what} is killed",
            file=handlers[0].filepath,
            why=f"kill list {killing.number}: {kill.why or 'no reason given'}",
            hint="install a newer version",
        )
        problem = Problem.of(error, "trust")
        back = self._reloader.newest_earlier(
            generation.unit, lambda files: not _is_killed(files, killing)
        )
        if back is not None:
            done = Reloaded()
            try:
                done = await self._reloader.return_to(generation.unit, back, problem)
                await done.ensure_retired()
            except Exception:  # noqa: BLE001 - it must not run on
                _log.exception("%r cannot be rolled back", generation.unit)
            if done.handlers:
                version = back.snapshot.unit.version if back.snapshot else "earlier"
                _log.error("%s; rolled back to version %s", problem.what, version)
                return
        for handler in handlers:
            self._batch_loader.runtime.emit(
                EventKind.REJECTED, handler, problem=problem
            )
        _log.error("%s: %s; unloaded", problem.what, problem.why)
        leaving = {h.filepath: registry.of_file(h.filepath) for h in handlers}
        try:
            await self._reloader.end_earlier(handlers)
            await self._batch_loader.unload_batch(leaving, is_forced=False)
        except LuminalError as failure:  # of its `finalize`; it is unloaded
            _log.error("%s", failure)


def _killed(generation: Generation, killing: KillList) -> Kill | None:
    snapshot = generation.snapshot
    if snapshot is None:
        return None
    asked = snapshot.unit
    return killing.find(asked.name, asked.version, asked.tree.digest)


def _is_killed(files: Pinned, killing: KillList) -> bool:
    if files.snapshot is None:
        return True  # nobody has judged it
    asked = files.snapshot.unit
    return killing.find(asked.name, asked.version, asked.tree.digest) is not None


def _state_of(file: str) -> object:
    """Return what differs when a file was written; None where there is none."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
