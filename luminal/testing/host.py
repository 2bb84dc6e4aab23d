"""A host for tests: isolated, in a temporary directory, with all its news kept.

In come files and wishes, out come running photons and answers once the event that says
so has come. It must never sleep, and never look at what is installed unless asked to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from luminal.errors import (
    LuminalError,
    PhotonBatchError,
    PhotonNotFoundError,
)
from luminal.managers.loader import Loader
from luminal.model import EventKind
from luminal.testing.choosing import choose, digest_of
from luminal.testing.folder import Folder
from luminal.testing.journal import Journal
from luminal.testing.leak_check import LeakCheck
from luminal.testing.place import Place

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from luminal.lifecycle import Handler
    from luminal.model import Candidate, Event

__all__ = ["PATIENCE", "AsyncHost"]

PATIENCE = 10.0
"""Seconds until a test gives up on an event, unless it says otherwise."""


class AsyncHost(Folder):
    """A host in a directory of its own, for tests that are coroutines.

    Compiled code and indexes are kept in that directory too, and installed photons are
    left alone unless *group* names them. Close it, or use ``async with``.

    Args:
        directory: Where it lives, photons in its ``photons``; by default a temporary
            directory that goes when the host is closed.
        hookspecs: Classes or modules of hook specifications to add.
        group: Entry-point group of installed photons that `run` finds too, such as
            ``"luminal.photons"``; None for none.
        owns_loop: Whether every task on the loop that it is used on counts as a
            photon's; else those that run a file of the directory do.
        options: Further arguments of `luminal.Loader`: ``settings``, ``deadlines`` …

    Attributes:
        loader: The host's Loader, for all that is not here.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        hookspecs: Iterable[Any] = (),
        group: str | None = None,
        owns_loop: bool = False,
        **options: Any,
    ) -> None:
        self._place = Place(directory)
        super().__init__(self._place.photons)
        self._group = group
        self._journal = Journal()
        self._is_closed = False
        try:
            self.loader = Loader(**options)
            for specs in hookspecs:
                self.loader.plugins.add_hookspecs(specs)
        except BaseException:
            self._place.close()
            raise
        self.loader.events.subscribe(self._journal.hear)
        self._check = LeakCheck(
            self.loader, str(self.path), self._journal, owns_loop=owns_loop
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} photons={len(self.loader.photons)}>"

    @property
    def hook(self) -> Any:
        """Calls hooks: ``host.hook.name(argument=value)``."""
        return self.loader.hook

    @property
    def events(self) -> Sequence[Event]:
        """All that has happened so far, oldest first."""
        return tuple(self._journal.events)

    def __getitem__(self, name: str) -> Any:
        """Return the running photon called *name*."""
        return self._handler(name).instance

    async def run(self, *names: str) -> list[Handler]:
        """Load and start photons.

        Args:
            names: Files below the directory, or names of photons; none for all that
                are there.

        Returns:
            Their Handlers, in load order; those that ran already are left out.

        Raises:
            PhotonNotFoundError: There is no photon of one of these names.
            LuminalError: One could not be loaded or started; the others run.
            PhotonBatchError: Several could not.
        """
        self._check.begin()
        wanted = self._wanted(names)
        report = await self.loader.load(wanted)
        errors = [
            each.problem.error(each.photon) for each in report.failed if each.problem
        ]
        started = []
        for outcome in report.loaded:
            handler = self._handler(outcome.photon)
            try:
                await handler.start()
            except LuminalError as error:
                errors.append(error)
            started.append(handler)
        if len(errors) > 1:
            raise PhotonBatchError("several photons do not run", errors)
        if errors:
            raise errors[0]
        return started

    async def reload(self, *photons: str) -> list[Handler]:
        """Reload photons by name, as a host would without watching.

        Raises:
            LuminalError: The new generation was refused, and why.
        """
        return await self.loader.reload_photons(photons)

    async def unload(self, *photons: str) -> None:
        """Stop and forget photons by name."""
        await self.loader.unload_photons(photons)

    async def watch(self, deadline: float = PATIENCE) -> None:
        """Watch the directory from now on; returns when all that is there runs.

        What cannot be loaded is no error here; it is among `events`.

        Args:
            deadline: Seconds to wait for the photons that are there.

        Raises:
            PhotonTimeoutError: They did not all come to rest in time.
        """
        self._check.begin()
        self._about_to_change()
        awaited = {candidate.name for candidate in self._wanted(())}
        await self.loader.watch_photons(self.path)
        await self._journal.all_settled(awaited, deadline)

    async def reloaded(self, photon: str, deadline: float = PATIENCE) -> Handler:
        """Wait until the watch has swapped in what the latest edit wrote.

        Args:
            photon: Name of the photon.
            deadline: Seconds to wait.

        Returns:
            Its Handler.

        Raises:
            LuminalError: The edit was refused, and why; the old generation serves.
            PhotonTimeoutError: Nothing of the kind happened in time.
        """
        await self._journal.take(
            EventKind.SWAPPED, photon, deadline, lambda: self._is_as_on_disk(photon)
        )
        return self._handler(photon)

    async def until(
        self, kind: EventKind | str, photon: str = "", deadline: float = PATIENCE
    ) -> Event:
        """Wait for the next event of a kind; those since the latest edit count.

        Args:
            kind: Which kind, as `luminal.model.EventKind` or its value.
            photon: Name of the photon; any by default.
            deadline: Seconds to wait.

        Raises:
            LuminalError: The photon has failed instead.
            PhotonTimeoutError: It did not happen in time.
        """
        return await self._journal.take(EventKind(kind), photon, deadline)

    async def assert_no_leaks(self, deadline: float = 5.0) -> None:
        """Unload everything, and fail where something of it is left.

        Looks for threads, tasks, hooks, modules, child processes, open files and
        sockets, and entries of ``sys.meta_path`` and the like.

        Args:
            deadline: Seconds that things have to end.

        Raises:
            AssertionError: Something is left; says what, and where it stands.
        """
        self._check.begin()
        await self.loader.close()
        await self._check.assert_none(deadline)

    async def close(self) -> None:
        """Unload everything and give the directory up. Twice does no harm."""
        try:
            await self.loader.close()
        finally:
            self._is_closed = True
            self._place.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # What is there.

    def _about_to_change(self) -> None:
        if self._is_closed:
            raise RuntimeError("the host is closed; make another one")
        self._journal.mark = len(self._journal.events)

    def _wanted(self, names: Sequence[str]) -> list[Candidate]:
        loaded = {handler.filepath for handler in self.loader.photons.values()}
        return choose(str(self.path), self._group, names, loaded)

    def _handler(self, photon: str) -> Handler:
        try:
            return self.loader.photons[photon]
        except KeyError:
            there = ", ".join(self.loader.photons) or "none"
            raise PhotonNotFoundError(
                "is not loaded", photon=photon, why=f"loaded are: {there}"
            ) from None

    def _is_as_on_disk(self, photon: str) -> bool:
        """Whether the bytes that serve are those of the file."""
        handler = self.loader.photons.get(photon)
        return handler is not None and handler.checksum == digest_of(handler.filepath)
