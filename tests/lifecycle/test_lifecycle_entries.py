"""What a photon puts into the host's own mappings, and what a failed start leaves."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import types
import weakref
from collections import OrderedDict, UserDict

import pytest

from luminal import Deadlines, Handler, IPhoton, LuminalError, hookimpl
from luminal.errors import PhotonNotInitializedError, PhotonStartError
from luminal.model import Probation, State
from luminal.testing import AsyncHost
from tests.waiting import DEADLINE, async_wait_until

PUTS = """
import registry_host as host
import luminal

class P(luminal.IPhoton):
    photon_name = "p"
    {a}def start(self):
        self.context.put(host.commands, "x", self.answer)
        {rest}
    def answer(self):
        return {number}
    def finalize(self):
        host.finalized.append({number})
"""


def puts(number: int, rest: str = "pass", *, is_async: bool = False) -> str:
    return PUTS.format(number=number, rest=rest, a="async " if is_async else "")


@pytest.fixture
def registry(monkeypatch):
    """A module of the host's, with mappings that photons register in."""
    module = types.ModuleType("registry_host")
    module.commands, module.finalized, module.box = {}, [], {}
    monkeypatch.setitem(sys.modules, "registry_host", module)
    return module


def answer(registry, key="x"):
    """Call what is registered; None where nothing is."""
    found = registry.commands.get(key)
    return found() if found is not None else None


# --- context.put ----------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_an_entry_is_the_new_ones_after_a_reload(registry, is_async):
    """The old photon takes back what is its own: that is no entry of the new one."""
    async with AsyncHost() as host:
        host.write("p.py", puts(1, is_async=is_async))
        await host.run()
        for number in (2, 3):
            host.write("p.py", puts(number, is_async=is_async))
            await host.reload("p")
            await async_wait_until(lambda n=number: registry.finalized[-1:] == [n - 1])
            assert answer(registry) == number
        await host.unload("p")
    assert registry.commands == {}


FAILS = {
    "raises": "raise ValueError",
    "exits": "raise SystemExit",
    "hangs": "host.wait()",
    "hangs, async": "await host.hang()",
    "raises, async": "await host.boom()",
}


@pytest.mark.fault(10, 11)
@pytest.mark.parametrize("way", FAILS)
async def test_a_failed_start_leaves_the_entry_of_the_old(registry, way):
    """It is there again, its photon serves, and no ``finalize`` was called."""
    import threading

    gate = threading.Event()
    registry.wait = lambda: gate.wait(DEADLINE)
    registry.hang = lambda: asyncio.sleep(DEADLINE)

    async def boom():
        await asyncio.sleep(0)
        raise ValueError

    registry.boom = boom
    is_async = "async" in way
    async with AsyncHost(deadlines=Deadlines(start=0.2)) as host:
        host.write("p.py", puts(1, is_async=is_async))
        await host.run()
        entry = registry.commands["x"]
        host.write("p.py", puts(2, FAILS[way], is_async=is_async))
        with pytest.raises(LuminalError):
            await host.reload("p")
        gate.set()
        assert registry.commands == {"x": entry}
        assert answer(registry) == 1
        assert registry.finalized == []
        host.write("p.py", puts(3, is_async=is_async))
        await host.reload("p")
        await async_wait_until(lambda: registry.finalized == [1])
        assert answer(registry) == 3
    assert registry.commands == {}


async def test_a_roll_back_returns_the_entry(registry):
    """Another photon of the batch fails: what had started is taken back, in order."""
    async with AsyncHost() as host:
        host.write("p.py", puts(1))
        host.write("q.py", puts(1).replace('"p"', '"q"').replace('"x"', '"y"'))
        await host.run()
        host.write("p.py", puts(2))
        host.write(
            "q.py",
            puts(2, "1 / 0").replace('"p"', '"q"').replace('"x"', '"y"'),
        )
        with pytest.raises(LuminalError):
            await host.reload("p", "q")
        assert (answer(registry), answer(registry, "y")) == (1, 1)
        assert registry.finalized == [2]  # `p` had started, `q` had not
    assert registry.commands == {}


