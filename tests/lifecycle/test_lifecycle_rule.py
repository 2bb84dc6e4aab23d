"""What a photon owns, by one rule: what runs its code, and what its code starts."""

from __future__ import annotations

import asyncio
import atexit
import importlib
import os
import signal
import subprocess
import sys
import textwrap
import types
from typing import TYPE_CHECKING, Any

import pytest

import luminal
import luminal.blocking
from luminal.lifecycle import _survivors
from tests.distributions import put
from tests.waiting import DEADLINE, async_wait_until, brief

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# A module of the host's. What is alive is asked of what `keep` was given; of a
# `started`, a photon has started several things one after the other.
HOST = """
import asyncio, codecs, logging, multiprocessing, subprocess, sys, threading
from concurrent.futures import ThreadPoolExecutor

alive = []
keep = alive.append
ends = []
calls = []
SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]

def wait():
    threading.Event().wait()

def wait_for_end():
    end = threading.Event()
    ends.append(end)
    end.wait()

async def forever():
    await asyncio.sleep(3600)

def run_in_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    keep(thread.is_alive)

def run_in_task(coroutine):
    task = asyncio.ensure_future(coroutine)
    keep(lambda: not task.done())

def run_later(function):
    handle = asyncio.get_running_loop().call_later(3600, function)
    keep(lambda: not handle.cancelled())

# What it makes at its first use, whoever that is.

def use_pool():
    pool = ThreadPoolExecutor(1)
    pool.submit(int).result()
    keep(lambda: any(thread.is_alive() for thread in pool._threads))
    ends.append(pool)

def use_thread():
    run_in_thread(wait_for_end)

def use_task():
    run_in_task(forever())

def use_timer():
    run_later(print)

def use_subprocess():
    ends.append(asyncio.ensure_future(run_child()))

children = []

async def run_child():
    child = await asyncio.create_subprocess_exec(*SLEEPER)
    keep(lambda: child.returncode is None)
    children.append(child)

async def end_children():
    for child in children:
        child.kill()
        await child.wait()

def use_log():
    handler = logging.NullHandler()
    logger = logging.getLogger("owners_host")
    logger.addHandler(handler)
    keep(lambda: handler in logger.handlers)

def use_child():
    child = subprocess.Popen(SLEEPER)
    keep(lambda: child.poll() is None)
    ends.append(child)

def use_queue():
    new_queue().put(0)

def new_queue():
    queue = multiprocessing.Queue()
    ends.append(queue)
    keep(lambda: [queue.put(1), queue.get(timeout=60)])
    return queue

def use_codec():
    codecs.register(wait)
    codecs.unregister(wait)

pool = None

def shared_pool():
    global pool
    if pool is None:
        pool = ThreadPoolExecutor(2)
        ends.append(pool)
        keep(lambda: any(thread.is_alive() for thread in pool._threads))
    return pool

def end():
    for one in ends:
        for name in ("set", "kill", "close"):
            getattr(one, name, int)()
    for one in ends:
        if hasattr(one, "shutdown"):
            one.shutdown()
        elif hasattr(one, "poll"):
            one.wait()
    logging.getLogger("owners_host").handlers.clear()
"""

HEAD = """
import asyncio, atexit, contextlib, functools, logging, multiprocessing, signal
import subprocess, sys, threading, _thread
from concurrent.futures import ThreadPoolExecutor
import luminal
import owners_host as host
from owners_host import SLEEPER, keep

def wait():
    threading.Event().wait()

async def forever():
    await asyncio.sleep(3600)

class Called:
    def __call__(self):
        wait()

class Waiting(threading.Thread):
    def run(self):
        wait()

def generator():
    yield wait()

@functools.lru_cache
def cached():
    wait()
"""

# A photon, that starts in its `start`, or where the host calls the hook `begin`.
BODY = """
class Owner(luminal.IPhoton):
    async def start(self):
        {start}

    @luminal.hookimpl
    def begin(self):
        {hook}

    def wait(self):
        wait()

    async def forever(self):
        await forever()

    def again(self):
        host.calls.append(1)

    def one(self):
{one}
"""


