"""Discovery beside peers: distributions and directories, cold and warm.

``python -m benchmarks.discovery [--size small|full]``. Every run is a fresh process.
Prints the time of the call, and of the whole process less a bare interpreter.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import banner
from luminal.store import MARGIN

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = str(Path(__file__).parent.parent)

PHOTON = """\
from luminal import IPhoton


class Photon{n}(IPhoton):
    photon_name = "photon_{n}"
    photon_version = "1.{n}"

    def start(self) -> None:
        self.total = sum(range(10))

    def finalize(self) -> bool:
        return True
"""

METADATA = """\
Metadata-Version: 2.1
Name: dist-{n}
Version: 1.{n}
Summary: Number {n}
Author: Somebody

A long description.
"""


def make_site(site: Path, count: int, photons: int) -> None:
    """Write *count* distributions, *photons* of which have a photon."""
    for n in range(count):
        info = site / f"dist_{n}-1.{n}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(METADATA.format(n=n))
        (info / "RECORD").touch()
        group = "luminal.photons" if n < photons else "console_scripts"
        entry = f"[{group}]\nphoton_{n} = dist_{n}:Photon{n}\n"
        (info / "entry_points.txt").write_text(entry)
        (site / f"dist_{n}").mkdir()
        (site / f"dist_{n}" / "__init__.py").write_text(PHOTON.format(n=n))


def make_folder(folder: Path, count: int) -> None:
    """Write *count* photon files."""
    for n in range(count):
        (folder / f"m{n}.py").write_text(PHOTON.format(n=n))


TIMED = """
import sys, time
sys.path[:0] = {path!r}
{setup}
start = time.perf_counter()
{call}
seconds = time.perf_counter() - start
assert len(found) == {expected}, len(found)
{after}
print(seconds)
"""


def contestant(
    call: str, path: list[str], expected: int, setup: str = "", after: str = ""
) -> list[str]:
    """Return a command that makes *call* in a fresh process and prints its seconds."""
    program = TIMED.format(
        call=call, path=path, expected=expected, setup=setup, after=after
    )
    return [sys.executable, "-I", "-c", program]


def race(
    commands: dict[str, list[str]], rounds: int, before: Callable[[], None]
) -> None:
    """Run all *commands* in turn, *rounds* times, and print the medians."""
    bare = [sys.executable, "-I", "-c", "print(0)"]
    calls: dict[str, list[float]] = {name: [] for name in commands}
    wholes: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        base = _run(bare)[1]
        for name, command in commands.items():
            if name.endswith("cold"):
                before()
            call, whole = _run(command)
            if turn:  # the first round is a warm-up
                calls[name].append(call)
                wholes[name].append(whole - base)
    width = max(map(len, commands))
    print(f"{'':<{width}}   the call   process over bare")
    for name in commands:
        call, whole = statistics.median(calls[name]), statistics.median(wholes[name])
        print(f"{name:<{width}}  {call * 1e3:6.2f} ms  {whole * 1e3:6.1f} ms")


def _run(command: list[str]) -> tuple[float, float]:
    start = time.perf_counter()
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    whole = time.perf_counter() - start
    return float(output.split()[-1]), whole


def _has(module: str) -> bool:
    from importlib.util import find_spec

    if find_spec(module) is None:
        print(f"{module} is not installed: skipped")
        return False
    return True


def _clear(cache: Path) -> None:
    for path in cache.glob("*.sealed"):
        path.unlink()


def distributions(count: int, photons: int, rounds: int, work: Path) -> None:
    """Time finding the entry points of one group among *count* distributions."""
    banner(f"{photons} photons in {count} installed distributions, fresh processes")
    site, cache = work / f"site{photons}", work / f"cache{photons}"
    site.mkdir()
    make_site(site, count, photons)
    here = [str(site), ROOT]
    own = "from luminal import discover"
    call = f"found = discover(path=[{str(site)!r}], index={str(cache)!r})"
    after = "found[0].name" if photons else ""
    commands = {
        "luminal, index warm": contestant(call, here, photons, own),
        "the same, first record read": contestant(call, here, photons, own, after),
        "luminal, index cold": contestant(call, here, photons, own),
    }
    found = "found = {}.entry_points(group='luminal.photons')"
    for peer in ("importlib.metadata", "importlib_metadata"):
        if _has(peer):
            commands[peer] = contestant(
                found.format(peer), here, photons, f"import {peer}"
            )
    if _has("importlib_metadata") and photons == count:
        module = f"os.path.join({str(site)!r}, d.name.replace('-', '_'), '__init__.py')"
        call = (
            "found = [(d.metadata, ast.parse(open(" + module + ", 'rb').read())) "
            f"for d in importlib_metadata.distributions(path=[{str(site)!r}])]"
        )
        commands["importlib_metadata, metadata and ast.parse of all"] = contestant(
            call, here, photons, "import ast, os, importlib_metadata"
        )
    if _has("stevedore"):
        stevedore = "from stevedore._cache import get_group_all"
        call = "found = get_group_all('luminal.photons')"
        commands["stevedore, its cache warm"] = contestant(
            call, here, photons, stevedore
        )
    _age(work)
    race(commands, rounds, lambda: _clear(cache))


def directories(count: int, rounds: int, work: Path) -> None:
    """Time finding the photons of a directory; peers parse or list its files."""
    banner(f"a directory of {count} photon files, fresh processes")
    folder, cache = work / "photons", work / "cache"
    folder.mkdir()
    make_folder(folder, count)
    call = f"found = discover({str(folder)!r}, group=None, index={str(cache)!r})"
    own = "from luminal import discover"
    stats = f"found = [os.stat(e.path) for e in os.scandir({str(folder)!r})]"
    parse = (
        f"found = [ast.parse(open(e.path, 'rb').read()) "
        f"for e in os.scandir({str(folder)!r})]"
    )
    # What a host has imported that has a Loader, as the modules of the peers are.
    host = f"{own}; import luminal.managers.loader, luminal.discovery._scan"
    commands = {
        "luminal, index warm": contestant(call, [ROOT], count, own),
        "luminal, index cold": contestant(call, [ROOT], count, own),
        "and all records read, index cold": contestant(
            call, [ROOT], count, own, "records = [*found]"
        ),
        "the same in a host, index cold": contestant(call, [ROOT], count, host),
        "scandir + stat": contestant(stats, [], count, "import os"),
        "ast.parse of all": contestant(parse, [], count, "import ast, os"),
    }
    _age(work)
    race(commands, rounds, lambda: _clear(cache))


def imports(rounds: int) -> None:
    """Time imports in a fresh process."""
    banner("imports, fresh processes")
    statements = {
        "luminal": "import luminal",
        "luminal.discover": "from luminal import discover",
        "attrs": "import attrs",
        "pluggy": "import pluggy",
        "importlib.metadata": "import importlib.metadata",
    }
    commands = {
        name: contestant("found = ()", [ROOT], 0, statement)
        for name, statement in statements.items()
    }
    race(commands, rounds, lambda: None)


def _age(work: Path) -> None:
    """Wait until the files are old enough for the index to trust their times."""
    last = max(os.stat(folder).st_ctime_ns for folder, _, _ in os.walk(work))
    while time.time_ns() <= last + MARGIN:
        time.sleep(0.1)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    full = parser.parse_args().size == "full"
    count, rounds = (1000, 15) if full else (40, 2)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for photons in (count, count // 20):
            distributions(count, photons, rounds, work)
        directories(count, rounds, work)
    imports(rounds)


if __name__ == "__main__":
    main()
