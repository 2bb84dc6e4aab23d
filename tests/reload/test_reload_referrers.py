"""What keeps an old generation in memory is named, with file and line."""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
import textwrap
import weakref

import pytest

from luminal.lifecycle import _survivors
from luminal.model import EventKind
from tests.waiting import async_wait_until

HOST = """
import contextvars, functools, string, threading, weakref

COMMANDS = {}
HANDLERS = []

class Shop:
    known = []
    def __init__(self):
        self.customers = []
    @functools.cached_property
    def cached(self):
        return HANDLERS

shop = Shop()

@functools.cache
def remember(thing):
    return thing

def make():
    kept = []
    def inner(thing):
        kept.append(thing)
    return inner

subscribe = make()
variable = contextvars.ContextVar("variable")
local = threading.local()
event = threading.Event()
tasks = []
weak = weakref.WeakSet()
"""

PHOTON = """
import asyncio, atexit, contextvars, functools, string, sys, threading, weakref
import referrers_host as host
from luminal import IPhoton, hookimpl

class Thing:
    def method(self): return self

def function(*args): return None
def generator():
    yield 1
    yield 2
def fail():
    raise ValueError(Thing())

class Photon(IPhoton):
    photon_name = "a"

    async def start(self):
        {0}
"""


@pytest.fixture
def host_module(tmp_path, monkeypatch):
    """A module of the host, in a file of its own."""
    (tmp_path / "referrers_host.py").write_text(HOST)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("referrers_host")
    yield module
    del sys.modules["referrers_host"]


def line_of(text):
    return HOST[: HOST.index(text)].count("\n") + 1


GENERATOR = "g = generator(); next(g); host.HANDLERS.append(g)"
KEPT_ERROR = "try: fail()\nexcept ValueError as error: host.COMMANDS['x'] = error"
HELD = {
    "function in a table": ("host.COMMANDS['x'] = function", "COMMANDS ="),
    "method in a list": ("host.HANDLERS.append(Thing().method)", "HANDLERS ="),
    "instance in an object": ("host.shop.customers.append(self)", "shop ="),
    "class in a class": ("host.Shop.known.append(Thing)", "class Shop"),
    "attribute of a class": ("host.Shop.photon = Thing()", "class Shop"),
    "patched function": ("host.remember = function", "def remember"),
    "functools.cache": ("host.remember(Thing())", "def remember"),
    "closure": ("host.subscribe(Thing())", "subscribe ="),
    "generator": (GENERATOR, "HANDLERS ="),
    "exception": (KEPT_ERROR, "COMMANDS ="),
    "partial": (
        "host.HANDLERS.append(functools.partial(print, Thing()))",
        "HANDLERS =",
    ),
    "module": ("host.HANDLERS.append(sys.modules[__name__])", "HANDLERS ="),
    "deep": ("host.COMMANDS['x'] = [{'y': (Thing(),)}]", "COMMANDS ="),
}


@pytest.fixture(autouse=True)
def collects_garbage(monkeypatch):
    """As in a small program, and at once; the process of all tests is a large one."""
    monkeypatch.setattr(_survivors, "_SMALL", sys.maxsize)
    monkeypatch.setattr(_survivors, "PATIENCE", 0.0)


