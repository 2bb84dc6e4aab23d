"""The numbers that the page plots: calls, errors and times over the latest minutes.

A point is added when a page asks, at most once a second. So nothing is done while
nobody looks, and the memory is bounded.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import attrs

from luminal.hooks.records import quantile
from luminal.metrics import snapshot

if TYPE_CHECKING:
    from luminal.managers import Loader

__all__ = ["Plots"]

_MOST = 300
"""Points that are kept."""

_INTERVAL = 1.0
"""Seconds between two points, at least."""


@attrs.frozen
class _Point:
    """The totals of all photons at one moment, and what was new since the point before.

    Attributes:
        at: Wall-clock time in seconds, for people.
        seconds: Since the point before, by the monotonic clock; 0 for the first.
        calls, errors: In total, as the exporters have them.
        new_calls, new_errors: Since the point before.
        timed: Calls since then of which p50 and p95 are; each timed call counts for
            those that it stands for.
        p50, p95: Seconds within which 50 and 95 of 100 of these calls ended.
    """

    at: float
    seconds: float
    calls: int
    errors: int
    new_calls: int = 0
    new_errors: int = 0
    timed: int = 0
    p50: float = 0.0
    p95: float = 0.0


class Plots:
    """Points of one host, for as many pages as are open.

    Args:
        loader: The host.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._points: deque[_Point] = deque(maxlen=_MOST)
        self._read = 0.0  # `time.monotonic()` at the latest point
        self._buckets: tuple[int, ...] = ()
        self._lock = threading.Lock()

    def points(self) -> list[dict[str, Any]]:
        """Return the points, the oldest first, with one of now."""
        with self._lock:
            now = time.monotonic()
            if not self._points or now - self._read >= _INTERVAL:
                self._points.append(self._look(now))
            return [attrs.asdict(point) for point in self._points]

    def _look(self, now: float) -> _Point:
        found = snapshot(self._loader)
        calls = sum(row.calls for row in found.hooks)
        errors = sum(row.errors for row in found.hooks)
        rows = (row.buckets for row in found.hooks)
        buckets = tuple([sum(each) for each in zip_longest(*rows, fillvalue=0)])
        pairs = zip_longest(buckets, self._buckets, fillvalue=0)
        new = [max(later - before, 0) for later, before in pairs]
        seconds = now - self._read
        self._read, self._buckets = now, buckets
        if not self._points:
            return _Point(found.at, 0.0, calls, errors)
        before = self._points[-1]
        return _Point(
            found.at,
            seconds,
            calls,
            errors,
            max(calls - before.calls, 0),
            max(errors - before.errors, 0),
            sum(new),
            quantile(new, 0.5),
            quantile(new, 0.95),
        )
