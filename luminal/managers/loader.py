"""`Loader`: the orders that a host gives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from luminal.discovery import discover, discover_file
from luminal.errors import ThreadManagerAlreadyRunningError
from luminal.interfaces import IPhoton
from luminal.managers.desk import Desk
from luminal.managers.handlers import Handlers, start_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luminal.lifecycle import Handler
    from luminal.model import Candidate, Report
    from luminal.reload import Policy, Reloaded

__all__ = ["Loader"]

_Path = str | os.PathLike[str]


class Loader(Desk):
    """Loads, starts, calls, reloads and unloads the photons of one host.

    See `luminal.managers.desk.Desk` for its arguments and for what it shows.
    """

    async def load(
        self,
        candidates: Iterable[Candidate] | None = None,
        photon_base: type = IPhoton,
        other_classes: Sequence[str] = (),
    ) -> Report:
        """Load what `luminal.discover` found; failures are in the report.

        Args:
            candidates: In load order, as `luminal.discover` returns them; by default
                what is installed in the host's entry-point group.
            photon_base: What photons of directories derive from.
            other_classes: Names of further classes to wrap in Handlers.

        Returns:
            What became of each photon of this batch; `report` has those before as well.
        """
        if candidates is None:
            candidates = await self._find(lambda: discover(group=self._group))
        return (await self._take(candidates, photon_base, other_classes)).report

    async def start(self) -> Report:
        """Start all photons that are loaded, in load order.

        Returns:
            What became of each one; a failure keeps no other from being started.
        """
        report = await start_all(self._registry.all().values())
        self._note(report)
        return report

    async def load_photon(
        self,
        photon_path: _Path,
        photon_base: type = IPhoton,
        other_classes: Sequence[str] = (),
        recursive: bool = False,
    ) -> Handlers:
        """Load the photons of a file; they are not started yet.

        Args:
            photon_path: Path of the file; of a package, its ``__init__.py``.
            photon_base: What photons derive from.
            other_classes: Names of further classes to wrap in Handlers.
            recursive: Accepted for symmetry with `load_photons`; a file has nothing
                below it.

        Returns:
            Handlers of its photons.

        Raises:
            PhotonNotFoundError: There is no such file.
            LuminalError: It cannot be loaded; nothing of it remains.
        """
        del recursive
        found = await self._find(
            lambda: discover_file(photon_path, photon_base=photon_base)
        )
        return self._hand_out(await self._take(found, photon_base, other_classes))

    async def load_photons(
        self,
        photons_directory: _Path,
        photon_base: type = IPhoton,
        other_classes: Sequence[str] = (),
        recursive: bool = False,
    ) -> Handlers:
        """Load the photons of a directory; they are not started yet.

        Args:
            photons_directory: Path of the directory.
            photon_base: What photons derive from.
            other_classes: Names of further classes to wrap in Handlers.
            recursive: Whether to look in everything below it.

        Returns:
            Handlers of the photons that were loaded.

        Raises:
            DirectoryNotFoundError: There is no such directory.
            LuminalError: A photon cannot be loaded; the others are.
            PhotonBatchError: Several cannot.
        """
        found = await self._find(
            lambda: discover(
                photons_directory,
                group=None,
                recursive=recursive,
                photon_base=photon_base,
            )
        )
        return self._hand_out(await self._take(found, photon_base, other_classes))

    async def unload_photon(
        self, photon: Handler | _Path, force_stop: bool = False
    ) -> bool:
        """Stop and forget all photons of the file that *photon* came from.

        Args:
            photon: A Handler, the path of a file, or a photon's name.
            force_stop: Skip ``finalize`` and end what they own at once.

        Returns:
            Whether they were unloaded.

        Raises:
            PhotonNotFoundError: It is not loaded.
        """
        return bool(await self.unload_photons([photon], force_stop))

    async def unload_photons(
        self, photons: Iterable[Handler | _Path], force_stop: bool = False
    ) -> list[str]:
        """Stop and forget the photons of several files, the last loaded first.

        Args:
            photons: Handlers, paths of files, or names.
            force_stop: Skip ``finalize`` and end what they own at once.

        Returns:
            The paths of the files that were unloaded.

        Raises:
            PhotonNotFoundError: One of them is not loaded; none is unloaded then.
        """
        return await self._unload(photons, force_stop)

    async def reload_photon(self, photon: Handler | _Path) -> Handler | list[Handler]:
        """Replace all photons of the file that *photon* came from, in one swap.

        On any failure everything is as it was before, the old photons running with
        their state.

        Args:
            photon: A Handler, the path of a file, or a photon's name.

        Returns:
            The Handler of the photon, the same as before; a list where the file has
            several.

        Raises:
            PhotonNotFoundError: It is not loaded.
            LuminalError: The new generation was refused, and why.
        """
        handlers = await self.reload_photons([photon])
        return handlers[0] if len(handlers) == 1 else handlers

    async def reload_photons(
        self, photons: Iterable[Handler | _Path], policy: Policy = "all"
    ) -> list[Handler]:
        """Replace the photons of several files in one transaction.

        Args:
            photons: Handlers, paths of files, or names.
            policy: ``all`` for all or nothing; ``component`` lets those go on that no
                import connects to a failure.

        Returns:
            Handlers of the photons of these files, the same as before.

        Raises:
            PhotonNotFoundError: One is not loaded; nothing is reloaded then.
            LuminalError: New generations were refused, and why.
        """
        async with self._order():
            asked = self._registered(photons)
            done = await self._reloader.reload(asked, policy)
        await done.settle()
        self._hear(done)
        files = {handler.filepath for handler in asked}
        return [h for file in files for h in self._registry.of_file(file)]

    async def roll_back(self, photon: Handler | _Path) -> list[Handler]:
        """Return to the generation before, as it was read then, by another swap.

        Args:
            photon: A Handler, the path of a file, or a photon's name.

        Returns:
            The Handlers of the file's photons.

        Raises:
            PhotonNotFoundError: It is not loaded.
            PhotonRollbackError: It has had one generation only.
        """
        async with self._order():
            asked = self._registered([photon])
            done = await self._reloader.roll_back(asked[0])
        await done.settle()
        self._hear(done)
        return list(done.handlers)

    async def watch_photons(self, photons_directory: _Path) -> None:
        """Keep what runs as the directory is, from a background thread.

        Loads and starts what is there, reloads what changes, loads and starts what
        appears, unloads what is deleted. Returns at once; the watch goes on when the
        calling event loop has ended.

        Args:
            photons_directory: Path of the directory.

        Raises:
            TypeError: It is no path.
            DirectoryNotFoundError: There is no such directory.
            ThreadManagerAlreadyRunningError: A directory is watched already.
        """
        if not isinstance(photons_directory, str | os.PathLike):
            raise TypeError(f"not a path of a directory: {photons_directory!r}")
        if self._keeper is not None:
            raise ThreadManagerAlreadyRunningError(
                f"{self._keeper.directory!r} is watched already",
                hint="stop that first with stop_watching_photons",
            )
        import asyncio

        from luminal.reload._directory_watch import Keeper

        path = os.fspath(photons_directory)
        keeper = Keeper(path, self._intake, self._reloader, self._turn)
        keeper.start(asyncio.get_running_loop())
        self._keeper = keeper

    async def stop_watching_photons(self, halt_threads: bool = False) -> None:
        """End the watch, and unload what it has loaded.

        Args:
            halt_threads: Skip ``finalize`` and end at once what the photons own.
        """
        await self._end_watch(halt_threads)

    async def watch_distributions(self) -> None:
        """Swap in what pip installs for the photons that are loaded.

        Watches from a background thread, also when the calling event loop has ended.
        Sources of editable installations are watched too.

        Raises:
            ThreadManagerAlreadyRunningError: They are watched already.
        """
        if self._depot is not None:
            raise ThreadManagerAlreadyRunningError(
                "distributions are watched already",
                hint="stop that first with stop_watching_distributions",
            )
        import asyncio

        from luminal.reload._distribution_watch import Depot

        depot = Depot(self._reloader, self._turn)
        depot.start(asyncio.get_running_loop())
        self._depot = depot

    async def stop_watching_distributions(self) -> None:
        """End that watch; the photons go on."""
        await self._end_depot()

    def _registered(self, photons: Iterable[Handler | _Path]) -> list[Handler]:
        return [
            handler for photon in photons for handler in self._registry.find(photon)
        ]

    def _hear(self, done: Reloaded) -> None:
        self._note(done.report)
        if done.errors:
            self._raise(done.errors[0])
