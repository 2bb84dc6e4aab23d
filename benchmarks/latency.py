"""Save to live: from the save of a photon's file until calls get the new answer.

Run ``python -m benchmarks.latency --size small|full``. A process of its own saves, as
an editor does; the host hears of the swap and asks for the answer. Beside it, for the
same tree: watchfiles at its defaults with `importlib.reload`, looking at all files
once a second with `importlib.reload`, and jurigged and hmr, which know one file only.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import queue
import random
import statistics
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import banner
from benchmarks.watching_peers import polling, reloader_latency, watchfiles_defaults
from benchmarks.watching_saver import SAVES, Saver
from luminal import Loader, hookspec
from luminal.model import Happening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.watching_peers import Heard
    from luminal.model import Event

PHOTON = """from luminal import IPhoton, hookimpl


class Photon(IPhoton):
    @hookimpl
    def answer(self):
        return {number}
"""
SIZES = {
    "small": {"trees": (10,), "saves": 6, "slow": 1},
    "full": {"trees": (10, 1000, 10_000), "saves": 500, "slow": 20},
}
PATIENCE = 3.0  # seconds after which a save counts as missed


class Specs:
    """What the host asks the photon that is edited."""

    @hookspec(firstresult=True)
    def answer(self) -> int:
        """Return the number in the photon's text."""


@contextmanager
def tree(count: int, text: str) -> Iterator[Path]:
    """Make one edited file among *count*, most of them helpers in packages."""
    with tempfile.TemporaryDirectory(prefix="latency_") as folder:
        root = Path(folder)
        for number in range(count - 1):
            below = root / f"data_{number // 100}"
            below.mkdir(exist_ok=True)
            (below / f"m{number}.py").write_text("value = 0\n")
        (root / "edited.py").write_text(text)
        yield root


def measure(
    file: Path,
    way: str,
    count: int,
    text: str,
    pause: float,
    when_live: Callable[[int, float], float | None],
) -> tuple[list[float], int]:
    """Save *count* times; return the milliseconds until live, and the misses.

    Args:
        file: What is saved.
        way: How, see `SAVES`.
        count: How many times.
        text: With ``{number}`` for the answer.
        pause: Most seconds between saves; random, or they fall into step with a poll.
        when_live: Takes the answer that is waited for and a time limit; returns the
            time at which it was there.
    """
    times, missed = [], 0
    with Saver() as saver:
        for number in range(1, count + 1):
            time.sleep(random.uniform(0.03, pause))
            began = saver.save(way, file, text.format(number=number).rstrip("\n"))
            live = when_live(number, began + PATIENCE)
            if live is None:
                missed += 1
            else:
                times.append((live - began) * 1000)
    return times, missed


def by_asking(answer: Callable[[], object]) -> Callable[[int, float], float | None]:
    """Ask again and again until the answer is there."""

    def when_live(number: int, end: float) -> float | None:
        while answer() != number:
            if time.monotonic() > end:
                return None
            time.sleep(0.0002)
        return time.monotonic()

    return when_live


def by_event(loader: Loader) -> Callable[[int, float], float | None]:
    """Wait for news of the swap: asking would compete with it for the GIL."""
    news: queue.SimpleQueue[float] = queue.SimpleQueue()

    def hear(event: Event) -> None:
        if event.happening is Happening.SWAPPED:
            news.put(time.monotonic())

    loader.events.subscribe(hear)

    def when_live(number: int, end: float) -> float | None:
        while True:
            try:
                at = news.get(timeout=max(end - time.monotonic(), 0.0))
            except queue.Empty:
                return None
            if loader.hook.answer() == number:
                return at

    return when_live


def row(name: str, way: str, times: list[float], missed: int, base: float) -> float:
    """Print one line; return the median."""
    if not times:
        print(f"{name:<24} {way:<9} never live, missed {missed}")
        return base
    p50 = statistics.median(times)
    p95 = sorted(times)[int(len(times) * 0.95)]
    print(
        f"{name:<24} {way:<9} p50 {p50:8.2f} ms  p95 {p95:8.2f} ms  most "
        f"{max(times):8.2f} ms  missed {missed}  {p50 / (base or p50):7.1f} x"
    )
    return p50


@contextmanager
def host(root: Path) -> Iterator[Loader]:
    """Watch *root* on a loop in a thread of its own, as a server does."""
    loader = Loader()
    loader.plugins.add_hookspecs(Specs)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: object) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(120)  # type: ignore[arg-type]

    run(loader.watch_photons(root))
    try:
        while loader.hook.answer() is None:
            time.sleep(0.01)
        yield loader
    finally:
        run(loader.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def luminal(count: int, way: str, saves: int) -> tuple[list[float], int]:
    with tree(count, PHOTON.format(number=0)) as root, host(root) as loader:
        live = by_event(loader)
        return measure(root / "edited.py", way, saves, PHOTON, 0.06, live)


def reloading(
    watch: Callable[[Path, Heard], Callable[[], object]], count: int, way: str, n: int
) -> tuple[list[float], int]:
    """Reload the module with importlib whenever *watch* says that it has changed."""
    text = "def answer():\n    return {number}\n"
    with tree(count, text.format(number=0)) as root:
        sys.path.insert(0, str(root))
        was, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        module = importlib.import_module("edited")
        heard: Heard = queue.SimpleQueue()
        stop = watch(root, heard)

        def work() -> None:
            while (news := heard.get())[1]:
                if str(root / "edited.py") in news[1]:
                    importlib.reload(module)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            live = by_asking(lambda: module.answer())  # noqa: PLW0108 - it changes
            pause = 1.0 if watch is polling else 0.06
            return measure(root / "edited.py", way, n, text, pause, live)
        finally:
            stop()
            heard.put((0.0, frozenset()))
            worker.join()
            sys.dont_write_bytecode = was
            sys.path.remove(str(root))
            del sys.modules["edited"]


@contextmanager
def busy() -> Iterator[None]:
    """Keep one thread computing."""
    done = threading.Event()

    def spin() -> None:
        number = 0
        while not done.is_set():
            number = (number * 31 + 7) % 1_000_003

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    size = SIZES[parser.parse_args().size]
    for count in size["trees"]:  # type: ignore[attr-defined]
        banner(f"save -> new code live, {count} files")
        for way in SAVES:
            base = row("luminal", way, *luminal(count, way, size["saves"]), 0.0)  # type: ignore[arg-type]
            peers = {"one-second polling": (polling, size["slow"])}
            if importlib.util.find_spec("watchfiles"):
                peers["watchfiles + importlib"] = (watchfiles_defaults, size["slow"])
            for name, (watch, saves) in peers.items():
                row(name, way, *reloading(watch, count, way, saves), base)  # type: ignore[arg-type]
    banner("the same with one thread that computes, 1000 files")
    with busy():
        row("luminal", "in place", *luminal(1000, "in place", size["saves"]), 0.0)  # type: ignore[arg-type]
    reloader_latency(size["slow"])  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
