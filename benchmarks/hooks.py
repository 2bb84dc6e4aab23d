"""Hooks beside pluggy, apluggy, simplug and a plain loop, in one run.

``python -m benchmarks.hooks [--size small|full]``. Luminal's hooks work as in a host:
they count calls under way, attribute and count errors, sample times, and can be swapped
at any moment.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from benchmarks import hooks_peers as peers
from benchmarks.measure import banner, ratio, rounds, table
from luminal.hooks import PluginManager

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent


WARM = 3000
"""Calls before any is measured: the first 1,000 of each implementation are timed."""


def repeated(call: Callable[[], Any], times: int) -> Callable[[], None]:
    """Return a function that repeats *call*, which is made warm."""
    for _ in range(WARM):
        call()

    def run() -> None:
        for _ in range(times):
            call()

    return run


def sync_calls(size: int, count: int) -> None:
    """Print the time of a sync call with 1, 10 and 100 implementations."""
    for number in (1, 10, 100):
        banner(f"sync call, {number} implementations")
        ours, theirs = peers.ours(number).hook, peers.theirs(number).hook
        calls: dict[str, Callable[[], Any]] = {
            "luminal": lambda ours=ours: ours.work(a=1, b=2),
            "pluggy": lambda theirs=theirs: theirs.work(a=1, b=2),
            "plain loop": peers.loop(number),
        }
        if peers.present("simplug"):
            hook = peers.simplug(number)
            calls["simplug"] = lambda hook=hook: hook(a=1, b=2)
        times = size // number
        found = rounds({n: repeated(c, times) for n, c in calls.items()}, count)
        table(found, "luminal", times)
        print(f"pluggy / luminal: {ratio(found, 'pluggy', 'luminal'):.2f}")


def shapes(size: int, count: int) -> None:
    """Print the time of a call with a wrapper, and of a firstresult call."""
    for title, options in (
        ("one wrapper", {"wrappers": 1}),
        ("first result, the last of them answers", {"first": True}),
    ):
        for number in (1, 10):
            banner(f"{title}, {number} implementations")
            ours = peers.ours(number, **options).hook
            theirs = peers.theirs(number, **options).hook
            times = size // number
            calls = {
                "luminal": repeated(lambda ours=ours: ours.work(a=1, b=2), times),
                "pluggy": repeated(lambda theirs=theirs: theirs.work(a=1, b=2), times),
            }
            found = rounds(calls, count)
            table(found, "luminal", times)
            print(f"pluggy / luminal: {ratio(found, 'pluggy', 'luminal'):.2f}")


def repeated_awaits(
    runner: asyncio.Runner, times: int, call: Callable[..., Any]
) -> Callable[[], None]:
    """Return a function that awaits *call* repeatedly; see `repeated`."""

    async def main(times: int) -> None:
        for _ in range(times):
            await call(a=1, b=2)

    runner.run(main(WARM))
    return lambda: runner.run(main(times))


def awaited_calls(size: int, count: int) -> None:
    """Print the time of an async call with 1, 10 and 100 implementations."""
    for number in (1, 10, 100):
        banner(f"async call, {number} implementations")
        times = max(20, size // number // 3)
        chosen = peers.functions(number, awaits=True)

        async def in_a_function(a: int, b: int, chosen: Any = chosen) -> list[Any]:
            results = []
            for function in chosen:
                value = await function(a=a, b=b)
                if value is not None:
                    results.append(value)
            return results

        async def bare(times: int = times, chosen: Any = chosen) -> None:
            for _ in range(times):
                results = []
                for function in chosen:
                    value = await function(a=1, b=2)
                    if value is not None:
                        results.append(value)

        with asyncio.Runner() as runner:
            awaiting = partial(repeated_awaits, runner, times)
            contestants = {
                "plain await in a function": awaiting(in_a_function),
                "plain await in place": lambda bare=bare: runner.run(bare()),
                "luminal": awaiting(peers.ours(number, awaits=True).ahook.work),
            }
            if peers.present("apluggy"):
                contestants["apluggy"] = awaiting(peers.apluggy(number))
            if peers.present("simplug"):
                contestants["simplug"] = awaiting(peers.simplug(number, awaits=True))
            table(rounds(contestants, count), "plain await in a function", times)


def registrations(count: int) -> None:
    """Print the time to register and unregister one plugin among many."""
    for others in (10, 1000, 4000):
        banner(f"register and unregister one among {others}")
        for name, cls in (("luminal", PluginManager), ("pluggy", pluggy.PluginManager)):
            managed = peers.manager(cls, 0)
            for number in range(others):
                managed.register(peers.plugin(), f"p{number}")
            spent = [10.0, 10.0]
            for _ in range(count):
                guest = peers.plugin()
                start = time.perf_counter()
                managed.register(guest, "guest")
                middle = time.perf_counter()
                managed.unregister(guest)
                end = time.perf_counter()
                spent = [min(spent[0], middle - start), min(spent[1], end - middle)]
            print(
                f"{name:<8} register {spent[0] * 1e6:8.1f} µs, "
                f"unregister {spent[1] * 1e6:8.1f} µs (all implement one hook)"
            )


def swaps(count: int) -> None:
    """Print the time of a swap, and of the call that follows it."""
    banner("swap of one photon among 10 in a warm hook")
    managed = peers.ours(10)
    managed.register(peers.plugin(), "guest")
    spent, after = [], []
    for _ in range(count):
        for _ in range(20):
            managed.hook.work(a=1, b=2)
        successor = peers.plugin()
        start = time.perf_counter()
        managed.swap("guest", successor)
        middle = time.perf_counter()
        managed.hook.work(a=1, b=2)
        spent.append(middle - start)
        after.append(time.perf_counter() - middle)
    print(f"swap {min(spent) * 1e6:.1f} µs, the first call {min(after) * 1e6:.1f} µs")


def long_call(count: int) -> None:
    """Print the time of calls after swaps, while one long call is under way."""
    banner("a swap under one long call and 100 other hooks")
    managed = peers.ours(1)
    names = [f"other{number}" for number in range(100)]
    others = {n: peers.impl(lambda self, a, b: 1, specname=n) for n in names}
    managed.register(type("Others", (), others)())
    inside, end = threading.Event(), threading.Event()

    class Long:
        @peers.impl
        def wait(self) -> None:
            inside.set()
            end.wait()

    managed.register(Long())
    managed.register(peers.plugin(), "guest")
    calls = {name: getattr(managed.hook, name) for name in [*names, "work"]}

    def fastest(best: dict[str, float]) -> dict[str, float]:
        # In any order: the one after a swap finds cold caches of the processor.
        for name, call in random.sample(list(calls.items()), len(calls)):
            start = time.perf_counter()
            call(a=1, b=2)
            spent = time.perf_counter() - start
            best[name] = min(best.get(name, spent), spent)
        return best

    def measure(*, swapping: bool) -> tuple[dict[str, float], dict[str, float]]:
        first: dict[str, float] = {}
        later: dict[str, float] = {}
        for _ in range(count):
            if swapping:
                managed.swap("guest", peers.plugin())
            fastest(first)
            for _ in range(20):
                fastest({})
            fastest(later)
        return first, later

    measure(swapping=False)
    warm, _ = measure(swapping=False)
    thread = threading.Thread(target=managed.hook.wait)
    thread.start()
    inside.wait()
    first, later = measure(swapping=True)
    end.set()
    thread.join()
    slowest = max(first[name] / warm[name] for name in names)
    print(f"the slowest of 100 other hooks, first call: {slowest:.2f} x its warm time")
    for title, found in (("first call", first), ("once compiled", later)):
        print(f"the swapped hook, {title}: {found['work'] / warm['work']:.2f} x")


def callers(size: int, count: int) -> None:
    """Print what a caller costs that calls what is stored in one place."""

    class Stored:
        def __init__(self, call: Any) -> None:
            self.call = call

        def known(self, /, *, a: Any = None, b: Any = None) -> Any:
            return self.call(a=a, b=b)

        def unknown(self, /, **kwargs: Any) -> Any:
            return self.call(**kwargs)

    for number in (1, 10):
        banner(f"code replaced, or a call of one stored object, {number}")
        hook = peers.ours(number).hook.work
        stored = Stored(hook)
        times = size // number
        contestants = {
            "code is replaced": lambda hook=hook: hook(a=1, b=2),
            "stored, known arguments": lambda s=stored: s.known(a=1, b=2),
            "stored, any arguments": lambda s=stored: s.unknown(a=1, b=2),
        }
        found = rounds({n: repeated(c, times) for n, c in contestants.items()}, count)
        table(found, "code is replaced", times)


def imports(count: int) -> None:
    """Print the time to import pluggy alone and with Luminal's engine."""
    banner("import time, in a fresh process")

    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        env.pop("PYTHONDONTWRITEBYTECODE", None)

        def importing(module: str) -> Callable[[], object]:
            # `luminal.hooks` loads its engine with the first name that is used.
            use = "; luminal.hooks.PluginManager" if "luminal" in module else ""
            command = [sys.executable, "-c", f"import {module}{use}"]
            return lambda: subprocess.run(command, check=True, cwd=ROOT, env=env)

        names = ("sys", "pluggy", "luminal.hooks")
        table(rounds({n: importing(n) for n in names}, count), "pluggy")


