"""From candidates to Handlers: a batch is staged unit by unit and committed as one.

In come candidates in load order; out come Handlers, and an outcome for every photon.
One broken unit leaves no trace and keeps no other from being loaded.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import attrs

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
)
from luminal.interfaces import IPhoton
from luminal.lifecycle._failures import Ledger
from luminal.lifecycle._footprint import Trail, name_pins, namespaces_of
from luminal.lifecycle._handler import Handler
from luminal.loading import (
    Attempt,
    Choice,
    DirectoryOrigin,
    DistributionOrigin,
    Place,
    Result,
    Selected,
    Stage,
    World,
    claim_directory,
    collecting_rarely,
    drop_type_caches,
    read_shipment,
    run_each_in_thread,
    run_in_thread,
)
from luminal.model import Candidate, EventKind, Problem, Report, Source, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from luminal.lifecycle._runtime import Runtime

__all__ = ["Admission", "Batch", "Intake", "Registry", "depart"]

# === lifecycle.admission ===
# Who may come in: names that are free, requirements that are met.


@attrs.define(eq=False)
class Admission:
    """What a batch has let in so far, beside what was loaded before it.

    Args:
        registry: The photons that were loaded before.
    """

    registry: Registry
    # Folded name → a photon that this batch has let in, and its unit's candidates.
    _admitted: dict[str, tuple[Selected, list[Candidate]]] = attrs.Factory(dict)

    @staticmethod
    def reason_to_skip(candidate: Candidate, registry: Registry) -> Problem | None:
        """Return why *candidate* is left out, or None."""
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
                "is switched off",
                photon=candidate.name,
                file=candidate.location,
                hint="enable it, or change the host's lists of allowed and blocked",
            )
            return Problem.of(disabled, "discovery")
        return None

    def check_requirements(self, candidates: Iterable[Candidate]) -> None:
        """Refuse candidates whose required photons are not there.

        Raises:
            PhotonDependencyError: Names what is missing.
        """
        for candidate in candidates:
            for requirement in candidate.requirements:
                why = self._unmet(requirement)
                if why:
                    raise PhotonDependencyError(
                        f"requires {requirement!r}",
                        photon=candidate.name,
                        file=candidate.location,
                        line=candidate.line or None,
                        why=why,
                        hint="load the required photon first, or mend it",
                    )

    def _unmet(self, requirement: str) -> str:
        name, wanted = split_requirement(requirement)
        key = fold(name)
        handler = self.registry.get(name)
        if key in self._admitted:
            version = _version_of(key, *self._admitted[key])
        elif handler is not None:
            version = handler.candidate.version if handler.candidate else ""
        else:
            return f"photon {name!r} is not loaded"
        if wanted and not fits(version, wanted):
            return f"photon {name!r} has version {version or 'none'}"
        return ""

    def check_names(
        self, selected: Iterable[Selected], candidates: list[Candidate]
    ) -> None:
        """Refuse photons whose names are taken.

        Raises:
            PhotonConflictError: Names both files.
        """
        location = candidates[0].location
        seen: set[str] = set()
        for chosen in selected:
            key = fold(chosen.name)
            other = ""
            if key in self._admitted:
                other = self._admitted[key][1][0].location
            elif key in seen:
                other = location
            elif (taken := self.registry.get(chosen.name)) is not None:
                other = taken.filepath
            seen.add(key)
            if other:
                raise PhotonConflictError(
                    "is there already",
                    photon=chosen.name,
                    file=location,
                    why=f"{other} has a photon of that name",
                    hint="give one of them another photon_name",
                )

    def admit(self, selected: Iterable[Selected], candidates: list[Candidate]) -> None:
        """Note that *selected* are in."""
        for chosen in selected:
            self._admitted[fold(chosen.name)] = chosen, candidates


def _version_of(key: str, chosen: Selected, candidates: list[Candidate]) -> str:
    """Return the version of an admitted photon, as far as anybody knows it."""
    versions = [c.version for c in candidates if fold(c.name) == key and c.version]
    return versions[0] if versions else str(getattr(chosen.obj, "photon_version", ""))


# === lifecycle.intake ===
# From candidates to Handlers: a batch is staged unit by unit and committed as one.
#
# In come candidates in load order; out come Handlers, and an outcome for every photon.
# One broken unit leaves no trace and keeps no other from being loaded.


@attrs.define(eq=False)
class _Unit:
    """The candidates of one unit, and where it is loaded from."""

    name: str
    origin: DirectoryOrigin | DistributionOrigin
    place: Place | None
    choice: Choice
    candidates: list[Candidate] = attrs.Factory(list)
    attempt: Attempt | None = None
    trail: Trail = attrs.Factory(Trail)

    def final_choice(self) -> Choice:
        """Return how its photons are chosen, now that all candidates are known."""
        if self.place is not None:
            return self.choice
        targets = tuple((c.name, c.target) for c in self.candidates)
        return attrs.evolve(self.choice, targets=targets)

    def candidate_of(self, chosen: Selected) -> Candidate:
        """Return what discovery knows of a photon of this unit."""
        target = getattr(chosen.obj, "__name__", None)
        for candidate in self.candidates:
            if chosen.name == candidate.name or target == candidate.target:
                return candidate
        # A photon that discovery could not see: a class made by a call, say.
        return attrs.evolve(self.candidates[0], name=chosen.name, target=target or "")


@attrs.frozen
class Batch:
    """What came of a batch.

    Attributes:
        handlers: Of the photons that were loaded, in load order.
        report: An outcome for every photon.
        errors: Why those that failed did, in the same order.
    """

    handlers: tuple[Handler, ...]
    report: Report
    errors: tuple[LuminalError, ...] = ()

    def error(self) -> LuminalError | None:
        """Return what to raise: None, the one failure, or all of them as a group."""
        if len(self.errors) <= 1:
            return self.errors[0] if self.errors else None
        return PhotonBatchError("several photons could not be loaded", [*self.errors])


@attrs.define(eq=False)
class Intake:
    """Loads candidates into one host.

    Args:
        world: Where generations are committed.
        registry: Where Handlers are kept.
        ports: What connects the photons to the host.
        is_logging: Handed on to the Handlers.
    """

    world: World
    registry: Registry
    ports: Runtime
    is_logging: bool = False
    # Directory → the one origin that all of its units share.
    _claims: dict[str, DirectoryOrigin] = attrs.Factory(dict)

    async def take(
        self,
        candidates: Iterable[Candidate],
        base: type = IPhoton,
        others: Sequence[str] = (),
    ) -> Batch:
        """Load *candidates*, which are in load order.

        Args:
            candidates: What discovery found.
            base: What photons of directories derive from.
            others: Names of further classes that are wanted of each file.
        """
        ledger = Ledger(self.ports.events)
        units = self._sort(candidates, Choice(base, tuple(others)), ledger)
        with collecting_rarely(len(units)):
            handlers = await self._load(units, ledger)
        self.world.codes.release()
        if self.world.codes.has_changed:
            await run_in_thread(self.world.codes.save, 60.0, "luminal-cache")
        return Batch(tuple(handlers), ledger.report(), tuple(ledger.errors))

    async def _load(self, units: list[_Unit], ledger: Ledger) -> list[Handler]:
        """Stage *units* one by one, and commit what came of them together."""
        stage = Stage(self.world)
        admission = Admission(self.registry)
        try:
            results = await run_each_in_thread(
                [_job(unit, stage, admission, self.ports) for unit in units],
                self.ports.deadlines.load,
                "luminal-load",
                lambda index: _give_up(units[index]),
            )
        except BaseException:
            stage.discard()
            raise
        # From here to the registry nothing is awaited: all of it is in, or nothing.
        stage.commit()
        handlers = self._settle(units, results, ledger)
        self.registry.add(handlers)
        for handler in handlers:
            self.ports.tell(EventKind.LOADED, handler)
        return handlers

    def _sort(
        self, candidates: Iterable[Candidate], choice: Choice, ledger: Ledger
    ) -> list[_Unit]:
        """Group *candidates* by unit; settle those that are not to be loaded."""
        units: dict[str, _Unit] = {}
        left_out: dict[str, set[str]] = {}
        for candidate in candidates:
            skipped = Admission.reason_to_skip(candidate, self.registry)
            if skipped is not None:
                ledger.skip(candidate, skipped)
            elif candidate.problem is not None:
                ledger.refuse(candidate, candidate.problem)
            else:
                unit = self._unit_of(candidate, choice)
                units.setdefault(unit.name, unit).candidates.append(candidate)
                continue
            left_out.setdefault(candidate.location, set()).add(candidate.name)
        for unit in units.values():
            # A file may hold photons that are wanted and others that are not.
            excluded = left_out.get(unit.candidates[0].location)
            if excluded:
                unit.choice = attrs.evolve(unit.choice, excluded=frozenset(excluded))
        return list(units.values())

    def _unit_of(self, candidate: Candidate, choice: Choice) -> _Unit:
        location = candidate.location
        if candidate.source is Source.DIRECTORY:
            origin = self._claims.get(candidate.origin)
            if origin is None:
                origin = claim_directory(candidate.origin, self.world)
                self._claims[candidate.origin] = origin
            name = origin.name_of(location)
            is_package = os.path.basename(location) == "__init__.py"
            kind: str = "package" if is_package else "module"
            place = Place(kind, location, name)  # type: ignore[arg-type]
            return _Unit(name, origin, place, choice)
        distribution, _, version = candidate.origin.rpartition(" ")
        module = candidate.target.partition(":")[0].strip()
        shipped = DistributionOrigin(distribution, version, module, location)
        return _Unit(shipped.root[0], shipped, None, choice)

    def _settle(
        self, units: list[_Unit], results: list[Result[list[Selected]]], ledger: Ledger
    ) -> list[Handler]:
        """Turn results into Handlers and outcomes."""
        handlers: list[Handler] = []
        for unit, result in zip(units, results, strict=True):
            if result.error is not None:
                ledger.fail(unit.candidates, result.error)
                continue
            for chosen in result.value or ():
                handler = self._handler(chosen, unit)
                handler._changes.absorb(unit.trail)
                handlers.append(handler)
                ledger.load(handler)
        return handlers

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
            runtime=self.ports,
        )


def _job(
    unit: _Unit, stage: Stage, admission: Admission, ports: Runtime
) -> Callable[[], list[Selected]]:
    """Return the work of one unit: execute it, and choose its photons."""

    def job() -> list[Selected]:
        admission.check_requirements(unit.candidates)
        first = unit.candidates[0]
        following = ports.following(unit.trail, first.name, first.location)
        with stage.attempt() as attempt, following:
            unit.attempt = attempt
            if isinstance(unit.origin, DistributionOrigin):
                shipped = read_shipment(unit.origin, is_checked=False)
                if shipped is not None:
                    stage.pinned[unit.name] = shipped
            generation = attempt.provide(unit.name, unit.origin, unit.place)
            selected = unit.final_choice().select(generation)
            admission.check_names(selected, unit.candidates)
        admission.admit(selected, unit.candidates)
        return selected

    return job


def _give_up(unit: _Unit) -> None:
    if unit.attempt is not None:
        unit.attempt.discard()


# === lifecycle.departure ===
# From running photons to nothing: stop, forget, retire.


async def depart(
    leaving: Mapping[str, list[Handler]],
    registry: Registry,
    world: World,
    ports: Runtime,
    is_forced: bool,
) -> None:
    """Unload the photons of some files, the last loaded first.

    What one of them does while it is finalized keeps no other from leaving.

    Args:
        leaving: File → its Handlers.
        registry: Where they are forgotten.
        world: Where their generations are retired.
        ports: Who is told.
        is_forced: Skip ``finalize``.
    """
    handlers = registry.in_order(h for of_file in leaving.values() for h in of_file)
    handlers.reverse()
    for handler in handlers:
        handler._is_unloaded = True  # who asks for a start meanwhile is refused
    gone: list[Handler] = []
    try:
        for handler in handlers:
            try:
                if handler.state is not State.STAGED:
                    await handler.stop(is_forced)
            finally:
                # Also one whose end was cut short runs no more.
                registry.remove([handler])
                gone.append(handler)
                ports.tell(EventKind.UNLOADED, handler)
    finally:
        units = {h.generation.unit for h in gone if h.generation is not None}
        # With the last photon goes all that was ever imported.
        world.retire(units if len(registry) else world.generations, registry.has_unit)
        spaces = [namespaces_of(handler) for handler in gone]
        for handler in gone:
            handler._changes.undo()
            handler.release()
        for handler, namespaces in zip(gone, spaces, strict=True):
            name_pins(handler, namespaces)
        drop_type_caches()


# === lifecycle.registry ===
# The loaded photons of one host: by name, and by the file that they came from.


_NO_ENTRY = (0, "", "")


@attrs.define(eq=False)
class Registry:
    """Handlers by name. Two photons of one name: the second one is refused."""

    _by_name: dict[str, Handler] = attrs.Factory(dict)
    _by_file: dict[str, list[Handler]] = attrs.Factory(dict)
    _by_unit: dict[str, list[Handler]] = attrs.Factory(dict)
    # Handler → what it is filed under: its number in the order of loading, its file
    # and its unit.
    _entries: dict[Handler, tuple[int, str, str]] = attrs.Factory(dict)
    _count: int = 0

    def __len__(self) -> int:
        return len(self._by_name)

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
        found = [h for unit in units for h in self._by_unit.get(unit, ())]
        return self.in_order(found)

    def has_unit(self, unit: str) -> bool:
        """Return whether a photon of *unit* is loaded."""
        return unit in self._by_unit

    def in_order(self, handlers: Iterable[Handler]) -> list[Handler]:
        """Return *handlers* in the order of loading; strangers come first."""
        return sorted(handlers, key=lambda h: self._entries.get(h, _NO_ENTRY)[0])

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
            _, path, unit = self._entries.pop(handler, _NO_ENTRY)
            _drop(self._by_file, path, handler)
            _drop(self._by_unit, unit, handler)

    def refile(self, handler: Handler) -> None:
        """Note the file that the photon of *handler* has now; a swap may change it."""
        count, path, unit = self._entries[handler]
        if handler.filepath != path:
            _drop(self._by_file, path, handler)
            _drop(self._by_unit, unit, handler)
            self._file(handler, count)

    def _file(self, handler: Handler, count: int) -> None:
        path = handler.filepath
        unit = handler.generation.unit if handler.generation is not None else ""
        self._by_file.setdefault(path, []).append(handler)
        self._by_unit.setdefault(unit, []).append(handler)
        self._entries[handler] = (count, path, unit)

    def find(self, photon: Handler | str | os.PathLike[str]) -> list[Handler]:
        """Return all Handlers of the file that *photon* came from.

        Args:
            photon: A Handler, the path of a file, or a photon's name.

        Raises:
            PhotonNotFoundError: It is not loaded.
        """
        if isinstance(photon, str | os.PathLike):
            known = self.get(os.fspath(photon))
            path = os.path.abspath(photon) if known is None else known.filepath
            found = self.of_file(path) or self.of_file(os.path.realpath(path))
            label = os.fspath(photon)
        else:
            is_ours = self.get(photon.name) is photon
            found = self.of_file(photon.filepath) if is_ours else []
            label = photon.name
        if not found:
            raise PhotonNotFoundError(
                "is not loaded",
                photon=label,
                hint="load it first; 'loader.photons' has the names that are",
            )
        return found


def _drop(lists: dict[str, list[Handler]], key: str, handler: Handler) -> None:
    left = [h for h in lists.get(key, ()) if h is not handler]
    if left:
        lists[key] = left
    else:
        lists.pop(key, None)
