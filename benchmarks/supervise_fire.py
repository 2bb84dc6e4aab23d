"""Supervision of a tree of fifty loops under random failures.

    python -m benchmarks.supervise_fire [--size small|full]

Loops raise, children are killed with SIGKILL, and one loop never returns. At the end it
checks that all restarts were within the policy, and that no loop or thread is lost.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import threading
import time

from benchmarks.measure import banner
from luminal.supervise import (
    Backoff,
    Intensity,
    LoopController,
    ProcessLoop,
    Strategy,
    SuperLoop,
)

BACKOFF = Backoff(initial=0.01, cap=0.1)
MANY = Intensity(restarts=100_000, period=60)
POLICIES = (Strategy.ONE_FOR_ONE, Strategy.REST_FOR_ONE)
SLEEP = [sys.executable, "-c", "import time; time.sleep(3600)"]


class Worker(SuperLoop):
    """Works, and raises when its flag is set."""

    turns = 0
    starts = 0
    is_to_fail = False

    def on_thread_start(self):  # noqa: D102
        self.starts += 1

    def cycle(self):  # noqa: D102
        self.turns += 1
        if self.is_to_fail:
            self.is_to_fail = False
            raise RuntimeError("hit")
        time.sleep(0.01)


class Endless(SuperLoop):
    """A loop whose first cycle never returns."""

    def cycle(self):  # noqa: D102
        threading.Event().wait()


def tree():
    outer = LoopController(strategy=Strategy.ONE_FOR_ONE, intensity=MANY)
    groups, workers, children = [], [], []
    for i in range(5):
        group = LoopController(
            strategy=POLICIES[i % 2], intensity=MANY, backoff=BACKOFF
        )
        for _ in range(8):
            workers.append(group.new_loop(Worker(backoff=BACKOFF)) or group.loops[-1])
        children.append(ProcessLoop(SLEEP, backoff=BACKOFF))
        group.new_loop(children[-1])
        groups.append(group)
        outer.new_loop(group)
    # With the five groups, one above the fifty.
    endless = Endless(stall_after=1.0, backoff=BACKOFF)
    groups[0].new_loop(endless)
    return outer, groups, workers, children, endless


def fire(seconds):
    banner(f"a tree of 50 loops and random failures for {seconds} s")
    before = set(threading.enumerate())
    outer, groups, workers, children, endless = tree()
    outer.start()
    outer.maintain_loops()
    for group in groups:
        group.maintain_loops()
    pick = random.Random(5)
    end = time.monotonic() + seconds
    hits = kills = 0
    while time.monotonic() < end:
        time.sleep(pick.uniform(0.005, 0.05))
        if pick.random() < 0.1:
            pid = pick.choice(children).pid
            if pid:
                os.kill(pid, signal.SIGKILL)
                kills += 1
        else:
            pick.choice(workers).is_to_fail = True
            hits += 1
    forgotten = settle(workers)
    dead = [child for child in children if not child.is_alive]
    restarts = sum(g.restarts_of(loop) for g in groups for loop in g.loops)
    gave_up = sum(group.has_given_up for group in [outer, *groups])
    hangs = groups[0].restarts_of(endless)
    outer.stop()
    endless.halt()  # `stop` cannot end it, since its cycle does not return
    late = time.monotonic() + 15
    while set(threading.enumerate()) - before and time.monotonic() < late:
        time.sleep(0.01)
    left = [
        t.name
        for t in set(threading.enumerate()) - before
        if not t.name.startswith("luminal-")
    ]
    print(f"hits {hits}, kills {kills}, restarts {restarts}, hangs replaced {hangs}")
    print(
        f"groups that gave up {gave_up}, loops forgotten {len(forgotten)}, "
        f"children forgotten {len(dead)}, threads leaked {len(left)} {left[:5]}"
    )


def settle(workers):
    """Return the loops that do not run although nothing fails any more."""
    for worker in workers:
        worker.is_to_fail = False
    time.sleep(2.0)
    turns = {worker: worker.turns for worker in workers}
    time.sleep(2.0)
    return [worker for worker in workers if worker.turns == turns[worker]]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=("small", "full"), default="small")
    size = parser.parse_args().size
    logging.getLogger("luminal.supervise").setLevel(logging.CRITICAL + 1)
    fire(60 if size == "full" else 2)


if __name__ == "__main__":
    main()