async def test_probation_that_fails_returns_the_entry(registry):
    """The old photon never stopped, and neither did its entry's life."""
    async with AsyncHost(probation=Probation(seconds=DEADLINE, interval=0.01)) as host:
        host.write("p.py", puts(1))
        await host.run()
        healthy = "    def is_healthy(self): return not host.box\n"
        host.write("p.py", puts(2) + healthy)
        await host.reload("p")
        assert answer(registry) == 2
        registry.box["sick"] = True
        await host.until("rolled_back", "p")
        await async_wait_until(lambda: registry.finalized == [2])
        await async_wait_until(lambda: answer(registry) == 1)
    assert registry.commands == {}


async def test_what_the_host_had_comes_back_at_the_end(registry):
    """Over three generations: the host's own entry, never one of a photon's."""
    registry.commands["x"] = lambda: "host"
    async with AsyncHost() as host:
        host.write("p.py", puts(1))
        await host.run()
        for number in (2, 3):
            host.write("p.py", puts(number))
            await host.reload("p")
            await async_wait_until(lambda n=number: registry.finalized[-1:] == [n - 1])
        assert answer(registry) == 3
    assert answer(registry) == "host"


async def test_what_the_host_has_put_there_since_stays(registry):
    """It is no entry of the photon's any more."""
    async with AsyncHost() as host:
        host.write("p.py", puts(1))
        await host.run()
        registry.commands["x"] = lambda: "host"
    assert answer(registry) == "host"


async def test_a_force_stop_takes_the_entry_back(registry):
    """It skips ``finalize`` only."""
    async with AsyncHost() as host:
        host.write("p.py", puts(1))
        (handler,) = await host.run()
        await handler.stop(force_stop=True)
        assert registry.commands == {}
        assert registry.finalized == []


EQUAL = """
import registry_host as host
import luminal

class P(luminal.IPhoton):
    photon_name = "p"
    def start(self):
        self.context.put(host.commands, "x", host.box)
        self.context.put(host.commands, "n", None)
        {rest}
"""


async def test_both_generations_put_the_same_object(registry):
    """The entry of the new one stays, though it is what the old one put."""
    async with AsyncHost() as host:
        host.write("p.py", EQUAL.format(rest=""))
        await host.run()
        host.write("p.py", EQUAL.format(rest="self.two = 2"))
        await host.reload("p")
        await host.until("finalized", "p")
        assert registry.commands == {"x": registry.box, "n": None}
        host.write("p.py", EQUAL.format(rest="1 / 0"))
        with pytest.raises(LuminalError):
            await host.reload("p")
        assert registry.commands == {"x": registry.box, "n": None}
    assert registry.commands == {}


async def test_no_generation_is_kept_by_its_entries(registry):
    """What was replaced is forgotten with the photon that had put it."""
    async with AsyncHost() as host:
        host.write("p.py", puts(0))
        (handler,) = await host.run()
        gone = []
        for number in range(1, 6):
            gone.append(weakref.ref(handler.generation))
            host.write("p.py", puts(number))
            await host.reload("p")
            await async_wait_until(lambda n=number: registry.finalized[-1:] == [n - 1])

        def is_gone():
            gc.collect()
            # The latest may be on its way out.
            return len([ref for ref in gone if ref() is not None]) <= 1

        await async_wait_until(is_gone)


# --- The same with photons made by hand ---------------------------------------------


def handler_of(cls, **deadlines):
    from luminal.lifecycle import Runtime

    return Handler(
        False,
        "made",
        __file__,
        "00",
        cls,
        runtime=Runtime(deadlines=Deadlines(**deadlines)),
    )


@pytest.mark.parametrize(
    "make", [dict, OrderedDict, UserDict, weakref.WeakValueDictionary]
)
async def test_any_mutable_mapping(make):
    """It needs no more than the methods of a mapping."""
    mapping = make()

    class Made(IPhoton):
        def start(self):
            self.context.put(mapping, "x", self)

    handler = handler_of(Made)
    await handler.start()
    assert mapping["x"] is handler.instance
    await handler.stop()
    assert dict(mapping) == {}


async def test_a_mapping_that_returns_copies(monkeypatch):
    """The environment decodes a new string each time: equal is its own, too."""
    monkeypatch.setenv("LUMINAL_TEST_OLD", "before")
    monkeypatch.delenv("LUMINAL_TEST_NEW", raising=False)

    class Made(IPhoton):
        def start(self):
            self.context.put(os.environ, "LUMINAL_TEST_OLD", "during")
            self.context.put(os.environ, "LUMINAL_TEST_NEW", "during")

    handler = handler_of(Made)
    await handler.start()
    assert os.environ["LUMINAL_TEST_OLD"] == os.environ["LUMINAL_TEST_NEW"] == "during"
    await handler.stop()
    assert os.environ["LUMINAL_TEST_OLD"] == "before"
    assert "LUMINAL_TEST_NEW" not in os.environ