def text(one: str, where: str = "hook") -> str:
    """Return a photon that starts *one* there."""
    start = hook = "pass"
    if where == "start":
        start = "self.one()"
    elif where == "hook":
        hook = "self.one()"
    elif where == "task":  # of its own
        hook = "self.task = asyncio.create_task(self.later())"
    elif where == "timer":
        hook = "asyncio.get_running_loop().call_later(0, self.one)"
    elif where == "long timer":
        hook = "asyncio.get_running_loop().call_later(0.001, self.one)"
    elif where == "thread":
        hook = "threading.Thread(target=self.one).start()"
    elif where == "step of a task":
        start = "await self.later()"
    body = BODY.format(
        start=start, hook=hook, one=textwrap.indent(textwrap.dedent(one), " " * 8)
    )
    later = "    async def later(self):\n        await asyncio.sleep(0)\n"
    return HEAD + body + later + "        self.one()\n"


OWNED = {
    "thread": "t = threading.Thread(target=wait); t.start(); keep(t.is_alive)",
    "method": "t = threading.Thread(target=self.wait); t.start(); keep(t.is_alive)",
    "lambda": """
        t = threading.Thread(target=lambda: wait()); t.start(); keep(t.is_alive)
        """,
    "subclass": "t = Waiting(); t.start(); keep(t.is_alive)",
    "library code": """
        t = threading.Thread(target=threading.Event().wait); t.start()
        keep(t.is_alive)
        """,
    "host code": "t = threading.Thread(target=host.wait); t.start(); keep(t.is_alive)",
    "timer thread": "t = threading.Timer(3600, print); t.start(); keep(t.is_alive)",
    "raw thread": """
        over = threading.Event()
        def run():
            try:
                wait()
            finally:
                over.set()
        _thread.start_new_thread(run, ())
        keep(lambda: not over.is_set())
        """,
    "executor": """
        pool = ThreadPoolExecutor(1); pool.submit(wait)
        keep(lambda: any(t.is_alive() for t in pool._threads))
        """,
    "child": "c = subprocess.Popen(SLEEPER); keep(lambda: c.poll() is None)",
    "child whose start was interrupted": """
        class Child(subprocess.Popen):
            def _execute_child(self, *args):
                super()._execute_child(*args)
                keep(lambda: self.poll() is None)
                raise KeyboardInterrupt
        with contextlib.suppress(KeyboardInterrupt):
            Child(SLEEPER)
        """,
    "process": """
        p = multiprocessing.get_context("fork").Process(target=wait); p.start()
        keep(p.is_alive)
        """,
    "process of any name": """
        p = multiprocessing.get_context("fork").Process(target=wait, name="Pool")
        p.start(); keep(p.is_alive)
        """,
    "child by a thread of library code": """
        c = subprocess.Popen.__new__(subprocess.Popen)
        t = threading.Thread(target=c.__init__, args=(SLEEPER,)); t.start(); t.join()
        keep(lambda: c.poll() is None)
        """,
    "thread by a timer of library code": """
        t = threading.Thread(target=threading.Event().wait)
        timer = threading.Timer(0, t.start); timer.start(); timer.join()
        keep(t.is_alive)
        """,
    "child by library code in an executor": """
        c = ThreadPoolExecutor(1).submit(subprocess.Popen, SLEEPER).result()
        keep(lambda: c.poll() is None)
        """,
    "log handler": """
        h = logging.NullHandler(); logging.getLogger("owner").addHandler(h)
        keep(lambda: h in logging.getLogger("owner").handlers)
        """,
    "in a host's thread": "host.run_in_thread(wait)",
    "by partial": "host.run_in_thread(functools.partial(self.wait))",
    "by a callable": "host.run_in_thread(Called())",
    "by a lambda": "host.run_in_thread(lambda: wait())",
    "by a generator": "host.run_in_thread(lambda: next(generator()))",
    "by a cached function": "host.run_in_thread(cached)",
    "by a context": """
        import contextvars
        host.run_in_thread(contextvars.copy_context().run, wait)
        """,
    "by another thread": """
        begun = threading.Event()
        def outer():
            t = threading.Thread(target=threading.Event().wait); t.start()
            keep(t.is_alive); begun.set(); wait()
        threading.Thread(target=outer).start(); begun.wait()
        """,
}
OWNED_BY_LOOP = {
    "task": "t = asyncio.create_task(forever()); keep(lambda: not t.done())",
    "task of asyncio": """
        t = asyncio.create_task(asyncio.sleep(3600)); keep(lambda: not t.done())
        """,
    "task of a host's": """
        t = asyncio.create_task(host.forever()); keep(lambda: not t.done())
        """,
    "task by the host": "host.run_in_task(self.forever())",
    "child by exec": """
        async def run():
            c = await asyncio.create_subprocess_exec(*SLEEPER)
            keep(lambda: c.returncode is None)
        self.task = asyncio.create_task(run())
        """,
    "child by a task of library code": """
        async def run():
            (c,) = await asyncio.gather(asyncio.create_subprocess_exec(*SLEEPER))
            keep(lambda: c.returncode is None)
        self.task = asyncio.create_task(run())
        """,
    "child by exec within a time": """
        async def run():
            c = await asyncio.wait_for(asyncio.create_subprocess_exec(*SLEEPER), 60)
            keep(lambda: c.returncode is None)
        self.task = asyncio.create_task(run())
        """,
    "child by library code in the loop's executor": """
        async def run():
            c = await asyncio.to_thread(subprocess.Popen, SLEEPER)
            keep(lambda: c.poll() is None)
        self.task = asyncio.create_task(run())
        """,
    "child by library code in a task": """
        async def run():
            starting = asyncio.to_thread(subprocess.Popen, SLEEPER)
            c = await asyncio.create_task(starting)
            keep(lambda: c.poll() is None)
        self.task = asyncio.create_task(run())
        """,
    "child by shell": """
        async def run():
            c = await asyncio.create_subprocess_shell("exec sleep 600")
            keep(lambda: c.returncode is None)
        self.task = asyncio.create_task(run())
        """,
    "child by protocol": """
        class Protocol(asyncio.SubprocessProtocol):
            def process_exited(self):
                self.transport.close()
        async def run():
            loop = asyncio.get_running_loop()
            t, p = await loop.subprocess_exec(Protocol, *SLEEPER)
            p.transport = t
            keep(lambda: t.get_returncode() is None)
        self.task = asyncio.create_task(run())
        """,
    "call_later": """
        h = asyncio.get_running_loop().call_later(3600, self.wait)
        keep(lambda: not h.cancelled())
        """,
    "call_at": """
        loop = asyncio.get_running_loop()
        h = loop.call_at(loop.time() + 3600, print)
        keep(lambda: not h.cancelled())
        """,
    "call_later of an event": """
        h = asyncio.get_running_loop().call_later(3600, asyncio.Event().set)
        keep(lambda: not h.cancelled())
        """,
    "call_later by the host": "host.run_later(functools.partial(self.wait))",
}
NOT_OWNED = ["thread", "pool", "log", "child", "queue"]
NOT_OWNED_BY_LOOP = ["task", "timer", "subprocess"]
RUNNERS = ["asyncio", "uvloop"]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The host's module, and what it has started ends with the test."""
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "owners_host.py").write_text(HOST)
    monkeypatch.syspath_prepend(str(folder))
    module = importlib.import_module("owners_host")
    try:
        yield module
    finally:
        module.end()
        del sys.modules["owners_host"]


