"""Tools of the benchmarks: interleaved rounds, medians, ratios to a baseline.

The speed of a machine drifts. So contestants take turns within each round, and are
compared by the median of their ratios in each round, not by times of separate runs.
"""

from __future__ import annotations

import gc
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

Contestant = Callable[[], object]


def rounds(contestants: Mapping[str, Contestant], count: int) -> dict[str, list[float]]:
    """Run each contestant *count* times, in turn, and return their seconds."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run()  # warm-up, not counted
    for _ in range(count):
        for name, run in contestants.items():
            gc.collect()
            gc.disable()
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
            gc.enable()
    return times


def timed(function: Contestant) -> float:
    """Return the seconds that one call of *function* takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def ratio(times: Mapping[str, list[float]], name: str, base: str) -> float:
    """Return the median over rounds of *name*'s time divided by *base*'s."""
    pairs = zip(times[name], times[base], strict=True)
    return statistics.median(a / b for a, b in pairs)


def banner(title: str) -> None:
    """Print a heading with the Python version, the platform and the date."""
    print(f"\n## {title}")
    print(
        f"CPython {platform.python_version()}, {sys.platform}, "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )


def table(times: Mapping[str, list[float]], base: str, per: int = 1) -> None:
    """Print a row for each contestant: median time of an operation, ratio to *base*."""
    width = max(len(name) for name in times)
    for name, values in times.items():
        each = statistics.median(values) / per
        print(
            f"{name:<{width}}  {each * 1e6:12.2f} µs  "
            f"{ratio(times, name, base):8.2f} x {base}"
        )
