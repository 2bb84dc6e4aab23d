"""Loading 1,000 photon files, beside importing the same files with importlib.

Then one large file: the longest time for which an event loop stands still while it is
loaded, and while it is reloaded, beside the time that compiling its text takes.

Each contestant is a fresh process, so that only the disk's caches are warm. They take
turns within a round. The time is that of loading alone: Luminal is imported before, and
the time of that is printed separately.

    python -m benchmarks.loading [--size small|full]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import banner, ratio, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent

PHOTON = '''"""Photon number {number}."""

from luminal import IPhoton, hookimpl

LIMIT = {number}


class Photon{number}(IPhoton):
    photon_name = "photon-{number}"
    photon_version = "1.0"

    def start(self):
        self.count = LIMIT

    def finalize(self):
        self.count = 0

    @hookimpl
    def process(self, record):
        return record + LIMIT if record else None
'''

LUMINAL = """
import asyncio, time, luminal
from luminal import IPhoton, Loader, discover, hookimpl
found = discover({directory!r}, group=None)
async def main():
    loader = Loader()
    start = time.perf_counter()
    report = await loader.load(found)
    seconds = time.perf_counter() - start
    assert len(report.loaded) == {count}, report
    print(seconds)
asyncio.run(main())
"""

WHOLE = """
import time
from luminal import IPhoton, Loader, discover, hookimpl
import asyncio
async def main():
    start = time.perf_counter()
    loader = Loader()
    report = await loader.load(discover({directory!r}, group=None))
    print(time.perf_counter() - start)
asyncio.run(main())
"""

IMPORTLIB = """
import importlib, sys, time
from luminal import IPhoton, hookimpl
sys.path.insert(0, {directory!r})
names = [f"photon_{{number:05}}" for number in range({count})]
start = time.perf_counter()
for name in names:
    importlib.import_module(name)
print(time.perf_counter() - start)
"""

IMPORT = """
import time
start = time.perf_counter()
{statement}
print(time.perf_counter() - start)
"""

LARGE = """
import asyncio, sys, time
from pathlib import Path
from luminal import Loader

PIECE = (
    "def f{{0}}(a, b={{0}}):\\n"
    "    c = [a, b, {{0}}]\\n"
    "    return {{{{'key': c, 'b': b}}}}\\n\\n"
)
PHOTON = (
    "from luminal import IPhoton\\n"
    "class Large(IPhoton):\\n"
    "    photon_version = '{{}}'\\n"
)
path = Path({directory!r}) / "large.py"

def write(version):
    path.write_text("".join(pieces) + PHOTON.format(version))