def run_on(kind: str, main: Callable[[], Any]) -> None:
    """Run *main* on a new loop of this kind."""
    factory = None
    if kind == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@pytest.fixture(autouse=True)
def look_for_survivors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect garbage to find what lives on, in a process of any size."""
    monkeypatch.setattr(_survivors, "_SMALL", sys.maxsize)


def new_loader() -> luminal.Loader:
    return luminal.Loader(deadlines=luminal.Deadlines(close=brief(2.0)))


def add_line(path: Path, line: str) -> None:
    """Change the code of a photon."""
    path.write_text(f"{path.read_text()}\n{line}\n")


def count(host: Any) -> int:
    return sum(bool(is_alive()) for is_alive in host.alive)


@pytest.mark.parametrize("where", ["start", "hook"])
@pytest.mark.parametrize("kind", OWNED)
async def test_what_a_photon_starts_ends_with_its_generation(
    host: Any, tmp_path: Path, kind: str, where: str
) -> None:
    path = tmp_path / "owner.py"
    path.write_text(text(OWNED[kind], where))
    await started_twice(host, path, where)


async def started_twice(
    host: Any, path: Path, where: str, is_owned: bool = True
) -> None:
    """Let two generations start something; what the first one owns ends first."""
    loader = new_loader()
    (handler,) = await loader.load_photon(path)
    await handler.start()
    try:
        for number in (1, 2):
            if number == 2:
                add_line(path, "N = 2")
                await loader.reload_photon(handler)
            if where != "start":
                loader.hook.begin()
            await async_wait_until(lambda n=number: len(host.alive) == n)
            assert host.alive[-1]()
        if is_owned:
            await async_wait_until(lambda: count(host) == 1)
        await loader.close()
        assert handler.leftovers == ()
        if is_owned:  # a loop is told later that a child has ended
            await async_wait_until(lambda: count(host) == 0)
        assert count(host) == (0 if is_owned else 2)
    finally:
        await loader.close()


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("where", ["hook", "task", "timer", "step of a task"])
@pytest.mark.parametrize("kind", OWNED_BY_LOOP)
def test_what_a_photon_starts_on_a_loop_ends_with_its_generation(
    host: Any, tmp_path: Path, kind: str, where: str, runner: str
) -> None:
    path = tmp_path / "owner.py"
    path.write_text(text(OWNED_BY_LOOP[kind], where))
    where = "start" if where == "step of a task" else where
    run_on(runner, lambda: started_twice(host, path, where))


STUBBORN = """
async def run():
    c = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import signal, time;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print(flush=True); time.sleep(600)", stdout=subprocess.PIPE)
    await c.stdout.readline()
    keep(lambda: c.returncode is None)
