"""The time of a reload, beside compiling and executing the same text.

Run ``python -m benchmarks.reloading --size small|full``. A row of Luminal's is a whole
reload: read, compile, execute, create, start, swap, finalize the old; or that up to the
commit. A bare round trip is the least that keeps it away from an event loop: a thread
that waits for work reads, hashes, compiles and executes the same text. Peers do less:
`importlib.reload` and hmr change a module in place, and jurigged patches functions.
None of them keeps the old module or rolls back. All wait equally long before each save,
and the first reloads of each are not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib.util
import inspect
import queue
import statistics
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import luminal
from benchmarks.measure import banner
from benchmarks.reloading_peers import PEERS, Clock, folder
from luminal import Loader, hookspec
from luminal.model import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

PAUSE = 0.06
"""Seconds before each save, for all alike.

A watch takes a save right after a reload for one of a storm. And what comes after a
pause takes twice as long, whoever does it.
"""
WARM = 10
"""Reloads of each that are not counted: the first one imports what reloads, and Python
adapts code to what it does when it has run a few times."""

HEAD = "from luminal import IPhoton, hookimpl\n"
TRIVIAL = HEAD + "class Photon(IPhoton):\n    NUMBER = {number}\n"
FUNCTION = """
def function_{at}(first, second={number}):
    '''Do something with two values.'''
    found = []
    for value in (first, second):
        if isinstance(value, int) and value > {at}:
            found.append(value * 2 + {at})
    return found, {{'at': {at}, 'first': first}}

