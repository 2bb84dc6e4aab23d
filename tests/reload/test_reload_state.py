"""State goes from generation to generation as a copy; roll-back finds the old files."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import textwrap
import threading
import weakref

import pytest

from luminal.errors import LuminalError, PhotonRollbackError
from luminal.model import EventKind, State
from tests.waiting import DEADLINE


def photon(name, number, body="", says=None, head=""):
    says = says or f"({name!r}, {number})"
    return (
        "from luminal import IPhoton, hookimpl\n"
        + textwrap.dedent(head)
        + f"\nclass Photon(IPhoton):\n    photon_name = {name!r}\n"
        + f"    photon_version = '{number}'\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
        + f"\n    @hookimpl\n    def who(self):\n        return {says}\n"
    )


SEES = """
    def on_reload(self, previous):
        self.seen = (previous.version, previous.generation, previous.instance)
        self.data = previous.data
        self.alive = previous.instance.who()
    def start(self):
        self.at_start = dict(self.context.data)
"""


async def test_on_reload_sees_the_live_old_photon_and_a_copy(make_host, photons):
    """Version, number, the serving instance, and data that belongs to the new one."""
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", photon("a", 1)))
        old, inner = a.instance, [1]
        a.context.data.update(inner=inner, same=inner)
        data = a.context.data
        photons.write("a.py", photon("a", 2, SEES))
        await host.reload_photon(a)
        new = a.instance
        assert new.seen == ("1", 1, old)
        assert new.alive == ("a", 1)
        assert new.at_start == {"inner": [1], "same": [1]}
        assert new.data["inner"] is new.data["same"] is not inner
        assert a.context.data is new.context.data
        new.context.data["inner"].append(2)
        assert data == {"inner": [1], "same": [1]}


@pytest.mark.fault(17)
async def test_a_mangled_copy_leaves_the_old_one_untouched(make_host, photons):
    """Whatever a refused generation does with its data, the old one keeps its own."""
    async with make_host() as host:
        (a,) = await host.run(photons.write("a.py", photon("a", 1)))
        inner = {"deep": [1, 2]}
        a.context.data["inner"] = inner
        mangle = """
            def on_reload(self, previous):
                previous.data["inner"]["deep"].clear()
                self.context.data.clear()
            def start(self):
                raise ValueError
        """
        photons.write("a.py", photon("a", 2, mangle))
        with pytest.raises(LuminalError):
            await host.reload_photon(a)
        assert a.context.data == {"inner": {"deep": [1, 2]}}
        assert a.context.data["inner"] is inner


async def test_data_of_the_photons_own_class(make_host, photons):
    """Instances of old classes are copied by their old classes; nothing is refused."""
    head = "class Value:\n    pass\n"
    async with make_host() as host:
        path = photons.write("a.py", photon("a", 1, says="Value()", head=head))
        (a,) = await host.run(path)
        (value,) = host.answers()
        a.context.data["value"] = value
        await host.reload_photon(a)
        assert type(a.context.data["value"]) is type(value)
        assert a.context.data["value"] is not value


EXCLUSIVE = """
    photon_exclusive = True

    def __init__(self):
        self.port = None

    def start(self):
        import socket
        self.context.data["starts"] = self.context.data.get("starts", 0) + 1
        self.port = socket.create_server(("127.0.0.1", {port}))
        {then}

    def finalize(self):
        if self.port is not None:
            self.port.close()

    def on_reload(self, previous):
        self.had = previous
        {handing}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def exclusive(number, port, then="pass", handing="pass"):
    body = EXCLUSIVE.format(port=port, then=then, handing=handing)
    return photon("a", number, body, says=f"('a', {number}, self.context.data)")


async def with_neighbours(host, photons, port):
    """Start a photon that owns a port between two that answer the same hook."""
    return await host.run(
        photons.write("before.py", photon("before", 0)),
        photons.write("a.py", exclusive(1, port)),
        photons.write("behind.py", photon("behind", 0)),
    )


