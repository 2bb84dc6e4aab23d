"""What the soak is measured against: `importlib.reload`, and those who call."""

from __future__ import annotations

import asyncio
import importlib
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import banner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luminal import Loader

__all__ = ["NAMES", "Counts", "with_importlib"]

NAMES = ("one", "two", "three")
BURST = 20


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