self.task = asyncio.create_task(run())
"""


async def test_a_loop_is_told_when_a_child_has_ended_that_had_to_be_killed(
    host: Any, tmp_path: Path
) -> None:
    """The thread that waits for it is asyncio's, and ends with the child."""
    path = tmp_path / "owner.py"
    path.write_text(text(STUBBORN))
    await started_twice(host, path, "hook")


@pytest.mark.parametrize("where", ["task", "timer", "long timer", "thread"])
@pytest.mark.parametrize("kind", ["thread", "executor", "child", "log handler"])
async def test_tasks_timers_and_threads_of_a_photon_own_nothing_themselves(
    host: Any, tmp_path: Path, kind: str, where: str
) -> None:
    """What they start is the photon's."""
    path = tmp_path / "owner.py"
    path.write_text(text(OWNED[kind], where))
    await started_twice(host, path, where)


@pytest.mark.parametrize("where", ["start", "hook", "task", "thread", "timer"])
@pytest.mark.parametrize("kind", NOT_OWNED)
async def test_what_a_module_of_the_host_starts_lives_on(
    host: Any, tmp_path: Path, kind: str, where: str
) -> None:
    path = tmp_path / "owner.py"
    path.write_text(text(f"host.use_{kind}()", where))
    await started_twice(host, path, where, is_owned=False)


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("where", ["hook", "task", "timer", "step of a task"])
@pytest.mark.parametrize("kind", NOT_OWNED_BY_LOOP)
def test_what_a_module_of_the_host_starts_on_a_loop_lives_on(
    host: Any, tmp_path: Path, kind: str, where: str, runner: str
) -> None:
    path = tmp_path / "owner.py"
    path.write_text(text(f"host.use_{kind}()", where))
    where = "start" if where == "step of a task" else where

    async def main() -> None:
        try:
            await started_twice(host, path, where, is_owned=False)
        finally:
            await host.end_children()

    run_on(runner, main)


@pytest.mark.parametrize("where", ["start", "hook", "thread"])
async def test_a_queue_of_the_hosts_outlives_the_photon_that_is_the_first_to_use_it(
    host: Any, tmp_path: Path, where: str
) -> None:
    """The thread that sends what is put into it is the queue's."""
    path = tmp_path / "owner.py"
    path.write_text(text("host.new_queue().put(0)", where))
    await started_twice(host, path, where, is_owned=False)


