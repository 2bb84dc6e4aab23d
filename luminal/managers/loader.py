"""`Loader`: what a host uses to load, start, reload and unload its photons.

`Handlers` is the list that loading returns, and `Watches` keeps several directories and
what is installed up to date, for hosts that have more than one directory.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from luminal.discovery import (
    Discovered,
    absolute_roots,
    discover,
    discover_file,
    fold,
    several,
)
from luminal.errors import (
    LuminalError,
    LuminalWarning,
    PhotonBatchError,
    PhotonNotFoundError,
    PhotonReloadError,
    ThreadManagerAlreadyRunningError,
    did_you_mean,
)
from luminal.hooks import DeferredPluginManager, PluginManager
from luminal.interfaces import IPhoton
from luminal.lifecycle import (
    BatchLoader,
    BatchResult,
    CrossLoopLock,
    Disabled,
    Events,
    Handler,
    InterpreterPolicy,
    Registry,
    Runtime,
)
from luminal.loading import (
    CodeCache,
    World,
    is_in_transaction,
    run_from_thread,
    run_in_thread,
)
from luminal.model import (
    Candidate,
    Deadlines,
    EventKind,
    Outcome,
    OutcomeResult,
    Probation,
    Problem,
    Quarantine,
    Report,
    State,
    as_quarantine,
)
from luminal.store import SealedStore

if TYPE_CHECKING:
    import asyncio
    from collections.abc import (
        Callable,
        Collection,
        Coroutine,
        Iterable,
        Sequence,
    )
    from types import TracebackType

    from luminal.lifecycle import UnknownHooks
    from luminal.metrics import History
    from luminal.model import Event, SwapChanges
    from luminal.reload import (
        DirectoryWatch,
        DistributionWatch,
        KillWatch,
        Policy,
        Prepared,
        Reloaded,
        Reloader,
        SettingsWatch,
    )
    from luminal.trust import Bundle, Judge, TrustSettings

__all__ = ["Handlers", "Loader"]

_Path = str | os.PathLike[str]
T = TypeVar("T")

_logger = logging.getLogger("luminal.loader")

_LOCK = "luminal.lock"

_LEVELS = {
    EventKind.SKIPPED: logging.WARNING,
    EventKind.THROTTLED: logging.WARNING,
    EventKind.REJECTED: logging.ERROR,
    EventKind.FAILED: logging.ERROR,
}
"""Level at which an event is logged, where it is not INFO."""

# Held while the Reloader of a Loader is made.
_making = threading.Lock()

_LOGGED_AS_FAILURES = (EventKind.RAISED, EventKind.QUARANTINED, EventKind.RELEASED)
"""Events that the logger ``luminal.failures`` has already, with tracebacks."""


class Handlers(list["Handler"]):
    """Handlers of photons that were loaded together.

    Args:
        handlers: In load order.
        suppress_errors: Whether `start` logs failures instead of raising them.
        must_have: Folded names of photons whose failures it raises all the same.
    """

    def __init__(
        self,
        handlers: Iterable[Handler] = (),
        *,
        suppress_errors: bool = False,
        must_have: Collection[str] = (),
    ) -> None:
        super().__init__(handlers)
        self._suppress_errors = suppress_errors
        self._must_have = must_have

    async def start(self) -> None:
        """Start all of them in order. When one fails, the others are still started.

        Raises:
            PhotonStartError: One could not be started; it has been finalized.
            PhotonTimeoutError: One passed its deadline; likewise.
            PhotonBatchError: Several failed.
        """
        errors = await _start_each(self)
        if not errors:
            return
        if self._suppress_errors:
            for name, error in list(errors.items()):
                if fold(name) not in self._must_have:
                    _logger.error("%s", error)
                    del errors[name]
        if not errors:
            return
        if len(errors) == 1:
            raise next(iter(errors.values()))
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
    """Start *handlers* in order, and report the outcome of each.

    Args:
        handlers: In load order. When one fails, the others are still started.
    """
    handlers = list(handlers)
    errors = await _start_each(handlers)
    outcomes = []
    for handler in handlers:
        error = errors.get(handler.name)
        if error is None:
            outcomes.append(handler._outcome(OutcomeResult.STARTED))
        else:
            problem = Problem.of(error, "start")
            outcomes.append(handler._outcome(OutcomeResult.FAILED, problem))
    return Report(tuple(outcomes))


class Loader:
    """Loads, starts, calls, reloads and unloads the photons of one host.

    It belongs to no event loop: each call runs on the loop that it is awaited on. One
    load, reload or unload runs at a time; others wait, first come, first served.

    Args:
        logging: Whether each operation is logged, by the logger ``luminal.loader``.
        suppress_errors: Whether the error of a photon that cannot be loaded or started
            is logged instead of raised.
        hookspecs: Classes or modules with the host's hook specifications.
        unknown_hooks: What is done about a photon that implements a hook which is not
            specified: ``error`` refuses the photon, ``warn`` issues a
            `LuminalWarning`, ``ignore`` lets it be. The default is ``error`` with
            *hookspecs*, and ``ignore`` without. A host that adds its specifications
            later, to *plugins*, is told of names that nearly are those of its hooks.
        project: Name of the pluggy project whose markers the host and its photons use.
        group: Entry-point group of the host's photons, for `load`.
        plugins: Where hooks are registered; by default a new manager of *project*.
        settings: Photon name → what it finds in ``self.context.settings``; or the path
            of a TOML file whose tables these are, in a ``pyproject.toml`` those below
            ``[tool.luminal.photons]``. A watch reads the file again when it was edited,
            and reloads the photons whose tables have changed.
        must_have: Names of photons without which the host cannot work. Where one could
            not be loaded, `load` raises its error; where one does not run, `start`
            does; also with *suppress_errors*. The other photons are loaded and started.
        deadlines: How long photons may take.
        probation: When a new generation is rolled back automatically, or for how many
            seconds it is watched; 0 for swaps that are final at once.
        footprint: What is done when a photon changes the interpreter's shared state,
            such as the locale or ``sys.path``: ``allow``, ``warn``, ``restore`` or
            ``refuse``; or a mapping from each kind of state to one of them, with ``*``
            for the rest. None, the default, checks nothing and costs nothing.
        quarantine: When a hook of a photon that fails again and again is skipped: after
            how many failures in a row and for how long, or that number alone. By
            default never.
        cache: Whether compiled code is kept between runs.
        host: What photons find as ``self.context.host``: the program's own object.
        history: Whether what is counted is written to a file that outlives the process,
            for ``luminal report --since``; or a name for that file. Processes of one
            program in one directory share one. By default nothing is written.
        trust: What the host looks at, asks about and refuses in the text of photons: a
            `luminal.trust.TrustSettings`, a mapping of such settings, or the path of a
            ``pyproject.toml`` with a table ``[tool.luminal.trust]``.
        roots: Further directories, of helpers for example, whose modules are the
            photons' own. Photons that import from them are reloaded with them, and a
            watch watches them too.
        lock: What may run, see `luminal.trust.LockFile`: path of a ``luminal.lock``;
            or a mode (``off``, ``pin``, ``frozen``, ``signed``), with the lock of the
            current directory; or a judge. None uses that lock if there is one.
            ``$LUMINAL_LOCK`` may name a stricter mode.

    Raises:
        LockFileError: The lock cannot be read, or is not there.
    """

    # What a fleet has prepared here, and not decided yet; see `_prepare_for_fleet`.
    _prepared: Prepared | None = None
    # Returns what a fleet tells of itself, for the page; None where there is no fleet.
    _fleet_view: Callable[[], dict[str, Any]] | None = None

    def __init__(
        self,
        logging: bool = False,
        suppress_errors: bool = False,
        *,
        hookspecs: Iterable[object] = (),
        unknown_hooks: UnknownHooks | None = None,
        project: str = "luminal",
        group: str = "luminal.photons",
        plugins: PluginManager | None = None,
        settings: Mapping[str, Mapping[str, Any]] | _Path | None = None,
        must_have: Iterable[str] = (),
        deadlines: Deadlines | None = None,
        probation: Probation | float = 0.0,
        quarantine: Quarantine | int | None = None,
        cache: bool = True,
        footprint: Mapping[str, str] | str | None = None,
        roots: Iterable[_Path] = (),
        trust: TrustSettings | Mapping[str, Any] | _Path | None = None,
        host: Any = None,
        history: bool | str = False,
        lock: _Path | Judge | None = None,
    ) -> None:
        self.logging = logging
        self.suppress_errors = suppress_errors
        self._has_settings_file = isinstance(settings, str | os.PathLike)
        # Photon → its latest outcomes; several where photons of one name were rejected.
        self._outcomes: dict[str, list[Outcome]] = {}
        # Tables of settings that were warned of.
        self._warned_settings: set[str] = set()
        # Held while something is loaded, reloaded or unloaded.
        self._lock = CrossLoopLock()
        self._registry = Registry()
        self._world = World(CodeCache(SealedStore() if cache else None))
        self._world.roots.declare(absolute_roots(roots))
        if lock is not None and not isinstance(lock, str | os.PathLike):
            self._world.judge = lock
        elif lock is not None or "LUMINAL_LOCK" in os.environ or os.path.lexists(_LOCK):
            from luminal.trust import open_judge

            self._world.judge = open_judge(lock)
        self._trust = self._trust_of(trust)
        self._runtime = Runtime(
            plugins=plugins or PluginManager(project),
            settings=self._tables_of(settings),
            deadlines=deadlines or Deadlines(),
            host=host,
            registry=self._registry,
        )
        if as_quarantine(quarantine) is not None:
            self.plugins.set_quarantine(quarantine)
        self.plugins.list_installed(self._installed)
        if os.environ.get("LUMINAL_TRACE"):
            from luminal.managers._trace import trace_hooks

            trace_hooks(self.plugins)
        if unknown_hooks not in (None, "warn", "error", "ignore"):
            raise ValueError(
                f"unknown_hooks={unknown_hooks!r} is none of 'warn', 'error', 'ignore'"
            )
        if isinstance(hookspecs, type | ModuleType):
            name = hookspecs.__name__
            raise TypeError(f"hookspecs is a list of classes: hookspecs=[{name}]")
        for specs in hookspecs:
            self.plugins.add_hookspecs(specs)
            unknown_hooks = unknown_hooks or "error"
        self._runtime.unknown_hooks = unknown_hooks
        self._group = group
        if isinstance(must_have, str):
            raise TypeError(f"must_have={must_have!r} is not a list of names")
        self._must_have = {fold(name): name for name in must_have}
        self._runtime.interpreter_policy = InterpreterPolicy.of(
            footprint, self._runtime.events
        )
        self._batch_loader = BatchLoader(
            self._world, self._registry, self._runtime, logging
        )
        if not isinstance(probation, Probation):
            probation = Probation(float(probation))
        self._probation = probation
        self._made_reloader: Reloader | None = None
        self._directory_watch: DirectoryWatch | None = None
        self._distribution_watch: DistributionWatch | None = None
        # Photon → its file, and what discovery knew of it; see `disable_photons`.
        self._disabled = self._registry.disabled
        self._settings_watch: SettingsWatch | None = None
        # What is counted, in a file; None where that is not asked for.
        self._history: History | None = None
        if history:
            self._begin_history(None if history is True else history)
        self._kill_watch: KillWatch | None = None
        if logging:
            _log_events(self.events)

    def _trust_of(
        self, trust: TrustSettings | Mapping[str, Any] | _Path | None
    ) -> TrustSettings | None:
        """Return the settings of trust, once what they ask for is set up."""
        if trust is None:
            return None
        from luminal.trust import CapabilityRules, TrustSettings

        if isinstance(trust, str | os.PathLike):
            trust = TrustSettings.read(os.path.abspath(trust))
        elif isinstance(trust, Mapping):
            trust = TrustSettings.of_table(trust)
        if trust.examines:
            from luminal.lifecycle import examiner

            rules = CapabilityRules(trust)
            self._world.examine = examiner(rules)
        return trust

    def __repr__(self) -> str:
        return f"<{type(self).__name__} photons={len(self._registry)}>"

    def _begin_history(self, name: str | None) -> None:
        from luminal.metrics import History, history_file

        file = history_file(name)
        if file is None:
            _logger.warning("no history is kept: set LUMINAL_STATE_DIR, or HOME")
            return
        self._history = History(self, file)
        self._history.start()

    @property
    def history(self) -> str:
        """The file of what is counted; empty where none is kept."""
        return self._history.file if self._history is not None else ""

    @property
    def photons(self) -> dict[str, Handler]:
        """The loaded photons by name, in the order of loading; a copy."""
        return self._registry.all()

    @property
    def roots(self) -> tuple[str, ...]:
        """Absolute paths of the declared directories; see ``roots`` above."""
        return self._world.roots.declared

    @property
    def trust(self) -> TrustSettings | None:
        """What the host looks at, asks about and refuses; None where nothing is set."""
        return self._trust

    @property
    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """Name of a photon → its settings, as the host has given them."""
        return self._runtime.settings

    @property
    def judge(self) -> Judge | None:
        """What decides which photons may run; None where no lock is in force."""
        return self._world.judge

    @property
    def report(self) -> Report:
        """The latest outcome of each photon, the newest at the end."""
        return Report(tuple(o for of in self._outcomes.values() for o in of))

    def failures_of(self, photon: str) -> dict[str, int]:
        """Return how many exceptions of a photon were contained, since it was loaded.

        Args:
            photon: Its name. That of the host's own code is empty.

        Returns:
            Value of `luminal.model.FailureKind` → number; kinds without any are left
            out.
        """
        return self._runtime.failures.counted(photon)

    def photons_using(self, path: _Path) -> list[str]:
        """Return the names of the photons that run code or use data of a file.

        Args:
            path: Of a module, also of a helper, or of a data file.
        """
        world = self._world
        units = queue = set(world.readers(os.path.abspath(path)))
        while queue:
            queue = {user for unit in queue for user in world.users(unit)} - units
            units = units | queue
        return [handler.name for handler in self._registry.of_units(units)]

    @property
    def plugins(self) -> PluginManager:
        """The plugin manager, where the host adds its hook specifications."""
        return self._runtime.plugins

    @property
    def lifecycle(self) -> PluginManager:
        """The plugin manager of the hooks of photons' lives, ``photon_start`` etc.

        What is registered here wraps the life of every photon of this Loader. Plugins
        of `plugins` that implement these hooks are registered here by themselves.
        """
        return self._runtime.lifecycle

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
        """The journal of events, and where to subscribe to them."""
        return self._runtime.events

    @property
    def old_generations(self) -> int:
        """How many generations do not serve any more and are still in memory.

        Calls of them are under way, they are on the way to their end, or Python has not
        collected them yet.
        """
        serving = self._world.generations
        replaced = self._runtime.survivors.replaced()
        return sum(serving.get(each.unit) is not each for each in replaced)

    @property
    def changes(self) -> tuple[SwapChanges, ...]:
        """Which files the latest 20 swaps have changed, oldest first."""
        return tuple(self._runtime.changes)

    def hooks(self, specs: type[T]) -> T:
        """Return the hooks of *specs* as an object that type checkers know.

        Args:
            specs: A class of ``hookspecs``. Its ``def`` are called, its ``async def``
                are awaited; all with keywords.
        """
        return self.plugins.hooks(specs)

    def on_hooks_changed(
        self, callback: Callable[[frozenset[str]], object]
    ) -> Callable[[], None]:
        """Call *callback* with the names of hooks whose implementations have changed.

        So a host can call again what it has called once, such as a hook that returns
        routes. It is called for each photon that was started, swapped or stopped, when
        calls already reach the new implementations, on the thread that has done this.
        What it raises is logged.

        Args:
            callback: Takes the names. It must not wait for the Loader.

        Returns:
            A function without arguments that ends this.
        """

        def pass_on(event: Event) -> None:
            if event.hooks:
                callback(frozenset(event.hooks))

        return self.events.subscribe(pass_on)

    async def load(
        self,
        candidates: Iterable[Candidate] | None = None,
        photon_base: type = IPhoton,
        other_classes: Sequence[str] = (),
    ) -> Report:
        """Load photons that `luminal.discover` found; failures are in the report.

        Args:
            candidates: In load order, as `luminal.discover` returns them; by default
                those that are installed in the host's entry-point group, or in the
                groups that a `luminal.hooks.DeferredPluginManager` has noted.
            photon_base: What photons of directories derive from.
            other_classes: Names of further classes to wrap in Handlers.

        Returns:
            The outcome of each of these photons; `report` has all photons.

        Raises:
            LuminalError: A photon of ``must_have`` could not be loaded.
        """
        if candidates is None:
            candidates = await self._find(self._discover_installed)
        return (await self._load(candidates, photon_base, other_classes)).report

    async def check_settings(self) -> Report:
        """Check the settings of the photons that are loaded; none is started.

        Returns:
            A failed outcome for each photon whose settings do not fit.
        """
        outcomes = []
        for handler in self._registry.all().values():
            try:
                await self._runtime.settings_of(handler)
            except LuminalError as error:
                problem = Problem.of(error, "settings")
                outcomes.append(handler._outcome(OutcomeResult.FAILED, problem))
        return Report(tuple(outcomes))

    async def start(self) -> Report:
        """Start all photons that are loaded, in load order.

        Returns:
            The outcome of each one. When one fails, the others are still started.

        Raises:
            LuminalError: A photon of ``must_have`` does not run; what it raised.
            PhotonNotFoundError: One is not loaded.
        """
        report = await start_all(self._registry.all().values())
        self._remember(report)
        self._warn_of_settings()
        for name in self._must_have.values():
            handler = self._registry.get(name)
            if handler is None:
                raise PhotonNotFoundError(
                    "is not loaded, and the host cannot work without it",
                    photon=name,
                    hint="install it, or correct 'must_have' of the Loader"
                    + did_you_mean(name, self._registry.all(), "; "),
                )
            if handler.problem is not None and handler.state is not State.RUNNING:
                raise handler.problem.error(handler.name)
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
            lambda: discover_file(
                photon_path,
                photon_base=photon_base,
                api_version=self._registry.api_version,
                roots=self.roots,
            )
        )
        return self._handlers(await self._load(found, photon_base, other_classes))

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
            recursive: Whether to find in everything below it.

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
                api_version=self._registry.api_version,
                roots=self.roots,
            )
        )
        return self._handlers(await self._load(found, photon_base, other_classes))

    async def unload_photon(
        self, photon: Handler | _Path, force_stop: bool = False
    ) -> bool:
        """Stop and unload all photons of the file that *photon* came from.

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
        """Stop and unload the photons of several files, the last loaded first.

        Args:
            photons: Handlers, paths of files, or names.
            force_stop: Skip ``finalize`` and end what they own at once.

        Returns:
            The paths of the files that were unloaded.

        Raises:
            PhotonNotFoundError: One of them is not loaded; none is unloaded then.
            PhotonStateError: A fleet decides what runs of one; likewise.
        """
        photons = list(several("photons", photons))
        self._refuse_those_of_fleet(photons, "be unloaded")
        return await self._unload(photons, force_stop)

    async def _unload(
        self, photons: Iterable[Handler | _Path], force_stop: bool
    ) -> list[str]:
        """Do what `unload_photons` does, also for photons of a fleet."""
        async with self._free_lock():
            leaving: dict[str, list[Handler]] = {}
            for photon in photons:
                try:
                    handlers = self._registry.find(photon)
                except PhotonNotFoundError as error:
                    self._raise(error)
                else:
                    leaving[handlers[0].filepath] = handlers
            if self._made_reloader is not None:
                handlers = [h for of in leaving.values() for h in of]
                await self._made_reloader.end_earlier(handlers)
            await self._batch_loader.unload_batch(leaving, force_stop)
        return list(leaving)

    @property
    def disabled(self) -> tuple[str, ...]:
        """Names of the photons that `disable_photons` has unloaded."""
        return tuple(self._disabled)

    @property
    def disabled_files(self) -> dict[str, str]:
        """Name of each photon that `disable_photons` has unloaded → its file."""
        return {name: each.file for name, each in [*self._disabled.items()]}

    async def disable_photons(
        self, photons: Iterable[Handler | Candidate | _Path]
    ) -> list[str]:
        """Unload all photons of some files, and keep them unloaded.

        No watch loads them again, whatever is saved, until `enable_photons` or the end
        of the host.

        Args:
            photons: Handlers, paths of files, or names; or candidates that are not
                loaded, as `luminal.discover` returns them.

        Returns:
            The names of the photons that are disabled now.

        Raises:
            PhotonNotFoundError: One of them is not loaded; none is unloaded then.
        """
        from luminal.managers._guard import modules_near

        known: dict[str, Disabled] = {}
        found: list[str] = []
        for photon in several("photons", photons):
            place: Handler | _Path
            if isinstance(photon, Candidate):
                running = self._registry.get(photon.name)
                if running is None or running.filepath != photon.location:
                    known[photon.name] = Disabled(photon.location, photon)
                    continue
                place = running
            else:
                place = photon
            for handler in self._registry.find(place):
                known[handler.name] = Disabled(
                    handler.filepath,
                    handler.candidate,
                    modules_near(self._world, handler.generation),
                )
                found.append(handler.name)
        self._disabled |= known  # before a watch can look
        try:
            await self.unload_photons(found)
        except BaseException:
            for name in known.keys() & self._registry.all().keys():
                self._disabled.pop(name, None)
            raise
        return list(known)

    async def enable_photons(self, names: Iterable[str]) -> list[Handler]:
        """Load and start again what `disable_photons` has unloaded.

        The photons of their files are loaded as the files are now.

        Args:
            names: Names of photons.

        Returns:
            Handlers of the photons that run again.

        Raises:
            PhotonNotFoundError: One is not disabled; none is enabled then. Or one is
                gone.
            LuminalError: One cannot be found or loaded, and stays disabled; or not be
                started. The others run.
        """
        return await self._enable(names)

    async def _enable(
        self, names: Iterable[str], approved: Mapping[str, str] | None = None
    ) -> list[Handler]:
        """Do what `enable_photons` says, with what a second factor has *approved*."""
        names = list(several("names", names))
        # Those that others need were disabled before these, in the order of loading.
        names.sort(key=lambda name: [*self._disabled, name].index(name))
        for name in names:
            if name not in self._disabled:
                nearest = did_you_mean(name, self._disabled, "; ")
                raise PhotonNotFoundError(
                    "is not disabled",
                    photon=name,
                    hint=f"disabled: {', '.join(self._disabled) or 'none'}{nearest}",
                )
        wanted = {name: self._disabled[name].file for name in names}
        places = {wanted[name]: self._disabled[name].candidate for name in names}
        back = {n for n, each in self._disabled.items() if each.file in places}
        found: list[Candidate] = []
        errors: list[LuminalError] = []
        for path, candidate in places.items():
            try:
                if candidate is not None and candidate.group:
                    find = functools.partial(discover, group=candidate.group)
                    # It may lie elsewhere: a lock keeps what runs of it.
                    now = [
                        c
                        for c in await self._find(find)
                        if c.distribution == candidate.distribution
                        and (c.name in back or c.location == path)
                    ]
                else:
                    find = functools.partial(
                        discover_file,
                        path,
                        api_version=self._registry.api_version,
                        roots=self.roots,
                    )
                    now = list(await self._find(find))
            except PhotonNotFoundError:
                now = []
            found += [each for each in now if each.name in back or each.problem]
            is_broken = any(each.problem for each in now)
            present = {each.name for each in now}
            errors += [
                PhotonNotFoundError(
                    "is not there any more",
                    photon=name,
                    file=path,
                    why=f"nothing there defines the photon {name!r}",
                    hint="it stays disabled; enable it again once it is back",
                )
                for name in names
                if wanted[name] == path and not (is_broken or name in present)
            ]
        # Another call may have enabled some meanwhile.
        known = {n: self._disabled.pop(n) for n in back if n in self._disabled}
        found = [each for each in found if each.name in known or each.problem]
        try:
            batch = await self._load(found, IPhoton, [], approved)
        finally:
            loaded = self._registry.all()
            self._disabled |= {n: of for n, of in known.items() if n not in loaded}
        # Those that could be loaded run, whatever becomes of the others.
        handlers = Handlers(
            batch.handlers,
            suppress_errors=self.suppress_errors,
            must_have=self._must_have.keys(),
        )
        await handlers.start()
        error = batch.error()
        for each in errors if error is None else (error,):
            self._raise(each)
        return list(handlers)

    async def reload_photon(self, photon: Handler | _Path) -> Handler | list[Handler]:
        """Replace all photons of the file that *photon* came from, in one swap.

        After any failure everything is as before: the old photons are running, with
        their state.

        Args:
            photon: A Handler, the path of a file, or a photon's name.

        Returns:
            The Handler of the photon, the same as before; a list where the file has
            several.

        Raises:
            PhotonNotFoundError: It is not loaded.
            LuminalError: The new generation was rejected.
        """
        handlers = await self.reload_photons([photon])
        return handlers[0] if len(handlers) == 1 else handlers

    async def reload_photons(
        self, photons: Iterable[Handler | _Path], policy: Policy = "all"
    ) -> list[Handler]:
        """Replace the photons of several files in one transaction.

        Args:
            photons: Handlers, paths of files, or names.
            policy: ``all`` replaces all of them or none. ``component`` keeps back only
                those that imports connect to a failure.

        Returns:
            Handlers of the photons of these files, the same as before.

        Raises:
            PhotonNotFoundError: One is not loaded; nothing is reloaded then.
            PhotonStateError: A fleet decides what runs of one; likewise.
            LuminalError: New generations were rejected.
        """
        return await self._reload(photons, policy)

    async def _reload(
        self,
        photons: Iterable[Handler | _Path],
        policy: Policy = "all",
        approved: Mapping[str, str] | None = None,
    ) -> list[Handler]:
        """Do what `reload_photons` says, with what a second factor has *approved*."""
        photons = list(several("photons", photons))
        self._refuse_those_of_fleet(photons, "be reloaded")
        async with self._free_lock():
            asked = self._registered(photons)
            done = await self._reloader.reload(asked, policy, approved)
        await done.settle()
        self._conclude(done)
        files = {handler.filepath for handler in asked}
        return [h for file in files for h in self._registry.of_file(file)]

    async def roll_back(self, photon: Handler | _Path) -> list[Handler]:
        """Return to the generation before, by another swap with its bytes.

        Args:
            photon: A Handler, the path of a file, or a photon's name.

        Returns:
            The Handlers of the file's photons.

        Raises:
            PhotonNotFoundError: It is not loaded.
            PhotonRollbackError: It has had one generation only.
            PhotonStateError: A fleet decides what runs of it.
        """
        return await self._roll_back(photon)

    async def _roll_back(
        self, photon: Handler | _Path, approved: Mapping[str, str] | None = None
    ) -> list[Handler]:
        """Do what `roll_back` says, with what a second factor has *approved*."""
        self._refuse_those_of_fleet([photon], "be rolled back")
        async with self._free_lock():
            asked = self._registered([photon])
            done = await self._reloader.roll_back(asked[0], approved)
        await done.settle()
        self._conclude(done)
        return list(done.handlers)

    async def watch_photons(
        self,
        *photons_directories: _Path,
        recursive: bool = False,
        polling: bool | None = None,
    ) -> None:
        """Keep the photons and directories the same, from a background thread.

        Loads and starts what the directories have, reloads what changes, loads and
        starts what is new, unloads what is deleted. Returns when what is there runs or
        was rejected; where the caller is itself part of a load or a start, at once. The
        watch continues when the calling event loop has ended, and when this call is
        cancelled.

        Args:
            photons_directories: Paths of directories, at least one.
            recursive: Whether photons of directories below them are loaded too.
            polling: True looks at every file every 2 s, for file systems that send no
                events. None does so where the environment variable ``LUMINAL_POLLING``
                asks for it, or the file system is known to send none. False never does.

        Raises:
            TypeError: There is no directory, or one is not a path.
            DirectoryNotFoundError: There is no such directory.
            ThreadManagerAlreadyRunningError: Directories are watched already.
            ValueError: ``LUMINAL_POLLING`` is neither true nor false.
        """
        if not photons_directories:
            raise TypeError("pass the path of the directory that is to be watched")
        for directory in photons_directories:
            if not isinstance(directory, str | os.PathLike):
                raise TypeError(f"not a path of a directory: {directory!r}")
        paths = [os.fspath(directory) for directory in photons_directories]
        await self._watch(paths, recursive, polling)

    async def stop_watching_photons(self, halt_threads: bool = False) -> None:
        """Stop watching the directories, and unload what the watch has loaded.

        Args:
            halt_threads: Skip ``finalize`` and end at once what the photons own. A load
                or reload of the watch that is under way is cancelled.
        """
        if halt_threads and self._distribution_watch is None:
            self._halt_polls(self._settings_watch)
        watch = self._directory_watch
        if watch is not None:
            await watch.stop(halt_threads)
            if self._directory_watch is watch:  # not where the stop was cancelled
                self._directory_watch = None
        await self._stop_watching_settings()

    async def pause_watching(self) -> None:
        """Apply no changes of files or distributions until `resume_watching`.

        A change that is being applied is finished first. Later ones are noted. Does
        nothing where nothing is watched.

        Raises:
            PhotonStateError: The caller is part of what this waits for.
        """
        for watch in (self._directory_watch, self._distribution_watch):
            if watch is not None:
                await watch.pause()
        if self._settings_watch is not None:
            self._settings_watch.is_paused = True

    async def resume_watching(self) -> None:
        """Apply what has changed since `pause_watching`, and watch again.

        In a process that was forked, where the parent watches: watch here as well.
        What has changed since the fork is applied on return.

        Raises:
            PhotonStateError: It was forked while a change was being applied.
        """
        for watch in (self._directory_watch, self._distribution_watch):
            if watch is not None:
                await watch.resume()
        if self._settings_watch is not None:
            import asyncio

            self._settings_watch.is_paused = False
            self._settings_watch.start(asyncio.get_running_loop())

    async def watch_distributions(self, polling: bool | None = None) -> None:
        """Swap in new versions of loaded distributions when they are installed.

        Watches from a background thread, which continues when the calling event loop
        has ended. Sources of editable installations are watched too.

        Args:
            polling: See `watch_photons`.

        Raises:
            ThreadManagerAlreadyRunningError: They are watched already.
        """
        if self._distribution_watch is not None:
            raise ThreadManagerAlreadyRunningError(
                "distributions are watched already",
                hint="stop that first with stop_watching_distributions",
            )
        import asyncio

        from luminal.reload import DistributionWatch

        watch = DistributionWatch(self._reloader, self._lock, polling=polling)
        watch.start(asyncio.get_running_loop())
        self._distribution_watch = watch
        self._watch_settings(asyncio.get_running_loop())

    async def stop_watching_distributions(self, halt_threads: bool = False) -> None:
        """Stop watching distributions; their photons keep running.

        Args:
            halt_threads: Cancel a swap that is under way.
        """
        if halt_threads and self._directory_watch is None:
            self._halt_polls(self._settings_watch)
        watch = self._distribution_watch
        if watch is not None:
            await watch.stop(halt_threads)
            if self._distribution_watch is watch:
                self._distribution_watch = None
        await self._stop_watching_settings()

    async def close(self, force_stop: bool = False) -> None:
        """Unload everything, the last loaded first.

        Args:
            force_stop: Skip ``finalize`` and end what photons own at once. What a watch
                has under way is cancelled.
        """
        if force_stop:
            self._halt_polls(self._settings_watch, self._kill_watch)
        await self._undo_prepared()
        await self.stop_watching_photons(force_stop)
        await self.stop_watching_distributions(force_stop)
        if self._made_reloader is not None:
            await self._made_reloader.retirements.end()
        await self._unload(self._registry.files(), force_stop)
        if self._kill_watch is not None:
            await run_in_thread(self._kill_watch.stop, 60.0, "luminal-stop")
            self._kill_watch = None
        if self._history is not None:
            await run_in_thread(self._history.write, 60.0, "luminal-history")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def _reloader(self) -> Reloader:
        """What reloads; made for the first reload, as many hosts need none."""
        if self._made_reloader is not None:
            return self._made_reloader
        from luminal.reload import Reloader

        with _making:
            if self._made_reloader is None:
                self._made_reloader = Reloader(
                    self._world,
                    self._registry,
                    self._runtime,
                    self._lock,
                    self._probation,
                )
            return self._made_reloader

    def _discover_installed(self) -> Sequence[Candidate]:
        """Find what `load` loads by default."""
        plugins = self.plugins
        if not isinstance(plugins, DeferredPluginManager) or not plugins.deferred:
            return discover(group=self._group)
        # As pluggy does, leave out names that the host has blocked, or has itself.
        block = [n for n, _ in plugins.list_name_plugin() if n not in self.photons]
        only: dict[str, list[str]] = {}
        for group, name in plugins.deferred:
            only.setdefault(group, []).extend([name] if name is not None else [])
        whole = {group for group, name in plugins.deferred if name is None}
        found = [
            discover(group=g, allow=None if g in whole else names, block=block)
            for g, names in only.items()
        ]
        known: dict[str, Candidate] = {}
        for candidate in (c for each in found for c in each):
            before = known.get(candidate.name)
            if before is None or (candidate.enabled and not before.enabled):
                known[candidate.name] = candidate
        warned = [problem for each in found for problem in each.warnings]
        made = Discovered(known.values(), warned)
        made.seconds = sum(each.seconds for each in found)
        return made

    def _installed(self) -> list[tuple[object, Any]]:
        """Return (plugin, distribution) of the photons that distributions brought."""
        from importlib import metadata

        found: list[tuple[object, Any]] = []
        for name, handler in self._registry.all().items():
            candidate, plugin = handler.candidate, self.plugins.get_plugin(name)
            if candidate is None or plugin is None or plugin is not handler.instance:
                continue
            # The running version's; after an upgrade its folder is gone.
            if candidate.metadata and os.path.isdir(candidate.metadata):
                found.append((plugin, metadata.Distribution.at(candidate.metadata)))
            elif candidate.distribution:
                with suppress(metadata.PackageNotFoundError):
                    installed = metadata.distribution(candidate.distribution)
                    found.append((plugin, installed))
        return found

    @staticmethod
    def _tables_of(
        settings: Mapping[str, Mapping[str, Any]] | _Path | None,
    ) -> Mapping[str, Mapping[str, Any]]:
        if isinstance(settings, str | os.PathLike):
            from luminal.lifecycle import SettingsFile

            return SettingsFile(settings)
        if settings is not None and not isinstance(settings, Mapping):
            raise TypeError(
                "settings must be a mapping from photons' names to tables, or the path "
                f"of a TOML file, not {type(settings).__name__!r}"
            )
        return settings or {}

    def _warn_of_settings(self) -> None:
        """Warn of tables of settings that no photon has, once for each."""
        tables, known = self._runtime.settings, {*self._registry.all()}
        names = known | self._outcomes.keys() | self._warned_settings
        if tables.keys() <= names:
            return
        from luminal.lifecycle import unused_tables

        for problem in unused_tables(tables, names):
            warnings.warn(LuminalWarning(str(problem)), stacklevel=3)
        self._warned_settings |= tables.keys()

    def _watch_settings(self, loop: asyncio.AbstractEventLoop) -> None:
        """Apply changes of the settings file, where there is one."""
        if not self._has_settings_file:
            return
        from luminal.lifecycle import SettingsFile
        from luminal.reload import SettingsWatch

        settings = self._runtime.settings
        if isinstance(settings, SettingsFile):
            if self._settings_watch is None:
                self._settings_watch = SettingsWatch(
                    settings, self._reloader, self._lock
                )
            self._settings_watch.start(loop)

    def _watch_kill_list(self) -> None:
        """Follow the kill list while photons run, where a lock trusts some keys."""
        judge = self._world.judge
        if judge is None or not judge.file.keys:
            return
        if not len(self._registry) and self._directory_watch is None:
            return
        import asyncio

        from luminal.reload import KillWatch

        if self._kill_watch is None:
            self._kill_watch = KillWatch(
                judge,
                self._reloader,
                self._batch_loader,
                self._lock,
                lambda: self._directory_watch is not None,
            )
        self._kill_watch.start(asyncio.get_running_loop())

    @staticmethod
    def _halt_polls(*watches: SettingsWatch | KillWatch | None) -> None:
        """Cancel what *watches* have under way, so that nothing waits for it."""
        for watch in watches:
            if watch is not None:
                watch.halt()

    async def _stop_watching_settings(self) -> None:
        """Look no more at the settings file, once nothing else is watched."""
        watch = self._settings_watch
        if watch and not (self._directory_watch or self._distribution_watch):
            await run_in_thread(watch.stop, 60.0, "luminal-stop")
            self._settings_watch = None

    def _remember(self, report: Report) -> None:
        """Let the outcomes of *report* replace earlier ones of the same photons."""
        for outcome in report.outcomes:
            self._outcomes.pop(outcome.photon, None)
        for outcome in report.outcomes:
            self._outcomes.setdefault(outcome.photon, []).append(outcome)

    async def _watch(
        self,
        directories: Sequence[str],
        recursive: bool,
        polling: bool | None,
        is_wanted: Callable[[Candidate], bool] = lambda _: True,
    ) -> None:
        """Watch directories, on the running loop as long as that runs."""
        import asyncio

        from luminal.reload import DirectoryWatch

        if self._directory_watch is not None:
            watched = ", ".join(map(repr, self._directory_watch.directories))
            raise ThreadManagerAlreadyRunningError(
                f"watched already: {watched}",
                hint="stop that first with stop_watching_photons; in a process that "
                "was forked, continue it with resume_watching",
            )
        watch = DirectoryWatch(
            directories,
            self._batch_loader,
            self._reloader,
            self._lock,
            recursive,
            lambda c: c.name not in self._disabled and is_wanted(c),
            polling,
        )
        watch.start(asyncio.get_running_loop())
        self._directory_watch = watch
        self._watch_settings(asyncio.get_running_loop())
        self._watch_kill_list()
        await watch.wait_until_caught_up()

    def _run_from_thread(
        self,
        coroutine: Coroutine[Any, Any, T],
        run: Callable[[Coroutine[Any, Any, T]], T],
    ) -> T:
        """Run a coroutine of this Loader's; see `run_from_thread`."""
        patience = self._runtime.deadlines.shortest
        return run_from_thread(self._world.worker, coroutine, patience, run)

    def _free_lock(self) -> CrossLoopLock:
        """Return the lock, unless the caller would wait for itself.

        Raises:
            PhotonReloadError: The caller is part of a load or reload: a module that is
                being imported, or the start of a photon that is being reloaded.
        """
        if is_in_transaction():
            raise PhotonReloadError(
                "cannot be requested from inside of a load or reload",
                why="the load or reload would wait for itself",
                hint="request it from another task once the photon has started",
            )
        return self._lock

    async def _find(
        self, find: Callable[[], Sequence[Candidate]]
    ) -> Sequence[Candidate]:
        """Discover candidates in a thread, beside the event loop."""
        found = await run_in_thread(
            find, self._runtime.deadlines.load, "luminal-discover"
        )
        if isinstance(found.error, LuminalError):
            self._raise(found.error)
        elif found.error is not None:
            raise found.error
        candidates = found.value or ()
        phases = {}
        if isinstance(candidates, Discovered):
            phases["discover"] = candidates.seconds
        self._runtime.emit_discovered(candidates, phases)
        return candidates

    async def _load(
        self,
        candidates: Iterable[Candidate],
        base: type,
        others: Sequence[str],
        approved: Mapping[str, str] | None = None,
    ) -> BatchResult:
        if isinstance(candidates, Discovered):
            if candidates.api_version is not None:
                self._registry.api_version = candidates.api_version
            if candidates.seconds:
                phases = {"discover": candidates.seconds}
                self.events.count_phases("load", phases)
            for problem in candidates.warnings:
                warnings.warn(LuminalWarning(str(problem.error(""))), stacklevel=3)
        async with self._free_lock():
            batch = await self._batch_loader.load_batch(
                candidates, base, others, approved=approved
            )
        for handler in batch.handlers:
            self._disabled.pop(handler.name, None)
        self._watch_kill_list()
        self._remember(batch.report)
        for outcome in batch.report.failed:
            if fold(outcome.photon) in self._must_have and outcome.problem is not None:
                raise outcome.problem.error(outcome.photon)
        return batch

    def _handlers(self, batch: BatchResult) -> Handlers:
        error = batch.error()
        if error is not None:
            self._raise(error)
        return Handlers(
            batch.handlers,
            suppress_errors=self.suppress_errors,
            must_have=self._must_have.keys(),
        )

    def _raise(self, error: LuminalError) -> None:
        """Raise *error*, or log it with ``suppress_errors``."""
        if not self.suppress_errors:
            raise error
        _logger.error("%s", error)

    async def _prepare_for_fleet(self, bundle: Bundle) -> Prepared:
        """Load or swap in a bundle up to its commit, which waits for a decision.

        Nothing else is loaded, reloaded or unloaded until that.

        Args:
            bundle: Opened with the path that `luminal.reload.fleet_path` returns.

        Raises:
            LuminalError: It cannot run here. Everything is as it was.
        """
        from luminal.reload import Prepared

        self._free_lock()
        prepared = self._prepared = Prepared(
            bundle, self._reloader, self._batch_loader, self._lock
        )
        try:
            await prepared.wait_ready()
        except BaseException:
            self._remember(prepared.report)
            if self._prepared is prepared:
                self._prepared = None
            raise
        self._watch_kill_list()
        return prepared

    async def _undo_prepared(self) -> None:
        """End what waits for a decision, which would keep its turn until then."""
        import asyncio

        prepared, self._prepared = self._prepared, None
        if prepared is None or prepared.is_over:
            return
        if prepared.loop is asyncio.get_running_loop():
            await prepared.undo()
        elif prepared.loop.is_running():
            undoing = asyncio.run_coroutine_threadsafe(prepared.undo(), prepared.loop)
            # Its loop may end meanwhile, which undoes it too.
            await asyncio.wait({asyncio.wrap_future(undoing)})

    def _refuse_those_of_fleet(
        self, photons: Iterable[Handler | _Path], what: str
    ) -> None:
        """Refuse to change here alone what a fleet decides; see `Handler`."""
        for photon in photons:
            try:
                found = self._registry.find(photon)
            except PhotonNotFoundError:
                continue  # it is told later, with all that is
            for handler in found:
                handler.refuse_if_of_fleet(what)

    def _registered(self, photons: Iterable[Handler | _Path]) -> list[Handler]:
        found: list[Handler] = []
        for photon in photons:
            found.extend(self._registry.find(photon))
        return found

    def _conclude(self, done: Reloaded) -> None:
        """Remember the outcomes of a reload, and raise its error."""
        self._remember(done.report)
        if done.errors:
            self._raise(done.errors[0])


