"""From candidates to Handlers: a batch is staged unit by unit and committed as one.

In come candidates in load order; out come Handlers, and an outcome for every photon.
One broken unit leaves no trace and keeps no other from being loaded.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from luminal.errors import LuminalError, PhotonBatchError
from luminal.interfaces import IPhoton
from luminal.lifecycle.admission import Admission
from luminal.lifecycle.handler import Handler
from luminal.lifecycle.ledger import Ledger
from luminal.lifecycle.trail import Trail
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
    run_apart,
    run_each_apart,
)
from luminal.loading._source import read_shipment
from luminal.model import Candidate, Happening, Report, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from luminal.lifecycle.ports import Ports
    from luminal.lifecycle.registry import Registry

__all__ = ["Batch", "Intake"]


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
    ports: Ports
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
            await run_apart(self.world.codes.save, 60.0, "luminal-cache")
        return Batch(tuple(handlers), ledger.report(), tuple(ledger.errors))

    async def _load(self, units: list[_Unit], ledger: Ledger) -> list[Handler]:
        """Stage *units* one by one, and commit what came of them together."""
        stage = Stage(self.world)
        admission = Admission(self.registry)
        try:
            results = await run_each_apart(
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
            self.ports.tell(Happening.LOADED, handler)
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
                handler.trail.absorb(unit.trail)
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
            ports=self.ports,
        )


def _job(
    unit: _Unit, stage: Stage, admission: Admission, ports: Ports
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
