"""Soak test: thousands of swaps under constant calls; one in ten has a fault.

Run ``python -m benchmarks.soak --size small|medium|full``; full takes about ten
minutes. Three photons and their helpers change together. The photons are of kinds that
keep old code easily: they keep their own module, import late, import their directory
by name, and register with the standard library. A call asks all three, and is mixed if
their versions differ. Eight threads and a thousand tasks call. For comparison, the same
host reloads plain modules with `importlib.reload`.
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
from benchmarks.memory import bytes_held, bytes_in_use
from benchmarks.soak_callers import NAMES, Counts
from benchmarks.soak_peer import with_importlib
from luminal import Loader, hookspec
from luminal.errors import LuminalError
from luminal.model import EventKind

if TYPE_CHECKING:
    from benchmarks.soak_callers import Answers
    from luminal import Handler
    from luminal.model import Event

# What each photon imports, and how: see `_write`.
HEADS = {
    # It keeps its own module, and imports a helper late, inside its hooks.
    "one": """
import sys
this = sys.modules[__name__]
def numbers():
    from . import late
    return (this.NUMBER, late.NUMBER)
""",
    # A package that imports what is in its directory by name.
    "two": """
import importlib, pkgutil
parts = [
    importlib.import_module(f"{__name__}.{each.name}")
    for each in pkgutil.iter_modules(__path__)
]
def numbers():
    return tuple(part.NUMBER for part in parts)
""",
    # It registers with `typing`, `copyreg` and `codecs` on import.
    "three": """
import codecs, copyreg, typing
class Row: pass
@typing.overload
def number(row: Row) -> int: ...
@typing.overload
def number(row: None) -> int: ...
def number(row): return NUMBER
kinds = typing.Optional[Row], typing.List[Row]
copyreg.pickle(Row, number)
codecs.register(lambda name: None)
def numbers():
    return (number(Row()),)
""",
}
PHOTON = """
from luminal import IPhoton, hookimpl
from {above} import shared
{moved}NUMBER = {number}
{kind}
{head}
class Photon(IPhoton):
    photon_name = {name!r}
    {body}
    @hookimpl
    def version(self):
        return ({number}, shared.NUMBER, *numbers())
    @hookimpl
    async def aversion(self, pause):
        before = shared.NUMBER, *numbers()
        await pause()
        return ({number}, *before, shared.NUMBER, *numbers())
"""
FAULTS = (
    ("1 / 0", ""),
    ("def (", ""),
    ("raise SystemExit", ""),
    ("", "def start(self): raise ValueError"),
    ("", "def on_reload(self, previous): previous.data.clear(); 1 / 0"),
)
LOOK_EVERY = 25
SETTLED = 2000
"""Swaps after which memory is to grow no more.

Each swap adds names to CPython's table of interned strings and takes others out. After
some 1,200 swaps the places in it are used up, and it grows once, from 0.4 to 0.9 MB.
"""
SIZES = {
    "small": {"swaps": 20, "threads": 4, "tasks": 20, "peer": 40},
    "medium": {"swaps": 2000, "threads": 8, "tasks": 1000, "peer": 400},
    "full": {"swaps": 10_000, "threads": 8, "tasks": 1000, "peer": 2000},
}


class Specs:
    """The hooks of the photon."""

    @hookspec
    def version(self) -> Any:
        """Return the versions of the photon and of its helper."""

    @hookspec
    async def aversion(self, pause: Any) -> Any:
        """Return the versions, before and after awaiting *pause*."""


def _file(root: Path, name: str) -> Path:
    return root / (f"{name}/__init__.py" if name == "two" else f"{name}.py")


def _write(root: Path, number: int, fault: int | None) -> None:
    for helper in ("shared", "late", "two/first", "two/second"):
        path = root / f"{helper}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"NUMBER = {number}\n")
    for at, name in enumerate(NAMES):
        head = body = ""
        if fault is not None and at == fault % 3:
            head, body = FAULTS[fault % len(FAULTS)]
        text = PHOTON.format(
            name=name,
            above=".." if name == "two" else ".",
            number=number,
            kind=HEADS[name],
            moved="\n" * (number % 7),
            head=head,
            body=body,
        )
        _file(root, name).write_text(text)


def collect() -> None:
    """Collect all garbage that exists now.

    `gc.collect` does nothing while another thread collects, and that collection began
    earlier. So only the second collection that ends from now on counts.
    """
    wanted = gc.get_stats()[2]["collections"] + 2
    while gc.get_stats()[2]["collections"] < wanted:
        gc.collect()
        time.sleep(0)


class Alive:
    """Counts the generations of one photon that exist; at most two should.

    Attributes:
        running: Maximum number that were swapped in and not finalized.
        found: Maximum number in memory, without garbage.
    """

    def __init__(self, first: Handler) -> None:
        self.photon = first.name
        self.running = self.found = 1
        self._running = {first.number}
        self._refs: list[weakref.ref[Any]] = []

    def on_event(self, event: Event) -> None:
        """Count by the photon's events."""
        if event.photon == self.photon:
            if event.kind is EventKind.SWAPPED:
                self._running.add(event.generation)
                self.running = max(self.running, len(self._running))
            elif event.kind is EventKind.FINALIZED:
                self._running.discard(event.generation)

    def note(self, handler: Handler) -> None:
        """Remember the running generation."""
        if not any(ref() is handler.generation for ref in self._refs[-1:]):
            self._refs.append(weakref.ref(handler.generation))

    def look(self) -> None:
        """Count the generations in memory."""
        collect()
        self._refs = [ref for ref in self._refs if ref() is not None]
        self.found = max(self.found, len(self._refs))


