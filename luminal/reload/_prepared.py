"""Prepare what is to replace a bundle, and wait, ready, for a decision from outside.

Several processes that are to change together each prepare first. What may fail is over
then: the new photons are started beside the old ones, and nothing is left but the
commit. The host's turn is held meanwhile, so nothing else is loaded, reloaded or
unloaded; calls of hooks go on, with what runs.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import attrs

from luminal._plain import attribute_of
from luminal.discovery import candidates_of
from luminal.errors import PhotonReloadError
from luminal.interfaces import IPhoton
from luminal.loading import BundleOrigin, files_of_bundle
from luminal.model import Report, State
from luminal.reload._plan import Change, bundle_upgrade
from luminal.reload._reloader import Reloaded
from luminal.reload._swap import shield_until_done
from luminal.supervise import unowned

if TYPE_CHECKING:
    from luminal.lifecycle import BatchLoader, BatchResult, CrossLoopLock, Handler
    from luminal.reload._reloader import Reloader
    from luminal.trust import Bundle

__all__ = ["Prepared", "fleet_path"]

_REST = 0.05
"""Seconds after its commit until a process takes apart what was replaced, where nothing
of a photon's is to be called for that: others on this machine commit just then."""


def fleet_path(name: str) -> str:
    """Return the path under which the files of a fleet's bundle appear in tracebacks.

    There is no file: its bytes are those that the fleet has decided. It is the same in
    all processes and for all versions.

    Args:
        name: Of the bundle.
    """
    return os.path.join(os.path.abspath(os.sep), "luminal-fleet", f"{name}.photon")


class _Undone(Exception):  # noqa: N818 - it is no failure
    """It was decided against."""


