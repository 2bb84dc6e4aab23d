"""What a host has done, as one value: for a file, for people, and to be compared.

`report_of` makes it of the same two records that the page and the exporters show, a
`HostSnapshot` and a `luminal.metrics.MetricsSnapshot`, so that they cannot disagree.
`compare` tells what has become slower or has failed more often between two of them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs

from luminal._plain import to_json
from luminal.hooks._totals import BUCKETS
from luminal.hooks.records import quantile
from luminal.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from luminal.hooks import HookTotal
    from luminal.metrics import LoadSpan, MetricsSnapshot
    from luminal.model import Event
    from luminal.web._snapshot import HostSnapshot, PhotonSnapshot

__all__ = [
    "ErrorRow",
    "HookChange",
    "HookRow",
    "HostReport",
    "LeakRow",
    "LoadRow",
    "LossRow",
    "PhaseRow",
    "PhotonRow",
    "compare",
    "read_report",
    "report_of",
]

SCHEMA: Final = 1
"""Version of the JSON of a report."""

_KIND: Final = "luminal report"

FEWEST: Final = 20
"""Timed calls of each report below which their times are not compared."""

_SWAPS: Final = {
    EventKind.SWAPPED: "swapped",
    EventKind.REJECTED: "rejected",
    EventKind.ROLLED_BACK: "rolled_back",
    EventKind.CONFIRMED: "confirmed",
}


@attrs.frozen
class PhotonRow:
    """A photon: what runs, and since when.

    Attributes:
        name, state, version, generation, file: As in `PhotonSnapshot`.
        since: Wall-clock time of its latest change of state; 0 if unknown.
        problem: Why it does not run, or what failed latest; empty if nothing did.
        swaps: Result → how many swaps of it ended so.
    """

    name: str
    state: str
    version: str
    generation: int
    since: float
    file: str
    problem: str
    swaps: dict[str, int]


@attrs.frozen
class HookRow:
    """What all generations of a photon did in a hook.

    Attributes:
        photon, hook, calls, is_exact, errors, in_flight: As in `HookTotal`.
        timed: Number of timed calls, of which the times are.
        interval: How many calls each of them stands for, on average.
        seconds: Time in the implementation.
        mean, p50, p95, p99: Seconds of a call. Quantiles are right within a factor of
            two.
        buckets: The timed calls by time, see `luminal.hooks.records.bounds`.
    """

    photon: str
    hook: str
    calls: int
    is_exact: bool
    errors: int
    in_flight: int
    timed: int
    interval: float
    seconds: float
    mean: float
    p50: float
    p95: float
    p99: float
    buckets: tuple[int, ...]


@attrs.frozen
class PhaseRow:
    """How long a phase of loads, swaps or unloads took.

    Attributes:
        step: ``load``, ``swap`` or ``unload``.
        phase: Name of the phase.
        count: How often there was one.
        seconds: How long they took together.
        p50, p95: Seconds of one, within a factor of two.
    """

    step: str
    phase: str
    count: int
    seconds: float
    p50: float
    p95: float


@attrs.frozen
class ErrorRow:
    """A place that raises, or because of which photons were rejected.

    Attributes:
        photon: Name of the photon.
        where: ``file:line``, or the file.
        what: What failed there, such as ``hook 'locate'``.
        error: The exception, as far as it is known.
        count: How often.
        at: Wall-clock time of the latest.
    """

    photon: str
    where: str
    what: str
    error: str
    count: int
    at: float


@attrs.frozen
class LoadRow:
    """What all hooks did in a span of time.

    Attributes:
        at: Wall-clock time at which it begins.
        seconds: How long it is.
        calls, errors: Of all photons in all hooks.
        busy: Seconds in all implementations.
        p95: Seconds within which 95 of 100 calls ended, within a factor of two.
    """

    at: float
    seconds: float
    calls: int
    errors: int
    busy: float
    p95: float


@attrs.frozen
class LeakRow:
    """An old generation that is kept in memory.

    Attributes:
        photon: Name of the photon.
        generation: Its number.
        at: When that was found.
        why: What holds it.
        where: ``file:line`` of that; empty if unknown.
    """

    photon: str
    generation: int
    at: float
    why: str
    where: str


@attrs.frozen
class LossRow:
    """What would be lost, or otherwise, after a restart of the host.

    Attributes:
        photon: Name of the photon; empty for the host.
        what: What it is.
        why: Why.
    """

    photon: str
    what: str
    why: str


@attrs.frozen
class HostReport:
    """What a host has done.

    Attributes:
        pid: Its process; 0 if none runs and only its history is known.
        command: Its command line.
        began: Wall-clock time from which on it counts.
        at: Wall-clock time of the report.
        has_history: Whether it is of a history, which outlives processes.
        keeps_history: Whether the host writes one.
        runs: How many processes the history is of; 1 without one.
        photons: In the order of loading.
        swaps: Result → number of swaps of photons.
        phases: Of loads, swaps and unloads.
        hooks: Those that took the most time first.
        errors: Those that raised most often first.
        load: Oldest first.
        leaks: Old generations that are in memory.
        old_generations: How many they are, also those of which that is not known yet.
        losses: What a restart would lose.
        cpu: The latest `luminal.metrics.CpuSample` as a mapping; None without one.
    """

    pid: int
    command: str
    began: float
    at: float
    has_history: bool
    keeps_history: bool
    runs: int
    photons: tuple[PhotonRow, ...]
    swaps: dict[str, int]
    phases: tuple[PhaseRow, ...]
    hooks: tuple[HookRow, ...]
    errors: tuple[ErrorRow, ...]
    load: tuple[LoadRow, ...]
    leaks: tuple[LeakRow, ...]
    old_generations: int
    losses: tuple[LossRow, ...]
    cpu: dict[str, Any] | None = None

    @property
    def slowest_by_p99(self) -> list[HookRow]:
        """The hooks with timed calls, those with the largest p99 first."""
        timed = [row for row in self.hooks if row.timed]
        return sorted(timed, key=lambda row: (-row.p99, -row.seconds))

    def goes_on_from(self, old: HostReport) -> bool:
        """Whether its counters are those of *old*, gone on: it is of one process."""
        is_one = (self.pid, self.began) == (old.pid, old.began)
        return is_one and not (self.has_history or old.has_history)

    def to_json(self) -> str:
        """Return it as a JSON object, keys as the attributes are named."""
        about = {"kind": _KIND, "schema": SCHEMA}
        return to_json({**about, **attrs.asdict(self)}, indent=1)


def report_of(
    page: HostSnapshot | None,
    numbers: MetricsSnapshot,
    *,
    began: float = 0.0,
    errors: Iterable[Mapping[str, Any]] = (),
    load: Iterable[LoadSpan] = (),
    cpu: Mapping[str, Any] | None = None,
    runs: int = 0,
    keeps_history: bool = False,
) -> HostReport:
    """Return the report of a host.

    Args:
        page: What its page shows; None if it does not run.
        numbers: What its exporters show, or what a history has of them.
        began: Wall-clock time from which on *numbers* count.
        errors: Where photons raised, as `luminal.metrics.errors_of` has it.
        load: Of the history; without one, the whole time is one row.
        cpu: The latest sample of whose code computes.
        runs: How many processes a history is of; 0 if *numbers* are of one alone.
        keeps_history: Whether the host writes one.
    """
    hooks = sorted(map(_hook_row, numbers.hooks), key=lambda row: -row.seconds)
    events = (page.events or ()) if page is not None else ()
    swaps = _swaps(numbers)
    whole: Counter[str] = Counter()
    for of_one in swaps.values():
        whole.update(of_one)
    length = max(numbers.at - began, 0.0) if began else 0.0
    return HostReport(
        pid=page.pid if page is not None else 0,
        command=page.command if page is not None else "",
        began=began,
        at=numbers.at,
        has_history=runs > 0,
        keeps_history=keeps_history,
        runs=runs or 1,
        photons=tuple(
            _photon_row(photon, swaps.get(photon.name, {}))
            for photon in (page.photons if page is not None else ())
        ),
        swaps={name: whole[name] for name in _SWAPS.values()},
        phases=tuple(_phases(numbers)),
        hooks=tuple(hooks),
        errors=tuple(_errors(errors, events)),
        load=tuple(map(_load_row, load)) or (_whole(numbers, began, length),),
        leaks=tuple(_leaks(events)),
        old_generations=numbers.old_generations,
        losses=tuple(_losses(page, keeps_history)) if page is not None else (),
        cpu=dict(cpu) if cpu else None,
    )


def _photon_row(photon: PhotonSnapshot, swaps: dict[str, int]) -> PhotonRow:
    problem = photon.problem
    text = f"{problem.what} [{problem.code}]" if problem is not None else ""
    return PhotonRow(
        photon.name,
        photon.state,
        photon.version,
        photon.generation,
        photon.since,
        photon.file,
        text,
        swaps,
    )


def _hook_row(total: HookTotal) -> HookRow:
    return HookRow(
        total.photon,
        total.hook,
        total.calls,
        total.is_exact,
        total.errors,
        total.in_flight,
        total.timed,
        round(total.interval, 3),
        total.seconds,
        total.mean,
        total.quantile(0.5),
        total.quantile(0.95),
        total.quantile(0.99),
        total.buckets,
    )


def _swaps(numbers: MetricsSnapshot) -> dict[str, dict[str, int]]:
    """Return photon → result → number of swaps."""
    results = {kind.value: name for kind, name in _SWAPS.items()}
    found: dict[str, dict[str, int]] = {}
    for event in numbers.events:
        name = results.get(event.kind)
        if name is not None:
            found.setdefault(event.photon, {})[name] = event.count
    return found


def _phases(numbers: MetricsSnapshot) -> Iterator[PhaseRow]:
    for row in numbers.phases:
        p50, p95 = row.quantile(0.5), row.quantile(0.95)
        yield PhaseRow(row.step, row.phase, row.count, row.seconds, p50, p95)


def _errors(
    raised: Iterable[Mapping[str, Any]], events: Iterable[Event]
) -> list[ErrorRow]:
    """Return where photons raised, and other failures of the journal by place."""
    rows = [ErrorRow(**row) for row in raised]
    others: dict[tuple[str, str, str], ErrorRow] = {}
    for event in events:
        problem = event.problem
        if problem is None or event.kind in _NO_ERRORS:
            continue
        where = f"{problem.file}:{problem.line}" if problem.line else problem.file
        key = (event.photon, where, problem.what)
        count = others[key].count if key in others else 0
        others[key] = ErrorRow(*key, problem.why, count + 1, event.at)
    return sorted((*rows, *others.values()), key=lambda row: (-row.count, -row.at))


_NO_ERRORS: Final = (
    *(EventKind.SKIPPED, EventKind.LEAKED, EventKind.OUTDATED, EventKind.QUARANTINED),
    EventKind.RAISED,  # it is among what was raised, with its number
)


def _load_row(span: LoadSpan) -> LoadRow:
    p95 = quantile(span.buckets, 0.95)
    return LoadRow(span.at, span.seconds, span.calls, span.errors, span.busy, p95)


def _whole(numbers: MetricsSnapshot, began: float, seconds: float) -> LoadRow:
    """Return what all hooks did together, as one span."""
    rows = numbers.hooks
    buckets = [sum(each) for each in zip(*[r.buckets for r in rows], strict=True)]
    return LoadRow(
        began,
        seconds,
        sum(row.calls for row in rows),
        sum(row.errors for row in rows),
        sum(row.seconds for row in rows),
        quantile(buckets, 0.95),
    )


def _leaks(events: Iterable[Event]) -> Iterator[LeakRow]:
    found: dict[tuple[str, int], LeakRow] = {}
    for event in events:
        key = (event.photon, event.generation)
        problem = event.problem
        if event.kind is EventKind.RETIRED:
            found.pop(key, None)
        elif event.kind is EventKind.LEAKED and problem is not None:
            where = f"{problem.file}:{problem.line}" if problem.line else ""
            found[key] = LeakRow(*key, event.at, problem.why or problem.what, where)
    yield from found.values()


def _losses(page: HostSnapshot, keeps_history: bool) -> Iterator[LossRow]:
    latest: dict[str, EventKind] = {}
    for event in page.events or ():
        if event.kind in (EventKind.SWAPPED, EventKind.ROLLED_BACK):
            latest[event.photon] = event.kind
    for photon in page.photons:
        name, problem = photon.name, photon.problem
        if photon.state != "running":
            continue
        if photon.file and not os.path.lexists(photon.file):
            yield LossRow(name, "the photon", f"its file is gone: {photon.file}")
        elif problem is not None and problem.code != "LUM124":
            why = f"a start would load what was rejected: {problem.what}"
            yield LossRow(name, "the generation that runs", why)
        elif latest.get(name) is EventKind.ROLLED_BACK:
            why = "a start would load the version that was rolled back"
            yield LossRow(name, "the generation that runs", why)
        if photon.quarantined:
            hooks = ", ".join(photon.quarantined)
            yield LossRow(name, f"quarantine of {hooks}", "it would be called again")
        if photon.kept:
            why = "only reloads hand over context.data and context.shared"
            yield LossRow(name, f"its state ({photon.kept} in all)", why)
    for name in page.disabled:
        yield LossRow(name, "that it is disabled", "it would be loaded again")
    if not keeps_history:
        why = "the host keeps no history; Loader(history=True) or history = true"
        yield LossRow("", "all numbers of this report", why)


# --- Comparison ----------------------------------------------------------------------


def read_report(text: str) -> HostReport:
    """Return the report that `HostReport.to_json` wrote.

    Args:
        text: The JSON.

    Raises:
        ValueError: It is no report, or one of another schema. The text says which.
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(given, dict) or given.get("kind") != _KIND:
        raise ValueError("it is not a report of `luminal report --format json`")
    if given.get("schema") != SCHEMA:
        raise ValueError(
            f"it has schema {given.get('schema')!r}, this version reads {SCHEMA}"
        )
    try:
        rows = {
            name: tuple([_row(cls, row) for row in given[name]])
            for name, cls in _ROWS.items()
        }
        made: HostReport = _row(HostReport, {**given, **rows})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"it is incomplete or damaged: {error}") from None
    return made


