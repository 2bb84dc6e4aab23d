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
import os
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import banner
from benchmarks.soak_peer import NAMES, Counts, with_importlib
from luminal import Loader, hookspec
from luminal.errors import LuminalError

if TYPE_CHECKING:
    from luminal import Handler

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
LOOK_EVERY = 10
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
    counts = Counts()
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
            began = time.perf_counter()
            alive, refused, base = await _swap(loader, handlers, root, swaps)
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
            _show_growth(*base, level, swaps)
        _show_end()


async def _swap(
    loader: Loader, handlers: list[Handler], root: Path, swaps: int
) -> tuple[Alive, int, tuple[dict[str, int], int]]:
    """Swap; return what lives, how many were refused, and a level with its swap."""
    alive, refused = Alive(), 0
    base = _level(), 0
    for number in range(1, swaps + 1):
        _write(root, number, number // 10 if number % 10 == 0 else None)
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
    return alive, refused, base


def _level() -> dict[str, int]:
    return {
        "memory": rss(),
        "threads": threading.active_count(),
        "descriptors": descriptors(),
        "modules": len(sys.modules),
    }


def _show_growth(
    base: dict[str, int], at: int, level: dict[str, int], swaps: int
) -> None:
    grown = (level["memory"] - base["memory"]) / 1024
    last = swaps - at
    print(f"memory: {grown / last:+.3f} KB a swap over the last {last}")
    for name in ("threads", "descriptors", "modules"):
        print(f"{name}: {base[name]} -> {level[name]}")


def _show_end() -> None:
    gc.collect()
    left = [name for name in sys.modules if name.startswith("soak_")]
    print(f"after close: {threading.active_count()} threads, {len(left)} modules left")


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
