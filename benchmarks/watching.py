"""From save to batch: the watcher beside watchfiles, watchdog, polling and reloaders.

Run ``python -m benchmarks.watching --size small|full``. Times begin before the save and
end when the receiver is entered (for jurigged and hmr: when the new code is live).
"""

from __future__ import annotations

import argparse
import queue
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import banner
from benchmarks.watching_peers import PEERS, reloader_latency
from benchmarks.watching_saver import SAVES, Saver
from luminal.reload.watching import Batch, Watcher

Heard = queue.SimpleQueue[tuple[float, frozenset[str]]]
Contestant = Callable[[Path, Heard], Callable[[], object]]

SMALL = {
    "sizes": (10, 1000),
    "saves": 40,
    "slow_saves": 4,
    "idle": 3.0,
    "switches": 3,
    "many": 500,
}
FULL = {
    "sizes": (10, 1000, 10_000),
    "saves": 300,
    "slow_saves": 15,
    "idle": 60.0,
    "switches": 12,
    "many": 10_000,
}


def luminal(root: Path, heard: Heard) -> Callable[[], object]:
    def receive(batch: Batch) -> None:
        heard.put((time.monotonic(), batch.paths))

    return Watcher([root], receive).start().stop


CONTESTANTS: dict[str, Contestant] = {"luminal": luminal, **PEERS}


@contextmanager
def tree(count: int) -> Iterator[list[Path]]:
    """Make *count* files, a hundred a directory."""
    root = Path(tempfile.mkdtemp(prefix="watching_"))
    try:
        files = []
        for number in range(count):
            folder = root / f"p{number // 100}"
            folder.mkdir(exist_ok=True)
            files.append(folder / f"m{number}.py")
            files[-1].write_text("value = 0\n")
        yield files
    finally:
        shutil.rmtree(root)


def measure_saves(
    contestant: Contestant, files: list[Path], way: str, count: int, pause: float
) -> tuple[list[float], int]:
    """Save *count* times; return the latencies in ms and how many were missed."""
    heard: Heard = queue.SimpleQueue()
    stop = contestant(files[0].parent.parent, heard)
    times, missed = [], 0
    try:
        with Saver() as saver:
            for number in range(count):
                # Random, or the saves fall into step with whoever polls.
                time.sleep(random.uniform(0.001, pause))
                file = random.choice(files)
                began = saver.save(way, file, f"value = {number}")
                took = wait_for(file, began, heard)
                if took is None:
                    missed += 1
                else:
                    times.append(took * 1000)
    finally:
        stop()
    return times, missed


def wait_for(file: Path, began: float, heard: Heard) -> float | None:
    """Return the seconds from *began* until *file* was heard of; None if it was not."""
    end = began + 3.0
    while True:
        try:
            at, paths = heard.get(timeout=max(0.0, end - time.monotonic()))
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
    """Measure each contestant at each number of files, each way of saving."""
    for count in size["sizes"] if not busy else size["sizes"][1:2]:
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
    """Save very often, each way in turn, and count what was not heard of."""
    many = size["many"]
    banner(f"save → batch, {many:,} saves among {size['sizes'][-1]:,} files")
    with tree(size["sizes"][-1]) as files:
        for way in SAVES:
            times, missed = measure_saves(luminal, files, way, many // 2, 0.005)
            row(f"luminal, {way}", times, missed, None)


@contextmanager
def busy_thread(wanted: bool) -> Iterator[None]:
    """Compute in a thread of its own, in pure Python."""
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


def idle(size: dict) -> None:
    """Measure the CPU time of watching files that do not change."""
    count, seconds = size["sizes"][-1], size["idle"]
    banner(f"idle, {count:,} files, CPU time a minute (measured for {seconds:g} s)")
    with tree(count) as files:
        for name, contestant in CONTESTANTS.items():
            stop = contestant(files[0].parent.parent, queue.SimpleQueue())
            time.sleep(0.5)
            began = time.process_time()
            # One second more than a minute, so that the slow sweep is in it.
            time.sleep(seconds + 1 if name == "luminal" else min(seconds, 10))
            used = time.process_time() - began
            took = seconds if name == "luminal" else min(seconds, 10)
            print(f"{name:<22} {used * 60 / took:8.4f} s")
            stop()


def git(root: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words],
        cwd=root,
        check=True,
        capture_output=True,
    )


def branch_switch(size: dict) -> None:
    """Switch between branches that differ in 500 of 1,000 files."""
    banner("git checkout, 500 of 1,000 files: batches, and ms after git's end")
    with tree(1000) as files:
        root = files[0].parent.parent
        git(root, "init", "-q", "-b", "one")
        git(root, "add", ".")
        git(root, "commit", "-qm", "one")
        git(root, "checkout", "-qb", "two")
        for file in files[::2]:
            file.write_text("value = 2\n")
        git(root, "commit", "-qam", "two")
        for name, contestant in CONTESTANTS.items():
            print(f"{name:<22} {switches(contestant, root, size['switches'])}")


def switches(contestant: Contestant, root: Path, count: int) -> str:
    """Return batches a switch, and when the first and the last came."""
    heard: Heard = queue.SimpleQueue()
    stop = contestant(root, heard)
    batches, first, last, files = [], [], [], []
    for number in range(count):
        git(root, "checkout", "-q", ("one", "two")[number % 2])
        ended = time.monotonic()
        time.sleep(1.5)
        came = [heard.get() for _ in range(heard.qsize())]
        python = [
            (at, found)
            for at, paths in came
            if (found := {path for path in paths if path.endswith(".py")})
        ]
        if not python:
            continue
        batches.append(len(python))
        files.append(len(set().union(*(found for _, found in python))))
        first.append((python[0][0] - ended) * 1000)
        last.append((python[-1][0] - ended) * 1000)
    stop()
    if not batches:
        return "no batch"
    return (
        f"batches {min(batches)} to {max(batches)}, "
        f"files {min(files)} to {max(files)}, "
        f"first {statistics.median(first):+.1f} ms, "
        f"last {statistics.median(last):+.1f} (most {max(last):+.1f})"
    )


def overflow(size: dict) -> None:
    """Fill the kernel's queue while the receiver is held; time the repair."""
    count = size["sizes"][-1]
    banner(f"queue overflow, {count:,} files: from reading the queue to the change")
    if sys.platform != "linux":
        print("skipped: the kernel's queue is Linux's")
        return
    found: queue.SimpleQueue[tuple[float, Batch]] = queue.SimpleQueue()
    go_on = threading.Event()

    def receive(batch: Batch) -> None:
        found.put((time.monotonic(), batch))
        go_on.wait()

    with tree(count) as files, Watcher([files[0].parent.parent], receive):
        files[0].write_text("value = 1\n")
        found.get()
        with open(files[1], "w") as one, open(files[2], "w") as two:
            for _ in range(10_000):
                one.write("#")
                one.flush()
                two.write("#")
                two.flush()
        files[3].write_text("value = 3\n")
        began = time.monotonic()
        go_on.set()
        at, batch = found.get()
        hit = str(files[3]) in batch.paths
        print(f"luminal  {(at - began) * 1000:.1f} ms, {batch!r}, found: {hit}")


def main() -> None:
    """Run what was asked for."""
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
    "reloaders": lambda size: reloader_latency(size["saves"] // 4),
    "idle": idle,
    "switch": branch_switch,
    "overflow": overflow,
}

if __name__ == "__main__":
    main()