_ROWS: Final[dict[str, Any]] = {
    "photons": PhotonRow,
    "phases": PhaseRow,
    "hooks": HookRow,
    "errors": ErrorRow,
    "load": LoadRow,
    "leaks": LeakRow,
    "losses": LossRow,
}


# Annotation of a field → whether a value that was JSON can be its value.
_FITS: Final[dict[str, Callable[[Any], bool]]] = {
    "str": lambda value: type(value) is str,
    "bool": lambda value: type(value) is bool,
    "int": lambda value: type(value) is int,
    "float": lambda value: type(value) in (int, float),
    "dict[str, int]": lambda value: (
        type(value) is dict and all(type(n) is int for n in value.values())
    ),
    "dict[str, Any] | None": lambda value: value is None or type(value) is dict,
    "tuple[int, ...]": lambda value: (
        len(value) == BUCKETS and all(type(n) is int for n in value)
    ),
}


def _row(cls: Any, given: Mapping[str, Any]) -> Any:
    known = attrs.fields_dict(cls)
    values = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in given.items()
        if key in known
    }
    for key, value in values.items():
        fits = _FITS.get(str(known[key].type))
        if fits is not None and not fits(value):
            raise ValueError(f"{key!r} of a {cls.__name__} is no {known[key].type}")
    return cls(**values)


