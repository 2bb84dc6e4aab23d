"""The state of a host at one moment, as a value from which a page is rendered.

It is read from a `luminal.managers.Loader` of this process, or from what a host in
another process sent. Reading does not change the host.
"""

from __future__ import annotations

import time
from collections.abc import Mapping  # noqa: TC003 - attrs resolves it
from typing import TYPE_CHECKING, Any

import attrs

from luminal.hooks import HookStatistics
from luminal.managers.status import changes_of, log_of, status_of
from luminal.model import Event, EventKind, Outcome, OutcomeResult, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from luminal.managers import Loader

__all__ = [
    "Failure",
    "HostSnapshot",
    "PhotonSnapshot",
    "snapshot_of",
    "snapshot_of_status",
]

_MOST_FAILURES = 50
"""Number of failures in a snapshot; older ones are left out."""


_NAMES = ("hooks", "files", "photons")
"""Fields of events that are tuples of names."""

_IS_LOADED = (OutcomeResult.LOADED, OutcomeResult.STARTED)


@attrs.frozen
class PhotonSnapshot:
    """One photon at one moment.

    Attributes:
        name: Its name.
        state: One of `luminal.model.State`; ``skipped`` or ``failed`` for a photon that
            is not loaded.
        generation: Number of the generation that answers calls; 0 for none.
        since: Wall-clock time in seconds of the latest change of state; 0 if unknown.
        file: Path of its file, or an empty string.
        problem: Why it does not run, why its latest reload was rejected, or what its
            code has raised latest.
        calls: Number of calls of its hooks since the latest swap.
        errors: Number of exceptions that these calls, and other code of the photon,
            raised.
        seconds: Time that these calls took.
        quarantined: Its hooks that are skipped, as they have failed again and again.
        version: Its version, or an empty string.
        description: What it is for, or an empty string.
        source: ``directory`` or ``distribution``, or an empty string.
        origin: The directory, or ``name version`` of the distribution.
        requirements: Photons that it requires.
        line: Line of its class in *file*; 0 if unknown.
        settings: Key → value as text; that of a secret is not there.
        kept: Number of entries in its ``context.data`` and ``context.shared``.
        trust: What the lock knows of it, such as ``pinned``; empty where none is in
            force.
        trust_why: One line about that.
        phases: Seconds of each phase of its load and start, or of its latest swap.
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
    quarantined: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    version: str = ""
    description: str = ""
    source: str = ""
    origin: str = ""
    requirements: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    line: int = 0
    settings: Mapping[str, str] = attrs.Factory(dict)
    kept: int = 0
    trust: str = ""
    trust_why: str = ""
    phases: Mapping[str, float] = attrs.Factory(dict)

    @property
    def is_failing(self) -> bool:
        """Whether it has a problem, and was not left out on purpose."""
        return self.problem is not None and self.state != "skipped"


@attrs.frozen
class Failure:
    """A problem of a photon.

    Attributes:
        photon: Name of the photon.
        problem: What failed, where, and why.
        at: Wall-clock time in seconds; 0 if unknown.
        is_current: Whether the photon still has this problem.
    """

    photon: str
    problem: Problem
    at: float = 0.0
    is_current: bool = True


@attrs.frozen
class HostSnapshot:
    """A host at one moment.

    Attributes:
        pid: Id of its process.
        command: Its command line.
        at: Wall-clock time of the snapshot in seconds.
        photons: In the order of loading, then those that are not loaded.
        failures: The latest first.
        events: The journal, oldest first; None if the host did not send it.
        hooks: Statistics of each photon in each hook; None if the host did not send
            them.
        changes: What the latest swaps have changed, oldest first, as
            `luminal.managers.status.changes_of` returns it.
        records: What photons have logged, oldest first: ``at``, ``photon``, ``level``
            and ``text``.
        disabled: Names of the photons that are disabled.
        fleet: What is known here of the fleet that the host is a member of; empty where
            it is of none. See `luminal.fleet.MemberDriver.view`.
    """

    pid: int
    command: str
    at: float
    photons: tuple[PhotonSnapshot, ...]
    failures: tuple[Failure, ...]
    events: tuple[Event, ...] | None = None
    hooks: tuple[HookStatistics, ...] | None = None
    changes: tuple[Mapping[str, Any], ...] = ()
    records: tuple[Mapping[str, Any], ...] = ()
    disabled: tuple[str, ...] = ()
    fleet: Mapping[str, Any] = attrs.Factory(dict)


def snapshot_of(loader: Loader) -> HostSnapshot:
    """Return the present state of *loader*'s host.

    Args:
        loader: The host. Calls and swaps go on meanwhile.
    """
    return _snapshot(
        status_of(loader),
        loader.report,
        tuple(loader.events.journal),
        loader.plugins.statistics(),
        changes_of(loader),
        log_of(loader)["records"],
    )


def snapshot_of_status(status: Mapping[str, Any]) -> HostSnapshot:
    """Return the state that a running host sent.

    Args:
        status: The result of `luminal.managers.status.report_of`, or of `status_of`,
            which has neither the journal nor the statistics of each hook.
    """
    outcomes = [
        Outcome(
            **{**row, "result": OutcomeResult(row["result"]), "problem": _problem(row)}
        )
        for row in status.get("outcomes", ())
    ]
    if "events" not in status:
        return _snapshot(status, outcomes)
    known = set(EventKind)  # a newer host may have events that we do not know
    events = tuple(
        Event(
            **{
                **row,
                "kind": EventKind(row["kind"]),
                "problem": _problem(row),
                **{key: tuple(row.get(key, ())) for key in _NAMES},
            }
        )
        for row in status["events"]
        if row["kind"] in known
    )
    hooks = [HookStatistics(**row) for row in status["hooks"]]
    more = status.get("changes", ()), status.get("records", ())
    return _snapshot(status, outcomes, events, hooks, *more)


def _problem(row: Mapping[str, Any]) -> Problem | None:
    return Problem(**row["problem"]) if row["problem"] else None


def _snapshot(
    status: Mapping[str, Any],
    outcomes: Iterable[Outcome],
    events: tuple[Event, ...] | None = None,
    hooks: Iterable[HookStatistics] | None = None,
    changes: Iterable[Mapping[str, Any]] = (),
    records: Iterable[Mapping[str, Any]] = (),
) -> HostSnapshot:
    photons = tuple(_photons(status, outcomes))
    if hooks is not None:
        hooks = tuple(hooks)
    return HostSnapshot(
        pid=int(status["pid"]),
        command=" ".join(status["command"]),
        at=float(status.get("at", 0) or time.time()),
        photons=photons,
        failures=_failures(photons, events or ()),
        events=events,
        hooks=hooks,
        changes=tuple(changes),
        records=tuple(records),
        disabled=tuple(status.get("disabled", ())),
        fleet=status.get("fleet", {}),
    )


def _photons(
    status: Mapping[str, Any], outcomes: Iterable[Outcome]
) -> Iterator[PhotonSnapshot]:
    by_name = {outcome.photon: outcome for outcome in outcomes}
    fields = attrs.fields_dict(PhotonSnapshot)
    for row in status["photons"]:
        known = {key: value for key, value in row.items() if key in fields}
        by_name.pop(row["name"], None)
        yield PhotonSnapshot(**{**known, "problem": _problem(row)})
    for outcome in by_name.values():
        if outcome.problem is not None or outcome.result not in _IS_LOADED:
            yield PhotonSnapshot(
                outcome.photon,
                str(outcome.result),
                file=outcome.file,
                problem=outcome.problem,
            )


def _failures(
    photons: Iterable[PhotonSnapshot], events: tuple[Event, ...]
) -> tuple[Failure, ...]:
    """Return each problem once: those that no event has, then the latest first."""
    current = {
        (photon.name, photon.problem): photon.since
        for photon in photons
        if photon.problem is not None and photon.state != "skipped"
    }
    logged: dict[tuple[str, Problem], Failure] = {}
    for event in reversed(events):
        if event.problem is not None and event.kind is not EventKind.SKIPPED:
            key = (event.photon, event.problem)
            logged.setdefault(key, Failure(*key, event.at, key in current))
    others = [
        Failure(*key, since) for key, since in current.items() if key not in logged
    ]
    return (*others, *logged.values())[:_MOST_FAILURES]