async def test_an_exclusive_photon_is_stopped_first(make_host, photons):
    """The port is free for the new one, which has the data and the old one's place."""
    port = free_port()
    async with make_host() as host:
        _, a, _ = await with_neighbours(host, photons, port)
        photons.write("a.py", exclusive(2, port))
        await host.reload_photon(a)
        assert host.answers() == [
            ("before", 0),
            ("a", 2, {"starts": 2}),
            ("behind", 0),
        ]
        assert a.instance.had.instance is None
        assert is_open(port)
        kinds = [e.kind for e in host.heard if e.photon == "a"]
        assert kinds.index(EventKind.FINALIZED) < kinds.index(EventKind.SWAPPED)
    assert not is_open(port)


@pytest.mark.fault(10, 17)
@pytest.mark.parametrize(
    "fault",
    [
        {"then": "raise ValueError"},
        {"then": "raise SystemExit"},
        {"handing": "previous.data.clear(); 1 / 0"},
    ],
)
async def test_an_exclusive_photon_comes_back(make_host, photons, fault):
    """The new one fails: the old one runs again, with its data, in its place."""
    port = free_port()
    async with make_host() as host:
        _, a, _ = await with_neighbours(host, photons, port)
        a.context.data["kept"] = [1]
        photons.write("a.py", exclusive(2, port, **fault))
        with pytest.raises(LuminalError):
            await host.reload_photon(a)
        assert (a.state, a.number) == (State.RUNNING, 1)
        assert host.answers() == [
            ("before", 0),
            ("a", 1, {"starts": 2, "kept": [1]}),
            ("behind", 0),
        ]
        assert is_open(port)
        photons.write("a.py", exclusive(3, port))
        await host.reload_photon(a)
        assert host.answers()[1] == ("a", 3, {"starts": 3, "kept": [1]})


@pytest.mark.fault(1)
async def test_an_exclusive_photon_is_not_stopped_for_nothing(make_host, photons):
    """What fails before the start of anything leaves it alone."""
    port = free_port()
    async with make_host() as host:
        _, a, _ = await with_neighbours(host, photons, port)
        instance = a.instance
        photons.write("a.py", "no python at all")
        with pytest.raises(LuminalError):
            await host.reload_photon(a)
        assert a.instance is instance
        assert host.answers()[1] == ("a", 1, {"starts": 1})


@pytest.mark.fault(16)
async def test_an_exclusive_photon_that_cannot_come_back(make_host, photons):
    """Both fail to start: it is off and says so; the next version starts again."""
    port = free_port()
    once = "assert self.context.data['starts'] == 1, 'second start'"
    async with make_host() as host:
        path = photons.write("a.py", exclusive(1, port, then=once))
        (a,) = await host.run(path)
        photons.write("a.py", exclusive(2, port, then="raise ValueError('new')"))
        with pytest.raises(LuminalError, match="new"):
            await host.reload_photon(a)
        assert a.state is State.FAILED
        assert host.answers() == []
        assert host.plugins.list_name_plugin() == [
            pair for pair in host.plugins.list_name_plugin() if pair[0] != "a"
        ]
        assert not is_open(port)
        photons.write("a.py", exclusive(3, port))
        await host.reload_photon(a)
        assert (a.state, [x[:2] for x in host.answers()]) == (
            State.RUNNING,
            [("a", 3)],
        )


async def test_roll_back_returns_to_the_files_before(make_host, photons):
    """Also a helper's; the disk is not asked; twice leads forth again."""
    head = "from .sub import VALUE"
    async with make_host() as host:
        photons.write("p/sub.py", "VALUE = 1\n")
        path = photons.write("p/__init__.py", photon("p", 1, says="VALUE", head=head))
        (p,) = await host.run(path)
        with pytest.raises(PhotonRollbackError, match="one generation only"):
            await host.roll_back(p)
        p.context.data["n"] = 1
        photons.write("p/sub.py", "VALUE = 2\n")
        await host.reload_photon(p)
        photons.write("p/sub.py", "VALUE = broken\n")
        assert await host.roll_back(p) == [p]
        assert (host.answers(), p.number) == ([1], 3)
        assert p.context.data == {"n": 1}
        (told,) = host.happened(EventKind.ROLLED_BACK)
        assert told.photon == "p"
        await host.roll_back(p)
        assert (host.answers(), p.number) == ([2], 4)


