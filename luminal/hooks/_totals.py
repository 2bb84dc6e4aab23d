"""What is counted of one photon in one hook, beyond its generations.

A `Total` outlives swaps, restarts and roll-backs of the photon, so that what reads it
sees numbers that never fall. Calls are counted by the snapshots of a hook's
implementations. When no call uses a snapshot any more, its calls are added to what is
counted of each implementation in it. Everything else is added when it happens, whatever
generation it is of, so no old generation has to be waited for.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "BUCKETS",
    "SHORTEST",
    "Counts",
    "Total",
    "Totals",
]

BUCKETS: Final = 32
"""Number of buckets of a histogram; the last one has no upper bound."""

SHORTEST: Final = 7
"""The first bucket has the calls that are shorter than two to this power of ns."""

_MOST_ENDED: Final = 256
"""Photons that are not registered any more, of which the totals are kept."""

_MOST_PLACES: Final = 500
"""Places of errors that are counted; of more, the one that raised longest ago goes."""


class Counts:
    """How many calls of one hook there were for one photon.

    Attributes:
        settled: Calls of the hook by snapshots that no call uses any more, and of which
            its implementation is a part.
        missed: Calls of the hook that ended before its implementation was reached.
        skipped: Calls that skipped it while it was in quarantine.
        errors: Exceptions that it raised; exact.
    """

    __slots__ = ("errors", "missed", "settled", "skipped")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin at zero."""
        self.settled = 0
        self.missed = 0
        self.skipped = 0
        self.errors = 0

    def reached(self, calls: int) -> int:
        """Return how many calls of the hook reached the implementation.

        Args:
            calls: Calls by snapshots that are still in use.
        """
        return max(0, self.settled + calls - self.missed - self.skipped)


class Mark(NamedTuple):
    """What a `Total` was at one moment, or what was added between two."""

    timed: int
    calls: int
    errors: int
    nanoseconds: int
    buckets: tuple[int, ...]

    def since(self, earlier: Mark) -> Mark:
        """Return what was added since *earlier*."""
        pairs = zip(self.buckets, earlier.buckets, strict=True)
        return Mark(
            self.timed - earlier.timed,
            self.calls - earlier.calls,
            self.errors - earlier.errors,
            self.nanoseconds - earlier.nanoseconds,
            tuple([now - before for now, before in pairs]),
        )


_ZERO: Final = Mark(0, 0, 0, 0, (0,) * BUCKETS)


class Total(Counts):
    """What all generations of one photon did in one hook.

    Attributes:
        timed: Calls of its implementation that were timed; they did not raise.
        calls: The same, but each counts for all the calls that it stands for.
        nanoseconds: Time in the timed calls, scaled as ``calls`` are.
        on_loop: The part of it in which a coroutine ran and did not wait.
        buckets: The timed calls by time, scaled likewise. The first are those shorter
            than 2**7 ns, the next those shorter than 2**8 ns, and so on.
        began: What it was when the present generation was registered.
        told: The largest number of calls that was reported. A call that ends early is
            known to have missed an implementation before it is known to have ended, so
            the difference may be too small for a moment. It is never too large.
    """

    __slots__ = (
        "began",
        "buckets",
        "calls",
        "nanoseconds",
        "on_loop",
        "timed",
        "told",
    )

    def clear(self) -> None:
        """Begin at zero."""
        super().clear()
        self.timed = 0
        self.calls = 0
        self.nanoseconds = 0
        self.on_loop = 0
        self.buckets = [0] * BUCKETS
        self.told = 0
        self.began = _ZERO

    def mark(self) -> Mark:
        """Return what it is now."""
        buckets = tuple(self.buckets)
        return Mark(self.timed, self.calls, self.errors, self.nanoseconds, buckets)

    def time(self, nanoseconds: int, weight: int) -> None:
        """Count a call that did not raise.

        Args:
            nanoseconds: How long it took.
            weight: Number of calls that it stands for.
        """
        index = (nanoseconds >> SHORTEST).bit_length()
        if index >= BUCKETS:
            index = BUCKETS - 1
        self.timed += 1
        self.calls += weight
        self.nanoseconds += nanoseconds * weight
        self.buckets[index] += weight

    def tell(self, calls: int) -> int:
        """Return *calls*, or what was told before if that is more."""
        self.told = max(self.told, calls)
        return self.told


class Totals:
    """The totals of one manager. Its lock is held for every method.

    The totals of a photon that was unregistered are kept, and go on if one of that name
    is registered again: those of the last 256 such photons.

    Attributes:
        places: (photon, hook, ``file:line``, class of the error) → how many there were
            and the wall-clock time of the latest one. The latest is the last.
    """

    def __init__(self) -> None:
        self._by_photon: dict[str, dict[str, Total]] = {}
        self._ended: dict[str, None] = {}
        self.places: dict[tuple[str, str, str, str], tuple[int, float]] = {}

    def raised(self, photon: str, hook: str, where: str, error: str) -> None:
        """Count an error by its place. The lock of failures is held instead."""
        key = (photon, hook, where, error)
        count, _ = self.places.pop(key, (0, 0.0))
        self.places[key] = (count + 1, time.time())
        if len(self.places) > _MOST_PLACES:
            del self.places[next(iter(self.places))]

    def of(self, photon: str, hook: str) -> Total:
        """Return the total of *photon* in *hook*; make it if there is none."""
        self._ended.pop(photon, None)
        hooks = self._by_photon.setdefault(photon, {})
        total = hooks.get(hook)
        if total is None:
            total = hooks[hook] = Total()
        return total

    def end(self, photon: str) -> None:
        """Note that *photon* was unregistered."""
        if photon in self._by_photon:
            self._ended[photon] = None
            if len(self._ended) > _MOST_ENDED:
                oldest = next(iter(self._ended))
                del self._ended[oldest], self._by_photon[oldest]

    def __iter__(self) -> Iterator[tuple[str, str, Total]]:
        """Yield (photon, hook, total)."""
        for photon, hooks in self._by_photon.items():
            for hook, total in hooks.items():
                yield photon, hook, total
