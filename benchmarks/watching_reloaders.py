"""jurigged and hmr, each in a process of its own: time from save to live."""

from __future__ import annotations

import importlib.util
import queue
import random
import subprocess
import sys
import threading
import time

from benchmarks.watching_saver import Saver, tree

__all__ = ["installed", "reloads"]

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


def installed() -> list[str]:
    """Return those that are installed."""
    modules = {"jurigged": "jurigged", "hmr": "reactivity"}
    return [
        name for name, module in modules.items() if importlib.util.find_spec(module)
    ]


def reloads(name: str, files: int, way: str, count: int) -> tuple[list[float], int]:
    """Save a module among *files* *count* times; stop after three misses.

    Returns:
        The milliseconds until the new code was live, and the number of misses.
    """
    with tree(files) as others, Saver() as saver:
        root = others[0].parent.parent
        module = root / "reloaded.py"
        module.write_text("def value():\n    return 0\n")
        main = root / "main.py"
        main.write_text(_JURIGGED if name == "jurigged" else _HMR)
        command = {"jurigged": [str(main), str(root)], "hmr": ["-m", "reactivity.hmr"]}
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
                time.sleep(random.uniform(0.03, 0.06))
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
