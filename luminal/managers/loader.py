"""`Loader`: where a host's rooms are put together, and where it gives its orders."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

from luminal.discovery import discover, discover_file
from luminal.errors import LuminalError, PhotonNotFoundError
from luminal.hooks import PluginManager
from luminal.interfaces import IPhoton
from luminal.lifecycle import Batch, Events, Handler, Intake, Ports, Registry, Turn
from luminal.lifecycle.departure import depart
from luminal.loading import CodeCache, World, run_apart
from luminal.managers.handlers import Handlers, start_all
from luminal.managers.logbook import log_events
from luminal.model import Deadlines, Report
from luminal.store import SealedStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from luminal.model import Candidate

__all__ = ["Loader"]

_Path = str | os.PathLike[str]


class Loader:
    """Loads, starts, calls and unloads the photons of one host.

    It belongs to no event loop: each call runs on the loop that it is awaited on.

    Args:
        logging: Whether each operation is logged, by the logger ``luminal.loader``.
        suppress_errors: Whether a photon that cannot be loaded or started is logged
            instead of raised.
        plugins: Where hooks are registered; by default a manager of its own.
        settings: Photon name → what it finds in ``self.context.settings``.
        deadlines: How long photons may take.
        cache: Whether compiled code is kept between runs, see `luminal.store`.
    """

    def __init__(
        self,
        logging: bool = False,
        suppress_errors: bool = False,
        *,
        plugins: PluginManager | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        deadlines: Deadlines | None = None,
        cache: bool = True,
    ) -> None:
        self.logging = logging
        self.suppress_errors = suppress_errors
        self.report = Report()
        self._turn = Turn()
        self._registry = Registry()
        self._world = World(CodeCache(SealedStore() if cache else None))
        self._ports = Ports(
            plugins=plugins or PluginManager("luminal"),
            settings=settings or {},
            deadlines=deadlines or Deadlines(),
        )
        self._intake = Intake(self._world, self._registry, self._ports, logging)
        if logging:
            log_events(self.events)

    def __repr__(self) -> str:
        return f"<Loader photons={len(self._registry)}>"

    @property
    def photons(self) -> dict[str, Handler]:
        """The loaded photons by name, in the order of loading; a copy."""
        return self._registry.all()

    @property
    def plugins(self) -> PluginManager:
        """Where the host adds its hook specifications."""
        return self._ports.plugins

    @property
    def hook(self) -> Any:
        """Calls hooks: ``loader.hook.name(argument=value)``."""
        return self._ports.plugins.hook

    @property
    def ahook(self) -> Any:
        """Awaits hooks: ``await loader.ahook.name(argument=value)``."""
        return self._ports.plugins.ahook

    @property
    def events(self) -> Events:
        """Who hears what happens; holds the journal."""
        return self._ports.events

    async def load(
        self,
        candidates: Iterable[Candidate],
        photon_base: type = IPhoton,
        other_classes: Sequence[str] = (),
    ) -> Report:
        """Load what `luminal.discover` found; failures are in the report.

        Args:
            candidates: In load order, as `luminal.discover` returns them.
            photon_base: What photons of directories derive from.
            other_classes: Names of further classes to wrap in Handlers.

        Returns:
            What became of each photon; also kept as `report`.
        """
        batch = await self._take(candidates, photon_base, other_classes)
        return batch.report

    async def start(self) -> Report:
        """Start all photons that are loaded, in load order.

        Returns:
            What became of each one; a failure keeps no other from being started.
        """
        self.report = await start_all(self._registry.all().values())
        return self.report

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
        async with self._turn:
            leaving: dict[str, list[Handler]] = {}
            for photon in photons:
                try:
                    handlers = self._registry.find(photon)
                except PhotonNotFoundError as error:
                    self._raise(error)
                else:
                    leaving[handlers[0].filepath] = handlers
            await depart(leaving, self._registry, self._world, self._ports, force_stop)
        return list(leaving)

    async def close(self, force_stop: bool = False) -> None:
        """Unload everything, the last loaded first.

        Args:
            force_stop: Skip ``finalize`` and end what photons own at once.
        """
        await self.unload_photons(self._registry.files(), force_stop)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _find(
        self, look: Callable[[], Sequence[Candidate]]
    ) -> Sequence[Candidate]:
        """Read the disk, apart from the event loop."""
        found = await run_apart(look, self._ports.deadlines.load, "luminal-discover")
        if isinstance(found.error, LuminalError):
            self._raise(found.error)
        elif found.error is not None:
            raise found.error
        return found.value or ()

    async def _take(
        self, candidates: Iterable[Candidate], base: type, others: Sequence[str]
    ) -> Batch:
        async with self._turn:
            batch = await self._intake.take(candidates, base, others)
        self.report = batch.report
        return batch

    def _hand_out(self, batch: Batch) -> Handlers:
        error = batch.error()
        if error is not None:
            self._raise(error)
        return Handlers(batch.handlers, suppress_errors=self.suppress_errors)

    def _raise(self, error: LuminalError) -> None:
        """Raise *error*, or log it where the host wants that."""
        if not self.suppress_errors:
            raise error
        import logging

        logging.getLogger("luminal.loader").error("%s", error)