class Watches:
    """Keeps photons and several directories the same, as `Loader.watch_photons` does.

    Args:
        loader: The host.
        directories: Paths of directories.
        recursive: Whether photons of directories below them are loaded too.
        is_wanted: Whether a new photon is to be loaded.
        has_installed: Whether upgrades of installed distributions are swapped in.
        polling: See `Loader.watch_photons`.
    """

    def __init__(
        self,
        loader: Loader,
        directories: Sequence[str],
        recursive: bool = False,
        is_wanted: Callable[[Candidate], bool] = lambda _: True,
        has_installed: bool = False,
        polling: bool | None = None,
    ) -> None:
        self.loader = loader
        self.directories = directories
        self.recursive = recursive
        self.is_wanted = is_wanted
        self.has_installed = has_installed
        self.polling = polling

    async def start(self) -> None:
        """Start watching; the threads continue when the running loop has ended."""
        if self.directories:
            await self.loader._watch(  # noqa: SLF001 - both are in this module
                self.directories, self.recursive, self.polling, self.is_wanted
            )
        if self.has_installed:
            await self.loader.watch_distributions(self.polling)

    async def stop(self, is_forced: bool = False) -> None:
        """Stop watching, and unload what the watches have loaded.

        Args:
            is_forced: Skip ``finalize``, and cancel what is under way.
        """
        await self.loader.stop_watching_distributions(is_forced)
        await self.loader.stop_watching_photons(is_forced)


def _log_events(events: Events) -> None:
    """Log each of *events* from now on."""

    def log(event: Event) -> None:
        if event.kind not in _LOGGED_AS_FAILURES:
            _logger.log(_LEVELS.get(event.kind, logging.INFO), "%s", event)

    events.subscribe(log)
