"""Swaps in hosts whose threads gevent has replaced by greenlets.

All of them share one thread of the system, for which asyncio keeps one running loop.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import DEADLINE

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("gevent")

COMMON = """
import gevent.monkey; gevent.monkey.patch_all()
import asyncio, gevent, json, pathlib, sys, threading, time
import luminal

PHOTON = '''
import asyncio, time
from luminal import IPhoton, hookimpl

NUMBER = %d
beats = dict.fromkeys(["spawned", "every"], 0)

class P(IPhoton):
    photon_name = "p"

    async def start(self):
        await asyncio.sleep(0.001)
        self.context.spawn(self.beat())
        self.context.every(0.001, self.tick)

    async def beat(self):
        while True:
            beats["spawned"] += 1
            await asyncio.sleep(0.001)

    async def tick(self):
        beats["every"] += 1

    @hookimpl
    def ask(self):
        number = NUMBER
        time.sleep(0.001)  # other greenlets run, and a swap may happen
        from late import LATE
        return number, LATE

    @hookimpl
    async def await_it(self):
        number = NUMBER
        await asyncio.sleep(0.001)
        from late import LATE
        return number, LATE

    @hookimpl
    def beating(self):
        return all(beats.values())
'''

class Specs:
    @luminal.hookspec(firstresult=True)
    def ask(self): ...
    @luminal.hookspec(firstresult=True)
    async def await_it(self): ...
    @luminal.hookspec(firstresult=True)
    def beating(self): ...

root = pathlib.Path(sys.argv[1])
answers, is_over = [], False

def write(number):
    (root / "late.py").write_text(f"LATE = {number}")
    (root / "p.py").write_text(PHOTON % number)

write(0)
"""
BLOCKING = """
def call(loader):
    while not is_over:
        answers.append([loader.hook.ask(), loader.hook.await_it()])

with luminal.blocking.Loader(hookspecs=[Specs]) as loader:
    loader.load_photon(root / "p.py")
    loader.start()
    callers = [gevent.spawn(call, loader) for _ in range(5)]
    for number in range(1, 10):
        write(number)
        loader.reload_photon("p")
        assert loader.hook.ask()[0] == loader.hook.await_it()[0] == number
        while not loader.hook.beating():
            time.sleep(0.001)
    loader.watch_photons(root)
    write(10)
    while loader.hook.ask()[0] != 10:
        time.sleep(0.001)
    is_over = True
    gevent.joinall(callers)
print(json.dumps(answers))
"""
AWAITED = """
def call(loader):
    while not is_over:
        answers.append([loader.hook.ask()])

async def main():
    global is_over
    async with luminal.Loader(hookspecs=[Specs]) as loader:
        await loader.load_photon(root / "p.py")
        await loader.start()
        callers = [gevent.spawn(call, loader) for _ in range(5)]
        for number in range(1, 10):
            write(number)
            await loader.reload_photon("p")
            assert (await loader.ahook.await_it())[0] == number
            while not loader.hook.beating():
                await asyncio.sleep(0.001)
        await loader.watch_photons(root)
        write(10)
        while (await loader.ahook.await_it())[0] != 10:
            await asyncio.sleep(0.001)
        is_over = True
        while not all(caller.dead for caller in callers):
            await asyncio.sleep(0.001)

asyncio.run(main())
print(json.dumps(answers))
"""


@pytest.mark.parametrize("host", [BLOCKING, AWAITED], ids=["blocking", "awaited"])
def test_greenlets_call_while_photons_are_swapped(tmp_path: Path, host: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMON + host, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    answers: list[list[Any]] = json.loads(done.stdout)
    each = [answer for of_one in answers for answer in of_one]
    assert all(number == late for number, late in each)
    assert {0, 9} <= {number for number, _ in each}
