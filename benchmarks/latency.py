"""Save to live: from the save of a photon's file until calls get the new answer.

Run ``python -m benchmarks.latency --size small|full [--saves N] [--only PART]``. A
second process saves, as an editor does. The host waits for the event of the swap and
calls the hook. Peers on the same tree: `importlib.reload` after watchfiles' defaults
and after polling all files once a second, jurigged, and hmr. Then the extremes: a busy
thread, an idle host, a branch switch, an overflow of the kernel's queue.
`benchmarks.watching` compares the watcher alone with other watchers.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import queue
import statistics
import sys
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from benchmarks.latency_host import PHOTON, by_asking, by_event, host, measure, tree
from benchmarks.latency_storms import busy, idle, middle, overflow, switches
from benchmarks.measure import banner
from benchmarks.watching_peers import polling, watchfiles_defaults
from benchmarks.watching_reloaders import installed, reloads
from benchmarks.watching_saver import SAVES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.watching_peers import Reports

# "saves": in all trees and ways, through the Loader. "timed": those in each tree and
# way after a pause, as by hand. "peers": saves of a peer in each. "idle": seconds.
SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "trees": (10,),
        "saves": 40,
        "timed": 6,
        "peers": 2,
        "polling": 1,
        "idle": 1.0,
        "switches": 1,
    },
    "full": {
        "trees": (10, 1000, 10_000),
        "saves": 10_000,
        "timed": 300,
        "peers": 12,
        "polling": 4,
        "idle": 61.0,
        "switches": 10,
    },
}
BY_HAND = (0.03, 0.06)  # seconds between saves that are timed
AT_ONCE = (0.0, 0.004)  # between those that are only counted: 20 swaps a second


def row(name: str, way: str, times: list[float], missed: int, base: float) -> float:
    """Print one line; return the median."""
    if not times:
        print(f"{name:<22} {way:<9} never live, missed {missed}", flush=True)
        return base
    p50 = statistics.median(times)
    p95 = sorted(times)[int(len(times) * 0.95)]
    print(
        f"{name:<22} {way:<9} p50 {p50:7.2f} ms  p95 {p95:7.2f} ms  most "
        f"{max(times):7.2f} ms  {p50 / (base or p50):6.1f} x  "
        f"missed {missed} of {len(times) + missed}",
        flush=True,
    )
    return p50


def luminal(count: int, way: str, timed: int, more: int = 0) -> tuple[Any, Any]:
    """Save *timed* times with pauses, then *more* times without, in one host."""
    with tree(count, PHOTON.format(number=0)) as root, host(root) as loader:
        file, live, last = root / "edited.py", by_event(loader), timed + more
        by_hand = measure(file, way, range(1, timed + 1), PHOTON, BY_HAND, live)
        numbers = range(timed + 1, last + 1)
        return by_hand, measure(file, way, numbers, PHOTON, AT_ONCE, live)


def reloading(
    watch: Callable[[Path, Reports], Callable[[], object]], count: int, way: str, n: int
) -> tuple[list[float], int]:
    """Reload the module with importlib whenever *watch* reports a change."""
    text = "def answer():\n    return {number}\n"
    with tree(count, text.format(number=0)) as root:
        sys.path.insert(0, str(root))
        was, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        module = importlib.import_module("edited")
        reports: Reports = queue.SimpleQueue()
        stop = watch(root, reports)

        def work() -> None:
            while (report := reports.get())[1]:
                if str(root / "edited.py") in report[1]:
                    importlib.reload(module)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            live = by_asking(lambda: module.answer())  # noqa: PLW0108 - it changes
            pauses = (0.03, 1.0) if watch is polling else BY_HAND
            numbers = range(1, n + 1)
            return measure(root / "edited.py", way, numbers, text, pauses, live)
        finally:
            stop()
            reports.put((0.0, frozenset()))
            worker.join()
            sys.dont_write_bytecode = was
            sys.path.remove(str(root))
            del sys.modules["edited"]


def saves(size: dict[str, Any]) -> None:
    """Compare all for each number of files and each way of saving."""
    cells = len(size["trees"]) * len(SAVES)
    each = -(-size["saves"] // cells)
    timed = min(each, size["timed"])
    missed = 0
    for count in size["trees"]:
        banner(f"save -> new code live, {count:,} files")
        for way in SAVES:
            by_hand, at_once = luminal(count, way, timed, each - timed)
            base = row("luminal", way, *by_hand, 0.0)
            if each > timed:
                row("luminal, at once", way, *at_once, base)
            missed += by_hand[1] + at_once[1]
            if importlib.util.find_spec("watchfiles"):
                found = reloading(watchfiles_defaults, count, way, size["peers"])
                row("watchfiles, importlib", way, *found, base)
            found = reloading(polling, count, way, size["polling"])
            row("polling 1 s, importlib", way, *found, base)
            for name in installed():
                row(name, way, *reloads(name, count, way, size["peers"]), base)
    print(f"luminal: missed {missed} of {each * cells:,} saves")


def busy_host(size: dict[str, Any]) -> None:
    """Save beside a thread that computes, and without one."""
    banner("save -> new code live, 1,000 files, beside one thread that computes")
    timed = min(size["timed"], 150)
    for way in SAVES:
        base = 0.0
        for name, beside in {"luminal, idle": nullcontext, "busy": busy}.items():
            with beside():
                base = row(name, way, *luminal(1000, way, timed)[0], base)


def storms(size: dict[str, Any]) -> None:
    """Measure the extremes."""
    count = size["trees"][-1]
    banner(f"nothing changes, {count:,} files, {size['idle']:g} s")
    print(f"CPU time a minute: {idle(count, size['idle']):.4f} s", flush=True)
    banner("git checkout, half of 1,000 files, ms after git has ended")
    batches, settled, lives = switches(1000, size["switches"])
    print(
        f"batches {min(batches)} to {max(batches)}, swap begun "
        f"p50 {middle(settled):+.1f} (most {max(settled, default=0.0):+.1f}), live "
        f"p50 {middle(lives):+.1f} (most {max(lives, default=0.0):+.1f})",
        flush=True,
    )
    banner(f"the kernel's queue overflows, {count:,} files")
    took = overflow(count)
    print("not live" if took is None else f"live {took:.1f} ms after it is read")


PARTS = {"saves": saves, "busy": busy_host, "storms": storms}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument(
        "--saves", type=int, help="total number of saves through the Loader"
    )
    parser.add_argument("--only", choices=tuple(PARTS), action="append")
    options = parser.parse_args()
    size = SIZES[options.size]
    if options.saves is not None:
        size = {**size, "saves": options.saves}
    for name, part in PARTS.items():
        if not options.only or name in options.only:
            part(size)


if __name__ == "__main__":
    main()
