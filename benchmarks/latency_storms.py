"""The Loader in extremes: a busy host, an idle one, git, a queue overflow."""

from __future__ import annotations

import logging
import queue
import statistics
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.latency_host import PHOTON, by_event, host, tree
from benchmarks.watching_storms import git

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luminal import Loader
    from luminal.reload.watching import Batch

__all__ = ["busy", "idle", "overflow", "switches"]


@contextmanager
def busy() -> Iterator[None]:
    """Compute on a thread."""
    done = threading.Event()

    def spin() -> None:
        number = 0
        while not done.is_set():
            number = (number * 31 + 7) % 1_000_003

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def idle(count: int, seconds: float) -> float:
    """Return the CPU seconds per minute of a host whose *count* files do not change."""
    with tree(count, PHOTON.format(number=0)) as root, host(root):
        time.sleep(1)
        began = time.process_time()
        time.sleep(seconds)
        return (time.process_time() - began) * 60 / seconds


class _Batches(logging.Handler):
    """Collects from the log the batches that a watch has handled."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.taken: queue.SimpleQueue[Batch] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        if "applied in" in str(record.msg) and isinstance(record.args, tuple):
            self.taken.put(record.args[0])  # type: ignore[arg-type]


@contextmanager
def _batches() -> Iterator[_Batches]:
    logger, handler = logging.getLogger("luminal.watch"), _Batches()
    level, passes_on = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = passes_on


def switches(count: int, times: int) -> tuple[list[int], list[float], list[float]]:
    """Switch *times* between branches that differ in half of *count* files.

    Returns:
        For each switch, the number of batches, and the ms from git's end until the
        batch was complete (when the swap begins) and until the new code was live.
    """
    batches, settled, lives = [], [], []
    with tree(count, PHOTON.format(number=1)) as root:
        git(root, "init", "-q", "-b", "one")
        git(root, "add", ".")
        git(root, "commit", "-qm", "one")
        git(root, "checkout", "-qb", "two")
        for file in sorted(root.glob("data_*/*.py"))[: count // 2 - 1]:
            file.write_text("value = 2\n")
        (root / "edited.py").write_text(PHOTON.format(number=2))
        git(root, "commit", "-qam", "two")
        with _batches() as handled, host(root) as loader:
            live = by_event(loader)
            for number in range(times):
                time.sleep(0.5)
                while not handled.taken.empty():
                    handled.taken.get()
                git(root, "checkout", "-q", ("one", "two")[number % 2])
                ended = time.monotonic()
                at = live(number % 2 + 1, ended + 10)
                time.sleep(0.7)  # so that another batch would be seen
                taken = [handled.taken.get() for _ in range(handled.taken.qsize())]
                batches.append(len(taken))
                settled += [(batch.settled - ended) * 1000 for batch in taken[:1]]
                lives += [] if at is None else [(at - ended) * 1000]
    return batches, settled, lives


def overflow(count: int) -> float | None:
    """Return the ms from reading an overflown queue until the change in it is live.

    The host's loop is blocked, so that the watcher cannot read its queue. The time
    includes the swap of what it had read before.
    """
    if sys.platform != "linux":
        return None
    room = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with tree(count, PHOTON.format(number=0)) as root, host(root) as loader:
        live, go_on = by_event(loader), _hold(loader)
        (root / "edited.py").write_text(PHOTON.format(number=1))
        time.sleep(0.5)
        # Alternating, since the kernel merges equal consecutive events.
        with (
            open(root / "one.txt", "wb", 0) as one,
            open(root / "two.txt", "wb", 0) as two,
        ):
            for _ in range(room // 2 + 100):
                one.write(b"#")
                two.write(b"#")
        (root / "edited.py").write_text(PHOTON.format(number=2))
        began = time.monotonic()
        go_on.set()
        at = live(2, began + 10)
        return None if at is None else (at - began) * 1000


def _hold(loader: Loader) -> threading.Event:
    """Block the watcher in its next swap, until the event is set."""
    go_on = threading.Event()

    def on_event(event: object) -> None:
        go_on.wait()

    loader.events.subscribe(on_event)
    return go_on


def middle(times: list[float]) -> float:
    """Return the median, or NaN if there are no values."""
    return statistics.median(times) if times else float("nan")
