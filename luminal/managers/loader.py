"""`Loader`: the orders that a host gives."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Self

import attrs

from luminal.discovery import discover, discover_file
from luminal.errors import (
    LuminalError,
    PhotonBatchError,
    PhotonNotFoundError,
    PhotonReloadError,
    ThreadManagerAlreadyRunningError,
)
from luminal.hooks import PluginManager
from luminal.interfaces import IPhoton
from luminal.lifecycle import (
    BatchLoader,
    BatchResult,
    CrossLoopLock,
    Events,
    Handler,
    InterpreterPolicy,
    Registry,
    Runtime,
)
from luminal.loading import CodeCache, World, is_in_transaction, run_in_thread
from luminal.model import (
    Deadlines,
    EventKind,
    Outcome,
    OutcomeResult,
    Probation,
    Problem,
    Report,
)
from luminal.reload import DirectoryWatch, Reloader
from luminal.store import SealedStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from luminal.model import Candidate, Event
    from luminal.reload import DistributionWatch, Policy, Reloaded

__all__ = ["Desk", "Handlers", "Loader", "Watches", "log_events", "start_all"]

# === managers.handlers ===
# The list of Handlers that loading returns.


class Handlers(list["Handler"]):
    """Handlers of photons that were loaded together.

    Args:
        handlers: In load order.
        suppress_errors: Whether `start` logs failures instead of raising them.
    """

    def __init__(
        self, handlers: Iterable[Handler] = (), *, suppress_errors: bool = False
    ) -> None:
        super().__init__(handlers)
        self._suppress_errors = suppress_errors

    async def start(self) -> None:
        """Start all of them in order; a failure keeps no other from being started.

        Raises:
            PhotonStartError: One could not be started; it has been finalized.
            PhotonTimeoutError: One passed its deadline; likewise.
            PhotonBatchError: Several failed.
        """
        errors = await _start_each(self)
        if not errors:
            return
        if self._suppress_errors:
            import logging

            for error in errors.values():
                logging.getLogger("luminal.loader").error("%s", error)
        elif len(errors) == 1:
            raise next(iter(errors.values()))
        else:
            raise PhotonBatchError(
                "several photons could not be started", [*errors.values()]
            )


async def _start_each(handlers: Iterable[Handler]) -> dict[str, LuminalError]:
    errors: dict[str, LuminalError] = {}
    for handler in handlers:
        try:
            await handler.start()
        except LuminalError as error:
            errors[handler.name] = error
    return errors


async def start_all(handlers: Iterable[Handler]) -> Report:
    """Start *handlers* in order, and report what became of each."""
    handlers = list(handlers)
    errors = await _start_each(handlers)
    outcomes = []
    for handler in handlers:
        error = errors.get(handler.name)
        if error is None:
            outcomes.append(handler.outcome())
        else:
            problem = Problem.of(error, "start")
            outcomes.append(handler.outcome(OutcomeResult.FAILED, problem))
    return Report(tuple(outcomes))


# === managers.watching ===
# `Watches`: several directories, and what pip installs, kept for one host.
#
# What `Loader.watch_photons` does for one directory. Comes in: a Loader. Must never load
# what its caller does not want.


@attrs.define(eq=False)
class Watches:
    """Keeps what runs as several directories are.

    Args:
        loader: The host.
        directories: Paths of directories.
        recursive: Whether directories below them are kept too.
        is_wanted: Whether a photon that appears is to be loaded.
        has_installed: Whether upgrades of installed distributions are swapped in.
    """

    loader: Loader
    directories: Sequence[str]
    recursive: bool = False
    is_wanted: Callable[[Candidate], bool] = attrs.field(default=lambda _: True)
    has_installed: bool = False
    _keepers: list[DirectoryWatch] = attrs.field(init=False, factory=list)

    async def start(self) -> None:
        """Begin to watch; the threads that do it do not end with this loop."""
        import asyncio

        rooms = self.loader._intake, self.loader._reloader, self.loader._turn  # noqa: SLF001 - one host
        for directory in dict.fromkeys(self.directories):
            keeper = DirectoryWatch(directory, *rooms, self.recursive, self.is_wanted)
            self._keepers.append(keeper)
            keeper.start(asyncio.get_running_loop())
        if self.has_installed:
            await self.loader.watch_distributions()

    async def stop(self, is_forced: bool = False) -> None:
        """End the watches, and unload what they have loaded.

        Args:
            is_forced: Skip ``finalize``.
        """
        await self.loader.stop_watching_distributions()
        while self._keepers:
            await self._keepers.pop().stop(is_forced)


# === managers.logbook ===
# Events as records of the standard `logging` module.

_LEVELS = {
    EventKind.SKIPPED: logging.WARNING,
    EventKind.REJECTED: logging.ERROR,
    EventKind.FAILED: logging.ERROR,
}
_logger = logging.getLogger("luminal.loader")


def log_events(events: Events) -> None:
    """Log each of *events* from now on, by the logger ``luminal.loader``."""

    def log(event: Event) -> None:
        level = _LEVELS.get(event.kind, logging.INFO)
        _logger.log(level, "%s", event)

    events.subscribe(log)


# === managers.desk ===
# What a host sees of its photons, and how the rooms behind it are put together.


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
        self._turn = CrossLoopLock()
        self._registry = Registry()
        self._world = World(CodeCache(SealedStore() if cache else None))
        self._runtime = Runtime(
            plugins=plugins or PluginManager(project),
            settings=settings or {},
            deadlines=deadlines or Deadlines(),
        )
        for specs in hookspecs:
            self.plugins.add_hookspecs(specs)
            self._runtime.knows_all_hooks = True
        self._group = group
        self._runtime.interpreter_policy = InterpreterPolicy.of(
            footprint, self._runtime.events
        )
        self._intake = BatchLoader(self._world, self._registry, self._runtime, logging)
        self._reloader = Reloader(
            self._world,
            self._registry,
            self._runtime,
            self._turn,
            _terms(probation),
        )
        # What is watched, see `Loader.watch_photons`.
        self._keeper: DirectoryWatch | None = None
        self._depot: DistributionWatch | None = None
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
        return self._runtime.plugins

    @property
    def hook(self) -> Any:
        """Calls hooks: ``loader.hook.name(argument=value)``."""
        return self._runtime.plugins.hook

    @property
    def ahook(self) -> Any:
        """Awaits hooks: ``await loader.ahook.name(argument=value)``."""
        return self._runtime.plugins.ahook

    @property
    def events(self) -> Events:
        """Who hears what happens; holds the journal."""
        return self._runtime.events

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
            await self._intake.unload_batch(leaving, force_stop)
        return list(leaving)

    def _order(self) -> CrossLoopLock:
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
        found = await run_in_thread(
            look, self._runtime.deadlines.load, "luminal-discover"
        )
        if isinstance(found.error, LuminalError):
            self._raise(found.error)
        elif found.error is not None:
            raise found.error
        candidates = found.value or ()
        self._runtime.emit_discovered(candidates)
        return candidates

    async def _take(
        self, candidates: Iterable[Candidate], base: type, others: Sequence[str]
    ) -> BatchResult:
        async with self._order():
            batch = await self._intake.load_batch(candidates, base, others)
        self._note(batch.report)
        return batch

    def _hand_out(self, batch: BatchResult) -> Handlers:
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


# === managers.loader ===
# `Loader`: the orders that a host gives.

_Path = str | os.PathLike[str]


class Loader(Desk):
    """Loads, starts, calls, reloads and unloads the photons of one host.

    See `luminal.managers.loader.Desk` for its arguments and for what it shows.
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

        from luminal.reload import DirectoryWatch

        path = os.fspath(photons_directory)
        keeper = DirectoryWatch(path, self._intake, self._reloader, self._turn)
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

        from luminal.reload import DistributionWatch

        depot = DistributionWatch(self._reloader, self._turn)
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
