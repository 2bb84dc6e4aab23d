"""The values that the hook engine returns and reports.

The module is imported when the first of them is made: a host that only calls hooks does
not import attrs.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import attrs

from luminal.hooks._totals import BUCKETS, SHORTEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "Answer",
    "ErrorPlace",
    "HookComparison",
    "HookFailure",
    "HookStatistics",
    "HookTotal",
    "OrderExplanation",
    "Place",
    "bounds",
    "by_photon",
    "quantile",
]


@attrs.frozen
class HookFailure:
    """One photon's failure in one hook, while the others answered.

    Attributes:
        photon: Name of the photon.
        hook: Name of the hook.
        generation: Generation of the photon.
        where: ``file:line`` in the photon where the exception came from.
        error: The exception.
        skipped_for: Seconds that this implementation is skipped if this failure began
            its quarantine; otherwise 0.
        is_contained: Whether the call went on; else the exception went to the caller.
    """

    photon: str
    hook: str
    generation: int
    where: str
    error: BaseException = attrs.field(eq=False)
    skipped_for: float = 0.0
    is_contained: bool = True


@attrs.frozen
class Answer:
    """What one photon answered in a detailed call.

    Attributes:
        photon: Name of the photon.
        generation: Its generation.
        value: What it returned; None if it raised.
        error: What it raised, or None.
    """

    photon: str
    generation: int
    value: Any = None
    error: BaseException | None = attrs.field(default=None, eq=False)


@attrs.frozen
class HookStatistics:
    """What one photon did in one hook since it was registered or swapped in.

    Attributes:
        photon: Name of the photon.
        hook: Name of the hook.
        generation: Generation of the photon; a swap begins anew.
        calls: Calls of its implementation. If the first result ends a call, it is
            estimated from sampled calls. Otherwise it is exact.
        errors: Exceptions that it raised; exact.
        seconds: Time in its implementation, from timed calls.
        in_flight: Calls under way that may be in it.
        skipped: Calls that skipped it while it was in quarantine.
        quarantined: Whether it is in quarantine, or is called again on trial.
    """

    photon: str
    hook: str
    generation: int
    calls: int
    errors: int
    seconds: float
    in_flight: int
    skipped: int
    quarantined: bool = False


@attrs.frozen
class HookTotal:
    """What all generations of one photon did in one hook.

    The numbers never fall: not by a swap, a restart or a roll-back, and not by an
    unload if the photon is loaded again.

    Attributes:
        photon: Name of the photon.
        hook: Name of the hook.
        calls: Calls of its implementation that have ended.
        is_exact: Whether *calls* is exact. It is estimated from timed calls if the
            first result ends a call, and if the hook is historic.
        errors: Exceptions that it raised; exact.
        seconds: Time in its implementation, from timed calls.
        in_flight: Calls under way that may be in it.
        skipped: Calls that skipped it while it was in quarantine.
        timed: Number of timed calls: all of a hook whose mean is above 20 µs, and
            otherwise about one of 250. Calls that raise are not among them.
        seconds_on_loop: The part of *seconds* in which a coroutine ran and did not
            wait; 0 where none was awaited.
        buckets: The timed calls by time, each as often as the calls that it stands
            for; see `bounds`.
    """

    photon: str
    hook: str
    calls: int
    is_exact: bool
    errors: int
    seconds: float
    in_flight: int
    skipped: int
    timed: int = 0
    seconds_on_loop: float = 0.0
    buckets: tuple[int, ...] = ()

    def plus(self, other: HookTotal) -> HookTotal:
        """Return the sum of both, under the names of this one."""
        pairs = zip_longest(self.buckets, other.buckets, fillvalue=0)
        return HookTotal(
            self.photon,
            self.hook,
            self.calls + other.calls,
            self.is_exact and other.is_exact,
            self.errors + other.errors,
            self.seconds + other.seconds,
            self.in_flight + other.in_flight,
            self.skipped + other.skipped,
            self.timed + other.timed,
            self.seconds_on_loop + other.seconds_on_loop,
            tuple([a + b for a, b in pairs]),
        )

    @property
    def mean(self) -> float:
        """Seconds of a call, on average; 0 if none was timed."""
        return self.seconds / (sum(self.buckets) or 1)

    @property
    def interval(self) -> float:
        """How many calls each timed call stands for, on average; 1 if all are timed."""
        return sum(self.buckets) / self.timed if self.timed else 1.0

    def quantile(self, part: float) -> float:
        """Return the seconds within which *part* of the calls ended.

        The truth is at most twice as much, and at least half of it. 0 if no call was
        timed.

        Args:
            part: From 0 to 1, such as 0.95.
        """
        return quantile(self.buckets, part)


@attrs.frozen
class ErrorPlace:
    """How often implementations of a photon raised at one line.

    Attributes:
        photon: Name of the photon.
        hook: Name of the hook.
        where: ``file:line`` in the photon where the exception came from.
        error: Class of the exception.
        count: How often, over all generations of the photon.
        at: Wall-clock time of the latest one, in seconds.
    """

    photon: str
    hook: str
    where: str
    error: str
    count: int
    at: float


def by_photon(rows: Iterable[HookTotal]) -> dict[str, HookTotal]:
    """Return photon → what it did in all of its hooks together.

    Args:
        rows: Of any number of hooks. The hook of the results is an empty string.
    """
    found: dict[str, HookTotal] = {}
    for row in rows:
        before = found.get(row.photon)
        found[row.photon] = (
            attrs.evolve(row, hook="") if before is None else before.plus(row)
        )
    return found


def bounds() -> tuple[float, ...]:
    """Return the upper bounds of the buckets in seconds; the last one is infinite.

    The first is 128 ns, and each one is twice the one before.
    """
    finite = [2 ** (SHORTEST + n) / 1e9 for n in range(BUCKETS - 1)]
    return (*finite, float("inf"))


def quantile(buckets: Sequence[int], part: float) -> float:
    """Return the seconds within which *part* of the calls in *buckets* ended."""
    wanted = sum(buckets) * part
    if not wanted:
        return 0.0
    passed = 0
    for index, calls in enumerate(buckets):
        if calls and passed + calls >= wanted:
            lower = 2 ** (SHORTEST + index - 1) / 1e9
            return float(lower * 2 ** ((wanted - passed) / calls))
        passed += calls
    return float("inf")


@attrs.frozen
class HookComparison:
    """What one generation of a photon did in one hook, and the one before it.

    Calls are estimated from the timed ones. Errors are those of the photon meanwhile.

    Attributes:
        hook: Name of the hook.
        calls, calls_before: Calls of the new generation, and of the one before.
        errors, errors_before: Exceptions, likewise.
        timed, timed_before: Timed calls, likewise.
        p95, p95_before: Seconds within which 95 of 100 calls ended, within a factor of
            two.
    """

    hook: str
    calls: int
    errors: int
    timed: int
    p95: float
    calls_before: int
    errors_before: int
    timed_before: int
    p95_before: float


@attrs.frozen
class Place:
    """One implementation's position in the order of calls.

    Attributes:
        position: Counted from 1, in the order of calls.
        photon: Name of the photon.
        generation: Its generation.
        kind: ``"wrapper"`` or ``"implementation"``.
        why: The reasons of its position.
        where: ``file:line`` of the implementation.
    """

    position: int
    photon: str
    generation: int
    kind: str
    why: str
    where: str


@attrs.frozen
class OrderExplanation:
    """The order of one hook.

    Attributes:
        hook: Name of the hook.
        places: In the order of calls.
    """

    hook: str
    places: tuple[Place, ...]

    def __str__(self) -> str:
        if not self.places:
            return f"{self.hook}: no photon implements it"
        width = max(len(place.photon) for place in self.places)
        lines = [f"{self.hook}: {len(self.places)} in the order of calls"]
        lines += [
            f"{p.position:>4}  {p.photon:<{width}}  {p.kind:<14}  {p.why}  ({p.where})"
            for p in self.places
        ]
        return "\n".join(lines)
