"""What a host sees of its photons, and how the rooms behind it are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from luminal.errors import LuminalError, PhotonNotFoundError, PhotonReloadError
from luminal.hooks import PluginManager
from luminal.lifecycle import Batch, Events, Handler, Intake, Ports, Registry, Turn
from luminal.lifecycle._batch import depart
from luminal.lifecycle._footprint import Terms
from luminal.loading import CodeCache, World, is_in_transaction, run_apart
from luminal.managers.handlers import Handlers
from luminal.managers.logbook import log_events
from luminal.model import Deadlines, Probation, Report
from luminal.reload import Reloader
from luminal.store import SealedStore

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from luminal.model import Candidate, Outcome
    from luminal.reload._directory_watch import Keeper
    from luminal.reload._distribution_watch import Depot

__all__ = ["Desk"]


class Desk:
    """The rooms of one host, and what is in them.

    It belongs to no event loop: each call runs on the loop that it is awaited on.

    Args:
        logging: Whether each operation is logged, by the logger ``luminal.loader``.
        suppress_errors: Whether a photon that cannot be loaded or started is logged
            instead of raised.
        hookspecs: Classes or modules with the host's hook specifications. With any, a
            photon must not implement a hook that none of them has.
        project: Name of the pluggy project whose markers they and the photons use.
        group: Entry-point group of the host's photons, for `Loader.load`.
        plugins: Where hooks are registered; by default a manager of its own, of
            *project*.
        settings: Photon name → what it finds in ``self.context.settings``.
        deadlines: How long photons may take.
        probation: Terms under which a new generation is provisional, or seconds that
            it lasts; 0 for swaps that are final at once.
        footprint: What is done when a photon changes the interpreter's shared state:
            a policy (``allow``, ``warn``, ``restore``, ``refuse``), or one for each
            facet with ``*`` for the rest, see `luminal.supervise.facets`. None, the
            default, looks at nothing and costs nothing.
        cache: Whether compiled code is kept between runs, see `luminal.store`.
    """

    def __init__(
        self,
        logging: bool = False,
        suppress_errors: bool = False,
        *,
        hookspecs: Iterable[object] = (),
        project: str = "luminal",
        group: str = "luminal.photons",
        plugins: PluginManager | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        deadlines: Deadlines | None = None,
        probation: Probation | float = 0.0,
        cache: bool = True,
        footprint: Mapping[str, str] | str | None = None,
    ) -> None:
        self.logging = logging
        self.suppress_errors = suppress_errors
        # Photon → its latest outcomes; two where two of one name were refused.
        self._outcomes: dict[str, list[Outcome]] = {}
        self._turn = Turn()
        self._registry = Registry()
        self._world = World(CodeCache(SealedStore() if cache else None))
        self._ports = Ports(
            plugins=plugins or PluginManager(project),
            settings=settings or {},
            deadlines=deadlines or Deadlines(),
        )
        for specs in hookspecs:
            self.plugins.add_hookspecs(specs)
            self._ports.knows_all_hooks = True
        self._group = group
        self._ports.terms = Terms.of(footprint, self._ports.events)
        self._intake = Intake(self._world, self._registry, self._ports, logging)
        self._reloader = Reloader(
            self._world,
            self._registry,
            self._ports,
            self._turn,
            _terms(probation),
        )
        # What is watched, see `Loader.watch_photons`.
        self._keeper: Keeper | None = None
        self._depot: Depot | None = None
        if logging:
            log_events(self.events)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} photons={len(self._registry)}>"

    @property
    def photons(self) -> dict[str, Handler]:
        """The loaded photons by name, in the order of loading; a copy."""
        return self._registry.all()

    @property
    def report(self) -> Report:
        """What became of each photon so far, the latest at the end."""
        return Report(tuple(o for of in self._outcomes.values() for o in of))

    def _note(self, report: Report) -> None:
        """Remember the outcomes of *report*, instead of earlier ones."""
        for name in {outcome.photon for outcome in report}:
            self._outcomes.pop(name, None)
        for outcome in report:
            self._outcomes.setdefault(outcome.photon, []).append(outcome)

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

    async def close(self, force_stop: bool = False) -> None:
        """Unload everything, the last loaded first.

        Args:
            force_stop: Skip ``finalize`` and end what photons own at once.
        """
        await self._end_watch(force_stop)
        await self._end_depot()
        await self._reloader.retirements.end()
        await self._unload(self._registry.files(), force_stop)

    async def _end_watch(self, is_forced: bool) -> None:
        """End the watch of a directory; where that is cancelled, it is still there."""
        keeper = self._keeper
        if keeper is not None:
            await keeper.stop(is_forced)
            if self._keeper is keeper:
                self._keeper = None

    async def _end_depot(self) -> None:
        """End the watch of distributions; likewise."""
        depot = self._depot
        if depot is not None:
            await depot.stop()
            if self._depot is depot:
                self._depot = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _unload(
        self, photons: Iterable[Handler | str | os.PathLike[str]], force_stop: bool
    ) -> list[str]:
        """Stop and forget the photons of some files; return the files."""
        async with self._order():
            leaving: dict[str, list[Handler]] = {}
            for photon in photons:
                try:
                    handlers = self._registry.find(photon)
                except PhotonNotFoundError as error:
                    self._raise(error)
                else:
                    leaving[handlers[0].filepath] = handlers
            generations = (h.generation for of in leaving.values() for h in of)
            await self._reloader.confirm([g.unit for g in generations if g])
            names = {h.name for of in leaving.values() for h in of}
            await self._reloader.retirements.end(names)
            await depart(leaving, self._registry, self._world, self._ports, force_stop)
        return list(leaving)

    def _order(self) -> Turn:
        """Return the turn that every order waits for.

        Raises:
            PhotonReloadError: The caller is part of the order under way, which would
                wait for itself: a module that is being imported, or the start of a
                photon that is being reloaded.
        """
        if is_in_transaction():
            raise PhotonReloadError(
                "cannot be asked for from inside of a load or reload",
                why="the one under way would wait for itself",
                hint="ask from a task of its own once the photon has started",
            )
        return self._turn

    async def _find(
        self, look: Callable[[], Sequence[Candidate]]
    ) -> Sequence[Candidate]:
        """Read the disk, apart from the event loop."""
        found = await run_apart(look, self._ports.deadlines.load, "luminal-discover")
        if isinstance(found.error, LuminalError):
            self._raise(found.error)
        elif found.error is not None:
            raise found.error
        candidates = found.value or ()
        self._ports.hear_of(candidates)
        return candidates

    async def _take(
        self, candidates: Iterable[Candidate], base: type, others: Sequence[str]
    ) -> Batch:
        async with self._order():
            batch = await self._intake.take(candidates, base, others)
        self._note(batch.report)
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


def _terms(probation: Probation | float) -> Probation:
    return (
        probation if isinstance(probation, Probation) else Probation(float(probation))
    )
