"""The time of a reload, beside compiling and executing the same text.

Run ``python -m benchmarks.reloading --size small|full``. Each row is a whole
`reload_photon`: read, compile, execute, create, start, swap, finalize the old. Peers do
less: `importlib.reload` and hmr change a module in place, and jurigged patches
functions. None of them keeps the old module or rolls back.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import statistics
import time
from typing import TYPE_CHECKING, Any

from benchmarks.measure import banner
from benchmarks.reloading_peers import PEERS, Clock, folder
from luminal import Loader, hookspec

if TYPE_CHECKING:
    from collections.abc import Callable

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


def compile_and_exec(text: str, clock: Clock) -> None:
    data = text.encode()
    names = {"__name__": "reloading_plain"}
    with clock:
        exec(compile(data, "plain.py", "exec", dont_inherit=True), names)


async def luminal(
    text: Callable[[int], str], count: int, clock: Clock, plain: Clock
) -> None:
    """Time *count* reloads of one file, each with another text.

    In between, the same texts are compiled and executed, ten at a time. Machines drift,
    so both must run at the same time; one by one, each would evict the other's caches.
    """
    with folder() as root:
        file = root / "photon.py"
        file.write_text(text(0))
        async with Loader() as loader:
            handlers = await loader.load_photon(file)
            await handlers.start()
            (handler,) = handlers
            for number in range(1, count + 1):
                file.write_text(text(number))
                with clock:
                    await loader.reload_photon(handler)
                if number % 10 == 0:
                    for again in range(number - 9, number + 1):
                        compile_and_exec(text(again), plain)


def row(name: str, times: list[float], plain: float) -> None:
    ordered = sorted(times)
    p50, p95 = statistics.median(times), ordered[int(len(ordered) * 0.95)]
    print(
        f"{name:<18} p50 {p50 * 1e3:8.3f} ms   p95 {p95 * 1e3:8.3f} ms   "
        f"{p50 / plain:7.2f} x compile + exec"
    )


def files(title: str, text: Callable[[int], str], count: int) -> None:
    """Print two tables for one file, with the peers that are installed."""
    for is_cold in (False, True):
        banner(f"{title}, {'after a full collection' if is_cold else 'as in a host'}")
        plain, ours = Clock(is_cold=is_cold), Clock(is_cold=is_cold)
        asyncio.run(luminal(text, count, ours, plain))
        base = statistics.median(plain.times)
        row("compile + exec", plain.times, base)
        row("luminal", ours.times, base)
        for name, (module, peer) in PEERS.items():
            if not importlib.util.find_spec(module):
                print(f"{name:<18} is not installed: skipped")
                continue
            theirs = Clock(is_cold=is_cold)
            try:
                peer(text, count, theirs)
            except Exception as error:
                print(f"{name:<18} failed: {type(error).__name__}: {error}")
            else:
                row(name, theirs.times, base)


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
    from luminal.reload._swap import Swap

    turns: list[float] = []
    whole: list[float] = []

    def timed(name: str, times: list[float]) -> Callable[[], None]:
        plain = getattr(Swap, name)

        def wrapper(swap: Swap, *args: Any) -> None:
            began = time.perf_counter()
            plain(swap, *args)
            times.append(time.perf_counter() - began)

        setattr(Swap, name, wrapper)
        return lambda: setattr(Swap, name, plain)

    undo = [timed("_switch", turns), timed("_replace", whole)]
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
    count = 10 if parser.parse_args().size == "small" else 500
    files("a trivial file", lambda number: TRIVIAL.format(number=number), count)
    files("a file of 200 lines", long_text, count)
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
