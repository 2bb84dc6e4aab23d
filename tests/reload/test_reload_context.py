"""What a photon reaches through its context: the host, other photons, shared state."""

from __future__ import annotations

import asyncio
import threading

import pytest

from luminal import blocking
from luminal.errors import (
    LuminalError,
    PhotonDependencyError,
    PhotonNotFoundError,
)
from luminal.model import EventKind
from tests.reload.conftest import Specs
from tests.waiting import DEADLINE

HEAD = "from luminal import IPhoton, hookimpl\n"

DB = """
class Db(IPhoton):
    photon_name = "db"
    photon_version = "1"
    number = {number}

    def query(self):
        return {number}

    def finalize(self):
        self.number = "finalized"
"""
APP = """
class App(IPhoton):
    photon_name = "app"
    photon_requires = ("db>=0",)
    photon_version = "1"

    def start(self):
        self.db = self.context.require("DB")
        self.at_start = self.db.query()

    @hookimpl
    def visit(self, go):
        go()
        return self.db.query(), self.db.number

    @hookimpl
    def who(self):
        return self.at_start, self.db.query()
"""


def write_db(photons, number, body=""):
    text = HEAD + DB.format(number=number).replace(
        '"db"', '"db"\n    photon_version = "1"'
    )
    return photons.write("db.py", text + body)


async def test_a_required_photon_is_the_one_that_runs(make_host, photons):
    """It is reloaded alone; the photon that requires it is not."""
    async with make_host() as host:
        db, app = await host.run(
            write_db(photons, 1), photons.write("app.py", HEAD + APP)
        )
        assert host.hook.who() == [(1, 1)]
        write_db(photons, 2)
        await host.reload_photon(db)
        assert host.hook.who() == [(1, 2)]
        assert app.number == 1
        assert "'DB'" in repr(app.instance.db)
        await host.unload_photon(db)
        with pytest.raises(PhotonNotFoundError, match="'DB'"):
            host.hook.who()
        with pytest.raises(PhotonNotFoundError):
            app.instance.db.query  # noqa: B018 - it is looked up
        await host.run(write_db(photons, 3))
        assert host.hook.who() == [(1, 3)]


@pytest.mark.parametrize("has_hooks", [False, True])
async def test_a_call_under_way_sees_the_required_photon_that_it_began_with(
    make_host, photons, has_hooks
):
    """It is finalized when the call has ended, whether or not it implements hooks."""
    body = (
        "\n    @hookimpl\n    def who(self):\n        return 0\n" if has_hooks else ""
    )
    inside, leave, found = threading.Event(), threading.Event(), []

    def go():
        inside.set()
        leave.wait(DEADLINE)

    async with make_host() as host:
        db, _ = await host.run(
            write_db(photons, 1, body), photons.write("app.py", HEAD + APP)
        )
        thread = threading.Thread(target=lambda: found.extend(host.hook.visit(go=go)))
        thread.start()
        await asyncio.to_thread(inside.wait, DEADLINE)
        write_db(photons, 2, body)
        await host.reload_photon(db)
        assert host.hook.visit(go=int) == [(2, 2)]
        assert not host.happened(EventKind.FINALIZED)
        leave.set()
        await asyncio.to_thread(thread.join, DEADLINE)
        assert found == [(1, 1)]
        await host.until(lambda: host.happened(EventKind.FINALIZED, "db"))


async def test_only_what_is_required_can_be_asked_for(make_host, photons):
    """Which photon, and what to add, is said."""
    text = HEAD + APP.replace('("db>=0",)', '("bd",)')
    bd = DB.format(number=1).replace('"db"', '"bd"')
    async with make_host() as host:
        with pytest.raises(PhotonDependencyError, match="not require") as caught:
            await host.run(
                write_db(photons, 1),
                photons.write("bd.py", HEAD + bd),
                photons.write("app.py", text),
            )
        assert "its photon_requires are: bd" in str(caught.value)
        assert host.photons["app"].problem is not None


