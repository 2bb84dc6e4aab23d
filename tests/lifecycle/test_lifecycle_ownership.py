"""What a photon starts is its own: one of each lives, and none outlives it."""

from __future__ import annotations

import asyncio
import atexit
import gc
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

import pytest

import luminal
from tests.waiting import DEADLINE, brief

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from luminal.model import Event

pytestmark = pytest.mark.slow

THROUGH_CONTEXT = """
import asyncio, atexit, logging, multiprocessing, signal, sys, threading
import luminal

class Owner(luminal.IPhoton):
    photon_name = "owner"

    async def start(self):
        context = self.context
        context.thread(self.wait)
        context.spawn(asyncio.Event().wait(), name="owner-task")
        context.every(3600, print)
        timer = threading.Timer(3600, print)
        context.on_close(timer.cancel)
        timer.name = "owner-timer"
        timer.start()
        context.executor(1).submit(threading.Event().wait)
        context.process([sys.executable, "-c", "import time; time.sleep(3600)"])
        self.pool = context.enter(multiprocessing.get_context("spawn").Pool(1))
        atexit.register(self.nothing)
        context.on_close(lambda: atexit.unregister(self.nothing))
        signal.signal(signal.SIGUSR2, self.nothing)
        handler = logging.StreamHandler()
        handler.set_name("owner-handler")
        logging.getLogger("owner").addHandler(handler)
        context.on_close(lambda: logging.getLogger("owner").removeHandler(handler))

    def wait(self):
        threading.Event().wait()

    def nothing(self, *args):
        return None
"""

BEHIND_OUR_BACK = """
import asyncio, atexit, logging, multiprocessing, signal, subprocess, sys, threading
from concurrent.futures import ThreadPoolExecutor
import luminal

class Owner(luminal.IPhoton):
    photon_name = "owner"

    async def start(self):
        threading.Thread(target=threading.Event().wait, name="owner-thread").start()
        self.task = asyncio.create_task(asyncio.Event().wait(), name="owner-task")
        timer = threading.Timer(3600, print)
        timer.name = "owner-timer"
        timer.start()
        ThreadPoolExecutor(1, "owner-pool").submit(threading.Event().wait)
        sleep = "import time; time.sleep(3600)"
        self.child = subprocess.Popen([sys.executable, "-c", sleep])
        atexit.register(self.nothing)
        signal.signal(signal.SIGUSR2, self.nothing)
        self.logged = logging.StreamHandler()
        self.logged.set_name("owner-handler")
        logging.getLogger("owner").addHandler(self.logged)
        self.pool = multiprocessing.get_context("spawn").Pool(1)

    def nothing(self, *args):
        return None
"""


def threads() -> set[threading.Thread]:
    """The living threads, but for those that Luminal keeps for all photons."""
    return {t for t in threading.enumerate() if not t.name.startswith("luminal-")}


class Listening:
    """Equal to nothing; notes the functions that it is compared with."""

    __hash__ = object.__hash__

    def __init__(self) -> None:
        self.heard: set[object] = set()

    def __eq__(self, other: object) -> bool:
        self.heard.add(other)
        return False


def exit_functions() -> set[object]:
    """The photons' functions that `atexit` would call.

    It lists them nowhere, and counts also those that were taken back.
    """
    listening = Listening()
    atexit.unregister(listening)  # type: ignore[arg-type]
    return {f for f in listening.heard if getattr(f, "__name__", "") == "nothing"}


