"""The metrics that are exported: their names, and their samples of some snapshots.

Every exporter makes its output of these, so that they cannot disagree. Labels come from
photons: their length and their number are bounded, and two that are the same once they
are cut are one series.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final

import attrs

from luminal.hooks.records import bounds
from luminal.model import EventKind, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from luminal.hooks import HookTotal
    from luminal.metrics._snapshot import MetricsSnapshot

__all__ = ["BOUNDS", "BOUND_LABELS", "STEPS", "Family", "Histogram", "families"]

_LONGEST: Final = 100
"""Characters of a label; what is longer is cut."""

_MOST_PHOTONS: Final = 1000
"""Photons that have series of their own. The others are one, named `_OTHERS`."""

_OTHERS: Final = "(others)"

_HOST: Final = "(host)"
"""The label of code without a photon."""

_MERGED: Final = 4
"""Buckets of short calls that are exported as one: all below a microsecond."""

BOUNDS: Final = bounds()[_MERGED - 1 :]
"""Upper bounds of the exported buckets in seconds, the last one infinite."""

BOUND_LABELS: Final = tuple("+Inf" if b == float("inf") else repr(b) for b in BOUNDS)
"""The same as Prometheus writes them."""

STEPS: Final = ("load", "swap", "unload")
"""What has phases."""

Labels = tuple[str, ...]


@attrs.frozen
class Histogram:
    """The sample of a histogram.

    Attributes:
        cumulative: Calls within each of `BOUNDS`.
        seconds: Time in all calls.
    """

    cumulative: tuple[int, ...]
    seconds: float


@attrs.frozen
class Family:
    """A metric with all its samples.

    Attributes:
        name: Its name.
        kind: ``counter``, ``gauge`` or ``histogram``.
        about: One sentence about it.
        labels: Names of the labels.
        samples: Values of the labels → the value.
    """

    name: str
    kind: str
    about: str
    labels: Labels
    samples: dict[Labels, int | float | Histogram] = attrs.Factory(dict)

    def add(self, labels: Labels, value: float) -> None:
        """Add *value* to the sample of *labels*."""
        before = self.samples.get(labels, 0)
        assert not isinstance(before, Histogram)  # noqa: S101 - for type checkers
        self.samples[labels] = before + value


_SWAP_RESULTS: Final = {
    EventKind.SWAPPED: "swapped",
    EventKind.REJECTED: "rejected",
    EventKind.ROLLED_BACK: "rolled_back",
    EventKind.CONFIRMED: "confirmed",
}


def families(snapshots: Sequence[MetricsSnapshot]) -> list[Family]:
    """Return all metrics of *snapshots*, those of each host under its own label."""
    hooks = _hook_families()
    others = _other_families()
    for one in snapshots:
        label = _labels_of()
        host = _cut(one.host)
        for row in one.hooks:
            key = (host, label(row.photon), _cut(row.hook))
            _add_hook(hooks, key, row)
        _add_photons(others, host, one, label)
        _add_events(others, host, one, label)
        _add_phases(others, host, one)
    return [f for f in (*hooks.values(), *others.values()) if f.samples]


def _cut(text: str) -> str:
    # What is no valid Unicode cannot be sent.
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode()


def _labels_of() -> Callable[[str], str]:
    """Return a function that returns the label of a photon, for one host."""
    known: dict[str, str] = {}

    def label(photon: str) -> str:
        found = known.get(photon)
        if found is None:
            if len(known) >= _MOST_PHOTONS:
                return _OTHERS
            found = known[photon] = _cut(photon)
        return found

    return label


def _hook_families() -> dict[str, Family]:
    labels = ("host", "photon", "hook")
    listed = (
        ("calls_total", "counter", "Calls of a photon's hook that have ended."),
        (
            "calls_estimated",
            "gauge",
            "The same for hooks whose calls are estimated from timed calls.",
        ),
        ("errors_total", "counter", "Exceptions that a photon raised in a hook."),
        ("skipped_total", "counter", "Calls that skipped a photon in quarantine."),
        ("timed_calls_total", "counter", "Calls that were timed."),
        (
            "loop_seconds_total",
            "counter",
            "Time in which coroutines of timed calls ran and did not wait.",
        ),
        ("in_flight", "gauge", "Calls under way."),
        (
            "duration_seconds",
            "histogram",
            "Time of calls; each timed call counts for those that it stands for.",
        ),
    )
    return {
        name: Family(f"luminal_hook_{name}", kind, about, labels)
        for name, kind, about in listed
    }


def _add_hook(to: dict[str, Family], key: Labels, row: HookTotal) -> None:
    calls = "calls_total" if row.is_exact else "calls_estimated"
    to[calls].add(key, row.calls)
    to["errors_total"].add(key, row.errors)
    to["in_flight"].add(key, row.in_flight)
    to["timed_calls_total"].add(key, row.timed)
    if row.skipped:
        to["skipped_total"].add(key, row.skipped)
    if row.seconds_on_loop:
        to["loop_seconds_total"].add(key, row.seconds_on_loop)
    if row.timed:
        _add_histogram(to["duration_seconds"], key, row.buckets, row.seconds)


def _add_histogram(
    to: Family, key: Labels, buckets: Sequence[int], seconds: float
) -> None:
    """Add *buckets* to the histogram of the labels *key*."""
    counts = (sum(buckets[:_MERGED]), *buckets[_MERGED:])
    cumulative = tuple(accumulate(counts))
    before = to.samples.get(key)
    if isinstance(before, Histogram):
        pairs = zip(before.cumulative, cumulative, strict=True)
        cumulative = tuple([a + b for a, b in pairs])
        seconds += before.seconds
    to.samples[key] = Histogram(cumulative, seconds)


def _other_families() -> dict[str, Family]:
    of_photon = ("host", "photon")
    listed = (
        (
            "photon_generation",
            "gauge",
            "Generation that answers calls.",
            of_photon,
        ),
        (
            "photon_state",
            "gauge",
            "1 for the state that a photon is in.",
            (*of_photon, "state"),
        ),
        (
            "swaps_total",
            "counter",
            "Swaps of a photon by their result.",
            (*of_photon, "result"),
        ),
        (
            "events_total",
            "counter",
            "Steps of photons' lives.",
            (*of_photon, "kind"),
        ),
        (
            "event_seconds_total",
            "counter",
            "Time that these steps took, such as loading, starting and draining.",
            (*of_photon, "kind"),
        ),
        *[
            (
                f"{step}_phase_seconds",
                "histogram",
                f"Time of each phase of {step}s; phases do not overlap.",
                ("host", "phase"),
            )
            for step in STEPS
        ],
        (
            "drain_seconds",
            "histogram",
            "Time until no call was under way on what a swap or an unload ended.",
            ("host",),
        ),
        (
            "old_generations",
            "gauge",
            "Generations that do not serve any more and are still in memory.",
            ("host",),
        ),
        (
            "shared_state_changes_total",
            "counter",
            "Changes of the interpreter's shared state, where that is watched.",
            ("host", "facet"),
        ),
        (
            "photon_cpu_samples_total",
            "counter",
            "Samples of threads that computed in a photon, while they were taken.",
            of_photon,
        ),
        ("cpu_ticks_total", "counter", "How often such samples were taken.", ("host",)),
        (
            "cpu_late_ticks_total",
            "counter",
            "Of them, those that came late or were left out.",
            ("host",),
        ),
        (
            "subscriber_failures_total",
            "counter",
            "Exceptions of subscribers of events.",
            ("host",),
        ),
        (
            "events_dropped_total",
            "counter",
            "Events that found the queue of a subscriber full.",
            ("host",),
        ),
    )
    return {
        name: Family(f"luminal_{name}", kind, about, labels)
        for name, kind, about, labels in listed
    }


def _add_photons(
    to: dict[str, Family], host: str, one: MetricsSnapshot, label: Callable[[str], str]
) -> None:
    for photon in one.photons:
        name = label(photon.name)
        if name != _OTHERS:
            to["photon_generation"].samples[host, name] = photon.generation
        for state in State:
            is_in = int(photon.state == state)
            if name == _OTHERS:
                to["photon_state"].add((host, name, state.value), is_in)
            else:
                to["photon_state"].samples[host, name, state.value] = is_in
    to["old_generations"].add((host,), one.old_generations)
    for facet, changes in one.shared_state_changes.items():
        to["shared_state_changes_total"].add((host, _cut(facet)), changes)
    to["subscriber_failures_total"].add((host,), one.subscriber_failures)
    to["events_dropped_total"].add((host,), one.events_dropped)
    if one.cpu is not None:
        for name, samples in one.cpu.photons.items():
            to["photon_cpu_samples_total"].add((host, label(name)), samples)
        to["photon_cpu_samples_total"].add((host, _HOST), one.cpu.host)
        to["cpu_ticks_total"].add((host,), one.cpu.ticks)
        to["cpu_late_ticks_total"].add((host,), one.cpu.late)


def _add_phases(to: dict[str, Family], host: str, one: MetricsSnapshot) -> None:
    for row in one.phases:
        key, given = (host, row.phase), (row.buckets, row.seconds)
        _add_histogram(to[f"{row.step}_phase_seconds"], key, *given)
        if row.phase == "drain":
            _add_histogram(to["drain_seconds"], (host,), *given)


def _add_events(
    to: dict[str, Family], host: str, one: MetricsSnapshot, label: Callable[[str], str]
) -> None:
    results: dict[str, str] = {kind.value: name for kind, name in _SWAP_RESULTS.items()}
    for event in one.events:
        key = (host, label(event.photon) if event.photon else _OTHERS)
        to["events_total"].add((*key, event.kind), event.count)
        if event.seconds:
            to["event_seconds_total"].add((*key, event.kind), event.seconds)
        result = results.get(event.kind)
        if result is not None:
            to["swaps_total"].add((*key, result), event.count)