async def test_one_key_twice_and_many_keys():
    """Each is taken back, the last one first, between the functions of on_close."""
    mapping, log = {"k": "host"}, []

    class Made(IPhoton):
        def __init__(self):
            self.context.put(mapping, "k", "init")
            self.context.on_close(lambda: log.append(mapping["k"]))

        def start(self):
            self.context.put(mapping, "k", "start")
            for number in range(500):
                self.context.put(mapping, number, self)

        def finalize(self):
            log.append(len(mapping))

    handler = handler_of(Made)
    await handler.start()
    await handler.stop()
    assert log == [501, "init"]
    assert mapping == {"k": "host"}


class Refusing(UserDict):
    """A registry that has each name once."""

    def __setitem__(self, key, value):
        if key in self.data:
            raise KeyError(f"{key} is taken")
        super().__setitem__(key, value)


async def test_a_mapping_that_refuses_keeps_what_it_has():
    """What it raises is the photon's to handle; the first one's entry stays."""
    mapping = Refusing()

    class Made(IPhoton):
        def start(self):
            self.context.put(mapping, "x", self)

    first, second = handler_of(Made), handler_of(Made)
    await first.start()
    with pytest.raises(PhotonStartError, match="taken"):
        await second.start()
    assert mapping["x"] is first.instance
    await first.stop()
    assert dict(mapping) == {}
    await second.start()
    await second.stop()


async def test_a_mapping_that_raises_when_asked_back():
    """That is reported, and the other entries are taken back."""
    mapping = {}

    class Stubborn(UserDict):
        def __delitem__(self, key):
            raise ValueError("kept")

    stubborn = Stubborn()

    class Made(IPhoton):
        def start(self):
            self.context.put(mapping, 1, self)
            self.context.put(stubborn, 1, self)
            self.context.put(mapping, 2, self)

    handler = handler_of(Made)
    await handler.start()
    assert await handler.stop() is False
    assert "kept" in handler.problem.why
    assert mapping == {}


async def test_nothing_is_put_after_the_end():
    """As nothing can be started then."""
    mapping = {}

    class Made(IPhoton):
        def start(self):
            self.put = self.context.put

        def finalize(self):
            kept.append(self.put)

    kept = []
    handler = handler_of(Made)
    await handler.start()
    await handler.stop()
    with pytest.raises(PhotonNotInitializedError):
        kept[0](mapping, "x", 1)
    assert mapping == {}


async def test_what_is_put_while_the_life_ends_is_taken_back():
    """By a thread of the photon, say, which does not know about the end."""
    mapping = {}

    class Made(IPhoton):
        def start(self):
            self.context.on_close(lambda: self.context.put(mapping, "x", 1))

    handler = handler_of(Made)
    await handler.start()
    assert await handler.stop()
    assert mapping == {}


# --- A start that failed --------------------------------------------------------------

BAD = {
    "plain raises": ("", "raise ValueError"),
    "async raises": ("async ", "await asyncio.sleep(0); raise ValueError"),
    "plain hangs": ("", "gate.wait(20)"),
    "async hangs": ("async ", "await asyncio.sleep(20)"),
}
PORT = """
import asyncio, socket, socketserver, registry_host as host
import luminal

class P(luminal.IPhoton):
    photon_name = "p"
    {a}def start(self):
        gate = host.gate
        self.context.on_close(lambda: host.box.setdefault("closed", []).append(1))
        address = ("127.0.0.1", host.port)
        {opens}
        {rest}
    def finalize(self):
        host.finalized.append({number})
        {closes}
"""


OPENS = {
    "context": "self.context.enter(socket.create_server(address))",
    "plain": "self.server = socket.create_server(address)",
    "thread": "self.server = socketserver.ThreadingTCPServer(address, None)",
    "datagram": "self.server = socket.socket(type=socket.SOCK_DGRAM);"
    "self.server.bind(address)",
    "asyncio": "self.server = await asyncio.start_server(print, *address)",
}
CLOSES = {"context": "pass", "thread": "self.server.server_close()"}


