"""Loading 1,000 photon files, beside importing the same files with importlib.

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
    from collections.abc import Iterator

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


def run(script: str, environment: dict[str, str], *options: str) -> float:
    """Run *script* in a fresh process, and return the seconds that it prints."""
    command = [sys.executable, *options, "-c", script]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT
    )
    return float(done.stdout)


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
    banner("Imports in a fresh interpreter")
    table(starts(turns), "luminal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
