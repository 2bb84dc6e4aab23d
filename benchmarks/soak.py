"""Soak: swaps without end under callers that never stop, with faults in a tenth.

Run ``python -m benchmarks.soak --size small|full``. Three modules change together; a
call asks all three and is torn where they answer from different versions. Eight
threads call, and so do a thousand tasks. Beside it the same host reloads the same
modules with `importlib.reload`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import os
import sys
import tempfile
import threading
import time
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import banner
from luminal import Loader, hookspec
from luminal.errors import LuminalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES = ("one", "two", "three")
PHOTON = """
from luminal import IPhoton, hookimpl
from . import shared
{head}
class Photon(IPhoton):
    photon_name = {name!r}
    {body}
    @hookimpl
    def version(self):
        return ({number}, shared.NUMBER)
    @hookimpl
    async def aversion(self, pause):
        before = shared.NUMBER
        await pause()
        return ({number}, before, shared.NUMBER)
"""
FAULTS = (
    ("1 / 0", ""),
    ("def (", ""),
    ("raise SystemExit", ""),
    ("", "def start(self): raise ValueError"),
    ("", "def on_reload(self, previous): previous.data.clear(); 1 / 0"),
)
BURST = 20
LOOK_EVERY = 50
SIZES = {
    "small": {"swaps": 20, "threads": 4, "tasks": 20, "peer": 40},
    "full": {"swaps": 10_000, "threads": 8, "tasks": 1000, "peer": 2000},
}


class Specs:
    """What callers call."""

    @hookspec
    def version(self) -> Any:
        """Return what the photon and its helper are."""

    @hookspec
    async def aversion(self, pause: Any) -> Any:
        """The same, before and after *pause*."""


class Counts:
    """What callers have seen; one list per caller, so that no count is lost."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.torn = 0
        self.failed: list[BaseException] = []
        self.done = threading.Event()

    def judge(self, answers: list[tuple[int, ...]], expected: int = 3) -> None:
        """Count the answers of a call that are not of one version."""
        versions = {number for answer in answers for number in answer}
        if len(versions) != 1 or len(answers) != expected:
            self.torn += 1

    def shout(self, call: Callable[[], list[tuple[int, ...]]]) -> None:
        """Call until it is done; in a thread."""
        calls = 0
        while not self.done.is_set():
            for _ in range(BURST):
                try:
                    self.judge(call())
                except BaseException as error:
                    self.failed.append(error)
            calls += BURST
            # Spinning threads would make each switch of threads cost 5 ms for each
            # of them, and measure the interpreter instead.
            time.sleep(0.001)
        self.calls.append(calls)

    async def whisper(self, loader: Loader, at: int) -> None:
        """The same in a task, suspended in the middle of each call."""

        async def pause() -> None:
            await asyncio.sleep(0.01 + at % 7 / 100)

        calls = 0
        while not self.done.is_set():
            try:
                self.judge(await loader.ahook.aversion(pause=pause))
            except BaseException as error:
                self.failed.append(error)
            calls += 1
        self.calls.append(calls)

    def show(self, swaps: int, seconds: float) -> None:
        """Print what callers have seen."""
        calls = sum(self.calls)
        share = 100 * self.torn / calls if calls else 0.0
        print(
            f"{swaps} swaps and {calls} calls in {seconds:.1f} s: "
            f"{len(self.failed)} failed, {self.torn} torn ({share:.3f} %)"
        )
        for error in self.failed[:3]:
            print(f"  {type(error).__name__}: {error}")