async def test_a_loader_of_somebody_elses_is_no_photons(
    host: Any, tmp_path: Path
) -> None:
    """Whatever attributes it has."""
    host.__loader__ = types.SimpleNamespace(generation=5)
    host.__spec__.loader = host.__loader__
    path = tmp_path / "owner.py"
    path.write_text(text("host.use_thread(); host.use_log(); host.use_codec()"))
    loader = new_loader()
    (handler,) = await loader.load_photon(path)
    await handler.start()
    loader.hook.begin()
    await loader.close()
    assert handler.leftovers == ()
    assert count(host) == 2


# Where the code lies, and whose it is -----------------------------------------------


PACKAGE = """
import luminal
from {parts} import begin

class Owner(luminal.IPhoton):
    @luminal.hookimpl
    def begin(self):
        begin()
"""
PARTS = (
    HEAD
    + """
def begin():
    t = threading.Thread(target=threading.Event().wait); t.start(); keep(t.is_alive)
    host.use_thread()
"""
)


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ({"owner/__init__.py": PACKAGE, "owner/parts.py": PARTS}, ".parts"),
        ({"owner/__init__.py": PACKAGE, "owner/a/b.py": PARTS}, ".a.b"),
        ({"owner.py": PACKAGE, "parts.py": PARTS}, "parts"),
        ({"owner.py": PACKAGE, "parts.py": PARTS}, ".parts"),
    ],
)
async def test_modules_of_a_photon_start_what_is_the_photons(
    host: Any, tmp_path: Path, files: dict[str, str], parts: str
) -> None:
    """Also a module beside it, which others may import."""
    for name, content in files.items():
        path = tmp_path / "photons" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace("{parts}", parts))
    loader = new_loader()
    handlers = await loader.load_photons(tmp_path / "photons")
    await handlers.start()
    loader.hook.begin()
    assert [is_alive() for is_alive in host.alive] == [True, True]
    await loader.close()
    assert [is_alive() for is_alive in host.alive] == [False, True]


async def test_a_photon_in_site_packages_owns_by_its_code_not_by_its_path(
    host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library beside it, in the same directory, is not the photon's."""
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "owners_library.py").write_text(HOST)
    text = (
        HEAD
        + """
import owners_library

class Owner(luminal.IPhoton):
    photon_name = "owner"

    @luminal.hookimpl
    def begin(self):
        t = threading.Thread(target=threading.Event().wait); t.start()
        keep(t.is_alive)
        owners_library.use_thread()
        keep(owners_library.alive[-1])
"""
    )
    put(
        site,
        "owner",
        "1.0",
        files={"owner/__init__.py": text},
        entries="owner = owner:Owner",
    )
    monkeypatch.syspath_prepend(str(site))
    loader = new_loader()
    await loader.load(luminal.discover())
    await loader.photons["owner"].start()
    loader.hook.begin()
    assert [is_alive() for is_alive in host.alive] == [True, True]
    await loader.close()
    assert [is_alive() for is_alive in host.alive] == [False, True]
    sys.modules["owners_library"].end()
    del sys.modules["owners_library"]


TWO = (
    HEAD
    + """
class Base:
    async def start(self):
        if FAILS and self.photon_name == "second":
            self.begin()
            raise ValueError

    @luminal.hookimpl
    def begin(self):
        self.thread = threading.Thread(target=wait)
        self.thread.start()
        host.keep(self.thread.is_alive)

class First(Base, luminal.IPhoton):
    photon_name = "first"

class Second(Base, luminal.IPhoton):
    photon_name = "second"
"""
)


async def test_photons_of_one_file_keep_what_may_be_the_others(
    host: Any, tmp_path: Path
) -> None:
    path = tmp_path / "two.py"
    path.write_text(TWO.replace("FAILS", "False"))
    loader = new_loader()
    handlers = await loader.load_photon(path)
    await handlers.start()
    loader.hook.begin()
    assert count(host) == 2
    await loader.photons["second"].stop()
    assert count(host) == 2
    await loader.photons["first"].stop()
    assert count(host) == 0
    await loader.close()