def is_free(opens, port):
    """Whether the address can be taken."""
    kind = socket.SOCK_DGRAM if opens == "datagram" else socket.SOCK_STREAM
    with socket.socket(type=kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.mark.fault(10, 11)
@pytest.mark.parametrize("opens", OPENS)
@pytest.mark.parametrize("way", BAD)
async def test_a_port_is_free_for_the_second_try(registry, way, opens):
    """A start that failed gets its ``on_close`` functions, and no ``finalize``."""
    import threading

    registry.gate = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as free:
        registry.port = free.getsockname()[1]
    prefix, rest = BAD[way]
    if opens == "asyncio" and not prefix:
        pytest.skip("needs an async start")

    def photon(number, then, **head):
        closes = CLOSES.get(opens, "self.server.close()")
        text = PORT.format(
            a=prefix, opens=OPENS[opens], rest=then, closes=closes, number=number
        )
        return text.replace(
            "    photon_name", head.get("first", "") + "    photon_name"
        )

    async with AsyncHost(deadlines=Deadlines(start=0.2)) as host:
        host.write("p.py", photon(1, rest))
        with pytest.raises(LuminalError) as kept:  # its traceback refers to the photon
            await host.run()
        handler = host.loader.photons["p"]
        assert handler.state is State.FAILED
        assert (registry.finalized, registry.box) == ([], {"closed": [1]})
        assert is_free(opens, registry.port)
        exclusive = {"first": "    photon_exclusive = True\n"}
        host.write("p.py", photon(2, "pass", **exclusive))
        await host.reload("p")
        assert handler.state is State.RUNNING
        assert not is_free(opens, registry.port)
        # The old one is stopped, the new one fails: the old one has to start again.
        host.write("p.py", photon(3, rest, **exclusive))
        with pytest.raises(LuminalError):
            await host.reload("p")
        assert registry.finalized == [2]
        assert (handler.state, handler.number) == (State.RUNNING, 2)
        assert not is_free(opens, registry.port)
    assert is_free(opens, registry.port)
    registry.gate.set()
    del kept


async def test_a_start_that_is_cancelled_is_not_finalized():
    """Its ``on_close`` functions are called all the same."""
    log = []
    begun = asyncio.Event()

    class Made(IPhoton):
        async def start(self):
            self.context.on_close(lambda: log.append("closed"))
            begun.set()
            await asyncio.sleep(DEADLINE)

        def finalize(self):
            log.append("finalized")

    handler = handler_of(Made)
    task = asyncio.ensure_future(handler.start())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["closed"]
    assert handler.state is State.FAILED


@pytest.mark.parametrize("step", ["__init__", "on_reload", "start"])
async def test_a_new_one_that_fails_before_it_started(registry, step):
    """Neither generation is finalized; the new one's entries and closers are gone."""
    text = """
import registry_host as host
import luminal

class P(luminal.IPhoton):
    photon_name = "p"
    def __init__(self): self.step("__init__")
    def on_reload(self, previous): self.step("on_reload")
    def start(self): self.step("start")
    def finalize(self): host.finalized.append("{way}")
    def step(self, name):
        self.context.put(host.commands, name, "{way}")
        if name == "{way}":
            raise ValueError
"""
    async with AsyncHost() as host:
        host.write("p.py", text.format(way="old"))
        await host.run()
        before = dict(registry.commands)
        host.write("p.py", text.format(way=step))
        with pytest.raises(LuminalError):
            await host.reload("p")
        assert registry.commands == before
        assert registry.finalized == []


async def test_a_started_one_is_finalized_though_a_guard_then_raises():
    """Its own ``start`` has ended well: what it took there is its to release."""
    log = []

    class Guard:
        @hookimpl(wrapper=True)
        def photon_start(self, handler):
            yield
            raise PermissionError("not today")

    class Made(IPhoton):
        def start(self):
            log.append("start")

        def finalize(self):
            log.append("finalize")

    handler = handler_of(Made)
    handler._runtime.lifecycle.register(Guard())
    with pytest.raises(PhotonStartError, match="not today"):
        await handler.start()
    assert log == ["start", "finalize"]


async def test_the_scope_of_a_failed_start_has_its_whole_time():
    """A closer may take longer than a forced end allows."""
    log = []

    class Made(IPhoton):
        async def start(self):
            self.context.on_close(self.close)
            raise ValueError

        async def close(self):
            await asyncio.sleep(0.7)
            log.append("closed")

    with pytest.raises(PhotonStartError):
        await handler_of(Made).start()
    assert log == ["closed"]
