"""The numbers of a host at one moment, as a value."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from luminal.hooks import HookTotal
    from luminal.managers import Loader

__all__ = ["EventTotal", "MetricsSnapshot", "PhotonMetrics", "snapshot"]


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
class MetricsSnapshot:
    """The numbers of a host at one moment. Those of counters never fall.

    Attributes:
        host: The name that the host was given, or an empty string.
        pid: Id of its process. A process that was forked begins at zero.
        at: Wall-clock time in seconds.
        photons: The loaded photons.
        hooks: What each photon did in each hook, over all its generations.
        events: How often each step of each photon was taken.
        subscriber_failures: How often a subscriber of events has raised.
        events_dropped: How many events found the queue of a subscriber full.
    """

    host: str
    pid: int
    at: float
    photons: tuple[PhotonMetrics, ...]
    hooks: tuple[HookTotal, ...]
    events: tuple[EventTotal, ...]
    subscriber_failures: int
    events_dropped: int


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
        subscriber_failures=events.failures,
        events_dropped=events.dropped,
    )
