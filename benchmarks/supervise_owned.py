"""What it costs to start something while photons live: whose is it?

    python -m benchmarks.supervise_owned [--rounds N]

Plain asyncio and threading take turns with Luminal in one process: the original
functions are called for the one, the wrapped ones for the other.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.measure import banner
from luminal import Loader

PHOTON = """
import asyncio, threading
import luminal

async def nothing(): pass

class Owner(luminal.IPhoton):
    @luminal.hookimpl
    def run(self, benchmark):
        return benchmark(globals())
"""


async def nothing():
    pass


def write(folder):
    path = Path(folder, "owner.py")
    path.write_text(PHOTON)
    return path


def best(function, rounds, count):
    """Return the least seconds that one of *count* calls takes in a round."""
    least = 1.0
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(count):
            function()
        least = min(least, (time.perf_counter() - began) / count)
    return least


async def tasks(rounds, make):
    """Return the least seconds for a task, from its creation to its end."""
    loop = asyncio.get_running_loop()
    least = 1.0
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(200):
            await make(loop)
        least = min(least, (time.perf_counter() - began) / 200)
    return least


def start_thread():
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    loop = asyncio.get_running_loop()
    rows = {}

    async def measure(name):
        rows[name] = {
            "task": await tasks(rounds, lambda loop: loop.create_task(nothing())),
            "timer": best(lambda: loop.call_later(9, int).cancel(), rounds, 200),
            "thread": best(start_thread, rounds, 20),
            "child": best(
                lambda: subprocess.Popen([sys.executable, "-c", ""]).kill(), 3, 3
            ),
        }

    await measure("no photon")
    with tempfile.TemporaryDirectory() as folder:
        path = write(folder)
        async with Loader() as loader:
            await (await loader.load_photon(path)).start()
            await measure("by the host")
            space = vars(sys.modules[type(loader.photons["Owner"].instance).__module__])
            code = "lambda loop: loop.create_task(nothing())"
            task = eval(code, space)
            timer = eval("lambda loop: loop.call_later(9, int).cancel()", space)
            thread = eval(
                "lambda t: (t := threading.Thread(target=int), t.start(), t.join())",
                space,
            )
            rows["by a photon"] = {
                "task": await tasks(rounds, task),
                "timer": best(lambda: timer(loop), rounds, 200),
                "thread": best(lambda: thread(None), rounds, 20),
            }
    banner("start of a task, a timer, a thread (ratio to a program without photons)")
    for name, row in rows.items():
        print(
            f"{name:<12}",
            *(
                f"{kind} {each * 1e6:.1f} µs ({each / rows['no photon'][kind]:.2f})"
                for kind, each in row.items()
            ),
        )


if __name__ == "__main__":
    asyncio.run(main())