async def test_what_a_failed_start_has_started_ends_though_another_photon_runs(
    host: Any, tmp_path: Path
) -> None:
    """Both are of one file; which one is meant is known while it starts."""
    path = tmp_path / "two.py"
    path.write_text(TWO.replace("FAILS", "True"))
    loader = new_loader()
    await loader.load_photon(path)
    await loader.photons["first"].start()
    loader.hook.begin()
    with pytest.raises(luminal.LuminalError):
        await loader.photons["second"].start()
    assert [is_alive() for is_alive in host.alive] == [True, False]
    await loader.close()
    assert count(host) == 0


async def test_a_module_that_the_host_has_imported_is_the_photons_while_it_lives(
    host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photons"
    folder.mkdir()
    (folder / "owners_photon.py").write_text(text(OWNED["thread"]))
    monkeypatch.syspath_prepend(str(folder))
    module = importlib.import_module("owners_photon")
    other = tmp_path / "other.py"
    other.write_text(text("pass").replace("Owner", "Other"))
    loader = new_loader()
    (handler,) = await loader.load_photon(folder / "owners_photon.py")
    await handler.start()
    await (await loader.load_photon(other)).start()
    loader.hook.begin()
    assert count(host) == 1
    await loader.unload_photon(handler)
    assert count(host) == 0
    host.run_in_thread(host.wait_for_end)
    thread = module.threading.Thread(target=module.wait, daemon=True)
    thread.start()
    assert thread.is_alive()
    assert count(host) == 1
    await loader.close()
    assert thread.is_alive()
    del sys.modules["owners_photon"]


# The host's pools, a library's scheduler -------------------------------------------


async def test_work_in_a_pool_of_the_hosts_is_the_photons_its_workers_are_not(
    host: Any, tmp_path: Path
) -> None:
    """What waits is cancelled, what runs is named with its line."""
    path = tmp_path / "owner.py"
    one = """
        pool = host.shared_pool()
        self.running = pool.submit(host.wait_for_end)
        self.other = pool.submit(functools.partial(self.block))
        self.waiting = pool.submit(self.again)
        """
    method = "    def block(self):\n        host.wait_for_end()\n"
    path.write_text(text(one) + method)
    loader = luminal.Loader(deadlines=luminal.Deadlines(close=0.5))
    (handler,) = await loader.load_photon(path)
    await handler.start()
    loader.hook.begin()
    instance = handler.instance
    await async_wait_until(lambda: len(host.ends) == 3)
    await loader.close()
    assert {left.kind for left in handler.leftovers} == {"call"}
    assert sorted(left.name.rpartition(".")[2] for left in handler.leftovers) == [
        "block",
        "wait_for_end",
    ]
    assert all(f"{path}:" in left.where for left in handler.leftovers)
    assert instance.waiting.cancelled()
    assert host.pool.submit(int)
    host.end()
    assert host.calls == []


async def test_to_thread_of_a_photon_leaves_the_default_executor_alone(
    host: Any, tmp_path: Path
) -> None:
    path = tmp_path / "owner.py"
    path.write_text(
        text("self.task = asyncio.create_task(asyncio.to_thread(self.again))")
    )
    await asyncio.to_thread(int)
    loader = new_loader()
    (handler,) = await loader.load_photon(path)
    await handler.start()
    for number in (1, 2, 3):
        loader.hook.begin()
        await async_wait_until(lambda n=number: len(host.calls) == n)
        add_line(path, f"N = {number}")
        await loader.reload_photon(handler)
    await loader.close()
    assert await asyncio.to_thread(int) == 0
    assert handler.leftovers == ()


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_first_to_use_the_loops_executor_does_not_own_it(
    host: Any, tmp_path: Path, runner: str
) -> None:
    path = tmp_path / "owner.py"
    path.write_text(
        text("asyncio.get_running_loop().run_in_executor(None, self.again)")
    )

    async def main() -> None:
        loader = new_loader()
        (handler,) = await loader.load_photon(path)
        await handler.start()
        for number in (1, 2):
            loader.hook.begin()
            await async_wait_until(lambda n=number: len(host.calls) == n)
            if number == 1:
                add_line(path, "N = 1")
                await loader.reload_photon(handler)
        await loader.close()
        assert await asyncio.to_thread(int) == 0
        assert handler.leftovers == ()

    run_on(runner, main)


LIBRARY = """
import threading

class Scheduler:
    def __init__(self):
        self.jobs, self.is_over = [], threading.Event()

    def add_job(self, job):
        self.jobs.append(job)

    def start(self):
        self.thread = threading.Thread(target=self._run, name="scheduler")
        self.thread.start()

    def _run(self):
        while not self.is_over.wait(0.001):
            for job in self.jobs:
                job()

    def shutdown(self):
        self.is_over.set()
        self.thread.join()

schedulers = []
"""


@pytest.mark.parametrize("is_given_back", [True, False])
async def test_a_scheduler_out_of_a_library_is_given_back_or_named(
    host: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_given_back: bool,
) -> None:
    (tmp_path / "owners_library.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "photons" / "owner.py"
    path.parent.mkdir()
    path.write_text(
        text(
            """
            import owners_library
            scheduler = owners_library.Scheduler()
            owners_library.schedulers.append(scheduler)
            scheduler.add_job(self.again)
            scheduler.start()
            keep(scheduler.thread.is_alive)
            """
            + "self.context.on_close(scheduler.shutdown)" * is_given_back
        )
    )
    loader = new_loader()
    (handler,) = await loader.load_photon(path)
    await handler.start()
    loader.hook.begin()
    await async_wait_until(lambda: host.calls)
    add_line(path, "N = 2")
    await loader.reload_photon(handler)
    if is_given_back:
        await async_wait_until(lambda: count(host) == 0)
    else:
        leaked = await async_wait_until(
            lambda: [e for e in loader.events.journal if e.kind == "leaked"]
        )
        assert leaked[0].photon == handler.name
        assert "owners_library" in str(leaked[0].problem)
        assert count(host) == 1
    await loader.close()
    for scheduler in sys.modules.pop("owners_library").schedulers:
        scheduler.shutdown()


# What lives on --------------------------------------------------------------------


async def test_what_a_survivor_starts_is_ended_at_once(
    host: Any, tmp_path: Path
) -> None:
    """A thread that outlives its photon cannot leave another behind."""
    path = tmp_path / "owner.py"
    path.write_text(
        HEAD
        + """
lock = threading.Lock()

class Owner(luminal.IPhoton):
    def start(self):
        host.keep(lock.release)
        lock.acquire()
        threading.Thread(target=self.survive).start()

    def survive(self):
        lock.acquire()
        thread = threading.Thread(target=spin)
        host.keep(thread.is_alive)
        thread.start()

def spin():
    while True:
        pass
"""
    )
    other = tmp_path / "other.py"
    other.write_text(text("pass").replace("Owner", "Other"))
    loader = luminal.Loader(deadlines=luminal.Deadlines(close=0.5))
    (handler,) = await loader.load_photon(path)
    await handler.start()
    await (await loader.load_photon(other)).start()
    await loader.unload_photon(handler)
    (left,) = handler.leftovers
    assert f"{path}:" in left.where
    host.alive[0]()
    await async_wait_until(lambda: len(host.alive) == 2)
    await async_wait_until(lambda: not host.alive[1]())
    await loader.close()


REGISTERED = [
    "atexit.register(self.wait)",
    "atexit.register(print, 'left by a photon')",
    "signal.signal(signal.SIGUSR1, lambda *_: None)",
]


@pytest.mark.parametrize("statement", REGISTERED)
async def test_registrations_of_a_hook_are_taken_back(
    host: Any, tmp_path: Path, statement: str
) -> None:
    path = tmp_path / "owner.py"
    path.write_text(text(statement))
    before = signal.getsignal(signal.SIGUSR1)
    loader = new_loader()
    (handler,) = await loader.load_photon(path)
    await handler.start()
    loader.hook.begin()
    await loader.close()
    assert handler.leftovers == ()
    assert signal.getsignal(signal.SIGUSR1) is before
    done: list[object] = []
    atexit.unregister(Equal(done))  # type: ignore[arg-type]
    assert not [f for f in done if str(path) in str(getattr(f, "__code__", ""))]
    assert print not in done


def test_signal_handlers_of_asyncio_are_left_to_it(host: Any, tmp_path: Path) -> None:
    """A hook that runs a loop sets one for a moment, again and again."""
    path = tmp_path / "owner.py"
    path.write_text(text("asyncio.run(asyncio.sleep(0))"))
    before = signal.getsignal(signal.SIGINT)
    with luminal.blocking.Loader() as loader:
        (handler,) = loader.load_photon(path)
        handler.start()
        for _ in range(3):
            loader.hook.begin()
        scope = handler.context.scope
        assert [one.kind for one in scope.living()] == []
    assert handler.leftovers == ()
    assert signal.getsignal(signal.SIGINT) is before


class Equal:
    """Equal to nothing; notes what it is compared with."""

    def __init__(self, done: list[object]) -> None:
        self.done = done

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        self.done.append(other)
        return False


LATE = """
import sys, threading
import luminal

class Owner(luminal.IPhoton):
    @luminal.hookimpl
    def begin(self):
        {0}
"""
LATE_HOST = """
import sys, threading, time, luminal.blocking
assert not {"multiprocessing", "concurrent.futures.thread"} & {*sys.modules}
loader = luminal.blocking.Loader()
(handler,) = loader.load_photon(sys.argv[1])
handler.start()
before = set(threading.enumerate())
loader.hook.begin()
loader.close()
assert handler.leftovers == (), handler.leftovers
new = {t for t in threading.enumerate() if t not in before}
assert not [t for t in new if not t.name.startswith("luminal")], new
"""


LATE_STATEMENTS = [
    """
        from concurrent.futures import ThreadPoolExecutor
        ThreadPoolExecutor(1).submit(threading.Event().wait)
    """,
    """
        import concurrent.futures
        concurrent.futures.ThreadPoolExecutor(1).submit(threading.Event().wait)
    """,
    """
        import multiprocessing
        sys.kept = multiprocessing.get_context("spawn").Pool(1)
    """,
    """
        import multiprocessing
        sys.kept = multiprocessing.Pool(1)
    """,
    """
        import multiprocessing
        sys.kept = multiprocessing.Queue()
        import multiprocessing.queues
        sys.kept.put(1)
    """,
]


@pytest.mark.parametrize("statement", LATE_STATEMENTS)
def test_what_a_photon_is_the_first_to_import_is_watched_as_well(
    tmp_path: Path, statement: str
) -> None:
    path = tmp_path / "owner.py"
    path.write_text(LATE.format(statement))
    command = [sys.executable, "-c", LATE_HOST, str(path)]
    subprocess.run(command, check=True, timeout=DEADLINE)


STARTING = """
import multiprocessing, subprocess, sys, threading
import luminal

def start():
    {0}

class Owner(luminal.IPhoton):
    started = 0

    def start(self):
        threading.Thread(target=self.go_on).start()

    def go_on(self):
        while True:
            start()
            Owner.started += 1
"""


STARTING_HOST = """
import sys, threading, luminal.blocking
from tests.waiting import wait_until
before = set(threading.enumerate())
with luminal.blocking.Loader() as loader:
    (handler,) = loader.load_photon(sys.argv[1])
    handler.start()
    wait_until(lambda: handler.instance.started > 3)
    instance = handler.instance
    loader.unload_photon(handler)
    assert handler.leftovers == (), handler.leftovers
    number = instance.started
left = {t for t in threading.enumerate() if t not in before}
assert not [t for t in left if not t.name.startswith("luminal")], left
assert instance.started == number
"""


@pytest.mark.parametrize(
    "statement",
    [
        'subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])',
        'multiprocessing.get_context("fork").Process(target=input).start()',
        "threading.Thread(target=threading.Event().wait).start()",
    ],
)
def test_a_thread_that_starts_things_without_a_pause_ends(
    tmp_path: Path, statement: str
) -> None:
    path = tmp_path / "owner.py"
    path.write_text(STARTING.format(statement))
    command = [sys.executable, "-c", STARTING_HOST, str(path)]
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    subprocess.run(command, check=True, timeout=DEADLINE, cwd=root)
