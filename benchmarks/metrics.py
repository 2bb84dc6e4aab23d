"""What the numbers of a host cost and how true they are.

``python -m benchmarks.metrics [--size small|full] [--only PART]``. Scrapes are compared
with calls that go on meanwhile. What is added to a call is seen beside an earlier
commit: ``python -m benchmarks.beside DIRECTORY metrics --only calls``.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import random
import statistics
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

from benchmarks.measure import banner
from luminal import Loader, hookimpl, hookspec
from luminal.hooks import PluginManager

if TYPE_CHECKING:
    from collections.abc import Callable

    from luminal.hooks import HookTotal


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


def counts(swaps: int, scraped: int = 10) -> None:
    banner(f"{swaps} swaps, 8 threads, {swaps * scraped} scrapes")
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
    for _ in range(swaps):
        manager.swap("p", Photon())
        for _ in range(scraped):
            [total] = manager.totals()
            fallen += total.calls < last
            last = total.calls
    forked = counted_in_a_fork(manager)
    is_over.set()
    for thread in threads:
        thread.join()
    [total] = manager.totals()
    print(f"{total.calls} of {sum(made)} calls counted, {fallen} scrapes fell")
    print(f"forked meanwhile: {forked} of 500 calls counted there")


def counted_in_a_fork(manager: PluginManager) -> str:
    """Return how many of 500 calls a process counts that was just forked."""
    if not hasattr(os, "fork"):
        return "-"
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it has threads
        pid = os.fork()
    if not pid:
        try:
            for _ in range(500):
                manager.hook.work(nanoseconds=0)
            os.write(writing, str(manager.totals()[0].calls).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        counted = file.read()
    os.waitpid(pid, 0)
    return counted


def registry(swaps: int) -> None:
    """Two hosts in one registry of prometheus-client, each with threads and swaps."""
    banner(f"two Loaders in one registry, {swaps} swaps each")
    import prometheus_client

    from luminal.metrics import register_prometheus

    ours = prometheus_client.CollectorRegistry()
    managers = []
    for name in ("a", "b"):
        manager = PluginManager("luminal")
        manager.add_hookspecs(Spec)
        manager.register(Photon(), "p")
        managers.append((name, manager, Loader(plugins=manager)))
        register_prometheus(managers[-1][2], ours, host=name)
    made, is_over = {name: [0] * 4 for name in "ab"}, threading.Event()

    def call(name: str, manager: PluginManager, number: int) -> None:
        while not is_over.is_set():
            manager.hook.work(nanoseconds=0)
            made[name][number] += 1

    threads = [
        threading.Thread(target=call, args=(name, manager, n))
        for name, manager, _ in managers
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    fallen, last = 0, dict.fromkeys("ab", 0.0)

    def look() -> None:
        nonlocal fallen
        for name in "ab":
            labels = {"host": name, "photon": "p", "hook": "work"}
            value = ours.get_sample_value("luminal_hook_calls_total", labels) or 0.0
            fallen += value < last[name]
            last[name] = value

    for _ in range(swaps):
        for _, manager, _ in managers:
            manager.swap("p", Photon())
        look()
    is_over.set()
    for thread in threads:
        thread.join()
    look()
    for name in "ab":
        print(f"{name}: {last[name]:.0f} of {sum(made[name])} calls counted")
    print(f"{fallen} of {2 * swaps + 2} scrapes fell")


class Many:
    """Plain work that takes about a microsecond, or a millisecond."""

    @hookimpl
    def short(self, x: int) -> int:
        """Take about a microsecond."""
        return sum(range(40)) + sum(range(20)) + x

    @hookimpl
    def long(self, x: int) -> None:
        """Take about a millisecond."""
        sum(range(60_000))


class ManySpec:
    """The hooks of `Many`."""

    @hookspec
    def short(self, x: int) -> Any:
        """Take about a microsecond."""

    @hookspec
    def long(self, x: int) -> Any:
        """Take a millisecond."""


def calls(count: int) -> None:
    """Print the time of a call beside the plain function, the best of many rounds.

    It is the CPU time of the thread, so that other processes change it little.
    """
    banner("CPU time of calls of hooks")
    manager = PluginManager("luminal")
    manager.add_hookspecs(ManySpec)
    many = Many()
    manager.register(many, "p")
    trivial = PluginManager("luminal")
    trivial.add_hookspecs(Spec)
    for number in range(10):
        trivial.register(Trivial(), str(number))
    pairs = {
        "nothing, 10 photons": (trivial.hook.work, Trivial().work, 500),
        "1 µs": (manager.hook.short, many.short, 1000),
        "1 ms": (manager.hook.long, many.long, 3),
    }
    for name, (hook, plain, times) in pairs.items():
        given = {"nanoseconds": 1} if "nothing" in name else {"x": 1}
        for _ in range(3000 if times > 3 else 20):
            hook(**given)
        found: dict[str, float] = {}
        for _ in range(count):
            for label, function in (("hook", hook), ("function", plain)):
                start = time.thread_time_ns()
                for _ in range(times):
                    function(**given)
                took = (time.thread_time_ns() - start) / times
                found[label] = min(found.get(label, took), took)
        for label, took in found.items():
            part = took / found["function"]
            print(f"{name}, {label}  {took / 1000:12.3f} µs  {part:8.4f} x function")


class Trivial:
    """Does nothing."""

    @hookimpl
    def work(self, nanoseconds: int) -> Any:
        """Return what is given."""
        return nanoseconds


def scrapes(count: int) -> None:
    banner("scrape of 100 photons x 10 hooks")
    import attrs

    from luminal.metrics import TextWriter, snapshot, to_text

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

    def call_all() -> None:
        for name in names:
            getattr(manager.hook, name)(x=1)

    for _ in range(20):
        call_all()
    gc.collect()

    def best(
        function: Callable[[], object], before: Callable[[], object] = int
    ) -> float:
        found = []
        for _ in range(count):
            before()
            start = time.thread_time()
            function()
            found.append(time.thread_time() - start)
        return min(found) * 1e3

    print(f"totals of {len(manager.totals())} rows: {best(manager.totals):.2f} ms")
    print(f"snapshot: {best(lambda: snapshot(loader)):.2f} ms")
    writer = TextWriter()

    def scrape() -> str:
        return writer.write(snapshot(loader))

    one = snapshot(loader)
    rows = tuple(
        attrs.evolve(row, calls=row.calls + 1, buckets=(*row.buckets[:-1], 1))
        for row in one.hooks
    )
    other = attrs.evolve(one, hooks=rows)
    print("snapshot and its text with histograms, by what has changed since the last:")
    print(f"  no call: {best(scrape):.2f} ms")
    some = best(scrape, lambda: manager.hook.hook0(x=1))
    print(f"  calls of one hook in ten: {some:.2f} ms")
    print(f"  calls of all hooks: {best(scrape, call_all):.2f} ms")
    snapshots = itertools.cycle([one, other])
    every = best(lambda: (snapshot(loader), writer.write(next(snapshots))))
    print(f"  calls and histograms of all hooks: {every:.2f} ms")
    first = best(lambda: to_text(snapshot(loader)))
    print(f"  there was none: {first:.2f} ms")
    older = 0
    for _ in range(count):
        before = manager.totals()[0].calls
        manager.hook.hook0(x=1)
        row = next(r for r in snapshot(loader).hooks if r.hook == "hook0")
        older += row.calls != before + 1
    print(f"{older} of {count} scrapes were older than the call before them")
    for threads in (1, 8):
        callers(loader, scrape, threads, 3 * count)


def callers(
    loader: Loader, scrape: Callable[[], object], threads: int, rounds: int
) -> None:
    """Print what a scrape takes from threads that call hooks without a pause.

    Fifths of a second without a scrape and with one take turns. A single scrape is a
    large part of such a time, so the noise of a busy machine is smaller than what is
    measured. Each is compared with those before and after it.
    """
    hook, made, is_over = loader.hook.hook0, [0] * threads, threading.Event()

    def call(number: int) -> None:
        while not is_over.is_set():
            hook(x=1)
            made[number] += 1

    own: list[float] = []

    def scrape_once() -> None:
        start = time.thread_time()
        scrape()
        own.append(time.thread_time() - start)

    def measure(work: Callable[[], object]) -> tuple[float, float, float, float]:
        """Return calls by wall-clock and by CPU second, and how many seconds."""
        calls, cpu, start = sum(made), time.process_time(), time.perf_counter()
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.2)
        thread.join()
        seconds, used = time.perf_counter() - start, time.process_time() - cpu
        calls = sum(made) - calls
        return calls / seconds, calls / used, seconds, used

    running = [threading.Thread(target=call, args=(n,)) for n in range(threads)]
    for thread in running:
        thread.start()
    time.sleep(0.2)
    by_clock, by_cpu = [], []
    before = measure(int)
    for _ in range(rounds):
        during, after = measure(scrape_once), measure(int)
        for lost, rate, spent in ((by_clock, 0, 2), (by_cpu, 1, 3)):
            alone = (before[rate] + after[rate]) / 2
            lost.append((1 - during[rate] / alone) * during[spent])
        before = after
    is_over.set()
    for thread in running:
        thread.join()
    print(f"{threads} calling threads: the scrape computes {spread(own)}")
    for name, lost in (("wall-clock", by_clock), ("CPU", by_cpu)):
        part = statistics.median(lost)
        print(
            f"  callers lose {spread(lost)} of {name} time: {part:.2%} at a scrape "
            f"each second, {part / 15:.2%} at one each 15 s"
        )


def spread(seconds: list[float]) -> str:
    """Return the median, and how far it may be from the true one, for people."""
    low, middle, high = (
        1e3 * part for part in statistics.quantiles(seconds, n=4, method="inclusive")
    )
    error = 1.25 * (high - low) / 1.35 / len(seconds) ** 0.5
    return f"{middle:.1f} ±{error:.1f} ms (half of them {low:.1f} to {high:.1f})"


def sampling(seconds: float) -> None:
    """Compare a loop that computes with itself while it is sampled."""
    banner("CPU sampler at 50 Hz, one thread that computes")
    from luminal.metrics import sample_cpu

    loader = Loader()
    turns, is_over = [0], threading.Event()

    def work() -> None:
        while not is_over.is_set():
            sum(range(100))
            turns[0] += 1

    thread = threading.Thread(target=work)
    thread.start()

    def rate(function: Callable[[], object]) -> float:
        before, began = turns[0], time.perf_counter()
        function()
        return (turns[0] - before) / (time.perf_counter() - began)

    ratios, late = [], []
    for _ in range(5):
        alone = rate(lambda: time.sleep(seconds))
        sampled = rate(lambda: late.append(sample_cpu(loader, seconds).late_share))
        ratios.append(alone / max(sampled, 1e-9))
    is_over.set()
    thread.join()
    slower, share = statistics.median(ratios) - 1, statistics.median(late)
    print(f"{slower:+.1%} slower (median); {share:.0%} of the looks late")


def main() -> None:
    parts: dict[str, Callable[[bool], object]] = {
        "truth": lambda _: truth(),
        "counts": lambda full: counts(1000 if full else 50),
        "registry": lambda full: registry(500 if full else 20),
        "calls": lambda full: calls(200 if full else 5),
        "scrapes": lambda full: scrapes(50 if full else 5),
        "sampling": lambda full: sampling(2 if full else 0.3),
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--only", choices=(*parts,), action="append")
    arguments = parser.parse_args()
    for name in arguments.only or parts:
        parts[name](arguments.size == "full")


if __name__ == "__main__":
    main()