async def test_an_exclusive_photon_is_away_while_it_is_replaced(make_host, photons):
    """And its users are told so."""
    asking = threading.Event()
    go_on = threading.Event()
    exclusive = "\n    photon_exclusive = True\n"
    slow = exclusive + "    def start(self):\n        self.context.host(self)\n"

    def hold(_):
        asking.set()
        go_on.wait(DEADLINE)

    async with make_host(host=hold) as host:
        db, app = await host.run(
            write_db(photons, 1, exclusive), photons.write("app.py", HEAD + APP)
        )
        write_db(photons, 2, slow)
        reload = asyncio.create_task(host.reload_photon(db))
        assert await asyncio.to_thread(asking.wait, DEADLINE)
        with pytest.raises(PhotonNotFoundError):
            app.instance.db.query()
        go_on.set()
        await reload
        assert app.instance.db.query() == 2


def test_a_photon_reaches_its_host_and_its_hooks(photons):
    """With plain calls as well."""
    photons.write(
        "p.py",
        HEAD
        + """
class P(IPhoton):
    @hookimpl
    def visit(self, go):
        self.context.host.append(self.context.hook.who())
        return self.context.ahook is not None

    @hookimpl
    def who(self):
        return "p"
""",
    )
    seen = []
    with blocking.Loader(hookspecs=[Specs], host=seen) as loader:
        loader.load_photons(photons.path).start()
        assert loader.hook.visit(go=None) == [True]
    assert seen == [["p"]]


STORE = """
class P(IPhoton):
    photon_name = "p"

    def start(self):
        self.context.shared.setdefault("starts", []).append({number})
        {fault}

    @hookimpl
    def visit(self, go):
        go()
        shared = self.context.shared
        shared["visits"] = shared.get("visits", 0) + 1
        return {number}

    @hookimpl
    def who(self):
        return self.context.shared
"""


def write_store(photons, number, fault="pass"):
    return photons.write("p.py", HEAD + STORE.format(number=number, fault=fault))


async def test_all_generations_share_one_dictionary(make_host, photons):
    """Late writes of old calls are in it, and no roll-back undoes anything."""
    inside, leave = threading.Event(), threading.Event()

    def go():
        inside.set()
        leave.wait(DEADLINE)

    async with make_host() as host:
        (p,) = await host.run(write_store(photons, 1))
        (shared,) = host.hook.who()
        thread = threading.Thread(target=lambda: host.hook.visit(go=go))
        thread.start()
        await asyncio.to_thread(inside.wait, DEADLINE)
        write_store(photons, 2)
        await host.reload_photon(p)
        assert host.hook.visit(go=int) == [2]
        leave.set()
        await asyncio.to_thread(thread.join, DEADLINE)
        assert shared == {"starts": [1, 2], "visits": 2}
        write_store(photons, 3, "1 / 0")
        with pytest.raises(LuminalError):
            await host.reload_photon(p)
        assert shared["starts"] == [1, 2, 3]
        await host.roll_back(p)
        assert host.hook.who()[0] is shared
        await p.stop()
        await p.start()
        assert host.hook.who()[0] is shared
        await host.unload_photon(p)
        (p,) = await host.run(write_store(photons, 4))
        assert host.hook.who() == [{"starts": [4]}]


OWN = """
import enum

class Job:
    pass

class Mode(enum.Enum):
    FAST = 1

class P(IPhoton):
    photon_name = "p"

    def start(self):
        self.context.data["state"] = {value}
"""


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("{'jobs': [1, Job()]}", "['state']['jobs'][1] is a Job"),
        ("Mode.FAST", "['state'] is a Mode"),
        ("{'kind': Job}", "['state']['kind'] is a Job"),
        ("{Mode.FAST: 1}", "['state'] key <Mode.FAST: 1> is a Mode"),
        ("[{'a': (1, 2)}, {3}]", ""),
    ],
)
async def test_own_classes_in_the_state_are_told(make_host, photons, value, place):
    """The new generation gets objects of the old class."""
    text = HEAD + OWN.format(value=value)
    async with make_host() as host:
        (p,) = await host.run(photons.write("p.py", text))
        photons.write("p.py", text + "X = 2\n")
        await host.reload_photon(p)
        (outcome,) = host.report
        told = "; ".join(problem.why for problem in outcome.warnings)
        assert place in told
        assert bool(place) is bool(told)
        assert bool(place) is bool(host.happened(EventKind.SIDE_EFFECT, "p"))
