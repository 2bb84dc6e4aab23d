"""The metrics that are exported: their names, and their samples of some snapshots.

Every exporter makes its output of these, so that they cannot disagree. Labels come from
photons: their length and their number are bounded, and two that are the same once they
are cut are one series.

A photon has many hooks, and a scrape is to cost the host's threads little. So what an
exporter makes of a hook's values is `Kept` for as long as they stay the same.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

import attrs

from luminal.hooks.records import bounds
from luminal.model import EventKind, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from luminal.hooks import HookTotal
    from luminal.metrics._snapshot import MetricsSnapshot

__all__ = [
    "BOUNDS",
    "BOUND_LABELS",
    "HOOK_LABELS",
    "HOOK_METRICS",
    "STEPS",
    "Family",
    "Histogram",
    "HookMetric",
    "Kept",
    "families",
    "other_families",
]

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

HOOK_LABELS: Final = ("host", "photon", "hook")
"""Names of the labels of `HOOK_METRICS`."""

Labels = tuple[str, ...]

_L = TypeVar("_L")
_T = TypeVar("_T")


class Histogram(NamedTuple):
    """The sample of a histogram.

    Attributes:
        buckets: Calls by time, as they are counted.
        seconds: Time in all calls.
    """

    buckets: tuple[int, ...]
    seconds: float

    @property
    def cumulative(self) -> tuple[int, ...]:
        """Calls within each of `BOUNDS`."""
        return tuple(accumulate(self.buckets))[_MERGED - 1 :]


Value = int | float | Histogram


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
    samples: dict[Labels, Value] = attrs.Factory(dict)

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


@attrs.frozen
class HookMetric:
    """A metric of hooks.

    Attributes:
        name: Its name.
        kind: ``counter``, ``gauge`` or ``histogram``.
        about: One sentence about it.
        read: Returns its value in a row, or None if the row has none.
    """

    name: str
    kind: str
    about: str
    read: Callable[[HookTotal], Value | None]


HOOK_METRICS: Final = (
    HookMetric(
        "luminal_hook_calls_total",
        "counter",
        "Calls of a photon's hook that have ended.",
        lambda row: row.calls if row.is_exact else None,
    ),
    HookMetric(
        "luminal_hook_calls_estimated",
        "gauge",
        "The same for hooks whose calls are estimated from timed calls.",
        lambda row: None if row.is_exact else row.calls,
    ),
    HookMetric(
        "luminal_hook_errors_total",
        "counter",
        "Exceptions that a photon raised in a hook.",
        lambda row: row.errors,
    ),
    HookMetric(
        "luminal_hook_skipped_total",
        "counter",
        "Calls that skipped a photon in quarantine.",
        lambda row: row.skipped or None,
    ),
    HookMetric(
        "luminal_hook_timed_calls_total",
        "counter",
        "Calls that were timed.",
        lambda row: row.timed,
    ),
    HookMetric(
        "luminal_hook_loop_seconds_total",
        "counter",
        "Time in which coroutines of timed calls ran and did not wait.",
        lambda row: row.seconds_on_loop or None,
    ),
    HookMetric(
        "luminal_hook_in_flight",
        "gauge",
        "Calls under way.",
        lambda row: row.in_flight,
    ),
    HookMetric(
        "luminal_hook_duration_seconds",
        "histogram",
        "Time of calls; each timed call counts for those that it stands for.",
        lambda row: Histogram(row.buckets, row.seconds) if row.timed else None,
    ),
)
"""The metrics of hooks, in the order in which they are exported."""


@attrs.frozen
class _KeptRow(Generic[_L, _T]):
    row: HookTotal | None
    label: _L
    values: tuple[Value | None, ...]
    made: tuple[_T | None, ...]


class Kept(Generic[_L, _T]):
    """What an exporter made of the values of hooks, until they change or are gone.

    Args:
        label: Makes what all metrics of a row share, of the values of `HOOK_LABELS`.
        make: Makes what is exported of a metric, of what *label* made and the value.
    """

    def __init__(
        self,
        label: Callable[[Labels], _L],
        make: Callable[[HookMetric, _L, Value], _T],
    ) -> None:
        self._label = label
        self._make = make
        self._kept: dict[Labels, _KeptRow[_L, _T]] = {}

    def of(
        self, snapshots: Sequence[MetricsSnapshot]
    ) -> Iterator[tuple[HookMetric, list[_T]]]:
        """Yield each metric that has values in *snapshots*, with what was made of them.

        What was kept of other rows goes. Two threads may ask at a time: no row is
        changed, but replaced.
        """
        before, now = self._kept, {}
        for labels, row in _hook_rows(snapshots).items():
            kept = before.get(labels)
            if kept is None or kept.row != row:
                kept = self._made(labels, row, kept)
            now[labels] = kept
        self._kept = now
        for index, metric in enumerate(HOOK_METRICS):
            made = [kept.made[index] for kept in now.values()]
            if found := [each for each in made if each is not None]:
                yield metric, found

    def _made(
        self, labels: Labels, row: HookTotal, before: _KeptRow[_L, _T] | None
    ) -> _KeptRow[_L, _T]:
        if before is None:
            none = (None,) * len(HOOK_METRICS)
            before = _KeptRow(None, self._label(labels), none, none)
        values = tuple([metric.read(row) for metric in HOOK_METRICS])
        made = list(before.made)
        for index, value in enumerate(values):
            if value != before.values[index]:
                metric = HOOK_METRICS[index]
                made[index] = (
                    None if value is None else self._make(metric, before.label, value)
                )
        return _KeptRow(row, before.label, values, tuple(made))


def families(snapshots: Sequence[MetricsSnapshot]) -> list[Family]:
    """Return all metrics of *snapshots*, those of each host under its own label."""
    hooks = [Family(m.name, m.kind, m.about, HOOK_LABELS) for m in HOOK_METRICS]
    for labels, row in _hook_rows(snapshots).items():
        for metric, family in zip(HOOK_METRICS, hooks, strict=True):
            value = metric.read(row)
            if value is not None:
                family.samples[labels] = value
    return [*[f for f in hooks if f.samples], *other_families(snapshots)]


def _hook_rows(snapshots: Sequence[MetricsSnapshot]) -> dict[Labels, HookTotal]:
    """Return values of `HOOK_LABELS` → the row; rows of the same labels are added."""
    found: dict[Labels, HookTotal] = {}
    for one in snapshots:
        host, photon_of, hook_of = _cut(one.host), _labels_of(), _Cuts()
        for row in one.hooks:
            labels = (host, photon_of(row.photon), hook_of[row.hook])
            before = found.get(labels)
            found[labels] = row if before is None else before.plus(row)
    return found


def other_families(snapshots: Sequence[MetricsSnapshot]) -> list[Family]:
    """Return the metrics of *snapshots* that are not of hooks."""
    found = _other_families()
    for one in snapshots:
        # The photons that have hooks come first, as they do there.
        label, host = _labels_of(), _cut(one.host)
        for row in one.hooks:
            label(row.photon)
        _add_photons(found, host, one, label)
        _add_events(found, host, one, label)
        _add_phases(found, host, one)
    return [f for f in found.values() if f.samples]


def _cut(text: str) -> str:
    # What is no valid Unicode cannot be sent.
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode()


class _Cuts(dict[str, str]):
    """Text → the same as a label."""

    def __missing__(self, text: str) -> str:
        found = self[text] = _cut(text)
        return found


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


def _add_histogram(
    to: Family, key: Labels, buckets: Sequence[int], seconds: float
) -> None:
    """Add *buckets* to the histogram of the labels *key*."""
    before = to.samples.get(key)
    if isinstance(before, Histogram):
        buckets = [a + b for a, b in zip(before.buckets, buckets, strict=True)]
        seconds += before.seconds
    to.samples[key] = Histogram((*buckets,), seconds)


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