class Levels:
    """What the process uses, after the first swaps and at the end.

    Python takes memory from the system by the megabyte, and gives a piece back when
    nothing is left in it. So what the process holds grows by steps. Whether something
    is kept shows in the bytes and the number of blocks that are in use.
    """

    def __init__(self) -> None:
        self.base = self._now()
        self.at = 0

    @staticmethod
    def _now() -> dict[str, int]:
        collect()
        of_python, of_c = bytes_in_use()
        return {
            "held": bytes_held(),
            "in use": of_python + of_c,
            "in use by Python's allocator": of_python,
            "in use by the C library's": of_c,
            "blocks": sys.getallocatedblocks(),
            "threads": threading.active_count(),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "modules": len(sys.modules),
        }

    def settle(self, number: int) -> None:
        """Begin to measure."""
        self.base, self.at = self._now(), number

    def show(self, swaps: int) -> None:
        """Print the growth since `settle`."""
        now, last = self._now(), swaps - self.at
        for name in ("held", *(name for name in now if name.startswith("in use"))):
            grown = (now[name] - self.base[name]) / 1024 / last
            print(f"memory {name}: {grown:+.3f} KB a swap over the last {last}")
        for name in ("blocks", "threads", "descriptors", "modules"):
            print(f"{name}: {self.base[name]} -> {now[name]}")


async def luminal(swaps: int, threads: int, tasks: int) -> bool:
    """Swap under load; print the results, and return whether there was no fault."""
    banner(f"luminal: {threads} threads and {tasks} tasks call")
    counts = Counts()
    with tempfile.TemporaryDirectory(prefix="soak_") as folder:
        root = Path(folder)
        _write(root, 0, None)
        async with Loader() as loader:
            loader.plugins.add_hookspecs(Specs)
            handlers: list[Handler] = []
            for name in NAMES:
                loaded = await loader.load_photon(_file(root, name))
                await loaded.start()
                handlers += loaded
            alive = Alive(handlers[0])
            unsubscribe = loader.events.subscribe(alive.on_event)

            async def work() -> int:
                return await _swap(loader, handlers, root, swaps, alive)

            async def acall(pause: Any) -> Answers:
                answers: Answers = await loader.ahook.aversion(pause=pause)
                return answers

            await counts.during(work, loader.hook.version, acall, threads, tasks)
            unsubscribe()
            late = loader._reloader.retirements.late
        print(
            f"generations of a photon alive: {alive.running} at most not finalized, "
            f"{alive.found} at most in memory, {late} late"
        )
        _show_end()
    most = max(alive.running, alive.found)
    return not counts.failed and not counts.mixed and most <= 2


async def _swap(
    loader: Loader, handlers: list[Handler], root: Path, swaps: int, alive: Alive
) -> int:
    rejected, levels = 0, Levels()
    for number in range(1, swaps + 1):
        _write(root, number, number // 10 if number % 10 == 0 else None)
        try:
            await loader.reload_photons(handlers)
        except LuminalError:
            rejected += 1
        alive.note(handlers[0])
        if number % LOOK_EVERY == 0:
            alive.look()
        if number == min(SETTLED, swaps // 2):
            levels.settle(number)
        if number % 1000 == 0:
            print(f"{number} swaps at {time.strftime('%X')}", file=sys.stderr)
    levels.show(swaps)
    print(f"rejected: {rejected} of {swaps // 10} with a fault")
    return swaps


def _show_end() -> None:
    gc.collect()
    left = [name for name in sys.modules if name.startswith("soak_")]
    print(f"after close: {threading.active_count()} threads, {len(left)} modules left")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument(
        "--swaps", type=int, help="number of swaps, instead of the size's"
    )
    options = parser.parse_args()
    size = SIZES[options.size]
    swaps = options.swaps or size["swaps"]
    is_clean = asyncio.run(luminal(swaps, size["threads"], size["tasks"]))
    asyncio.run(with_importlib(size["peer"], size["threads"], size["tasks"]))
    sys.exit(0 if is_clean else 1)


if __name__ == "__main__":
    main()
