"""The watcher in extremes: no change, a branch switch, a queue overflow."""

from __future__ import annotations

import queue
import statistics
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from benchmarks.measure import banner
from benchmarks.watching_peers import CONTESTANTS
from benchmarks.watching_saver import tree
from luminal.reload.watching import Batch, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.watching_peers import Contestant, Reports

__all__ = ["STORMS"]


def idle(size: dict) -> None:
    """Measure the CPU time of watching files that do not change."""
    count, seconds = size["sizes"][-1], size["idle"]
    banner(f"idle, {count:,} files, CPU time a minute (measured for {seconds:g} s)")
    with tree(count) as files:
        for name, contestant in CONTESTANTS.items():
            stop = contestant(files[0].parent.parent, queue.SimpleQueue())
            time.sleep(0.5)
            began = time.process_time()
            # A second more than a minute, so that it includes the slow sweep.
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
    """Switch between branches that differ in half of up to 1,000 files."""
    count = min(1000, size["sizes"][-1])
    banner(f"git checkout, half of {count:,} files: batches, and ms after git's end")
    with tree(count) as files:
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
    """Return the batches of each switch, and the times of the first and the last."""
    reports: Reports = queue.SimpleQueue()
    stop = contestant(root, reports)
    batches, first, last, files = [], [], [], []
    for number in range(count):
        git(root, "checkout", "-q", ("one", "two")[number % 2])
        ended = time.monotonic()
        time.sleep(1.5)
        came = [reports.get() for _ in range(reports.qsize())]
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
    """Overflow the kernel's queue while the receiver blocks; time the recovery."""
    count = size["sizes"][-1]
    banner(f"queue overflow, {count:,} files: from reading the queue to the change")
    if sys.platform != "linux":
        print("skipped: inotify is on Linux only")
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


STORMS: dict[str, Callable[[dict], None]] = {
    "idle": idle,
    "switch": branch_switch,
    "overflow": overflow,
}