def pipeline(size: int, count: int) -> None:
    """Print the example host's records per second with each manager."""
    from plugins_example.pipeline import generate, hookspecs, host

    banner("the example host's pipeline")
    lines = [(line, len(line) + 1) for line in generate.generate(size)]

    def build(cls: Any) -> Any:
        managed = cls("luminal")
        managed.add_hookspecs(hookspecs.PipelineSpecs)
        for module in peers.modules(ROOT / "plugins_example" / "photons"):
            for value in list(vars(module).values()):
                own = getattr(value, "__module__", None) == module.__name__
                if own and isinstance(value, type) and "photon_name" in vars(value):
                    managed.register(value(), vars(value)["photon_name"])
        return managed

    def running(managed: Any) -> Callable[[], None]:
        return lambda: host.call_hooks(
            managed.hook, lines, host.Tally(), lambda _size: None, lambda: False
        )

    contestants = {
        "luminal": running(build(PluginManager)),
        "pluggy": running(build(pluggy.PluginManager)),
    }
    found = rounds(contestants, count)
    table(found, "luminal", size)
    for name, values in found.items():
        print(f"{name}: {size / min(values):,.0f} records per second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    full = parser.parse_args().size == "full"
    size, count = (100_000, 9) if full else (1_000, 2)
    sync_calls(size, count)
    shapes(size, count)
    awaited_calls(size, count)
    registrations(200 if full else 5)
    swaps(200 if full else 20)
    long_call(200 if full else 5)
    callers(size, count)
    imports(15 if full else 2)
    pipeline(20_000 if full else 500, 5 if full else 2)


if __name__ == "__main__":
    main()
