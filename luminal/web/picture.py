"""How a host is at one moment, as a value that a page can be drawn from.

Comes in: a Loader, or what a running host answers to ``status``. Goes out: a `Picture`.
Must never disturb the host: it only reads.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs

from luminal.hooks import HookStatistics
from luminal.managers.status import status_of
from luminal.model import Event, EventKind, Outcome, OutcomeResult, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from luminal.managers import Loader

__all__ = ["Failure", "Photon", "Picture", "picture_of", "picture_of_status"]

_OURS = "luminal."
"""How the names of Luminal's own occupants of seats begin; they are no photons."""

_FAILURES = 50
"""Failures that a picture holds; older ones are left out."""


@attrs.frozen
class Photon:
    """One photon at that moment.

    Attributes:
        name: Its name.
        state: One of `luminal.model.State`; ``skipped`` or ``failed`` where it is not
            loaded.
        generation: Number of the generation that serves, 0 where none does.
        since: Wall-clock time in seconds of the latest change of state; 0: unknown.
        file: The file that holds it, or an empty string.
        problem: Why it does not run, or why its latest reload was refused.
        calls: Calls of its hooks since the latest swap.
        errors: Exceptions that they raised.
        seconds: Time spent in them.
    """

    name: str
    state: str
    generation: int = 0
    since: float = 0.0
    file: str = ""
    problem: Problem | None = None
    calls: int = 0
    errors: int = 0
    seconds: float = 0.0


@attrs.frozen
class Failure:
    """Something that went wrong with a photon.

    Attributes:
        photon: Name of the photon.
        problem: What, where, and why.
        at: Wall-clock time in seconds; 0 where unknown.
        is_standing: Whether it is still so.
    """

    photon: str
    problem: Problem
    at: float = 0.0
    is_standing: bool = True


@attrs.frozen
class Picture:
    """A host at one moment.

    Attributes:
        pid: Number of its process.
        command: Its command line.
        at: Wall-clock time of the picture in seconds.
        photons: In the order of loading, then those that are not loaded.
        failures: The latest first.
        events: The journal, oldest first; None where the host did not tell it.
        hooks: Statistics of each photon in each hook; None where it did not tell them.
    """

    pid: int
    command: str
    at: float
    photons: tuple[Photon, ...]
    failures: tuple[Failure, ...]
    events: tuple[Event, ...] | None = None
    hooks: tuple[HookStatistics, ...] | None = None


def picture_of(loader: Loader) -> Picture:
    """Return how *loader*'s host is now.

    Args:
        loader: The host. Calls and swaps go on meanwhile.
    """
    events = tuple(loader.events.journal)
    status = status_of(loader)
    photons = tuple(_photons(status, tuple(loader.report)))
    return _picture(
        status,
        photons,
        failures=tuple(_failures(photons, events)),
        events=events,
        hooks=tuple(
            row
            for row in loader.plugins.statistics()
            if not row.photon.startswith(_OURS)
        ),
    )


def picture_of_status(status: Mapping[str, Any]) -> Picture:
    """Return what a running host's answer shows.

    Args:
        status: As `luminal.managers.status.report_of` returns it; or `status_of`, which
            has no journal, and no statistics hook by hook.
    """
    outcomes = tuple(_outcome(row) for row in status.get("outcomes", ()))
    photons = tuple(_photons(status, outcomes))
    if "events" not in status:
        return _picture(status, photons, failures=tuple(_failures(photons, ())))
    known = set(EventKind)
    events = tuple(
        Event(**{**row, **_enumerated(row)})
        for row in status["events"]
        if row["kind"] in known
    )
    rows = (HookStatistics(**row) for row in status["hooks"])
    return _picture(
        status,
        photons,
        failures=tuple(_failures(photons, events)),
        events=events,
        hooks=tuple(row for row in rows if not row.photon.startswith(_OURS)),
    )


def _enumerated(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": EventKind(row["kind"]), "problem": _problem(row)}


def _outcome(row: Mapping[str, Any]) -> Outcome:
    values = {"result": OutcomeResult(row["result"]), "problem": _problem(row)}
    return Outcome(**{**row, **values})


def _problem(row: Mapping[str, Any]) -> Problem | None:
    return Problem(**row["problem"]) if row["problem"] else None


def _picture(
    status: Mapping[str, Any], photons: tuple[Photon, ...], **more: Any
) -> Picture:
    return Picture(
        pid=int(status["pid"]),
        command=" ".join(status["command"]),
        at=float(status.get("at", 0) or time.time()),
        photons=photons,
        **more,
    )


def _photons(
    status: Mapping[str, Any], report: tuple[Outcome, ...] = ()
) -> Iterator[Photon]:
    decided = {outcome.photon: outcome for outcome in report}
    names = attrs.fields_dict(Photon)
    for row in status["photons"]:
        known = {key: value for key, value in row.items() if key in names}
        problem = _problem(row)
        outcome = decided.pop(row["name"], None)
        if problem is None and outcome is not None:
            problem = outcome.problem
        yield Photon(**{**known, "problem": problem})
    for outcome in decided.values():
        if outcome.problem is not None or outcome.result != "loaded":
            yield Photon(
                outcome.photon,
                str(outcome.result),
                file=outcome.file,
                problem=outcome.problem,
            )


def _failures(
    photons: tuple[Photon, ...], events: tuple[Event, ...]
) -> Iterator[Failure]:
    """Yield each problem once, the latest first, those without a time before all."""
    standing = {
        (photon.name, photon.problem)
        for photon in photons
        if photon.problem is not None and photon.state != "skipped"
    }
    told = [
        Failure(event.photon, event.problem, event.at)
        for event in reversed(events)
        if event.problem is not None and event.kind != "skipped"
    ]
    timed = {(failure.photon, failure.problem) for failure in told}
    untimed = [
        Failure(photon.name, photon.problem, photon.since)
        for photon in photons
        if photon.problem is not None and (photon.name, photon.problem) in standing
        if (photon.name, photon.problem) not in timed
    ]
    seen: set[tuple[str, Problem]] = set()
    for failure in (*untimed, *told)[:_FAILURES]:
        key = (failure.photon, failure.problem)
        if key not in seen:
            seen.add(key)
            yield attrs.evolve(failure, is_standing=key in standing)