"""


def trivial(number: int) -> str:
    """Return a module with one photon."""
    return TRIVIAL.format(number=number)


def long_text(number: int, lines: int = 200) -> str:
    """Return a module of about 200 lines with one photon."""
    text = TRIVIAL.format(number=number)
    functions = (lines - 3) // FUNCTION.count("\n")
    return text + "".join(
        FUNCTION.format(at=at, number=number) for at in range(functions)
    )


class Specs:
    """The hook of the photons whose swap is measured."""

    @hookspec
    def ask(self, value: int) -> int:
        """Return *value*."""


class Reloads:
    """Reloads of one text after the other, each contestant in turn.

    Machines drift, so contestants take turns, ten reloads each: one by one, each would
    evict the other's caches.

    Args:
        count: Reloads of each contestant.
        is_cold: See `Clock`.
        pause: Seconds before each.
    """

    def __init__(
        self, count: int, *, is_cold: bool = False, pause: float = PAUSE
    ) -> None:
        self.count = count
        self.is_cold = is_cold
        self.pause = pause
        self.clocks: dict[str, Clock] = {}
        self.steps: dict[str, Callable[[str], object]] = {}

    def clock(self, name: str) -> Clock:
        """Add a row."""
        self.clocks[name] = clock = Clock(is_cold=self.is_cold)
        return clock

    async def run(self, text: Callable[[int], str]) -> None:
        """Let all contestants reload."""
        number = 0
        for counted in range(-WARM, self.count, 10):
            for step in self.steps.values():
                for _ in range(10):
                    number += 1
                    await asyncio.sleep(self.pause)
                    done = step(text(number))
                    if inspect.isawaitable(done):
                        await done
            if counted < 0:
                for clock in self.clocks.values():
                    clock.times.clear()

    def print(self, *, bare: str, base: str) -> None:
        """Print a row for each: times, and the ratio to two of them."""
        medians = {n: statistics.median(c.times) for n, c in self.clocks.items()}
        for name, clock in self.clocks.items():
            p95 = sorted(clock.times)[int(len(clock.times) * 0.95)]
            p50 = medians[name]
            print(
                f"{name:<34} p50 {p50 * 1e3:8.3f} ms   p95 {p95 * 1e3:8.3f} ms   "
                f"{p50 / medians[bare]:5.2f} x {bare}   "
                f"{p50 / medians[base]:5.2f} x {base}"
            )


BARE, BASE = "bare round trip", "importlib.reload"


def compile_and_exec(path: Path) -> None:
    """Do what nobody can do without: read, hash, compile, execute."""
    data = path.read_bytes()
    hashlib.sha512(data).hexdigest()
    code = compile(data, str(path), "exec", dont_inherit=True)
    exec(code, {"__name__": "reloading_plain"})


@contextmanager
def bare_round_trip(reloads: Reloads) -> Iterator[None]:
    """Let a thread that waits do it, and the event loop wait for that."""
    clock = reloads.clock(BARE)
    work: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def serve() -> None:
        while (given := work.get()) is not None:
            path, done = given
            compile_and_exec(path)
            done()

    thread = threading.Thread(target=serve)
    thread.start()
    with folder() as root:
        file = root / "plain.py"

        async def reload(text: str) -> None:
            file.write_text(text)
            loop = asyncio.get_running_loop()
            done = loop.create_future()
            with clock:
                set_result = done.set_result
                work.put((file, lambda: loop.call_soon_threadsafe(set_result, None)))
                await done

        reloads.steps[BARE] = reload
        yield
    work.put(None)
    thread.join()


class Swapped:
    """Measures from the beginning of a clock to the commit.

    Args:
        loader: Its events say when that is.
        clock: Gets the times.
    """

    def __init__(self, loader: Any, clock: Clock) -> None:
        self.clock = clock
        self.began = 0.0
        loader.events.subscribe(self.note)

    def note(self, event: Event) -> None:
        """Note the time of a swap."""
        if event.kind is EventKind.SWAPPED:
            self.clock.times.append(time.perf_counter() - self.began)


@asynccontextmanager
async def awaited(reloads: Reloads) -> AsyncIterator[None]:
    """Await `reload_photon`."""
    until, clock = reloads.clock("awaited, to the commit"), reloads.clock("awaited")
    with folder() as root:
        file = root / "photon.py"
        file.write_text(TRIVIAL.format(number=0))
        async with Loader() as loader:
            swapped = Swapped(loader, until)
            handlers = await loader.load_photon(file)
            await handlers.start()

            async def reload(text: str) -> None:
                file.write_text(text)
                with clock:
                    swapped.began = time.perf_counter()
                    await loader.reload_photon(handlers[0])

            reloads.steps["awaited"] = reload
            yield


@contextmanager
def by_blocking(reloads: Reloads) -> Iterator[None]:
    """Call `luminal.blocking`."""
    until = reloads.clock("luminal.blocking, to the commit")
    clock = reloads.clock("luminal.blocking")
    with folder() as root:
        file = root / "photon.py"
        file.write_text(TRIVIAL.format(number=0))
        with luminal.blocking.Loader() as loader:
            swapped = Swapped(loader, until)
            handlers = loader.load_photon(file)
            handlers.start()

            def reload(text: str) -> None:
                file.write_text(text)
                with clock:
                    swapped.began = time.perf_counter()
                    loader.reload_photon(handlers[0])

            reloads.steps["luminal.blocking"] = reload
            yield


@asynccontextmanager
async def by_watch(reloads: Reloads) -> AsyncIterator[None]:
    """Save files below a watch: from the moment at which it knows of the save."""
    from luminal.reload import DirectoryWatch

    until, clock = reloads.clock("watch, to the commit"), reloads.clock("watch")
    has_ended = threading.Event()
    plain = DirectoryWatch._on_batch
    swapped: Swapped | None = None

    def timed(watch: DirectoryWatch, batch: Any) -> None:
        begun = len(until.times)
        clock.__enter__()
        if swapped is not None:
            swapped.began = time.perf_counter()
        plain(watch, batch)
        clock.__exit__()
        if len(until.times) > begun:
            has_ended.set()
        else:
            clock.times.pop()

    DirectoryWatch._on_batch = timed  # type: ignore[method-assign]
    try:
        with folder() as root:
            file = root / "photon.py"
            file.write_text(TRIVIAL.format(number=0))
            async with Loader() as loader:
                swapped = Swapped(loader, until)
                is_running = asyncio.Event()
                loop = asyncio.get_running_loop()
                loader.events.subscribe(
                    lambda _: loop.call_soon_threadsafe(is_running.set)
                )
                await loader.watch_photons(root)
                while not loader.photons or not loader.photons["photon"].instance:
                    is_running.clear()
                    await is_running.wait()

                async def reload(text: str) -> None:
                    has_ended.clear()
                    file.write_text(text)
                    await asyncio.to_thread(has_ended.wait)

                reloads.steps["watch"] = reload
                yield
    finally:
        DirectoryWatch._on_batch = plain  # type: ignore[method-assign]


async def compare(
    title: str,
    text: Callable[[int], str],
    count: int,
    *,
    is_cold: bool = False,
    has_peers: bool = True,
) -> None:
    """Print how long a reload takes, by whomever it is asked for."""
    banner(title)
    reloads = Reloads(count, is_cold=is_cold)
    async with AsyncExitStack() as stack:
        stack.enter_context(bare_round_trip(reloads))
        await stack.enter_async_context(awaited(reloads))
        stack.enter_context(by_blocking(reloads))
        await stack.enter_async_context(by_watch(reloads))
        for name, (module, peer) in PEERS.items():
            if name != BASE and not (has_peers and importlib.util.find_spec(module)):
                print(f"{name:<34} is not installed: skipped")
                continue
            clock = reloads.clock(name)
            reloads.steps[name] = stack.enter_context(peer(clock))
        await reloads.run(text)
    reloads.print(bare=BARE, base=BASE)


@contextmanager
def busy_threads(count: int) -> Iterator[None]:
    """Let *count* threads compute."""
    is_over = False

    def compute() -> None:
        while not is_over:
            sum(range(1000))

    threads = [threading.Thread(target=compute) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over = True
        for thread in threads:
            thread.join()


async def package(count: int, size: int = 50) -> list[float]:
    """Return the seconds of reloads of a package with one edited file of many."""
    times = []
    with folder() as root:
        at = root / "big"
        at.mkdir()
        names = [f"part_{number}" for number in range(size - 1)]
        imports = "".join(f"from . import {name}\n" for name in names)
        (at / "__init__.py").write_text(imports + TRIVIAL.format(number=0))
        for name in names:
            (at / f"{name}.py").write_text(long_text(0, 100).partition("\n")[2])
            source = (at / f"{name}.py").read_text()
            (at / f"{name}.py").write_text(source[source.index("def ") :])
        async with Loader() as loader:
            handlers = await loader.load_photon(at / "__init__.py")
            await handlers.start()
            for number in range(1, count + 1):
                (at / "part_7.py").write_text(f"NUMBER = {number}\n")
                began = time.perf_counter()
                await loader.reload_photon(handlers[0])
                times.append(time.perf_counter() - began)
    return times


async def commit(count: int, photons: int = 1) -> tuple[list[float], list[float]]:
    """Return the seconds of the commit of a swap, and of the work around it.

    The commit is all that a caller can notice: from the first store that shows the new
    generation to the last one. The second figure is what is prepared before and cleaned
    up after it, while the photons' locks are held.
    """
    from luminal.reload._transaction import Exchange

    turns: list[float] = []
    whole: list[float] = []

    def timed(name: str, times: list[float]) -> Callable[[], None]:
        plain = getattr(Exchange, name)

        def wrapper(exchange: Exchange, *args: Any) -> None:
            began = time.perf_counter()
            plain(exchange, *args)
            times.append(time.perf_counter() - began)

        setattr(Exchange, name, wrapper)
        return lambda: setattr(Exchange, name, plain)

    undo = [timed("_switch", turns), timed("make", whole)]
    try:
        with folder() as root:
            body = "    @hookimpl\n    def ask(self, value): return value\n"
            for at in range(photons):
                (root / f"p{at}.py").write_text(TRIVIAL.format(number=at) + body)
            async with Loader() as loader:
                loader.plugins.add_hookspecs(Specs)
                handlers = await loader.load_photons(root)
                await handlers.start()
                for _ in range(count):
                    loader.hook.ask(value=1)
                    await loader.reload_photons(handlers)
    finally:
        for put_back in undo:
            put_back()
    return turns, whole


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    count = 10 if parser.parse_args().size == "small" else 200
    for title, text in (("a trivial file", trivial), ("200 lines", long_text)):
        asyncio.run(compare(title, text, count))
        cold = f"{title}, after a full collection"
        asyncio.run(compare(cold, text, count, is_cold=True))
    with busy_threads(8):
        title = "a trivial file, beside 8 threads that compute"
        asyncio.run(compare(title, trivial, max(count // 5, 10), has_peers=False))
    banner("a package of 50 files, one of them edited")
    times = asyncio.run(package(count))
    print(f"luminal  p50 {statistics.median(times) * 1e3:.2f} ms")
    banner("the commit: hooks, modules and Handlers are swapped")
    for photons in (1, 10):
        turns, whole = asyncio.run(commit(count, photons))
        print(
            f"{photons:>3} photons  p50 {statistics.median(turns) * 1e6:8.1f} µs   "
            f"prepared and cleared away in {statistics.median(whole) * 1e6:8.1f} µs"
        )


if __name__ == "__main__":
    main()