async def test_roll_back_takes_a_helper_of_others_with_it(make_host, photons):
    """A helper that changed with the photon goes back with it, for all of its users."""
    head = "from .shared import VALUE"
    async with make_host() as host:
        photons.write("shared.py", "VALUE = 1\n")
        paths = [
            photons.write(f"{n}.py", photon(n, 1, says="VALUE", head=head))
            for n in "ab"
        ]
        a, _ = await host.run(*paths)
        photons.write("shared.py", "VALUE = 2\n")
        await host.reload_photon(a)
        assert host.answers() == [2, 2]
        await host.roll_back(a)
        assert host.answers() == [1, 1]


async def test_a_refused_roll_back_changes_nothing(
    make_host, photons, picture, unchanged
):
    """The earlier version does not start any more: the present one goes on."""
    gate = type(sys)("luminal_test_state")
    gate.fails = False
    sys.modules[gate.__name__] = gate
    body = """
        def start(self):
            import luminal_test_state
            if luminal_test_state.fails:
                raise ValueError("no more")
    """
    try:
        async with make_host() as host:
            (a,) = await host.run(photons.write("a.py", photon("a", 1, body)))
            photons.write("a.py", photon("a", 2))
            await host.reload_photon(a)
            gate.fails = True
            before = picture(host)
            with pytest.raises(LuminalError, match="no more"):
                await host.roll_back(a)
            await unchanged(host, before)
    finally:
        del sys.modules[gate.__name__]


async def test_old_generations_are_collected(make_host, photons):
    """After a hundred reloads with failures in between two generations are alive."""
    head = "from . import shared\nfrom dataclasses import dataclass\n"
    head += "@dataclass\nclass Value:\n    n: int = 1\n"
    async with make_host() as host:
        photons.write("shared.py", "VALUE = 1\n")
        path = photons.write("a.py", photon("a", 1, head=head, says="Value(1)"))
        (a,) = await host.run(path)
        old = []
        for number in range(2, 40):
            old.append(weakref.ref(type(a.instance)))
            photons.write("shared.py", f"VALUE = {number}\n")
            if number % 5 == 0:
                photons.write("a.py", photon("a", number, "def start(self): 1 / 0\n"))
                with pytest.raises(LuminalError):
                    await host.reload_photon(a)
                old.pop()
            photons.write("a.py", photon("a", number, head=head, says="Value(1)"))
            await host.reload_photon(a)
            host.answers()
        gc.collect()
        assert [ref() for ref in old if ref() is not None] == []
        await host.until(lambda: len(host.happened(EventKind.RETIRED)) == a.number - 1)
        retired = host.happened(EventKind.RETIRED)
        assert sorted(e.generation for e in retired) == list(range(1, a.number))


async def test_a_collection_calls_no_subscriber_amid_what_it_interrupts(
    make_host, photons
):
    """Or a subscriber that takes a lock waits for the thread that it runs in."""
    lock, waited = threading.Lock(), []

    def hear(event):
        if event.kind is EventKind.RETIRED:
            waited.append(not lock.acquire(timeout=DEADLINE))
            if not waited[-1]:
                lock.release()

    async with make_host() as host:
        path = photons.write("a.py", photon("a", 1))
        (a,) = await host.run(path)
        gc.disable()
        try:
            photons.write("a.py", photon("a", 2))
            await host.reload_photon(a)
            await host.until(lambda: host.happened(EventKind.FINALIZED))
            host.events.subscribe(hear)
            with lock:
                gc.collect()
        finally:
            gc.enable()
        await host.until(lambda: waited)
        assert waited == [False]


def test_a_collection_after_the_loop_is_told_with_the_next_event(make_host, photons):
    host = make_host()
    path = photons.write("a.py", photon("a", 1))

    async def reload():
        (a,) = await host.run(path)
        photons.write("a.py", photon("a", 2))
        await host.reload_photon(a)

    gc.disable()
    try:
        asyncio.run(reload())
        gc.collect()
    finally:
        gc.enable()
    asyncio.run(host.close())
    assert host.happened(EventKind.RETIRED)
