"""Supervision: the cost of threads that can be halted, and how fast they end.

    python -m benchmarks.supervise [--size small|full]

Each figure is printed with its bound. Contestants and baselines take turns in one run.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import statistics
import sys
import threading
import time

from benchmarks.measure import banner, rounds, timed
from benchmarks.supervise_blocked import blocked
from benchmarks.supervise_cost import WORK, cost_of_a_thread, cost_to_others, tight
from benchmarks.supervise_loops import loops
from benchmarks.supervise_shapes import SHAPES
from luminal.supervise import Footprint, TracedThread, abandoned_threads


def time_to_die(count):
    banner("halt to end of the thread, beside two busy threads (p95 at most 10 ms)")
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            tight(1000)

    beside = [threading.Thread(target=busy, daemon=True) for _ in range(2)]
    for thread in beside:
        thread.start()
    for name, work in WORK.items():
        took = []
        for _ in range(count):
            died = []
            begun = threading.Event()

            def target(work=work, begun=begun, died=died):
                begun.set()
                try:
                    while True:
                        work(1000)
                finally:
                    died.append(time.perf_counter())

            thread = TracedThread(target=target, daemon=True)
            thread.start()
            begun.wait()
            asked = time.perf_counter()
            thread.halt()
            thread.join(10)
            took.append(died[0] - asked if died else 10.0)
        took.sort()
        p95 = took[int(len(took) * 0.95) - 1]
        print(
            f"{name:<12} p50 {statistics.median(took) * 1e3:.1f} ms   "
            f"p95 {p95 * 1e3:.1f} ms   most {took[-1] * 1e3:.1f} ms"
        )
    stop.set()
    for thread in beside:
        thread.join()


def swallowing(per_shape):
    banner(f"{len(SHAPES) * per_shape} threads that swallow (90 of 90; 84 on 3.11)")
    died = 0
    slowest = 0.0
    for shape in SHAPES:
        threads = [TracedThread(target=shape, daemon=True) for _ in range(per_shape)]
        for thread in threads:
            thread.start()
        time.sleep(0.02)
        begun = time.perf_counter()
        for thread in threads:
            thread.halt()
        for thread in threads:
            thread.join(max(0.0, begun + 5 - time.perf_counter()))
        slowest = max(slowest, time.perf_counter() - begun)
        alive = sum(thread.is_alive() for thread in threads)
        died += per_shape - alive
        if alive:
            print(f"{shape.__name__}: {alive} still alive")
    print(
        f"died {died} of {len(SHAPES) * per_shape}, the slowest after {slowest:.2f} s"
    )


def locks(count):
    banner(f"{count} halts of threads that log and that hold locks (0 left held)")
    logger = logging.getLogger("bench.halt")
    logger.propagate = False
    handler = logging.FileHandler(os.devnull)
    logger.addHandler(handler)
    lock = threading.Lock()
    held = alive = 0

    def logs(begun):
        while True:
            logger.error("a line")
            begun.set()

    def holds(begun):
        while True:
            with lock:
                begun.set()
                tight(50)

    def takes(begun):
        while True:
            lock.acquire()
            try:
                begun.set()
                tight(50)
            finally:
                lock.release()

    for i in range(count):
        begun = threading.Event()
        target = (logs, holds, takes)[i % 3]
        thread = TracedThread(target=target, args=(begun,), daemon=True)
        thread.start()
        begun.wait()
        thread.halt()
        thread.join(5)
        alive += thread.is_alive()
        for each in (lock, handler.lock):
            if each.acquire(timeout=1):
                each.release()
            else:
                held += 1
    print(f"locks still held {held}, threads still alive {alive}")
    logger.removeHandler(handler)
    handler.close()


def footprint(count):
    banner("a footprint snapshot (at most 250 µs)")
    cold = rounds({"take": Footprint.take}, count)["take"]  # each after a collection
    warm = min(timed(Footprint.take) for _ in range(count))
    print(
        f"caches cold {statistics.median(cold) * 1e6:.0f} µs, warm {warm * 1e6:.0f} µs"
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=("small", "full"), default="small")
    is_full = parser.parse_args().size == "full"
    logging.getLogger("luminal.supervise").setLevel(logging.CRITICAL + 1)
    cost_of_a_thread(400 if is_full else 120)
    cost_to_others(400 if is_full else 120)
    time_to_die(60 if is_full else 10)
    locks(150 if is_full else 15)
    loops(1000 if is_full else 50)
    footprint(200 if is_full else 50)
    blocked()
    print(f"abandoned: {len(abandoned_threads())}")
    # A coroutine that swallows GeneratorExit does not end when it is collected.
    gc.disable()
    swallowing(6 if is_full else 1)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