def children() -> set[int]:
    """The living child processes of this one, from the process table."""
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8") as file:
                    _, _, rest = file.read().rpartition(") ")
            except OSError:
                continue
            state, parent = rest.split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.add(int(entry))
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads the process table")
@pytest.mark.fault(23)
@pytest.mark.parametrize("text", [THROUGH_CONTEXT, BEHIND_OUR_BACK])
async def test_one_of_each_lives_after_ten_reloads_and_none_after_the_unload(
    text: str, tmp_path: Path
) -> None:
    file = tmp_path / "owner.py"
    file.write_text(text)

    def living(what: Callable[[], set[object]], before: set[object]) -> int:
        return len(what() - before)

    async def main() -> None:
        def tasks() -> set[object]:
            return {t for t in asyncio.all_tasks() if t.get_name() == "owner-task"}

        def log_handlers() -> set[object]:
            return set(logging.getLogger("owner").handlers)

        def signals() -> set[object]:
            return {signal.getsignal(signal.SIGUSR2)}

        def timers() -> set[object]:
            return {t for t in threading.enumerate() if t.name == "owner-timer"}

        kinds = {
            "threads": threads,
            "children": children,
            "tasks": tasks,
            "logging handlers": log_handlers,
            "signal handlers": signals,
            "exit functions": exit_functions,
            "timers": timers,
        }
        resource_tracker.ensure_running()
        import multiprocessing.pool  # noqa: F401 - registers with atexit, once

        before = {name: set(kind()) for name, kind in kinds.items()}
        loader = luminal.Loader()
        await (await loader.load_photon(file)).start()
        once = {n: living(kind, before[n]) for n, kind in kinds.items()}
        assert once["threads"] >= 3
        assert once["children"] >= 2  # the program, and the pool's worker
        assert once["tasks"] == once["logging handlers"] == 1
        assert once["signal handlers"] == once["exit functions"] == 1
        assert once["timers"] == 1
        for number in range(10):
            # The old pool's semaphores are unregistered by the collector; where that
            # runs while a new pool registers its own, multiprocessing raises.
            gc.collect()
            file.write_text(f"{text}\n# {number}\n")
            await loader.reload_photon("owner")
            now = {n: living(kind, before[n]) for n, kind in kinds.items()}
            assert now == once
        handler = loader.photons["owner"]
        await loader.close()
        assert handler.leftovers == ()
        left = {n: living(kind, before[n]) for n, kind in kinds.items()}
        assert left == dict.fromkeys(kinds, 0)

    await main()


@pytest.mark.fault(23)
async def test_what_cannot_be_stopped_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A call into C that does not return: the unload ends, and says what is left."""
    (tmp_path / "stuck.py").write_text(
        "import os, threading\n"
        "import luminal\n\n"
        "class Stuck(luminal.IPhoton):\n"
        "    photon_name = 'stuck'\n"
        "    def start(self):\n"
        "        self.read, self.write = os.pipe()\n"
        "        self.thread = threading.Thread(\n"
        "            target=os.read, args=(self.read, 1), name='stuck-reader')\n"
        "        self.thread.start()\n"
    )

    loader = luminal.Loader(deadlines=luminal.Deadlines(close=0.5))
    await (await loader.load_photon(tmp_path / "stuck.py")).start()
    handler = loader.photons["stuck"]
    photon = handler.instance
    with caplog.at_level(logging.WARNING):
        await loader.close()
    assert [left.name for left in handler.leftovers] == ["stuck-reader"]
    assert handler.leftovers[0].owner == "stuck"
    assert "stuck-reader" in handler.problem.why
    assert "stuck.py" in handler.problem.why
    os.write(photon.write, b"x")
    photon.thread.join(DEADLINE)
    assert not photon.thread.is_alive()
    os.close(photon.read)
    os.close(photon.write)


async def test_what_serves_the_host_is_nobodys(tmp_path: Path) -> None:
    """A watch and a load that a photon asks for do not end with that photon."""
    watched = tmp_path / "watched"
    watched.mkdir()
    photon = "import luminal\n\nclass {0}(luminal.IPhoton):\n    photon_name = '{0}'\n"
    for name in ("asking", "other"):
        (tmp_path / f"{name}.py").write_text(photon.format(name))

    loader = luminal.Loader()
    await (await loader.load_photon(tmp_path / "asking.py")).start()
    scope = loader.photons["asking"].context.scope
    with scope.in_step():
        await loader.load_photon(tmp_path / "other.py")
        await loader.watch_photons(watched)
    assert scope.living() == []
    await loader.unload_photon("asking")
    is_up = threading.Event()

    def hear(event: Event) -> None:
        if event.photon == "late" and event.kind == "started":
            is_up.set()

    loader.events.subscribe(hear)
    (watched / "late.py").write_text(photon.format("late"))
    assert await asyncio.to_thread(is_up.wait, DEADLINE)
    await loader.close()


STUBBORN = """
import asyncio, os, signal, subprocess, sys, threading
from concurrent.futures import ThreadPoolExecutor
import luminal