@attrs.frozen
class HookChange:
    """What a photon did in a hook, in two reports.

    Attributes:
        photon, hook: Their names.
        old, new: What it did in each; None if it was not there. If both reports are of
            one process, *new* is what it did between them.
        ratio: How many times as long a call took on average; None if too few calls
            were timed.
        verdict: In words.
    """

    photon: str
    hook: str
    old: HookRow | None
    new: HookRow | None
    ratio: float | None
    verdict: str


def compare(old: HostReport, new: HostReport) -> tuple[HookChange, ...]:
    """Return what has changed in each photon's hooks, the slowest change first.

    Args:
        old: The earlier report.
        new: The later one.

    Raises:
        ValueError: They are the same report.
    """
    if (old.pid, old.at) == (new.pid, new.at):
        raise ValueError("it is the same report")
    before = {(row.photon, row.hook): row for row in old.hooks}
    after = {(row.photon, row.hook): row for row in new.hooks}
    goes_on = new.goes_on_from(old)
    changes = []
    for key in {**before, **after}:
        one, other = before.get(key), after.get(key)
        if goes_on and one is not None and other is not None:
            # A photon that was away while many others came is counted anew.
            other = _since(one, other) if other.calls >= one.calls else other
        changes.append(_change(*key, one, other))
    return tuple(sorted(changes, key=lambda c: (-(c.ratio or 0), c.photon, c.hook)))


