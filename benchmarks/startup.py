"""Start-up beside pluggy, attrs and asyncio: whole processes, run in turn.

``python -m benchmarks.startup [--size small|full] [--photons N]``. Prints the fastest
run of each program, for imports less that of a bare interpreter, and ratios to a peer.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import banner

ROOT = str(Path(__file__).parent.parent)

PHOTON = """\
import luminal


class P{n}(luminal.IPhoton):
    def start(self) -> None:
        self.total = sum(range(10))

    @luminal.hookimpl
    def answer(self, number):
        return number + {n}
"""

HOST = """\
import asyncio
import luminal


class Specs:
    @luminal.hookspec
    def answer(self, number): ...


async def main():
    async with luminal.Loader(hookspecs=[Specs]) as loader:
        await loader.load(luminal.discover({directory!r}, group=None))
        await loader.start()
        assert len(loader.hook.answer(number=1)) == {count}


asyncio.run(main())
"""

BLOCKING_HOST = """\
import luminal.blocking


class Specs:
    @luminal.hookspec
    def answer(self, number): ...


with luminal.blocking.Loader(hookspecs=[Specs]) as loader:
    loader.load(luminal.discover({directory!r}, group=None))
    loader.start()
    assert len(loader.hook.answer(number=1)) == {count}
"""

PLUGIN = """\
import attrs
import pluggy

hookimpl = pluggy.HookimplMarker("host")


@attrs.define
class P{n}:
    total: int = 0

    async def start(self) -> None:
        self.total = sum(range(10))

    @hookimpl
    def answer(self, number):
        return number + {n}
"""

PLUGGY_HOST = """\
import asyncio
import importlib
import os
import sys

import attrs
import pluggy

hookspec = pluggy.HookspecMarker("host")


class Specs:
    @hookspec
    def answer(self, number): ...


async def main():
    sys.path.insert(0, {directory!r})
    manager = pluggy.PluginManager("host")
    manager.add_hookspecs(Specs)
    for file in sorted(os.listdir({directory!r})):
        name = file.removesuffix(".py")
        if name == file:
            continue
        module = importlib.import_module(name)
        plugin = getattr(module, name.title())()
        await plugin.start()
        manager.register(plugin, name)
    assert len(manager.hook.answer(number=1)) == {count}


asyncio.run(main())
"""


def fastest(programs: dict[str, str], rounds: int) -> dict[str, float]:
    """Run all *programs* in turn, *rounds* times; return the fewest seconds of each."""
    best = dict.fromkeys(programs, float("inf"))
    with tempfile.TemporaryDirectory() as compiled:
        # Whatever the shell says, what is imported was compiled by an earlier run.
        environ = {**os.environ, "PYTHONPATH": ROOT, "PYTHONPYCACHEPREFIX": compiled}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        for turn in range(rounds + 2):
            for name, program in programs.items():
                command = [sys.executable, "-c", program]
                began = time.perf_counter()
                subprocess.run(command, check=True, env=environ, cwd=compiled)
                if turn > 1:  # the first rounds fill the caches
                    best[name] = min(best[name], time.perf_counter() - began)
    return best


def imports(rounds: int) -> None:
    """Time imports, each in a process of its own, less a bare interpreter."""
    banner("imports, whole processes less a bare interpreter")
    best = fastest(
        {
            "bare": "pass",
            "asyncio": "import asyncio",
            "pluggy": "import pluggy",
            "asyncio, attrs and pluggy": "import asyncio, attrs, pluggy",
            "from luminal import Loader": "from luminal import Loader",
        },
        rounds,
    )
    bare = best.pop("bare")
    for name, seconds in best.items():
        ratio = (seconds - bare) / (best["asyncio"] - bare)
        print(f"{name:<28}{(seconds - bare) * 1e3:8.1f} ms  {ratio:5.2f} x asyncio")


def hosts(count: int, rounds: int) -> None:
    """Time hosts that load and start *count* plugins, as whole processes."""
    banner(f"a host that loads and starts {count} plugins, whole processes")
    with tempfile.TemporaryDirectory() as place:
        programs = {}
        for name, host, plugin in (
            ("pluggy, attrs, asyncio", PLUGGY_HOST, PLUGIN),
            ("luminal", HOST, PHOTON),
            ("luminal.blocking", BLOCKING_HOST, PHOTON),
        ):
            directory = Path(place, name)
            directory.mkdir()
            for n in range(count):
                (directory / f"p{n}.py").write_text(plugin.format(n=n))
            programs[name] = host.format(directory=str(directory), count=count)
        time.sleep(2.5)  # until discovery's index trusts the files' times
        best = fastest(programs, rounds)
    base = best["pluggy, attrs, asyncio"]
    for name, seconds in best.items():
        print(f"{name:<28}{seconds * 1e3:8.1f} ms  {seconds / base:5.2f} x pluggy")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--photons", type=int, default=10)
    options = parser.parse_args()
    rounds = 30 if options.size == "full" else 1
    imports(rounds)
    hosts(options.photons, rounds)


if __name__ == "__main__":
    main()
