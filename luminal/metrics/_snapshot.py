"""The numbers of a host at one moment, as a value."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping  # noqa: TC003 - attrs resolves it
from typing import TYPE_CHECKING, Any, cast

import attrs

from luminal.model import FailureKind

if TYPE_CHECKING:
    from luminal.hooks import HookTotal
    from luminal.managers import Loader

__all__ = [
    "CpuTotal",
    "EventTotal",
    "MetricsSnapshot",
    "PhaseTotal",
    "PhotonMetrics",
    "errors_of",
    "snapshot",
    "snapshot_of_status",
]


@attrs.frozen
class PhotonMetrics:
    """A loaded photon.

    Attributes:
        name: Its name.
        state: One of `luminal.model.State`.
        generation: Number of the generation that answers calls.
    """

    name: str
    state: str
    generation: int


@attrs.frozen
class EventTotal:
    """How often a step of a photon was taken.

    Attributes:
        kind: One of `luminal.model.EventKind`.
        photon: Name of the photon; empty for what was counted of photons beyond the
            first thousands.
        count: Number of such events since the host began.
        seconds: How long these steps took together; 0 where that says nothing.
    """

    kind: str
    photon: str
    count: int
    seconds: float


@attrs.frozen
class PhaseTotal:
    """How long a phase took, in all loads, swaps or unloads.

    Attributes:
        step: ``load``, ``swap`` or ``unload``. Rejected swaps are swaps too.
        phase: One of the phases of a `luminal.model.Event`.
        count: How often there was such a phase: once for each file or distribution that
            was loaded, for each swap, and for each photon that was drained or
            finalized.
        seconds: How long they took together.
        buckets: The number of them by time, see `luminal.hooks.records.bounds`.
    """

    step: str
    phase: str
    count: int
    seconds: float
    buckets: tuple[int, ...]

    def quantile(self, part: float) -> float:
        """Return the seconds within which *part* of them ended, within a factor of two.

        Args:
            part: From 0 to 1, such as 0.95.
        """
        from luminal.hooks.records import quantile

        return quantile(self.buckets, part)


@attrs.frozen
class CpuTotal:
    """What threads were seen to compute, see `sample_cpu`. The numbers never fall.

    Attributes:
        photons: Name of a photon → samples of its code.
        host: Samples of code without a photon.
        ticks: How often it was looked.
        late: Ticks that came late or were left out.
    """

    photons: dict[str, int]
    host: int
    ticks: int
    late: int


@attrs.frozen
class MetricsSnapshot:
    """The numbers of a host at one moment. Those of counters never fall.

    Attributes:
        host: The name that the host was given, or an empty string.
        pid: Id of its process. A process that was forked begins at zero.
        at: Wall-clock time in seconds.
        photons: The loaded photons.
        hooks: What each photon did in each hook, over all its generations.
        events: How often each step of each photon was taken.
        phases: How long each phase of loads, swaps and unloads took.
        subscriber_failures: How often a subscriber of events has raised.
        events_dropped: How many events found the queue of a subscriber full.
        old_generations: How many generations do not serve any more and are still in
            memory: calls are under way, or Python has not collected them yet.
        shared_state_changes: Kind of the interpreter's shared state → how often
            photons have changed it; empty if the host does not watch it.
        cpu: What `sample_cpu` has seen since the host began; None if it never ran.
    """

    host: str
    pid: int
    at: float
    photons: tuple[PhotonMetrics, ...]
    hooks: tuple[HookTotal, ...]
    events: tuple[EventTotal, ...]
    phases: tuple[PhaseTotal, ...]
    subscriber_failures: int
    events_dropped: int
    old_generations: int
    shared_state_changes: Mapping[str, int] = attrs.field(hash=False)
    cpu: CpuTotal | None = None


def snapshot(loader: Loader, host: str = "") -> MetricsSnapshot:
    """Return the present numbers of *loader*'s host, from any thread.

    Calls go on meanwhile. Registrations and swaps wait for some milliseconds if there
    are thousands of photons.

    Args:
        loader: The host.
        host: A name for it, where several are watched together.

    Example:
        >>> from luminal import Loader
        >>> snapshot(Loader()).hooks
        ()
    """
    events = loader.events
    return MetricsSnapshot(
        host=host,
        pid=os.getpid(),
        at=time.time(),
        photons=tuple(
            PhotonMetrics(name, str(handler.state), handler.number)
            for name, handler in tuple(loader.photons.items())
        ),
        hooks=loader.plugins.totals(),
        events=tuple(
            EventTotal(str(kind), photon, count, seconds)
            for (kind, photon), (count, seconds) in tuple(events.counts.items())
        ),
        phases=tuple(
            PhaseTotal(*key, total.timed, total.nanoseconds / 1e9, (*total.buckets,))
            for key, total in tuple(events.phases.items())
        ),
        subscriber_failures=events.failures,
        events_dropped=events.dropped,
        old_generations=loader.old_generations,
        shared_state_changes=dict(events.state_changes),
        cpu=_cpu_of(loader),
    )


def _cpu_of(loader: Loader) -> CpuTotal | None:
    from luminal.metrics._cpu import cpu_totals

    totals = cpu_totals(loader)
    if totals is None:
        return None
    return CpuTotal(dict(totals.photons), totals.host, totals.ticks, totals.late)


def errors_of(loader: Loader) -> list[dict[str, Any]]:
    """Return where photons raised: in hooks, exactly; elsewhere, where contained.

    Args:
        loader: Of the host.

    Returns:
        For each place ``photon``, ``where`` (``file:line``), ``what`` has raised, the
        ``error``, ``count``, and ``at``, the wall-clock time of the latest or, outside
        of hooks, of the first that was reported.
    """
    rows = [
        {
            "photon": place.photon,
            "where": place.where,
            "what": f"hook {place.hook!r}",
            "error": place.error,
            "count": place.count,
            "at": place.at,
        }
        for place in loader.plugins.error_places()
    ]
    for name, handler in loader.photons.items():
        rows += [
            {
                "photon": name,
                "where": f"{failure.problem.file}:{failure.problem.line}",
                "what": f"{failure.kind.subject} {failure.name!r}",
                "error": failure.problem.why,
                "count": failure.count,
                "at": failure.at,
            }
            for failure in handler.failures
            if failure.kind is not FailureKind.HOOK
        ]
    return rows


def snapshot_of_status(status: Mapping[str, Any]) -> MetricsSnapshot:
    """Return the numbers that a running host sent.

    Args:
        status: The result of `luminal.managers.status.report_of`.

    Raises:
        LookupError: A host of an earlier version has sent none.
    """
    from luminal.hooks import HookTotal

    given: Any = status.get("metrics")
    if given is None:
        raise LookupError("the host sent no numbers; it runs an earlier version")
    kinds: dict[str, Any] = {
        "photons": PhotonMetrics,
        "hooks": HookTotal,
        "events": EventTotal,
        "phases": PhaseTotal,
    }
    values: dict[str, Any] = {
        name: tuple([_made(kinds[name], row) for row in value])
        if name in kinds
        else value
        for name, value in given.items()
    }
    if values.get("cpu") is not None:
        values["cpu"] = _made(CpuTotal, values["cpu"])
    return cast("MetricsSnapshot", _made(MetricsSnapshot, values))


def _made(cls: Any, given: Mapping[str, Any]) -> Any:
    """Make a value of what was JSON; what a newer version knows more is left out."""
    known = attrs.fields_dict(cls)
    return cls(
        **{
            key: tuple(value) if isinstance(value, list) else value
            for key, value in given.items()
            if key in known
        }
    )
