"""Let a running host follow the kill list, see `KillWatch`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from luminal.errors import LuminalError, PhotonVerificationError
from luminal.model import EventKind, Problem
from luminal.reload._file_poll import FilePoll, state_of
from luminal.reload._reloader import Reloaded
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
        # How the files of the list were at the latest look.
        self._seen: object = None
        self._poll = FilePoll(
            self._look,
            name="luminal-kill-list",
            interval=_INTERVAL,
            failure="the kill list could not be followed",
            is_needed=lambda: bool(len(batch_loader.registry)) or may_load(),
        )

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start looking, from a thread that ends where no photon can need it any more.

        Args:
            loop: The loop for the photons' coroutines, as long as it runs.
        """
        if self._poll.start(loop):
            self._seen = None

    def stop(self) -> None:
        """Look no more; returns when what is under way has ended."""
        self._poll.stop()

    def halt(self) -> None:
        """Cancel what is under way, and look no more."""
        self._poll.halt()

    def _look(self) -> None:
        now = [state_of(path) for path in kill_list_files(self._judge.file)]
        if now == self._seen:
            return
        killing = current_kill_list(self._judge.file)
        if any(_killed(g, killing) for g in self._generations()):
            self._poll.runner.run(lambda: self._apply(killing))
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