@pytest.fixture
def small_heap(collects_garbage):
    """The collector looks only at what the test makes: holders must be made in it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def told(host):
    """What leaks are reported."""
    return host.happened(EventKind.LEAKED)


class Clock:
    """Stands still until it is set; counts who asks."""

    def __init__(self):
        self.now = 0.0
        self.asked = 0

    def monotonic(self):
        self.asked += 1
        return self.now


async def test_where_reload_follows_reload_it_is_looked_after_the_last_one(
    small_heap, make_host, photons, host_module, monkeypatch
):
    """A collection stops all threads: it is not to fall on the next reload."""
    clock = Clock()
    monkeypatch.setattr(_survivors, "time", clock)
    monkeypatch.setattr(_survivors, "PATIENCE", 0.01)
    monkeypatch.setattr(_survivors, "_LONGEST", 0.03)
    gc.disable()  # nobody else collects
    try:
        async with make_host() as host:
            (a,) = await host.run(photons.write("a.py", PHOTON.format("pass")))

            async def reload_at(now):
                """Reload, and wait until the clock has been looked at."""
                clock.now = now
                photons.write("a.py", PHOTON.format(f"self.x = {now}"))
                await host.reload_photon(a)
                asked = clock.asked
                await host.until(lambda: clock.asked > asked + 2)

            for now in (0.001, 0.009, 0.017):
                await reload_at(now)
                assert host.happened(EventKind.RETIRED) == []
            clock.now = 0.028
            await host.until(lambda: len(host.happened(EventKind.RETIRED)) == 3)
            for now in (0.1, 0.109, 0.118, 0.127):
                await reload_at(now)
            photons.write("a.py", PHOTON.format("self.x = 0"))
            clock.now = 0.1305  # the first one has waited for long enough
            await host.reload_photon(a)
            await host.until(lambda: len(host.happened(EventKind.RETIRED)) >= 7)
    finally:
        gc.enable()


@pytest.mark.parametrize("habit", HELD)
async def test_what_a_module_of_the_host_holds_is_named(
    small_heap, make_host, photons, host_module, habit
):
    """By the module's file, and the line that gives the name its meaning."""
    code, text = HELD[habit]
    body = PHOTON.format(textwrap.indent(code, " " * 8).strip())
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", body))
        old = weakref.ref(a.generation)
        photons.write("a.py", PHOTON.format("pass"))
        await host.reload_photon(a)
        await host.until(lambda: told(host))
        (event,) = host.happened(EventKind.LEAKED)
        assert event.generation == 1
        assert f"{host_module.__file__}:{line_of(text)}" in str(event)
        assert event.problem.file == host_module.__file__
        host_module.COMMANDS.clear()
        host_module.HANDLERS.clear()
        del event
        host.heard.clear()
        for name in ("Shop", "shop", "remember", "subscribe"):
            delattr(host_module, name)
        gc.collect()
        assert old() is None


NAMED = {
    "asyncio exception handler": (
        "asyncio.get_running_loop().set_exception_handler(function)",
        "_exception_handler",
    ),
    "callback of a future": (
        "(f := asyncio.Future()).add_done_callback(function); host.tasks.append(f)",
        "referrers_host.tasks",
    ),
    "weakref.finalize": ("weakref.finalize(host.shop, function)", "weakref.finalize"),
    "attribute of the library": ("string.capwords = function", "string.capwords"),
    "thread local": ("host.local.thing = Thing()", "local"),
}


@pytest.mark.parametrize("habit", NAMED)
async def test_what_holds_it_elsewhere_is_named(
    make_host, photons, host_module, habit, monkeypatch
):
    import string

    monkeypatch.setattr(string, "capwords", string.capwords)
    code, said = NAMED[habit]
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", PHOTON.format(code)))
        photons.write("a.py", PHOTON.format("pass"))
        await host.reload_photon(a)
        await host.until(lambda: told(host))
        (event,) = host.happened(EventKind.LEAKED)
        assert said in str(event)
        assert event.problem.file
        assert event.problem.line
    asyncio.get_running_loop().set_exception_handler(None)


@pytest.mark.parametrize("code", ["pass", "host.weak.add(Thing())", "self.me = self"])
async def test_what_is_freed_is_not_named(
    small_heap, make_host, photons, host_module, code
):
    """The journal says `retired`, and nothing else about it."""
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", PHOTON.format(code)))
        for number in range(3):
            photons.write("a.py", PHOTON.format(code) + f"\nN = {number}\n")
            await host.reload_photon(a)
        await host.until(lambda: len(host.happened(EventKind.RETIRED)) == 3)
        await async_wait_until(
            lambda: gc.collect() >= 0 and not host._runtime.survivors._ended
        )
        assert not host.happened(EventKind.LEAKED)


async def test_each_of_several_old_generations_is_named(
    small_heap, make_host, photons, host_module
):
    """Also those that ended one right after the other; and the one that is unloaded."""
    body = PHOTON.format("host.HANDLERS.append(function)")
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", body))
        for number in (2, 3):
            photons.write("a.py", f"{body}\nN = {number}\n")
            await host.reload_photon(a)
        await host.unload_photon(a)
        del a
        await async_wait_until(lambda: len(told(host)) == 3)
        leaked = told(host)
        assert sorted(event.generation for event in leaked) == [1, 2, 3]
        assert all("referrers_host.HANDLERS" in str(event) for event in leaked)
