"""The Python functions that a reload of a trivial photon calls.

Run ``python -m benchmarks.reloading_calls``. Times depend on what else the machine
does; these counts do not. Calls of functions written in C are counted apart.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import luminal
from benchmarks.measure import banner
from benchmarks.reloading import trivial
from benchmarks.reloading_peers import folder
from luminal import Loader
from luminal.model import Event, EventKind

if TYPE_CHECKING:
    from types import FrameType

ROOT = str(Path(luminal.__file__).parent.parent)
QUIET = 0.1
"""Seconds after which nothing of a reload is under way."""
WARM = 30
"""Reloads that are not counted: after some calls, hook callers are compiled."""


class Calls:
    """Counts calls in all threads that begin after it is made, and in this one."""

    def __init__(self) -> None:
        self.is_counting = False
        self.python: Counter[tuple[str, int, str]] = Counter()
        self.native: Counter[str] = Counter()
        self.callers: Counter[tuple[str, str]] = Counter()
        # Calls before the reload that is counted, and of each up to its commit.
        self.before = 0
        self.to_commits: list[int] = []
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def _note(self, frame: FrameType, event: str, arg: Any) -> None:
        if not self.is_counting:
            return
        code = frame.f_code
        if event == "call":
            key = (code.co_filename, code.co_firstlineno, code.co_qualname)
            self.python[key] += 1
            back = frame.f_back
            self.callers[code.co_qualname, back.f_code.co_qualname if back else ""] += 1
        elif event == "c_call":
            self.native[getattr(arg, "__qualname__", repr(arg))] += 1

    def note_swap(self, event: Event) -> None:
        """Note how many calls there were up to a commit."""
        if event.kind is EventKind.SWAPPED and self.is_counting:
            self.to_commits.append(sum(self.python.values()) - self.before)

    def begin(self) -> None:
        """Count what a reload calls."""
        self.before = sum(self.python.values())
        self.is_counting = True

    def end(self) -> None:
        """Count no more."""
        self.is_counting = False
        threading.setprofile(None)
        sys.setprofile(None)

    def print(self, title: str, reloads: int, count: int, who: str) -> None:
        """Print the functions that are called most often, for each reload."""
        total, native = sum(self.python.values()), sum(self.native.values())
        banner(
            f"{title}: {total / reloads:.0f} calls, {native / reloads:.0f} of C; "
            f"{statistics.mean(self.to_commits):.0f} up to the commit"
        )
        for (path, line, name), calls in self.python.most_common(count):
            where = path.removeprefix(ROOT).lstrip("/")
            print(f"{calls / reloads:7.1f}  {name:<48} {where}:{line}")
            if who and who in name:
                for (called, by), n in self.callers.most_common():
                    if called == name:
                        print(f"{'':>12}{n / reloads:5.1f} by {by}")
        if who:
            for called, calls in self.native.most_common(40):
                print(f"{calls / reloads:7.1f}  {called}")


async def awaited(calls: Calls, reloads: int) -> None:
    """Await `reload_photon`."""
    with folder() as root:
        file = root / "photon.py"
        file.write_text(trivial(0))
        async with Loader() as loader:
            loader.events.subscribe(calls.note_swap)
            handlers = await loader.load_photon(file)
            await handlers.start()
            for number in range(1, reloads + WARM + 1):
                file.write_text(trivial(number))
                if number > WARM:
                    calls.begin()
                await loader.reload_photon(handlers[0])
                calls.is_counting = False
                await asyncio.sleep(QUIET)


def by_blocking(calls: Calls, reloads: int) -> None:
    """Call `luminal.blocking`."""
    with folder() as root:
        file = root / "photon.py"
        file.write_text(trivial(0))
        with luminal.blocking.Loader() as loader:
            loader.events.subscribe(calls.note_swap)
            handlers = loader.load_photon(file)
            handlers.start()
            for number in range(1, reloads + WARM + 1):
                file.write_text(trivial(number))
                if number > WARM:
                    calls.begin()
                loader.reload_photon(handlers[0])
                calls.is_counting = False
                time.sleep(QUIET)


async def by_watch(calls: Calls, reloads: int) -> None:
    """Save files below a watch: from the moment at which it knows of the save."""
    from luminal.reload import DirectoryWatch

    has_ended = threading.Event()
    plain = DirectoryWatch._on_batch
    number = 0

    def counted(watch: DirectoryWatch, batch: Any) -> None:
        if number > WARM:
            calls.begin()
        plain(watch, batch)
        calls.is_counting = False
        has_ended.set()

    DirectoryWatch._on_batch = counted  # type: ignore[method-assign]
    try:
        with folder() as root:
            file = root / "photon.py"
            file.write_text(trivial(0))
            async with Loader() as loader:
                loader.events.subscribe(calls.note_swap)
                await loader.watch_photons(root)
                await asyncio.sleep(QUIET)  # until it has started
                for number in range(1, reloads + WARM + 1):
                    has_ended.clear()
                    file.write_text(trivial(number))
                    await asyncio.to_thread(has_ended.wait)
                    await asyncio.sleep(QUIET)
    finally:
        DirectoryWatch._on_batch = plain  # type: ignore[method-assign]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "medium", "full"), default="full")
    parser.add_argument("--reloads", type=int, default=5)
    parser.add_argument("--most", type=int, default=40, help="functions to show")
    parser.add_argument("--callers", default="", help="whose callers to show")
    given = parser.parse_args()
    for title, run in (
        ("awaited", awaited),
        ("luminal.blocking", by_blocking),
        ("watch", by_watch),
    ):
        calls = Calls()
        try:
            done = run(calls, given.reloads)
            if done is not None:
                asyncio.run(done)
        finally:
            calls.end()
        calls.print(title, given.reloads, given.most, given.callers)


if __name__ == "__main__":
    main()
