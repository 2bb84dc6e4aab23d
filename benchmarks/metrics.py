"""What the numbers of a host cost and how true they are.

``python -m benchmarks.metrics [--size small|full]``. Calls are compared with calls of
the plain function in the same round; scrapes with calls that go on meanwhile.
"""

from __future__ import annotations

import argparse
import gc
import random
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.measure import banner
from luminal import Loader, hookimpl, hookspec
from luminal.hooks import HookTotal, PluginManager
from luminal.metrics import snapshot, to_text

if TYPE_CHECKING:
    from collections.abc import Callable


class Spec:
    """The hook of all measurements."""

    @hookspec
    def work(self, nanoseconds: int) -> Any:
        """Take so many nanoseconds."""


def spin(nanoseconds: int) -> None:
    end = time.perf_counter_ns() + nanoseconds
    while time.perf_counter_ns() < end:
        pass


class Photon:
    """Notes itself how long its calls take."""

    def __init__(self) -> None:
        self.spent = 0

    @hookimpl
    def work(self, nanoseconds: int) -> Any:
        """Take so many nanoseconds."""
        start = time.perf_counter_ns()
        if nanoseconds:
            spin(nanoseconds)
        self.spent += time.perf_counter_ns() - start


def told(calls: int, takes: Callable[[int], int]) -> tuple[float, HookTotal]:
    """Return the told part of the true time of *calls*, and the total."""
    manager = PluginManager("luminal")
    manager.add_hookspecs(Spec)
    photon = Photon()
    manager.register(photon, "p")
    for number in range(calls):
        manager.hook.work(nanoseconds=takes(number))
    [total] = manager.totals()
    return total.seconds * 1e9 / photon.spent, total


def truth() -> None:
    banner("told time of slow calls, as part of the true time")
    for calls in (50, 200, 1000):
        part, total = told(calls, lambda _: random.randint(1_000_000, 3_000_000))
        print(f"{calls:>6} calls of 1-3 ms: {part:7.1%}  ({total.timed} timed)")
    for phase in (0, 31, 64, 127):
        part, total = told(10_000, lambda n, p=phase: 3_000_000 * (n % 128 == p))
        print(f"one of 128 takes 3 ms, phase {phase:>3}: {part:7.1%}")
    part, total = told(100_000, lambda _: 0)
    print(f"fast calls: {total.timed} of {total.calls} timed")


def counts(swaps: int) -> None:
    banner(f"{swaps} swaps, 8 threads, a scrape after each")
    manager = PluginManager("luminal")
    manager.add_hookspecs(Spec)
    manager.register(Photon(), "p")
    made, is_over, fallen, last = [0] * 8, threading.Event(), 0, 0

    def call(number: int) -> None:
        while not is_over.is_set():
            manager.hook.work(nanoseconds=0)
            made[number] += 1

    threads = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    scrapes = 0
    for _ in range(swaps):
        manager.swap("p", Photon())
        for _ in range(10):
            [total] = manager.totals()
            scrapes += 1
            fallen += total.calls < last
            last = total.calls
    is_over.set()
    for thread in threads:
        thread.join()
    [total] = manager.totals()
    print(f"{total.calls} of {sum(made)} calls counted, {fallen} of {scrapes} fell")


def scrapes(count: int) -> None:
    banner("scrape of 100 photons x 10 hooks")
    manager = PluginManager("luminal")
    names = [f"hook{n}" for n in range(10)]

    def photon() -> object:
        methods = {n: hookimpl(specname=n)(answer_of()) for n in names}
        return type("Many", (), methods)()

    def answer_of() -> Any:
        def one(self: object, x: int) -> int:
            return x

        return one

    for number in range(100):
        manager.register(photon(), f"p{number}")
    loader = Loader(plugins=manager)
    for name in names:
        for _ in range(20):
            getattr(manager.hook, name)(x=1)
    gc.collect()

    def best(function: Callable[[], object]) -> float:
        found = []
        for _ in range(count):
            start = time.thread_time()
            function()
            found.append(time.thread_time() - start)
        return min(found) * 1e3

    print(f"totals of {len(manager.totals())} rows: {best(manager.totals):.2f} ms")
    print(f"snapshot: {best(lambda: snapshot(loader)):.2f} ms")
    print(f"text with histograms: {best(lambda: to_text(snapshot(loader))):.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    full = parser.parse_args().size == "full"
    truth()
    counts(1000 if full else 50)
    scrapes(50 if full else 5)


if __name__ == "__main__":
    main()
