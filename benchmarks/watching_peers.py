"""The watcher and its peers, one function each; what is not installed is left out."""

from __future__ import annotations

import importlib.util
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import banner
from benchmarks.watching_saver import SAVES, Saver
from luminal.reload.watching import Batch, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    Contestant = Callable[[Path, "Heard"], Callable[[], object]]

Heard = queue.SimpleQueue[tuple[float, frozenset[str]]]


def luminal(root: Path, heard: Heard) -> Callable[[], object]:
    def receive(batch: Batch) -> None:
        heard.put((time.monotonic(), batch.paths))

    return Watcher([root], receive).start().stop


def watchfiles_defaults(root: Path, heard: Heard) -> Callable[[], object]:
    import watchfiles

    done = threading.Event()
    begun = threading.Event()

    def run() -> None:
        begun.set()
        for changes in watchfiles.watch(root, stop_event=done):
            heard.put((time.monotonic(), frozenset(path for _, path in changes)))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    begun.wait()
    time.sleep(0.5)  # it does not say when it has begun

    def stop() -> None:
        done.set()
        thread.join()

    return stop


def watchdog(root: Path, heard: Heard) -> Callable[[], object]:
    from watchdog.events import FileSystemEventHandler
    from watchdog.observers import Observer

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event) -> None:
            if event.event_type in {"closed", "moved", "deleted"}:
                path = getattr(event, "dest_path", "") or event.src_path
                heard.put((time.monotonic(), frozenset([os.fsdecode(path)])))

    observer = Observer()
    observer.schedule(Handler(), str(root), recursive=True)
    observer.start()
    time.sleep(0.5)

    def stop() -> None:
        observer.stop()
        observer.join()

    return stop


def polling(root: Path, heard: Heard) -> Callable[[], object]:
    """Look at every file's mtime once a second, as simple reloaders do."""
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
                heard.put((time.monotonic(), paths))

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
            print(f"{name} is not installed: left out")
    return {"luminal": luminal, **found, "polling 1 s": polling}


CONTESTANTS = _installed()

_JURIGGED = """
import sys, time, jurigged
sys.path.insert(0, sys.argv[1])
watcher = jurigged.watch(sys.argv[1] + "/*.py", logger=lambda event: None)
import reloaded
print("ready", flush=True)
old = reloaded.value()
while True:
    time.sleep(0.0005)
    if reloaded.value() != old:
        old = reloaded.value()
        print(old, time.monotonic(), flush=True)
"""
_HMR = """
import time
import reloaded
print(reloaded.value(), time.monotonic(), flush=True)
"""


def reloader_latency(count: int) -> None:
    """Print save → new code live of jurigged and hmr, each in a process of its own."""
    banner("save → new code live, the reloaders, 1 file")
    for name, module in {"jurigged": "jurigged", "hmr": "reactivity"}.items():
        if not importlib.util.find_spec(module):
            print(f"{name} is not installed: left out")
            continue
        for way in SAVES:
            times, missed = _reload(name, way, count)
            if times:
                text = (
                    f"p50 {statistics.median(times):8.2f} ms  most {max(times):8.2f} ms"
                )
            else:
                text = "never live"
            print(f"{name:<10} {way:<10} {text}  missed {missed}")


def _reload(name: str, way: str, count: int) -> tuple[list[float], int]:
    with tempfile.TemporaryDirectory() as folder, Saver() as saver:
        root = Path(folder)
        module = root / "reloaded.py"
        module.write_text("def value():\n    return 0\n")
        main = root / "main.py"
        main.write_text(_JURIGGED if name == "jurigged" else _HMR)
        command = {"jurigged": [str(main), folder], "hmr": ["-m", "reactivity.hmr"]}
        words = command[name] + (["main.py"] if name == "hmr" else [])
        process = subprocess.Popen(
            [sys.executable, "-u", *words],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        assert process.stdout is not None
        threading.Thread(
            target=lambda out: [lines.put(line) for line in out],
            args=(process.stdout,),
            daemon=True,
        ).start()
        times, missed = [], 0
        try:
            lines.get(timeout=20)
            time.sleep(0.5)
            for number in range(1, count + 1):
                time.sleep(0.1)
                text = f"def value():\n    return {number}"
                began = saver.save(way, module, text)
                came = _line(lines, str(number))
                if came is None:
                    missed += 1
                    if missed == 3:
                        break
                else:
                    times.append((came - began) * 1000)
        finally:
            process.kill()
            process.wait()
        return times, missed


def _line(lines: queue.SimpleQueue[str], value: str) -> float | None:
    while True:
        try:
            words = lines.get(timeout=2.0).split()
        except queue.Empty:
            return None
        if len(words) == 2 and words[0] == value:
            return float(words[1])
