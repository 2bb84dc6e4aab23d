"""Load and unload photons in batches, and look up those that are loaded.

A batch is staged unit by unit and committed as a whole. A unit that cannot be loaded
leaves no trace, and the others are loaded all the same.
"""

from __future__ import annotations

import os
import time
import warnings
from contextlib import nullcontext
from types import FunctionType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING

import attrs

from luminal._phases import Stopwatch, phase
from luminal._plain import (
    attribute_of,
    class_name,
    name_of_class,
    namespace_of,
    plain,
    repr_of,
)
from luminal.discovery import fits, fold, split_requirement
from luminal.errors import (
    LuminalError,
    LuminalWarning,
    PhotonAlreadyLoadedError,
    PhotonBatchError,
    PhotonConflictError,
    PhotonDependencyError,
    PhotonDisabledError,
    PhotonNotFoundError,
    PhotonTornError,
    PhotonValidationError,
    PhotonVerificationError,
    did_you_mean,
)
from luminal.interfaces import IPhoton
from luminal.lifecycle._collecting import collecting_rarely
from luminal.lifecycle._failures import load_failure
from luminal.lifecycle._footprint import (
    InterpreterChanges,
    namespaces_of,
    report_referrers,
)
from luminal.lifecycle._handler import Handler
from luminal.loading import (
    Attempt,
    BundleOrigin,
    Choice,
    DirectoryOrigin,
    DistributionOrigin,
    ModuleLocation,
    Result,
    Selected,
    Stage,
    World,
    files_of_bundle,
    read_installed_files,
    run_each_in_thread,
    run_in_thread,
)
from luminal.model import (
    Candidate,
    EventKind,
    Outcome,
    OutcomeResult,
    Problem,
    Report,
    Source,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from luminal.hooks import PluginManager
    from luminal.lifecycle._runtime import Runtime
    from luminal.loading import Generation, Pinned

    # Folded name → a photon that the batch has accepted, and its unit's candidates.
    Accepted = Mapping[str, tuple[Selected, list[Candidate]]]

__all__ = [
    "BatchLoader",
    "BatchResult",
    "Registry",
    "check_names",
    "check_objects",
]


_MANY = 100
"""A load of fewer units does not touch the garbage collector."""


def reason_to_skip(candidate: Candidate, registry: Registry) -> Problem | None:
    """Return why *candidate* is not to be loaded; None where it is."""
    loaded = [h for h in registry.of_file(candidate.location) if h.candidate]
    if any(h.name == candidate.name for h in loaded):
        already = PhotonAlreadyLoadedError(
            "is loaded already",
            photon=candidate.name,
            file=candidate.location,
            hint="reload it to take over what has changed",
        )
        warnings.warn(LuminalWarning(str(already)), stacklevel=4)
        return Problem.of(already, "discovery")
    if not candidate.enabled:
        disabled = PhotonDisabledError(
            "is disabled",
            photon=candidate.name,
            file=candidate.location,
            hint="enable it, or change the host's lists of allowed and blocked",
        )
        return Problem.of(disabled, "discovery")
    return None


def check_requirements(
    candidates: Sequence[Candidate], registry: Registry, accepted: Accepted
) -> None:
    """Refuse candidates that require photons which are not loaded.

    Those of one unit are loaded together, and so meet the requirements of each other.

    Raises:
        PhotonDependencyError: Names what is missing.
    """
    own = {fold(c.name): c.version for c in candidates}
    for candidate in candidates:
        for requirement in candidate.requirements:
            why = _unmet(requirement, registry, accepted, own)
            if why:
                raise PhotonDependencyError(
                    f"requires {requirement!r}",
                    photon=candidate.name,
                    file=candidate.location,
                    line=candidate.line or None,
                    why=why,
                    hint="load the required photon first, or fix it",
                )


def _unmet(
    requirement: str, registry: Registry, accepted: Accepted, own: Mapping[str, str]
) -> str:
    name, wanted = split_requirement(requirement)
    key = fold(name)
    handler = registry.get(name)
    if key in own:
        version = own[key]
    elif key in accepted:
        version = _version_of(key, *accepted[key])
    elif handler is not None:
        version = handler.candidate.version if handler.candidate else ""
    else:
        return f"photon {name!r} is not loaded"
    if wanted and not fits(version, wanted):
        return f"photon {name!r} has version {version or 'none'}"
    return ""


def _version_of(key: str, chosen: Selected, candidates: list[Candidate]) -> str:
    """Return the version of an accepted photon; empty where it has none."""
    versions = [c.version for c in candidates if fold(c.name) == key and c.version]
    if versions:
        return versions[0]
    return plain(attribute_of(chosen.obj, "photon_version", ""))


def check_found(generation: Generation, candidate: Candidate) -> None:
    """Refuse a bundle that is not the one whose manifest discovery has read.

    Raises:
        PhotonVerificationError: It was replaced meanwhile.
    """
    bundle = generation.bundle
    if bundle is not None and bundle.checksum != candidate.checksum:
        raise PhotonVerificationError(
            "has changed since it was found",
            photon=candidate.name,
            file=candidate.location,
            why=f"it is {bundle.manifest.name} {bundle.manifest.version} now, and was "
            f"{candidate.origin}",
            hint="find it again, and load what is found",
        )


_OUR_GROUP = "luminal.photons"
"""What is named in this group promises to be a photon.

A group of the host's own may hold classes for another framework, such as stevedore.
"""


def check_objects(
    selected: Iterable[Selected],
    candidates: Sequence[Candidate],
    base: type,
    plugins: PluginManager,
) -> None:
    """Refuse what is no photon, or not the photon that discovery has described.

    Host and user have decided by the name and version that discovery read.

    Args:
        selected: The photons of one unit.
        candidates: What discovery knows of them.
        base: What photons derive from.
        plugins: Knows what is a hook implementation.

    Raises:
        PhotonValidationError: Names the photon.
    """
    for chosen in selected:
        candidate = candidate_of(chosen, candidates)
        if candidate is None:
            continue
        obj = chosen.obj
        is_class = issubclass(type(obj), type)
        if (
            candidate.source is not Source.DIRECTORY
            and not (is_class and candidate.group not in ("", _OUR_GROUP))
            and not issubclass(obj if is_class else type(obj), (base, IPhoton))
            and not plugins.implements_any(obj)
        ):
            raise PhotonValidationError(
                f"its entry point {candidate.target!r} leads to no photon",
                photon=candidate.name,
                file=candidate.location,
                line=candidate.line or None,
                why=f"it is {_kind_of(obj)}, which does not derive from "
                f"{base.__qualname__!r} and has no hook implementation",
                hint="name a photon there, or mark its methods with hookimpl",
            )
        if (
            candidate.source is Source.DIRECTORY
            and isinstance(obj, ModuleType)
            and not plugins.implements_any(obj)
        ):
            raise PhotonValidationError(
                "its functions are marked for another host",
                photon=candidate.name,
                file=candidate.location,
                line=candidate.line or None,
                why=f"this host's project is {plugins.project_name!r}",
                hint=f"mark them with HookimplMarker({plugins.project_name!r})",
            )
        said = namespace_of(obj) if is_class else {}
        for attribute in ("name", "version"):
            value = said.get(f"photon_{attribute}")
            known = getattr(candidate, attribute)
            if value is None or not known:
                continue
            if type(value) is not str or value != known:
                raise PhotonValidationError(
                    f"has another photon_{attribute} at run time",
                    photon=candidate.name,
                    file=candidate.location,
                    line=candidate.line or None,
                    why=f"it is {_shown(value)}, and discovery has read {known!r}",
                    hint=f"write photon_{attribute} as a literal in the class body",
                )


def _kind_of(obj: object) -> str:
    if issubclass(type(obj), type):
        return f"the class {plain(name_of_class(obj))!r}"  # type: ignore[arg-type]
    if issubclass(type(obj), ModuleType):
        return f"the module {plain(vars(obj).get('__name__'))!r}"
    return f"an object of type {class_name(obj)!r}"


def _shown(value: object) -> str:
    return repr_of(value) if type(value) is str else f"of type {class_name(value)!r}"


def _name_of(obj: object) -> str:
    """Return the name of a class, a function or a module; empty for other objects."""
    if issubclass(type(obj), type):
        return name_of_class(obj)  # type: ignore[arg-type]
    name = obj.__name__ if type(obj) is FunctionType else attribute_of(obj, "__name__")
    return name if type(name) is str else ""


def candidate_of(chosen: Selected, candidates: Sequence[Candidate]) -> Candidate | None:
    """Return what discovery knows of a photon, None if it could not see it."""
    target = _name_of(chosen.obj)
    for candidate in candidates:
        if target and candidate.target == target:
            return candidate
    return next((c for c in candidates if c.name == chosen.name), None)


def check_names(
    selected: Iterable[Selected],
    candidates: Sequence[Candidate],
    registry: Registry,
    accepted: Accepted | None = None,
    claimed: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Refuse photons whose names are taken.

    Args:
        selected: The photons of one unit.
        candidates: What discovery knows of them.
        registry: The photons that are loaded.
        accepted: Those of the same batch that are to be loaded with them.
        claimed: Folded name → file of what discovery knows of the same batch. A name
            that a photon takes at run time is refused in favour of one of these.

    Raises:
        PhotonConflictError: Names both files.
    """
    accepted = accepted or {}
    location = candidates[0].location
    own = {candidate.location for candidate in candidates}
    seen: set[str] = set()
    for chosen in selected:
        key = fold(chosen.name)
        other = ""
        if key in accepted:
            other = accepted[key][1][0].location
        elif key in seen:
            other = location
        elif (taken := registry.get(chosen.name)) is not None:
            other = taken.filepath
        elif claimed.get(key, location) not in own:
            other = claimed[key]
        seen.add(key)
        if other:
            raise PhotonConflictError(
                "is there already",
                photon=chosen.name,
                file=location,
                why=f"{other} has a photon of that name",
                hint="give one of them another photon_name",
            )


class BatchResult:
    """What became of a batch. Do not keep it: errors hold frames.

    Attributes:
        handlers: Of the photons that were loaded, in load order.
        outcomes: One for every photon, in the order in which they were decided.
        errors: Why photons could not be loaded; one for each unit.
    """

    def __init__(self) -> None:
        self.handlers: list[Handler] = []
        self.outcomes: list[Outcome] = []
        self.errors: list[LuminalError] = []

    @property
    def report(self) -> Report:
        """The outcomes, as a value that may be kept."""
        return Report(tuple(self.outcomes))

    def error(self) -> LuminalError | None:
        """Return what to raise: None, the one failure, or all of them as a group."""
        if len(self.errors) <= 1:
            return self.errors[0] if self.errors else None
        return PhotonBatchError("several photons could not be loaded", [*self.errors])


class _Unit:
    """The candidates of one unit, and where it is loaded from."""

    def __init__(
        self,
        name: str,
        origin: DirectoryOrigin | DistributionOrigin | BundleOrigin,
        location: ModuleLocation | None,
        choice: Choice,
        attempt: Attempt | None = None,
    ) -> None:
        self.name = name
        self.origin = origin
        self.location = location
        self.choice = choice
        self.candidates: list[Candidate] = []
        self.attempt = attempt
        self.stopwatch = Stopwatch()
        self.changes: InterpreterChanges = InterpreterChanges()
        # That it runs from the vault, and why.
        self.kept: Problem | None = None

    def final_choice(self) -> Choice:
        """Return how its photons are chosen, now that all candidates are known."""
        if self.location is not None:
            return self.choice
        targets = tuple((c.name, c.target) for c in self.candidates)
        return attrs.evolve(self.choice, targets=targets)

    def candidate_of(self, chosen: Selected) -> Candidate:
        """Return what discovery knows of a photon of this unit."""
        found = candidate_of(chosen, self.candidates)
        if found is not None:
            return found
        # A photon that discovery could not see: a class made by a call, say.
        target = _name_of(chosen.obj)
        return attrs.evolve(self.candidates[0], name=chosen.name, target=target)


class BatchLoader:
    """Loads photons into one host, and unloads them.

    Args:
        world: Where generations are committed.
        registry: Where Handlers are kept.
        runtime: The photons' connection to the host.
        is_logging: Whether what happens to the photons is logged.
    """

    def __init__(
        self,
        world: World,
        registry: Registry,
        runtime: Runtime,
        is_logging: bool = False,
    ) -> None:
        self.world = world
        self.registry = registry
        self.runtime = runtime
        self.is_logging = is_logging

    async def load_batch(
        self,
        candidates: Iterable[Candidate],
        base: type = IPhoton,
        others: Sequence[str] = (),
        *,
        origin: BundleOrigin | None = None,
        approved: Mapping[str, str] | None = None,
    ) -> BatchResult:
        """Load *candidates*, which are in load order.

        Args:
            candidates: What discovery found.
            base: What photons of directories derive from.
            others: Names of further classes that are wanted of each file.
            origin: Of *candidates*, where they are those of a fleet's bundle.
            approved: All that may be executed, see `Stage`.
        """
        result = BatchResult()
        choice = Choice(base, tuple(others))
        units = self._group(candidates, choice, result, origin)
        with collecting_rarely() if len(units) >= _MANY else nullcontext():
            await self._load(units, result, approved)
        self.world.codes.release()
        if self.world.codes.has_changed:
            await run_in_thread(self.world.codes.save, 60.0, "luminal-cache")
        return result

    async def _load(
        self,
        units: list[_Unit],
        result: BatchResult,
        approved: Mapping[str, str] | None,
    ) -> None:
        """Stage *units* one by one, and commit together what could be staged."""
        patience = self.runtime.deadlines.load
        stage = Stage(self.world, patience=patience, approved=approved)
        accepted: dict[str, tuple[Selected, list[Candidate]]] = {}
        try:
            claimed = {fold(c.name): c.location for u in units for c in u.candidates}
            staged = await run_each_in_thread(
                [self._job(unit, stage, accepted, claimed) for unit in units],
                self.runtime.deadlines.load,
                "luminal-load",
                lambda index: _give_up(units[index]),
            )
        except BaseException:
            stage.discard()
            raise
        # From here to the registry nothing is awaited: all of it is in, or nothing.
        began = time.perf_counter()
        stage.commit()
        commit = {"commit": time.perf_counter() - began}
        self.runtime.events.count_phases("load", commit)
        for unit, selected in zip(units, staged, strict=True):
            self._finish(unit, selected, result)
        self.registry.add(result.handlers)
        for handler in result.handlers:
            self.runtime.emit(EventKind.LOADED, handler, phases=handler.phases)
            if self.world.judge is not None:
                self._tell_verdict(handler)

    def _group(
        self,
        candidates: Iterable[Candidate],
        choice: Choice,
        result: BatchResult,
        origin: BundleOrigin | None,
    ) -> list[_Unit]:
        """Group *candidates* by unit; those that are not to be loaded are decided."""
        units: dict[str, _Unit] = {}
        left_out: dict[str, set[str]] = {}
        failed: dict[str, set[str]] = {}
        installed: dict[str, DistributionOrigin] = {}
        for candidate in candidates:
            skipped = reason_to_skip(candidate, self.registry)
            if skipped is not None:
                self._leave_out(candidate, EventKind.SKIPPED, skipped, result)
            elif candidate.problem is not None and not self._is_kept(candidate):
                result.errors.append(candidate.problem.error(candidate.name))
                self._leave_out(
                    candidate, EventKind.REJECTED, candidate.problem, result
                )
                failed.setdefault(candidate.distribution, set()).add(candidate.target)
            else:
                if origin is not None:
                    unit = _Unit(origin.root, origin, None, choice)
                else:
                    unit = self._unit_of(candidate, choice, installed)
                unit = units.setdefault(unit.name, unit)
                taken = self._taken_name(unit, candidate)
                if taken is None:
                    unit.candidates.append(candidate)
                    continue
                result.errors.append(taken.error(candidate.name))
                self._leave_out(candidate, EventKind.REJECTED, taken, result)
            left_out.setdefault(candidate.location, set()).add(candidate.name)
        for unit in units.values():
            # A file may hold photons that are wanted and others that are not.
            excluded = left_out.get(unit.candidates[0].location)
            if excluded:
                unit.choice = attrs.evolve(unit.choice, excluded=frozenset(excluded))
            of = unit.candidates[0].distribution
            if of and of in failed:
                unit.choice = attrs.evolve(unit.choice, failed=frozenset(failed[of]))
        return list(units.values())

    def _taken_name(self, unit: _Unit, candidate: Candidate) -> Problem | None:
        """Return that another source has a package of the name of a bundle's."""
        serving = self.world.generations.get(unit.name)
        for other in (unit.origin, serving.origin if serving else unit.origin):
            path = candidate.location
            is_bundle = candidate.source is Source.BUNDLE
            if isinstance(other, BundleOrigin) != is_bundle or (
                isinstance(other, BundleOrigin) and other.path != path
            ):
                place = candidate.location
                if isinstance(other, BundleOrigin):
                    place = other.path
                elif isinstance(other, DistributionOrigin):
                    place = other.location
                error = PhotonConflictError(
                    f"its package {unit.name!r} is loaded from elsewhere",
                    photon=candidate.name,
                    file=path,
                    why=f"it comes from {place}",
                    hint="load one of them, or rename the package",
                )
                return Problem.of(error, "discovery")
        return None

    def _is_kept(self, candidate: Candidate) -> bool:
        """Whether an accepted version of what cannot be loaded may be in the vault."""
        judge = self.world.judge
        if judge is None or not candidate.distribution:
            return False
        from luminal.loading import accepted_entry

        return accepted_entry(judge, candidate.distribution) is not None

    def _unit_of(
        self,
        candidate: Candidate,
        choice: Choice,
        installed: dict[str, DistributionOrigin],
    ) -> _Unit:
        """Return the unit of *candidate*; a distribution is one.

        Args:
            candidate: What is to be loaded.
            choice: How the photons of the unit are chosen.
            installed: Distributions of this batch so far. This adds to it.
        """
        path = candidate.location
        if candidate.source is Source.DIRECTORY:
            self.world.roots.declare(candidate.roots)
            origin = self.world.roots.claim(candidate.origin)
            name = origin.name_of(path)
            is_package = os.path.basename(path) == "__init__.py"
            location = ModuleLocation("package" if is_package else "module", path, name)
            return _Unit(name, origin, location, choice)
        module = candidate.target.partition(":")[0].strip()
        if candidate.source is Source.BUNDLE:
            bundle = BundleOrigin(path, candidate.root)
            return _Unit(candidate.root, bundle, None, choice)
        found = DistributionOrigin(module, path, candidate.metadata)
        name = candidate.distribution
        known = installed.setdefault(name, self._origin_of(name) or found)
        if known.metadata == found.metadata:
            known.add(module, path)
        return _Unit(known.root[0], known, None, choice)

    def _origin_of(self, distribution: str) -> DistributionOrigin | None:
        """Return where the modules of a distribution that is loaded are found."""
        for handler in self.registry.of_distribution(distribution):
            origin = handler.generation.origin if handler.generation else None
            if isinstance(origin, DistributionOrigin):
                return origin
        return None

    def _job(
        self,
        unit: _Unit,
        stage: Stage,
        accepted: dict[str, tuple[Selected, list[Candidate]]],
        claimed: Mapping[str, str],
    ) -> Callable[[], list[Selected]]:
        """Return the work of one unit: execute it, and choose its photons."""

        def job() -> list[Selected]:
            with unit.stopwatch.running():
                files = self._files_of(unit)
            check_requirements(unit.candidates, self.registry, accepted)
            first = unit.candidates[0]
            tracking = self.runtime.tracking_changes(
                unit.changes, first.name, first.location
            )
            with unit.stopwatch.running(), stage.attempt() as attempt, tracking:
                unit.attempt = attempt
                if files is not None:
                    stage.pinned[unit.name] = files
                generation = attempt.provide(unit.name, unit.origin, unit.location)
                check_found(generation, first)
                choice = unit.final_choice()
                selected = choice.select(generation)
                check_objects(
                    selected, unit.candidates, choice.base, self.runtime.plugins
                )
                others = claimed
                if unit.kept is not None:
                    # What is installed is not loaded: it takes no name.
                    gone = unit.kept.file
                    others = {n: path for n, path in claimed.items() if path != gone}
                check_names(selected, unit.candidates, self.registry, accepted, others)
            for chosen in selected:
                accepted[fold(chosen.name)] = chosen, unit.candidates
            return selected

        return job

    def _files_of(self, unit: _Unit) -> Pinned | None:
        """Return the files that a distribution has installed, None for a directory.

        Where the lock does not accept what is installed, and the files of the version
        that it accepts are kept, they are those of that version: *unit* becomes it.

        Raises:
            LuminalError: They cannot be read, or what discovery has found out.
        """
        judge, files = self.world.judge, None
        origin = unit.origin
        if isinstance(origin, BundleOrigin) and origin.fleet and origin.bundle:
            return files_of_bundle(origin.bundle, origin)
        if judge is not None and unit.candidates[0].source is Source.BUNDLE:
            from luminal.lifecycle._accepted import use_accepted_bundle

            with phase("verify"):
                return use_accepted_bundle(judge, unit)
        is_new = unit.name not in self.world.generations
        if not isinstance(unit.origin, DistributionOrigin) or not is_new:
            return None
        _ = unit.origin.entry_points  # of this version; pip removes them
        error: LuminalError | None = None
        try:
            files = read_installed_files(unit.origin)
        except PhotonTornError as torn:
            error = torn
        problem = next((c.problem for c in unit.candidates if c.problem), None)
        if judge is not None and (files or error or problem):
            from luminal.lifecycle._accepted import use_accepted

            with phase("verify"):
                files = use_accepted(judge, unit, files) or files
            if unit.kept is not None:
                error = problem = None
        if error is None and problem is not None:
            error = problem.error(unit.candidates[0].name)
        if error is not None:
            raise error
        return files

    def _finish(
        self, unit: _Unit, selected: Result[list[Selected]], result: BatchResult
    ) -> None:
        """Add the Handlers and the outcomes of *unit* to *result*."""
        phases = unit.stopwatch.seconds()
        self.runtime.events.count_phases("load", phases)
        if selected.error is not None:
            self._reject(unit.candidates, selected.error, result, phases)
            return
        for chosen in selected.value or ():
            handler = self._handler(chosen, unit)
            handler._life.phases = phases
            handler._changes.absorb(unit.changes)
            result.handlers.append(handler)
            warned = self.world.copies_of_host(unit.name)
            if unit.kept is not None:
                warned += (unit.kept,)
            result.outcomes.append(attrs.evolve(handler._outcome(), warnings=warned))

    def _handler(self, chosen: Selected, unit: _Unit) -> Handler:
        candidate = unit.candidate_of(chosen)
        source = chosen.generation.sources.get(candidate.location)
        return Handler(
            self.is_logging,
            chosen.name,
            candidate.location,
            source.checksum if source is not None else candidate.checksum,
            chosen.obj,
            generation=chosen.generation,
            candidate=candidate,
            choice=unit.final_choice(),
            runtime=self.runtime,
        )

    def _tell_verdict(self, handler: Handler) -> None:
        """Emit that a photon was pinned at its first use, or is not pinned."""
        verdict = handler.verdict
        if verdict is not None and verdict.is_first:
            self.runtime.emit(EventKind.PINNED, handler)
        elif verdict is not None and verdict.status == "unpinned":
            self.runtime.emit(EventKind.UNPINNED, handler)

    def _reject(
        self,
        candidates: Sequence[Candidate],
        cause: BaseException,
        result: BatchResult,
        phases: Mapping[str, float],
    ) -> None:
        """Add that the unit of *candidates* could not be loaded because of *cause*.

        It is one error, however many photons the unit has.
        """
        first = candidates[0]
        error, phase = load_failure(cause, first.name, first.location)
        if error.line is None and error.file == first.location:
            error.line = first.line or None
        result.errors.append(error)
        problem = Problem.of(error, phase)
        for candidate in candidates:
            self._leave_out(candidate, EventKind.REJECTED, problem, result, phases)

    def _leave_out(
        self,
        candidate: Candidate,
        kind: EventKind,
        problem: Problem,
        result: BatchResult,
        phases: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Add that *candidate* is not loaded, and emit an event of *kind*."""
        is_skipped = kind is EventKind.SKIPPED
        result.outcomes.append(
            Outcome(
                candidate.name,
                OutcomeResult.SKIPPED if is_skipped else OutcomeResult.FAILED,
                candidate.origin,
                candidate.location,
                problem=problem,
                phases=dict(phases),
            )
        )
        self.runtime.emit_candidate(kind, candidate, problem, dict(phases))

    async def unload_batch(
        self, by_file: Mapping[str, list[Handler]], is_forced: bool
    ) -> None:
        """Unload the photons of some files, the last loaded first.

        All are unloaded, whatever one of them raises while it is finalized.

        Args:
            by_file: File → its Handlers.
            is_forced: Skip ``finalize``.
        """
        registry, world = self.registry, self.world
        handlers = registry.in_order(h for of_file in by_file.values() for h in of_file)
        handlers.reverse()
        for handler in handlers:
            handler._is_unloaded = True  # it cannot be started meanwhile
        gone: list[Handler] = []
        try:
            for handler in handlers:
                try:
                    if handler.state is not State.STAGED:
                        await handler._stop(is_forced)
                finally:
                    # Also where the stop was cancelled: it runs no more.
                    registry.remove([handler])
                    gone.append(handler)
                    self.runtime.emit(EventKind.UNLOADED, handler)
        finally:
            for handler in gone:
                handler._changes.undo()
            units = {h.generation.unit for h in gone if h.generation is not None}
            # With the last photon goes all that was ever imported.
            ended = world.retire(
                units if len(registry) else world.generations, registry.has_unit
            )
            self.runtime.plugins.forget_specs(ended)
            spaces = [namespaces_of(handler) for handler in gone]
            for handler in gone:
                if handler.generation in ended and handler.generation is not None:
                    self.runtime.survivors.watch(
                        handler.generation, handler.name, handler.filepath
                    )
                handler._release()
            for handler, namespaces in zip(gone, spaces, strict=True):
                report_referrers(handler, namespaces)


def _give_up(unit: _Unit) -> None:
    if unit.attempt is not None:
        unit.attempt.discard()


_NO_ENTRY = (0, "", "", "")


@attrs.frozen
class Disabled:
    """A photon that is not to be loaded.

    Attributes:
        file: Its file.
        candidate: What discovery knew of it.
        modules: Path of each module that imports connected with it when it ran →
            whether what lies beside its unit is of others.
    """

    file: str
    candidate: Candidate | None
    modules: Mapping[str, bool] = attrs.Factory(dict)


class Registry:
    """The Handlers of one host, by name, by file and by unit."""

    def __init__(self) -> None:
        self._by_name: dict[str, Handler] = {}
        self._by_file: dict[str, list[Handler]] = {}
        self._by_unit: dict[str, list[Handler]] = {}
        self._by_distribution: dict[str, list[Handler]] = {}
        # Handler → what it is filed under: its number in the order of loading, its
        # file, its unit and its distribution.
        self._entries: dict[Handler, tuple[int, str, str, str]] = {}
        self._count: int = 0
        # Photon that is not to be loaded → where it is.
        self.disabled: dict[str, Disabled] = {}
        # The host's version of its API, as it has told it to discovery last.
        self.api_version: str | None = None

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, handler: Handler) -> bool:
        return handler in self._entries

    def all(self) -> dict[str, Handler]:
        """Return all Handlers by their photons' names, in the order of loading."""
        return {handler.name: handler for handler in list(self._by_name.values())}

    def get(self, name: str) -> Handler | None:
        """Return the Handler of the photon called *name*, or None."""
        return self._by_name.get(fold(name))

    def of_file(self, path: str) -> list[Handler]:
        """Return the Handlers of the photons of the file at *path*."""
        return list(self._by_file.get(path, ()))

    def of_units(self, units: Iterable[str]) -> list[Handler]:
        """Return the Handlers of the photons of *units*, in the order of loading."""
        found: list[Handler] = []
        for unit in units:
            found.extend(self._by_unit.get(unit, ()))
        return self.in_order(found) if len(found) > 1 else found

    def of_distribution(self, name: str) -> list[Handler]:
        """Return the Handlers of the photons of an installed distribution."""
        return list(self._by_distribution.get(name, ())) if name else []

    def has_unit(self, unit: str) -> bool:
        """Return whether a photon of *unit* is loaded."""
        return unit in self._by_unit

    def in_order(self, handlers: Iterable[Handler]) -> list[Handler]:
        """Return *handlers* in the order of loading; what is not loaded first."""
        found = list(handlers)
        if len(found) > 1:
            found.sort(key=lambda h: self._entries.get(h, _NO_ENTRY)[0])
        return found

    def files(self) -> list[str]:
        """Return the files that photons were loaded from, in the order of loading."""
        return list(self._by_file)

    def add(self, handlers: Iterable[Handler]) -> None:
        """Add *handlers*, whose names are free."""
        for handler in handlers:
            self._by_name[fold(handler.name)] = handler
            self._count += 1
            self._file(handler, self._count)

    def remove(self, handlers: Iterable[Handler]) -> None:
        """Forget *handlers*."""
        for handler in handlers:
            self._by_name.pop(fold(handler.name), None)
            self._unfile(handler, self._entries.pop(handler, _NO_ENTRY))

    def refile(self, handler: Handler) -> None:
        """Note the file that the photon of *handler* has now; a swap may change it."""
        entry = self._entries[handler]
        if handler._life.filepath != entry[1]:
            self._unfile(handler, entry)
            self._file(handler, entry[0])

    def _file(self, handler: Handler, count: int) -> None:
        path = handler.filepath
        unit = handler.generation.unit if handler.generation is not None else ""
        self._by_file.setdefault(path, []).append(handler)
        self._by_unit.setdefault(unit, []).append(handler)
        candidate = handler.candidate
        distribution = candidate.distribution if candidate is not None else ""
        if distribution:
            self._by_distribution.setdefault(distribution, []).append(handler)
        self._entries[handler] = (count, path, unit, distribution)

    def _unfile(self, handler: Handler, entry: tuple[int, str, str, str]) -> None:
        _, path, unit, distribution = entry
        _drop(self._by_file, path, handler)
        _drop(self._by_unit, unit, handler)
        _drop(self._by_distribution, distribution, handler)

    def find(self, photon: Handler | str | os.PathLike[str]) -> list[Handler]:
        """Return all Handlers of the file that *photon* came from.

        Args:
            photon: A Handler, the path of a file, or a photon's name.

        Raises:
            PhotonNotFoundError: It is not loaded.
        """
        if not isinstance(photon, Handler):
            known = self.get(os.fspath(photon))
            path = os.path.abspath(photon) if known is None else known.filepath
            found = self.of_file(path) or self.of_file(os.path.realpath(path))
        else:
            entry = self._entries.get(photon)
            found = list(self._by_file.get(entry[1], ())) if entry is not None else []
        if not found:
            label = photon.name if isinstance(photon, Handler) else os.fspath(photon)
            raise PhotonNotFoundError(
                "is not loaded",
                photon=label,
                hint="load it first; 'loader.photons' has the names that are"
                + did_you_mean(label, self.all(), "; "),
            )
        return found


def _drop(lists: dict[str, list[Handler]], key: str, handler: Handler) -> None:
    left = [h for h in lists.get(key, ()) if h is not handler]
    if left:
        lists[key] = left
    else:
        lists.pop(key, None)
