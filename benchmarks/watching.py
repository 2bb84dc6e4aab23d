"""Time from save to batch: the watcher alone, beside watchfiles, watchdog and polling.

Run ``python -m benchmarks.watching --size small|full``. Times begin before the save and
end when the receiver is called. `benchmarks.latency` measures the time until the new
code is live, beside other reloaders.
"""

from __future__ import annotations

import argparse
import queue
import random
import statistics
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.measure import banner
from benchmarks.watching_peers import CONTESTANTS
from benchmarks.watching_saver import SAVES, Saver, tree
from benchmarks.watching_storms import STORMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.watching_peers import Contestant, Reports

SMALL = {
    "sizes": (100,),
    "saves": 5,
    "slow_saves": 1,
    "idle": 0.2,
    "switches": 1,
    "many": 40,
}
FULL = {
    "sizes": (10, 1000, 10_000),
    "saves": 300,
    "slow_saves": 15,
    "idle": 60.0,
    "switches": 12,
    "many": 10_000,
}


def measure_saves(
    contestant: Contestant, files: list[Path], way: str, count: int, pause: float
) -> tuple[list[float], int]:
    """Save *count* times; return the latencies in ms and the number of misses."""
    reports: Reports = queue.SimpleQueue()
    stop = contestant(files[0].parent.parent, reports)
    times, missed = [], 0
    try:
        with Saver() as saver:
            for number in range(count):
                # Random, so that saves do not synchronise with polling.
                time.sleep(random.uniform(0.001, pause))
                file = random.choice(files)
                began = saver.save(way, file, f"value = {number}")
                took = wait_for(file, began, reports)
                if took is None:
                    missed += 1
                else:
                    times.append(took * 1000)
    finally:
        stop()
    return times, missed


def wait_for(file: Path, began: float, reports: Reports) -> float | None:
    """Return the seconds from *began* until *file* was reported, None if it was not."""
    end = began + 3.0
    while True:
        try:
            at, paths = reports.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            return None
        if str(file) in paths and at > began:
            return at - began


def row(name: str, times: list[float], missed: int, base: float | None) -> float:
    """Print p50 and p95; return p50."""
    if not times:
        print(f"{name:<22} every save missed")
        return 0.0
    times.sort()
    middle = statistics.median(times)
    late = times[int(len(times) * 0.95)]
    ratio = f"{middle / base:7.1f} x" if base else "    1.0 x"
    print(
        f"{name:<22} p50 {middle:8.2f} ms  p95 {late:8.2f} ms  "
        f"most {times[-1]:8.2f} ms  {ratio}  missed {missed} of {len(times) + missed}"
    )
    return middle


def latency(size: dict, *, busy: bool = False) -> None:
    """Measure each contestant for each number of files and each way of saving."""
    for count in size["sizes"] if not busy else size["sizes"][:2][-1:]:
        with tree(count) as files:
            for way in SAVES:
                banner(f"save → batch, {count:,} files, {way}, busy thread: {busy}")
                base = None
                for name, contestant in CONTESTANTS.items():
                    slow = name == "polling 1 s"
                    saves = size["slow_saves" if slow else "saves"]
                    pause = 1.0 if slow else 0.06
                    with busy_thread(busy):
                        times, missed = measure_saves(
                            contestant, files, way, saves, pause
                        )
                    middle = row(name, times, missed, base)
                    base = base or middle


def misses(size: dict) -> None:
    """Save very often, each way in turn, and count the misses."""
    many = size["many"]
    banner(f"save → batch, {many:,} saves among {size['sizes'][-1]:,} files")
    with tree(size["sizes"][-1]) as files:
        for way in SAVES:
            times, missed = measure_saves(
                CONTESTANTS["luminal"], files, way, many // 2, 0.005
            )
            row(f"luminal, {way}", times, missed, None)


@contextmanager
def busy_thread(wanted: bool) -> Iterator[None]:
    """Compute on a thread, in pure Python."""
    done = threading.Event()

    def compute() -> None:
        while not done.is_set():
            sum(number * number for number in range(1000))

    thread = threading.Thread(target=compute)
    if wanted:
        thread.start()
    try:
        yield
    finally:
        done.set()
        if wanted:
            thread.join()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--only", choices=PARTS, action="append")
    options = parser.parse_args()
    size = FULL if options.size == "full" else SMALL
    for name, part in PARTS.items():
        if not options.only or name in options.only:
            part(size)


PARTS: dict[str, Callable[[dict], None]] = {
    "latency": latency,
    "busy": lambda size: latency(size, busy=True),
    "misses": misses,
    **STORMS,
}

if __name__ == "__main__":
    main()