def rss() -> int:
    """Return the bytes of memory that the process has in use."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _write(root: Path, number: int, fault: int | None) -> None:
    (root / "shared.py").write_text(f"NUMBER = {number}\n")
    for at, name in enumerate(NAMES):
        is_broken = fault is not None and at == fault % 3
        head, body = FAULTS[fault % len(FAULTS)] if is_broken else ("", "")
        text = PHOTON.format(name=name, number=number, head=head, body=body)
        (root / f"{name}.py").write_text(text)


class Alive:
    """Generations that have not been collected; two of a photon at most."""

    def __init__(self) -> None:
        self.refs: list[weakref.ref[Any]] = []
        self.most = 0

    def add(self, loader: Loader) -> None:
        """Note the generation that serves."""
        handler = loader.photons["one"]
        if not any(ref() is handler.generation for ref in self.refs[-1:]):
            self.refs.append(weakref.ref(handler.generation))

    def look(self) -> None:
        """Count; garbage does not."""
        gc.collect()
        self.refs = [ref for ref in self.refs if ref() is not None]
        self.most = max(self.most, len(self.refs))


async def luminal(swaps: int, threads: int, tasks: int) -> None:
    banner(f"luminal: {threads} threads and {tasks} tasks call")
    counts, alive = Counts(), Alive()
    with tempfile.TemporaryDirectory(prefix="soak_") as folder:
        root = Path(folder)
        _write(root, 0, None)
        async with Loader() as loader:
            loader.plugins.add_hookspecs(Specs)
            handlers = [
                handler
                for name in NAMES
                for handler in await loader.load_photon(root / f"{name}.py")
            ]
            for handler in handlers:
                await handler.start()
            callers = [
                threading.Thread(target=counts.shout, args=(loader.hook.version,))
                for _ in range(threads)
            ]
            for caller in callers:
                caller.start()
            whispers = [
                asyncio.create_task(counts.whisper(loader, at)) for at in range(tasks)
            ]
            base = None
            refused = 0
            began = time.perf_counter()
            for number in range(1, swaps + 1):
                fault = number // 10 if number % 10 == 0 else None
                _write(root, number, fault)
                try:
                    await loader.reload_photons(handlers)
                except LuminalError:
                    refused += 1
                alive.add(loader)
                if number % LOOK_EVERY == 0:
                    alive.look()
                if number == min(1000, swaps // 2):
                    gc.collect()
                    base = _level(), number
            seconds = time.perf_counter() - began
            gc.collect()
            level = _level()
            counts.done.set()
            await asyncio.gather(*whispers)
            for caller in callers:
                await asyncio.to_thread(caller.join)
            counts.show(swaps, seconds)
            print(f"refused: {refused} of {swaps // 10} with a fault")
            print(f"generations of a photon alive: {alive.most} at most")
            assert base is not None
            _show_growth(base[0], level, swaps - base[1])
        _show_end()


def _level() -> dict[str, int]:
    return {
        "memory": rss(),
        "threads": threading.active_count(),
        "descriptors": descriptors(),
        "modules": len(sys.modules),
    }


def _show_growth(base: dict[str, int], level: dict[str, int], swaps: int) -> None:
    grown = (level["memory"] - base["memory"]) / 1024
    print(f"memory: {grown / swaps:+.3f} KB a swap over the last {swaps}")
    for name in ("threads", "descriptors", "modules"):
        print(f"{name}: {base[name]} -> {level[name]}")


def _show_end() -> None:
    gc.collect()
    left = [name for name in sys.modules if name.startswith("soak_")]
    print(f"after close: {threading.active_count()} threads, {len(left)} modules left")


MODULE = "from . import shared\ndef version():\n    return ({number}, shared.NUMBER)\n"


@contextmanager
def _package(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="soak_") as folder:
        root = Path(folder) / name
        root.mkdir()
        (root / "__init__.py").touch()
        sys.path.insert(0, folder)
        was, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            yield root
        finally:
            sys.dont_write_bytecode = was
            sys.path.remove(folder)
            for found in [n for n in sys.modules if n.partition(".")[0] == name]:
                del sys.modules[found]


def with_importlib(swaps: int, threads: int) -> None:
    """The same three modules, reloaded in place one after the other."""
    banner(f"importlib.reload: {threads} threads call")
    counts = Counts()
    with _package("soak_peer") as root:

        def write(number: int) -> None:
            (root / "shared.py").write_text(f"NUMBER = {number}\n")
            for name in NAMES:
                (root / f"{name}.py").write_text(MODULE.format(number=number))

        write(0)
        shared = importlib.import_module("soak_peer.shared")
        modules = [importlib.import_module(f"soak_peer.{name}") for name in NAMES]

        def call() -> list[tuple[int, ...]]:
            return [module.version() for module in modules]

        callers = [
            threading.Thread(target=counts.shout, args=(call,)) for _ in range(threads)
        ]
        for caller in callers:
            caller.start()
        began = time.perf_counter()
        for number in range(1, swaps + 1):
            write(number)
            for module in (shared, *modules):
                importlib.reload(module)
            time.sleep(0.005)
        seconds = time.perf_counter() - began
        counts.done.set()
        for caller in callers:
            caller.join()
    counts.show(swaps, seconds)


def main() -> None:
    """Print what came of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument("--swaps", type=int, help="instead of the size's")
    options = parser.parse_args()
    size = SIZES[options.size]
    swaps = options.swaps or size["swaps"]
    asyncio.run(luminal(swaps, size["threads"], size["tasks"]))
    with_importlib(size["peer"], size["threads"])


if __name__ == "__main__":
    main()
