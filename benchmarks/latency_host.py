"""The host whose photon is saved, and how to find out when the new code is live."""

from __future__ import annotations

import asyncio
import queue
import random
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.watching_saver import Saver
from luminal import Loader, hookspec
from luminal.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luminal.model import Event

    WhenLive = Callable[[int, float], float | None]
    """Waits for an answer until a time; returns when it was there, if it was."""

__all__ = ["PHOTON", "by_asking", "by_event", "host", "measure", "tree"]

PHOTON = """from luminal import IPhoton, hookimpl


class Photon(IPhoton):
    @hookimpl
    def answer(self):
        return {number}
"""
PATIENCE = 3.0  # seconds until a save counts as missed


class Specs:
    """The hook of the photon that is edited."""

    @hookspec(firstresult=True)
    def answer(self) -> int:
        """Return the number in the photon's text."""


@contextmanager
def tree(count: int, text: str) -> Iterator[Path]:
    """Write *count* files: the one that is edited, and helpers, most in packages."""
    with tempfile.TemporaryDirectory(prefix="latency_") as folder:
        root = Path(folder)
        for number in range(count - 1):
            below = root / f"data_{number // 100}"
            below.mkdir(exist_ok=True)
            (below / f"m{number}.py").write_text("value = 0\n")
        (root / "edited.py").write_text(text)
        yield root


@contextmanager
def host(root: Path) -> Iterator[Loader]:
    """Watch *root* on a loop on a thread, as a server does."""
    loader = Loader()
    loader.plugins.add_hookspecs(Specs)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: object) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(120)  # type: ignore[arg-type]

    run(loader.watch_photons(root))
    try:
        yield loader
    finally:
        run(loader.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def measure(
    file: Path,
    way: str,
    numbers: range,
    text: str,
    pauses: tuple[float, float],
    when_live: WhenLive,
) -> tuple[list[float], int]:
    """Save once for each of *numbers*; return the ms until live, and the misses.

    Args:
        file: The file.
        way: How it is saved, see `SAVES`.
        numbers: The number that the photon returns after each save.
        text: The text of the file, with ``{number}``.
        pauses: Minimum and maximum seconds between saves. They are random, so that
            saves do not synchronise with polling.
        when_live: Returns the time when the new number was returned.
    """
    times, missed = [], 0
    with Saver() as saver:
        for number in numbers:
            time.sleep(random.uniform(*pauses))
            began = saver.save(way, file, text.format(number=number).rstrip("\n"))
            live = when_live(number, began + PATIENCE)
            if live is None:
                missed += 1
            else:
                times.append((live - began) * 1000)
    return times, missed


def by_asking(answer: Callable[[], object]) -> WhenLive:
    """Call the hook until it returns the new number."""

    def when_live(number: int, end: float) -> float | None:
        while answer() != number:
            if time.monotonic() > end:
                return None
            time.sleep(0.0002)
        return time.monotonic()

    return when_live


def by_event(loader: Loader) -> WhenLive:
    """Wait for the event of the swap: calls would compete with it for the GIL."""
    news: queue.SimpleQueue[float] = queue.SimpleQueue()

    def on_event(event: Event) -> None:
        if event.kind is EventKind.SWAPPED:
            news.put(time.monotonic())

    loader.events.subscribe(on_event)

    def when_live(number: int, end: float) -> float | None:
        while True:
            try:
                at = news.get(timeout=max(end - time.monotonic(), 0.0))
            except queue.Empty:
                return None
            if loader.hook.answer() == number:
                return at

    return when_live