@attrs.define(eq=False)
class Prepared:
    """A bundle that is loaded or swapped in up to the commit, which waits.

    All of its methods are awaited on one event loop.

    Args:
        bundle: What is to run; opened with the path that `fleet_path` returns.
        reloader: Of the host.
        batch_loader: Of the host.
        lock: Of the host; held until `commit` or `undo`.

    Attributes:
        loop: The loop that it runs on.
        report: What became of the photons.
    """

    bundle: Bundle
    reloader: Reloader
    batch_loader: BatchLoader
    lock: CrossLoopLock
    loop: asyncio.AbstractEventLoop = attrs.Factory(asyncio.get_running_loop)
    report: Report = attrs.Factory(Report)
    _task: asyncio.Task[None] = attrs.field(init=False)
    # All but the commit is done.
    _is_ready: asyncio.Future[None] = attrs.field(init=False)
    # Whether to commit.
    _decision: asyncio.Future[bool] = attrs.field(init=False)
    # Calls reach the new photons.
    _is_serving: asyncio.Future[None] = attrs.field(init=False)
    # `commit` returned some time ago, so what was replaced may be taken apart.
    _has_rested: asyncio.Event = attrs.Factory(asyncio.Event)

    def __attrs_post_init__(self) -> None:
        self._is_ready = self.loop.create_future()
        self._is_serving = self.loop.create_future()
        self._decision = self.loop.create_future()
        with unowned():
            self._task = self.loop.create_task(self._run(), name="luminal-prepare")

    @property
    def is_over(self) -> bool:
        """Whether it has been committed or undone."""
        return self._task.done()

    async def wait_ready(self) -> None:
        """Return when nothing is left but the commit.

        Raises:
            LuminalError: It cannot run here. Everything is as it was.
            BaseException: Likewise.
        """
        try:
            await self._wait_for(self._is_ready)
        except asyncio.CancelledError:
            await self.undo()
            raise

    async def commit(self) -> None:
        """Let calls reach the new photons; return when they do.

        What they have replaced is retired after that.

        Raises:
            LuminalError: It could not be done after all. Everything is as it was.
        """
        if not self._decision.done():
            self._decision.set_result(True)
        try:
            await self._wait_for(self._is_serving)
        finally:
            self.loop.call_later(_REST, self._has_rested.set)

    async def _wait_for(self, step: asyncio.Future[None]) -> None:
        """Wait for a step; raise what has ended the task before it."""
        await asyncio.wait({self._task, step}, return_when=asyncio.FIRST_COMPLETED)
        if not step.done():
            self._task.result()
            raise asyncio.CancelledError  # it was undone meanwhile

    async def undo(self) -> None:
        """End what was started; return when everything is as it was."""
        if not self._decision.done():
            self._decision.set_result(False)
        if not self._is_ready.done():
            self._task.cancel()
        await shield_until_done(_end_of(self._task))

    async def _gate(self) -> None:
        if not self._is_ready.done():
            self._is_ready.set_result(None)
        if not await asyncio.shield(self._decision):
            raise _Undone

    async def _run(self) -> None:
        done = Reloaded()
        try:
            async with self.lock:
                origin = BundleOrigin(
                    self.bundle.path,
                    self.bundle.manifest.root,
                    fleet=self.bundle.name,
                )
                serving = self.batch_loader.world.generations.get(origin.root)
                if serving is None or not self._handlers(origin):
                    await self._load(origin)
                else:
                    self._check_origin(origin, serving.origin)
                    done = await self._swap(origin)
        except _Undone:
            return
        self._is_serving.set_result(None)
        await self._has_rested.wait()
        await done.ensure_retired()

    def _handlers(self, origin: BundleOrigin) -> list[Handler]:
        return self.batch_loader.registry.of_units([origin.root])

    def _check_origin(self, origin: BundleOrigin, other: object) -> None:
        """Refuse to replace what the process has loaded by itself.

        Raises:
            PhotonReloadError: Says what to do.
        """
        if isinstance(other, BundleOrigin) and other.fleet == origin.fleet:
            return
        handler = self._handlers(origin)[0]
        raise PhotonReloadError(
            "cannot be replaced by the fleet",
            photon=handler.name,
            file=handler.filepath,
            why=f"this process has loaded its package {origin.root!r} by itself",
            hint="let the fleet alone load it, or unload it here first",
        )

    async def _swap(self, origin: BundleOrigin) -> Reloaded:
        """Replace what runs of the bundle; return what is to be retired.

        Raises:
            LuminalError: It was rejected.
        """
        handlers = self._handlers(origin)
        units = self.reloader.affected({origin.root})
        for handler in self.batch_loader.registry.of_units(units):
            _refuse_exclusive(handler)
        pinned = files_of_bundle(self.bundle, origin)
        change = Change()
        change.include(bundle_upgrade(pinned, origin, handlers))
        done = await self.reloader.replace(change, gate=self._gate)
        self.report = done.report
        if done.errors:
            raise done.errors[0]
        return done

    async def _load(self, origin: BundleOrigin) -> None:
        """Load and start what does not run here yet; its hooks wait for the decision.

        Raises:
            LuminalError: It cannot be loaded or started.
        """
        loader = self.batch_loader
        candidates = candidates_of(self.bundle, self.bundle.path)
        origin.take(self.bundle, files_of_bundle(self.bundle, origin).locations)
        try:
            batch = await loader.load_batch(candidates, IPhoton, origin=origin)
            self.report = batch.report
            _check(batch)
            for handler in batch.handlers:
                await handler._start()
            await self._gate()
            for handler in batch.handlers:
                handler._let_be_called()
        except BaseException:
            # Those of the registry: where this is undone while it loads, it knows of no
            # batch, and they may be there already.
            leaving = {self.bundle.path: self._handlers(origin)}
            await shield_until_done(loader.unload_batch(leaving, is_forced=False))
            raise


def _check(batch: BatchResult) -> None:
    """Refuse a load of which a part has failed.

    Raises:
        LuminalError: Why it has.
    """
    error = batch.error()
    if error is not None:
        raise error


def _refuse_exclusive(handler: Handler) -> None:
    """Refuse a photon that would be stopped while members vote.

    Raises:
        PhotonReloadError: Says why.
    """
    value = attribute_of(handler.instance, "photon_exclusive", False)
    if handler.state is State.RUNNING and type(value) in (bool, int) and value:
        raise PhotonReloadError(
            "cannot be swapped by a fleet",
            photon=handler.name,
            file=handler.filepath,
            why="it is exclusive: it would not run while the members vote",
            hint="take out 'photon_exclusive', or restart the members one by one",
        )


async def _end_of(task: asyncio.Task[None]) -> None:
    """Wait for the end of *task*, and take what it raised: there is nobody to tell."""
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