def _since(old: HookRow, new: HookRow) -> HookRow:
    """Return what was added between two reports of one process."""
    buckets = tuple([b - a for a, b in zip(old.buckets, new.buckets, strict=True)])
    stand_for, seconds = sum(buckets), new.seconds - old.seconds
    timed = new.timed - old.timed
    return attrs.evolve(
        new,
        calls=new.calls - old.calls,
        errors=new.errors - old.errors,
        timed=timed,
        interval=round(stand_for / timed, 3) if timed else 1.0,
        seconds=seconds,
        mean=seconds / (stand_for or 1),
        p50=quantile(buckets, 0.5),
        p95=quantile(buckets, 0.95),
        p99=quantile(buckets, 0.99),
        buckets=buckets,
    )


def _change(
    photon: str, hook: str, old: HookRow | None, new: HookRow | None
) -> HookChange:
    ratio: float | None = None
    if old is None or new is None:
        verdict = "new" if old is None else "gone"
    elif min(old.timed, new.timed) < FEWEST:
        verdict = "too few timed calls"
    elif not old.mean:
        verdict = "no time to compare with"
    else:
        ratio = new.mean / old.mean
        verdict = "about the same"
        if ratio >= _CLEAR:
            verdict = "slower"
        elif ratio <= 1 / _CLEAR:
            verdict = "faster"
    if old is not None and new is not None:
        rates = [row.errors / row.calls if row.calls else 0.0 for row in (old, new)]
        if rates[1] > rates[0]:
            verdict += ", more errors"
    return HookChange(photon, hook, old, new, ratio, verdict)


_CLEAR: Final = 1.25
"""How many times as long a call must take to be called slower."""