pieces = [PIECE.format(number) for number in range({size} // 68)]
gaps = []

async def tick():
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now

async def longest(action):
    gaps.clear()
    await action
    await asyncio.sleep(0.2)
    return max(gaps)

async def main():
    write(0)
    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.1)
    loader = Loader()
    load = await longest(loader.load_photon(path))
    await loader.start()
    reloads = []
    for version in range(1, {count} + 1):
        await asyncio.to_thread(write, version)
        reloads.append(await longest(loader.reload_photon("large")))
    nothing = await longest(asyncio.sleep(0.5))
    ticker.cancel()
    text = path.read_bytes()
    bare = []
    for _ in range({count}):
        began = time.perf_counter()
        compile(text, "large.py", "exec")
        bare.append(time.perf_counter() - began)
    await loader.close()
    print(load, min(reloads), max(reloads), min(bare), nothing)

asyncio.run(main())
"""


def run(script: str, environment: dict[str, str], *options: str) -> float:
    """Run *script* in a fresh process, and return the seconds that it prints."""
    return run_all(script, environment, *options)[0]


def run_all(script: str, environment: dict[str, str], *options: str) -> list[float]:
    """Run *script* in a fresh process, and return the numbers that it prints."""
    command = [sys.executable, *options, "-c", script]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT
    )
    return [float(word) for word in done.stdout.split()]


@contextmanager
def photons(count: int) -> Iterator[Path]:
    """Write a directory of *count* photon files."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "photons"
        directory.mkdir()
        for number in range(count):
            path = directory / f"photon_{number:05}.py"
            path.write_text(PHOTON.format(number=number))
        yield directory


def contest(count: int, turns: int) -> dict[str, list[float]]:
    """Return the seconds of each contestant, one for each round."""
    times: dict[str, list[float]] = {}
    with photons(count) as directory:
        facts = {"directory": str(directory), "count": count}
        environment = {**os.environ}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment.pop("LUMINAL_CACHE_DIR", None)
        warm = {**environment, "LUMINAL_CACHE_DIR": str(directory.parent / "cache")}
        compiled = {
            **environment, "PYTHONPYCACHEPREFIX": str(directory.parent / "pyc")
        }  # fmt: skip
        luminal, plain = LUMINAL.format(**facts), IMPORTLIB.format(**facts)
        run(luminal, warm)
        run(plain, compiled)
        for turn in range(turns):
            cold = {**environment, "LUMINAL_CACHE_DIR": f"{directory.parent}/c{turn}"}
            bare = {**environment, "PYTHONDONTWRITEBYTECODE": "1"}
            written = {
                **environment,
                "PYTHONPYCACHEPREFIX": f"{directory.parent}/p{turn}",
            }
            for name, seconds in (
                ("importlib, .pyc files", run(plain, compiled)),
                ("Luminal, warm cache", run(luminal, warm)),
                ("importlib, no .pyc files", run(plain, bare)),
                ("importlib, writing .pyc files", run(plain, written)),
                ("Luminal, writing its cache", run(luminal, cold)),
                ("Luminal, warm, with discovery", run(WHOLE.format(**facts), warm)),
            ):
                times.setdefault(name, []).append(seconds)
    return times


def starts(turns: int) -> dict[str, list[float]]:
    """Return the seconds that imports take in a fresh interpreter."""
    times: dict[str, list[float]] = {}
    environment = {**os.environ}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    statements = {
        "luminal": "import luminal",
        "pluggy": "import pluggy",
        "attrs": "import attrs",
        "asyncio": "import asyncio",
        "luminal.discover": "from luminal import discover",
        "luminal.Loader": "from luminal import Loader",
    }
    for turn in range(turns + 1):
        for label, statement in statements.items():
            seconds = run(IMPORT.format(statement=statement), environment)
            if turn:  # the first one writes the .pyc files
                times.setdefault(label, []).append(seconds)
    return times


def print_stalls(sizes: Sequence[int], count: int) -> None:
    """Print for how long a loop stands still while large files are loaded."""
    columns = ("load", "reload", "slowest", "compile()", "at rest")
    print(f"{'milliseconds':<12}", *(f"{each:>10}" for each in columns))
    for size in sizes:
        with tempfile.TemporaryDirectory() as directory:
            environment = {**os.environ, "LUMINAL_CACHE_DIR": f"{directory}/cache"}
            script = LARGE.format(directory=directory, size=size, count=count)
            seconds = run_all(script, environment)
        row = (f"{each * 1000:10.1f}" for each in seconds)
        print(f"{size / 1e6:<9.1f} MB", *row)


def main() -> int:
    """Measure, and print figures and the promised ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    size = parser.parse_args().size
    count, turns = (20, 2) if size == "small" else (1000, 9)
    banner(f"Loading {count:,} photon files, per file")
    times = contest(count, turns)
    table(times, "importlib, .pyc files", per=count)
    for ours, theirs, limit in (
        ("Luminal, warm cache", "importlib, .pyc files", 1.3),
        ("Luminal, warm cache", "importlib, no .pyc files", 0.8),
        ("Luminal, writing its cache", "importlib, writing .pyc files", 0.8),
    ):
        value = ratio(times, ours, theirs)
        print(f"{ours} / {theirs}: {value:.2f} (promised: at most {limit})")
    banner("Longest time for which the loop stands still, one large file")
    print_stalls((100_000, 600_000, 2_000_000), 2 if size == "small" else 7)
    banner("Imports in a fresh interpreter")
    table(starts(turns), "luminal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