CHILD = '''
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(flush=True)
time.sleep(3600)
'''

def swallow():
    while True:
        try:
            sum(range(100))
        except BaseException:
            pass

def nest():
    threading.Thread(target=swallow, name="stubborn-inner").start()
    threading.Event().wait()

class Stubborn(luminal.IPhoton):
    photon_name = "stubborn"
    is_over = False

    async def start(self):
        self.read, self.write = os.pipe()
        threading.Thread(target=swallow, name="stubborn-outer").start()
        threading.Thread(target=nest, name="stubborn-nest").start()
        ThreadPoolExecutor(1, "stubborn-pool").submit(swallow)
        self.task = asyncio.create_task(self.refuse(), name="refuser")
        self.child = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdout=subprocess.PIPE)
        await asyncio.to_thread(self.child.stdout.readline)

    async def refuse(self):
        while not self.is_over:
            try:
                await asyncio.sleep(0.01)
            except BaseException:
                pass

    def finalize(self):
        os.read(self.read, 1)
"""


@pytest.mark.fault(23)
async def test_what_resists_is_ended_or_named_and_nothing_waits_for_it(
    tmp_path: Path,
) -> None:
    """Threads that swallow, also in a pool, and a child without SIGTERM end.

    A task that refuses its cancellation and a hung `finalize` are named. A second
    unload meanwhile is refused or does nothing.
    """
    file = tmp_path / "stubborn.py"
    file.write_text(STUBBORN)

    loader = luminal.Loader(deadlines=luminal.Deadlines(finalize=0.5, close=brief(4)))
    await (await loader.load_photon(file)).start()
    handler = loader.photons["stubborn"]
    photon = handler.instance
    await asyncio.gather(
        loader.unload_photon("stubborn"),
        loader.unload_photon("stubborn"),
        return_exceptions=True,
    )
    photon.is_over = True  # whatever follows, the test's loop can be closed
    left = {record.name: record for record in handler.leftovers}
    assert set(left) == {"refuser", "finalize stubborn"}
    assert "cancellation" in left["refuser"].why
    assert f"{file}:" in left["refuser"].where
    assert photon.child.poll() == -signal.SIGKILL
    names = {thread.name for thread in threading.enumerate()}
    assert not [name for name in names if name.startswith("stubborn-")]
    os.write(photon.write, b"x")
    await photon.task
    photon.child.stdout.close()
    for number in (photon.read, photon.write):
        os.close(number)
    await loader.close()


FIRST_TO_USE_A_POOL = """
import asyncio, sys
from luminal import Loader

async def main(path):
    text = open(path).read()
    async with Loader() as loader:
        (a,) = handlers = await loader.load_photon(path)
        await handlers.start()
        for number in range(12):
            with open(path, "w") as file:
                file.write(f"{text}N = {number}\\n")
            await loader.reload_photon(a)
    assert await asyncio.to_thread(int) == 0

assert "concurrent.futures.thread" not in sys.modules
asyncio.run(main(sys.argv[1]))
"""


def test_the_pool_of_a_loop_outlives_the_photon_that_needed_it_first(tmp_path):
    """In a process of its own: here somebody has used one."""
    path = tmp_path / "a.py"
    path.write_text(
        textwrap.dedent("""
            import asyncio
            from luminal import IPhoton

            class Photon(IPhoton):
                photon_name = "a"

                async def start(self):
                    await asyncio.to_thread(int)
            """)
    )
    command = [sys.executable, "-c", FIRST_TO_USE_A_POOL, str(path)]
    subprocess.run(command, check=True, timeout=DEADLINE)
