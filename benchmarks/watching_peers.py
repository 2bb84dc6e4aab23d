"""The watcher and its peers, a function each; peers not installed are skipped."""

from __future__ import annotations

import importlib.util
import os
import queue
import threading
import time
from typing import TYPE_CHECKING

from luminal.reload.watching import Batch, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Contestant = Callable[[Path, "Reports"], Callable[[], object]]

Reports = queue.SimpleQueue[tuple[float, frozenset[str]]]


def luminal(root: Path, reports: Reports) -> Callable[[], object]:
    def receive(batch: Batch) -> None:
        reports.put((time.monotonic(), batch.paths))

    return Watcher([root], receive).start().stop


def watchfiles_defaults(root: Path, reports: Reports) -> Callable[[], object]:
    import watchfiles

    done = threading.Event()
    begun = threading.Event()

    def run() -> None:
        begun.set()
        for changes in watchfiles.watch(root, stop_event=done):
            reports.put((time.monotonic(), frozenset(path for _, path in changes)))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    begun.wait()
    time.sleep(0.5)  # it does not report when it has started

    def stop() -> None:
        done.set()
        thread.join()

    return stop


def watchdog(root: Path, reports: Reports) -> Callable[[], object]:
    from watchdog.events import FileSystemEventHandler
    from watchdog.observers import Observer

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event) -> None:
            if event.event_type in {"closed", "moved", "deleted"}:
                path = getattr(event, "dest_path", "") or event.src_path
                reports.put((time.monotonic(), frozenset([os.fsdecode(path)])))

    observer = Observer()
    observer.schedule(Handler(), str(root), recursive=True)
    observer.start()
    time.sleep(0.5)

    def stop() -> None:
        observer.stop()
        observer.join()

    return stop


def polling(root: Path, reports: Reports) -> Callable[[], object]:
    """Read every file's mtime once a second, as simple reloaders do."""
    done = threading.Event()

    def look() -> dict[str, float]:
        return {
            f"{folder}/{name}": os.stat(f"{folder}/{name}").st_mtime_ns
            for folder, _, names in os.walk(root)
            for name in names
            if name.endswith(".py")
        }

    def run() -> None:
        before = look()
        while not done.wait(1.0):
            now = look()
            paths = frozenset(p for p in now if now[p] != before.get(p))
            before = now
            if paths:
                reports.put((time.monotonic(), paths))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def stop() -> None:
        done.set()
        thread.join()

    return stop


def _installed() -> dict[str, Contestant]:
    peers = {"watchfiles": watchfiles_defaults, "watchdog": watchdog}
    found = {}
    for name, peer in peers.items():
        if importlib.util.find_spec(name):
            found[name] = peer
        else:
            print(f"{name} is not installed: skipped")
    return {"luminal": luminal, **found, "polling 1 s": polling}


CONTESTANTS = _installed()
